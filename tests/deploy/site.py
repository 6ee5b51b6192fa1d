"""The site that is deployed to: three guests, a client and a real server in namespaces, and an operator."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.measure.events import Emitter
from ha_lvs.drill.measure.processes import LoadProcess
from tests.deploy.guests import Guest
from tests.deploy.playbooks import Operator

T = TypeVar("T")
LISTEN = f"{VIRTUAL_IP}:80"
SERVERS = ("10.9.0.21", "10.9.0.22")
"""s1, a namespace; s2, a guest that the playbook makes a real server."""

LATER = "999.0.0"
"""The version of the release that the pair is upgraded to: none of ours will be called so."""

LOAD = ("--connections", "4", "--open-rate", "4", "--rate", "5", "--every", "2")
"""Little: an emulated director forwards it without being what is measured."""

_CONFIG: dict[str, Any] = {
    "cluster": "edge",
    "nodes": {"lb1": {"address": "10.9.0.11"}, "lb2": {"address": "10.9.0.12"}},
    "authentication": {"mode": "enforce", "send_key": 2, "keys": []},
    "instances": {
        "edge": {
            "interface": "e0",
            "router_id": 51,
            "interval": "1s",
            "priority": {"lb1": 150, "lb2": 100},
            "virtual_ips": [f"{VIRTUAL_IP}/32"],
        }
    },
    "connection_sync": {"interface": "e0", "id": 7},
    "ipvs": {"timeouts": {"udp": "2m"}, "sysctls": {"expire_quiescent_template": 1}},
    "services": [
        {
            "name": "web",
            "listen": f"{LISTEN}/tcp",
            "scheduler": "wrr",
            "forwarding": "dr",
            "check": {"type": "http", "path": "/healthz", "interval": "2s", "timeout": "2s", "rise": 1, "fall": 3},
            "servers": [{"address": address, "weight": 1} for address in SERVERS],
        },
        {
            "name": "many",
            "listen": {"addresses": [VIRTUAL_IP], "ports": ["8000-8099"], "protocol": "tcp"},
            "scheduler": "rr",
            "forwarding": "dr",
            "check": {"type": "none"},
            "servers": [*SERVERS],
        },
    ],
}


def config() -> dict[str, Any]:
    """The config that a run begins with, to be changed freely: key 2 signs, key 1 is about to go."""
    made = copy.deepcopy(_CONFIG)
    made["authentication"]["keys"] = [key_entry(number) for number in (1, 2)]
    return made


def key_entry(number: int) -> dict[str, Any]:
    """How the config names a key."""
    return {"id": number, "file": f"/etc/ha-lvs/keys/{number}.key"}


@dataclass(slots=True)
class Site:
    """What tests deploy to and look at.

    Arguments:
        lab: with the client c1 and the real server s1.
        guests: lb1, lb2, s2.
        operator: runs the playbooks.
        directory: for logs.
        upgrade: a directory with the wheels of a later release.
    """

    lab: Lab
    guests: list[Guest]
    operator: Operator
    directory: Path
    upgrade: Path
    before: dict[str, dict[str, object]] = field(default_factory=dict)
    report: dict[str, float] = field(default_factory=dict)

    @property
    def directors(self) -> list[Guest]:
        """lb1 and lb2."""
        return self.guests[:2]

    @property
    def names(self) -> list[str]:
        """Of the guests, in their order."""
        return [guest.name for guest in self.guests]

    def each(self, look: Callable[[Guest], T]) -> list[T]:
        """What is found on every guest, looked for side by side."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(look, self.guests))

    def pair(self, look: Callable[[Guest], T]) -> list[T]:
        """The same of lb1 and lb2."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(look, self.directors))

    def __getitem__(self, name: str) -> Guest:
        return next(guest for guest in self.guests if guest.name == name)

    @contextmanager
    def load(self, name: str) -> Iterator[LoadProcess]:
        """Traffic from the client to the virtual IP; what it tells goes to a file of this name."""
        client = self.lab.host("c1")
        command = [sys.executable, "-m", "ha_lvs.drill.measure.load", "--target", LISTEN, *LOAD]
        with (self.directory / f"load-{name}.jsonl").open("wb") as events:

            def start() -> subprocess.Popen[bytes]:
                return client.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

            with LoadProcess(start, Emitter(events.fileno())) as load:
                yield load

    def keep_logs(self) -> None:
        """Copies the journals of all guests that answer."""
        for guest in self.guests:
            for name, argv in (("journal", "journalctl --no-pager -o short-precise"), ("json", "journalctl -o json")):
                told = guest.run(argv, check=False, timeout_s=120)
                if told.returncode == 0:
                    (self.directory / f"{guest.name}.{name}").write_text(told.stdout)


@dataclass(slots=True)
class Phases:
    """How long everything took, said on the way and kept for the report."""

    seconds: dict[str, float] = field(default_factory=dict)

    def take(self, name: str, what: Callable[[], Any]) -> Any:
        """Does something and notes how long it took."""
        print(f"\n== {name}", flush=True)
        start = time.monotonic()
        try:
            return what()
        finally:
            self.note(name, time.monotonic() - start)

    def note(self, name: str, seconds: float) -> None:
        """Notes what somebody else has timed."""
        self.seconds[name] = seconds
        print(f"   {seconds:.0f} s", flush=True)

    def table(self) -> str:
        """For people."""
        rows = [*self.seconds.items(), ("all of it", sum(self.seconds.values()))]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {seconds:7.1f} s" for name, seconds in rows)

    def write(self, path: Path, ok: bool, figures: dict[str, float], playbooks: dict[str, float]) -> None:
        """The report as JSON."""
        content = {
            "ok": ok,
            "figures": figures,
            "seconds": {name: round(seconds, 1) for name, seconds in self.seconds.items()},
            "playbooks": {name: round(seconds, 1) for name, seconds in playbooks.items()},
            "machine": {"processors": os.cpu_count(), "load": os.getloadavg()[0]},
        }
        path.write_text(json.dumps(content, indent=2) + "\n")
