"""The demo's measuring side: builds the lab, runs the pair, does it harm, and writes events.

    python -m ha_lvs.drill.demo.run --forwarding dr --forwarding nat -o DIR

It runs where IPVS is, which may be inside the VM, so it draws nothing and writes events (`measure.events`) as JSON
lines to standard output. Each forwarding method gets a lab of its own. Rules that hold here:

* A step has happened when the kernel shows it, not when somebody says so.
* A run that fails is reported as a ``problem`` and the next one begins: the reader judges.
* The logs of both directors are kept below DIR/logs, whatever happened.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ha_lvs.drill.lab import kernel
from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.logs import keep_logs
from ha_lvs.drill.lab.pair_config import PORT, PRIORITIES, dump, pair_config
from ha_lvs.drill.lab.servers import Server
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import PACE, lasting, wait_for
from ha_lvs.drill.measure.events import Emitter
from ha_lvs.drill.measure.proc_tables import client_ports, destinations
from ha_lvs.drill.measure.processes import LoadProcess
from ha_lvs.drill.measure.watch import KernelTable, Watch
from ha_lvs.errors import HaLvsError, LabError
from ha_lvs.model import Forwarding

SERVERS = 3
ANSWERS_BEFORE_CUT = 4
"""Requests on every long-lived connection before the cut. The kernel syncs a connection from its third packet."""

ANSWERS_WITHIN_S = 30.0
"""How long new requests may fail before the cut and after the return of the old active, in real seconds."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the demo is asked for.

    Arguments:
        connections: long-lived ones.
        rate: short requests a second.
        interval_ms: between two advertisements.
        output: directory for logs.
    """

    connections: int
    rate: float
    interval_ms: int
    output: Path


class Demo:
    """One run: a pair that forwards by one method.

    Arguments:
        lab: entered already, with its servers running.
        config: the pair's config file.
        options: what is asked for.
        emitter: where events go.
    """

    def __init__(self, lab: Lab, config: Path, options: Options, emitter: Emitter) -> None:
        self._lab = lab
        self._options = options
        self._emit = emitter
        self._emitter = emitter
        self._client = lab.host("c1")
        self.directors = {name: Director(lab.host(name), config, lab.directory) for name in PRIORITIES}
        self._pair: dict[str, tuple[Host, Director]] = {
            name: (lab.host(name), director) for name, director in self.directors.items()
        }
        self._services = {name: KernelTable(lab.host(name), "ip_vs") for name in self.directors}
        self._connections = {name: KernelTable(lab.host(name), "ip_vs_conn") for name in self.directors}

    def run(self) -> None:
        """From start to stop.

        Errors: LabError when a step did not happen in time; what has been seen until then has been told.
        """
        with Watch(self._pair, VIRTUAL_IP, self._emit) as watch:
            for director in self.directors.values():
                director.start()
            self._emit("note", text="both directors started")
            active, standby = self._wait_for_pair(watch)
            with LoadProcess(self._start_load, self._emitter) as load:
                self._settle(load, standby)
                self._cut(load, watch, active, standby)
                self._heal(load, watch, active, standby)
                self._show(1)
                self._server_out_and_in(self._lab.servers[0], active)
                self._show(2)
                load.stop()
            self._stop(watch)

    def close(self, logs: Path) -> None:
        """Keeps the logs in a directory and gives descriptors back."""
        for table in (*self._services.values(), *self._connections.values()):
            table.close()
        keep_logs({name: director.log for name, director in self.directors.items()}, logs)

    def _wait_for_pair(self, watch: Watch) -> tuple[str, str]:
        """The pair when exactly one has the virtual IP and both send traffic to every server: (active, standby)."""
        everyone = {server.address for server in self._lab.servers}
        one = lasting(lambda: len(watch.holders) == 1, 4 * self._options.interval_ms / 1000)
        wait_for(one, 30, f"exactly one director to hold {VIRTUAL_IP}")
        for name in self.directors:
            wait_for(
                lambda name=name: self._in_service(name) == everyone,  # type: ignore[misc]  # bound at once
                30,
                f"every server to be up in the IPVS of {name}",
                every_s=0.05,
            )
        (active,) = watch.holders
        (standby,) = set(self.directors) - {active}
        self._step("ready", f"{active} holds {VIRTUAL_IP}; both directors send to {len(everyone)} servers")
        return active, standby

    def _settle(self, load: LoadProcess, standby: str) -> None:
        """Waits until every connection has been used and the standby knows it."""
        options = self._options
        opened = load.wait("opened", 60 + options.connections / 5, "the connections to be opened", lambda _: True)
        ports = set(opened["ports"])
        load.wait(
            "report",
            60,
            f"every connection to have had {ANSWERS_BEFORE_CUT} answers",
            lambda told: told["connections"]["least_answers"] >= ANSWERS_BEFORE_CUT,
        )

        def known() -> bool:
            return ports <= client_ports(self._connections[standby].read(), self._client.address)

        wait_for(known, 30, f"{standby} to know all {len(ports)} connections by the kernel's sync", every_s=0.3)
        self._emit("note", text=f"{standby} knows all {len(ports)} connections by the kernel's sync")
        self._wait_for_answers(load)
        load.verify("before", 10)

    def _cut(self, load: LoadProcess, watch: Watch, active: str, standby: str) -> None:
        cut_s = self._step("cut", f"{active} is cut off: its switch port is taken away")
        self._lab.cut(active)
        wait_for(lambda: standby in watch.holders, 20, f"{standby} to hold {VIRTUAL_IP} after the cut")
        held_s = watch.held_since[standby]
        self._step("taken-over", f"{standby} holds {VIRTUAL_IP} after {(held_s - cut_s) * 1000:.0f} ms", held_s)
        load.verify("after-cut", 15)
        self._show(2)

    def _heal(self, load: LoadProcess, watch: Watch, active: str, standby: str) -> None:
        self._step("healed", f"{active} is connected again; it has the higher priority")
        self._lab.heal(active)
        roles = {active: "active", standby: "backup"}
        steady = lasting(lambda: watch.holders == (active,) and watch.roles == roles, 1.0)
        wait_for(steady, 30, f"{active} alone to hold {VIRTUAL_IP} and {standby} to be backup again")
        self._step("steady", f"the pair is steady: {active} active, {standby} backup")
        load.verify("after-return", 15)
        if self._wait_for_answers(load):
            self._step("answered", "every new request is answered again")

    def _wait_for_answers(self, load: LoadProcess) -> bool:
        """Until a whole report of the load generator has no failure; if that never comes the demo still goes on."""
        try:
            load.wait_for_undisturbed(ANSWERS_WITHIN_S)
        except LabError as problem:
            self._emit("problem", text=str(problem))
            return False
        return True

    def _server_out_and_in(self, server: Server, active: str) -> None:
        stopped_s = self._step("server-stopped", f"nginx on {server.name} is stopped")
        server.stop()
        wait_for(lambda: server.address not in self._in_service(active), 30, f"{server.name} to leave IPVS on {active}")
        self._step("server-out", f"{server.name} out of IPVS after {_since_ms(stopped_s)} ms")
        self._show(2)
        started_s = self._step("server-started", f"nginx on {server.name} is started")
        server.start(wait=False)
        wait_for(lambda: server.address in self._in_service(active), 30, f"{server.name} to return to IPVS on {active}")
        self._step("server-in", f"{server.name} back in IPVS after {_since_ms(started_s)} ms")

    def _stop(self, watch: Watch) -> None:
        for name, director in self.directors.items():
            code = director.stop()
            if code:
                self._emit("problem", text=f"{name} ended with exit code {code}")
        wait_for(lambda: not watch.holders, 5, f"nobody to hold {VIRTUAL_IP} after both directors were stopped")
        self._emit("note", text="both directors ended cleanly")

    def _in_service(self, director: str) -> set[str]:
        return destinations(self._services[director].read(), VIRTUAL_IP, PORT)

    def _start_load(self) -> subprocess.Popen[bytes]:
        options = self._options
        every_s = 1.0 if PACE == 1 else 2.0
        command = [sys.executable, "-m", "ha_lvs.drill.measure.load", "--target", f"{VIRTUAL_IP}:{PORT}"]
        command += ["--connections", str(options.connections), "--rate", str(options.rate)]
        command += ["--every", str(every_s)]
        self._emit("note", text=f"load: {options.connections} connections, {options.rate:g} requests a second")
        return self._client.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _show(self, seconds: float) -> None:
        """Lets traffic run on, so that there is something to see before the next step."""
        time.sleep(seconds)

    def _step(self, name: str, text: str, at_s: float | None = None) -> float:
        """Tells of a step; what is done is told just before, so that nothing that follows from it is told earlier."""
        at_s = time.monotonic() if at_s is None else at_s
        self._emit("step", name=name, text=text, t=round(at_s, 4))
        return at_s


def _since_ms(start_s: float) -> int:
    return round((time.monotonic() - start_s) * 1000)


def run_one(forwarding: Forwarding, options: Options, emitter: Emitter) -> None:
    """A lab, a pair and a run with one forwarding method. Problems become events."""
    interval_s = options.interval_ms / 1000
    emitter(
        "run",
        forwarding=forwarding.value,
        directors=list(PRIORITIES),
        servers=[f"s{number}" for number in range(1, SERVERS + 1)],
        interval_s=interval_s,
        expected_ms=interval_s * 1000 * (3 + (256 - PRIORITIES["lb2"]) / 256),
    )
    with tempfile.TemporaryDirectory(prefix="ha-lvs-demo-") as directory:
        try:
            name = f"demo-{forwarding.value}"
            with Lab(name, Path(directory), clients=1, servers=SERVERS) as lab:
                lab.forward(forwarding)
                lab.start_servers()
                config = lab.directory / "ha-lvs.yml"
                content = pair_config(forwarding, SERVERS, options.interval_ms)
                config.write_text(dump(content, "Written by the demo: one file, the same on both directors."))
                demo = Demo(lab, config, options, emitter)
                try:
                    demo.run()
                finally:
                    demo.close(options.output / "logs" / forwarding.value)
        except (HaLvsError, OSError) as problem:
            emitter("problem", text=str(problem))
    emitter("end")


def main(arguments: list[str] | None = None) -> None:
    """Runs the forwarding methods one after the other."""
    parser = argparse.ArgumentParser(prog="python -m ha_lvs.drill.demo.run", description="The demo's measuring side.")
    methods = [forwarding.value for forwarding in Forwarding]
    parser.add_argument("--forwarding", action="append", choices=methods, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--interval-ms", type=int, required=True)
    parser.add_argument("--lab", default="native", help="kind of lab, only told on")
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args(arguments)
    emitter = Emitter(sys.stdout.fileno())
    emitter("machine", kernel=kernel.release(), lab=asked.lab, cpus=os.cpu_count(), pace=PACE)
    options = Options(asked.connections, asked.rate, asked.interval_ms, asked.output)
    for method in asked.forwarding:
        run_one(Forwarding(method), options, emitter)


if __name__ == "__main__":
    main()
