"""Verdicts of one director at the other, over a real link."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.model import Check, CheckType, Endpoint, ServerState
from tests.kernel.peers import WITHIN_S, PeeringNode, link_config, part

pytestmark = pytest.mark.netns

UP, DOWN, UNKNOWN = ServerState.UP, ServerState.DOWN, ServerState.UNKNOWN
MANY = 50_000


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab("sharing", tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def pair(lab: Lab, tmp_path: Path) -> Iterator[Callable[[], tuple[PeeringNode, PeeringNode]]]:
    """Starts both directors' peering; call it once the test is listening to the log."""
    with ExitStack() as stack:

        def start(name: str) -> PeeringNode:
            node = PeeringNode(lab.host(name), part(name, link_config(name)), tmp_path / name)
            stack.callback(node.close)
            return node

        def make() -> tuple[PeeringNode, PeeringNode]:
            lb1, lb2 = start("lb1"), start("lb2")
            wait(lambda: all(each["linked"] for node in (lb1, lb2) for each in node.peers()), "the link")
            return lb1, lb2

        yield make
    lab.heal("lb2")


def wait(condition: Callable[[], Any], what: str, within_s: float = WITHIN_S) -> None:
    wait_for(lambda: bool(condition()), within_s, what)


def endpoints(count: int, interval_s: float = 1.0) -> list[Endpoint]:
    check = Check(CheckType.TCP, interval_s)
    return [Endpoint(ip_address(0x0A000000 + number), 80, check) for number in range(count)]


def watch(node: PeeringNode, every: Iterable[Endpoint]) -> None:
    node.place.call(node.peering.verdicts.watch, every)


def say(node: PeeringNode, every: list[Endpoint], state: ServerState) -> None:
    def some_of_them(some: list[Endpoint]) -> None:
        for each in some:
            node.peering.verdicts.verdict(each, state)

    for at in range(0, len(every), 1000):
        node.place.call(some_of_them, every[at : at + 1000])


def disagreements(node: PeeringNode) -> int:
    return int(node.place.call(node.peering.status)["disagreements"])


def test_a_table_of_many_comes_over_and_the_link_stands(
    pair: Callable[[], tuple[PeeringNode, PeeringNode]], lab: Lab
) -> None:
    lb1, lb2 = pair()
    every = endpoints(MANY)
    since = lb1.peers()[0]["since"]
    for node in (lb1, lb2):
        watch(node, every)
    say(lb2, every, UP)
    wait(lambda: len(lb1.borrowed) == MANY, "all verdicts", 6 * WITHIN_S)
    say(lb2, every[:10], DOWN)
    wait(lambda: [lb1.borrowed[each] for each in every[:10]] == [DOWN] * 10, "the changes")
    assert {lb1.borrowed[each] for each in every[10:]} == {UP}
    assert lb1.peers()[0]["since"] == since, "nobody was kept from giving signs of life"


def test_whoever_comes_later_is_told_everything_and_forgets_it_when_the_peer_is_gone(
    pair: Callable[[], tuple[PeeringNode, PeeringNode]], lab: Lab
) -> None:
    lb1, lb2 = pair()
    every = endpoints(2500)
    watch(lb2, every)
    say(lb2, every, UP)
    watch(lb1, every)  # after it has been told of what it did not probe
    wait(lambda: len(lb1.borrowed) == len(every), "all verdicts")
    lb2.close()
    assert set(lb1.borrowed.values()) == {UP}, "for a moment they go on"
    wait(lambda: set(lb1.borrowed.values()) == {UNKNOWN}, "them to count no longer")


def test_a_lasting_difference_is_told_and_its_end(
    pair: Callable[[], tuple[PeeringNode, PeeringNode]], capfd: pytest.CaptureFixture[str]
) -> None:
    lb1, lb2 = pair()
    [server] = endpoints(1, interval_s=0.1)
    for node in (lb1, lb2):
        watch(node, [server])
    say(lb1, [server], UP)
    say(lb2, [server], DOWN)
    wait(lambda: [disagreements(each) for each in (lb1, lb2)] == [1, 1], "both to see it")
    assert lb1.place.call(lb1.peering.verdicts.disagreeing, server) is DOWN
    assert lb2.place.call(lb2.peering.verdicts.disagreeing, server) is UP
    say(lb2, [server], UP)
    wait(lambda: [disagreements(each) for each in (lb1, lb2)] == [0, 0], "the end")
    told = ""

    def heard() -> bool:
        nonlocal told
        told += capfd.readouterr().err
        return told.count("directors agree again") == 2

    wait(heard, "both to tell of the end")
    about = [line for line in told.splitlines() if "directors disagree about a server" in line]
    assert len(about) == 2
    assert 'server="10.0.0.0:80 tcp" node=lb2 here=up there=down' in about[0] + about[1]
