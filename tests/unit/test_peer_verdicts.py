"""Verdicts shared by a pair: what is said, what of it counts, and where the two differ; in simulated time."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha_lvs.daemon.sharing import identify
from ha_lvs.model import Check, CheckType, Endpoint, HttpCheck, ServerState
from ha_lvs.peer.disagreements import SHORTEST_S, TELL_EVERY_S, TELL_MOST, Disagreements
from ha_lvs.peer.news import AT_ONCE, DIGEST_BYTES, MOST_AT_ONCE, News, news
from ha_lvs.peer.verdicts import KEEP_S, Verdicts

UP, DOWN, UNKNOWN = ServerState.UP, ServerState.DOWN, ServerState.UNKNOWN
CHECK = Check(CheckType.TCP, interval_s=1.0)
EVERY = [Endpoint(ip_address(0x0A000000 + number), 80, CHECK) for number in range(6)]
VERDICTS = st.sampled_from([UP, DOWN])


def digest(endpoint: Endpoint) -> bytes:
    return hashlib.sha256(repr(endpoint).encode()).digest()[:DIGEST_BYTES]


# ------------------------------------------------------------------------------------------------ identity


def test_an_endpoint_is_the_same_on_both_directors_wherever_they_probe_from() -> None:
    here = Endpoint(ip_address("10.9.0.21"), 80, replace(CHECK, source=ip_address("10.9.0.11")))
    there = Endpoint(ip_address("10.9.0.21"), 80, replace(CHECK, source=ip_address("10.9.0.12")))
    assert identify(here) == identify(there) == identify(replace(here, check=CHECK))
    assert len(identify(here)) == DIGEST_BYTES


def test_whatever_else_differs_makes_another_endpoint() -> None:
    first = Endpoint(ip_address("10.9.0.21"), 80, CHECK)
    others = [
        replace(first, address=ip_address("10.9.0.22")),
        replace(first, port=81),
        replace(first, check=replace(CHECK, interval_s=2.0)),
        replace(first, check=replace(CHECK, type=CheckType.HTTP)),
        replace(first, check=replace(CHECK, http=HttpCheck(path="/other"))),
        replace(first, check=replace(CHECK, mark=5)),
    ]
    assert len({identify(each) for each in (first, *others)}) == len(others) + 1


def test_an_identity_is_the_same_in_every_release() -> None:
    """Two directors of one pair may run different ones."""
    assert identify(Endpoint(ip_address("10.9.0.21"), 80, CHECK)).hex() == "5bf37c086c8b4072"


# ------------------------------------------------------------------------------------------------ messages

DIGESTS = st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES)


@given(st.integers(1, 1 << 40), st.dictionaries(DIGESTS, st.sampled_from(ServerState)), st.booleans(), st.booleans())
def test_news_survive_the_way(number: int, states: dict[bytes, ServerState], begins: bool, ends: bool) -> None:
    told = News(number, states, begins, ends)
    assert news(told.body()) == told


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary().map(str), st.lists(st.text())
)


@given(st.dictionaries(st.one_of(st.sampled_from(["n", "begins", "ends", "up", "down", "gone"]), st.text()), VALUES))
def test_a_body_is_news_or_refused(body: dict[str, Any]) -> None:
    try:
        found = news(body)
    except (ValueError, KeyError, TypeError):
        return
    assert found.number > 0
    assert all(len(each) == DIGEST_BYTES for each in found.states)


def test_more_than_fit_are_refused() -> None:
    states = {number.to_bytes(8, "big"): UP for number in range(MOST_AT_ONCE + 2)}
    with pytest.raises(ValueError, match="too many"):
        news(News(1, states).body())


# ------------------------------------------------------------------------------------------- a pair and its link


@dataclass
class Side:
    """One director: its verdicts, and what it has taken over from the other."""

    name: str
    verdicts: Verdicts = field(default_factory=lambda: Verdicts(digest))
    own: dict[Endpoint, ServerState] = field(default_factory=dict)
    borrowed: dict[Endpoint, ServerState] = field(default_factory=dict)

    def lent(self) -> dict[Endpoint, ServerState]:
        """What it has taken over, of each endpoint that it has no verdict of."""
        return {each: self.borrowed.get(each, UNKNOWN) for each in EVERY if each not in self.own}

    def take(self, changed: Mapping[Endpoint, ServerState]) -> None:
        self.borrowed |= changed

    def say(self, endpoint: Endpoint, state: ServerState, now: float) -> None:
        self.own[endpoint] = state
        self.verdicts.verdict(endpoint, state, now)


class World:
    """A pair whose link loses messages, and comes and goes."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sides = [Side("lb1"), Side("lb2")]
        self.linked = False
        self.lossy = False
        for side in self.sides:
            side.verdicts.watch(EVERY)

    def pairs(self) -> list[tuple[Side, Side]]:
        return [(self.sides[0], self.sides[1]), (self.sides[1], self.sides[0])]

    def link(self) -> None:
        if self.linked:
            return
        self.linked = True
        for here, there in self.pairs():
            here.verdicts.linked(there.name)
        for here, there in self.pairs():
            self.tell_all(here, there)

    def unlink(self) -> None:
        if self.linked:
            self.linked = False
            for here, there in self.pairs():
                here.verdicts.lost(there.name, self.now)

    def tell_all(self, here: Side, there: Side) -> None:
        pieces = here.verdicts.whole(there.name)
        for at, piece in enumerate(pieces):
            told = here.verdicts.piece(there.name, piece, begins=at == 0, ends=at == len(pieces) - 1)
            self.carry(here, there, told)

    def carry(self, here: Side, there: Side, told: News) -> bool:
        """Brings a message over; says whether it has to begin again."""
        if self.lossy:
            return False
        changed, again = there.verdicts.hear(here.name, news(told.body()), self.now)
        there.take(changed)
        return again

    def look(self, seconds: float) -> None:
        self.now += seconds
        for side in self.sides:
            side.take(side.verdicts.look(self.now))
            side.verdicts.disagreements.look(self.now)
        for here, there in self.pairs():
            told = here.verdicts.changes(there.name, beat=True) if self.linked else None
            if told is not None and self.carry(here, there, told):
                self.tell_all(here, there)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(0, 1), st.integers(0, len(EVERY) - 1), VERDICTS),
        st.tuples(st.just("look"), st.floats(0.1, 8.0)),
        st.tuples(st.sampled_from(["link", "unlink", "lose", "keep"])),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(STEPS)
def test_once_the_link_is_good_each_knows_what_the_other_thinks(steps: list[tuple[Any, ...]]) -> None:
    world = World()
    for step in steps:
        match step:
            case ("say", side, number, state):
                world.sides[side].say(EVERY[number], state, world.now)
            case ("look", seconds):
                world.look(seconds)
            case ("link",):
                world.link()
            case ("unlink",):
                world.unlink()
            case ("lose",):
                world.lossy = True
            case ("keep",):
                world.lossy = False
        for side in world.sides:
            assert side.lent() == {each: side.verdicts.of_peers(each) for each in EVERY if each not in side.own}
    world.lossy = False
    world.link()
    world.look(1.0)
    world.look(1.0)
    for here, there in world.pairs():
        assert {each: there.verdicts.of_peers(each) for each in here.own} == here.own
        assert all(there.verdicts.of_peers(each) is UNKNOWN for each in EVERY if each not in here.own)
    world.look(SHORTEST_S + 0.1)
    world.look(0.1)
    both = world.sides[0].own.keys() & world.sides[1].own.keys()
    differing = {each for each in both if world.sides[0].own[each] is not world.sides[1].own[each]}
    for here, there in world.pairs():
        assert here.verdicts.disagreements.count == len(differing)
        found = {each: here.verdicts.disagreeing(each) for each in EVERY}
        assert found == {each: there.own[each] if each in differing else None for each in EVERY}
    world.unlink()
    world.look(KEEP_S / 2)
    for here, there in world.pairs():
        assert {each: there.own.get(each, UNKNOWN) for each in here.lent()} == here.lent(), "for a moment they go on"
    world.look(KEEP_S)
    for side in world.sides:
        assert set(side.lent().values()) <= {UNKNOWN}
        assert side.verdicts.disagreements.count == 0


def test_a_table_that_begins_again_takes_nothing_away_before_its_end() -> None:
    world = World()
    lb1, lb2 = world.sides
    for each in EVERY:
        lb2.say(each, UP, world.now)
    world.link()
    assert set(lb1.borrowed.values()) == {UP}
    lb1.verdicts.hear("lb2", News(1, {digest(EVERY[0]): DOWN}, begins=True), world.now)
    assert [lb1.verdicts.of_peers(each) for each in EVERY] == [DOWN, *[UP] * (len(EVERY) - 1)]
    changed, _ = lb1.verdicts.hear("lb2", News(2, {digest(EVERY[1]): UP}, ends=True), world.now)
    assert changed == dict.fromkeys(EVERY[2:], UNKNOWN)


def test_what_is_not_probed_here_is_not_kept_and_asked_for_when_it_is() -> None:
    world = World()
    new = replace(EVERY[0], port=81)
    lb1, lb2 = world.sides
    lb2.say(new, UP, world.now)
    world.link()
    assert lb1.verdicts.of_peers(new) is UNKNOWN
    lb1.verdicts.watch([new])
    assert lb1.verdicts.to_ask() == {"lb2"}
    assert lb1.verdicts.to_ask() == set()
    world.tell_all(lb2, lb1)
    assert lb1.verdicts.of_peers(new) is UP


def test_what_is_not_probed_any_more_is_taken_back() -> None:
    world = World()
    lb1, lb2 = world.sides
    lb2.say(EVERY[0], UP, world.now)
    lb1.say(EVERY[0], DOWN, world.now)
    world.link()
    world.look(SHORTEST_S + 1)
    assert lb1.verdicts.disagreements.count == 1
    lb2.verdicts.forget(EVERY)
    world.look(1.0)
    assert lb1.verdicts.of_peers(EVERY[0]) is UNKNOWN
    assert lb1.verdicts.disagreements.count == lb2.verdicts.disagreements.count == 0


def test_of_several_peers_one_that_says_down_is_believed() -> None:
    verdicts = Verdicts(digest)
    verdicts.watch(EVERY)
    for node in ("lb2", "lb3"):
        verdicts.hear(node, News(1, {digest(EVERY[0]): UP}, begins=True, ends=True), 0.0)
    changed, _ = verdicts.hear("lb3", News(2, {digest(EVERY[0]): DOWN}), 0.0)
    assert changed == {EVERY[0]: DOWN}
    changed, _ = verdicts.hear("lb2", News(2, {digest(EVERY[0]): DOWN}), 0.0)
    assert changed == {}
    verdicts.lost("lb3", 0.0)
    assert verdicts.look(KEEP_S) == {}
    verdicts.lost("lb2", 0.0)
    assert verdicts.look(KEEP_S) == {EVERY[0]: UNKNOWN}


def test_a_large_table_goes_in_pieces_and_what_changes_meanwhile_is_told() -> None:
    many = [Endpoint(ip_address(0x0B000000 + number), 80, CHECK) for number in range(3 * AT_ONCE - 1)]
    lb1, lb2 = Verdicts(digest), Verdicts(digest)
    for each in many:
        lb2.verdict(each, UP, 0.0)
    lb1.watch(many)
    for here, node in ((lb1, "lb2"), (lb2, "lb1")):
        here.linked(node)
    pieces = lb2.whole("lb1")
    assert [len(each) for each in pieces] == [AT_ONCE, AT_ONCE, AT_ONCE - 1]
    shuffled = random.Random(7).sample(many, 50)
    for at, piece in enumerate(pieces):
        lb1.hear("lb2", lb2.piece("lb1", piece, begins=at == 0, ends=at == 2), 0.0)
        if at == 0:
            for each in shuffled:
                lb2.verdict(each, DOWN, 0.0)
    told = lb2.changes("lb1")
    assert told is not None
    lb1.hear("lb2", told, 0.0)
    assert {each for each in many if lb1.of_peers(each) is DOWN} == set(shuffled)
    assert lb2.changes("lb1") is None


# --------------------------------------------------------------------------------------------- disagreements

ONE = b"12345678"


@given(
    st.lists(st.tuples(st.floats(0.1, 20.0), st.sampled_from([UP, DOWN, None]), st.sampled_from([UP, DOWN, None]))),
    st.floats(0.1, 10.0),
)
def test_to_differ_without_a_break_for_long_is_to_disagree(
    history: list[tuple[float, ServerState | None, ServerState | None]], interval_s: float
) -> None:
    """Against a twin that looks back over all that happened."""
    found = Disagreements(lambda _: interval_s)
    patience_s = max(5.0, 3 * interval_s)
    now, runs, told = 0.0, [], 0
    for seconds, ours, theirs in history:
        found.compare("lb2", ONE, ours, theirs, now)
        runs.append((now, ours is not None and theirs is not None and ours is not theirs))
        now += seconds
        report = found.look(now)
        begun = None
        for at, differs in reversed(runs):
            if not differs:
                break
            begun = at
        expected = begun is not None and now - begun > patience_s
        assert (found.count == 1) is expected
        told += len(report.begun) - len(report.ended)
        assert told >= 0


def case(number: int) -> bytes:
    return number.to_bytes(8, "big")


def test_of_many_a_few_are_told_one_by_one_and_the_rest_as_a_number() -> None:
    found = Disagreements(lambda _: 1.0)
    begun, many = [], []
    for number in range(1000):
        found.compare("lb2", case(number), UP, DOWN, 0.01 * number)
    for now in range(1, 50):
        report = found.look(float(now))
        begun += report.begun
        many += [report.many] if report.many else []
    assert (len(begun), found.count, len(many)) == (TELL_MOST, 1000, 1)
    at_last = [found.look(100.0 + TELL_EVERY_S + seconds) for seconds in range(100)]
    assert not any(report.begun for report in at_last)
    assert [report.many for report in at_last if report.many] == [1000], "as there have come more since"
    ended, over = [], 0
    for number in range(1000):
        found.compare("lb2", case(number), UP, UP, 300.0)
        report = found.look(300.0)
        ended += report.ended
        over += report.over
    assert (sorted(ended), over) == (sorted(begun), 1)


def test_later_ones_are_told_one_by_one_again() -> None:
    found = Disagreements(lambda _: 1.0)
    for number in range(TELL_MOST):
        found.compare("lb2", case(number), UP, DOWN, 0.0)
    assert len(found.look(10.0).begun) == TELL_MOST
    found.compare("lb2", case(99), DOWN, UP, 10.0)
    report = found.look(10.0 + TELL_EVERY_S)
    assert report.begun == [("lb2", case(99))]


def test_a_peer_that_is_gone_does_not_agree() -> None:
    found = Disagreements(lambda _: 1.0)
    for number in range(2 * TELL_MOST):
        found.compare("lb2", case(number), UP, DOWN, 0.0)
    assert found.look(10.0).many == 2 * TELL_MOST
    found.forget("lb2")
    report = found.look(11.0)
    assert (report.ended, report.over, found.count) == ([], False, 0)
