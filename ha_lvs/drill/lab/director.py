"""An `ha-lvs run` on a host of the lab: started, frozen, killed, asked."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ha_lvs.drill.lab.hosts import Host, kill_group
from ha_lvs.drill.lab.waiting import PACE
from ha_lvs.errors import ChannelError, LabError

GUARDIAN = "guardian"


class Director:
    """A director and all its processes, which share a process group.

    Arguments:
        host: where it runs; its name is the node's name in the config file.
        config: the pair's config file.
        directory: its runtime directory and its log go below, under the host's name.
        node: the node's name where it differs from the host's.
        environment: variables beside our own.
    """

    def __init__(
        self,
        host: Host,
        config: Path,
        directory: Path,
        *,
        node: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.host = host
        self.node = node or host.name
        self.config = config
        self.runtime_dir = directory.absolute() / f"run-{host.name}"
        self.log = directory.absolute() / f"{host.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = dict(environment or {})

    @property
    def running(self) -> bool:
        """Whether the guardian, the main process, runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Starts the director; its log is appended to `log`. Does not wait for anything.

        Errors: LabError when it runs already or cannot be started.
        """
        if self.running:
            raise LabError(f"the director on {self.host.name} runs already")
        self.runtime_dir.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "ha_lvs.cli.main", "run", "-c", str(self.config), "--node", self.node]
        command += ["--runtime-dir", str(self.runtime_dir)]
        with self.log.open("ab") as log:
            self.process = self.host.popen(command, stdout=log, stderr=log, environment=self._environment)

    def freeze(self) -> None:
        """Stops all its processes where they stand, as a stalled machine does."""
        kill_group(self._started(), signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets frozen processes go on."""
        kill_group(self._started(), signal.SIGCONT)

    def kill(self) -> None:
        """Kills all its processes at once; nobody tidies up."""
        process = self._started()
        kill_group(process, signal.SIGKILL)
        process.wait()

    def stop(self, timeout_s: float = 15.0) -> int:
        """Asks the guardian to end cleanly and waits until it has.

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
            raise LabError(f"the director on {self.host.name} did not stop and was killed:\n{self.tail()}") from None

    def status(self) -> dict[str, Any]:
        """What ``ha-lvs status --json`` would print, asked of the control socket.

        Errors: LabError when the director does not answer (yet).
        """
        # By name: a drill stands beside the daemon and talks to it from outside; importing its code would tie them.
        control = importlib.import_module("ha_lvs.daemon.control")
        try:
            answer: dict[str, Any] = control.query(self.runtime_dir)
        except (OSError, ValueError, ChannelError) as problem:
            raise LabError(f"the director on {self.host.name} does not answer: {problem}") from problem
        return answer

    def processes(self) -> dict[str, int]:
        """The process ids by name: ``guardian``, ``elector``, ``director``, ``prober``; ended ones are not there."""
        leader = self._started().pid
        found: dict[str, int] = {}
        for process in Path("/proc").iterdir():
            if not process.name.isdigit():
                continue
            pid = int(process.name)
            with contextlib.suppress(OSError, IndexError, ValueError):
                if os.getpgid(pid) != leader or _is_zombie(process):
                    continue
                words = (process / "cmdline").read_bytes().decode().split("\0")
                module = words[words.index("-m") + 1]
                found[GUARDIAN if pid == leader else module.rpartition(".")[2]] = pid
        return found

    def tail(self, lines: int = 30) -> str:
        """The end of its log, for failure messages."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return "(no log)"

    def _started(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise LabError(f"the director on {self.host.name} was never started")
        return self.process


def _is_zombie(process: Path) -> bool:
    return (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
