"""A restart in place as the guardian does it; `restarting` has what that takes, and why it is safe.

Rules that hold here:
* Whoever asks is told at once whether it begins, and later, by the next program, what became of it.
* From the execution on nothing but the guardian is missing: children, channels and roles go on, and systemd's watchdog
  is fed before and after.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import structlog

from ha_lvs import __version__
from ha_lvs.daemon import restarting, supervision, systemd
from ha_lvs.daemon.channel import Hello
from ha_lvs.daemon.household import Household
from ha_lvs.daemon.orders import Orders, Outcome
from ha_lvs.daemon.reloading import Reloading, refused
from ha_lvs.daemon.requests import Requests
from ha_lvs.daemon.restarting import Legacy
from ha_lvs.daemon.withdrawal import Withdrawal
from ha_lvs.errors import HaLvsError

log = structlog.get_logger()

ANSWERED_S = 0.2
"""From the answer that a restart begins until it does, so that whoever asked has heard it."""


class Renewal:
    """Gives way to another program of this process, and takes over from an earlier one.

    Arguments:
        house: all that goes on meanwhile.
        reloading, requests: neither is under way when the program changes.
        legacy: what an earlier program of this process has left, or None.
    """

    def __init__(self, house: Household, reloading: Reloading, requests: Requests, legacy: Legacy | None) -> None:
        self._house = house
        self._reloading = reloading
        self._requests = requests
        self._legacy = legacy
        self._node = house.orders.elector.node
        self._config_path = Path()
        self._lock_fd = -1
        self._follows: tuple[Orders, HaLvsError | None] = house.orders, None
        self._generation = 1 if legacy is None else legacy.generation
        self._restarted: Outcome | None = None

    def belongs_to(self, config_path: Path, lock_fd: int) -> None:
        """What the next program has to be told of this run: its config file, and what holds its lock."""
        self._config_path, self._lock_fd = config_path, lock_fd

    def follows(self, given: Orders, problem: HaLvsError | None) -> None:
        """What this program is to follow once it has taken over, and why that is not what the file says."""
        self._follows = given, problem

    def life(self) -> dict[str, Any]:
        """Which program this is, and what became of the restart that it came by."""
        outcome = self._restarted
        return {
            "generation": self._generation,
            "version": __version__,
            "pid": os.getpid(),
            "before": None if self._legacy is None else self._legacy.version,
            "outcome": None if outcome is None else outcome.answer(),
        }

    async def restart(self) -> dict[str, Any]:
        """Begins a restart in place, or says why not; `life` tells what became of it."""
        house = self._house
        command = restarting.program(sys.orig_argv, sys.argv, sys.executable)
        if self._reloading.lock.locked():
            problem = "a reload or a restart is under way; try again when it has ended"
        elif not house.ready or not house.elector.running:
            problem = "the director is not ready, or its elector process is being started; try again in a few seconds"
        else:
            problem = await asyncio.to_thread(restarting.probe, command, self._config_path.absolute(), self._node)
            problem = problem or _why_not_watched(house.orders)
        if not problem and house.stopping.is_set():
            problem = "the director is being stopped"
        if problem:
            log.error("restart refused", detail=problem)
            return {"accepted": False, "problems": [problem], **self.life()}
        self._restarted = None
        house.spawn(self._execute(command))
        return {"accepted": True, "problems": [], **self.life()}

    async def _execute(self, command: list[str]) -> None:
        house = self._house
        await asyncio.sleep(ANSWERED_S)
        async with self._reloading.lock, self._requests.lock:
            signal.pthread_sigmask(signal.SIG_BLOCK, restarting.WAITING_SIGNALS)
            try:
                await asyncio.sleep(0)  # what has been signalled before is known now
                if house.stopping.is_set():
                    return
                log.notice("restarting in place", node=self._node, version=__version__)
                systemd.feed_watchdog()
                systemd.reloading()
                restarting.execute([*command, *self._arguments()], self._leave())
            except (OSError, ValueError, TypeError) as problem:
                log.error("restart refused", detail=str(problem))
                self._restarted = Outcome(problems=(f"{command[0]} cannot be executed: {problem}",), exit_code=1)
                house.say_status("READY=1")
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, restarting.WAITING_SIGNALS)

    def _arguments(self) -> list[str]:
        where = ["-c", str(self._config_path.absolute()), "--runtime-dir", str(self._house.runtime_dir.absolute())]
        return ["run", *where, "--node", self._node]

    def _leave(self) -> Legacy:
        house = self._house
        return Legacy(
            version=__version__,
            generation=self._generation + 1,
            lock_fd=self._lock_fd,
            ends=house.wiring.ends(),
            pids={name: child.process.pid for name, child in house.children.items() if child.process is not None},
            next_request=self._requests.next_number,
            ready=house.ready,
            orders=house.orders,
            states=tuple(house.states.values()),
        )

    def resume(self) -> None:
        """Takes the children over as they are, and has all of them replaced."""
        house, legacy = self._house, self._legacy
        if legacy is None:
            return
        house.ready = legacy.ready
        house.states.update({state.instance: state for state in legacy.states})
        restarting.end_unknown(legacy, house.children)
        for name, child in house.children.items():
            try:
                if name in legacy.pids:
                    child.adopt(legacy.pids[name])
                    continue
            except OSError as problem:
                log.error("process cannot be started; trying again", process=name, detail=str(problem))
            house.start(child)
        house.wiring.channels["elector"].send(Hello())
        if house.ready:
            supervision.feed_watchdog_if_asked(house)
        house.spawn(self._complete_restart(legacy))

    async def _complete_restart(self, legacy: Legacy) -> None:
        after, problem = self._follows
        async with self._reloading.lock:
            try:
                outcome = await self._reloading.follow(after, anew=True)
                if problem is not None:
                    told = refused(problem)
                    outcome = Outcome(outcome.applied, outcome.changed, (), outcome.problems + told.problems, 1)
                self._restarted = outcome
            finally:
                if not self._house.stopping.is_set():
                    self._house.say_status("READY=1")
            log.notice("restarted in place", node=self._node, before=legacy.version, version=__version__)


def _why_not_watched(given: Orders) -> str:
    """Why another program could not take the elector's last will over, in words; empty when it could."""
    try:
        Withdrawal(given.elector.instances).close()
    except (HaLvsError, OSError) as problem:
        return str(problem)
    return ""
