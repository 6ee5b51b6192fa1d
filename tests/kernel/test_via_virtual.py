"""Probes by the way of clients' packets between hosts: what only they find out, and that nothing here disturbs them.

Tunnels are tested in `test_via_virtual_ipvs`, on a kernel that has them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.model import Check, CheckType, Endpoint, Forwarding, ServerState, VirtualPath
from ha_lvs.wire import tcp
from tests.kernel.probed import Sniffer, Watch, half_open_entries, holding, listening

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

UP, DOWN = ServerState.UP, ServerState.DOWN
VIRTUAL_IP6 = "fd00:9::100"
PORT = 80


def direct(server: Host, version: int = 4, *, timeout_s: float = 3.0, virtual: str = "") -> Endpoint:
    """A probe of a DR server through its virtual IP."""
    address = ip_address(server.address if version == 4 else server.address6)
    path = VirtualPath(ip_address(virtual or virtual_ip(version)), PORT, Forwarding.DR)
    return Endpoint(address, PORT, Check(CheckType.HALF_OPEN, 0.1, timeout_s, fall=1, via=path))


def plain(server: Host, version: int) -> Endpoint:
    """A check of a server's own address."""
    address = ip_address(server.address if version == 4 else server.address6)
    return Endpoint(address, PORT, Check(CheckType.TCP, 0.1, 5.0))


def virtual_ip(version: int) -> str:
    return VIRTUAL_IP if version == 4 else VIRTUAL_IP6


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


families = pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])


@pytest.fixture(params=["active", "backup"])
def role(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    """Whether the director that probes holds the virtual IPs itself, or the other one does."""
    with contextlib.ExitStack() as stack:
        for version in (4, 6):
            holder = lab.host("lb1" if request.param == "active" else "lb2")
            stack.enter_context(holding(holder, virtual_ip(version)))
        yield request.param


@families
def test_a_server_without_the_virtual_ip_is_found_out(lab: Lab, watch: Watch, role: str, version: int) -> None:
    server = lab.host("s1")
    through, own = direct(server, version), plain(server, version)
    with listening(server, "0.0.0.0" if version == 4 else "::"):
        with holding(server, virtual_ip(version), "lo"):
            assert watch.first(through).reason == "half-open: answered"
            assert watch.first(own).state is UP
        reason = watch.until_state(through, DOWN)
        wanted = f"no answer to a packet for {virtual_ip(version)}: is the virtual IP on the server's loopback?"
        assert reason == wanted
        watch.run_for(3)
        assert watch.standing(own).state is UP, "its own address answers all the while"
        with holding(server, virtual_ip(version), "lo"):
            watch.until_state(through, UP)


@families
def test_nothing_stays_half_open_and_the_only_resets_are_ours(lab: Lab, watch: Watch, role: str, version: int) -> None:
    director, server = lab.host("lb1"), lab.host("s1")
    with (
        listening(server, "0.0.0.0" if version == 4 else "::"),
        holding(server, virtual_ip(version), "lo"),
        contextlib.closing(Sniffer(director)) as sniffer,
    ):
        watch.add(direct(server, version))
        watch.run_for(10)
        watch.run_until(lambda: half_open_entries(server) == 0, "nothing left half open at the server")
        seen = sniffer.seen()
    virtual = ip_address(virtual_ip(version)).packed
    answers = [each.answer for each in seen if not each.outgoing and each.answer.flags & tcp.SYN]
    resets = [each.answer for each in seen if each.outgoing and each.answer.flags & tcp.RST]
    assert len(answers) >= 10
    assert {each.source for each in answers} == {virtual}
    assert [each.sequence for each in resets] == [each.acknowledgement for each in answers]


@families
def test_servers_of_one_virtual_ip_are_told_apart(lab: Lab, watch: Watch, role: str, version: int) -> None:
    good, bad = lab.host("s1"), lab.host("s2")
    anywhere = "0.0.0.0" if version == 4 else "::"
    with listening(good, anywhere), listening(bad, anywhere), holding(good, virtual_ip(version), "lo"):
        watch.add(direct(good, version), direct(bad, version))
        watch.until_state(direct(bad, version), DOWN)
        assert watch.until_state(direct(good, version), UP)


@families
def test_a_service_that_does_not_listen_on_the_virtual_ip_is_down(
    lab: Lab, watch: Watch, role: str, version: int
) -> None:
    server = lab.host("s1")
    with (
        listening(server, server.address if version == 4 else server.address6),
        holding(server, virtual_ip(version), "lo"),
    ):
        verdict = watch.first(direct(server, version))
        assert watch.first(plain(server, version)).state is UP
    assert verdict.state is DOWN
    assert verdict.reason.startswith("connection refused at ")
    assert virtual_ip(version) in verdict.reason


@families
def test_a_server_that_cannot_be_found_on_the_link_is_down(lab: Lab, watch: Watch, version: int) -> None:
    nobody = "10.9.0.99" if version == 4 else "fd00:9::99"
    probed = replace(direct(lab.host("s1"), version, timeout_s=1.0), address=ip_address(nobody))
    verdict = watch.first(probed)
    question = "ARP" if version == 4 else "neighbour discovery"
    assert (verdict.state, verdict.reason) == (DOWN, f"no answer to {question} for {nobody}")


@families
def test_the_first_probe_waits_for_the_mac_address(lab: Lab, watch: Watch, version: int) -> None:
    director, server = lab.host("lb1"), lab.host("s1")
    director.ip("neigh flush dev e0")
    with listening(server, "0.0.0.0" if version == 4 else "::"), holding(server, virtual_ip(version), "lo"):
        assert watch.first(direct(server, version)).state is UP
    assert all(verdict.state is UP for _, verdict in watch.reports)


@families
def test_a_server_with_another_mac_address_is_found_again(lab: Lab, watch: Watch, version: int) -> None:
    director, server = lab.host("lb1"), lab.host("s1")
    probed = direct(server, version)
    usual = json.loads(server.run(["ip", "-j", "link", "show", "e0"]).stdout)[0]["address"]
    for name, value in (("base_reachable_time_ms", 1000), ("delay_first_probe_time", 1), ("retrans_time_ms", 200)):
        director.sysctl(f"net.ipv{version}.neigh.e0.{name}", value)  # what takes a minute otherwise
    director.ip("neigh flush dev e0")
    with listening(server, "0.0.0.0" if version == 4 else "::"), holding(server, virtual_ip(version), "lo"):
        assert watch.first(probed).state is UP
        server.ip("link set e0 address 02:09:0a:09:00:fe")
        try:
            watch.until_state(probed, DOWN)  # nobody has said so, and the director has an entry
            watch.until_state(probed, UP)  # the kernel makes sure of an entry that is in use
        finally:
            server.ip(f"link set e0 address {usual}")


def test_a_director_that_is_its_own_server_says_so(lab: Lab, watch: Watch) -> None:
    verdict = watch.first(direct(lab.host("lb1")))
    assert (verdict.state, verdict.reason) == (DOWN, "cannot probe from here: 10.9.0.11 is this director itself")


def test_a_server_behind_a_router_is_out_of_reach(lab: Lab, watch: Watch) -> None:
    director, router = lab.host("lb1"), lab.host("s2")
    director.ip(f"route add 192.0.2.0/24 via {router.address}")
    try:
        probed = replace(direct(lab.host("s1"), timeout_s=1.0), address=ip_address("192.0.2.21"))
        reason = watch.first(probed).reason
        assert reason.endswith(f"behind the router {router.address}, where direct routing does not reach")
        unreachable = replace(probed, address=ip_address("198.51.100.1"))
        assert watch.first(unreachable).reason == "network unreachable"
    finally:
        director.ip(f"route del 192.0.2.0/24 via {router.address}")
