"""The guardian: main process of `ha-lvs run`. It starts and watches the others and never decides a role.

Rules that hold here:
* What can be found wrong is found before the first child starts, and ends the run with words and an exit code.
* What follows from the life and death of children is in `household`; what becomes of those that are stuck is in
  `supervision`, which calls systemd in when nothing else helps.
* A reload (`reloading`) and a restart in place (`renewal`) change no role: an elector ends only when another one has
  its estate (`succession`). At most one of them is under way.
* A planned stop goes elector (offers its role to the peer, resigns, withdraws), attendant and probers, director (leaves
  IPVS as configured), each in bounded time. The director is there until the elector has ended: the offer goes by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog

from ha_lvs import __version__
from ha_lvs.config.sources import Sources
from ha_lvs.daemon import (
    carriers,
    cleanup,
    control,
    orders,
    requests,
    restarting,
    runtime,
    supervision,
    systemd,
    watching,
)
from ha_lvs.daemon.household import Household
from ha_lvs.daemon.orders import Orders
from ha_lvs.daemon.patience import STOP_ELECTOR_S, STOP_OTHERS_S
from ha_lvs.daemon.process import set_process_name
from ha_lvs.daemon.reloading import Reloading
from ha_lvs.daemon.renewal import Renewal
from ha_lvs.daemon.requests import Requests
from ha_lvs.daemon.restarting import Legacy
from ha_lvs.daemon.succession import Succession
from ha_lvs.daemon.wiring import Wiring
from ha_lvs.daemon.withdrawal import Withdrawal
from ha_lvs.errors import HaLvsError
from ha_lvs.kernel.modules import require_ipvs
from ha_lvs.observe import logs

log = structlog.get_logger()

VERBS = ("reload", "restart", "life", *requests.VERBS)


def run(config_path: Path, node: str | None, runtime_dir: Path, resume_fd: int | None = None) -> int:
    """Runs a director in the foreground until SIGTERM or SIGINT; returns the exit code.

    Arguments:
        config_path: the config file, read again by each reload.
        node: which of its nodes this machine is; None for the one named like the host.
        runtime_dir: for the control sockets and what must survive a restart; made when missing.
        resume_fd: what an earlier program of this process has left; None for a new director.

    Errors: ConfigError, PlatformError.
    """
    legacy = None if resume_fd is None else restarting.take_over(resume_fd)
    if legacy is not None:  # of a new director systemd asks nothing before it is ready, unless it is told to
        systemd.feed_watchdog()
    sources = Sources()
    given, problem = _read(config_path, node, sources, legacy)
    in_force = given if legacy is None or legacy.orders is None else legacy.orders
    logs.configure(given.log_level, by="guardian")
    set_process_name("ha-lvs")
    os.umask(0o022)  # nobody else writes where our sockets and notes are
    if legacy is None and given.needs_ipvs:
        require_ipvs()
    with runtime.locked(runtime_dir, None if legacy is None else legacy.lock_fd) as lock_fd:
        for event in carriers.provide(in_force.elector.instances):
            logs.from_record(event, by="guardian")
        withdrawal = Withdrawal(in_force.elector.instances)
        if legacy is None:
            for event in cleanup.succeed(runtime_dir, given.elector):
                logs.from_record(event, by="guardian")
        # By now the node's name is settled: a host that is renamed stays who it is.
        read_again = functools.partial(orders.read, config_path, in_force.elector.node, sources)
        guardian = Guardian(in_force, withdrawal, runtime_dir, read_again, legacy, sources)
        guardian.renewal.belongs_to(config_path, lock_fd)
        guardian.renewal.follows(given, problem)
        try:
            return asyncio.run(guardian.run())
        finally:
            guardian.house.withdrawal.close()


def _read(
    config_path: Path, node: str | None, sources: Sources, legacy: Legacy | None
) -> tuple[Orders, HaLvsError | None]:
    """What the file says; what is in force where it says nothing any more and a director runs already, and why."""
    try:
        return orders.read(config_path, node, sources), None
    except HaLvsError as problem:
        if legacy is None or legacy.orders is None:
            raise
        return legacy.orders, problem


def _take_no_signals() -> None:
    """For threads: all signals are the main thread's, so that they wait when it says so."""
    signal.pthread_sigmask(signal.SIG_BLOCK, restarting.WAITING_SIGNALS)


class Guardian:
    """The main process: what it is asked, what it is told by signals, how it ends.

    Arguments:
        given: the orders in force.
        withdrawal: what to do when the elector dies.
        runtime_dir: for the control sockets, and for the others.
        read_again: what the config file says by now; raises ConfigError.
        legacy: what an earlier program of this process has left, or None.
        sources: the files of the config, to be watched.
    """

    def __init__(
        self,
        given: Orders,
        withdrawal: Withdrawal,
        runtime_dir: Path,
        read_again: Callable[[], Orders],
        legacy: Legacy | None = None,
        sources: Sources | None = None,
    ) -> None:
        wiring = Wiring() if legacy is None else Wiring.from_ends(legacy.ends)
        self.house = Household(given, withdrawal, runtime_dir, wiring)
        self.succession = Succession(self.house)
        self.reloading = Reloading(self.house, self.succession, read_again)
        self.requests = Requests(self.house, self.succession.lock, 1 if legacy is None else legacy.next_request)
        self.renewal = Renewal(self.house, self.reloading, self.requests, legacy)
        self._sources = Sources() if sources is None else sources
        self._node = given.elector.node
        self._legacy = legacy
        self.house.spoke = self._say_when_ready

    async def run(self) -> int:
        """Starts everything, watches it until a signal comes, stops it in order; returns the exit code."""
        house = self.house
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, house.stop_now)
        loop.add_signal_handler(signal.SIGHUP, lambda: house.spawn(self.reloading.reload()))
        loop.set_default_executor(ThreadPoolExecutor(2, "guardian", initializer=_take_no_signals))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, restarting.WAITING_SIGNALS)
        house.open()
        self.requests.recall()
        if self._legacy is None:
            log.info("starting", node=self._node, version=__version__, pid=os.getpid())
            for child in house.children.values():
                house.start(child)
        else:
            self.renewal.resume()
        socket_name = control.GUARDIAN_SOCKET_NAME
        server = await control.serve(house.runtime_dir, self._answer, name=socket_name, mode=0o600)
        work = [supervision.watch(house), watching.follow(house, self.reloading, self._sources)]
        tasks = [asyncio.create_task(each) for each in work]
        await house.stopping.wait()
        for task in tasks:
            task.cancel()
        systemd.notify("STOPPING=1", "STATUS=stopping")
        log.info("stopping", node=self._node)
        await self._stop_all()
        server.close()
        (house.runtime_dir / socket_name).unlink(missing_ok=True)
        log.info("stopped", node=self._node)
        return 0

    async def _stop_all(self) -> None:
        house = self.house
        with contextlib.suppress(TimeoutError):
            # A succession or a request that was under way ends now; then it is settled who is the elector.
            await asyncio.wait_for(self.succession.lock.acquire(), STOP_OTHERS_S)
        await house.stop(["elector"], STOP_ELECTOR_S)
        house.withdraw()  # nothing is left of it after a clean end; after an unclean one this is what counts
        with contextlib.suppress(TimeoutError):
            # A reload that was under way ends now; the new director has to be there for the planned stop.
            await asyncio.wait_for(self.reloading.lock.acquire(), STOP_OTHERS_S)
        house.tell_last_states()  # the reload may have dropped what was told to the old one
        others = [name for name in house.children if name not in ("elector", "director")]
        await house.stop([*others, "director"], STOP_OTHERS_S)

    def _say_when_ready(self) -> None:
        house = self.house
        if house.ready or house.stopping.is_set() or not all(child.spoke for child in house.children.values()):
            return
        house.ready = True
        house.say_status("READY=1")
        log.info("ready", node=self._node)
        supervision.feed_watchdog_if_asked(house)

    # --------------------------------------------------------------------------------------------- verbs

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("verb"):
            case "reload":
                return (await self.reloading.reload()).answer()
            case "restart":
                return await self.renewal.restart()
            case "life":
                return self.renewal.life()
            case verb if verb in requests.VERBS:
                return await self.requests.answer(request)
            case other:
                return {"error": f"unknown verb {other!r}; known: {', '.join(VERBS)}"}
