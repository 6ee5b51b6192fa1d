"""A daemon on a host of the lab, with all its processes: started, frozen, killed, stopped.

The processes share the group of the first one, so that one signal reaches all of them at once.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ha_lvs.drill.lab.hosts import Host, group_members, kill_group
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.errors import LabError

KILLED_WITHIN_S = 10.0


class Program:
    """A daemon that can be on trial. Whoever inherits says by `_command` what to run.

    Arguments:
        host: where it runs.
        what: it is, for messages: ``director``.
        log: its output is appended there.
        environment: variables beside our own.
    """

    def __init__(self, host: Host, what: str, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.host = host
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self._what = f"the {what} on {host.name}"
        self._environment = dict(environment or {})

    @property
    def running(self) -> bool:
        """Whether its main process runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Starts it. Does not wait for anything.

        Errors: LabError when it runs already or cannot be started.
        """
        if self.running:
            raise LabError(f"{self._what} runs already")
        with self.log.open("ab") as log:
            self.process = self.host.popen(self._command(), stdout=log, stderr=log, environment=self._environment)

    def freeze(self) -> None:
        """Stops all its processes where they stand, as a stalled machine does."""
        kill_group(self._started(), signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets frozen processes go on."""
        kill_group(self._started(), signal.SIGCONT)

    def kill(self) -> None:
        """Kills all its processes at once and waits until all are gone; nobody tidies up.

        The children are not ours to wait for: they end a moment after the signal, and whoever adopts them reaps them.

        Errors: LabError when one of them does not end.
        """
        process = self._started()
        kill_group(process, signal.SIGKILL)
        process.wait()
        wait_for(lambda: not group_members(process.pid), KILLED_WITHIN_S, f"all processes of {self._what} to end")

    def stop(self, timeout_s: float = 15.0) -> int:
        """Asks its main process to end cleanly and waits until it has.

        Arguments:
            timeout_s: seconds on a real machine; afterwards it is killed.

        Returns: its exit code, negative for the signal that ended it.
        Errors: LabError when it did not end in time.
        """
        process = self._started()
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout_s * PACE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise LabError(f"{self._what} did not stop and was killed:\n{self.tail()}") from None

    def tail(self, lines: int = 30) -> str:
        """The end of its log, for failure messages."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return "(no log)"

    def _command(self) -> Sequence[str]:
        raise NotImplementedError

    def _started(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise LabError(f"{self._what} was never started")
        return self.process
