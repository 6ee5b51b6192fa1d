"""The probers as the director sees them: who is told what, who is silent, what is stale."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from ha_lvs.daemon.channel import Channel, ForgetEndpoints, Hello, WatchEndpoints, pair
from ha_lvs.daemon.probing import LOOK_EVERY_S, SILENT_S, Probing
from ha_lvs.model import Check, CheckType, Endpoint, ServerState
from ha_lvs.observe import logs
from ha_lvs.plan.sharding import names, shard

UP, DOWN, UNKNOWN = ServerState.UP, ServerState.DOWN, ServerState.UNKNOWN
COUNT = 3
EVERY = [Endpoint(ip_address(0x0A000000 + number), 80, Check(CheckType.TCP)) for number in range(300)]


class Probers:
    """The director's side, under a clock of the test, and the probers' ends."""

    def __init__(self) -> None:
        logs.configure("info")
        self.now = 1000.0
        self.known: dict[Endpoint, ServerState] = dict.fromkeys(EVERY, UNKNOWN)
        self.verdicts: dict[Endpoint, Any] = {}
        pairs = {name: pair() for name in names(COUNT)}
        ours = {name: Channel(ends[0]) for name, ends in pairs.items()}
        self.ends = {name: Channel(ends[1]) for name, ends in pairs.items()}
        self.probing = Probing(ours, lambda: self.known, lambda: self.verdicts, lambda: self.now)
        self._ours = ours

    def share(self, name: str) -> set[Endpoint]:
        return {each for each in EVERY if shard(each, COUNT) == names(COUNT).index(name)}

    def frames(self, name: str) -> list[Any]:
        return self.ends[name].receive()

    def watched(self, name: str) -> dict[Endpoint, tuple[bool, bool]]:
        frames = [frame for frame in self.frames(name) if isinstance(frame, WatchEndpoints)]
        return {each: (frame.serving, frame.down) for frame in frames for each in frame.endpoints}

    def live(self, seconds: float, *speaking: str) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += LOOK_EVERY_S
            for name in speaking:
                self.probing.heard(name)
            self.probing.look()

    def alive(self) -> dict[str, bool]:
        return {each["name"]: each["alive"] for each in self.probing.status()}

    def close(self) -> None:
        for each in (*self._ours.values(), *self.ends.values()):
            each.close()


@pytest.fixture
def probers(capfd: pytest.CaptureFixture[str]) -> Iterator[Probers]:
    """Made while standard error is what `capfd` reads: the log goes where that was when it was configured."""
    made = Probers()
    yield made
    made.close()


def test_each_is_told_of_its_share_and_of_nothing_else(probers: Probers) -> None:
    probers.probing.start()
    for name in names(COUNT):
        first, *rest = probers.frames(name)
        assert first == Hello()
        assert {each for frame in rest for each in frame.endpoints} == probers.share(name)
    assert sum(each["endpoints"] for each in probers.probing.status()) == len(EVERY)


def test_one_that_was_there_first_is_counted_once(probers: Probers) -> None:
    probers.probing.started("prober")
    probers.probing.start()
    assert sum(each["endpoints"] for each in probers.probing.status()) == len(EVERY)


def test_what_goes_is_forgotten_by_whoever_probes_it(probers: Probers) -> None:
    probers.probing.start()
    gone = EVERY[:100]
    for name in names(COUNT):
        probers.frames(name)
    probers.probing.forget(gone)
    for name in names(COUNT):
        frames = probers.frames(name)
        assert all(isinstance(frame, ForgetEndpoints) for frame in frames)
        assert {each for frame in frames for each in frame.endpoints} == probers.share(name) & set(gone)


def test_a_new_one_is_told_what_is_known_and_the_others_hear_nothing(probers: Probers) -> None:
    probers.probing.start()
    for name in names(COUNT):
        probers.frames(name)
    share = sorted(probers.share("prober-2"), key=str)
    up, down = share[0], share[1]
    probers.known |= {up: UP, down: DOWN}
    probers.verdicts = {up: object(), down: object()}
    probers.probing.started("prober-2")
    watched = probers.watched("prober-2")
    assert watched.keys() == set(share)
    assert (watched.pop(up), watched.pop(down)) == ((True, False), (False, True))
    assert set(watched.values()) == {(False, False)}
    assert [probers.frames(name) for name in ("prober", "prober-3")] == [[], []]


def test_a_silent_one_makes_its_verdicts_stale_and_no_others(
    probers: Probers, capfd: pytest.CaptureFixture[str]
) -> None:
    probers.probing.start()
    probers.live(3, *names(COUNT))
    assert probers.alive() == dict.fromkeys(names(COUNT), True)
    probers.live(SILENT_S, "prober", "prober-3")
    assert not any(map(probers.probing.is_stale, EVERY)), "not yet"
    probers.live(2, "prober", "prober-3")
    assert {each for each in EVERY if probers.probing.is_stale(each)} == probers.share("prober-2")
    assert probers.alive() == {"prober": True, "prober-2": False, "prober-3": True}
    probers.live(60, "prober", "prober-3")
    probers.live(1, *names(COUNT))
    assert not any(map(probers.probing.is_stale, EVERY)), "it was only slow: what it has said still counts"
    told = capfd.readouterr().err
    assert told.count("prober is silent; verdicts are stale") == 1
    assert told.count("prober is back") == 1
    assert "process=prober-2" in told


def test_what_the_predecessor_said_is_stale_until_the_new_one_has_told(probers: Probers) -> None:
    probers.probing.start()
    probers.live(1, *names(COUNT))
    share = sorted(probers.share("prober"), key=str)
    probers.verdicts = dict.fromkeys(share[:2])
    probers.probing.started("prober")
    assert [each for each in share if probers.probing.is_stale(each)] == share[:2], "of the others nothing was known"
    assert [each["stale"] for each in probers.probing.status()] == [True, False, False]
    probers.probing.told("prober", share[0])
    assert [each for each in share if probers.probing.is_stale(each)] == share[1:2]
    probers.probing.forget(share[1:2])
    assert [each["stale"] for each in probers.probing.status()] == [False, False, False]


def test_one_that_has_never_spoken_is_not_there_yet_and_nothing_is_stale(
    probers: Probers, capfd: pytest.CaptureFixture[str]
) -> None:
    probers.probing.start()
    probers.live(60)
    assert probers.alive() == dict.fromkeys(names(COUNT), False)
    assert not any(map(probers.probing.is_stale, EVERY))
    assert "silent" not in capfd.readouterr().err


def test_a_loop_that_was_late_itself_finds_nobody_silent(probers: Probers) -> None:
    probers.probing.start()
    probers.live(2, *names(COUNT))
    probers.now += 30.0  # a long pass over the kernel
    probers.probing.look()
    probers.live(3, "prober")
    assert probers.alive() == dict.fromkeys(names(COUNT), True)
    probers.live(4, "prober")
    assert probers.alive() == {"prober": True, "prober-2": False, "prober-3": False}


def test_what_a_full_channel_does_not_take_comes_later(probers: Probers) -> None:
    wide = [Endpoint(ip_address(0x0B000000 + number), 80, Check(CheckType.TCP)) for number in range(60_000)]
    probers.probing.watch(dict.fromkeys(wide, UNKNOWN))
    found: set[Endpoint] = set()
    for _ in range(10_000):
        before = len(found)
        for name in names(COUNT):
            found |= probers.watched(name).keys()
        probers.probing.catch_up()
        if len(found) == before:
            break
    assert found == set(wide)
