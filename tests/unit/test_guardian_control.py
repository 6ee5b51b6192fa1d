"""What a reload needs of the control sockets and of the channels between the processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.daemon.channel import Alive, Channel, Estate, HandOver, Hello, OfferRole, Ready, WatchEndpoints
from ha_lvs.daemon.children import Child, Spec
from ha_lvs.daemon.control import GUARDIAN_SOCKET_NAME, query, serve
from ha_lvs.daemon.elect.succession import bequeath, take_over
from ha_lvs.daemon.household import End, end_of_elector
from ha_lvs.daemon.orders import Orders
from ha_lvs.daemon.patience import RESTART_FIRST_S, RESTART_MAX_S, STARTING_MAX_S, STARTING_S
from ha_lvs.daemon.process import monotonic
from ha_lvs.daemon.wiring import Wiring
from ha_lvs.errors import PlatformError
from ha_lvs.model import AttendantPart, DirectorPart, ElectorPart, OnStop

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


def ends(wiring: Wiring, left: str, right: str) -> tuple[Channel, Channel]:
    """Both ends of a channel, for a test to speak and to listen at."""
    one, other = wiring._links[left, right]
    return Channel(one.dup()), Channel(other.dup())


def test_what_the_dead_have_not_read_is_dropped_and_the_channels_go_on() -> None:
    wiring = Wiring()
    director, prober = ends(wiring, "director", "prober")
    elector, from_elector = ends(wiring, "elector", "director")
    old = [director.send(WatchEndpoints(())), prober.send(Hello()), elector.send(Hello()), from_elector.send(Hello())]
    old += [channel.send(Hello()) for channel in wiring.channels.values()]
    assert all(old)
    wiring.drop_unread(["director", "prober"])
    assert [channel.receive() for channel in (director, prober, from_elector)] == [[], [], []]
    assert director.send(Hello())
    assert prober.receive() == [Hello()]
    assert not prober.closed
    assert elector.receive() == [Hello()], "the elector lives and will read it"
    for name in ("elector", "attendant"):
        assert ends(wiring, "guardian", name)[1].receive() == [Hello()], "and so does the attendant"


def test_an_elector_that_starts_afresh_hears_nothing_that_was_said_to_the_dead_one() -> None:
    """Least of all an offer of the role, or what an operator asked for and has been told that it failed."""
    wiring = Wiring()
    offer = OfferRole("edge", (), 0.5)
    director, attendant = ends(wiring, "elector", "director")[1], ends(wiring, "elector", "attendant")[1]
    assert all([director.send(offer), attendant.send(Hello()), wiring.channels["elector"].send(HandOver(1))])
    elector = [ends(wiring, *link)[link.index("elector")] for link in wiring._links if "elector" in link]
    wiring.afresh()
    assert [channel.receive() for channel in elector] == [[], [], []]


# ----------------------------------------------------------------------------------------------- succession

NOTHING = Orders(
    ElectorPart("lb1", ()),
    DirectorPart("edge", "lb1", "", (), (), None, OnStop.KEEP, 30.0),
    AttendantPart("lb1", ()),
    "info",
)


def at(spec: Spec, option: str) -> Channel:
    """The channel that a process started so would have."""
    return Channel.from_fd(os.dup(spec.fds[option]))


def test_a_successor_talks_to_the_elector_before_it_and_has_a_channel_for_the_next() -> None:
    wiring = Wiring()
    first = wiring.specs(NOTHING, Path())["elector"]
    assert "--succeed-fd" not in first.fds
    second = wiring.successor(NOTHING)
    old, new = at(first, "--bequeath-fd"), at(second, "--succeed-fd")
    new.send(Ready())
    assert old.receive() == [Ready()]
    assert bequeath(old, Estate({}, {}))
    assert take_over(new) == Estate({}, {})
    for option in ("--guardian-fd", "--director-fd", "--attendant-fd"):
        assert first.fds[option] == second.fds[option], "all else is shared"
    wiring.succeeded()
    third = wiring.successor(NOTHING)
    at(third, "--succeed-fd").send(Ready())
    assert at(second, "--bequeath-fd").receive() == [Ready()]


def test_a_successor_learns_that_there_is_no_estate_only_when_the_guardian_says_so() -> None:
    wiring = Wiring()
    old = at(wiring.specs(NOTHING, Path())["elector"], "--bequeath-fd")
    new = at(wiring.successor(NOTHING), "--succeed-fd")
    old.close()  # it has died
    assert (new.receive(), new.closed) == ([], False), "until then the guardian may withdraw what it held"
    wiring.succeeded()
    assert (new.receive(), new.closed) == ([], True)


def test_the_word_of_a_successor_that_died_is_not_obeyed_and_another_may_come() -> None:
    wiring = Wiring()
    old = at(wiring.specs(NOTHING, Path())["elector"], "--bequeath-fd")
    at(wiring.successor(NOTHING), "--succeed-fd").send(Ready())
    wiring.not_succeeded()
    assert (old.receive(), old.closed) == ([], False)
    at(wiring.successor(NOTHING), "--succeed-fd").send(Ready())
    assert old.receive() == [Ready()]


@pytest.mark.parametrize(
    ("code", "successor_lives", "expected"),
    [
        (0, True, End.BEQUEATHED),
        (0, False, End.DIED),
        (1, True, End.LEFT_NOTHING),
        (-9, True, End.LEFT_NOTHING),
        (-9, False, End.DIED),
    ],
)
def test_what_the_end_of_an_elector_means(code: int, successor_lives: bool, expected: End) -> None:
    assert end_of_elector(code, successor_lives=successor_lives) is expected


def test_channels_outlive_a_program() -> None:
    """What is on its way when one program gives way to the next is read by whoever it was for."""
    wiring = Wiring()
    elector = ends(wiring, "guardian", "elector")[1]
    old = at(wiring.specs(NOTHING, Path())["elector"], "--bequeath-fd")
    elector.send(Alive())
    left = {name: (os.dup(one), os.dup(other)) for name, (one, other) in wiring.ends().items()}
    known = {name: fds for name, fds in left.items() if name != "elector attendant"}  # the older one had no attendant
    after = Wiring.from_ends(known)
    assert after.channels["elector"].receive() == [Alive()]
    assert after.channels["elector"].send(Hello())
    assert elector.receive() == [Hello()]
    at(after.successor(NOTHING), "--succeed-fd").send(Ready())
    assert old.receive() == [Ready()]
    assert not any(os.get_inheritable(fd) for fds in known.values() for fd in fds)


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


def test_one_killed_for_being_slow_to_start_gets_more_time_until_one_has_spoken() -> None:
    async def live() -> None:
        done = asyncio.Event()
        child = Child(Spec("prober", {}, alive_s=5.0), lambda _child, _code: done.set())
        for allowed_s in (STARTING_S, 2 * STARTING_S, 4 * STARTING_S, STARTING_MAX_S, STARTING_MAX_S):
            done.clear()
            child.start()
            assert child.stuck_for_s(child.alive_at + allowed_s - 0.5) is None
            assert child.stuck_for_s(child.alive_at + allowed_s + 0.5) is not None
            child.kill_stuck()
            await asyncio.wait_for(done.wait(), ANSWER_S)
        done.clear()
        child.start()
        child.alive()
        child.kill_stuck()
        await asyncio.wait_for(done.wait(), ANSWER_S)
        child.start()
        assert child.stuck_for_s(child.alive_at + STARTING_S + 0.5) is not None, "it had been there: as at first"
        child.kill()

    asyncio.run(live())


def test_silence_is_too_long_by_another_measure_for_one_that_has_never_spoken() -> None:
    async def live() -> None:
        done = asyncio.Event()
        child = Child(Spec("prober", {}, alive_s=5.0), lambda _child, _code: done.set())
        child.start()
        born = child.alive_at
        assert child.stuck_for_s(born + STARTING_S - 0.5) is None
        assert child.stuck_for_s(born + STARTING_S + 0.5) == pytest.approx(STARTING_S + 0.5)
        child.alive()
        assert child.stuck_for_s(child.alive_at + 4.5) is None
        assert child.stuck_for_s(child.alive_at + 5.5) == pytest.approx(5.5)
        child.kill()
        await asyncio.wait_for(done.wait(), ANSWER_S)
        assert child.stuck_for_s(born + 3600.0) is None, "one that does not run is not stuck"

    asyncio.run(live())


# -------------------------------------------------------------------------------------------------- adoption


def test_a_child_of_an_earlier_program_is_watched_like_one_of_ours() -> None:
    """A real child of this process, which `Child` has not started."""
    ended: list[int] = []

    async def live() -> None:
        done = asyncio.Event()

        def died(_child: Child, code: int) -> None:
            ended.append(code)
            done.set()

        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        child = Child(Spec("prober", {}), died)
        child.adopt(sleeper.pid)
        assert (child.running, child.spoke) == (True, True)
        child.kill()
        await asyncio.wait_for(done.wait(), ANSWER_S)
        assert not child.running
        sleeper.returncode = 0  # it was waited for here

    asyncio.run(live())
    assert ended == [-9]


def test_one_that_ended_meanwhile_is_noticed_with_its_exit_code() -> None:
    async def live() -> None:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        short = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
        os.waitid(os.P_PID, short.pid, os.WEXITED | os.WNOWAIT)
        child = Child(Spec("prober", {}), lambda _child, code: done.set_result(code))
        child.adopt(short.pid)
        assert await asyncio.wait_for(done, ANSWER_S) == 3
        short.returncode = 3

    asyncio.run(live())


def test_who_is_no_child_of_ours_is_not_adopted() -> None:
    async def live() -> None:
        child = Child(Spec("prober", {}), lambda _child, _code: None)
        with pytest.raises(ChildProcessError):
            child.adopt(os.getppid())
        assert not child.running

    asyncio.run(live())
