"""Following another config file while everything runs, as a whole or not at all.

Rules that hold here:
* What can be found wrong is found before anything is touched. What takes long (reading files) is done in a thread.
* The elector comes first, as it alone can still refuse: another one succeeds it, without a change of role, and only
  where the file has changed something for it.
* Where only services differ, the director follows them as it is, with all that it knows of the servers.
* Otherwise the director, the probers and the attendant are replaced by new ones, by SIGKILL: that is the way a crash
  goes, which works from every state that they may be in, takes no time, and cannot be mistaken for the planned stop
  that may remove the services. What the old director leaves half done, the new one finds in the kernel and completes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from ha_lvs.daemon import orders, systemd
from ha_lvs.daemon.channel import Followed
from ha_lvs.daemon.household import Household
from ha_lvs.daemon.orders import Orders, Outcome
from ha_lvs.daemon.patience import FOLLOWED_S, STOP_OTHERS_S, SUCCESSORS_S
from ha_lvs.daemon.succession import Succession
from ha_lvs.errors import ConfigError, HaLvsError
from ha_lvs.kernel.modules import require_ipvs
from ha_lvs.observe import logs
from ha_lvs.plan import sharding

log = structlog.get_logger()

CHANGES_LOGGED = 20


class Reloading:
    """Follows the config file.

    Arguments:
        read_again: what the config file says by now; raises ConfigError.

    Attributes:
        lock: held while a reload, or a restart, is under way.
    """

    def __init__(self, house: Household, succession: Succession, read_again: Callable[[], Orders]) -> None:
        self._house = house
        self._succession = succession
        self._read_again = read_again
        self.lock = asyncio.Lock()

    async def reload(self) -> Outcome:
        """Follows the config file as it is now, as far as that can be done without a restart; logs the outcome."""
        async with self.lock:
            told = self._house.ready
            if told:
                systemd.reloading()
            try:
                return await self._read_and_follow()
            finally:
                if told and not self._house.stopping.is_set():
                    self._house.say_status("READY=1")

    async def _read_and_follow(self) -> Outcome:
        try:
            after = await asyncio.to_thread(self._read_again)
        except HaLvsError as problem:
            return refused(problem)
        if after == self._house.orders:
            log.info("config unchanged", digest=after.director.config_digest)
            return Outcome()
        return await self.follow(after)

    async def follow(self, after: Orders, *, anew: bool = False) -> Outcome:
        """Follows other orders.

        Arguments:
            anew: whether every process is replaced, changed or not: its program is another one.
        """
        before = self._house.orders
        try:
            if after.needs_ipvs and not before.needs_ipvs:
                await asyncio.to_thread(require_ipvs)
        except HaLvsError as problem:
            return refused(problem)
        needed = orders.needs_restart(before, after)
        if needed:
            for each in needed[:CHANGES_LOGGED]:
                log.warning("config needs a restart", change=each)
            return Outcome(restart_needed=needed, exit_code=1)
        if self._house.stopping.is_set():
            return Outcome(problems=("the director is being stopped",), exit_code=1)
        changes = orders.changes(before, after)
        services = None if anew else orders.services_only(before, after)
        if services is not None and self._house.tell_director(services, after):
            self._house.orders = after
            _tell(after, changes)
            return await self._followed(after, changes)
        if anew or orders.for_the_elector(before, after):
            why_not = await self._succession.succeed(after)
            if why_not:
                return Outcome(problems=(f"{why_not}; nothing was applied",), exit_code=1)
        replaced = _replaced(before, after, anew=anew)
        logs.configure(after.log_level, by="guardian")
        self._house.orders = after
        async with self._succession.lock:  # a hand-over that is under way goes by the director
            await self._house.replace(replaced, after, STOP_OTHERS_S)
        _tell(after, changes)
        return await self._successors(replaced, changes)

    async def _followed(self, after: Orders, changes: tuple[str, ...]) -> Outcome:
        """The outcome once the director has answered that the kernel shows the new services."""
        house, digest = self._house, after.director.config_digest

        def answer() -> Followed | None:
            told = house.followed
            return told if told is not None and told.config_digest == digest else None

        await house.until(lambda: house.stopping.is_set() or answer() is not None, FOLLOWED_S)
        told = answer()
        if told is None:
            problem = "no answer yet from the director: see the log"
            return Outcome(applied=True, changed=changes, problems=(problem,), exit_code=1)
        return Outcome(applied=True, changed=changes, problems=told.problems, exit_code=1 if told.problems else 0)

    async def _successors(self, replaced: tuple[str, ...], changes: tuple[str, ...]) -> Outcome:
        """The outcome once the new processes have answered."""
        house = self._house
        new = [house.children[name] for name in replaced if name in house.children]
        await house.until(lambda: house.stopping.is_set() or all(child.spoke for child in new), SUCCESSORS_S)
        silent = ", ".join(child.spec.name for child in new if not child.spoke)
        if not silent:
            return Outcome(applied=True, changed=changes)
        problem = f"no answer yet from the new {silent}; it is started again while it fails: see the log"
        return Outcome(applied=True, changed=changes, problems=(problem,), exit_code=1)


def _tell(after: Orders, changes: tuple[str, ...]) -> None:
    for each in changes[:CHANGES_LOGGED]:
        log.info("config changed", change=each)
    log.info("config applied", digest=after.director.config_digest, changes=len(changes))


def refused(problem: HaLvsError) -> Outcome:
    """The outcome of orders that cannot be followed; logs why."""
    problems = [str(each) for each in problem.problems] if isinstance(problem, ConfigError) else [str(problem)]
    for each in problems:
        log.error("config refused", detail=each)
    return Outcome(problems=tuple(problems), exit_code=problem.exit_code)


def _replaced(before: Orders, after: Orders, *, anew: bool) -> tuple[str, ...]:
    """Who beside the elector is replaced. An attendant that runs scripts is not, where nothing differs for it."""
    same = before.attendant == after.attendant and before.log_level == after.log_level
    probers = sharding.names(max(before.director.probers, after.director.probers))
    return ("director", *probers) if same and not anew else ("director", "attendant", *probers)
