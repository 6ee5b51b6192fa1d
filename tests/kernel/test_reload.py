"""`ha-lvs reload` and SIGHUP: a changed file is followed without a change of role, or refused as a whole."""

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

from ha_lvs.drill.lab.kernel import has_ipvs
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import wait_for
from tests.pairs import Pair, config, started_pair, write

pytestmark = pytest.mark.netns

SERVICE = {"name": "web", "listen": f"{VIRTUAL_IP}:80/tcp", "forwarding": "dr", "servers": ["10.9.0.21"]}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("reload", tmp_path) as lab:
        yield lab


@pytest.fixture
def pair(lab: Lab) -> Iterator[Pair]:
    """A pair that has settled, both directors telling their roles."""
    with started_pair(lab) as pair:
        wait_for(lambda: (pair.role("lb1"), pair.role("lb2")) == ("active", "backup"), 10, "both to know their roles")
        yield pair


def reload(pair: Pair, *arguments: str, name: str = "lb1") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ha_lvs.cli.main", "reload", "--runtime-dir", str(pair[name].runtime_dir)]
    return pair.lab.host(name).run([*command, *arguments], check=False, timeout_s=120)


def reloaded(pair: Pair, name: str = "lb1") -> tuple[int, dict[str, Any]]:
    """Exit code and answer."""
    ran = reload(pair, "--json", name=name)
    return ran.returncode, json.loads(ran.stdout)


def changed(pair: Pair, **top: Any) -> None:
    """Writes the pair's config file anew, with other keys at its top."""
    write(pair.config, {**config(), **top})


def standing(pair: Pair, name: str = "lb1") -> tuple[int, str, int, str]:
    """What a reload must not touch: the elector's process, the role, its changes, who holds the address."""
    instance = pair[name].status()["instances"]["edge"]
    return pair[name].processes()["elector"], instance["role"], instance["transitions"], ",".join(pair.holders())


# ------------------------------------------------------------------------------------------- applied


def test_another_log_level_is_applied_and_the_elector_goes_on(pair: Pair) -> None:
    before, director = standing(pair), pair["lb1"].processes()["director"]
    digest = pair["lb1"].status()["config_digest"]
    changed(pair, log={"level": "debug"})
    code, answer = reloaded(pair)
    assert code == 0
    assert answer == {"applied": True, "changed": ["log.level: info -> debug"], "restart_needed": [], "problems": []}
    assert pair["lb1"].processes()["director"] != director
    wait_for(lambda: standing(pair) == before, 10, "the new director process to know the role, and all to be as before")
    assert pair["lb1"].status()["config_digest"] != digest
    assert pair["lb2"].status()["config_digest"] == digest, "each director follows when it is told to"
    assert "error" not in pair.log("lb1"), "a replacement is no crash"
    assert not (set(pair.log("lb2").split()) & {"resigned"}), "and the peer heard nothing of it"


def test_for_people_it_says_what_changed(pair: Pair) -> None:
    changed(pair, log={"level": "warning"}, cluster="rim")
    ran = reload(pair)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == ["cluster: edge -> rim", "log.level: info -> warning", "applied"]


def test_the_same_file_changes_nothing(pair: Pair) -> None:
    processes = pair["lb1"].processes()
    pair.config.write_text(pair.config.read_text() + "# a comment\n")
    ran = reload(pair)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "nothing changed\n", "")
    assert pair["lb1"].processes() == processes


def test_what_does_not_concern_this_node_is_followed_too(pair: Pair) -> None:
    before = standing(pair)
    content = config()
    content["instances"]["edge"]["priority"] = {"lb1": 150, "lb2": 90}
    write(pair.config, content)
    ran = reload(pair)
    assert (ran.returncode, ran.stdout) == (0, "applied: nothing that concerns this node\n")
    wait_for(lambda: standing(pair) == before, 10, "all to be as before")


def test_a_hang_up_does_the_same(pair: Pair) -> None:
    before, digest = standing(pair), pair["lb1"].status()["config_digest"]
    changed(pair, log={"level": "debug"})
    os.kill(pair["lb1"].processes()["guardian"], signal.SIGHUP)
    wait_for(lambda: pair["lb1"].status()["config_digest"] != digest, 20, "the new config")
    wait_for(lambda: standing(pair) == before, 10, "all to be as before")
    assert "config applied" in pair.log("lb1")


def test_a_director_process_that_is_stuck_is_replaced_all_the_same(pair: Pair) -> None:
    os.kill(pair["lb1"].processes()["director"], signal.SIGSTOP)
    changed(pair, log={"level": "debug"})
    assert reloaded(pair)[0] == 0
    wait_for(lambda: pair.role("lb1") == "active", 10, "the new director process to know the role")


def test_reloads_at_once_queue_up(pair: Pair) -> None:
    before = standing(pair)
    command = [sys.executable, "-m", "ha_lvs.cli.main", "reload", "--runtime-dir", str(pair["lb1"].runtime_dir)]
    changed(pair, log={"level": "debug"})
    asked = [pair.lab.host("lb1").popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    said = sorted(each.communicate()[0].decode().splitlines()[-1] for each in asked)
    assert said == ["applied", "nothing changed", "nothing changed"]
    wait_for(lambda: standing(pair) == before, 10, "all to be as before")


def test_a_stop_in_the_middle_of_a_reload_is_a_stop(pair: Pair) -> None:
    changed(pair, log={"level": "debug"})
    guardian = pair["lb1"].processes()["guardian"]
    director = pair["lb1"].processes()["director"]
    os.kill(guardian, signal.SIGHUP)
    wait_for(lambda: pair["lb1"].processes().get("director") != director, 20, "the old director process to be gone")
    assert pair["lb1"].stop() == 0
    pair.wait_for_holder("lb2")
    assert pair["lb1"].log.read_text().splitlines()[-1].endswith("stopped: node=lb1")


# ------------------------------------------------------------------------------------------- refused


def test_a_bad_file_is_refused_with_every_problem_and_changes_nothing(pair: Pair) -> None:
    processes, before = pair["lb1"].processes(), standing(pair)
    changed(pair, log={"level": "loud"}, cluster=7)
    ran = reload(pair)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "log.level" in ran.stderr
    assert "cluster" in ran.stderr
    assert "2 problems" in ran.stderr
    assert pair["lb1"].processes() == processes
    assert standing(pair) == before
    assert pair.log("lb1").count("config refused") == 2
    changed(pair)
    assert reload(pair).stdout == "nothing changed\n"


def test_a_file_that_is_gone_is_refused(pair: Pair) -> None:
    pair.config.unlink()
    code, answer = reloaded(pair)
    assert (code, answer["applied"]) == (2, False)
    assert len(answer["problems"]) == 1
    assert str(pair.config) in answer["problems"][0]


def test_what_the_elector_works_with_needs_a_restart_and_is_named(pair: Pair) -> None:
    processes, before = pair["lb1"].processes(), standing(pair)
    write(pair.config, {**config(interval="250ms"), "log": {"level": "debug"}})
    code, answer = reloaded(pair)
    assert (code, answer["applied"], answer["changed"], answer["problems"]) == (1, False, [], [])
    assert "instances.edge.interval_s: 0.2 -> 0.25" in answer["restart_needed"]
    ran = reload(pair)
    assert ran.returncode == 1
    assert "instances.edge.interval_s: 0.2 -> 0.25" in ran.stderr
    assert "restart" in ran.stderr
    assert pair["lb1"].processes() == processes
    assert standing(pair) == before


def test_services_on_a_kernel_without_ipvs_are_refused(pair: Pair) -> None:
    if has_ipvs():
        pytest.skip("this kernel has IPVS")
    processes = pair["lb1"].processes()
    changed(pair, services=[SERVICE])
    ran = reload(pair)
    assert ran.returncode == 1
    assert "modprobe ip_vs" in ran.stderr
    assert pair["lb1"].processes() == processes


def test_without_a_director_the_socket_and_the_remedy_are_named(pair: Pair) -> None:
    pair["lb1"].stop()
    ran = reload(pair)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "guardian.sock" in ran.stderr
    assert "--runtime-dir" in ran.stderr


def test_only_the_owner_may_ask_for_it(pair: Pair) -> None:
    assert (pair["lb1"].runtime_dir / "guardian.sock").stat().st_mode & 0o777 == 0o600
