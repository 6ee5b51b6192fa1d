"""`ha-lvs drill` through the command line: what it refuses, what it leaves behind, how it ends.

Where no lab is wanted, the measuring side is a process that tells the events of `drill_stories`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ha_lvs.drill.lab import choice
from ha_lvs.drill.report import conduct
from ha_lvs.drill.scenario import load
from ha_lvs.errors import LabError

PROJECT = Path(__file__).parents[2]
SCRIPT = Path(sys.executable).parent / "ha-lvs"

SCENARIO = """\
title: Power loss of the active director
teaches: What it teaches.
topology: {{servers: {servers}, clients: 1}}
load: {{connections: {connections}, rate: {rate}, udp: 1ms}}
against: [keepalived]
steps:
  - {{at: {at}, cut: active}}
  - {{at: 6s, heal: active}}
end: 10s
expect: {{outage: {outage}}}
"""

DRIVER = """\
import sys
from ha_lvs.cli.main import main
from ha_lvs.drill.report import conduct
child = sys.argv.pop(1)
conduct.lab_of = lambda drill: "native"
conduct.command = lambda drill, lab: [sys.executable, child, str(drill.directory), drill.scenario.name, *drill.wanted]
main()
"""
"""The real command line with another measuring side."""

TELLER = """\
import json, sys, time
from pathlib import Path
from tests.unit.drill_stories import ARMED_S, MACHINE, Tale, events
directory, name, *wanted = sys.argv[1:]
print(json.dumps(MACHINE))
for number, contender in enumerate(wanted):
    logs = Path(directory, "logs", contender)
    logs.mkdir(parents=True)
    (logs / "lb1.log").write_text("a line\\n")
    problems = ("the lab broke",) if name == "broken" else ()
    tale = Tale(contender=contender, begin=ARMED_S + 40 * number, problems=problems,
                logs={"lb1": f"logs/{contender}/lb1.log"})
    for event in events(tale):
        print(json.dumps(event))
print("not an event")
sys.exit(3 if name == "crashes" else 0)
"""

SLEEPER = """\
import json, signal, sys, time
from pathlib import Path
from tests.unit.drill_stories import MACHINE
def end(number, _):
    Path(sys.argv[1], "taken-down").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print(json.dumps(MACHINE), flush=True)
time.sleep(60)
"""


def write_scenario(
    directory: Path, name: str, *, outage: str = "1.5s", servers: int = 3, at: str = "2s", load: bool = True
) -> Path:
    path = directory / f"{name}.yml"
    connections, rate = (100, 50) if load else (0, 0)
    path.write_text(SCENARIO.format(outage=outage, servers=servers, at=at, connections=connections, rate=rate))
    return path


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT)}


def ha_lvs(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, timeout=90, check=False, cwd=cwd)


def driven(directory: Path, *arguments: str | Path, teller: str = TELLER) -> list[str | Path]:
    (directory / "driver.py").write_text(DRIVER)
    (directory / "teller.py").write_text(teller)
    return [sys.executable, directory / "driver.py", directory / "teller.py", "drill", *arguments]


def drill(directory: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = driven(directory, *arguments)
    return subprocess.run(
        command, capture_output=True, text=True, timeout=110, check=False, cwd=directory, env=environment()
    )


def test_a_wrong_scenario_shows_every_problem_of_all_files(tmp_path: Path) -> None:
    good = write_scenario(tmp_path, "good")
    first = write_scenario(tmp_path, "first", at="soon")
    second = write_scenario(tmp_path, "second", outage="long")
    second.write_text(second.read_text().replace("title:", "titel:"))
    ran = ha_lvs("drill", good, first, second, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    *problems, count = ran.stderr.splitlines()
    assert count == f"{len(problems)} problems"
    assert {line.split(":")[0] for line in problems} == {str(first), str(second)}
    assert all(re.match(r"[^:]+:\d+:\d+: \S+: .+", line) for line in problems)
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.yml"], "nowhere.yml:1:1: "),
        (["good.yml", "--contender", "haproxy"], "'haproxy' is no contender; there are ha-lvs, keepalived, dns"),
        (["good.yml", "other/good.yml"], "two scenarios called good"),
        ([], "FILE"),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], said: str) -> None:
    write_scenario(tmp_path, "good")
    (tmp_path / "other").mkdir()
    write_scenario(tmp_path / "other", "good")
    ran = ha_lvs("drill", *arguments, cwd=tmp_path)
    assert ran.returncode == 2
    assert said in re.sub(r"\s+", " ", ran.stderr)
    assert "Traceback" not in ran.stderr


def test_one_drill_leaves_a_report(tmp_path: Path) -> None:
    path = write_scenario(tmp_path, "power-loss")
    ran = drill(tmp_path, path)
    assert (ran.returncode, ran.stderr) == (0, "")
    directory = tmp_path / "build/drills/power-loss"
    assert {found.name for found in directory.iterdir()} == {
        "report.json",
        "report.html",
        "events.jsonl",
        "lab.log",
        "logs",
        "power-loss.yml",
    }
    report = json.loads((directory / "report.json").read_text())
    assert report["ok"] is True
    assert list(report["contenders"]) == ["ha-lvs", "keepalived"]
    assert report["reproduce"] == f"ha-lvs drill {path}"
    assert (directory / "lab.log").read_text() == "not an event\n"
    assert (directory / "logs/keepalived/lb1.log").exists()
    for part in ("cut active (lb1)", "Every bound holds", "✓", "at most 1.5 s", f"{directory}/report.html"):
        assert part in ran.stdout, part


def test_a_second_run_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    path = write_scenario(tmp_path, "power-loss")
    assert drill(tmp_path, path, "-o", "here").returncode == 0
    assert drill(tmp_path, "here/power-loss.yml", "-o", "here", "--contender", "ha-lvs").returncode == 0
    assert [found.name for found in (tmp_path / "here/logs").iterdir()] == ["ha-lvs"]
    report = json.loads((tmp_path / "here/report.json").read_text())
    assert report["reproduce"] == "ha-lvs drill here/power-loss.yml -o here --contender ha-lvs"


def test_several_go_on_after_a_failure_and_leave_an_index(tmp_path: Path) -> None:
    paths = [
        write_scenario(tmp_path, "broken"),
        write_scenario(tmp_path, "too-strict", outage="100ms"),
        write_scenario(tmp_path, "crashes"),
        write_scenario(tmp_path, "fine"),
    ]
    ran = drill(tmp_path, *paths, "--plain", "--contender", "ha-lvs")
    assert ran.returncode == 1, ran.stderr
    directory = tmp_path / "build/drills"
    index = json.loads((directory / "index.json").read_text())
    assert {each["scenario"]: each["ok"] for each in index["drills"]} == {
        "broken": False,
        "too-strict": False,
        "crashes": False,
        "fine": True,
    }
    assert "ended with exit code 3" in (directory / "crashes/report.json").read_text()
    assert "the lab broke" in ran.stdout
    assert (directory / "index.html").exists()
    assert (directory / "summary.md").read_text().count("**no**") == 3
    assert (directory / "fine/report.html").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_takes_the_lab_down(tmp_path: Path, number: signal.Signals, code: int) -> None:
    path = write_scenario(tmp_path, "power-loss")
    command = driven(tmp_path, path, "-o", "out", teller=SLEEPER)
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(),
        # Tests that were started in the background inherit that it is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        told = tmp_path / "out/events.jsonl"
        deadline = time.monotonic() + 60
        while not (told.exists() and told.stat().st_size):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code, errors
    assert (tmp_path / "out/taken-down").exists()
    assert "Traceback" not in errors


def test_natively_it_needs_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="need root"):
        choice.choose(tmp_path, needs_ipvs=False)


def test_the_measuring_side_is_told_where_and_whom(tmp_path: Path) -> None:
    scenario = load(write_scenario(tmp_path, "power-loss"))
    wanted = conduct.wanted(scenario)
    assert wanted == ("ha-lvs", "keepalived")
    told = conduct.Drill(tmp_path / "power-loss.yml", scenario, tmp_path, wanted, "", ("--override", "{}"))
    arguments = [str(tmp_path / "power-loss.yml"), "-o", str(tmp_path), "--lab", "native"]
    arguments += ["--contender", "ha-lvs", "--contender", "keepalived", "--override", "{}"]
    assert conduct.command(told, "native") == [sys.executable, "-m", "ha_lvs.drill.runner", *arguments]
    guest = conduct.command(told, "uml")
    assert guest[:6] == [sys.executable, "-m", "ha_lvs.drill.lab", "run", "--vm", "--"]
    assert guest[6:10] == [sys.executable, "-m", "ha_lvs.drill.runner", str(tmp_path / "power-loss.yml")]


@pytest.mark.netns
def test_a_pure_pair_is_drilled_on_this_kernel(tmp_path: Path) -> None:
    path = write_scenario(tmp_path, "pure-pair", servers=0, load=False)
    text = path.read_text().replace("expect: {outage: 1.5s}", "expect: {udp_outage: 8s, holders_at_end: 1}")
    path.write_text(text.replace("steps:", "config: {instances: {edge: {interval: 250ms}}}\nsteps:"))
    ran = ha_lvs("drill", path, "-o", "out", "--contender", "ha-lvs", cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr + (tmp_path / "out/lab.log").read_text()
    report = json.loads((tmp_path / "out/report.json").read_text())
    measured = report["contenders"]["ha-lvs"]["measured"]
    assert report["machine"]["lab"] == "native"
    assert measured["role_changes"] >= 1
    assert measured["udp_outage"] > 0.25, "the cut was felt"
    assert (tmp_path / "out/report.html").stat().st_size > 20_000
