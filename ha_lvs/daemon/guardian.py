"""The guardian: main process of `ha-lvs run`. It starts and watches the others and never decides a role.

Rules that hold here:
* What can be found wrong is found before the first child starts, and ends the run with words and an exit code.
* The elector's death is acted upon at once: resignation and withdrawal first, then the log, then a new elector.
* A child that shows no sign of life is killed, since a stuck elector is worse than a dead one; time in which the
  guardian itself did not run does not count.
* A planned stop goes elector (resigns, withdraws), prober, director (leaves IPVS as configured), each in bounded time.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from ha_lvs import __version__
from ha_lvs.config.loader import load
from ha_lvs.config.parts import director_part, elector_part
from ha_lvs.config.schema import Config
from ha_lvs.daemon import systemd
from ha_lvs.daemon.channel import Alive, Channel, Hello, InstanceState, LogRecord, Stop, pair
from ha_lvs.daemon.children import Child, Spec, describe_exit
from ha_lvs.daemon.process import monotonic, set_process_name
from ha_lvs.daemon.withdrawal import Withdrawal
from ha_lvs.errors import ChannelError, ConfigError, PlatformError, Problem
from ha_lvs.kernel.modules import require_ipvs
from ha_lvs.model import DirectorPart, ElectorPart, Role
from ha_lvs.observe import logs

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
ELECTOR_ALIVE_S = 5.0
STOP_ELECTOR_S = 3.0
STOP_OTHERS_S = 10.0


def run(config_path: Path, node: str | None, runtime_dir: Path) -> int:
    """Runs a director in the foreground until SIGTERM or SIGINT; returns the exit code.

    Arguments:
        config_path: the config file.
        node: which of its nodes this machine is; None for the one named like the host.
        runtime_dir: for the control socket and what must survive a restart; made when missing.

    Errors: ConfigError, PlatformError.
    """
    config = load(config_path)
    name = pick_node(config, node, config_path)
    elector, director = elector_part(config, name), director_part(config, name)
    logs.configure(config.log.level)
    set_process_name("ha-lvs")
    if director.services or director.sync is not None:
        require_ipvs()
    with _locked(runtime_dir):
        withdrawal = Withdrawal(elector.instances)
        try:
            return asyncio.run(Guardian(elector, director, withdrawal, runtime_dir, config.log.level).run())
        finally:
            withdrawal.close()


def pick_node(config: Config, node: str | None, path: Path) -> str:
    """The name of this node.

    Arguments:
        node: what the operator said, or None: then the host's name, with or without its domain.

    Errors: ConfigError when the file has no such node.
    """
    host = socket.gethostname()
    candidates = [node] if node is not None else [host, host.split(".")[0]]
    for candidate in candidates:
        if candidate in config.nodes:
            return candidate
    known = ", ".join(config.nodes)
    said = f"--node {node}" if node is not None else f"the host's name {host}"
    message = f"{said} is none of the nodes ({known}); give --node, or add it here"
    raise ConfigError([Problem(str(path), 1, 1, "nodes", message)])


@dataclass(slots=True)
class _Ends:
    """Both ends of the channels between the processes; the guardian holds them all."""

    guardian_elector: tuple[socket.socket, socket.socket]
    guardian_director: tuple[socket.socket, socket.socket]
    guardian_prober: tuple[socket.socket, socket.socket]
    elector_director: tuple[socket.socket, socket.socket]
    director_prober: tuple[socket.socket, socket.socket]


class Guardian:
    """The children and what is known of them.

    Arguments:
        elector, director: the parts of the config.
        withdrawal: what to do when the elector dies.
        runtime_dir: for the director.
        log_level: for the director's log.
    """

    def __init__(
        self, elector: ElectorPart, director: DirectorPart, withdrawal: Withdrawal, runtime_dir: Path, log_level: str
    ) -> None:
        self._withdrawal = withdrawal
        self._node = elector.node
        self._states: dict[str, InstanceState] = {}
        self._stopping = asyncio.Event()
        self._stopped_children = asyncio.Event()
        self._ready = False
        ends = _Ends(pair(), pair(), pair(), pair(), pair())
        self._ends = ends
        self._channels = {
            "elector": Channel(ends.guardian_elector[0]),
            "director": Channel(ends.guardian_director[0]),
            "prober": Channel(ends.guardian_prober[0]),
        }
        specs = [
            Spec(
                "elector",
                {
                    "--guardian-fd": ends.guardian_elector[1].fileno(),
                    "--director-fd": ends.elector_director[0].fileno(),
                },
                part=elector,
                alive_s=ELECTOR_ALIVE_S,
            ),
            Spec(
                "director",
                {
                    "--guardian-fd": ends.guardian_director[1].fileno(),
                    "--elector-fd": ends.elector_director[1].fileno(),
                    "--prober-fd": ends.director_prober[0].fileno(),
                },
                options=("--runtime-dir", str(runtime_dir), "--log-level", log_level),
                part=director,
                alive_s=30.0,  # programming thousands of services takes its time
            ),
        ]
        if director.services:
            fds = {
                "--guardian-fd": ends.guardian_prober[1].fileno(),
                "--director-fd": ends.director_prober[1].fileno(),
            }
            specs.append(Spec("prober", fds))
        self._children = {spec.name: Child(spec, self._died) for spec in specs}

    async def run(self) -> int:
        """Starts everything, watches it until a signal comes, stops it in order; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        for name, channel in self._channels.items():
            loop.add_reader(channel.fileno(), self._read, name)
        log.info("starting", node=self._node, version=__version__, pid=os.getpid())
        for child in self._children.values():
            child.start()
        watching = asyncio.create_task(self._watch())
        await self._stopping.wait()
        watching.cancel()
        systemd.notify("STOPPING=1")
        log.info("stopping", node=self._node)
        await self._stop(["elector"], STOP_ELECTOR_S)
        self._withdraw()  # nothing is left of it after a clean end; after an unclean one this is what counts
        await self._stop(["prober", "director"], STOP_OTHERS_S)
        log.info("stopped", node=self._node)
        return 0

    # ------------------------------------------------------------------------------------------- signals

    def _hang_up(self) -> None:
        log.warning("SIGHUP ignored", detail="this version applies a changed config file by a restart")

    # ------------------------------------------------------------------------------------------ children

    def _died(self, child: Child, code: int) -> None:
        name = child.spec.name
        stopping = self._stopping.is_set()
        if name == "elector" and not stopping:
            self._read("elector")  # what it could still say: whether it was active
            self._withdraw()
        if stopping:
            self._stopped_children.set()
            if code:
                log.warning("process ended uncleanly", process=name, exit=describe_exit(code))
            return
        delay_s = child.next_delay_s()
        log.error("process died; starting it again", process=name, exit=describe_exit(code), delay_s=delay_s)
        asyncio.get_running_loop().call_later(delay_s, self._restart, child)

    def _restart(self, child: Child) -> None:
        if self._stopping.is_set():
            return
        try:
            child.start()
        except OSError as problem:
            log.error("process cannot be started; trying again", process=child.spec.name, detail=str(problem))
            asyncio.get_running_loop().call_later(child.next_delay_s(), self._restart, child)

    def _withdraw(self) -> None:
        active = {name for name, state in self._states.items() if state.role is Role.ACTIVE}
        for problem in self._withdrawal.execute(active):
            log.error("virtual IP not withdrawn", detail=problem)
        if active:
            log.warning("virtual IPs withdrawn in the elector's place", instances=", ".join(sorted(active)))
        for state in self._states.values():
            after = replace(state, role=Role.INITIALIZE, holding=False, reason="the elector died")
            self._channels["director"].send(after)
        self._states.clear()

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
                    child.alive_at = now
                elif child.running and child.spoke and now - child.alive_at > child.spec.alive_s:
                    silent_s = round(now - child.alive_at, 1)
                    log.error("process is stuck; killing it", process=child.spec.name, silent_s=silent_s)
                    child.kill()

    async def _stop(self, names: list[str], limit_s: float) -> None:
        until = monotonic() + limit_s
        children = [self._children[name] for name in names if name in self._children]
        for child in children:
            self._channels[child.spec.name].send(Stop())
        while running := [child for child in children if child.running]:
            self._stopped_children.clear()
            left_s = until - monotonic()
            if left_s <= 0:
                for child in running:
                    log.error("process did not stop; killing it", process=child.spec.name)
                    child.kill()
                left_s = limit_s
                until = monotonic() + limit_s
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped_children.wait(), left_s)
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
                    logs.from_record(frame)
                case InstanceState():
                    self._states[frame.instance] = frame
                    self._say_status()
                case Hello():
                    pass

    def _alive(self, name: str) -> None:
        self._children[name].alive()
        if not self._ready and all(child.spoke for child in self._children.values()):
            self._ready = True
            self._say_status("READY=1")
            log.info("ready", node=self._node)

    def _say_status(self, *more: str) -> None:
        roles = ", ".join(f"{name} {state.role.value}" for name, state in self._states.items())
        systemd.notify(*more, f"STATUS={roles or 'starting'}")


@contextlib.contextmanager
def _locked(runtime_dir: Path) -> Any:
    """Makes the runtime directory and keeps a second daemon out of it."""
    try:
        runtime_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        stream = (runtime_dir / "lock").open("a+")
    except OSError as problem:
        raise PlatformError(
            f"runtime directory {runtime_dir} cannot be used ({problem.strerror}); give another one by --runtime-dir"
        ) from problem
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            stream.seek(0)
            pid = stream.read().strip() or "unknown"
            raise PlatformError(
                f"another ha-lvs (pid {pid}) runs with {runtime_dir}; stop it, or give another --runtime-dir"
            ) from problem
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        yield
