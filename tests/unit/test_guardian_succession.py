"""One elector after another: a guardian with real processes, without instances as that needs no root."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ha_lvs.daemon import succession
from ha_lvs.daemon.guardian import Guardian
from ha_lvs.daemon.orders import Orders
from ha_lvs.daemon.process import monotonic
from ha_lvs.daemon.runtime import read_note, write_note
from ha_lvs.daemon.withdrawal import Withdrawal
from ha_lvs.model import AttendantPart, DirectorPart, ElectorPart, OnStop
from ha_lvs.observe import logs
from tests.descriptors import open_descriptors

DEADLINE_S = 60.0
ORDERS = Orders(
    ElectorPart("lb1", ()),
    DirectorPart("edge", "lb1", "", (), (), None, OnStop.KEEP, 30.0),
    AttendantPart("lb1", ()),
    "info",
)


@pytest.fixture(autouse=True)
def _our_logs() -> None:
    logs.configure("info")


async def until(done: Callable[[], object], what: str) -> None:
    deadline = monotonic() + DEADLINE_S
    while not done():
        assert monotonic() < deadline, f"waited for {what}"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def running(tmp_path: Path, read_again: Callable[[], Orders] = lambda: ORDERS) -> AsyncIterator[Guardian]:
    """A guardian that is ready; it must end as planned."""
    write_note(tmp_path, ORDERS.elector)
    guardian = Guardian(ORDERS, Withdrawal(()), tmp_path, read_again)
    ended = asyncio.create_task(guardian.run())
    await until(lambda: guardian.house.ready, "all processes to answer")
    yield guardian
    guardian.house.stop_now()
    assert await asyncio.wait_for(ended, DEADLINE_S) == 0


def pid_of(guardian: Guardian) -> int:
    process = guardian.house.elector.process
    assert process is not None
    return process.pid


def test_one_succeeds_another_again_and_again(tmp_path: Path) -> None:
    async def live() -> None:
        async with running(tmp_path) as guardian:
            for _ in range(3):
                before = pid_of(guardian)
                assert await guardian.succession.succeed(ORDERS) == ""
                assert pid_of(guardian) != before
                assert not Path(f"/proc/{before}").exists()
            assert guardian.house.heir is None
            assert guardian.house.elector.spoke
            opened = open_descriptors()
            assert await guardian.succession.succeed(ORDERS) == ""
            assert open_descriptors() <= opened, "nothing is left behind"

    asyncio.run(live())


def test_one_that_ends_before_it_is_ready_has_changed_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The successor is started with an option that it does not know."""

    async def live() -> None:
        async with running(tmp_path) as guardian:
            wiring = guardian.house.wiring
            usual = wiring.successor
            before, withdrawal = pid_of(guardian), guardian.house.withdrawal
            with monkeypatch.context() as patched:
                patched.setattr(wiring, "successor", lambda given: replace(usual(given), options=("--unknown",)))
                problem = await guardian.succession.succeed(ORDERS)
            assert "ended before it was ready" in problem
            assert "the old one goes on" in problem
            assert (pid_of(guardian), guardian.house.withdrawal) == (before, withdrawal)
            assert read_note(tmp_path) == ORDERS.elector
            assert await guardian.succession.succeed(ORDERS) == "", "and the next one may try"
            assert pid_of(guardian) != before

    asyncio.run(live())


def test_one_that_is_never_ready_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old elector is stopped, so that it cannot answer, which looks the same from here; then it goes on."""

    async def live() -> None:
        async with running(tmp_path) as guardian:
            before = pid_of(guardian)
            os.kill(before, signal.SIGSTOP)
            with monkeypatch.context() as patched:
                patched.setattr(succession, "STARTING_S", 1.0)
                problem = await guardian.succession.succeed(ORDERS)
            os.kill(before, signal.SIGCONT)
            assert "was not ready within 1 s" in problem
            assert pid_of(guardian) == before
            assert guardian.house.heir is None
            assert await guardian.succession.succeed(ORDERS) == ""

    asyncio.run(live())


def test_one_whose_predecessor_dies_without_a_word_is_the_elector(tmp_path: Path) -> None:
    async def live() -> None:
        async with running(tmp_path) as guardian:
            house = guardian.house
            before = pid_of(guardian)
            os.kill(before, signal.SIGSTOP)  # it will not hear that the other one is ready
            work = asyncio.create_task(guardian.succession.succeed(ORDERS))
            await until(lambda: house.heir is not None, "the successor to be started")
            os.kill(before, signal.SIGKILL)
            assert await asyncio.wait_for(work, DEADLINE_S) == ""
            assert pid_of(guardian) != before
            await until(lambda: house.elector.spoke, "it to speak")

    asyncio.run(live())


def test_a_reload_that_another_elector_cannot_follow_applies_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = DirectorPart("rim", "lb1", "other", (), (), None, OnStop.KEEP, 30.0)
    after = Orders(ElectorPart("lb1", ()), part, AttendantPart("lb1", ()), "info")

    async def live() -> None:
        async with running(tmp_path, lambda: after) as guardian:
            wiring, usual = guardian.house.wiring, guardian.house.wiring.successor
            director = guardian.house.children["director"].process
            monkeypatch.setattr("ha_lvs.daemon.orders.for_the_elector", lambda *_: True)
            with monkeypatch.context() as patched:
                patched.setattr(wiring, "successor", lambda given: replace(usual(given), options=("--unknown",)))
                outcome = await guardian.reloading.reload()
            assert (outcome.applied, outcome.exit_code) == (False, 1)
            assert outcome.problems[0].endswith("nothing was applied")
            assert guardian.house.children["director"].process is director
            assert guardian.house.orders == ORDERS
            outcome = await guardian.reloading.reload()
            assert (outcome.applied, outcome.changed) == (True, ("cluster: edge -> rim",))
            assert guardian.house.orders == after

    asyncio.run(live())


def test_a_stop_ends_a_succession_and_nobody_is_left(tmp_path: Path) -> None:
    async def live() -> list[int]:
        async with running(tmp_path) as guardian:
            house = guardian.house
            os.kill(pid_of(guardian), signal.SIGSTOP)
            work = asyncio.create_task(guardian.succession.succeed(ORDERS))
            await until(lambda: house.heir is not None, "the successor to be started")
            assert house.heir is not None
            assert house.heir.child.process is not None
            pids = [pid_of(guardian), house.heir.child.process.pid]
            house.stop_now()
            assert "being stopped" in await asyncio.wait_for(work, DEADLINE_S)
            os.kill(pids[0], signal.SIGCONT)
        return pids

    assert not [pid for pid in asyncio.run(live()) if Path(f"/proc/{pid}").exists()]
