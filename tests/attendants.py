"""What tests of the attendant share: the real process with the guardian's and the elector's ends of its channels."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any, TypeVar

from ha_lvs.daemon import memory
from ha_lvs.daemon.channel import Channel, Hello, InstanceState, TrackState, pair
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.model import (
    AttendantPart,
    FileTrack,
    NotifyScript,
    ProcessTrack,
    Role,
    ScriptTrack,
    VirtualIp,
    VrrpInstance,
    Witnesses,
)

F = TypeVar("F")
DEADLINE_S = 60.0


def instance(
    name: str = "edge", *addresses: str, witnesses: Witnesses | None = None, interval_s: float = 0.1
) -> VrrpInstance:
    """An instance of lb1 in the lab, with these virtual IPs."""
    return VrrpInstance(
        name=name,
        interface="e0",
        router_id=51,
        priority=150,
        interval_s=interval_s,
        preempt=True,
        source=IPv4Address("10.9.0.11"),
        peers=(),
        group=IPv4Address("224.0.0.18"),
        virtual_ips=tuple(VirtualIp(ip_address(each), 128 if ":" in each else 32, "e0") for each in addresses),
        lease_s=None,
        announce_repeat=0,
        announce_interval_s=1.0,
        witnesses=witnesses,
    )


STATE = InstanceState(
    instance="edge",
    role=Role.BACKUP,
    priority=150,
    since_s=1_700_000_000.0,
    transitions=1,
    peer="10.9.0.12",
    peer_priority=100,
    reason="started",
    holding=False,
    effective_priority=140,
)
ACTIVE = replace(STATE, role=Role.ACTIVE, reason="10.9.0.12 fell silent", holding=True)
INITIALIZE = replace(STATE, role=Role.INITIALIZE, reason="stopped")


class Attendant:
    """A running attendant.

    Arguments:
        directory: for its runtime directory and its log.
        inside: where it is started, as `Host.inside` gives.
        prefix: a command that starts it, such as setpriv.
        environment: variables beside our own.
        part: what it gets of the config.
    """

    def __init__(
        self,
        directory: Path,
        *,
        inside: AbstractContextManager[None] | None = None,
        prefix: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        **part: Any,
    ) -> None:
        self.runtime_dir = directory / "run"
        self.runtime_dir.mkdir(exist_ok=True)
        self.log_path = directory / "attendant.log"
        self.frames: list[Any] = []
        guardian, self._guardian_end = pair()
        elector, self._elector_end = pair()
        self.guardian, self.elector = Channel(guardian), Channel(elector)
        given = AttendantPart(**{"node": "lb1", "instances": (instance(),), **part})
        self._command = [*prefix, sys.executable, "-m", "ha_lvs.daemon.attendant"]
        self._part, self._inside, self._environment = given, inside, environment
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        fd = memory.write("part", self._part)
        fds = {
            "--part-fd": fd,
            "--guardian-fd": self._guardian_end.fileno(),
            "--elector-fd": self._elector_end.fileno(),
        }
        options = [word for name, each in fds.items() for word in (name, str(each))]
        with self._inside or nullcontext(), self.log_path.open("ab") as stream:
            process = subprocess.Popen(
                [*self._command, *options, "--runtime-dir", str(self.runtime_dir), "--log-level", "debug"],
                pass_fds=tuple(fds.values()),
                stderr=stream,
                env={**os.environ, **(self._environment or {})},
            )
        os.close(fd)
        return process

    def restart(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Ends it by a signal and starts another one on the same channels."""
        self.process.send_signal(number)
        self.process.wait(DEADLINE_S)
        self._inside = None if self._inside is None else self._inside
        self.hear()
        self.frames.clear()
        self.process = self._start()

    def hear(self) -> list[Any]:
        """Everything said to the elector so far."""
        self.frames += self.elector.receive()
        return self.frames

    def wait_for(self, kind: type[F], matches: Callable[[F], object] = lambda _: True) -> F:
        """The first frame of a kind that matches; what came before it is taken, too."""

        def look() -> list[F]:
            for index, frame in enumerate(self.hear()):
                if isinstance(frame, kind) and matches(frame):
                    del self.frames[: index + 1]
                    return [frame]
            return []

        return wait_for(look, DEADLINE_S, f"a {kind.__name__}; log: {self.log()}")[0]

    def wait_for_track(self, name: str, up: bool) -> TrackState:
        """Waits until the elector is told that something is up, or down."""
        return self.wait_for(TrackState, lambda state: state.name == name and state.up == up)

    def tell(self, *states: InstanceState) -> None:
        """Says as the elector where instances stand."""
        for state in states:
            assert self.elector.send(state)

    def greeted(self) -> Attendant:
        """Waits until it has asked the elector where all stands, so that it surely runs."""
        self.wait_for(Hello)
        return self

    def log(self) -> str:
        """What it has logged."""
        return self.log_path.read_text()

    def close(self) -> None:
        """Ends it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE_S)
        for end in (self.guardian, self.elector, self._guardian_end, self._elector_end):
            end.close()


@contextmanager
def attendant(directory: Path, **given: Any) -> Iterator[Attendant]:
    """A running attendant, as `Attendant`."""
    running = Attendant(directory, **given)
    try:
        yield running
    finally:
        running.close()


def program(path: Path, *lines: str, mode: int = 0o755) -> Path:
    """A shell script."""
    path.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    path.chmod(mode)
    return path


def script(
    path: Path, *arguments: str, interval_s: float = 0.05, timeout_s: float = 5.0, rise: int = 1, fall: int = 1,
    user: str = "root",
) -> ScriptTrack:  # fmt: skip
    """A tracked script `script:chk`."""
    return ScriptTrack("script:chk", (str(path), *arguments), interval_s, timeout_s, rise, fall, user)


def own_user() -> str:
    """The name of whoever runs the tests."""
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


__all__ = [
    "ACTIVE", "INITIALIZE", "STATE", "Attendant", "FileTrack", "NotifyScript", "ProcessTrack", "attendant",
    "instance", "own_user", "program", "script",
]  # fmt: skip
