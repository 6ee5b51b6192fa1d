"""Directors find each other by multicast DNS between hosts of the lab, and count once they have authenticated."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.cli.discover import compare
from ha_lvs.daemon.channel import PeersFound
from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.model import IPAddress
from ha_lvs.peer.discovery import Announced, Discovery
from tests.kernel.peers import (
    ADDRESSES,
    FORGED,
    PORT,
    WITHIN_S,
    InNamespace,
    PeeringNode,
    keys,
    link_config,
    part,
)

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab("dnssd", tmp_path_factory.mktemp("lab")) as lab:
        yield lab


def wait(condition: Callable[[], Any], what: str) -> None:
    wait_for(lambda: bool(condition()), WITHIN_S, what)


LB1 = Announced("edge", "lb1", "1.0", "d1", PORT, (ADDRESSES["lb1"],))
LB2 = Announced("edge", "lb2", "1.1", "d2", PORT, (ADDRESSES["lb2"],))


class Looker:
    """A discovery on a host and what it knows."""

    def __init__(
        self, host: Host, announced: Announced | None, interface: str = "e0", excluded: tuple[IPAddress, ...] = ()
    ) -> None:
        self.place = InNamespace(host)
        self.known: tuple[Announced, ...] = ()
        self.failures: list[str] = []

        def make() -> Any:
            discovery = Discovery(
                self._found, self.failures.append, interface=interface, announced=announced, excluded=excluded
            )
            return self.place.loop.create_task(discovery.run())

        self.task = self.place.call(make)

    def _found(self, known: tuple[Announced, ...]) -> None:
        self.known = known

    def close(self) -> None:
        if not self.place.loop.is_closed():
            self.place.loop.call_soon_threadsafe(self.task.cancel)
            wait(self.task.done, "the goodbye")
            self.place.stop()


@pytest.fixture
def look(lab: Lab) -> Iterator[Callable[..., Looker]]:
    with ExitStack() as stack:

        def make(host: str, announced: Announced | None = None, **options: Any) -> Looker:
            made = Looker(lab.host(host), announced, **options)
            stack.callback(made.close)
            return made

        yield make


def test_they_find_each_other_and_see_who_leaves(look: Callable[..., Looker]) -> None:
    lb1, lb2, c1 = look("lb1", LB1), look("lb2", LB2), look("c1")
    for each in (lb1, lb2, c1):
        wait(lambda each=each: {LB1, LB2} == set(each.known), "both to be known everywhere")  # type: ignore[misc]
    lb2.close()
    wait(lambda: c1.known == (LB1,), "the goodbye to be heard")
    assert not lb1.failures + c1.failures


def test_virtual_ips_are_not_announced(lab: Lab, look: Callable[..., Looker]) -> None:
    lab.host("lb1").ip(f"addr add {VIRTUAL_IP}/32 dev e0")
    try:
        look("lb1", replace(LB1, addresses=()), excluded=(ip_address(VIRTUAL_IP),))
        c1 = look("c1", interface="")
        wait(lambda: c1.known, "it to be found")
        assert c1.known == (LB1,)
    finally:
        lab.host("lb1").ip(f"addr del {VIRTUAL_IP}/32 dev e0")


def test_an_interface_may_get_its_address_later(lab: Lab, look: Callable[..., Looker]) -> None:
    host = lab.host("lb1")
    host.ip("link add late0 type veth peer name late1")
    try:
        host.sysctl("net.ipv6.conf.late0.disable_ipv6", 1)
        host.ip("link set late0 up", "link set late1 up")
        lb1 = look("lb1", LB1, interface="late0")
        wait(lambda: lb1.failures == ["late0 has no address to announce"], "the failure to be told")
        host.ip("addr add 10.77.0.1/24 dev late0")
        other = look("lb1", interface="late0")
        wait(lambda: LB1 in other.known, "it to be announced")
    finally:
        host.ip("link del late0")


# ------------------------------------------------------------------------------------------ with the peer link


@pytest.fixture
def directors(lab: Lab, tmp_path: Path) -> Iterator[Callable[..., PeeringNode]]:
    with ExitStack() as stack:

        def make(node: str, digest: str = "d1", **link: Any) -> PeeringNode:
            options: dict[str, Any] = {"peers": {}, "discovery": True, "discovery_interface": "e0"}
            config = link_config(node, **(options | link))
            made = PeeringNode(lab.host(node), part(node, config, digest=digest), tmp_path / node)
            stack.callback(made.close)
            return made

        yield make


def found(node: PeeringNode) -> list[PeersFound]:
    return node.heard(PeersFound)


@pytest.mark.parametrize("bound", [True, False])
def test_peers_without_addresses_in_the_file_are_linked_and_told_to_the_elector(
    directors: Callable[..., PeeringNode], bound: bool
) -> None:
    where = {} if bound else {"address": None}
    lb1, lb2 = directors("lb1", **where), directors("lb2", **where)
    wait(lambda: found(lb1) and found(lb2), "both to be found and linked")
    assert found(lb1) == [PeersFound((ip_address(ADDRESSES["lb2"]),))]
    assert found(lb2) == [PeersFound((ip_address(ADDRESSES["lb1"]),))]
    [peer] = lb1.peers()
    assert (peer["node"], peer["linked"], peer["discovered"], peer["authenticated"]) == ("lb2", True, True, True)


def test_a_found_peer_is_remembered_over_a_start_of_the_director(directors: Callable[..., PeeringNode]) -> None:
    lb1, lb2 = directors("lb1"), directors("lb2")
    wait(lambda: found(lb1), "lb2 to be found")
    lb1.close()
    lb2.close()
    again = directors("lb1")
    assert found(again) == [PeersFound((ip_address(ADDRESSES["lb2"]),))]


def test_who_announces_itself_without_a_key_does_not_count(directors: Callable[..., PeeringNode]) -> None:
    lb1 = directors("lb1")
    directors("lb2", authentication=keys(FORGED))
    wait(lambda: lb1.place.call(lb1.peering.status)["peer_link"]["refused"], "the forger to be refused")
    assert found(lb1) == []
    assert not any(peer["linked"] for peer in lb1.peers())


def test_a_false_announcement_leads_to_nobody_else(
    directors: Callable[..., PeeringNode], look: Callable[..., Looker]
) -> None:
    """Somebody announces lb9 at the address of lb2."""
    lb1 = directors("lb1")
    directors("lb2")
    look("c1", Announced("edge", "lb9", "1.0", "d1", PORT, (ADDRESSES["lb2"],)))
    wait(lambda: "other node" in lb1.place.call(lb1.peering.status)["peer_link"]["refused"], "the lie to be noticed")
    wait(lambda: found(lb1), "lb2 to be found all the same")
    assert found(lb1) == [PeersFound((ip_address(ADDRESSES["lb2"]),))]


# ----------------------------------------------------------------------------------------------- ha-lvs discover

PROGRAM = (
    "import typer; from ha_lvs.cli import discover; app = typer.Typer(); app.command('x')(lambda: None);"
    "discover.register(app); app()"
)


def discover(lab: Lab, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, "discover", "--seconds", str(4 * PACE), *options]
    return lab.host("c1").run(command, check=False)


def test_the_verb_lists_all_clusters_and_marks_what_differs(lab: Lab, look: Callable[..., Looker]) -> None:
    stranger = Announced("other", "gw-1", "1.0", "d9", 9000, (ADDRESSES["lb2"],))
    look("lb1", LB1)
    look("lb2", LB2)
    look("lb2", stranger)
    c1 = look("c1")
    wait(lambda: len(c1.known) == 3, "all to be announced")
    ran = discover(lab)
    assert (ran.returncode, ran.stderr) == (0, "")
    rows = [line.split() for line in ran.stdout.splitlines()]
    assert ["edge", "lb1", ADDRESSES["lb1"], "8849", "1.0", "d1"] in rows
    assert ["edge", "lb2", ADDRESSES["lb2"], "8849", "1.1", "differs", "d2", "differs"] in rows
    assert ["other", "gw-1", ADDRESSES["lb2"], "9000", "1.0", "d9"] in rows
    told = json.loads(discover(lab, "--json", "--interface", "e0").stdout)["directors"]
    assert [(each["node"], each["same_config"]) for each in told] == [("lb1", True), ("lb2", False), ("gw-1", True)]


def test_the_verb_says_when_there_is_nobody_and_when_it_cannot_look(lab: Lab) -> None:
    ran = discover(lab)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "no director announces itself" in ran.stdout
    failed = discover(lab, "--interface", "nowhere1")
    assert failed.returncode == 1
    assert "nowhere1 has no address" in failed.stderr


def test_a_config_file_is_what_the_others_are_compared_with() -> None:
    rows = compare([LB2, LB1], ("edge", "d2"))
    assert [(row["node"], row["same_config"]) for row in rows] == [("lb1", False), ("lb2", True)]
