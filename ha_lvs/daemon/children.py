"""The guardian's children: started with inherited channels, watched by pidfd, restarted when they die.

The guardian keeps both ends of every channel, so a child that is started again gets the same channel as before and its
partners notice nothing but a `Hello`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ha_lvs.daemon.channel import to_json
from ha_lvs.daemon.patience import CALM_AFTER_S, RESTART_FIRST_S, RESTART_MAX_S, STARTING_S
from ha_lvs.daemon.process import monotonic


@dataclass(frozen=True, slots=True)
class Spec:
    """How to start a child.

    Arguments:
        name: `elector`, `director` or `prober`, the module below `ha_lvs.daemon`.
        fds: option name to the inherited file descriptor.
        options: further arguments.
        part: its part of the config, handed over in memory; None when it needs none.
        alive_s: seconds without a sign of life after which it counts as stuck, once it has shown one.
    """

    name: str
    fds: Mapping[str, int]
    options: tuple[str, ...] = ()
    part: object = None
    alive_s: float = 10.0


@dataclass(slots=True)
class Child:
    """A child process and its history.

    Arguments:
        spec: how to start it the next time.
        died: called with it and the exit code when it ends.
        process: it, while it exists.
        started_at: when it was last tried to start it, monotonic seconds.
        alive_at: its last sign of life; the start counts as one.
        answered_at: its last sign of life or its predecessor's; neither end nor start counts, but a dismissal does: who
            takes over as planned has all the time that one who falls silent has. None before the first.
        delay_s: before the next start if it dies now.
        spoke: whether this one has shown a sign of life.
        dismissed: whether it was killed to make room for a successor.
    """

    spec: Spec
    died: Callable[[Child, int], None]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    alive_at: float = 0.0
    answered_at: float | None = None
    delay_s: float = RESTART_FIRST_S
    spoke: bool = False
    dismissed: bool = False
    _pidfd: int = field(default=-1)

    def start(self) -> None:
        """Starts the process; `died(child, exit code)` is called in the running loop when it ends.

        Errors: OSError when the system does not start it; the attempt counts for `next_delay_s`.
        """
        self.started_at = monotonic()
        self.spoke = self.dismissed = False
        arguments = [sys.executable, "-m", f"ha_lvs.daemon.{self.spec.name}", *self.spec.options]
        fds = dict(self.spec.fds)
        part_fd = -1
        if self.spec.part is not None:
            part_fd = fds["--part-fd"] = _memory_file(self.spec.name, self.spec.part)
        for option, fd in fds.items():
            arguments += [option, str(fd)]
        try:
            self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, pass_fds=tuple(fds.values()))
        finally:
            if part_fd >= 0:
                os.close(part_fd)
        self.alive_at = monotonic()
        try:
            self._pidfd = os.pidfd_open(self.process.pid)
        except OSError:  # nobody would notice its end: rather none than one that is not watched
            self.process.kill()
            self.process.wait()
            self.process = None
            raise
        asyncio.get_running_loop().add_reader(self._pidfd, self._ended)

    def alive(self) -> None:
        """Notes a sign of life."""
        self.alive_at = self.answered_at = monotonic()
        self.spoke = True

    def excuse(self, now: float) -> None:
        """Counts as a sign of life that nobody could have noticed one: we did not run."""
        self.alive_at = now
        if self.answered_at is not None:
            self.answered_at = now

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self.process is not None

    def stuck_for_s(self, now: float) -> float | None:
        """For how long it has shown no sign of life, if that is too long for one that runs or starts; else None."""
        silent_s = now - self.alive_at
        allowed_s = self.spec.alive_s if self.spoke else STARTING_S
        return silent_s if self.running and silent_s > allowed_s else None

    def kill(self) -> None:
        """Ends the process at once, stopped or not."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)

    def dismiss(self, successor: Spec) -> None:
        """Ends the process at once, which is no crash; the next start is the successor's."""
        self.spec = successor
        self.delay_s = RESTART_FIRST_S
        self.spoke = False  # the next sign of life that counts is the successor's
        if self.answered_at is not None:
            self.answered_at = monotonic()
        self.dismissed = self.running
        self.kill()

    def next_delay_s(self) -> float:
        """How long to wait before the next start: growing while it keeps dying young."""
        if monotonic() - self.started_at > CALM_AFTER_S:
            self.delay_s = RESTART_FIRST_S
        delay_s, self.delay_s = self.delay_s, min(self.delay_s * 2, RESTART_MAX_S)
        return delay_s

    def _ended(self) -> None:
        process = self.process
        if process is None:
            return
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        code = process.wait()
        self.process = None
        self.died(self, code)


def _memory_file(name: str, part: object) -> int:
    fd = os.memfd_create(f"ha-lvs-{name}", os.MFD_CLOEXEC)
    try:
        with os.fdopen(fd, "wb", closefd=False) as stream:
            stream.write(json.dumps(to_json(part)).encode())
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def describe_exit(code: int) -> str:
    """An exit code of `subprocess` in words."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
