"""The guardian: main process of `ha-lvs run`. It starts and watches the others and never decides a role.

Rules that hold here:
* What can be found wrong is found before the first child starts, and ends the run with words and an exit code.
* The elector's death is acted upon at once: resignation and withdrawal first, then the log, then a new elector.
* A child that shows no sign of life is killed, since a stuck elector is worse than a dead one; time in which the
  guardian itself did not run does not count. Only when that does not help, systemd is called in (`patience`).
* A reload never touches the elector, so no role and no address depends on it. The director and the prober are replaced
  by new ones, by SIGKILL: that is the way a crash goes, which works from every state that they may be in, takes no
  time, and cannot be mistaken for the planned stop that may remove the services. What the old director leaves half
  done, the new one finds in the kernel and completes. What takes long (reading a file) is done in a thread meanwhile.
* A planned stop goes elector (resigns, withdraws), prober, director (leaves IPVS as configured), each in bounded time.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from ha_lvs import __version__
from ha_lvs.daemon import cleanup, control, orders, runtime, systemd, watchdog
from ha_lvs.daemon.channel import Alive, Hello, InstanceState, LogRecord, Stop
from ha_lvs.daemon.children import Child, describe_exit
from ha_lvs.daemon.orders import Orders, Outcome
from ha_lvs.daemon.patience import LOOK_EVERY_S, SUCCESSORS_S, until_starved_s
from ha_lvs.daemon.process import monotonic, set_process_name
from ha_lvs.daemon.wiring import Wiring
from ha_lvs.daemon.withdrawal import Withdrawal
from ha_lvs.errors import ChannelError, ConfigError, HaLvsError
from ha_lvs.kernel.modules import require_ipvs
from ha_lvs.model import Role
from ha_lvs.observe import logs

log = structlog.get_logger()

STOP_ELECTOR_S = 3.0
STOP_OTHERS_S = 10.0
REPLACED = ("director", "prober")
CHANGES_LOGGED = 20


def run(config_path: Path, node: str | None, runtime_dir: Path) -> int:
    """Runs a director in the foreground until SIGTERM or SIGINT; returns the exit code.

    Arguments:
        config_path: the config file, read again by each reload.
        node: which of its nodes this machine is; None for the one named like the host.
        runtime_dir: for the control sockets and what must survive a restart; made when missing.

    Errors: ConfigError, PlatformError.
    """
    given = orders.read(config_path, node)
    logs.configure(given.log_level, by="guardian")
    set_process_name("ha-lvs")
    if given.needs_ipvs:
        require_ipvs()
    os.umask(0o022)  # nobody else writes where our sockets and notes are
    with runtime.locked(runtime_dir):
        withdrawal = Withdrawal(given.elector.instances)
        try:
            for event in cleanup.succeed(runtime_dir, given.elector):
                logs.from_record(event, by="guardian")
            # By now the node's name is settled: a host that is renamed stays who it is.
            read_again = functools.partial(orders.read, config_path, given.elector.node)
            return asyncio.run(Guardian(given, withdrawal, runtime_dir, read_again).run())
        finally:
            withdrawal.close()


class Guardian:
    """The children and what is known of them.

    Arguments:
        given: what the config file says.
        withdrawal: what to do when the elector dies.
        runtime_dir: for the control sockets, and for the director.
        read_again: what the config file says by now; raises ConfigError.
    """

    def __init__(
        self, given: Orders, withdrawal: Withdrawal, runtime_dir: Path, read_again: Callable[[], Orders]
    ) -> None:
        self._orders = given
        self._withdrawal = withdrawal
        self._runtime_dir = runtime_dir
        self._read_again = read_again
        self._node = given.elector.node
        self._states: dict[str, InstanceState] = {}
        self._last_states: dict[str, InstanceState] = {}  # as they were told in the elector's place
        self._stopping = asyncio.Event()
        self._news = asyncio.Event()  # a child spoke or ended, or we are to stop
        self._reloading = asyncio.Lock()
        self._ready = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._restarts: dict[str, asyncio.TimerHandle] = {}
        self._wiring = Wiring()
        self._channels = self._wiring.channels
        specs = self._wiring.specs(given, runtime_dir)
        self._children = {name: Child(spec, self._died) for name, spec in specs.items()}

    async def run(self) -> int:
        """Starts everything, watches it until a signal comes, stops it in order; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_now)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload()))
        for name, channel in self._channels.items():
            loop.add_reader(channel.fileno(), self._read, name)
        socket_name = control.GUARDIAN_SOCKET_NAME
        server = await control.serve(self._runtime_dir, self._answer, name=socket_name, mode=0o600)
        log.info("starting", node=self._node, version=__version__, pid=os.getpid())
        for child in self._children.values():
            self._start(child)
        watching = asyncio.create_task(self._watch())
        await self._stopping.wait()
        watching.cancel()
        systemd.notify("STOPPING=1", "STATUS=stopping")
        log.info("stopping", node=self._node)
        await self._stop(["elector"], STOP_ELECTOR_S)
        self._withdraw()  # nothing is left of it after a clean end; after an unclean one this is what counts
        with contextlib.suppress(TimeoutError):
            # A reload that was under way ends now; the new director has to be there for the planned stop.
            await asyncio.wait_for(self._reloading.acquire(), STOP_OTHERS_S)
        self._tell_last_states()  # the reload may have dropped what was told to the old one
        await self._stop(["prober", "director"], STOP_OTHERS_S)
        server.close()
        (self._runtime_dir / socket_name).unlink(missing_ok=True)
        log.info("stopped", node=self._node)
        return 0

    def _stop_now(self) -> None:
        self._stopping.set()
        self._news.set()

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self._tasks.discard)

    async def _until(self, done: Callable[[], bool], limit_s: float) -> bool:
        """Waits for news until something holds; says whether it does."""
        until = monotonic() + limit_s
        while not done():
            left_s = until - monotonic()
            if left_s <= 0:
                return False
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), left_s)
        return True

    # -------------------------------------------------------------------------------------------- reload

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("verb") != "reload":
            return {"error": f"unknown verb {request.get('verb')!r}; known: reload"}
        return (await self._reload()).answer()

    async def _reload(self) -> Outcome:
        """Follows the config file as it is now, as far as that can be done without a restart; logs the outcome."""
        async with self._reloading:
            told = self._ready
            if told:
                systemd.reloading()
            try:
                outcome = await self._follow()
            finally:
                if told and not self._stopping.is_set():
                    self._say_status("READY=1")
        return outcome

    async def _follow(self) -> Outcome:
        try:
            after = await asyncio.to_thread(self._read_again)
            needed = orders.needs_restart(self._orders, after)
            if not needed and after.needs_ipvs and not self._orders.needs_ipvs:
                await asyncio.to_thread(require_ipvs)
        except HaLvsError as problem:
            problems = [str(each) for each in problem.problems] if isinstance(problem, ConfigError) else [str(problem)]
            for each in problems:
                log.error("config refused", detail=each)
            return Outcome(problems=tuple(problems), exit_code=problem.exit_code)
        if after.director.config_digest == self._orders.director.config_digest:
            log.info("config unchanged", digest=after.director.config_digest)
            return Outcome()
        if needed:
            for each in needed[:CHANGES_LOGGED]:
                log.warning("config needs a restart", change=each)
            return Outcome(restart_needed=needed, exit_code=1)
        if self._stopping.is_set():
            return Outcome(problems=("the director is being stopped",), exit_code=1)
        changes = orders.changes(self._orders, after)
        await self._replace(after)
        for each in changes[:CHANGES_LOGGED]:
            log.info("config changed", change=each)
        log.info("config applied", digest=after.director.config_digest, changes=len(changes))
        return await self._successors(changes)

    async def _replace(self, after: Orders) -> None:
        """Kills the director and the prober and starts those of the new orders."""
        specs = self._wiring.specs(after, self._runtime_dir)
        going = [self._children[name] for name in REPLACED if name in self._children]
        for child in going:
            if timer := self._restarts.pop(child.spec.name, None):
                timer.cancel()
            child.dismiss(specs.get(child.spec.name, child.spec))
        # There must never be two writers of IPVS. SIGKILL leaves no choice, so this takes no time worth a limit.
        while not await self._until(lambda: not any(child.running for child in going), STOP_OTHERS_S):
            for child in going:
                if child.running:
                    log.error("process did not stop; killing it", process=child.spec.name)
                    child.kill()
        self._wiring.drop_unread()
        logs.configure(after.log_level, by="guardian")
        self._orders = after
        for name in REPLACED:
            if name not in specs:
                self._children.pop(name, None)
                continue
            self._start(self._children.setdefault(name, Child(specs[name], self._died)))

    async def _successors(self, changes: tuple[str, ...]) -> Outcome:
        """The outcome once the new processes have answered."""
        new = [self._children[name] for name in REPLACED if name in self._children]
        await self._until(lambda: self._stopping.is_set() or all(child.spoke for child in new), SUCCESSORS_S)
        silent = ", ".join(child.spec.name for child in new if not child.spoke)
        if not silent:
            return Outcome(applied=True, changed=changes)
        problem = f"no answer yet from the new {silent}; it is started again while it fails: see the log"
        return Outcome(applied=True, changed=changes, problems=(problem,), exit_code=1)

    # ------------------------------------------------------------------------------------------ children

    def _died(self, child: Child, code: int) -> None:
        name = child.spec.name
        stopping = self._stopping.is_set()
        self._news.set()
        self._read(name)  # what it could still say, such as whether the elector was active
        if child.dismissed:
            return
        if name == "elector" and not stopping:
            self._withdraw()
        if stopping:
            if code:
                log.warning("process ended uncleanly", process=name, exit=describe_exit(code))
            return
        delay_s = child.next_delay_s()
        log.error("process died; starting it again", process=name, exit=describe_exit(code), delay_s=delay_s)
        self._restart_in(delay_s, child)

    def _restart_in(self, delay_s: float, child: Child) -> None:
        timer = asyncio.get_running_loop().call_later(delay_s, self._restart, child)
        self._restarts[child.spec.name] = timer

    def _restart(self, child: Child) -> None:
        self._restarts.pop(child.spec.name, None)
        if not self._stopping.is_set():
            self._start(child)

    def _start(self, child: Child) -> None:
        try:
            child.start()
        except OSError as problem:
            log.error("process cannot be started; trying again", process=child.spec.name, detail=str(problem))
            self._restart_in(child.next_delay_s(), child)

    def _withdraw(self) -> None:
        active = {name for name, state in self._states.items() if state.role is Role.ACTIVE}
        for problem in self._withdrawal.execute(active):
            log.error("virtual IP not withdrawn", detail=problem)
        if active:
            log.warning("virtual IPs withdrawn in the elector's place", instances=", ".join(sorted(active)))
        for name, state in self._states.items():
            reason = state.reason if state.role is Role.INITIALIZE else "the elector died"
            self._last_states[name] = replace(state, role=Role.INITIALIZE, holding=False, reason=reason)
        self._states.clear()
        self._tell_last_states()

    def _tell_last_states(self) -> None:
        for state in self._last_states.values():
            self._channels["director"].send(state)

    async def _watch(self) -> None:
        """Kills what is stuck."""
        looked_at = monotonic()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = monotonic()
            late = now - looked_at > 2 * LOOK_EVERY_S
            looked_at = now
            for child in self._children.values():
                if late:
                    child.excuse(now)
                elif (silent_s := child.stuck_for_s(now)) is not None:
                    log.error("process is stuck; killing it", process=child.spec.name, silent_s=round(silent_s, 1))
                    child.kill()

    async def _feed_watchdog(self, period_s: float) -> None:
        """Tells systemd again and again that all is well, while it is; also while we stop, which ends by itself."""
        dog = watchdog.Watchdog(systemd.feed_watchdog)
        turned_at = monotonic()
        while True:
            now = monotonic()
            if now - turned_at > period_s + 2 * LOOK_EVERY_S:
                for child in self._children.values():
                    child.excuse(now)
            turned_at = now
            guarded = [] if self._stopping.is_set() else [self._children[name] for name in watchdog.GUARDED]
            fed = dog.turn(
                watchdog.Silence(child.spec.name, now - child.answered_at, until_starved_s(child.spec.alive_s))
                for child in guarded
                if child.answered_at is not None
            )
            await asyncio.sleep(period_s if fed else min(period_s, LOOK_EVERY_S))

    async def _stop(self, names: list[str], limit_s: float) -> None:
        children = [self._children[name] for name in names if name in self._children]
        for child in children:
            self._channels[child.spec.name].send(Stop())
        while not await self._until(lambda: not any(child.running for child in children), limit_s):
            for child in children:
                if child.running:
                    log.error("process did not stop; killing it", process=child.spec.name)
                    child.kill()
        if "elector" in names:
            self._read("elector")

    # ------------------------------------------------------------------------------------------ channels

    def _read(self, name: str) -> None:
        try:
            frames: list[Any] = self._channels[name].receive()
        except ChannelError as problem:
            log.error("frame ignored", process=name, detail=str(problem))
            return
        for frame in frames:
            match frame:
                case Alive():
                    self._alive(name)
                case LogRecord():
                    logs.from_record(frame, by=name)
                case InstanceState():
                    self._states[frame.instance] = frame
                    self._say_status()
                case Hello():
                    pass

    def _alive(self, name: str) -> None:
        child = self._children.get(name)
        if child is None or not child.running or child.dismissed:  # the last words of the dead
            return
        if not child.spoke:
            self._news.set()
        child.alive()
        if self._ready or self._stopping.is_set():
            return
        if all(child.spoke for child in self._children.values()):
            self._ready = True
            self._say_status("READY=1")
            log.info("ready", node=self._node)
            period_s = watchdog.period_s(os.environ, os.getpid())
            if period_s is not None:
                self._spawn(self._feed_watchdog(period_s))

    def _say_status(self, *more: str) -> None:
        roles = ", ".join(f"{name} {state.role.value}" for name, state in self._states.items())
        systemd.notify(*more, f"STATUS={roles or 'starting'}")
