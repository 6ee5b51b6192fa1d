"""An `ha-lvs run` on a host of the lab: started, frozen, killed, asked."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.program import Program
from ha_lvs.drill.lab.waiting import PACE
from ha_lvs.errors import ChannelError, HaLvsError, LabError

GUARDIAN = "guardian"
ROLE_WITHIN_S = 1.0


class Director(Program):
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
        super().__init__(host, "director", directory.absolute() / f"{host.name}.log", environment)
        self.node = node or host.name
        self.config = config
        self.runtime_dir = directory.absolute() / f"run-{host.name}"

    def start(self) -> None:
        """Starts the director; its log is appended to `log`. Does not wait for anything.

        Errors: LabError when it runs already or cannot be started.
        """
        self.runtime_dir.mkdir(parents=True, exist_ok=True)
        super().start()

    def status(self, timeout_s: float = 10.0) -> dict[str, Any]:
        """What ``ha-lvs status --json`` would print, asked of the control socket.

        Arguments:
            timeout_s: how long an answer may take.

        Errors: LabError when the director does not answer (yet).
        """
        # By name: a drill stands beside the daemon and talks to it from outside; importing its code would tie them.
        control = importlib.import_module("ha_lvs.daemon.control")
        try:
            answer: dict[str, Any] = control.query(self.runtime_dir, timeout_s=timeout_s)
        except (OSError, ValueError, ChannelError) as problem:
            raise LabError(f"the director on {self.host.name} does not answer: {problem}") from problem
        return answer

    def role(self) -> str:
        """The role that its first instance claims (``active``, ``backup``, ``initialize``), or ``no answer``.

        A frozen director does not answer, so this does not wait for long: others are asked after it.
        """
        try:
            return str(next(iter(self.status(ROLE_WITHIN_S * min(PACE, 3))["instances"].values()))["role"])
        except (HaLvsError, OSError, KeyError, ValueError, StopIteration):
            return "no answer"

    def processes(self) -> dict[str, int]:
        """The process ids by name: ``guardian``, ``elector``, ``director``, ``prober``; ended ones are not there.

        Further probers are ``prober-2`` and so on.
        """
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
                name = words[words.index("--name") + 1] if "--name" in words else module.rpartition(".")[2]
                found[GUARDIAN if pid == leader else name] = pid
        return found

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", "ha_lvs.cli.main", "run", "-c", str(self.config), "--node", self.node]
        return [*command, "--runtime-dir", str(self.runtime_dir)]


def _is_zombie(process: Path) -> bool:
    return (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
