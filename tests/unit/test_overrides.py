"""What operators have said: merged in any order, remembered, and carried between directors in pieces."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ha_lvs.daemon.overrides import FORGOTTEN_AFTER_S, Overrides, checked
from ha_lvs.daemon.shapes import to_json
from ha_lvs.daemon.spreading import AT_ONCE, DIGEST, DIGEST_EVERY_S, KIND, PIECE, Spreading, in_pieces
from ha_lvs.errors import ChannelError, PlatformError
from ha_lvs.model import DestinationKey, Override

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A machine with other things to do is no failure."""

NOW = time.time()
FIRST, SECOND = DestinationKey(ip_address("10.0.0.1"), 80), DestinationKey(ip_address("2001:db8::1"), 80)


def override(weight: int | None = 0, since_s: float = NOW, node: str = "lb1", **changes: Any) -> Override:
    return replace(Override("web", FIRST, weight, since_s, node), **changes)


sayings = st.lists(
    st.builds(
        Override,
        service=st.sampled_from(["web", "dns"]),
        server=st.sampled_from([FIRST, SECOND]),
        weight=st.none() | st.integers(0, 3),
        since_s=st.sampled_from([NOW - 2, NOW - 1, NOW, NOW + 1]),
        node=st.sampled_from(["lb1", "lb2"]),
    ),
    max_size=12,
)


class Remembered(Overrides):
    """Overrides without a file."""

    def __init__(self) -> None:
        super().__init__(Path("/nonexistent/overrides.json"))

    def _write(self, overrides: dict[Any, Override], oldest: float) -> None:
        pass


# ---------------------------------------------------------------------------------------------------- merging


@unhurried
@given(sayings, st.randoms(use_true_random=False), st.data())
def test_any_order_and_any_pieces_of_the_same_sayings_give_the_same(
    said: list[Override], chance: Any, data: st.DataObject
) -> None:
    one, other = Remembered(), Remembered()
    one.take(said)
    shuffled = said + data.draw(st.lists(st.sampled_from(said), max_size=5) if said else st.just([]))
    chance.shuffle(shuffled)
    for each in shuffled:
        other.take([each])
    assert one.said == other.said
    assert set(one.all) == set(other.all)
    assert one.digest() == other.digest()


@unhurried
@given(sayings, sayings)
def test_two_directors_agree_once_each_has_told_the_other_everything(
    here: list[Override], there: list[Override]
) -> None:
    one, other = Remembered(), Remembered()
    one.take(here)
    other.take(there)
    told = one.all
    one.take(other.all)
    other.take(told)
    assert set(one.all) == set(other.all)
    assert one.said == other.said
    assert one.take(other.all) == other.take(one.all) == [], "and nothing is news any more"


@unhurried
@given(sayings, sayings)
def test_digests_differ_when_knowledge_does(here: list[Override], there: list[Override]) -> None:
    one, other = Remembered(), Remembered()
    one.take(here)
    other.take(there)
    assert (one.digest() == other.digest()) == (set(one.all) == set(other.all))


@unhurried
@given(sayings, st.none() | st.integers(0, 3))
def test_what_is_said_now_holds_whatever_the_clock_of_the_peer(known: list[Override], weight: int | None) -> None:
    overrides = Remembered()
    overrides.take([replace(each, since_s=each.since_s + 86400) for each in known])
    said = override(weight, overrides.moment("web", FIRST, NOW), "lb0")
    assert overrides.take([said]) == [said]
    assert overrides.said.get(("web", FIRST)) == (None if weight is None else said)


# ------------------------------------------------------------------------------------------------ remembering


def test_the_file_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "overrides.json"
    said = [
        override(0),
        override(7, server=SECOND),
        override(0, server=None, service="dns"),
        override(None, service="old"),
    ]
    Overrides(path).take(said)
    again = Overrides(path)
    assert (set(again.all), again.problem) == (set(said), "")
    assert ("old", FIRST) not in again.said
    assert again.of("web") == (said[0], said[1])


@pytest.mark.parametrize("content", [b"nonsense", b"{}x", b'[{"service": 1}]', b"[null]", b"\xff"])
def test_a_damaged_file_is_as_none_and_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "overrides.json"
    path.write_bytes(content)
    overrides = Overrides(path)
    assert "damaged" in overrides.problem
    assert overrides.all == ()
    overrides.take([override()])
    assert Overrides(path).all == (override(),)


def test_what_cannot_be_written_is_not_taken_in(tmp_path: Path) -> None:
    overrides = Overrides(tmp_path / "gone" / "overrides.json")
    with pytest.raises(PlatformError, match="nothing was changed"):
        overrides.take([override()])
    assert overrides.all == ()


def test_what_was_taken_back_long_ago_is_forgotten_and_no_news_from_a_peer(tmp_path: Path) -> None:
    overrides = Overrides(tmp_path / "overrides.json")
    old = override(None, NOW - FORGOTTEN_AFTER_S - 60)
    assert overrides.take([old]) == []
    lasting = override(0, NOW - FORGOTTEN_AFTER_S - 60)
    assert overrides.take([lasting]) == [lasting], "what still holds does not age"
    assert overrides.take([replace(old, since_s=old.since_s + 1)]) != []
    assert overrides.all == ()


# -------------------------------------------------------------------------------------------- between directors


@pytest.mark.parametrize(
    "changes",
    [
        {"weight": 65_536}, {"weight": -1}, {"weight": "1"}, {"since_s": 1e300}, {"since_s": -1.0},
        {"since_s": float("nan")}, {"server": None, "weight": 1}, {"server": "10.0.0.1:80"}, {"service": None},
        {"service": ["x"]}, {"node": 3}, {"weight": True}, {"server": {"address": "10.0.0.1", "port": 99999}},
    ],
)  # fmt: skip
def test_what_nobody_can_have_said_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises((ChannelError, ValueError)):
        checked({**to_json(override()), **changes})


def test_messages_are_bounded() -> None:
    many = [override(service="x" * 200, server=DestinationKey(ip_address(10 << 24 | each), 80)) for each in range(3000)]
    pieces = list(in_pieces(many))
    assert [checked(each) for piece in pieces for each in piece] == many
    assert all(len(piece) <= AT_ONCE and len(json.dumps(piece)) <= PIECE + 100 for piece in pieces)


class FakeLink:
    """A link that gives what is sent to the other end's hub, unless it loses it."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.linked = True
        self.losing = False
        self.sent: list[str] = []
        self.far: tuple[FakeHub, FakeLink] | None = None

    def send(self, kind: str, body: dict[str, Any]) -> bool:
        self.sent.append(kind)
        if self.far is not None and not self.losing:
            hub, back = self.far
            hub.waiting.append((kind, back, json.loads(json.dumps(body))))
        return self.linked

    async def drain(self) -> None:
        await asyncio.sleep(0)


class FakeHub:
    """What `Spreading` needs of a hub."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}
        self.links: list[FakeLink] = []
        self.waiting: list[tuple[str, FakeLink, dict[str, Any]]] = []


class Node:
    """A director as far as this matters."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.hub = FakeHub()
        self.overrides = Remembered()
        self.spreading = Spreading(self.hub, self.overrides, self.overrides.take)  # type: ignore[arg-type]

    def say(self, *said: Override) -> None:
        self.spreading.tell(self.overrides.take(said))


def link(one: Node, other: Node) -> tuple[FakeLink, FakeLink]:
    there, back = FakeLink(other.name), FakeLink(one.name)
    there.far, back.far = (other.hub, back), (one.hub, there)
    one.hub.links.append(there)
    other.hub.links.append(back)
    one.spreading.linked(there)  # type: ignore[arg-type]
    other.spreading.linked(back)  # type: ignore[arg-type]
    return there, back


async def settle(*nodes: Node) -> None:
    """Delivers until nothing is under way."""
    for _ in range(2000):
        await asyncio.sleep(0)
        for node in nodes:
            waiting, node.hub.waiting = node.hub.waiting, []
            for kind, back, body in waiting:
                if kind in node.hub.handlers:
                    node.hub.handlers[kind](back, body)
        if not any(node.hub.waiting for node in nodes):
            return
    raise AssertionError("they talk for ever")


def test_a_director_that_was_away_learns_everything_and_then_the_news() -> None:
    async def story() -> None:
        one, other = Node("lb1"), Node("lb2")
        one.say(*(override(server=DestinationKey(ip_address(10 << 24 | each), 80)) for each in range(1000)))
        other.say(override(None, service="dns", node="lb2"))
        link(one, other)
        for _ in range(20):
            await settle(one, other)
        assert set(one.overrides.all) == set(other.overrides.all)
        assert len(one.overrides.all) == 1001
        other.say(override(5, NOW + 1, "lb2"))
        await settle(one, other)
        assert one.overrides.said["web", FIRST].weight == 5

    asyncio.run(story())


def test_a_third_director_hears_of_it_through_the_second() -> None:
    async def story() -> None:
        nodes = [Node(name) for name in ("lb1", "lb2", "lb3")]
        link(nodes[0], nodes[1])
        link(nodes[1], nodes[2])
        await settle(*nodes)
        nodes[0].say(override())
        await settle(*nodes)
        assert nodes[2].overrides.all == (override(),)

    asyncio.run(story())


def test_what_was_lost_on_the_way_is_made_up_for_by_the_digests() -> None:
    async def story() -> None:
        one, other = Node("lb1"), Node("lb2")
        there, _ = link(one, other)
        await settle(one, other)
        there.losing = True
        one.say(override())
        await settle(one, other)
        assert not other.overrides.said
        there.losing = False
        now = time.monotonic()
        other.spreading.look(now)
        await settle(one, other)
        assert other.overrides.all == (override(),)
        before = len(there.sent)
        one.spreading.look(now)
        one.spreading.look(now + DIGEST_EVERY_S / 2)
        await settle(one, other)
        assert there.sent[before:] == [DIGEST], "who agrees says nothing more"

    asyncio.run(story())


def test_a_peer_of_an_earlier_version_is_sent_no_digests() -> None:
    async def story() -> None:
        one, old = Node("lb1"), Node("lb2")
        there = FakeLink("lb2")
        one.hub.links.append(there)
        one.spreading.linked(there)  # type: ignore[arg-type]
        one.spreading.look(time.monotonic())
        await settle(one, old)
        assert there.sent == [KIND]

    asyncio.run(story())


@pytest.mark.parametrize("body", [{}, {"overrides": {}}, {"overrides": [1]}, {"overrides": [{}] * (AT_ONCE + 1)}])
def test_a_message_that_is_none_is_told_from_the_link_by_its_error(body: dict[str, Any]) -> None:
    node = Node("lb1")
    with pytest.raises((KeyError, TypeError, ValueError)):
        node.hub.handlers[KIND](FakeLink("lb2"), body)
    assert node.overrides.all == ()
