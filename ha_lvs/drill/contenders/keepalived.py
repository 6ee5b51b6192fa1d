"""keepalived on the lab's directors, as an operator would run it: the distribution's program, nothing around it.

Its roles are read from its log, which says ``Entering MASTER STATE`` when that happens and is written line by line.
It has no socket to ask; its dump on SIGUSR1 goes to a file in /tmp that both directors of a lab would share; a notify
FIFO tells the same as the log and loses what nobody reads.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ha_lvs.config.schema import Config
from ha_lvs.drill.contenders.keepalived_config import keepalived_config
from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.program import Program
from ha_lvs.errors import LabError
from ha_lvs.model import OnStop

_PATH = "/usr/sbin:/usr/local/sbin:/sbin:/usr/bin:/bin"
_STATES = {"MASTER": "active", "BACKUP": "backup", "FAULT": "initialize"}
NO_ANSWER = "no answer"


def program() -> str:
    """Where keepalived is. Errors: LabError when it is not installed."""
    found = shutil.which("keepalived", path=_PATH)
    if found is None:
        raise LabError("keepalived is missing: apt-get install keepalived")
    return found


class Keepalived(Program):
    """A keepalived and its processes, which share a process group: its parent, VRRP, and checkers where IPVS is used.

    Arguments:
        host: where it runs; its name is the node's name in the config file.
        config: the pair's config file, ours.
        directory: its config, its pid files and its log go below, under the host's name.

    Errors: LabError when keepalived is not installed.
    """

    def __init__(self, host: Host, config: Config, directory: Path) -> None:
        super().__init__(host, "keepalived", directory.absolute() / f"{host.name}.log")
        self.config = directory.absolute() / f"keepalived-{host.name}.conf"
        self.config.write_text(keepalived_config(config, host.name))
        self._program = program()
        self._directory = directory.absolute()
        self._options = _options(config)
        self._instance = re.escape(next(iter(config.instances)))
        self._began = 0

    def start(self) -> None:
        """Starts it; its log is appended to `log`. Does not wait for anything.

        Errors: LabError when it runs already or cannot be started.
        """
        began = self.log.stat().st_size if self.log.exists() else 0
        if not self.running:
            # Of a killed one: keepalived would not start while a process of that number is left, be it a zombie.
            for _, name in self._pid_files():
                (self._directory / name).unlink(missing_ok=True)
        super().start()
        self._began = began

    @property
    def checkers_pid(self) -> int:
        """Its process that checks real servers. Errors: LabError when there is none."""
        try:
            return int((self._directory / f"keepalived-{self.host.name}-checkers_pid").read_text())
        except (OSError, ValueError) as problem:
            raise LabError(f"keepalived on {self.host.name} has no process that checks: {problem}") from None

    def role(self) -> str:
        """The role of its first instance by its log since the last start; ``no answer`` from a dead or frozen one."""
        if not self.running or self._frozen():
            return NO_ANSWER
        with self.log.open("rb") as log:
            log.seek(self._began)
            told = log.read().decode(errors="replace")
        states = re.findall(rf"\({self._instance}\) Entering (MASTER|BACKUP|FAULT) STATE", told)
        return _STATES[states[-1]] if states else "initialize"

    def _frozen(self) -> bool:
        assert self.process is not None
        try:
            state = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return state in "tT"

    def _command(self) -> list[str]:
        command = [self._program, *self._options, "--dont-fork", "--log-console", "--log-detail"]
        for option, name in (("--use-file", f"keepalived-{self.host.name}.conf"), *self._pid_files()):
            command.append(f"{option}={self._directory / name}")
        return command

    def _pid_files(self) -> list[tuple[str, str]]:
        names = ("pid", "vrrp_pid", "checkers_pid")
        return [(f"--{name}", f"keepalived-{self.host.name}-{name}") for name in names]


def _options(config: Config) -> list[str]:
    """What the config file asks for and keepalived takes on its command line only."""
    if not config.services:
        return ["--vrrp"]  # IPVS is left alone: the kernel need not have it
    return ["--dont-release-ipvs"] if config.ipvs.on_stop is OnStop.KEEP else []
