"""One contender on trial: a lab built fresh, armed, harmed step by step, and looked at until the scenario's end."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from ha_lvs.config.schema import Config
from ha_lvs.drill.contenders import Contender, prepare
from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.logs import keep_logs
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab, addresses
from ha_lvs.drill.lab.waiting import PACE
from ha_lvs.drill.measure.events import Emitter
from ha_lvs.drill.measure.processes import LoadProcess, UdpProcess
from ha_lvs.drill.measure.watch import ServiceWatch, Watch, be_as_others, be_prompt_alone
from ha_lvs.drill.runner import arming
from ha_lvs.drill.runner.faults import Faults
from ha_lvs.drill.runner.recovery import Seen, recovery
from ha_lvs.drill.runner.timetable import Due, running_servers, timetable
from ha_lvs.drill.scenario import Scenario
from ha_lvs.errors import HaLvsError, LabError

ECHO_PORT = 7000
CLIENT = "c1"
DNS = "dns"
DIRECTORS = ("lb1", "lb2")

CONFIGURATION = ("*.yml", "*.conf")
"""What of a contender's files is kept beside the logs: our config, and what was made of it for others."""

VERIFIED_WITHIN_S = 10.0
"""How long the long-lived connections have for an answer at the end."""

ARMING_TRIES = 3
"""How often the pair may change roles while the load settles; a director may still be starting in a slow lab."""

UDP_MS_PER_PACE = 2.5
"""In a slow lab datagrams are sent no more often than this: more would take the processor from what is on trial."""


def udp_interval_s(scenario: Scenario, contender: str) -> float | None:
    """The time between two datagrams in this lab; None where there is no such stream.

    The directors themselves answer the datagrams, so that there is nothing to ask where there are none.
    """
    if scenario.udp_interval_s is None or contender == DNS:
        return None
    return scenario.udp_interval_s if PACE == 1 else max(scenario.udp_interval_s, UDP_MS_PER_PACE * PACE / 1000)


class Trial:
    """A run of a scenario.

    Arguments:
        scenario: what is done.
        config: the pair's.
        lab: entered already, with its servers running.
        contender: not started yet.
        emitter: where events go.
    """

    def __init__(self, scenario: Scenario, config: Config, lab: Lab, contender: Contender, emitter: Emitter) -> None:
        self._scenario = scenario
        self._config = config
        self._lab = lab
        self._contender = contender
        self._emit = emitter
        self._client = lab.host(CLIENT)
        self._hosts: dict[str, Host] = {name: lab.host(name) for name in contender.directors}
        self._listen = (contender.target.host, contender.target.port)
        self._watch: Watch | None = None
        self._services: ServiceWatch | None = None
        self._load: LoadProcess | None = None
        self._udp: UdpProcess | None = None
        self._ports: set[int] = set()

    def run(self) -> None:
        """From the contender's start to the end of measuring; does not stop the contender.

        Errors: LabError or OSError when it could not be armed or measured. A step that fails is told as a problem.
        """
        with ExitStack() as stack:
            active, standby = self._start(stack)
            faults = stack.enter_context(Faults(self._lab, self._contender.directors, self._emit))
            armed_s = time.monotonic()
            dues = timetable(self._scenario.steps, armed_s, active, standby)
            self._emit("armed", active=active, standby=standby, t=round(armed_s, 4))
            stack.callback(be_as_others)
            be_prompt_alone()
            end_s = armed_s + self._scenario.end_s
            done = self._do(dues, faults)
            whole = len(done) == len(dues)
            if whole:
                _sleep_until(end_s)
            self._finish(stack)
            self._settled(done[-1] if done else armed_s, end_s, dues, whole)

    def _start(self, stack: ExitStack) -> tuple[str, str]:
        """Starts everything and waits until it has settled: (active, standby), empty without directors."""
        directors = self._contender.directors
        if directors:
            pairs = {name: (self._hosts[name], director) for name, director in directors.items()}
            self._watch = stack.enter_context(Watch(pairs, VIRTUAL_IP, self._emit))
        self._contender.start()
        self._emit("note", text=f"{self._contender.name} started")
        if self._watch:
            arming.wait_for_roles(self._watch, directors)
            arming.wait_for_links(directors)
        if self._watch and self._lab.servers:
            names = {server.address: server.name for server in self._lab.servers}
            arming.wait_for_services(self._hosts, self._listen, set(names))
            watch = ServiceWatch(self._hosts, names, self._listen, self._watch, self._emit)
            self._services = stack.enter_context(watch)
        if self._watch:
            arming.wait_for_pair(self._watch, self._hosts, self._interval_s)
        self._start_load(stack)
        self._start_udp(stack)
        for _ in range(ARMING_TRIES):
            active, standby = self._settle()
            if not self._watch or self._watch.holders == (active,):
                return active, standby
            self._emit("note", text=f"{VIRTUAL_IP} has moved meanwhile; once more")
        raise LabError(f"{VIRTUAL_IP} does not stay with one director, though nothing was done to the pair")

    def _settle(self) -> tuple[str, str]:
        """Waits until pair and load run undisturbed, the one after the other: (active, standby)."""
        active = standby = ""
        if self._watch:
            active, standby = arming.wait_for_pair(self._watch, self._hosts, self._interval_s)
            self._emit("note", text=f"{active} holds {VIRTUAL_IP}")
        if self._load and standby and self._config.connection_sync is not None:
            arming.wait_for_sync(self._ports, self._client, self._lab.host(standby), self._emit)
        if self._load and self._scenario.rate:
            self._load.wait_for_undisturbed(arming.UNDISTURBED_WITHIN_S)
        if self._udp:
            arming.wait_for_datagrams(self._udp)
        return active, standby

    @property
    def _interval_s(self) -> float:
        return next(iter(self._config.instances.values())).interval.seconds

    def _start_load(self, stack: ExitStack) -> None:
        scenario = self._scenario
        if not self._lab.servers or not (scenario.connections or scenario.rate):
            return
        target = self._contender.target
        command = [sys.executable, "-m", "ha_lvs.drill.measure.load", *target.arguments]
        command += ["--connections", str(scenario.connections), "--rate", f"{scenario.rate:g}"]
        command += ["--every", "1" if PACE == 1 else "2"]
        text = f"load on {target}: {scenario.connections} connections, {scenario.rate:g} requests a second"
        self._emit("note", text=text)
        self._load = stack.enter_context(LoadProcess(lambda: self._piped(command), self._emit))
        if scenario.connections:
            self._ports = arming.wait_for_connections(self._load, scenario.connections)

    def _start_udp(self, stack: ExitStack) -> None:
        interval_s = udp_interval_s(self._scenario, self._contender.name)
        if interval_s is None:
            return
        echo = [sys.executable, "-m", "ha_lvs.drill.measure.echo", "--address", VIRTUAL_IP, "--port", str(ECHO_PORT)]
        for host in self._hosts.values():
            host.popen(echo)
        command = [sys.executable, "-m", "ha_lvs.drill.measure.udp_stream", "--target", f"{VIRTUAL_IP}:{ECHO_PORT}"]
        command += ["--interval-ms", f"{interval_s * 1000:g}"]
        self._udp = stack.enter_context(UdpProcess(lambda: self._piped(command)))

    def _piped(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        return self._client.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _do(self, dues: Sequence[Due], faults: Faults) -> list[float]:
        """Does the steps, each at its time; when each was done. One that fails is the last."""
        done: list[float] = []
        for due in dues:
            _sleep_until(due.at_s)
            at_s = time.monotonic()
            step = due.step
            self._emit("step", index=due.index, verb=step.verb, target=step.target, text=due.text, t=round(at_s, 4))
            try:
                faults.do(step)
            except (HaLvsError, OSError) as problem:
                self._emit("problem", text=f"step '{due.text}': {problem}")
                break
            done.append(at_s)
        return done

    def _finish(self, stack: ExitStack) -> None:
        """Ends measuring: the load is asked for the last time and stopped."""
        if self._udp:
            self._udp.stop()
        if self._load:
            if self._scenario.connections:
                self._load.verify("end", VERIFIED_WITHIN_S)
            self._load.stop()
        if self._udp:
            self._emit("udp", **self._udp.result())
        # From here on nothing is looked at any more: who holds the address when the contender is stopped is no result.
        stack.close()

    def _settled(self, last_step_s: float, end_s: float, dues: Sequence[Due], whole: bool) -> None:
        """Tells since when all was well, if every step was done."""
        seen = Seen(
            holders=self._watch.held if self._watch else None,
            in_service=self._services.seen if self._services else None,
            requests=self._load.requests if self._load and self._scenario.rate else None,
        )
        running = running_servers((server.name for server in self._lab.servers), dues)
        found = recovery(seen, last_step_s, end_s, running) if whole else "not every step was done"
        if isinstance(found, str):
            self._emit("note", text=f"not recovered: {found}")
        self._emit("settled", after_s=None if isinstance(found, str) else round(found, 4))


def _sleep_until(at_s: float) -> None:
    time.sleep(max(0.0, at_s - time.monotonic()))


def run_contender(
    name: str,
    scenario: Scenario,
    text: str,
    config: Config,
    environment: Mapping[str, str],
    output: Path,
    emitter: Emitter,
) -> None:
    """A lab, a contender and its trial. Problems become events.

    Arguments:
        name: of the contender.
        scenario: what is done.
        text, config: the pair's config file, and what is in it.
        environment: for the processes of ha-lvs.
        output: directory for logs.
        emitter: where events go.
    """
    emitter(
        "run",
        contender=name,
        scenario=scenario.name,
        directors=[] if name == DNS else list(DIRECTORS),
        servers=list(addresses("s", scenario.servers)),
        interval_s=next(iter(config.instances.values())).interval.seconds,
        udp_interval_s=udp_interval_s(scenario, name),
        wall_s=round(time.time(), 4),
    )
    with tempfile.TemporaryDirectory(prefix="ha-lvs-drill-") as directory:
        try:
            with Lab("drill", Path(directory), clients=max(1, scenario.clients), servers=scenario.servers) as lab:
                lab.forward(scenario.forwarding)
                lab.start_servers()
                files = lab.directory / "contender"
                contender = prepare(name, lab, text, files, environment)
                try:
                    Trial(scenario, config, lab, contender, emitter).run()
                finally:
                    _stop(contender, emitter)
                    _keep(contender, files, output, emitter)
        except (HaLvsError, OSError) as problem:
            emitter("problem", text=str(problem))
    emitter("end")


def _stop(contender: Contender, emitter: Emitter) -> None:
    """Stops what still runs, frozen or not, and says of a director that did not end well."""
    for name, director in contender.directors.items():
        if director.running:
            try:
                director.thaw()
                code = director.stop()
            except (HaLvsError, OSError) as problem:
                emitter("problem", text=str(problem))
                continue
            if code:
                emitter("note", text=f"{name} ended with exit code {code}")
    try:
        contender.stop()
    except (HaLvsError, OSError) as problem:
        emitter("problem", text=str(problem))


def _keep(contender: Contender, directory: Path, output: Path, emitter: Emitter) -> None:
    """Keeps logs and configuration, and tells where the logs are."""
    kept = output / "logs" / contender.name
    logs = keep_logs({name: director.log for name, director in contender.directors.items()}, kept)
    for pattern in CONFIGURATION:
        for file in directory.glob(pattern):
            shutil.copyfile(file, kept / file.name)
    emitter("logs", **{name: str(log.relative_to(output)) for name, log in logs.items()})
