"""Exec probes: an operator's program judges a server by its exit code, and may give its weight.

Rules that hold here:
* It runs as an unprivileged user unless the operator wrote another (`programs.privileges`), without a shell, in a
  session of its own. At the time-out it is killed with its whole group, and so is what it leaves behind at its end.
* `AT_ONCE` run at once; the others wait for their turn, and their time-out begins with it.
* Never two runs of one probe: one that was killed and is not gone yet (it hangs in the kernel) makes the next fail.
* Its end is told by its pidfd. What it writes is read on, `MOST_OUTPUT` bytes at most; the beginning is kept.
"""

from __future__ import annotations

import os
import select

from ha_lvs.config.programs import DEFAULT_USER
from ha_lvs.health.probes.base import Driver, Probe
from ha_lvs.health.speech import weight
from ha_lvs.model import Endpoint, ExecCheck
from ha_lvs.programs.privileges import Identity, RefusedError, identity
from ha_lvs.programs.started import Started, describe

AT_ONCE = 32
MOST_OUTPUT = 1 << 20
_READS = 4
_IDENTITY_FOR_S = 60.0
"""For so long a user's numbers are believed: to look one up may ask a server."""


class ExecProbe(Probe):
    """One probe is a program, from its start to its end."""

    __slots__ = ("_check", "_environment", "_has_turn", "_leaving", "_program", "_turns")

    def __init__(self, endpoint: Endpoint, engine: Driver) -> None:
        super().__init__(endpoint, engine)
        self._check = endpoint.check.exec or ExecCheck(())
        self._environment = {"HA_LVS_ADDRESS": str(endpoint.address), "HA_LVS_PORT": str(endpoint.port)}
        self._turns = engine.shared("exec turns", lambda: _Turns(engine))
        self._has_turn = False
        self._program: Started | None = None
        self._leaving: Started | None = None

    def start(self, now: float) -> None:
        """See `Probe`."""
        self.percent = None
        if self._leaving is not None:
            self.engine.end(self, False, "the last run was killed and is not gone yet", now)
        elif self._turns.take(self):
            self._launch(now)
        else:
            self.engine.hold(self)

    def turn(self, now: float) -> None:
        """The turn of a probe that was held has come."""
        self.engine.begun(self, now)
        self._launch(now)

    def _launch(self, now: float) -> None:
        self._has_turn = True
        check = self._check
        try:
            who = self._turns.identity(check.user or DEFAULT_USER, now)
            program = Started(check.command, who, environment=self._environment, errors=not check.weight)
        except RefusedError as problem:
            self.engine.end(self, False, str(problem), now)
            return
        self._program = program
        self.engine.follow(program.pidfd, self, select.EPOLLIN)
        self.engine.follow(program.output, self, select.EPOLLIN)

    def advance(self, event: int, now: float) -> None:
        """See `Probe`."""
        program = self._program
        if program is None:
            return  # both of its descriptors had news, and the first was the end
        self._listen(program)
        if program.written > MOST_OUTPUT:
            self.engine.end(self, False, f"killed: it wrote more than {MOST_OUTPUT >> 20} MiB", now)
        elif program.ended():
            program.kill()  # what it has left behind in its group
            self._unfollow(program)
            self._program = None
            code = program.reap()
            success, reason = self._judge(code, program.first_line())
            self.engine.end(self, success, reason, now)

    def _listen(self, program: Started) -> None:
        for _ in range(_READS):
            more = program.output >= 0 and program.read()
            if more is None:
                self.engine.unfollow(program.output)
                program.close_output()
            if not more:
                return

    def _judge(self, code: int, line: str) -> tuple[bool, str]:
        if code or not self._check.weight:
            return code == 0, describe(code, line)
        try:
            self.percent = weight.percent(line)
        except ValueError as problem:
            return False, f"exit code 0, but {problem}"
        return True, f"weight {self.percent}%"

    def _unfollow(self, program: Started) -> None:
        for fd in (program.pidfd, program.output):
            if fd >= 0:
                self.engine.unfollow(fd)

    def close(self) -> None:
        """See `Probe`."""
        program, self._program = self._program, None
        if program is not None:
            program.kill()
            if program.output >= 0:
                self.engine.unfollow(program.output)
                program.close_output()
            self._leaving = program
            self._turns.leaving.add(self)
            self.engine.watch(program.pidfd, self._gone)
        if self._has_turn:
            self._has_turn = False
            self._turns.give_back()
        else:
            self._turns.waiting.pop(self, None)

    def _gone(self) -> None:
        program, self._leaving = self._leaving, None
        self._turns.leaving.discard(self)
        if program is not None:
            self.engine.unwatch(program.pidfd)
            program.reap()

    def leave(self) -> None:
        """Nobody waits for the end of what was killed any more."""
        program, self._leaving = self._leaving, None
        if program is not None:
            self.engine.unwatch(program.pidfd)
            program.leave()

    def overdue(self) -> str:
        """See `Probe`."""
        return f"killed after {self.endpoint.check.timeout_s:g} s"


class _Turns:
    """Who runs, who waits for its turn, and whose program has been killed and is not gone yet.

    Arguments:
        engine: whose probes they are.
    """

    def __init__(self, engine: Driver) -> None:
        self._engine = engine
        self._running = 0
        self._identities: dict[str, tuple[float, Identity]] = {}
        self.waiting: dict[ExecProbe, None] = {}  # in the order of their coming
        self.leaving: set[ExecProbe] = set()
        # A turn is handed on in the next round of the engine: who gives one back is in the midst of something.
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        engine.watch(self._bell, self._hand_out)

    def take(self, probe: ExecProbe) -> bool:
        """Whether a probe has its turn at once; if not, its `turn` will be called."""
        if self._running < AT_ONCE and not self.waiting:
            self._running += 1
            return True
        self.waiting[probe] = None
        return False

    def give_back(self) -> None:
        """A turn is over."""
        self._running -= 1
        if self.waiting:
            os.eventfd_write(self._bell, 1)

    def _hand_out(self) -> None:
        os.eventfd_read(self._bell)
        for probe in list(self.waiting)[: AT_ONCE - self._running]:
            if probe in self.waiting:  # a report on the way may have removed it
                del self.waiting[probe]
                self._running += 1
                probe.turn(self._engine.clock())

    def identity(self, user: str, now: float) -> Identity:
        """As whom a program of `user` runs. Errors: RefusedError."""
        until, who = self._identities.get(user, (now, None))
        if who is None or until <= now:
            who = identity(user)
            self._identities[user] = now + _IDENTITY_FOR_S, who
        return who

    def close(self) -> None:
        """Lets everything go."""
        for probe in self.leaving:
            probe.leave()
        self.leaving.clear()
        self._engine.unwatch(self._bell)
        os.close(self._bell)
