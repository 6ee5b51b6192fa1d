"""The drills' measuring side for real: a pair is harmed in a lab, and the events tell what came of it, in order."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.servers import PORT, Server
from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.drill.measure.events import Event, parse_event
from ha_lvs.drill.runner.faults import Faults
from ha_lvs.drill.runner.trial import UDP_MS_PER_PACE
from ha_lvs.drill.scenario import Step
from ha_lvs.errors import LabError

POWER_CUT = """\
title: A cut, short
teaches: Nothing new.
topology: {servers: 0}
config: {instances: {edge: {interval: 100ms}}}
load: {udp: 5ms}
steps:
  - {at: 500ms, cut: active}
  - {at: 2s, heal: active}
  - {at: 2s, busy_cpu: {loops: 1, duration: 500ms}}
  - {at: 3s, stop: standby}
end: 5s
expect: {udp_outage: 1s}
"""

ASKED = """\
title: What operators ask for
teaches: Nothing new.
topology: {servers: 0}
config: {instances: {edge: {interval: 200ms}}}
load: {udp: 5ms}
steps:
  - {at: 500ms, standby: active}
  - {at: 500ms, enable: active}
  - {at: 4s, restart: standby}
  - {at: 20s, kill_elector: standby}
end: 26s
"""

CRASH = """\
title: A crash, and a restart
teaches: Nothing new.
topology: {servers: 0}
config: {instances: {edge: {interval: 200ms}}}
load: {udp: 5ms}
steps:
  - {at: 500ms, kill_elector: active}
  - {at: 6s, restart: standby}
end: 10s
"""

REFUSED = CRASH.replace("kill_elector: active", "handover: active")

SERVER_DIES = """\
title: A server dies, short
teaches: Nothing new.
topology: {servers: 2}
load: {connections: 6, rate: 20, udp: 1ms}
steps:
  - {at: 500ms, stop_server: s1}
  - {at: 6s, start_server: s1}
end: 12s
expect: {server_out: 5s}
"""


def run(path: Path, text: str, *options: str, environment: dict[str, str] | None = None) -> list[Event]:
    """The events of a drill; its logs are below the same directory. `environment` goes over our own."""
    path.write_text(text)
    command = [sys.executable, "-m", "ha_lvs.drill.runner", str(path), "-o", str(path.parent), *options]
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, timeout=100 * PACE, env=variables)
    assert done.returncode == 0
    print(done.stdout.decode())
    events = [parse_event(line) for line in done.stdout.splitlines()]
    assert None not in events, done.stdout
    return [event for event in events if event is not None]


def of(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["event"] == kind]


def one(events: list[Event], kind: str) -> Event:
    (event,) = of(events, kind)
    return event


def in_order(events: list[Event], *kinds: str) -> None:
    """Asserts that the first events of these kinds come in this order."""
    told = [event["event"] for event in events]
    places = [told.index(kind) for kind in kinds]
    assert places == sorted(places), list(zip(kinds, places, strict=True))


@pytest.mark.alone
@pytest.mark.netns
@pytest.mark.timeout(120)
def test_a_power_cut_of_a_pure_vrrp_pair(tmp_path: Path) -> None:
    events = run(tmp_path / "cut.yml", POWER_CUT, "--lab", "native", "--environment", "HA_LVS_NOTHING=1")
    assert not of(events, "problem")
    in_order(events, "machine", "run", "holders", "armed", "step", "udp", "settled", "logs", "end")
    assert one(events, "machine")["versions"]["ha-lvs"]
    begun, armed = one(events, "run"), one(events, "armed")
    assert (begun["contender"], begun["scenario"], begun["servers"]) == ("ha-lvs", "cut", [])
    assert begun["interval_s"] == 0.1
    assert (armed["active"], armed["standby"]) == ("lb1", "lb2")

    steps = of(events, "step")
    told = [(step["index"], step["verb"], step["target"], step["text"]) for step in steps[:2]]
    assert told == [(0, "cut", "lb1", "cut active"), (1, "heal", "lb1", "heal active")]
    assert [step["verb"] for step in steps[2:]] == ["busy_cpu", "stop"]
    for step, at_s in zip(steps, (0.5, 2.0, 2.0, 3.0), strict=True):
        assert at_s <= step["t"] - armed["t"] + 0.0002 < at_s + 1

    cut, heal = steps[0]["t"], steps[1]["t"]
    after_cut = [event["nodes"] for event in of(events, "holders") if cut < event["t"] < heal]
    assert after_cut == [["lb1", "lb2"]]  # who is cut off does not know that it should let go
    assert of(events, "holders")[-1]["nodes"] == ["lb1"]
    assert any("lb2 ended with exit code 0" in event["text"] for event in of(events, "note"))

    udp = one(events, "udp")
    assert 100 < udp["outage_ms"] < (heal - cut) * 1000
    assert udp["outage_from"] == pytest.approx(cut, abs=0.25)
    assert [udp["outage_from"], udp["outage_ms"]] in udp["gaps"]
    assert one(events, "settled")["after_s"] == 0.0  # stopping the standby disturbs nobody
    for node in ("lb1", "lb2"):
        assert (tmp_path / one(events, "logs")[node]).read_text()


def requests(events: list[Event]) -> list[tuple[str, str]]:
    """(node, verb) of each request that a director has fulfilled, in order."""
    told = [event["text"].split(", ") for event in of(events, "note") if re.match(r"lb\d, ", event["text"])]
    return [(node, verb) for node, verb, *_ in told]


@pytest.mark.alone
@pytest.mark.netns
@pytest.mark.timeout(150)
def test_what_operators_ask_for_is_done_one_after_the_other(tmp_path: Path) -> None:
    events = run(tmp_path / "asked.yml", ASKED)
    assert not of(events, "problem")
    assert requests(events) == [("lb1", "standby"), ("lb1", "enable"), ("lb2", "restart")]
    steps = of(events, "step")
    assert steps[1]["t"] < steps[0]["t"] + 0.2, "steps do not wait for requests"
    away = [event["nodes"] for event in of(events, "holders") if event["t"] > steps[0]["t"]]
    assert ["lb2"] in away
    assert away[-1] == ["lb1"]
    logs = (tmp_path / one(events, "logs")["lb2"]).read_text()
    assert "elector succeeded" in logs
    assert logs.index("elector succeeded") < logs.index("SIGKILL")


@pytest.mark.alone
@pytest.mark.netns
@pytest.mark.timeout(120)
def test_keepalived_loses_its_vrrp_process_alone_and_is_restarted_as_it_can(tmp_path: Path) -> None:
    events = run(tmp_path / "crash.yml", CRASH, "--contender", "keepalived")
    assert not of(events, "problem")
    assert requests(events) == [("lb2", "restart")]
    killed = of(events, "step")[0]
    after = [event["nodes"] for event in of(events, "holders") if event["t"] > killed["t"]]
    assert after[-1] == ["lb1"], "its parent has started another one"
    assert "Respawning" in (tmp_path / one(events, "logs")["lb1"]).read_text()


@pytest.mark.alone
@pytest.mark.netns
@pytest.mark.timeout(120)
def test_keepalived_is_not_asked_for_what_it_cannot_do(tmp_path: Path) -> None:
    events = run(tmp_path / "refused.yml", REFUSED, "--contender", "keepalived")
    text = "step 'active hands over': keepalived on lb1 cannot hand over: it has no such command"
    assert one(events, "problem")["text"] == text
    assert len(of(events, "step")) == 1


@pytest.mark.alone
@pytest.mark.netns
@pytest.mark.timeout(120)
def test_a_step_that_cannot_be_done_is_a_problem_and_the_run_ends_in_order(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    ip = shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert ip
    (tmp_path / "bin" / "ip").symlink_to(ip)
    text = POWER_CUT.replace("{at: 2s, heal: active}", "{at: 1s, one_way: {node: standby, blocked: sends}}")
    events = run(tmp_path / "no-tc.yml", text, environment={"PATH": str(tmp_path / "bin")})
    assert "'tc'" in one(events, "problem")["text"]
    assert [step["verb"] for step in of(events, "step")] == ["cut", "one_way"]
    assert one(events, "settled")["after_s"] is None
    in_order(events, "armed", "step", "problem", "udp", "logs", "end")


@pytest.mark.alone
@pytest.mark.netns
@pytest.mark.timeout(120)
def test_a_config_that_is_refused_is_a_problem(tmp_path: Path) -> None:
    broken = json.dumps({"instances": {"edge": {"interval": "1 parsec"}}})
    events = run(tmp_path / "cut.yml", POWER_CUT, "--override", broken)
    assert [event["event"] for event in events] == ["machine", "problem"]
    assert "parsec" in events[1]["text"]


@pytest.mark.alone
@pytest.mark.netns
def test_a_server_that_hangs_accepts_and_does_not_answer(lab_directory: Path) -> None:
    def asked(server: Server, timeout_s: float) -> bytes:
        with lab.host("c1").inside():
            connection = http.client.HTTPConnection(server.address, PORT, timeout=timeout_s)
            connection.connect()
        connection.request("GET", "/")
        return connection.getresponse().read()

    with Lab("hang", lab_directory, clients=1, servers=1) as lab:
        lab.start_servers()
        server = lab.server("s1")
        server.hang()
        with pytest.raises(TimeoutError):
            asked(server, 0.5 * PACE)
        server.resume()
        assert asked(server, 10 * PACE) == b"s1"
        server.hang()
        server.stop()
        assert not server.running
        server.start()
        wait_for(server.answers, 10, "nginx to answer again")


@pytest.mark.ipvs
@pytest.mark.timeout(150)
def test_a_real_server_dies_and_returns(tmp_path: Path) -> None:
    events = run(tmp_path / "dies.yml", SERVER_DIES, "--contender", "ha-lvs")
    assert not of(events, "problem")
    in_order(events, "run", "holders", "in_service", "opened", "armed", "step", "verified", "summary", "udp", "settled")
    assert one(events, "machine")["versions"]["nginx"]
    armed, (stopped, started) = one(events, "armed"), of(events, "step")
    services = [(event["t"], event["node"], event["servers"]) for event in of(events, "in_service")]
    assert [service[1:] for service in services] == [
        ("lb1", ["s1", "s2"]),
        ("lb1", ["s2"]),
        ("lb1", ["s1", "s2"]),
    ]
    assert services[0][0] < armed["t"]
    assert stopped["t"] < services[1][0] < started["t"] < services[2][0]

    end = one(events, "verified")
    assert (end["name"], end["of"]) == ("end", 6)
    assert end["kept"] == end["servers"]["s2"]  # those on s1 died with it, no other did
    rows: list[Any] = [row for event in of(events, "report") for row in event["requests"]]
    assert {row[2] for row in rows if services[1][0] < row[0] < started["t"] and not row[3]} == {"s2"}
    after_s = one(events, "settled")["after_s"]
    assert after_s is not None
    assert after_s >= round(services[2][0] - started["t"], 3) - 0.001
    assert one(events, "udp")["sent"] > 0
    assert one(events, "run")["udp_interval_s"] == (
        0.001 if PACE == 1 else pytest.approx(UDP_MS_PER_PACE * PACE / 1000)
    )


@pytest.mark.ipvs  # for the sake of netem, which the guest's kernel has
def test_loss_and_delay_of_one_cable_hold_together_until_it_is_healed(lab_directory: Path) -> None:
    def qdisc() -> str:
        return lab.host("lb1").run(["tc", "qdisc", "show", "dev", "e0"]).stdout

    def tell(event: str, **fields: Any) -> None:
        raise AssertionError(f"only a planned stop is told of, not {event} {fields}")

    with Lab("netem", lab_directory, clients=0) as lab, Faults(lab, {}, tell) as faults:
        faults.do(Step(0.0, "loss", "lb1", {"percent": 20.0}))
        faults.do(Step(0.0, "delay", "lb1", {"time_s": 0.02, "jitter_s": 0.005}))
        assert re.search(r"netem.* delay 20ms +5ms loss 20%", qdisc())
        faults.do(Step(0.0, "heal", "lb1"))
        assert "netem" not in qdisc()
        faults.do(Step(0.0, "loss", "lb1", {"percent": 10.0}))
        assert re.search(r"netem.* loss 10%", qdisc())
        assert "delay" not in qdisc()
        with pytest.raises(LabError, match="no director"):
            faults.do(Step(0.0, "freeze", "s1"))
