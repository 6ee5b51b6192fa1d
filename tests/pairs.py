"""What tests of whole directors share: config files written for a purpose, a pair started in a lab, who holds what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import wait_for

LB1, LB2 = "10.9.0.11", "10.9.0.12"


def config(**changes: Any) -> dict[str, Any]:
    """The config of a pure VRRP pair; `changes` go into its one instance."""
    instance = {
        "interface": "e0",
        "router_id": 51,
        "interval": "200ms",
        "priority": {"lb1": 150, "lb2": 100},
        "virtual_ips": [f"{VIRTUAL_IP}/32"],
    }
    instance.update(changes)
    return {
        "cluster": "edge",
        "nodes": {"lb1": {"address": LB1}, "lb2": {"address": LB2}},
        "instances": {"edge": instance},
    }


def write(path: Path, content: Mapping[str, Any]) -> Path:
    """Writes a config file and returns its path."""
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False))
    return path


class Pair:
    """Two directors of a lab with one config file."""

    def __init__(self, lab: Lab, content: Mapping[str, Any]) -> None:
        self.lab = lab
        self.config = write(lab.directory / "ha-lvs.yml", content)
        self.directors = {name: Director(lab.host(name), self.config, lab.directory / name) for name in ("lb1", "lb2")}

    def __getitem__(self, name: str) -> Director:
        return self.directors[name]

    def holders(self) -> list[str]:
        """The directors whose kernel has the virtual IP now."""
        return [name for name in self.directors if VIRTUAL_IP in self.lab.host(name).addresses("e0")]

    def wait_for_holder(self, name: str, timeout_s: float = 15) -> None:
        """Waits until this director, and it alone, has the virtual IP."""
        wait_for(lambda: self.holders() == [name], timeout_s, f"{name} alone to hold {VIRTUAL_IP}")

    def role(self, name: str) -> str:
        """The role of the instance `edge`, as the director tells it."""
        return str(self[name].status()["instances"]["edge"]["role"])

    def log(self, name: str) -> str:
        """What the director has logged so far."""
        return self[name].log.read_text()


@contextmanager
def started_pair(lab: Lab, content: Mapping[str, Any] | None = None) -> Iterator[Pair]:
    """A pair that has settled on lb1."""
    pair = Pair(lab, config() if content is None else content)
    for director in pair.directors.values():
        director.start()
    pair.wait_for_holder("lb1")
    # Whoever stops lb1 now must find a standby that listens: the first to start needs nobody for taking the role.
    wait_for(lambda: "role is backup" in pair.log("lb2"), 15, "lb2 to take part")
    yield pair
