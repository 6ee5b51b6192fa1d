"""`ha-lvs reload` and SIGHUP: a changed file is followed without a change of role, or refused as a whole.

Where instances differ, another elector succeeds the running one, and the peer sees nothing of that.
"""

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
from tests.adverts import listening
from tests.pairs import LB1, LB2, Pair, config, started_pair, write

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


def test_a_file_that_is_watched_is_followed_by_itself_and_a_bad_one_is_refused_once(pair: Pair) -> None:
    before = standing(pair)
    changed(pair, watch={"interval": "200ms"})
    assert reloaded(pair)[1]["changed"] == ["watch: none -> 0.2"]
    digest = pair["lb1"].status()["config_digest"]
    good = {**config(), "watch": {"interval": "200ms"}, "cluster": "rim"}
    write(pair.config, {**good, "clutser": "rim"})
    wait_for(lambda: "config refused" in pair.log("lb1"), 20, "the bad one to be refused")
    assert pair["lb1"].status()["config_digest"] == digest
    other = pair.config.with_suffix(".new")
    write(other, good)
    other.rename(pair.config)
    wait_for(lambda: pair["lb1"].status()["cluster"] == "rim", 20, "the good one to be followed")
    wait_for(lambda: standing(pair) == before, 10, "all to be as before")
    assert pair.log("lb1").count("config refused") == 1
    assert pair.log("lb1").count("config file changed; following it") == 2
    assert pair["lb2"].status()["config_digest"] != digest, "the other one was not asked to"


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


# --------------------------------------------------------------------------------------- another elector


def with_address(address: str, **changes: Any) -> dict[str, Any]:
    """The pair's config with one more virtual IP."""
    return config(virtual_ips=[f"{VIRTUAL_IP}/32", f"{address}/32"], **changes)


def on_the_wire(pair: Pair, name: str) -> set[str]:
    return pair.lab.host(name).addresses("e0")


def test_another_interval_comes_into_force_between_two_advertisements(pair: Pair) -> None:
    elector, role, transitions, holders = standing(pair)
    with listening(pair.lab.host("c1")) as adverts:
        wait_for(lambda: len(adverts.of(LB1)) >= 3, 10, "the active's advertisements")
        write(pair.config, config(interval="250ms"))
        ran = reload(pair)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout.splitlines() == ["instances.edge.interval_s: 0.2 -> 0.25", "applied"]
        count = len(adverts.of(LB1))
        wait_for(lambda: len(adverts.of(LB1)) >= count + 5, 10, "the advertisements to go on")
        assert adverts.longest_gap_s(LB1) < 3 * 0.25
        assert adverts.of(LB2) == []
        assert {each.priority for each in adverts.of(LB1)} == {150}
    wait_for(lambda: standing(pair)[1:] == (role, transitions, holders), 10, "all to be as before")
    assert standing(pair)[0] != elector
    assert "error" not in pair.log("lb1"), "a succession is no crash"


def test_a_virtual_ip_that_is_added_is_held_and_one_that_is_removed_is_not_any_more(pair: Pair) -> None:
    another = "10.9.0.101"
    write(pair.config, with_address(another))
    assert reloaded(pair)[0] == 0
    wait_for(lambda: another in on_the_wire(pair, "lb1"), 10, "the new address")
    assert VIRTUAL_IP in on_the_wire(pair, "lb1")
    write(pair.config, config())
    assert reloaded(pair)[0] == 0
    assert another not in on_the_wire(pair, "lb1"), "gone when the answer comes"
    assert pair.holders() == ["lb1"]
    assert f"virtual IPs taken out of the config withdrawn: instance=edge addresses={another}/32" in pair.log("lb1")
    noted = json.loads((pair["lb1"].runtime_dir / "instances.json").read_text())
    assert another not in json.dumps(noted)


def test_an_instance_that_is_added_is_taken_and_one_that_is_removed_is_given_up(pair: Pair) -> None:
    before, another = standing(pair)[1:], "10.9.0.101"
    content = config()
    content["instances"]["rim"] = {
        **content["instances"]["edge"], "router_id": 52, "virtual_ips": [f"{another}/32"],
    }  # fmt: skip
    write(pair.config, content)
    code, answer = reloaded(pair)
    assert (code, answer["changed"][0]) == (0, "instances.rim: added")
    wait_for(lambda: another in on_the_wire(pair, "lb1"), 10, "lb1 to be active for it")
    wait_for(lambda: set(pair["lb1"].status()["instances"]) == {"edge", "rim"}, 10, "the status to have it")
    write(pair.config, config())
    assert reloaded(pair)[1]["changed"] == ["instances.rim: removed"]
    assert another not in on_the_wire(pair, "lb1")
    wait_for(lambda: standing(pair)[1:] == before, 10, "the other one to be as before")


def test_a_lower_priority_gives_the_role_to_the_peer_as_the_file_says(pair: Pair) -> None:
    write(pair.config, config(priority={"lb1": 50, "lb2": 100}))
    assert reloaded(pair)[0] == 0
    pair.wait_for_holder("lb2")


def test_the_standby_follows_too(pair: Pair) -> None:
    before, elector = standing(pair), pair["lb2"].processes()["elector"]
    write(pair.config, config(interval="250ms"))
    assert reloaded(pair, "lb2")[0] == 0
    assert pair["lb2"].processes()["elector"] != elector
    wait_for(lambda: pair.role("lb2") == "backup", 10, "lb2 to tell its role")
    assert standing(pair) == before


def test_a_new_elector_is_mourned_like_the_old_one(pair: Pair) -> None:
    """What is done when it dies has been prepared for it, and for its addresses."""
    another = "10.9.0.101"
    write(pair.config, with_address(another, lease="off"))
    assert reloaded(pair)[0] == 0
    wait_for(lambda: another in on_the_wire(pair, "lb1"), 10, "the new address")
    os.kill(pair["lb1"].processes()["elector"], signal.SIGKILL)
    wait_for(lambda: "withdrawn in the elector's place" in pair.log("lb1"), 10, "the guardian to act")
    wait_for(lambda: "10.9.0.11 resigned" in pair.log("lb2"), 10, "lb2 to hear the resignation")


def test_keys_are_rotated_by_a_reload_and_never_shown(lab: Lab) -> None:
    secrets = [letter * 64 for letter in "ab"]
    keys = []
    for number, secret in enumerate(secrets, 1):
        file = lab.directory / f"{number}.key"
        file.write_text(secret)
        file.chmod(0o600)
        keys.append({"id": number, "file": str(file)})
    with started_pair(lab, {**config(), "authentication": {"keys": keys, "send_key": 1}}) as pair:
        wait_for(lambda: (pair.role("lb1"), pair.role("lb2")) == ("active", "backup"), 10, "both to know their roles")
        before = standing(pair)
        (lab.directory / "2.key").write_text("c" * 64)
        ran = reload(pair)
        assert (ran.returncode, ran.stdout) == (0, "authentication.keys: changed\napplied\n")
        wait_for(lambda: standing(pair)[1:] == before[1:], 10, "all to be as before")
        assert standing(pair)[0] != before[0]
        (lab.directory / "2.key").chmod(0o644)
        ran = reload(pair)
        assert ran.returncode == 2
        assert "2.key" in ran.stderr
        told = ran.stderr + pair.log("lb1")
        assert not any(secret in told for secret in (*secrets, "c" * 64))
        wait_for(lambda: standing(pair)[1:] == before[1:], 10, "all to be as before")


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


def test_an_elector_that_could_not_start_is_refused_and_nothing_of_the_file_applied(pair: Pair) -> None:
    processes, before = pair["lb1"].processes(), standing(pair)
    write(pair.config, {**config(interface="eth7"), "log": {"level": "debug"}})
    code, answer = reloaded(pair)
    assert (code, answer["applied"], answer["changed"]) == (1, False, [])
    assert "interface eth7 does not exist" in answer["problems"][0]
    assert answer["problems"][0].endswith("nothing was applied")
    assert pair["lb1"].processes() == processes
    assert standing(pair) == before
    changed(pair)
    assert reload(pair).stdout == "nothing changed\n"


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
