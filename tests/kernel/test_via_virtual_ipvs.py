"""Probes of TUN servers by the way of clients' packets, and what an active director does with one that went astray.

Here, because only a kernel with IPVS has tunnels for certain.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import PACE
from ha_lvs.model import (
    Check,
    CheckType,
    Encapsulation,
    Endpoint,
    Forwarding,
    ServerState,
    Tunnel,
    TunnelChecksum,
    VirtualPath,
)
from tests.kernel.probed import Sniffer, Watch, half_open_entries, holding, listening

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(120)]

UP, DOWN = ServerState.UP, ServerState.DOWN
VIRTUAL_IP6 = "fd00:9::100"
GUE_PORT = 6080
PORT = 80

ENCAPSULATIONS = [
    None,
    Encapsulation(Tunnel.GUE, GUE_PORT),
    Encapsulation(Tunnel.GUE, GUE_PORT, TunnelChecksum.FULL),
    Encapsulation(Tunnel.GUE, GUE_PORT, TunnelChecksum.REMOTE),
    Encapsulation(Tunnel.GRE),
    Encapsulation(Tunnel.GRE, checksum=TunnelChecksum.FULL),
]


def probed(
    server: Host, forwarding: Forwarding, how: Encapsulation | None = None, version: int = 4, *, patient: bool = True
) -> Endpoint:
    """A probe; an impatient one where no answer is expected, and waiting is all that it would do."""
    address, virtual = (server.address, VIRTUAL_IP) if version == 4 else (server.address6, VIRTUAL_IP6)
    path = VirtualPath(ip_address(virtual), PORT, forwarding, how)
    check = Check(CheckType.HALF_OPEN, 0.1 * PACE, 5.0 * PACE if patient else 1.0, via=path)
    return Endpoint(ip_address(address), PORT, check)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab("virtual", tmp_path_factory.mktemp("virtual"), clients=0, servers=2) as lab:
        for name in ("s1", "s2"):
            for scope in ("all", "e0"):
                lab.host(name).sysctl(f"net.ipv4.conf.{scope}.arp_ignore", 1)
                lab.host(name).sysctl(f"net.ipv4.conf.{scope}.arp_announce", 2)
        yield lab


@pytest.fixture
def watch(lab: Lab) -> Iterator[Watch]:
    watch = Watch(lab.host("lb1"))
    yield watch
    watch.close()


@contextlib.contextmanager
def unpacking(server: Host, how: Encapsulation | None) -> Iterator[None]:
    """A server takes packets in this kind of tunnel and has the virtual IP on its interface."""
    checked = "" if how is None or how.checksum is TunnelChecksum.NONE else " icsum"  # it drops what is otherwise
    tunnel = Tunnel.IPIP if how is None else how.tunnel
    made, interface, undone = {
        Tunnel.IPIP: (["link set tunl0 up"], "tunl0", ["link set tunl0 down"]),
        Tunnel.GUE: ([f"fou add port {GUE_PORT} gue", "link set tunl0 up"], "tunl0",
                     ["link set tunl0 down", f"fou del port {GUE_PORT}"]),
        Tunnel.GRE: ([f"link add ours type gre local {server.address} remote any{checked}", "link set ours up"],
                     "ours", ["link del ours"]),
    }[tunnel]  # fmt: skip
    server.ip(*made, f"addr add {VIRTUAL_IP}/32 dev {interface}")
    server.sysctl(f"net.ipv4.conf.{interface}.rp_filter", 0)
    try:
        yield
    finally:
        server.ip(f"addr del {VIRTUAL_IP}/32 dev {interface}", *undone)


@contextlib.contextmanager
def unpacking6(server: Host) -> Iterator[None]:
    """The same for IPv6 in IPv6."""
    server.ip(
        f"link add ours6 type ip6tnl mode any local {server.address6}",
        "link set ours6 up",
    )
    try:
        with holding(server, VIRTUAL_IP6, "ours6"):
            yield
    finally:
        server.ip("link del ours6")


@pytest.mark.parametrize("active", [True, False], ids=["active", "backup"])
@pytest.mark.parametrize("how", ENCAPSULATIONS, ids=lambda how: str(how or "ipip"))
def test_a_server_that_does_not_unpack_is_found_out(
    lab: Lab, watch: Watch, how: Encapsulation | None, active: bool
) -> None:
    server = lab.host("s1")
    with listening(server, "0.0.0.0"), holding(lab.host("lb1" if active else "lb2"), VIRTUAL_IP):
        with unpacking(server, how):
            assert watch.first(probed(server, Forwarding.TUN, how)).reason == "half-open: answered"
            watch.run_until(lambda: half_open_entries(server) == 0, "nothing left half open at the server")
        reason = watch.first(probed(server, Forwarding.TUN, how, patient=False)).reason
    name = "ipip" if how is None else how.tunnel.value
    assert reason == (
        f"no answer to a packet for {VIRTUAL_IP} in {name}: does the server unpack that, and has it the virtual IP?"
    )


def test_a_tunnel_of_ipv6_is_probed(lab: Lab, watch: Watch) -> None:
    server = lab.host("s1")
    with listening(server, "::"), holding(lab.host("lb1"), VIRTUAL_IP6):
        with unpacking6(server):
            assert watch.first(probed(server, Forwarding.TUN, version=6)).state is UP
            watch.run_until(lambda: half_open_entries(server) == 0, "nothing left half open at the server")
        assert watch.first(probed(server, Forwarding.TUN, version=6, patient=False)).state is DOWN


def test_no_other_server_answers_for_one_that_forwards(lab: Lab, watch: Watch) -> None:
    """s1 has no virtual IP but forwards: to the active director, whose IPVS knows a server that works."""
    server, other, active = lab.host("s1"), lab.host("s2"), lab.host("lb2")
    server.sysctl("net.ipv4.ip_forward", 1)
    other.ip(f"addr add {VIRTUAL_IP}/32 dev lo")
    active.run(
        ["ipvsadm", "-R"], input=f"-A -t {VIRTUAL_IP}:80 -s rr\n-a -t {VIRTUAL_IP}:80 -r {other.address}:80 -g\n"
    )
    try:
        with (
            holding(active, VIRTUAL_IP),
            listening(other, "0.0.0.0"),
            listening(server, "0.0.0.0"),
            contextlib.closing(Sniffer(active)) as sniffer,
        ):
            assert watch.first(probed(other, Forwarding.DR)).state is UP
            assert watch.first(probed(server, Forwarding.DR, patient=False)).state is DOWN
            assert any(not each.outgoing for each in sniffer.seen()), "else nothing was forwarded"
    finally:
        active.run(["ipvsadm", "-C"])
        other.ip(f"addr del {VIRTUAL_IP}/32 dev lo")
        server.sysctl("net.ipv4.ip_forward", 0)
