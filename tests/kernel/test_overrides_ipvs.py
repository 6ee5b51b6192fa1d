"""What operators say at run time, on a pair with IPVS: in the kernel at once, at the peer, and over restarts."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.model import Forwarding
from tests.kernel.test_pair_ipvs import BOTH, SERVERS, expected_rules, get, pair_config, rules, start, wait_for_rules
from tests.pairs import Pair

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(600 * PACE)]

ONE, TWO = SERVERS
DRAINED = {ONE: 0, TWO: 2}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One pair for all tests: its start takes longer than any of them."""
    with Lab("overrides", tmp_path_factory.mktemp("overrides"), clients=1, servers=2) as lab:
        lab.forward(Forwarding.DR)
        lab.start_servers()
        made = start(lab, pair_config())
        for name in ("lb1", "lb2"):
            wait_for_rules(lab, name, expected_rules(Forwarding.DR, BOTH))
        yield made


@pytest.fixture
def pair(started: Pair) -> Iterator[Pair]:
    """The pair with nothing said, linked and with its roles; whatever a test says is taken back after it."""
    started.wait_for_roles()
    wait_for(lambda: all(linked(started, name) for name in ("lb1", "lb2")), 30, "the directors to be linked")
    yield started
    started.wait_for_roles()
    for words in (("service", "enable", "web"), *(("server", "enable", "web", each) for each in SERVERS)):
        said(started, "lb1", *words)
    for name in ("lb1", "lb2"):
        wait_for_rules(started.lab, name, expected_rules(Forwarding.DR, BOTH))


def linked(pair: Pair, name: str) -> bool:
    return any(peer["linked"] for peer in pair[name].status()["peers"])


def said(pair: Pair, name: str, *arguments: str, code: int = 0) -> str:
    """What the verb prints at a director."""
    ran = pair.verb(name, *arguments)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout


def test_a_weight_is_in_ipvs_when_the_verb_returns_and_soon_at_the_peer(pair: Pair) -> None:
    shown = said(pair, "lb1", "server", "weight", "web", ONE, "7")
    assert sorted(rules(pair.lab, "lb1")) == sorted(expected_rules(Forwarding.DR, {ONE: 7, TWO: 2}))
    assert f"{ONE}:80 of web: weight 7 in place of 1; up" in shown
    assert "told lb2" in shown
    wait_for_rules(pair.lab, "lb2", expected_rules(Forwarding.DR, {ONE: 7, TWO: 2}))
    pair.wait_for_words("lb2", f"operator override: service=web server={ONE}:80 weight=7 node=lb1")
    said(pair, "lb2", "server", "enable", "web", ONE)  # on the other director than where it was said
    for name in ("lb1", "lb2"):
        wait_for_rules(pair.lab, name, expected_rules(Forwarding.DR, BOTH))
    pair.wait_for_words("lb1", f"operator override taken back: service=web server={ONE}:80 node=lb2")


def test_a_drain_waits_for_the_open_connection_and_sends_nothing_new(pair: Pair) -> None:
    lab = pair.lab
    with lab.host("c1").inside():
        connection = http.client.HTTPConnection(VIRTUAL_IP, 80, timeout=30 * PACE)
        connection.connect()
    connection.request("GET", "/")
    body = connection.getresponse().read().decode().strip()
    busy, other = (ONE, "s2") if body == "s1" else (TWO, "s1")
    # The time-out of a connection that has ended is two minutes; nobody waits so long here.
    lab.host("lb1").run(["ipvsadm", "--set", "900", "1", "300"])
    command = [sys.executable, "-m", "ha_lvs.cli.main", "server", "drain", "web", busy]
    command += ["--runtime-dir", str(pair["lb1"].runtime_dir)]
    with lab.host("lb1").inside():
        running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    next(line for line in iter(running.stdout.readline, "") if "left on" in line)
    assert {get(lab) for _ in range(4)} == {other}
    connection.request("GET", "/")
    assert connection.getresponse().read().decode().strip() == body, "what is connected stays connected"
    assert running.poll() is None
    connection.close()
    out, _ = running.communicate(timeout=200 * PACE)
    assert running.returncode == 0
    assert f"no connection is left on {busy}:80 of web" in out


def test_a_disabled_service_refuses_and_an_enabled_one_takes(pair: Pair) -> None:
    said(pair, "lb2", "service", "disable", "web")  # said at the standby, done at the active
    for name in ("lb1", "lb2"):
        wait_for_rules(pair.lab, name, expected_rules(Forwarding.DR, dict.fromkeys(SERVERS, 0)))
    with pytest.raises(OSError):
        get(pair.lab)
    assert not pair["lb1"].status()["services"]["web"]["enabled"]
    said(pair, "lb1", "service", "enable", "web")
    wait_for_rules(pair.lab, "lb1", expected_rules(Forwarding.DR, BOTH))
    assert {get(pair.lab) for _ in range(4)} == {"s1", "s2"}


def test_what_was_said_outlives_a_kill_a_stop_and_a_reload(pair: Pair) -> None:
    said(pair, "lb1", "server", "drain", "web", ONE, "--no-wait")
    wait_for_rules(pair.lab, "lb1", expected_rules(Forwarding.DR, DRAINED))
    for end in (pair["lb1"].kill, pair["lb1"].stop):
        end()
        pair["lb1"].start()
        wait_for(lambda: pair.role("lb1") != "initialize", 30, "lb1 to be there again")
        wait_for_rules(pair.lab, "lb1", expected_rules(Forwarding.DR, DRAINED))
    said(pair, "lb1", "reload")
    wait_for_rules(pair.lab, "lb1", expected_rules(Forwarding.DR, DRAINED))
    found = json.loads(said(pair, "lb1", "status", "--json"))
    assert found["services"]["web"]["servers"][f"{ONE}:80"]["override"] == 0
    assert [each["node"] for each in found["overrides"]] == ["lb1"]


def test_a_director_that_was_down_learns_what_was_said_and_taken_back_meanwhile(pair: Pair) -> None:
    said(pair, "lb2", "server", "weight", "web", TWO, "9")
    wait_for_rules(pair.lab, "lb1", expected_rules(Forwarding.DR, {ONE: 1, TWO: 9}))
    pair["lb2"].stop()
    shown = said(pair, "lb1", "server", "drain", "web", ONE, "--no-wait")
    assert "not linked now, and told when they are: lb2" in shown
    said(pair, "lb1", "server", "enable", "web", TWO)
    pair["lb2"].start()
    wait_for_rules(pair.lab, "lb2", expected_rules(Forwarding.DR, DRAINED))


def test_a_machine_that_was_started_anew_learns_it_from_the_peer(pair: Pair) -> None:
    said(pair, "lb1", "server", "drain", "web", ONE, "--no-wait")
    pair["lb1"].kill()
    for file in pair["lb1"].runtime_dir.glob("*.json"):
        file.unlink()  # as a reboot does
    pair.lab.host("lb1").run(["ipvsadm", "-C"])
    pair["lb1"].start()
    wait_for_rules(pair.lab, "lb1", expected_rules(Forwarding.DR, DRAINED))
