"""The kernel's IPVS tables as text in `/proc/net`: what drills ask of them.

Source: net/netfilter/ipvs/ip_vs_ctl.c `ip_vs_info_seq_show` and ip_vs_conn.c `ip_vs_conn_seq_show`. Addresses and ports
are in hex there. Pure.
"""

from __future__ import annotations

from ipaddress import IPv4Address


def destinations(table: str, address: str, port: int) -> set[str]:
    """The real servers with a weight above 0 of the TCP service at `address`:`port`, out of `/proc/net/ip_vs`."""
    service = f"{_hex(address)}:{port:04X}"
    found: set[str] = set()
    ours = False
    for line in table.splitlines():
        words = line.split()
        if words[:1] != ["->"]:
            ours = words[:2] == ["TCP", service]
        elif ours and words[3] != "0":
            found.add(str(IPv4Address(int(words[1].partition(":")[0], 16))))
    return found


def client_ports(table: str, client: str) -> set[int]:
    """The local ports of a client's TCP connections, out of `/proc/net/ip_vs_conn`.

    The table can have thousands of rows and is looked at in emulated machines: rows are not taken apart.
    """
    prefix = f"TCP {_hex(client)} "
    return {int(line[13:17], 16) for line in table.splitlines() if line.startswith(prefix)}


def _hex(address: str) -> str:
    return f"{int(IPv4Address(address)):08X}"
