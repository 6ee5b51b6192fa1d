"""A pair of directors on the running kernel, without IPVS: election, virtual IPs, and every way to lose a director."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_lvs.drill.lab.kernel import has_ipvs
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import wait_for
from tests.pairs import Pair, config, started_pair, write

pytestmark = pytest.mark.netns

LEASE_S = 1  # at 200 ms between advertisements


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("pair", tmp_path) as lab:
        yield lab


@pytest.fixture
def pair(lab: Lab) -> Iterator[Pair]:
    with started_pair(lab) as pair:
        yield pair


def lifetime_s(pair: Pair, name: str) -> int:
    """The seconds for which the kernel would keep the virtual IP by itself."""
    output = pair.lab.host(name).run(["ip", "-j", "address", "show", "dev", "e0"]).stdout
    listed = json.loads(output)[0]["addr_info"]
    return next(int(each["valid_life_time"]) for each in listed if each["local"] == VIRTUAL_IP)


def mac_of_virtual_ip_at_client(pair: Pair) -> str:
    """What the client's ARP table has for the virtual IP; nothing is sent."""
    found = re.search(r"lladdr (\S+)", pair.lab.host("c1").run(["ip", "neighbour", "show", VIRTUAL_IP]).stdout)
    return found[1] if found else ""


def mac(pair: Pair, name: str) -> str:
    output = pair.lab.host(name).run(["ip", "-j", "link", "show", "dev", "e0"]).stdout
    return str(json.loads(output)[0]["address"])


def run_once(lab: Lab, path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """`ha-lvs run` on lb1 that is expected to end by itself."""
    command = [sys.executable, "-m", "ha_lvs.cli.main", "run", "-c", str(path), "--node", "lb1", *more]
    return lab.host("lb1").run(command, check=False)


# ------------------------------------------------------------------------------------------- settled


def test_the_higher_priority_is_active_and_both_directors_say_so(pair: Pair) -> None:
    wait_for(lambda: (pair.role("lb1"), pair.role("lb2")) == ("active", "backup"), 10, "both to know their roles")
    heard = {"address": "10.9.0.11", "priority": 150}
    wait_for(lambda: pair["lb2"].status()["instances"]["edge"]["peer"] == heard, 10, "lb2 to tell whom it heard")
    assert pair["lb2"].status()["instances"]["edge"]["holding"] is False
    assert pair["lb1"].status()["config_digest"] == pair["lb2"].status()["config_digest"]


def test_the_virtual_ip_has_a_lease(pair: Pair) -> None:
    assert lifetime_s(pair, "lb1") <= LEASE_S


def test_a_virtual_ip_that_somebody_deletes_comes_back(pair: Pair) -> None:
    pair.lab.host("lb1").run(["ip", "address", "delete", f"{VIRTUAL_IP}/32", "dev", "e0"])
    pair.wait_for_holder("lb1")


# ------------------------------------------------------------------------------------ losing a director


def test_cut_off_active_is_replaced_and_comes_back(pair: Pair) -> None:
    with pair.lab.host("c1").inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"who has this address?", (VIRTUAL_IP, 9))
    wait_for(lambda: mac_of_virtual_ip_at_client(pair) == mac(pair, "lb1"), 10, "the client to know lb1's MAC")
    pair.lab.cut("lb1")
    wait_for(lambda: "lb2" in pair.holders(), 10, "lb2 to take over")
    wait_for(lambda: mac_of_virtual_ip_at_client(pair) == mac(pair, "lb2"), 10, "the client to learn lb2's MAC")
    pair.lab.heal("lb1")
    pair.wait_for_holder("lb1")
    wait_for(lambda: mac_of_virtual_ip_at_client(pair) == mac(pair, "lb1"), 10, "the client to learn lb1's MAC")


def test_frozen_active_loses_the_virtual_ip_within_three_seconds(pair: Pair) -> None:
    pair["lb1"].freeze()
    pair.wait_for_holder("lb2", timeout_s=3)
    pair["lb1"].thaw()
    wait_for(lambda: "took over" in pair.log("lb1"), 10, "the thawed director to yield")
    pair.wait_for_holder("lb1")


def test_killed_active_loses_the_virtual_ip_within_three_seconds(pair: Pair) -> None:
    pair["lb1"].kill()
    pair.wait_for_holder("lb2", timeout_s=3)
    pair["lb1"].start()
    pair.wait_for_holder("lb1")


def test_killed_elector_has_its_virtual_ip_withdrawn_and_returns(pair: Pair) -> None:
    elector = pair["lb1"].processes()["elector"]
    os.kill(elector, signal.SIGKILL)
    wait_for(lambda: "withdrawn in the elector's place" in pair.log("lb1"), 10, "the guardian to act")
    wait_for(lambda: "10.9.0.11 resigned" in pair.log("lb2"), 10, "lb2 to hear the resignation")
    wait_for(lambda: pair["lb1"].processes().get("elector") not in (None, elector), 10, "a new elector")
    pair.wait_for_holder("lb1")


def test_stuck_elector_is_killed_and_replaced(pair: Pair) -> None:
    elector = pair["lb1"].processes()["elector"]
    os.kill(elector, signal.SIGSTOP)
    wait_for(lambda: "process is stuck" in pair.log("lb1"), 30, "the guardian to notice")
    wait_for(lambda: pair["lb1"].processes().get("elector") not in (None, elector), 10, "a new elector")
    pair.wait_for_holder("lb1")


def test_killed_guardian_leaves_nothing_behind(pair: Pair) -> None:
    processes = pair["lb1"].processes()
    os.kill(processes["guardian"], signal.SIGKILL)
    pair.wait_for_holder("lb2")
    wait_for(lambda: pair["lb1"].processes() == {}, 10, "the children to end")


def test_killed_director_process_harms_no_role(pair: Pair) -> None:
    director = pair["lb1"].processes()["director"]
    os.kill(director, signal.SIGKILL)
    wait_for(lambda: pair["lb1"].processes().get("director") not in (None, director), 10, "a new director process")
    wait_for(lambda: pair.role("lb1") == "active", 10, "the new one to know the role")
    assert pair["lb1"].status()["instances"]["edge"]["transitions"] == 2
    assert pair.holders() == ["lb1"]


def test_planned_stop_hands_over_and_ends_with_exit_code_0(pair: Pair) -> None:
    assert pair["lb1"].stop() == 0
    assert "lb1" not in pair.holders()
    pair.wait_for_holder("lb2")
    # An offer where the directors are linked by then, a resignation otherwise; silence would be neither.
    planned = ("taking the role over from a live active", "10.9.0.11 resigned")
    wait_for(lambda: any(words in pair.log("lb2") for words in planned), 10, "lb2 to be given the role")
    assert "ERROR" not in pair.log("lb1").upper()


def test_a_hang_up_of_the_whole_group_changes_nothing(pair: Pair) -> None:
    wait_for(lambda: "ready" in pair.log("lb1"), 20, "all its processes to be up")
    processes = pair["lb1"].processes()
    os.killpg(os.getpgid(processes["guardian"]), signal.SIGHUP)
    wait_for(lambda: "config unchanged" in pair.log("lb1"), 10, "the guardian to look at the file again")
    assert pair["lb1"].processes() == processes
    assert pair.holders() == ["lb1"]


def test_a_changed_mac_is_the_one_that_is_announced(pair: Pair) -> None:
    new = "02:00:00:00:aa:01"
    host = pair.lab.host("lb1")
    host.run(["ip", "link", "set", "dev", "e0", "address", new])
    with pair.lab.host("c1").inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"who has this address?", (VIRTUAL_IP, 9))
    pair["lb1"].freeze()
    pair.wait_for_holder("lb2")
    pair["lb1"].thaw()
    pair.wait_for_holder("lb1")
    wait_for(lambda: mac_of_virtual_ip_at_client(pair) == new, 10, "the client to learn lb1's new MAC")


# ------------------------------------------------------------------------------------------- variants


def test_unicast_pair_fails_over(lab: Lab) -> None:
    with started_pair(lab, config(unicast=True)) as pair:
        assert pair["lb1"].stop() == 0
        pair.wait_for_holder("lb2")


def test_without_preemption_the_returning_director_stays_backup(lab: Lab) -> None:
    pair = Pair(lab, config(preempt=False))
    pair["lb2"].start()
    pair.wait_for_holder("lb2")
    pair["lb1"].start()
    wait_for(lambda: pair["lb1"].status()["instances"]["edge"]["peer"], 10, "lb1 to hear lb2")
    assert pair.role("lb1") == "backup"
    assert pair.holders() == ["lb2"]
    pair["lb2"].stop()
    pair.wait_for_holder("lb1")


def test_without_a_lease_a_killed_director_keeps_the_virtual_ip(lab: Lab) -> None:
    """What the lease is for: the same kill as above, with it switched off."""
    with started_pair(lab, config(lease="off")) as pair:
        pair["lb1"].kill()
        wait_for(lambda: "lb2" in pair.holders(), 10, "lb2 to take over")
        assert pair.holders() == ["lb1", "lb2"]


def test_a_virtual_ip_left_on_the_backup_is_dropped_when_the_active_speaks(lab: Lab) -> None:
    lab.host("lb2").run(["ip", "address", "add", f"{VIRTUAL_IP}/32", "dev", "e0"])
    with started_pair(lab) as pair:
        wait_for(lambda: "virtual IPs found at start" in pair.log("lb2"), 10, "lb2 to tell what it found")


def test_a_virtual_ip_found_on_the_active_is_kept_and_leased(lab: Lab) -> None:
    lab.host("lb1").run(["ip", "address", "add", f"{VIRTUAL_IP}/32", "dev", "e0"])
    with started_pair(lab) as pair:
        wait_for(lambda: pair.role("lb1") == "active", 10, "lb1 to become active")
        assert lifetime_s(pair, "lb1") <= LEASE_S


# --------------------------------------------------------------------------------------- wrong starts


def test_services_on_a_kernel_without_ipvs_say_what_to_load(lab: Lab, tmp_path: Path) -> None:
    if has_ipvs():
        pytest.skip("this kernel has IPVS")
    services = [{"name": "web", "listen": f"{VIRTUAL_IP}:80/tcp", "forwarding": "dr", "servers": ["10.9.0.21"]}]
    ended = run_once(lab, write(tmp_path / "c.yml", {**config(), "services": services}), "--runtime-dir", str(tmp_path))
    assert ended.returncode == 1
    assert "modprobe ip_vs" in ended.stderr


def test_a_missing_interface_is_named(lab: Lab, tmp_path: Path) -> None:
    ended = run_once(lab, write(tmp_path / "c.yml", config(interface="eth7")), "--runtime-dir", str(tmp_path))
    assert ended.returncode == 1
    assert "interface eth7 does not exist" in ended.stderr


def test_a_second_daemon_in_the_same_runtime_directory_is_refused(pair: Pair) -> None:
    ended = run_once(pair.lab, pair.config, "--runtime-dir", str(pair["lb1"].runtime_dir))
    assert ended.returncode == 1
    assert "another ha-lvs" in ended.stderr
    assert pair.holders() == ["lb1"]


def test_a_node_that_the_file_does_not_have_is_refused(lab: Lab, tmp_path: Path) -> None:
    path = write(tmp_path / "c.yml", config())
    ended = run_once(lab, path, "--node", "lb3", "--runtime-dir", str(tmp_path))
    assert ended.returncode == 2
    assert "lb3" in ended.stderr
    assert "lb1, lb2" in ended.stderr


# ------------------------------------------------------------------------------------------- footprint


def test_the_elector_imports_nothing_heavy() -> None:
    code = "import sys, ha_lvs.daemon.elector; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    heavy = {"asyncio", "pydantic", "yaml", "structlog", "typer", "rich", "pyroute2", "zeroconf", "logging", "dns"}
    assert heavy.isdisjoint(modules)


def test_the_elector_runs_with_real_time_priority_and_locked_memory(pair: Pair) -> None:
    elector = pair["lb1"].processes()["elector"]
    assert os.sched_getscheduler(elector) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR
    status = Path(f"/proc/{elector}/status").read_text()
    locked = re.search(r"VmLck:\s+(\d+)", status)
    assert locked is not None
    assert int(locked[1]) > 0
