"""Programming IPVS, beside ipvsadm and keepalived, on a kernel that has it.

On this side (`figures`) the guest is started and its answers are read; in the guest `python -m tests.bench.ipvs`
measures (`measure`). All of it is done with the same services: `SERVICES` of them with `SERVERS` real servers each.

Rules that hold here:
* Ours and theirs follow one another in each repetition, each in a network namespace that was empty.
* "Shown" means that the kernel was asked, by a look at the one service that was changed or loaded last.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from ha_lvs.config import loader, parts
from ha_lvs.daemon.balancer import Balancer
from ha_lvs.drill.contenders.keepalived import Keepalived
from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.hosts import Host, group_members
from ha_lvs.drill.lab.pair_config import INSTANCE, dump, pair_config
from ha_lvs.drill.lab.program import Program
from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.kernel.ipvs import Ipvs
from ha_lvs.model import DirectorPart, Forwarding, Role, ServiceKey
from ha_lvs.plan.desired import KernelState, desired_services
from ha_lvs.plan.diff import diff
from ha_lvs.plan.pool import Standing
from tests.bench.figures import Figure, absolute, ratio

GROUP = "ipvs"
SERVICES, SERVERS, FILES = 1000, 10, 100
IPVSADM = "ipvsadm"
LIMIT_S = 3600.0


def figures(output: Path, repetitions: int, only: str, console: Console) -> Iterator[Figure]:
    """Measures in a guest where this kernel has no IPVS; the figures come at the end."""
    console.print(f"ipvs: {SERVICES} services of {SERVERS} servers, {repetitions} times; progress comes from the guest")
    output.mkdir(parents=True, exist_ok=True)
    found = output / "ipvs.json"
    found.unlink(missing_ok=True)
    inside = [sys.executable, "-m", "tests.bench.ipvs", "-o", str(found), "-n", str(repetitions), "--only", only]
    lab = [sys.executable, "-m", "ha_lvs.drill.lab", "run", "--timeout", str(LIMIT_S), "--", *inside]
    code = subprocess.run(lab, check=False).returncode
    measured = json.loads(found.read_text()) if found.exists() else []
    yield from (Figure(**each) for each in measured)
    if code:
        raise SystemExit(f"bench: the measurements of {GROUP} ended with exit code {code}")


# ------------------------------------------------------------------------------------------- what is measured


def content(files: int = 0) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The config file, and its services apart from it."""
    config = pair_config(Forwarding.NAT, 0, 1000)
    config["instances"][INSTANCE]["virtual_ips"] = [f"10.9.0.{100 + number}/32" for number in range(4)]
    services = [
        {
            "name": f"s{number:04d}",
            "listen": f"10.9.0.{100 + number % 4}:{1000 + number // 4}/tcp",
            "scheduler": "wlc",
            "forwarding": "nat",
            "check": {"type": "none"},
            "servers": [{"address": address(number, each), "port": 80, "weight": 10} for each in range(SERVERS)],
        }
        for number in range(SERVICES)
    ]
    if files:
        config["include"] = ["services.d/*.yml"]
    else:
        config["services"] = services
    return config, services


def address(service: int, server: int) -> str:
    """Of one of the real servers."""
    number = service * SERVERS + server
    return f"10.{20 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


class Files:
    """The config of ours and theirs on disk.

    Arguments:
        directory: for them.
        files: into how many files the services go that ours includes; 0 for one file.
    """

    def __init__(self, directory: Path, files: int = 0) -> None:
        self.directory = directory
        config, self._services = content(files)
        self._per_file = len(self._services) // files if files else 0
        self.main = directory / "ha-lvs.yml"
        (directory / "services.d").mkdir(parents=True, exist_ok=True)
        self.main.write_text(dump(config, "of a benchmark"))
        for at in range(files):
            self._write(at)

    def _write(self, file: int) -> None:
        services = self._services[file * self._per_file : (file + 1) * self._per_file]
        (self.directory / "services.d" / f"{file:03d}.yml").write_text(dump({"services": services}, "services"))

    def set_weight(self, service: int, weight: int) -> None:
        """Writes another weight of a service's first server where that service stands."""
        self._services[service]["servers"][0]["weight"] = weight
        if self._per_file:
            self._write(service // self._per_file)
        else:
            self.main.write_text(dump({**content()[0], "services": self._services}, "of a benchmark"))


def part_of(files: Files) -> DirectorPart:
    """What the director has of it."""
    return parts.director_part(loader.load(files.main), "lb1")


class Shown:
    """Looks at the kernel until it shows what is waited for. Lives in the namespace that it looks at.

    Arguments:
        host: whose kernel it is.
    """

    def __init__(self, host: Host) -> None:
        with host.inside():
            self.ipvs = Ipvs()
            self.ipvs.__enter__()

    def until(self, key: ServiceKey, what: Callable[[list[int]], bool], timeout_s: float = 120.0) -> None:
        """Waits until the weights of a service are as they should be."""

        def holds() -> bool:
            entry = self.ipvs.read_services([key]).get(key)
            return entry is not None and what([each.weight for each in entry.destinations])

        wait_for(holds, timeout_s, f"the kernel to show {key}", every_s=0.002)

    def close(self) -> None:
        """Lets go."""
        self.ipvs.close()


# ------------------------------------------------------------------------------------------------- the measures


class Bench:
    """All measurements, on one lab."""

    def __init__(self, directory: Path, repetitions: int, only: str) -> None:
        self._directory = directory
        self._repetitions = repetitions
        self._only = only
        self.figures: list[Figure] = []

    def run(self) -> None:
        """Everything whose name contains what was asked for."""
        for name, measure in (
            ("load", self.load),
            ("reconcile", self.reconcile),
            ("start", self.start),
            ("weight", self.weight),
        ):
            if self._only in name:
                print(f"ipvs: {name}", flush=True)
                measure()

    def _add(self, *found: Figure) -> None:
        self.figures += found
        for each in found:
            print(f"  {each.figure}: {each.value:g} ({each.ours} {each.unit} against {each.theirs})", flush=True)

    @contextmanager
    def _lab(self, name: str) -> Iterator[tuple[Lab, Path]]:
        directory = self._directory / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        with Lab(f"b{name}", directory, clients=0, servers=0) as lab:
            yield lab, directory

    def load(self) -> None:
        """From an empty kernel, with the config parsed."""
        ours, theirs = [], []
        with self._lab("load") as (lab, directory):
            part = part_of(Files(directory))
            lb1, lb2 = lab.host("lb1"), lab.host("lb2")
            rules = directory / "rules"
            with lb1.inside(), Ipvs() as ipvs:
                for _ in range(self._repetitions):
                    began = time.monotonic()
                    entries, _pools = desired_services(part.services, Standing())
                    failures = ipvs.apply(diff(KernelState(entries), KernelState(), frozenset()))
                    ours.append(time.monotonic() - began)
                    assert failures == []
                    if not rules.exists():
                        rules.write_text(lb1.run(["ipvsadm", "-Sn"], timeout_s=300).stdout)
                        assert len(rules.read_text().splitlines()) == SERVICES * (SERVERS + 1)
                    theirs.append(_took(lb2, ["ipvsadm", "-R"], rules))
                    lb1.run(["ipvsadm", "-C"])
                    lb2.run(["ipvsadm", "-C"])
        what = f"{SERVICES} services of {SERVERS} servers from empty, config parsed, until all are acknowledged"
        self._add(_against(IPVSADM, ratio(GROUP, what, ours, theirs, 0.7, "s")))

    def reconcile(self) -> None:
        """A pass that finds nothing to do."""
        ours, cpu, theirs = [], [], []
        with self._lab("pass") as (lab, directory):
            part = part_of(Files(directory))
            lb1 = lab.host("lb1")
            with lb1.inside(), Ipvs() as ipvs:
                balancer = Balancer(part, ipvs, directory, lambda: None)
                balancer.roles = dict.fromkeys((each.name for each in part.instances), Role.BACKUP)
                balancer.reconcile()
                for _ in range(self._repetitions):
                    began, used = time.monotonic(), time.process_time()
                    outcome = balancer.reconcile()
                    ours.append(time.monotonic() - began)
                    cpu.append(time.process_time() - used)
                    assert outcome.steps == ()
                    theirs.append(_took(lb1, ["ipvsadm", "-Sn"]))
        what = f"reconcile pass over {SERVICES * (SERVERS + 1)} entries, nothing to do"
        self._add(
            _against(IPVSADM, ratio(GROUP, what, ours, theirs, 1.5, "s")),
            absolute(GROUP, f"{what}: processor time", cpu, None, "s"),
        )

    def start(self) -> None:
        """From the start of the process until the kernel shows the last service; and what it takes in memory."""
        ours: list[float] = []
        theirs: list[float] = []
        our_memory: list[float] = []
        their_memory: list[float] = []
        with self._lab("start") as (lab, directory):
            files = Files(directory)
            config, part = loader.load(files.main), part_of(files)
            host = lab.host("lb1")
            last = part.services[-1].service.key
            for _ in range(self._repetitions):
                programs: list[tuple[Program, list[float], list[float]]] = [
                    (Director(host, files.main, directory), ours, our_memory),
                    (Keepalived(host, config, directory), theirs, their_memory),
                ]
                for program, times, memory in programs:
                    with _looking(host) as shown:
                        began = time.monotonic()
                        program.start()
                        shown.until(last, lambda weights: weights == [10] * SERVERS)
                        times.append(time.monotonic() - began)
                        assert len(shown.ipvs.read().services) == SERVICES
                        memory.append(_memory_mib(program))
                        program.stop()
                    host.run(["ipvsadm", "-C"])
                    shutil.rmtree(directory / "run-lb1", ignore_errors=True)
        what = "from the start of the process with the file until the kernel shows it"
        self._add(
            ratio(GROUP, what, ours, theirs, 2.0, "s"),
            absolute(GROUP, "memory of all processes with that config (PSS)", our_memory, None, "MiB", their_memory),
        )

    def weight(self) -> None:
        """One weight among ten thousand: by command and by reload."""
        command, reload, theirs = [], [], []
        with self._lab("weight") as (lab, directory):
            files = Files(directory, FILES)
            config, part = loader.load(files.main), part_of(files)
            host = lab.host("lb1")
            which = SERVICES // 2
            key, name = part.services[which].service.key, part.services[which].name
            director = Director(host, files.main, directory)
            with _running(director, host, part) as shown:
                wait_for(lambda: director.role() == "active", 60, "the director to be active")
                for number in range(self._repetitions):
                    weight = 20 + number
                    files.set_weight(which, weight)
                    began = time.monotonic()
                    _reload(director)
                    shown.until(key, lambda weights, weight=weight: weight in weights)  # type: ignore[misc]
                    reload.append(time.monotonic() - began)
                for number in range(self._repetitions):
                    weight = 60 + number
                    words = ["server", "weight", name, f"{address(which, 0)}:80", str(weight)]
                    began = time.monotonic()
                    with host.inside():
                        verb = subprocess.Popen(
                            [Path(sys.executable).with_name("ha-lvs"), *words, "--runtime-dir", director.runtime_dir],
                            stdout=subprocess.DEVNULL,
                        )
                    shown.until(key, lambda weights, weight=weight: weight in weights)  # type: ignore[misc]
                    command.append(time.monotonic() - began)
                    assert verb.wait(60) == 0
            host.run(["ipvsadm", "-C"])
            keepalived = Keepalived(host, config, directory)
            with _running(keepalived, host, part) as shown:
                for number in range(self._repetitions):
                    weight = 20 + number
                    text = keepalived.config.read_text()
                    start = text.index(f"real_server {address(which, 0)} ")
                    end = text.index("}", start)
                    block = text[start:end]
                    before = block[block.index("weight") :].splitlines()[0]
                    keepalived.config.write_text(
                        text[:start] + block.replace(before, f"weight {weight}", 1) + text[end:]
                    )
                    began = time.monotonic()
                    _reload(keepalived)
                    shown.until(key, lambda weights, weight=weight: weight in weights)  # type: ignore[misc]
                    theirs.append(time.monotonic() - began)
        what = "one weight changed among 10 000"
        self._add(
            ratio(GROUP, f"{what}: command, against a reload", command, theirs, 0.1, "s"),
            ratio(GROUP, f"{what}: reload, services in {FILES} included files", reload, theirs, 1.0, "s"),
        )


def _against(whom: str, figure: Figure) -> Figure:
    return Figure(**(asdict(figure) | {"against": whom}))


def _took(host: Host, command: list[str], source: Path | None = None) -> float:
    """Seconds that a command takes, without the start of anything around it."""
    with host.inside(), (source or Path(os.devnull)).open("rb") as stdin:
        began = time.monotonic()
        subprocess.run(command, check=True, stdin=stdin, stdout=subprocess.DEVNULL)
        return time.monotonic() - began


@contextmanager
def _looking(host: Host) -> Iterator[Shown]:
    shown = Shown(host)
    try:
        yield shown
    finally:
        shown.close()


@contextmanager
def _running(program: Program, host: Host, part: DirectorPart) -> Iterator[Shown]:
    """A started program whose services are all in the kernel; stopped at the end."""
    with _looking(host) as shown:
        program.start()
        try:
            shown.until(part.services[-1].service.key, lambda weights: len(weights) == SERVERS)
            time.sleep(2.0)
            yield shown
        finally:
            program.stop()


def _reload(program: Program) -> None:
    assert program.process is not None
    os.kill(program.process.pid, signal.SIGHUP)


def _memory_mib(program: Program) -> float:
    """Proportional set size of all its processes."""
    assert program.process is not None
    total = 0
    for pid in group_members(program.process.pid):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (OSError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total / 1024


def measure() -> int:
    """Entry point in the guest."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("-n", "--repetitions", type=int, default=10)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    bench = Bench(options.output.parent / "ipvs", options.repetitions, options.only)
    try:
        bench.run()
    finally:
        options.output.write_text(json.dumps([asdict(each) for each in bench.figures]))
    return 0


if __name__ == "__main__":
    sys.exit(measure())
