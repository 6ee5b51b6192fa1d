"""Servers that announce themselves in the lab are found by what the director process looks with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.daemon.found import FoundServers
from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.model import DestinationKey, DirectorPart
from ha_lvs.observe import logs
from tests.announcers import Announcer
from tests.kernel.peers import InNamespace, part
from tests.unit.test_found import service

pytestmark = pytest.mark.netns

WITHIN_S = 30.0
S1, S2 = "10.9.0.21", "10.9.0.22"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab("found", tmp_path_factory.mktemp("lab"), servers=2) as lab:
        yield lab


def part_with(**discovery: Any) -> DirectorPart:
    options: dict[str, Any] = {"networks": (ip_network("10.9.0.0/24"),), "interfaces": ("e0",)}
    return part("lb1", None, services=(service(**(options | discovery)),))


class Finder:
    """What the director process looks with, on a host."""

    def __init__(self, host: Host, given: DirectorPart, directory: Path) -> None:
        logs.configure("info", by="director")
        directory.mkdir(parents=True, exist_ok=True)
        self.place = InNamespace(host)
        self.part = given
        self.changes = 0
        self.down: set[DestinationKey] = set()
        self.found = FoundServers(given, directory)
        self.remembered = self.servers()
        self.place.call(self.found.start, self._changed, lambda _name: self.down)

    def _changed(self) -> None:
        self.changes += 1

    def servers(self) -> list[str]:
        """Those of the service that are not in the config, with their weights."""
        [web] = self.found.on(self.part).services
        return [f"{each.destination.key} {each.destination.weight}" for each in web.servers if each.discovered]

    def follow(self, given: DirectorPart) -> None:
        self.part = given
        self.place.call(self.found.follow, given)

    def fails(self, key: DestinationKey) -> None:
        self.down.add(key)
        self.place.call(self.found.look_again)

    def close(self) -> None:
        if not self.place.loop.is_closed():
            self.place.do(self.found.close())
            self.place.stop()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def find(lab: Lab, stack: ExitStack, tmp_path: Path) -> Callable[..., Finder]:
    def make(**discovery: Any) -> Finder:
        made = Finder(lab.host("lb1"), part_with(**discovery), tmp_path)
        stack.callback(made.close)
        return made

    return make


@pytest.fixture
def announce(lab: Lab, stack: ExitStack) -> Callable[..., Announcer]:
    def make(name: str, *addresses: str, **said: Any) -> Announcer:
        made = Announcer(lab.host(name), addresses, **said)
        stack.callback(made.close)
        return made

    return make


def wait(finder: Finder, *servers: str) -> None:
    def same() -> bool:
        assert finder.servers() == list(servers)
        return True

    wait_for(same, WITHIN_S, f"the servers to be {servers}")


Find = Callable[..., Finder]
Announce = Callable[..., Announcer]


def test_servers_that_announce_themselves_are_found_and_no_others(find: Find, announce: Announce) -> None:
    announce("s1", S1, VIRTUAL_IP, "10.8.0.21", port=8080, txt={"weight": "7"})
    announce("c1", "10.9.0.31", "10.8.0.31")
    finder = find(networks=(ip_network("10.9.0.16/29"), ip_network("10.9.0.100/32")))
    wait(finder, f"{S1}:80 1")
    announce("s2", S2, port=8080)
    wait(finder, f"{S1}:80 1", f"{S2}:80 1")
    assert finder.changes >= 1


def test_by_nat_the_announced_port_and_a_weight_that_is_trusted(find: Find, announce: Announce) -> None:
    announce("s1", S1, port=8080, txt={"weight": "7"})
    announce("s2", S2, port=8081, txt={"weight": "much"})
    wait(find(port=None, trust_weight=True, weight=3), f"{S1}:8080 7", f"{S2}:8081 3")


def test_who_says_goodbye_stays_until_it_is_forgotten(find: Find, announce: Announce) -> None:
    s1 = announce("s1", S1)
    announce("s2", S2)
    finder = find(forget_after_s=5.0 * PACE)
    wait(finder, f"{S1}:80 1", f"{S2}:80 1")
    s1.close()
    wait(finder, f"{S2}:80 1")


def test_who_says_goodbye_and_fails_is_gone_long_before(find: Find, announce: Announce) -> None:
    s1 = announce("s1", S1)
    announce("s2", S2)
    finder = find(forget_after_s=3600.0)
    wait(finder, f"{S1}:80 1", f"{S2}:80 1")
    s1.close()
    [web] = finder.found.on(finder.part).services
    for each in web.servers:
        finder.fails(each.destination.key)
    wait(finder, f"{S2}:80 1")


def test_what_was_found_is_known_at_the_next_start_and_forgotten_if_it_is_gone(find: Find, announce: Announce) -> None:
    s1 = announce("s1", S1)
    announce("s2", S2)
    first = find(forget_after_s=10.0 * PACE)
    wait(first, f"{S1}:80 1", f"{S2}:80 1")
    first.close()
    s1.close()
    second = find(forget_after_s=10.0 * PACE)
    assert second.remembered == [f"{S1}:80 1", f"{S2}:80 1"]
    wait(second, f"{S2}:80 1")


def test_another_config_is_followed(find: Find, announce: Announce) -> None:
    announce("s1", S1)
    announce("s2", S2)
    finder = find(type="_https._tcp")
    assert finder.servers() == []
    finder.follow(part_with())
    wait(finder, f"{S1}:80 1", f"{S2}:80 1")
    finder.follow(part_with(networks=(ip_network("10.9.0.22/32"),)))
    assert finder.servers() == [f"{S2}:80 1"]
    finder.follow(replace(finder.part, services=()))
    assert finder.found.on(part_with()).services[0].servers == part_with().services[0].servers


def test_where_nobody_can_look_it_is_said(find: Find, capfd: pytest.CaptureFixture[str]) -> None:
    find(interfaces=("nowhere1",))
    said = ""

    def heard() -> bool:
        nonlocal said
        said += "".join(capfd.readouterr())
        return "servers cannot be discovered" in said and "nowhere1 has no address" in said

    wait_for(heard, WITHIN_S, "the failure to be logged")
