"""What tests of whole directors share: config files written for a purpose, a pair started in a lab, who holds what."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import lasting, wait_for

LB1, LB2 = "10.9.0.11", "10.9.0.12"
SECOND = "e1"
SECOND_ADDRESSES = {"lb1": "10.8.0.11", "lb2": "10.8.0.12"}


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
    """Two directors of a lab with one config file.

    Arguments:
        lab: where they run.
        content: of the file.
        others: of the files of those that have another one, by name.
        carrier: the interface on which `holders` looks for the virtual IP.
    """

    def __init__(
        self,
        lab: Lab,
        content: Mapping[str, Any],
        others: Mapping[str, Mapping[str, Any]] | None = None,
        carrier: str = "e0",
    ) -> None:
        self.lab = lab
        self.carrier = carrier
        self.config = write(lab.directory / "ha-lvs.yml", content)
        files = {name: write(lab.directory / f"{name}.yml", other) for name, other in (others or {}).items()}
        self.directors = {
            name: Director(lab.host(name), files.get(name, self.config), lab.directory / name)
            for name in ("lb1", "lb2")
        }

    def __getitem__(self, name: str) -> Director:
        return self.directors[name]

    def holders(self) -> list[str]:
        """The directors whose kernel has the virtual IP now."""
        return [name for name in self.directors if VIRTUAL_IP in self.lab.host(name).addresses(self.carrier)]

    def wait_for_holder(self, name: str, timeout_s: float = 15) -> None:
        """Waits until this director, and it alone, has the virtual IP."""
        wait_for(lambda: self.holders() == [name], timeout_s, f"{name} alone to hold {VIRTUAL_IP}")

    def instance(self, name: str) -> dict[str, Any]:
        """What the director tells of the instance `edge`."""
        found: dict[str, Any] = self[name].status()["instances"]["edge"]
        return found

    def role(self, name: str) -> str:
        """The role of the instance `edge`, as the director tells it."""
        return str(self.instance(name)["role"])

    def wait_for_roles(self, lb1: str = "active", lb2: str = "backup") -> None:
        """Waits until the directors tell these roles."""
        wait_for(lambda: (self.role("lb1"), self.role("lb2")) == (lb1, lb2), 15, f"lb1 {lb1} and lb2 {lb2}")

    def transitions(self) -> list[int]:
        """How often each director has changed its role."""
        return [int(self.instance(name)["transitions"]) for name in self.directors]

    def wait_for_words(self, name: str, words: str, timeout_s: float = 15) -> None:
        """Waits until the director has logged this."""
        wait_for(lambda: words in self.log(name), timeout_s, f"{name} to say: {words}")

    def assert_stays(self, name: str, seconds: float) -> None:
        """Makes sure that this director, and it alone, has the virtual IP for so long, and that no role changes."""
        before = self.transitions()
        wait_for(lasting(lambda: self.holders() == [name], seconds), seconds + 15, f"{name} to go on as holder")
        assert self.transitions() == before

    def verb(self, name: str, *arguments: str, host: str = "") -> subprocess.CompletedProcess[str]:
        """`ha-lvs` with these arguments for a director, run on its host or another one."""
        command = [sys.executable, "-m", "ha_lvs.cli.main", *arguments]
        if not host:
            command += ["--runtime-dir", str(self[name].runtime_dir)]
        return self.lab.host(host or name).run(command, check=False, timeout_s=100)

    def log(self, name: str) -> str:
        """What the director has logged so far."""
        return self[name].log.read_text()


@contextmanager
def started_pair(
    lab: Lab,
    content: Mapping[str, Any] | None = None,
    others: Mapping[str, Mapping[str, Any]] | None = None,
    carrier: str = "e0",
) -> Iterator[Pair]:
    """A pair that has settled on lb1; arguments as for `Pair`."""
    pair = Pair(lab, config() if content is None else content, others, carrier)
    for director in pair.directors.values():
        director.start()
    pair.wait_for_holder("lb1", 45)  # at adverts of some seconds the first active comes after many
    # Whoever stops lb1 now must find a standby that listens: the first to start needs nobody for taking the role.
    wait_for(lambda: "role is backup" in pair.log("lb2"), 15, "lb2 to take part")
    yield pair


# ------------------------------------------------------------------------------------------- surroundings


def second_network(lab: Lab) -> None:
    """Gives each director another interface, `SECOND`, into a network of its own, whose switch is c1."""
    switch = lab.host("c1")
    switch.ip("link add inside type bridge mcast_snooping 0 forward_delay 0", "link set inside up")
    for name, address in SECOND_ADDRESSES.items():
        host = lab.host(name)
        switch.ip(f"link add {name} type veth peer name {SECOND} netns {host.namespace}")
        switch.ip(f"link set {name} up master inside")
        host.ip(f"addr add {address}/24 dev {SECOND}", f"link set {SECOND} up")


def cut_second(lab: Lab, name: str) -> None:
    """Takes a director off the second network, without it noticing anything at its link."""
    lab.host("c1").ip(f"link set {name} nomaster")


def heal_second(lab: Lab, name: str) -> None:
    """Undoes `cut_second`."""
    lab.host("c1").ip(f"link set {name} master inside")


def key(lab: Lab, name: str, secret: str, mode: int = 0o600) -> str:
    """A file with a secret; gives its path."""
    file = lab.directory / f"{name}.key"
    file.write_text(secret)
    file.chmod(mode)
    return str(file)


def authentication(*files: str, send: int = 1, mode: str = "enforce") -> dict[str, Any]:
    """The `authentication` of a config file with these keys, numbered from 1."""
    keys = [{"id": number, "file": file} for number, file in enumerate(files, 1)]
    return {"authentication": {"mode": mode, "send_key": send, "keys": keys}}


@contextmanager
def public_directory() -> Iterator[Path]:
    """A directory to which every user finds the way; pytest's own let nobody else in."""
    directory = Path(tempfile.mkdtemp(prefix="ha-lvs-test-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
