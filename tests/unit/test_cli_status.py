"""`ha-lvs status`: the real console script against a real control socket."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.cli.status_view import age
from ha_lvs.daemon.control import serve

SCRIPT = Path(sys.executable).parent / "ha-lvs"
DEADLINE_S = 60.0

WEB_1 = {
    "state": "up",
    "weight": 1,
    "configured_weight": 1,
    "forwarding": "dr",
    "programmed": True,
    "active_connections": 120,
    "inactive_connections": 7,
    "reason": "HTTP 200",
    "check_ms": 1.234,
}
WEB_2 = {
    "state": "down",
    "weight": 0,
    "configured_weight": 2,
    "forwarding": "dr",
    "programmed": False,
    "active_connections": 0,
    "inactive_connections": 0,
    "reason": "connection refused",
    "check_ms": 0.31,
}
UNPROBED = WEB_1 | {"state": "unknown", "weight": 3, "configured_weight": 4, "reason": "", "check_ms": None}
STATUS: dict[str, Any] = {
    "cluster": "edge",
    "node": "lb1",
    "version": "0.1.0",
    "config_digest": "0123456789abcdef" * 4,
    "instances": {
        "outside": {
            "role": "active",
            "priority": 150,
            "effective_priority": 150,
            "since": "2020-01-01T00:00:00+00:00",
            "transitions": 3,
            "reason": "10.9.0.12 fell silent",
            "virtual_ips": ["10.9.0.100/32", "10.9.0.101/32"],
            "holding": True,
            "peer": {"address": "10.9.0.12", "priority": 100},
        },
        "inside": {
            "role": "initialize",
            "priority": 90,
            "effective_priority": 90,
            "since": None,
            "transitions": 0,
            "reason": "",
            "virtual_ips": ["10.8.0.100/32"],
            "holding": False,
            "peer": None,
        },
    },
    "services": {
        "web": {
            "listen": "10.9.0.100:80/tcp",
            "scheduler": "wlc",
            "servers": {"10.9.0.21:80": WEB_1, "10.9.0.22:80": WEB_2, "10.9.0.23:80": UNPROBED},
        },
    },
    "sync": {"role": "master", "coverage": None},
    "failed_steps": ["+ server 10.9.0.22:80 dr weight 2 of 10.9.0.100:80/tcp: Operation not permitted"],
}
SHOWN = [
    *["edge", "lb1", "0.1.0", "0123456789ab"],
    *["outside", "ACTIVE", "150", "10.9.0.100/32", "10.9.0.101/32", "held", "10.9.0.12", "(100)", "silent"],
    *["inside", "initialize", "90", "not"],
    *["web", "10.9.0.100:80/tcp", "wlc", "up", "down", "unknown"],
    *["10.9.0.21:80", "120", "7", "1.2", "10.9.0.22:80", "refused", "10.9.0.23:80"],
    *["master", "Operation", "permitted"],
]
"""Words that have to be seen whatever the width."""


PEER = {
    "node": "lb2",
    "address": "10.9.0.12",
    "linked": True,
    "authenticated": True,
    "version": "0.1.1",
    "config_digest": "fedcba9876543210" * 4,
    "same_config": False,
    "since": "2020-01-01T00:00:00+00:00",
    "detail": "",
    "discovered": False,
}
GONE = PEER | {
    "node": "lb3",
    "linked": False,
    "authenticated": False,
    "version": "",
    "config_digest": "",
    "same_config": None,
    "detail": "connection refused",
}


@contextlib.contextmanager
def director(runtime_dir: Path, status: dict[str, Any], both: dict[str, Any] | None = None) -> Iterator[None]:
    """A control socket with this status, served in a thread; `both` is its answer about itself and the peer."""
    answers = {"status": status, "status of both": both or {"error": "nobody asked"}}
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        serving = serve(runtime_dir, lambda request: answers[request["verb"]])
        server = asyncio.run_coroutine_threadsafe(serving, loop).result(DEADLINE_S)
        yield
        loop.call_soon_threadsafe(server.close)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DEADLINE_S)
        loop.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    with director(tmp_path, STATUS):
        yield tmp_path


def environment(**changes: str) -> dict[str, str]:
    unwanted = {"COLUMNS", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}
    return {key: value for key, value in os.environ.items() if key not in unwanted} | {"TERM": "xterm"} | changes


def ha_lvs(*arguments: str | Path, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
    )


def on_a_terminal(columns: int, *arguments: str | Path) -> str:
    """What the script shows on a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    shown = b""
    with subprocess.Popen([SCRIPT, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment()) as run:
        os.close(theirs)
        with contextlib.suppress(OSError):  # EIO: the script has gone
            while piece := os.read(ours, 1 << 16):
                shown += piece
        os.close(ours)
        assert run.wait(DEADLINE_S) == 0
    return shown.decode().replace("\r\n", "\n")


def test_json_is_the_whole_answer(running: Path) -> None:
    ran = ha_lvs("status", "--json", "--runtime-dir", running)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout) == STATUS


@pytest.mark.parametrize("columns", [30, 80, 200])
def test_everything_is_shown_within_the_width(running: Path, columns: int) -> None:
    ran = ha_lvs("status", "--runtime-dir", running, COLUMNS=str(columns))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert max(map(len, ran.stdout.splitlines())) <= columns
    words = ran.stdout.replace(",", " ").split()
    assert [word for word in SHOWN if word not in words] == []


@pytest.mark.parametrize("columns", [10, 80, 200])
def test_a_terminal_of_any_width_will_do(running: Path, columns: int) -> None:
    shown = on_a_terminal(columns, "status", "--runtime-dir", running)
    assert "\x1b[" in shown
    squeezed = "".join(shown.split())
    for word in ("outside", "ACTIVE", "10.9.0.22:80"):
        assert columns < 80 or word in squeezed


def test_a_pipe_gets_one_plain_line_for_each_row(running: Path) -> None:
    ran = ha_lvs("status", "--runtime-dir", running)
    assert "\x1b" not in ran.stdout
    assert ran.stdout.isascii()
    lines = ran.stdout.splitlines()
    assert all(line == line.rstrip() for line in lines)
    [outside] = [line for line in lines if line.startswith("outside ")]
    assert "ACTIVE" in outside
    assert "10.9.0.100/32, 10.9.0.101/32 held" in outside
    assert "10.9.0.12 (100)" in outside
    assert outside.endswith("10.9.0.12 fell silent")
    [inside] = [line for line in lines if line.startswith("inside ")]
    assert "10.8.0.100/32 not held" in inside
    [up] = [line for line in lines if line.startswith("10.9.0.21:80 ")]
    assert up.split() == ["10.9.0.21:80", "up", "1", "of", "1", "dr", "120", "7", "HTTP", "200,", "1.2", "ms"]
    [down] = [line for line in lines if line.startswith("10.9.0.22:80 ")]
    assert down.split()[1:5] == ["down", "-", "of", "2"]  # not in the kernel
    [unknown] = [line for line in lines if line.startswith("10.9.0.23:80 ")]
    assert unknown.split()[1:5] == ["unknown", "3", "of", "4"]
    assert "service web 10.9.0.100:80/tcp wlc, 1 of 3 up" in lines
    assert "connection sync master" in lines
    assert f"  {STATUS['failed_steps'][0]}" in lines


def test_which_installation_runs_is_shown_where_it_fits(tmp_path: Path) -> None:
    program = "/opt/ha-lvs/releases/0.1.0"
    head = "edge node lb1, ha-lvs 0.1.0, config 0123456789ab"
    with director(tmp_path, STATUS | {"program": program}):
        told = [
            ha_lvs("status", "--runtime-dir", tmp_path, **more).stdout for more in ({}, {"COLUMNS": str(len(head))})
        ]
    assert [each.splitlines()[0] for each in told] == [f"{head}, from {program}", head]
    assert program not in told[1]


def test_peers_are_shown_with_what_is_wrong(tmp_path: Path) -> None:
    with director(tmp_path, STATUS | {"peers": [PEER, GONE]}):
        lines = ha_lvs("status", "--runtime-dir", tmp_path).stdout.splitlines()
    [linked] = [line.split() for line in lines if line.startswith("lb2 ")]
    assert linked[1:7] == ["10.9.0.12", "linked", "yes", "0.1.1", "fedcba987654", "differs"]
    [gone] = [line for line in lines if line.startswith("lb3 ")]
    assert "not linked" in gone
    assert gone.endswith("connection refused")


def test_what_keeps_an_instance_from_being_active_is_told(tmp_path: Path) -> None:
    status = deepcopy(STATUS)
    status["instances"]["outside"] |= {"effective_priority": 110, "members": ["v4", "v6"], "late": 2}
    status["instances"]["inside"] |= {"barred": "script:chk is down", "deferring": True, "late": 1}
    with director(tmp_path, status):
        shown = ha_lvs("status", "--runtime-dir", tmp_path).stdout
    assert "110 of 150" in shown
    for line in (
        "outside moves together: v4, v6",
        "outside was late 2 times and gave no verdict then",
        "inside cannot be active here: script:chk is down",
        "inside was handed over and does not take over again before ha-lvs enable",
        "inside was late once and gave no verdict then",
    ):
        assert line in shown.splitlines()


def test_witnesses_and_bfd_sessions_are_shown(tmp_path: Path) -> None:
    status = deepcopy(STATUS)
    up, down = ({"state": state, "interval_ms": 3.0, "multiplier": 3} for state in ("up", "down"))
    status["instances"]["outside"] |= {
        "witnesses": {"192.0.2.1": True, "192.0.2.9": False, "192.0.2.17": None},
        "bfd": {"10.9.0.12": up, "2001:db8::12": down | {"interval_ms": 12.5}},
    }
    status["instances"]["inside"] |= {"witnesses": {}, "bfd": {}}
    with director(tmp_path, status):
        shown = ha_lvs("status", "--runtime-dir", tmp_path).stdout.splitlines()
    assert "outside witnesses: 192.0.2.1 seen, 192.0.2.9 not seen, 192.0.2.17 not probed yet" in shown
    assert "outside BFD: 10.9.0.12 up 3 ms x 3, 2001:db8::12 down 12.5 ms x 3" in shown
    assert not any(line.startswith(("inside witnesses", "inside BFD")) for line in shown)


def other_side() -> dict[str, Any]:
    status = deepcopy(STATUS)
    status |= {"node": "lb2", "version": "0.1.1", "peers": [PEER | {"node": "lb1", "same_config": True}]}
    status["failed_steps"] = []
    status["instances"]["outside"] |= {"role": "backup", "priority": 100, "effective_priority": 100, "holding": False}
    del status["instances"]["inside"]
    del status["services"]["web"]["servers"]["10.9.0.22:80"]
    return status


def test_both_side_by_side(tmp_path: Path) -> None:
    both = {"self": STATUS | {"peers": [PEER]}, "peer": other_side(), "problem": ""}
    with director(tmp_path, STATUS, both):
        ran = ha_lvs("status", "--peer", "--runtime-dir", tmp_path)
        as_json = ha_lvs("status", "--peer", "--json", "--runtime-dir", tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert lines[0] == "edge nodes lb1 and lb2"
    [outside] = [line for line in lines if line.startswith("outside ")]
    assert outside.index("ACTIVE prio 150") < outside.index("backup prio 100")
    [inside] = [line for line in lines if line.startswith("inside ")]
    assert inside.endswith("has none")
    [server] = [line for line in lines if line.startswith("10.9.0.22:80 ")]
    assert "down weight - of 2" in server
    assert server.endswith("has none")
    assert "0123456789ab differs" in ran.stdout
    assert f"failed step on lb1: {STATUS['failed_steps'][0]}" in lines
    assert json.loads(as_json.stdout) == {"self": both["self"], "peer": both["peer"]}


@pytest.mark.parametrize("columns", [30, 80])
def test_both_fit_any_width(tmp_path: Path, columns: int) -> None:
    with director(tmp_path, STATUS, {"self": STATUS, "peer": other_side(), "problem": ""}):
        ran = ha_lvs("status", "--peer", "--runtime-dir", tmp_path, COLUMNS=str(columns))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert max(map(len, ran.stdout.splitlines())) <= columns
    assert {"ACTIVE", "backup", "10.9.0.23:80"} <= set(ran.stdout.replace(",", " ").split())


def test_of_both_what_can_be_had_is_shown_and_what_cannot_is_told(tmp_path: Path) -> None:
    with director(tmp_path, STATUS, {"self": STATUS, "peer": None, "problem": "lb2 is not linked: connection refused"}):
        ran = ha_lvs("status", "--peer", "--runtime-dir", tmp_path)
        as_json = ha_lvs("status", "--peer", "--json", "--runtime-dir", tmp_path)
    assert ran.returncode == as_json.returncode == 1
    assert "ACTIVE" in ran.stdout
    assert ran.stderr == "ha-lvs: lb2 is not linked: connection refused\n"
    assert json.loads(as_json.stdout) == {"self": STATUS, "peer": None}


def test_failed_steps_are_red_on_a_terminal(running: Path) -> None:
    shown = on_a_terminal(200, "status", "--runtime-dir", running)
    [failed] = [line for line in shown.splitlines() if "Operation not permitted" in line]
    assert failed.startswith("\x1b[1;31m")


def test_the_age_of_a_role_is_told(tmp_path: Path) -> None:
    status = deepcopy(STATUS)
    since = datetime.now(UTC) - timedelta(days=3, hours=4, minutes=30)
    status["instances"]["outside"]["since"] = since.isoformat()
    with director(tmp_path, status):
        assert " 3d 4h " in ha_lvs("status", "--runtime-dir", tmp_path).stdout


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0.9, "0s"), (59, "59s"), (60, "1m 0s"), (192, "3m 12s"), (7260, "2h 1m"), (90_061, "1d 1h")],
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_a_director_without_services_and_failures(tmp_path: Path) -> None:
    quiet = STATUS | {"services": {}, "sync": {"role": "off", "coverage": None}, "failed_steps": []}
    with director(tmp_path, quiet):
        ran = ha_lvs("status", "--runtime-dir", tmp_path)
    assert ran.returncode == 0
    assert "connection sync off" in ran.stdout
    assert "service" not in ran.stdout
    assert "failed" not in ran.stdout


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_what_a_server_sends_cannot_touch_the_terminal(tmp_path: Path, encoding: str) -> None:
    status = deepcopy(STATUS)
    status["services"]["web"]["servers"]["10.9.0.21:80"]["reason"] = "[red]no\x1b[2J\nüü[/red]"
    with director(tmp_path, status):
        ran = ha_lvs("status", "--runtime-dir", tmp_path, PYTHONIOENCODING=encoding)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "\x1b" not in ran.stdout
    assert r"[red]no\x1b[2J\n" in ran.stdout
    assert "[/red]" in ran.stdout


def test_no_director(tmp_path: Path) -> None:
    ran = ha_lvs("status", "--runtime-dir", tmp_path)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("ha-lvs: no director answers at")
    assert "ha-lvs run" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("answer", [{}, STATUS | {"instances": [1]}, STATUS | {"sync": None}])
def test_an_answer_in_another_versions_terms(tmp_path: Path, answer: dict[str, Any]) -> None:
    with director(tmp_path, answer):
        ran = ha_lvs("status", "--runtime-dir", tmp_path)
        as_json = ha_lvs("status", "--json", "--runtime-dir", tmp_path)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "another version" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert json.loads(as_json.stdout) == answer


def test_a_failing_director_is_quoted(tmp_path: Path) -> None:
    with director(tmp_path, {"error": "IPVS cannot be read"}):
        ran = ha_lvs("status", "--runtime-dir", tmp_path)
    assert ran.returncode == 1
    assert "IPVS cannot be read" in ran.stderr


OVERRIDDEN = deepcopy(STATUS)
OVERRIDDEN["services"]["web"] |= {"enabled": False, "quorum": False, "strength": 1, "sorry": True}
OVERRIDDEN["services"]["web"]["servers"]["10.9.0.21:80"] |= {"override": 0}
OVERRIDDEN["services"]["web"]["servers"]["10.9.0.23:80"] |= {"override": 3}
SINCE = "2020-01-01T00:00:00+00:00"
OVERRIDDEN["overrides"] = [
    {"service": "web", "server": None, "weight": 0, "since": SINCE, "node": "lb2", "configured": True},
    {"service": "old", "server": "10.9.0.99:80", "weight": 7, "since": SINCE, "node": "lb1", "configured": False},
]


def test_what_operators_have_said_and_a_lost_quorum_are_shown(tmp_path: Path) -> None:
    with director(tmp_path, OVERRIDDEN):
        shown = ha_lvs("status", "--runtime-dir", tmp_path).stdout
        told = json.loads(ha_lvs("status", "--json", "--runtime-dir", tmp_path).stdout)
    assert "disabled by an operator, quorum lost with strength 1, sorry server in use" in shown
    rows = {line.split()[0]: " ".join(line.split()) for line in shown.splitlines() if line.strip()}
    assert "drained" in rows["10.9.0.21:80"]
    assert "set to 3" in rows["10.9.0.23:80"]
    assert "web all servers disabled lb2" in " ".join(shown.split())
    assert "10.9.0.99:80 weight 7 lb1" in rows["old"]
    assert rows["old"].endswith("not in the config")
    assert told["overrides"] == OVERRIDDEN["overrides"]


def test_of_many_services_those_are_listed_that_are_worth_a_look(tmp_path: Path) -> None:
    server = {
        "state": "up", "weight": 1, "configured_weight": 1, "override": None, "forwarding": "dr", "programmed": True,
        "active_connections": 0, "inactive_connections": 0, "reason": "", "check_ms": None,
    }  # fmt: skip
    service: dict[str, Any] = {"listen": "10.9.0.100:80/tcp", "scheduler": "wlc", "servers": {"10.9.0.21:80": server}}
    many = {f"s{number:03d}": copy.deepcopy(service) for number in range(100)}
    many["s007"]["servers"]["10.9.0.21:80"] |= {"state": "down"}
    many["s008"]["servers"]["10.9.0.21:80"] |= {"weight": 0, "override": 0}
    many["s009"] |= {"quorum": False, "strength": 0}
    with director(tmp_path, STATUS | {"services": many}):
        shown = ha_lvs("status", "--runtime-dir", tmp_path).stdout
        every = ha_lvs("status", "--all", "--runtime-dir", tmp_path).stdout
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("service ")] == ["s007", "s008", "s009"]
    assert "97 further services are as configured, with every server up; --all lists them" in shown
    assert len([line for line in every.splitlines() if line.startswith("service ")]) == 100


def test_both_directors_are_shown_with_what_operators_have_said(tmp_path: Path) -> None:
    both = {"self": STATUS, "peer": OVERRIDDEN | {"node": "lb2"}, "problem": ""}
    with director(tmp_path, STATUS, both):
        shown = ha_lvs("status", "--peer", "--runtime-dir", tmp_path).stdout
    assert "disabled by an operator at lb2, quorum lost with strength 1 at lb2" in shown
    assert "drained" in shown


def test_json_loads_neither_rich_nor_the_config_nor_the_kernel(running: Path) -> None:
    code = (
        "import sys\n"
        "from ha_lvs.cli.main import build\n"
        f"arguments = ['status', '--json', '--runtime-dir', {str(running)!r}]\n"
        "build(arguments)(arguments, standalone_mode=False)\n"
        "heavy = {'rich', 'ha_lvs.config', 'ha_lvs.kernel', 'structlog'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    assert ran.stdout.splitlines()[-1] == "loaded []"


DOUBTFUL = deepcopy(STATUS)
DOUBTFUL["services"]["web"]["servers"]["10.9.0.21:80"] |= {"stale": True, "borrowed": False, "peer_state": "down"}
DOUBTFUL["services"]["web"]["servers"]["10.9.0.22:80"] |= {"stale": False, "borrowed": True, "peer_state": None}
DOUBTFUL["disagreements"] = 2
DOUBTFUL["probers"] = [
    {"name": "prober", "alive": True, "stale": False, "since": SINCE, "endpoints": 2},
    {"name": "prober-2", "alive": False, "stale": True, "since": SINCE, "endpoints": 1},
]


def test_what_may_not_be_so_is_shown(tmp_path: Path) -> None:
    with director(tmp_path, DOUBTFUL):
        shown = ha_lvs("status", "--runtime-dir", tmp_path).stdout
    lines = [" ".join(line.split()) for line in shown.splitlines() if line.strip()]
    rows = {line.split()[0]: line for line in lines}
    assert "up stale, down at the peer" in rows["10.9.0.21:80"]
    assert "(the peer says)" in rows["10.9.0.22:80"]
    assert "the directors disagree about 2 servers: look at the network from here to there" in lines
    assert any(line.startswith("prober-2 is silent for") for line in lines)
    assert not any(line.startswith("prober ") for line in lines)
