"""Running `ansible-playbook` as an operator does, and reading what it says at the end.

Rules that hold here:
* The playbooks are those of `ansible/`, unchanged; what is ours is an inventory, as an operator would write it.
* The whole output of each run is kept, each line with the seconds since the run's start.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ansible_mitogen
import yaml

from tests.deploy.guests import Machines

ANSIBLE = Path(__file__).resolve().parents[2] / "ansible"
PLAYBOOK_S = 1800.0
_RECAP = re.compile(r"^(?P<host>\S+)\s*: (?P<counts>ok=\d+.*)$")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run of a playbook ended.

    Arguments:
        code: exit code of `ansible-playbook`.
        output: all that it said.
        recap: counts by host: ``recap["lb1"]["changed"]``.
    """

    code: int
    output: str
    recap: dict[str, dict[str, int]]

    def changed(self) -> dict[str, int]:
        """How much has changed, by host; localhost is left out."""
        return {host: counts["changed"] for host, counts in self.recap.items() if host != "localhost"}

    def tail(self, lines: int = 40) -> str:
        """The end of the output, for failure messages."""
        return "\n".join(self.output.splitlines()[-lines:])


@dataclass(slots=True)
class Operator:
    """Somebody who deploys with an inventory of their own.

    Arguments:
        machines: whose guests are deployed to.
        directory: for the inventory and the output of every run.
        wheelhouse: the wheels.
        config: the pair's config, in its own terms; tests change it.
        keys: the secrets that it names, by the names of their files; tests change them.
    """

    machines: Machines
    directory: Path
    wheelhouse: Path
    config: dict[str, Any]
    keys: dict[str, str]
    runs: int = 0
    timings: dict[str, float] = field(default_factory=dict)

    def inventory(self) -> dict[str, Any]:
        """The inventory as it is now."""
        virtual_ips = [ip.split("/")[0] for each in self.config["instances"].values() for ip in each["virtual_ips"]]
        return {
            "all": {
                "vars": {
                    "ansible_user": "root",
                    "ansible_ssh_args": f"-F {self.machines.ssh_config}",
                    "ansible_python_interpreter": "/usr/bin/python3",
                },
                "children": {
                    "ha_lvs_directors": {
                        "hosts": {"lb1": {}, "lb2": {}},
                        "vars": {
                            "ha_lvs_wheelhouse": str(self.wheelhouse),
                            "ha_lvs_config": self.config,
                            "ha_lvs_keys": self.keys,
                            "ha_lvs_wait_s": 240,
                        },
                    },
                    "ha_lvs_real_servers": {
                        "hosts": {"s2": {}},
                        "vars": {
                            "ha_lvs_real_server_forwarding": "dr",
                            "ha_lvs_real_server_virtual_ips": virtual_ips,
                            "ha_lvs_real_server_interface": "e0",
                        },
                    },
                },
            }
        }

    def play(self, playbook: str, *options: str, name: str = "") -> Outcome:
        """Runs a playbook to its end, whatever that is.

        Arguments:
            playbook: its name, with ``.yml``.
            options: further arguments of `ansible-playbook`.
            name: for the file of its output.
        """
        self.runs += 1
        name = name or Path(playbook).stem
        inventory = self.directory / "inventory.yml"
        inventory.write_text(yaml.safe_dump(self.inventory(), sort_keys=False))
        program = Path(sys.executable).parent / "ansible-playbook"
        command = [str(program), "-i", str(inventory), playbook, *options]
        start = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=ANSIBLE,
            env={**os.environ, **self._environment()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        lines: list[str] = []
        with (self.directory / f"{self.runs:02d}-{name}.log").open("w") as log:
            log.write(f"$ ansible-playbook {playbook} {' '.join(options)}\n")
            for line in process.stdout:
                lines.append(line)
                log.write(f"{time.monotonic() - start:7.1f} {line}")
                log.flush()
        code = process.wait()
        self.timings[f"{self.runs:02d} {name}"] = time.monotonic() - start
        return Outcome(code, "".join(lines), _recap(lines))

    def _environment(self) -> Mapping[str, str]:
        # Plain Ansible unpacks and compiles its modules anew for each task: five seconds of an emulated processor.
        # Mitogen keeps an interpreter on each machine instead; playbooks and modules are the same.
        strategies = Path(ansible_mitogen.__file__).parent / "plugins" / "strategy"
        faster = {"ANSIBLE_STRATEGY_PLUGINS": str(strategies), "ANSIBLE_STRATEGY": "mitogen_linear"}
        return {
            **({} if os.environ.get("HA_LVS_DEPLOY_PLAIN") else faster),
            "ANSIBLE_DEPRECATION_WARNINGS": "False",
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_TIMEOUT": "120",
            "ANSIBLE_HOST_KEY_CHECKING": "False",
            "PYTHONUNBUFFERED": "1",
        }


def _recap(lines: list[str]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for line in lines:
        if match := _RECAP.match(line):
            pairs = (item.split("=") for item in match["counts"].split())
            found[match["host"]] = {key: int(value) for key, value in pairs}
    return found
