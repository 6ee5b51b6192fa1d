"""`ha-lvs handover`, `standby` and `enable`: the role goes where people want it, and stays there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import wait_for
from tests.adverts import listening
from tests.pairs import LB1, LB2, Pair, config, started_pair, write

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("handover", tmp_path) as lab:
        yield lab


@pytest.fixture
def pair(lab: Lab) -> Iterator[Pair]:
    """A pair that is ready, its directors linked."""
    with started_pair(lab) as pair:
        wait_for(lambda: all("ready: node" in pair.log(name) for name in pair.directors), 30, "both to be ready")
        wait_for(lambda: (pair.role("lb1"), pair.role("lb2")) == ("active", "backup"), 15, "both to know their roles")
        wait_for(lambda: all(linked(pair, name) for name in pair.directors), 30, "the directors to be linked")
        # The elector tells its director about once a second what it has heard.
        wait_for(lambda: pair.instance("lb2")["peer"], 15, "lb2 to tell that it has heard lb1")
        yield pair


def linked(pair: Pair, name: str) -> bool:
    """Whether the link to the other director stands."""
    peers = pair[name].status().get("peers", {})
    found = peers.values() if isinstance(peers, dict) else peers
    return any(each.get("linked") for each in found)


def verb(pair: Pair, *arguments: str, name: str = "lb1") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ha_lvs.cli.main", *arguments, "--runtime-dir", str(pair[name].runtime_dir)]
    return pair.lab.host(name).run(command, check=False, timeout_s=100)


def stays(pair: Pair, name: str, adverts_of: str) -> None:
    """The role stays for a while: as long as the peer would need to take it back ten times over."""
    with listening(pair.lab.host("c1")) as adverts:
        wait_for(lambda: len(adverts.of(adverts_of)) >= 10, 30, f"{name} to go on as active")
    assert pair.holders() == [name]


# ----------------------------------------------------------------------------------------------- hand-over


def test_the_standby_takes_the_role_before_the_active_lets_go(pair: Pair) -> None:
    with listening(pair.lab.host("c1")) as adverts:
        ran = verb(pair, "handover")
        assert ran.returncode == 0, ran
        pair.wait_for_holder("lb2")
        wait_for(lambda: adverts.of(LB2), 10, "lb2 to advertise")
    assert f"edge: this director is backup; {LB2} is active" in ran.stdout.splitlines()
    assert "taking the role over from a live active" in pair.log("lb2")
    resigned = [each.at_s for each in adverts.of(LB1) if each.priority == 0]
    assert adverts.of(LB2)[0].at_s <= min(resigned, default=adverts.of(LB1)[-1].at_s + 1), "make before break"
    stays(pair, "lb2", LB2)


def test_it_comes_back_only_when_it_is_enabled(pair: Pair) -> None:
    assert verb(pair, "handover", "edge").returncode == 0
    pair.wait_for_holder("lb2")
    stays(pair, "lb2", LB2)
    ran = verb(pair, "enable")
    assert ran.returncode == 0, ran
    pair.wait_for_holder("lb1")


def test_who_has_handed_over_takes_over_when_the_other_one_fails(pair: Pair) -> None:
    assert verb(pair, "handover").returncode == 0
    pair.wait_for_holder("lb2")
    pair["lb2"].kill()
    pair.wait_for_holder("lb1")


def test_what_is_not_active_here_cannot_be_handed_over(pair: Pair) -> None:
    ran = verb(pair, "handover", name="lb2")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "nothing is active on this node" in ran.stdout
    # The elector tells each of the other processes about once a second what it has heard.
    words = f"edge: this director is backup; {LB1} is active"
    wait_for(lambda: words in verb(pair, "handover", name="lb2").stdout, 30, f"it to say: {words}")


def test_where_no_peer_is_linked_the_role_is_resigned_for_whoever_is_there(pair: Pair) -> None:
    pair["lb2"].kill()
    with listening(pair.lab.host("c1")) as adverts:
        ran = verb(pair, "handover")
        assert ran.returncode == 0, ran
        wait_for(lambda: any(each.priority == 0 for each in adverts.of(LB1)), 10, "lb1 to resign")
    pair.wait_for_holder("lb1")  # nobody was there


def test_an_unknown_instance_is_named_with_those_that_there_are(pair: Pair) -> None:
    ran = verb(pair, "handover", "egde")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "there is no instance 'egde'; there are edge" in ran.stderr


def test_for_programs_it_is_one_document(pair: Pair) -> None:
    ran = verb(pair, "standby", "--json")
    found: dict[str, Any] = json.loads(ran.stdout)
    assert (ran.returncode, found["ok"]) == (0, True)
    assert found["instances"]["edge"]["role"] == "backup"
    assert found["instances"]["edge"]["standby"] is True


def test_without_a_director_the_remedy_is_named(pair: Pair) -> None:
    pair["lb1"].stop()
    ran = verb(pair, "handover")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "guardian.sock" in ran.stderr


# ------------------------------------------------------------------------------------------------- standby


def on_standby(pair: Pair) -> None:
    """Puts lb1 on standby."""
    ran = verb(pair, "standby")
    assert ran.returncode == 0, ran
    assert f"edge: this director is on standby; {LB2} is active" in ran.stdout
    pair.wait_for_holder("lb2")


def nobody_takes_over(pair: Pair) -> None:
    """lb2 dies, and lb1 does not care."""
    pair["lb2"].kill()
    wait_for(lambda: pair.holders() == [], 15, "the lease of lb2 to end")
    with listening(pair.lab.host("c1")) as adverts:
        wait_for(lambda: pair["lb1"].status()["instances"]["edge"]["role"] == "backup", 10, "lb1 to say so")
        assert verb(pair, "handover").returncode == 0
    assert adverts.of(LB1) == []
    assert pair.holders() == []


def test_on_standby_it_does_not_take_over_even_when_the_other_one_fails(pair: Pair) -> None:
    on_standby(pair)
    nobody_takes_over(pair)
    assert verb(pair, "enable").returncode == 0
    pair.wait_for_holder("lb1")


def test_a_standby_outlives_its_elector(pair: Pair) -> None:
    on_standby(pair)
    elector = pair["lb1"].processes()["elector"]
    os.kill(elector, signal.SIGKILL)
    wait_for(lambda: pair["lb1"].processes().get("elector") not in (None, elector), 10, "a new elector")
    wait_for(lambda: pair["lb1"].status()["instances"]["edge"]["role"] == "backup", 10, "it to take part")
    nobody_takes_over(pair)


def test_a_standby_outlives_a_reload_and_a_restart_in_place(pair: Pair) -> None:
    on_standby(pair)
    write(pair.config, config(interval="250ms"))
    assert verb(pair, "reload").returncode == 0
    assert verb(pair, "restart").returncode == 0
    wait_for(lambda: pair["lb1"].status()["instances"]["edge"]["role"] == "backup", 10, "it to take part")
    nobody_takes_over(pair)
    assert verb(pair, "enable").returncode == 0
    pair.wait_for_holder("lb1")


def test_a_standby_outlives_the_daemon(pair: Pair) -> None:
    on_standby(pair)
    assert pair["lb1"].stop() == 0
    pair["lb1"].start()
    wait_for(lambda: "still on standby: instances=edge" in pair.log("lb1"), 20, "it to say so")
    wait_for(lambda: pair.log("lb1").count("ready: node") == 2, 30, "it to be ready")
    wait_for(lambda: pair["lb1"].status()["instances"]["edge"]["role"] == "backup", 10, "it to take part")
    nobody_takes_over(pair)


def test_the_status_shows_it(pair: Pair) -> None:
    on_standby(pair)
    wait_for(lambda: "standby" in json.dumps(pair["lb1"].status()["instances"]["edge"]), 10, "the status to show it")


# -------------------------------------------------------------------------------------------- planned stop


def test_a_planned_stop_hands_over_before_it_lets_go(pair: Pair) -> None:
    assert pair["lb1"].stop() == 0
    pair.wait_for_holder("lb2")
    assert "taking the role over from a live active" in pair.log("lb2")
    assert "did not stop" not in pair.log("lb1")
