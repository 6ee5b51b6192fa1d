"""What a reload needs of the control sockets and of the channels between the processes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.daemon.channel import Channel, Hello, WatchEndpoints
from ha_lvs.daemon.children import Child, Spec
from ha_lvs.daemon.control import GUARDIAN_SOCKET_NAME, query, serve
from ha_lvs.daemon.patience import RESTART_FIRST_S, RESTART_MAX_S, STARTING_S
from ha_lvs.daemon.process import monotonic
from ha_lvs.daemon.wiring import Wiring
from ha_lvs.errors import PlatformError

ANSWER_S = 30.0


def test_an_answer_may_come_later_and_others_are_served_meanwhile(tmp_path: Path) -> None:
    """Two clients, each of whom is answered only when both have asked."""

    async def talk() -> list[dict[str, Any]]:
        both = asyncio.Event()
        asked: list[Any] = []

        async def answer(request: dict[str, Any]) -> dict[str, Any]:
            asked.append(request["verb"])
            if len(asked) == 2:
                both.set()
            await both.wait()
            return {"verb": request["verb"]}

        server = await serve(tmp_path, answer, name=GUARDIAN_SOCKET_NAME, mode=0o600)
        path = tmp_path / GUARDIAN_SOCKET_NAME
        assert path.stat().st_mode & 0o777 == 0o600
        ask = [asyncio.to_thread(query, tmp_path, verb, ANSWER_S, name=GUARDIAN_SOCKET_NAME) for verb in ("a", "b")]
        answers = await asyncio.gather(*ask)
        server.close()
        return answers

    assert asyncio.run(asyncio.wait_for(talk(), ANSWER_S)) == [{"verb": "a"}, {"verb": "b"}]


def test_a_failure_that_comes_later_reaches_who_asked(tmp_path: Path) -> None:
    async def fail(_request: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        raise RuntimeError("the kernel is on fire")

    async def talk() -> None:
        server = await serve(tmp_path, fail)
        with pytest.raises(PlatformError, match="the kernel is on fire"):
            await asyncio.to_thread(query, tmp_path, "reload", ANSWER_S)
        server.close()

    asyncio.run(asyncio.wait_for(talk(), ANSWER_S))


def test_what_the_dead_have_not_read_is_dropped_and_the_channels_go_on() -> None:
    wiring = Wiring()
    director, prober = (Channel(end.dup()) for end in wiring._director_prober)
    elector, from_elector = (Channel(end.dup()) for end in wiring._elector_director)
    old = [director.send(WatchEndpoints(())), prober.send(Hello()), elector.send(Hello())]
    old += [channel.send(Hello()) for channel in wiring.channels.values()]
    assert all(old)
    wiring.drop_unread()
    assert [channel.receive() for channel in (director, prober, from_elector)] == [[], [], []]
    assert director.send(Hello())
    assert prober.receive() == [Hello()]
    assert not prober.closed
    left = Channel(wiring._guardian_elector[1].dup()).receive()
    assert left == [Hello()], "the elector lives and will read it"


def test_a_dismissed_child_ends_at_once_and_its_successor_starts_without_delay() -> None:
    """A real process, which cannot start its work because it is given no channels: how it ends does not matter."""
    ended: list[tuple[bool, int]] = []

    async def live() -> None:
        done = asyncio.Event()

        def died(child: Child, code: int) -> None:
            ended.append((child.dismissed, code))
            done.set()

        child = Child(Spec("prober", {}), died)
        child.delay_s = 5.0
        child.start()
        child.dismiss(Spec("prober", {}, ("--unknown",)))
        await asyncio.wait_for(done.wait(), ANSWER_S)
        assert child.delay_s == RESTART_FIRST_S
        done.clear()
        child.start()
        assert not child.dismissed
        await asyncio.wait_for(done.wait(), ANSWER_S)

    asyncio.run(live())
    assert ended == [(True, -9), (False, 2)]


def test_death_and_restart_are_no_answer() -> None:
    async def live() -> None:
        done = asyncio.Event()
        child = Child(Spec("prober", {}), lambda _child, _code: done.set())
        child.start()
        assert child.answered_at is None
        child.alive()
        answered_at = child.answered_at
        child.kill()
        await asyncio.wait_for(done.wait(), ANSWER_S)
        done.clear()
        child.start()
        assert (child.answered_at, child.spoke) == (answered_at, False)
        child.kill()
        await asyncio.wait_for(done.wait(), ANSWER_S)

    asyncio.run(live())


CANNOT_START = Spec("prober", {"--guardian-fd": 9999})
"""The system refuses to start it: the file descriptor that it is to inherit does not exist."""


def test_while_the_start_itself_fails_the_delay_grows() -> None:
    child = Child(CANNOT_START, lambda _child, _code: None)
    child.started_at = monotonic() - 3600.0  # the one before was started, and lived, long ago
    delays = []
    for _ in range(10):
        with pytest.raises(OSError, match="Bad file descriptor"):
            child.start()
        delays.append(child.next_delay_s())
    assert delays[:3] == [RESTART_FIRST_S, 2 * RESTART_FIRST_S, 4 * RESTART_FIRST_S]
    assert delays[-1] == RESTART_MAX_S


def test_a_successor_that_cannot_be_started_has_not_spoken() -> None:
    async def live() -> None:
        done = asyncio.Event()
        child = Child(Spec("prober", {}), lambda _child, _code: done.set())
        child.start()
        child.alive()
        child.dismiss(CANNOT_START)
        assert not child.spoke
        child.alive()  # last words that were read late
        await asyncio.wait_for(done.wait(), ANSWER_S)
        with pytest.raises(OSError, match="Bad file descriptor"):
            child.start()
        assert (child.spoke, child.running) == (False, False)

    asyncio.run(live())


def test_a_dismissal_gives_the_whole_allowance_but_only_to_who_has_ever_answered() -> None:
    child = Child(CANNOT_START, lambda _child, _code: None)
    child.dismiss(CANNOT_START)
    assert child.answered_at is None, "nobody has been missed yet"
    child.answered_at = long_ago = monotonic() - 3600.0
    child.dismiss(CANNOT_START)
    assert child.answered_at > long_ago + 3500.0


def test_silence_is_too_long_by_another_measure_for_one_that_has_never_spoken() -> None:
    async def live() -> None:
        done = asyncio.Event()
        child = Child(Spec("prober", {}, alive_s=5.0), lambda _child, _code: done.set())
        child.start()
        born = child.alive_at
        assert child.stuck_for_s(born + STARTING_S) is None
        assert child.stuck_for_s(born + STARTING_S + 0.5) == pytest.approx(STARTING_S + 0.5)
        child.alive()
        assert child.stuck_for_s(child.alive_at + 5.0) is None
        assert child.stuck_for_s(child.alive_at + 5.5) == pytest.approx(5.5)
        child.kill()
        await asyncio.wait_for(done.wait(), ANSWER_S)
        assert child.stuck_for_s(born + 3600.0) is None, "one that does not run is not stuck"

    asyncio.run(live())
