"""Health checks: what one costs beside keepalived's, and how soon a server that died is out of the pool.

Checks of keepalived need IPVS, so that this side (`figures`) starts the guest and reads its answers, as `ipvs` does;
what needs none is measured on the running kernel, which is several times faster: ten thousand servers (`scale`).

Rules that hold here:
* Ours and theirs probe the same addresses of one namespace, where one nginx answers for all.
* The cost of a check is processor time of the processes that check, by the checks that were really made: the kernel's
  counters of the prober's namespace say how many.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from ha_lvs.config import loader
from ha_lvs.drill.contenders.keepalived import Keepalived
from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.pair_config import dump, pair_config
from ha_lvs.drill.lab.program import Program
from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.kernel.ipvs import Ipvs
from ha_lvs.model import Forwarding
from tests.bench import health_scale
from tests.bench.figures import Figure, ratio
from tests.bench.health_scale import address, stand_for_many
from tests.bench.usage import cpu_s

GROUP = "health"
SERVERS = 500
SETTLE_S, WINDOW_S = 5.0, 20.0
LIMIT_S = 3600.0
CHECKS: dict[str, dict[str, Any]] = {
    "tcp": {"type": "tcp"},
    "half-open": {"type": "tcp-half-open"},
    "http": {"type": "http", "path": "/healthz", "status": 200},
}
SEGMENTS = {"tcp": 3, "half-open": 2}
"""How many segments one check sends to its server; of http, connections are counted instead."""


def figures(output: Path, repetitions: int, only: str, console: Console) -> Iterator[Figure]:
    """Measures here what can be measured here, and the rest in a guest where this kernel has no IPVS."""
    output.mkdir(parents=True, exist_ok=True)
    if only in "scale":
        console.print("health: ten thousand servers, on this kernel")
        yield from health_scale.figures(repetitions, console)
    if only and only not in " ".join((*CHECKS, "failure")):
        return
    console.print(f"health: {SERVERS} servers beside keepalived; progress comes from the guest")
    found = output / "health.json"
    found.unlink(missing_ok=True)
    inside = [sys.executable, "-m", "tests.bench.health", "-o", str(found), "-n", str(repetitions), "--only", only]
    lab = [sys.executable, "-m", "ha_lvs.drill.lab", "run", "--timeout", str(LIMIT_S), "--", *inside]
    code = subprocess.run(lab, check=False).returncode
    measured = json.loads(found.read_text()) if found.exists() else []
    yield from (Figure(**each) for each in measured)
    if code:
        raise SystemExit(f"bench: the measurements of {GROUP} ended with exit code {code}")


# ------------------------------------------------------------------------------------------- what is measured


def content(check: dict[str, Any], servers: int) -> dict[str, Any]:
    """The config file: one service with so many servers."""
    config = pair_config(Forwarding.NAT, 1, 1000)
    del config["connection_sync"]
    config["services"][0] |= {
        "check": {"interval": "1s", "timeout": "500ms", "rise": 1, "fall": 1} | check,
        "servers": [address(number) for number in range(servers)],
    }
    return config


class Bench:
    """All measurements in the guest, on one lab."""

    def __init__(self, directory: Path, repetitions: int, only: str) -> None:
        self._directory = directory
        self._repetitions = repetitions
        self._only = only
        self.figures: list[Figure] = []

    def run(self) -> None:
        """Everything whose name contains what was asked for."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)
        with Lab("bhealth", self._directory, clients=0, servers=1) as lab:
            stand_for_many(lab)
            costs = {name: self._costs(lab, name) for name in CHECKS if self._only in name or not self._only}
            self._compare(costs)
            if self._only in "failure":
                self._failure(lab)

    def _compare(self, costs: dict[str, tuple[list[float], list[float]]]) -> None:
        if "tcp" in costs:
            self._add(
                ratio(GROUP, f"processor time of a TCP check, {SERVERS} servers at 1 s", *costs["tcp"], 0.7, "us")
            )
        if "half-open" in costs and "tcp" in costs:
            ours, theirs = costs["half-open"][0], costs["tcp"][1]
            what = "processor time of a half-open check, against a TCP check"
            self._add(ratio(GROUP, what, ours, theirs, 0.4, "us"))
        if "http" in costs:
            what = f"processor time of an HTTP check, {SERVERS} servers at 1 s"
            self._add(ratio(GROUP, what, *costs["http"], 1.0, "us"))

    def _add(self, *found: Figure) -> None:
        self.figures += found
        for each in found:
            print(f"  {each.figure}: {each.value:g} ({each.ours} {each.unit} against {each.theirs})", flush=True)

    # ------------------------------------------------------------------------------------------------ costs

    def _costs(self, lab: Lab, name: str) -> tuple[list[float], list[float]]:
        """Microseconds a check, ours and theirs."""
        ours: list[float] = []
        theirs: list[float] = []
        for number in range(self._repetitions):
            for whose, times in ((Director, ours), (Keepalived, theirs)):
                if whose is Keepalived and name == "half-open":
                    continue
                with self._running(lab, whose, CHECKS[name], SERVERS) as program:
                    time.sleep(SETTLE_S)
                    times.append(_cost_us(lab.host("lb1"), program, name))
                print(f"  {name} {number + 1}: {whose.__name__} {times[-1]:.1f} us a check", flush=True)
        return ours, theirs

    @contextmanager
    def _running(self, lab: Lab, whose: type[Program], check: dict[str, Any], servers: int) -> Iterator[Program]:
        """A started program of which the kernel shows all servers."""
        file = self._directory / "ha-lvs.yml"
        file.write_text(dump(content(check, servers), "of a benchmark"))
        host = lab.host("lb1")
        program: Program
        if whose is Director:
            program = Director(host, file, self._directory)
        else:
            program = Keepalived(host, loader.load(file), self._directory)
        program.start()
        try:
            wait_for(lambda: len(_listed(host)) == servers, 120, "all servers to be up", every_s=0.5)
            yield program
        finally:
            program.stop()
            host.run(["ipvsadm", "-C"])
            shutil.rmtree(self._directory / "run-lb1", ignore_errors=True)

    # ---------------------------------------------------------------------------------------------- failure

    def _failure(self, lab: Lab) -> None:
        """From the end of a server until the kernel no longer lists it, at whatever moment of the interval it ends."""
        ours: list[float] = []
        theirs: list[float] = []
        for whose, times in ((Director, ours), (Keepalived, theirs)):
            with self._running(lab, whose, CHECKS["tcp"], 2):
                for number in range(max(10, 2 * self._repetitions)):
                    time.sleep(1.5 + 0.1 * (number % 10))
                    times.append(_until_gone_ms(lab))
            print(f"  failure: {whose.__name__} {', '.join(f'{each:.0f}' for each in times)} ms", flush=True)
        self._add(
            ratio(GROUP, "server killed until the kernel no longer lists it, 1 s, fall 1", ours, theirs, 1.0, "ms")
        )


def _until_gone_ms(lab: Lab) -> float:
    """Kills the server, measures, and has it back."""
    host, server = lab.host("lb1"), lab.server("s1")
    server.stop()
    began = time.monotonic()
    wait_for(lambda: not _listed(host), 60, "the servers to be out", every_s=0.005)
    took = time.monotonic() - began
    server.start()
    wait_for(lambda: len(_listed(host)) == 2, 60, "the servers to be back", every_s=0.1)
    return took * 1000


def _listed(host: Host) -> list[Any]:
    with host.inside(), Ipvs() as ipvs:
        return [each for entry in ipvs.read().services.values() for each in entry.destinations if each.weight]


def _cost_us(host: Host, program: Program, name: str) -> float:
    pids = _checkers(program)
    used, made = sum(map(cpu_s, pids)), _made(host, name)
    time.sleep(WINDOW_S)
    return 1e6 * (sum(map(cpu_s, pids)) - used) / max(1.0, _made(host, name) - made)


def _checkers(program: Program) -> list[int]:
    """The processes that check."""
    if isinstance(program, Director):
        return [pid for name, pid in program.processes().items() if name.startswith("prober")]
    assert isinstance(program, Keepalived)
    return [program.checkers_pid]


def _made(host: Host, name: str) -> float:
    """Checks made so far, by the counters of the namespace."""
    if name == "half-open":
        with host.inside():
            # SYN and RST; the elector's packets and neighbours' are few beside them.
            return int(Path("/sys/class/net/e0/statistics/tx_packets").read_text()) / SEGMENTS[name]
    rows = [line.split() for line in host.run(["cat", "/proc/net/snmp"]).stdout.splitlines() if line.startswith("Tcp:")]
    return int(rows[1][rows[0].index("ActiveOpens")])


def measure() -> int:
    """Entry point in the guest."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("-n", "--repetitions", type=int, default=10)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    bench = Bench(options.output.parent / "health", options.repetitions, options.only)
    try:
        bench.run()
    finally:
        options.output.write_text(json.dumps([asdict(each) for each in bench.figures]))
    return 0


if __name__ == "__main__":
    sys.exit(measure())
