"""The kernel's IPVS tables, as text."""

from __future__ import annotations

from ha_lvs.drill.measure.proc_tables import client_ports, destinations

SERVICES = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
UDP  0A090064:0050 rr
  -> 0A09001F:0050      Route   1      0          0
TCP  0A090064:0050 wlc persistent 300 FFFFFFFF
  -> 0A090016:0050      Route   0      7          0
  -> 0A090015:0050      Tunnel  2      67         12
FWM  00000050 rr
  -> 0A090020:0050      Masq    1      0          0
TCP  0A090065:0050 wlc
  -> 0A090017:0050      Masq    1      0          0
"""

CONNECTIONS = """\
Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP 0A09001F C350 0A090064 0050 0A090015 0050 ESTABLISHED     899
TCP 0A09001F 9C41 0A090064 0050 0A090016 0050 FIN_WAIT        118
UDP 0A09001F 1F40 0A090064 0035 0A090016 0035 UDP             299
TCP 0A090020 C351 0A090064 0050 0A090016 0050 ESTABLISHED     899
"""


def test_servers_with_a_weight_are_those_that_get_traffic() -> None:
    assert destinations(SERVICES, "10.9.0.100", 80) == {"10.9.0.21"}


def test_services_do_not_mix() -> None:
    assert destinations(SERVICES, "10.9.0.101", 80) == {"10.9.0.23"}
    assert destinations(SERVICES, "10.9.0.101", 81) == set()


def test_only_the_clients_own_tcp_connections_count() -> None:
    assert client_ports(CONNECTIONS, "10.9.0.31") == {50000, 40001}
    assert client_ports("", "10.9.0.31") == set()
