"""The guardian's children: started with inherited channels, watched by pidfd, restarted when they die.

The guardian keeps both ends of every channel, so a child that is started again gets the same channel as before and its
partners notice nothing but a `Hello`.

A guardian that replaced its own program (`restarting`) finds children that its earlier self has started. They are its
children still, by the kernel's account; only `subprocess` knows nothing of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ha_lvs.daemon import memory
from ha_lvs.daemon.patience import CALM_AFTER_S, RESTART_FIRST_S, RESTART_MAX_S, STARTING_MAX_S, STARTING_S
from ha_lvs.daemon.process import monotonic


@dataclass(frozen=True, slots=True)
class Spec:
    """How to start a child.

    Arguments:
        name: `elector`, `director`, `attendant` or `prober`, the module below `ha_lvs.daemon`; several of one module
            are told apart by a number, as `prober-2`.
        fds: option name to the inherited file descriptor.
        options: further arguments.
        part: its part of the config, handed over in memory; None when it needs none.
        alive_s: seconds without a sign of life after which it counts as stuck, once it has shown one.
        estate: what a dead predecessor knew, handed over in memory; None when there is none.
    """

    name: str
    fds: Mapping[str, int]
    options: tuple[str, ...] = ()
    part: object = None
    alive_s: float = 10.0
    estate: object = None

    @property
    def module(self) -> str:
        """The module that it runs."""
        return f"ha_lvs.daemon.{self.name.partition('-')[0]}"


class Process(Protocol):
    """What is needed of a process; `subprocess.Popen` has it."""

    @property
    def pid(self) -> int:
        """Its id."""

    def send_signal(self, sig: int) -> None:
        """Sends it a signal."""

    def wait(self) -> int:
        """Its exit code, negative for the signal that ended it; waits for the end."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """A child of this process that an earlier program of it has started."""

    pid: int

    def send_signal(self, sig: int) -> None:
        """Sends it a signal; until it is waited for, the id is its own and nobody else's."""
        os.kill(self.pid, sig)

    def wait(self) -> int:
        """As for `Process`."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


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
        starting_s: how long one may take until its first; it grows while they are killed for being slow.
        dismissed: whether it was killed to make room for a successor.
    """

    spec: Spec
    died: Callable[[Child, int], None]
    process: Process | None = None
    started_at: float = 0.0
    alive_at: float = 0.0
    answered_at: float | None = None
    delay_s: float = RESTART_FIRST_S
    spoke: bool = False
    starting_s: float = STARTING_S
    dismissed: bool = False
    _pidfd: int = field(default=-1)

    def start(self) -> None:
        """Starts the process; `died(child, exit code)` is called in the running loop when it ends.

        Errors: OSError when the system does not start it; the attempt counts for `next_delay_s`.
        """
        self.started_at = monotonic()
        self.spoke = self.dismissed = False
        arguments = [sys.executable, "-m", self.spec.module, *self.spec.options]
        fds = dict(self.spec.fds)
        in_memory = {"--part-fd": self.spec.part, "--estate-fd": self.spec.estate}
        ours = {option: memory.write(self.spec.name, what) for option, what in in_memory.items() if what is not None}
        fds.update(ours)
        for option, fd in fds.items():
            arguments += [option, str(fd)]
        try:
            process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, pass_fds=tuple(fds.values()))
        finally:
            for fd in ours.values():
                os.close(fd)
        self.alive_at = monotonic()
        try:
            self._follow(process)
        except OSError:  # nobody would notice its end: rather none than one that is not watched
            process.kill()
            process.wait()
            raise

    def adopt(self, pid: int) -> None:
        """Takes a running child over that an earlier program of this process has started, and that has answered it.

        Errors: OSError when this process has no such child.
        """
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # refused for who is no child of ours
        self.started_at = monotonic()
        self._follow(Adopted(pid))
        self.alive()

    def alive(self) -> None:
        """Notes a sign of life."""
        self.alive_at = self.answered_at = monotonic()
        self.spoke = True
        self.starting_s = STARTING_S

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
        allowed_s = self.spec.alive_s if self.spoke else self.starting_s
        return silent_s if self.running and silent_s > allowed_s else None

    def kill(self) -> None:
        """Ends the process at once, stopped or not."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)

    def kill_stuck(self) -> None:
        """Ends a process that is stuck; the next one gets more time for its start if this one has never spoken."""
        if not self.spoke:
            self.starting_s = min(2 * self.starting_s, STARTING_MAX_S)
        self.kill()

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

    def _follow(self, process: Process) -> None:
        self._pidfd = os.pidfd_open(process.pid)
        self.process = process
        asyncio.get_running_loop().add_reader(self._pidfd, self._ended)

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


def describe_exit(code: int) -> str:
    """An exit code of `subprocess` in words."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
