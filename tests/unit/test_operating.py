"""`ha-lvs server` and `ha-lvs service`: the real verbs against a real control socket and a simulated kernel."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.cli import overriding, quick
from ha_lvs.cli.main import build
from ha_lvs.daemon.asking import RUNTIME_DIR
from ha_lvs.daemon.balancer import OVERRIDES_FILE, Balancer
from ha_lvs.daemon.control import OPERATE_SOCKET_NAME, SOCKET_NAME, serve
from ha_lvs.daemon.operating import Operating, Told, waiting_overrides
from ha_lvs.errors import KernelError
from ha_lvs.kernel.ipvs import Counts
from ha_lvs.model import (
    Destination,
    DestinationKey,
    DirectorPart,
    Forwarding,
    OnStop,
    Override,
    Protocol,
    RealServer,
    Service,
    ServiceKey,
    VirtualService,
)
from ha_lvs.observe import logs
from ha_lvs.plan.desired import KernelState
from ha_lvs.plan.simulate import apply
from ha_lvs.plan.steps import Step, StepFailure

VERB = [sys.executable, "-m", "ha_lvs.cli.main"]
DEADLINE_S = 60.0
WEB, DNS = (
    ServiceKey(ip_address("192.0.2.10"), 80, Protocol.TCP),
    ServiceKey(ip_address("192.0.2.10"), 53, Protocol.UDP),
)
ONE, TWO = DestinationKey(ip_address("10.0.0.1"), 80), DestinationKey(ip_address("10.0.0.2"), 80)
SIX = DestinationKey(ip_address("2001:db8::1"), 53)


def real(key: DestinationKey, weight: int = 1) -> RealServer:
    return RealServer(Destination(key, Forwarding.DR, weight))


SERVICES = (
    VirtualService("web", Service(WEB, "wlc"), (real(ONE, 3), real(TWO), real(replace(TWO, port=81)))),
    VirtualService("dns", Service(DNS, "rr", persistence_timeout_s=300), (real(SIX),), sorry=real(ONE).destination),
)


@dataclass
class SimulatedIpvs:
    """A kernel as plans are tried on, with connections as the test says."""

    state: KernelState = field(default_factory=KernelState)
    connections: dict[DestinationKey, tuple[int, int]] = field(default_factory=dict)
    refusing: bool = False
    unreadable: bool = False
    sysctls: tuple[str, ...] = ()

    def read(self) -> KernelState:
        if self.unreadable:
            raise KernelError("list the virtual services", 1)
        return self.state

    def read_services(self, keys: Iterable[ServiceKey]) -> dict[ServiceKey, Any]:
        return {key: self.read().services[key] for key in keys if key in self.read().services}

    def read_services_with_counts(self, keys: Iterable[ServiceKey]) -> tuple[dict[ServiceKey, Any], dict[Any, Counts]]:
        found = self.read_services(keys)
        counts = {(key, to): Counts(*each, 0) for key in found for to, each in self.connections.items()}
        return found, counts

    def apply(self, steps: Sequence[Step]) -> list[StepFailure]:
        if self.refusing:
            return [StepFailure(step, 1, "Operation not permitted") for step in steps]
        applied = apply(steps, self.state)
        self.state = applied.state
        return list(applied.failures)

    def sysctl(self, name: str) -> int | None:
        return 0 if name == "expire_quiescent_template" else None

    def weights(self, key: ServiceKey) -> dict[str, int]:
        return {str(each.key): each.weight for each in self.state.services[key].destinations}


@dataclass
class Director:
    """A director process as far as these verbs need one."""

    directory: Path
    ipvs: SimulatedIpvs
    balancer: Balancer
    told: list[Override] = field(default_factory=list)
    peers: dict[str, Any] = field(default_factory=dict)
    to_tell: Told = field(default_factory=Told)

    def spread(self, news: list[Override]) -> Told:
        self.told += news
        return self.to_tell

    def follow_up(self) -> str:
        try:
            self.balancer.follow_up()
        except KernelError as problem:
            return str(problem)
        return ""

    def answer(self, operating: Operating, request: dict[str, Any]) -> dict[str, Any]:
        name = str(request["service"])
        return {**operating.status(name), "node": "lb1", "others": self.peers}


@contextlib.contextmanager
def served(directory: Path, services: tuple[VirtualService, ...] = SERVICES) -> Iterator[Director]:
    """A director with these services, on sockets in a thread."""
    logs.configure("info", by="director")  # as the process does; its loggers have a level of their own
    part = DirectorPart("edge", "lb1", "d1", (), services, None, OnStop.KEEP, 30.0)
    ipvs = SimulatedIpvs()
    balancer = Balancer(part, ipvs, directory, lambda: None)  # type: ignore[arg-type]
    balancer.reconcile()
    made = Director(directory, ipvs, balancer)
    operating = Operating("lb1", balancer, made.follow_up, made.spread)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(DEADLINE_S)

    servers = [
        run(serve(directory, lambda request: made.answer(operating, request))),
        run(serve(directory, operating.answer, name=OPERATE_SOCKET_NAME, mode=0o600)),
    ]
    try:
        yield made
    finally:
        for each in servers:
            loop.call_soon_threadsafe(each.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DEADLINE_S)
        loop.close()


@pytest.fixture
def director(tmp_path: Path) -> Iterator[Director]:
    with served(tmp_path) as made:
        yield made


def ha_lvs(director: Director, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The verb, to its end."""
    command = [*VERB, *arguments, "--runtime-dir", str(director.directory)]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def wait_for(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, f"waited for {what}"
        time.sleep(0.02)


# ------------------------------------------------------------------------------------------------ weights


def test_a_weight_is_in_the_kernel_when_the_verb_returns_and_in_the_answer(director: Director) -> None:
    director.ipvs.connections[ONE] = (12, 3)
    director.to_tell = Told(("lb2",), ("lb3",))
    ran = ha_lvs(director, "server", "weight", "web", "10.0.0.1", "7")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert director.ipvs.weights(WEB)["10.0.0.1:80"] == 7
    assert ran.stdout.splitlines() == [
        "10.0.0.1:80 of web: weight 7 in place of 3; up, 12 active and 3 inactive connections",
        "told lb2",
        "not linked now, and told when they are: lb3",
    ]
    [said] = director.told
    assert (said.service, said.server, said.weight, said.node) == ("web", ONE, 7, "lb1")


def test_enable_takes_it_back_and_says_where_there_is_nothing(director: Director) -> None:
    ha_lvs(director, "server", "weight", "web", "10.0.0.1", "0")
    ran = ha_lvs(director, "server", "enable", "web", "10.0.0.1:80")
    assert "weight 3 as configured; up" in ran.stdout
    assert director.ipvs.weights(WEB)["10.0.0.1:80"] == 3
    again = ha_lvs(director, "server", "enable", "web", "10.0.0.1")
    assert (again.returncode, "nothing to take back" in again.stdout) == (0, True)
    assert [each.weight for each in director.told] == [0, None]


def test_json_is_the_whole_answer(director: Director) -> None:
    ran = ha_lvs(director, "server", "weight", "web", "10.0.0.1", "7", "--json")
    told = json.loads(ran.stdout)
    assert (told["ok"], told["server"], told["weight"], told["before"]) == (True, "10.0.0.1:80", 7, None)
    server = told["status"]["servers"]["10.0.0.1:80"]
    assert (server["weight"], server["override"], server["configured_weight"]) == (7, 7, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["weight", "wbe", "10.0.0.1", "1"], "no service 'wbe'; did you mean web? The services are web, dns"),
        (["weight", "web", "10.0.0.3", "1"], "no server '10.0.0.3' in service web; did you mean"),
        (["enable", "web", "zzz"], "the servers are 10.0.0.1:80, 10.0.0.2:80, 10.0.0.2:81"),
        (["drain", "web", "10.0.0.2"], "more than once; say which: 10.0.0.2:80, 10.0.0.2:81"),
        (["drain", "dns", "10.0.0.1"], "is the sorry server of dns"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(director: Director, arguments: list[str], words: str) -> None:
    ran = ha_lvs(director, "server", *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert words in ran.stderr
    assert director.told == []
    assert not json.loads(ha_lvs(director, "server", *arguments, "--json").stdout)["ok"]


@pytest.mark.parametrize("spelling", ["2001:db8::1", "2001:DB8:0::1", "[2001:db8::1]", "[2001:db8::1]:53"])
def test_a_server_may_be_spelt_as_addresses_are(director: Director, spelling: str) -> None:
    assert ha_lvs(director, "server", "weight", "dns", spelling, "5").returncode == 0
    assert director.ipvs.weights(DNS) == {"[2001:db8::1]:53": 5}


def test_a_persistent_service_says_that_its_clients_come_back(director: Director) -> None:
    assert "until they stay away for 300 s" in ha_lvs(director, "server", "weight", "dns", str(SIX), "0").stdout


def test_what_the_kernel_refuses_is_told_and_stays_said(director: Director) -> None:
    director.ipvs.refusing = True
    ran = ha_lvs(director, "server", "drain", "web", "10.0.0.1")
    assert ran.returncode == 1
    assert "it is remembered, and tried again" in ran.stderr
    assert "Operation not permitted" in ran.stderr
    director.ipvs.refusing = False
    director.balancer.reconcile()
    assert director.ipvs.weights(WEB)["10.0.0.1:80"] == 0


def test_a_kernel_that_cannot_be_read_is_told(director: Director) -> None:
    director.ipvs.unreadable = True
    ran = ha_lvs(director, "service", "disable", "web")
    assert (ran.returncode, "refused to list" in ran.stderr) == (1, True)


def test_what_cannot_be_remembered_is_not_done(director: Director) -> None:
    (director.directory / (OVERRIDES_FILE + ".new")).mkdir()
    ran = ha_lvs(director, "server", "weight", "web", "10.0.0.1", "7")
    assert (ran.returncode, "nothing was changed" in ran.stderr) == (1, True)
    assert director.ipvs.weights(WEB)["10.0.0.1:80"] == 3


def test_only_the_owner_may_operate(director: Director) -> None:
    assert (director.directory / OPERATE_SOCKET_NAME).stat().st_mode & 0o777 == 0o600
    assert (director.directory / SOCKET_NAME).stat().st_mode & 0o777 == 0o660


@pytest.mark.parametrize("weight", [-1, 65_536, True, "1", 1.5])
def test_the_director_itself_refuses_weights_that_are_none(director: Director, weight: object) -> None:
    operating = Operating("lb1", director.balancer, director.follow_up, director.spread)
    answer = operating.answer({"verb": "server", "service": "web", "server": "10.0.0.1", "weight": weight})
    assert (answer["ok"], answer["exit_code"]) == (False, 2)


def test_a_director_without_services_says_so() -> None:
    answer = Operating("lb1", None, str, lambda _: Told()).answer({"verb": "service", "service": "a", "enabled": True})
    assert answer == {"ok": False, "detail": "this director has no services", "exit_code": 2}


def test_an_override_of_what_is_not_configured_any_more_is_shown_and_can_be_taken_back(director: Director) -> None:
    gone = DestinationKey(ip_address("10.0.0.99"), 80)
    director.balancer.say([Override("web", gone, 0, 1e9, "lb2"), Override("old", None, 0, 1e9, "lb2")])
    assert [each["configured"] for each in waiting_overrides(director.balancer)] == [False, False]
    assert ha_lvs(director, "server", "weight", "web", "10.0.0.99", "4").returncode == 2
    assert ha_lvs(director, "server", "enable", "web", "10.0.0.99").returncode == 0
    assert ha_lvs(director, "service", "enable", "old").returncode == 0
    assert waiting_overrides(director.balancer) == []


def test_overrides_hold_in_the_next_director_of_the_machine(tmp_path: Path) -> None:
    with served(tmp_path) as first:
        ha_lvs(first, "server", "weight", "web", "10.0.0.1", "9")
        ha_lvs(first, "service", "disable", "dns")
    with served(tmp_path) as second:
        assert second.ipvs.weights(WEB)["10.0.0.1:80"] == 9
        assert second.ipvs.weights(DNS) == {"[2001:db8::1]:53": 0}


# -------------------------------------------------------------------------------------- services and waiting


def test_a_disabled_service_has_weight_0_everywhere_until_it_is_enabled(director: Director) -> None:
    ran = ha_lvs(director, "service", "disable", "web")
    assert ran.stdout == "web is disabled: 3 of 3 servers up, 0 connections, new connections are refused\n"
    assert set(director.ipvs.weights(WEB).values()) == {0}
    assert ha_lvs(director, "service", "enable", "web").returncode == 0
    assert director.ipvs.weights(WEB) == {"10.0.0.1:80": 3, "10.0.0.2:80": 1, "10.0.0.2:81": 1}


def start(director: Director, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [*VERB, *arguments, "--runtime-dir", str(director.directory)]
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)  # it may be ignored here, and stay so there
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    finally:
        signal.signal(signal.SIGINT, before)


def test_drain_tells_what_is_left_until_nothing_is(director: Director) -> None:
    director.ipvs.connections[ONE] = (2, 1)
    running = start(director, "server", "drain", "web", "10.0.0.1")
    assert running.stdout is not None
    lines = iter(running.stdout.readline, "")
    shown = next(line for line in lines if "left on" in line)
    assert shown == "3 connections left on 10.0.0.1:80 of web, 1 of them ending or idle\n"
    director.ipvs.connections[ONE] = (1, 0)
    assert next(lines) == "1 connection left on 10.0.0.1:80 of web\n"
    assert running.poll() is None
    director.ipvs.connections.clear()
    assert next(lines) == "no connection is left on 10.0.0.1:80 of web\n"
    assert running.wait(DEADLINE_S) == 0
    assert director.ipvs.weights(WEB)["10.0.0.1:80"] == 0


def test_on_a_terminal_one_line_counts_down(director: Director) -> None:
    director.ipvs.connections[ONE] = (2, 0)
    ours, theirs = pty.openpty()
    command = [*VERB, "server", "drain", "web", "10.0.0.1", "--runtime-dir", str(director.directory)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs) as running:
        os.close(theirs)
        shown = b""
        while b"2 connections left" not in shown:
            shown += os.read(ours, 4096)
        director.ipvs.connections.clear()
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 4096):
                shown += piece
        assert running.wait(DEADLINE_S) == 0
    os.close(ours)
    assert shown.count(b"\x1b[K") == 2
    assert shown.endswith(b"\r\x1b[Kno connection is left on 10.0.0.1:80 of web\r\n")


@pytest.mark.parametrize("more", [["--no-wait"], ["--no-wait", "--json"]])
def test_without_waiting_it_returns_at_once(director: Director, more: list[str]) -> None:
    director.ipvs.connections[ONE] = (2, 0)
    ran = ha_lvs(director, "server", "drain", "web", "10.0.0.1", *more)
    assert ran.returncode == 0
    assert director.ipvs.weights(WEB)["10.0.0.1:80"] == 0


def test_when_the_time_is_over_it_says_what_is_left(director: Director) -> None:
    director.ipvs.connections[ONE] = (2, 0)
    ran = ha_lvs(director, "server", "drain", "web", "10.0.0.1", "--timeout", "300ms")
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[-1] == (
        "time is over: 2 connections left on 10.0.0.1:80 of web; it stays in force; "
        "`ha-lvs server enable web 10.0.0.1:80` takes it back"
    )
    told = json.loads(ha_lvs(director, "server", "drain", "web", "10.0.0.1", "--timeout", "1ms", "--json").stdout)
    assert (told["finished"], told["connections_left"]) == (False, 2)
    assert director.ipvs.weights(WEB)["10.0.0.1:80"] == 0


def test_interrupted_it_leaves_the_drain_in_force_and_says_so(director: Director) -> None:
    director.ipvs.connections[ONE] = (2, 0)
    running = start(director, "service", "disable", "web", "--wait")
    assert running.stdout is not None
    next(line for line in iter(running.stdout.readline, "") if "left on" in line)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=DEADLINE_S)
    assert (running.returncode, err) == (1, "")
    assert "interrupted: 2 connections left on web; it stays in force; `ha-lvs service enable web`" in out
    assert set(director.ipvs.weights(WEB).values()) == {0}


def test_it_ends_when_somebody_takes_the_drain_back(director: Director) -> None:
    director.ipvs.connections[ONE] = (2, 0)
    running = start(director, "server", "drain", "web", "10.0.0.1")
    wait_for(lambda: director.told, "the drain")
    ha_lvs(director, "server", "enable", "web", "10.0.0.1")
    out, _ = running.communicate(timeout=DEADLINE_S)
    assert (running.returncode, "was taken back meanwhile" in out) == (1, True)


def test_connections_that_the_active_has_count_on_the_standby_too(director: Director) -> None:
    theirs = {"servers": {"10.0.0.1:80": {"active_connections": 4, "inactive_connections": 0}}}
    director.peers = {"lb2": theirs, "lb3": None}
    ran = ha_lvs(director, "server", "drain", "web", "10.0.0.1", "--timeout", "300ms")
    assert (ran.returncode, "4 connections left" in ran.stdout) == (1, True)
    assert "lb3 does not answer: connections that only it knows are not counted" in ran.stdout


# ------------------------------------------------------------------------------------------- the short way

FORMS = [
    ["server", "drain", "web", "10.0.0.1"],
    ["server", "drain", "--no-wait", "web", "10.0.0.1", "--json"],
    ["server", "drain", "web", "--runtime-dir", "/d", "10.0.0.1", "--wait"],
    ["server", "drain", "web", "10.0.0.1", "--timeout", "10m"],
    ["server", "drain", "web", "10.0.0.1", "--timeout", "10"],
    ["server", "weight", "web", "10.0.0.1", "5"],
    ["server", "weight", "web", "10.0.0.1", "65535", "--json"],
    ["server", "weight", "web", "10.0.0.1", "65536"],
    ["server", "weight", "web", "10.0.0.1", "-1"],
    ["server", "weight", "web", "10.0.0.1", "many"],
    ["server", "weight", "web", "10.0.0.1"],
    ["server", "weight", "web", "10.0.0.1", "5", "--wait"],
    ["server", "weight", "web", "10.0.0.1", "5", "--runtime-dir=/d"],
    ["server", "weight", "web", "10.0.0.1", "007"],
    ["server", "enable", "web", "10.0.0.1"],
    ["server", "enable", "web"],
    ["server", "enable", "--", "-web", "10.0.0.1"],
    ["service", "disable", "web"],
    ["service", "disable", "web", "--wait"],
    ["service", "enable", "web", "--json"],
    ["service", "enable", "web", "--wait"],
    ["service", "explode", "web"],
    ["server", "weight", "--runtime-dir"],
    ["server", "weight", "web", "10.0.0.1", "5", "--runtime-dir", "--json"],
]


def called(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> list[Any]:
    """What is called in `overriding`, with everything that was left to defaults filled in."""
    calls: list[Any] = []
    usual = {"wait": False, "timeout_s": None, "as_json": False, "runtime_dir": RUNTIME_DIR}

    def record(name: str) -> Callable[..., int]:
        def take(*words: object, **options: object) -> int:
            options = {**usual, **options}
            options["runtime_dir"] = str(options["runtime_dir"])
            calls.append((name, words, options))
            return 0

        return take

    for name in ("change_server", "change_service"):
        monkeypatch.setattr(overriding, name, record(name))
    do()
    return calls


@pytest.mark.parametrize("arguments", FORMS, ids=" ".join)
def test_the_short_way_does_what_the_long_way_does_or_leaves_it_to_that(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def long_way() -> None:
        with contextlib.suppress(SystemExit):
            build(arguments)(arguments)

    short = called(monkeypatch, lambda: quick.run(arguments))
    assert short in ([], called(monkeypatch, long_way))


def test_the_usual_forms_do_go_the_short_way(director: Director) -> None:
    code = (
        "import sys\n"
        "sys.argv = ['ha-lvs', 'server', 'weight', 'web', '10.0.0.1', '5', '--runtime-dir']\n"
        f"sys.argv.append({str(director.directory)!r})\n"
        "from ha_lvs.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'typer', 'rich', 'pydantic', 'yaml', 'structlog', 'asyncio', 'dataclasses', 'pathlib', 'typing'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))\n"
    )
    command = [sys.executable, "-S", "-c", code]  # without site: what that loads is not ours
    environment = {**os.environ, "PYTHONPATH": str(Path(overriding.__file__).parents[2])}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True, env=environment)
    assert ran.stdout.splitlines()[-1] == "loaded []"
