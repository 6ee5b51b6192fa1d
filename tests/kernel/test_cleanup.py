"""`ha-lvs cleanup`: what a killed director leaves behind goes, and the peer is told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ha_lvs.daemon.balancer import OWNERSHIP_FILE
from ha_lvs.daemon.runtime import read_note
from ha_lvs.drill.lab.kernel import has_ipvs
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.kernel.ownership import Ownership
from ha_lvs.model import Protocol, ServiceKey
from tests.pairs import Pair, config, started_pair, write

pytestmark = pytest.mark.netns

INTERVAL_S = 10.0
"""Long enough for the cleanup to have begun before lb2 misses anything: without a word it takes 26 to 36 s."""
LEFT = f"withdrawn {VIRTUAL_IP}/32 from e0 (instance edge)\n"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("cleanup", tmp_path) as lab:
        yield lab


@pytest.fixture
def killed(lab: Lab) -> Iterator[Pair]:
    """A pair whose active was killed without a lease, so that its address stays for ever."""
    with started_pair(lab, config(lease="off")) as pair:
        pair["lb1"].kill()
        yield pair


def cleanup(pair: Pair, *arguments: str | Path, name: str = "lb1") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ha_lvs.cli.main", "cleanup", "--runtime-dir", str(pair[name].runtime_dir)]
    return pair.lab.host(name).run([*command, *map(str, arguments)], check=False)


def has(pair: Pair, name: str) -> bool:
    return VIRTUAL_IP in pair.lab.host(name).addresses("e0")


def test_what_a_killed_active_left_goes_and_the_peer_takes_over_at_once(lab: Lab) -> None:
    with started_pair(lab, config(lease="off", interval=f"{INTERVAL_S:.0f}s")) as pair:
        wait_for(lambda: pair["lb2"].status()["instances"]["edge"]["peer"], 30, "lb2 to have heard lb1")
        pair["lb1"].kill()
        assert has(pair, "lb1"), "without a lease the kernel keeps it"
        ran = cleanup(pair)
        assert (ran.returncode, ran.stdout) == (0, LEFT)
        assert not has(pair, "lb1")
        assert "virtual IPs withdrawn by cleanup" in ran.stderr
        pair.wait_for_holder("lb2")
        wait_for(lambda: "10.9.0.11 resigned" in pair.log("lb2"), 10, "lb2 to tell of a word, not of silence")


def test_it_can_be_done_again_and_says_nothing_then(killed: Pair) -> None:
    assert cleanup(killed).stdout == LEFT
    again = cleanup(killed)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_on_a_backup_nothing_is_withdrawn_and_nobody_is_told(lab: Lab) -> None:
    with started_pair(lab) as pair:
        pair["lb2"].kill()
        ran = cleanup(pair, name="lb2")
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
        assert pair.holders() == ["lb1"]
        assert "resigned" not in pair.log("lb1")


def test_after_a_planned_stop_there_is_nothing_to_do(lab: Lab) -> None:
    with started_pair(lab) as pair:
        pair["lb1"].stop()
        ran = cleanup(pair, "-c", pair.config, "--node", "lb1")
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_beside_a_running_director_it_is_refused(lab: Lab) -> None:
    with started_pair(lab) as pair:
        ran = cleanup(pair)
        assert (ran.returncode, ran.stdout) == (1, "")
        assert f"pid {pair['lb1'].processes()['guardian']}" in ran.stderr
        assert "systemctl stop" in ran.stderr
        assert pair.holders() == ["lb1"]


def test_a_file_that_is_broken_by_then_is_only_a_warning(killed: Pair) -> None:
    killed.config.write_text("cluster: [\n")
    ran = cleanup(killed, "-c", killed.config, "--node", "lb1")
    assert (ran.returncode, ran.stdout) == (0, LEFT)
    assert str(killed.config) in ran.stderr
    assert not has(killed, "lb1")


def test_what_only_the_file_knows_goes_too(killed: Pair) -> None:
    killed.lab.host("lb1").ip("addr add 10.9.0.101/32 dev e0")
    other = config(lease="off", virtual_ips=["10.9.0.101/32"])
    ran = cleanup(killed, "-c", write(killed.lab.directory / "other.yml", other), "--node", "lb1")
    assert (ran.returncode, ran.stdout) == (0, LEFT + "withdrawn 10.9.0.101/32 from e0 (instance edge)\n")
    assert "10.9.0.101" not in killed.lab.host("lb1").addresses("e0")


def test_without_a_note_the_file_counts_alone(killed: Pair) -> None:
    (killed["lb1"].runtime_dir / "instances.json").unlink()
    broken = write(killed.lab.directory / "broken.yml", {"cluster": "edge"})
    refused = cleanup(killed, "-c", broken, "--node", "lb1")
    assert refused.returncode == 2
    assert f"{broken}:1:1: " in refused.stderr
    assert has(killed, "lb1")
    ran = cleanup(killed, "-c", killed.config, "--node", "lb1")
    assert (ran.returncode, ran.stdout) == (0, LEFT)


def test_with_neither_note_nor_file_it_says_what_it_needs(killed: Pair) -> None:
    (killed["lb1"].runtime_dir / "instances.json").unlink()
    ran = cleanup(killed)
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "-c" in ran.stderr


def test_a_damaged_note_is_told_and_the_file_still_counts(killed: Pair) -> None:
    (killed["lb1"].runtime_dir / "instances.json").write_text('{"node": "lb1"')
    ran = cleanup(killed, "-c", killed.config, "--node", "lb1")
    assert (ran.returncode, ran.stdout) == (0, LEFT)
    assert "instances.json is damaged" in ran.stderr


def test_an_interface_that_is_gone_is_no_failure(lab: Lab) -> None:
    for name in ("lb1", "lb2"):
        lab.host(name).ip("link add d0 type veth peer name d1", "link set d0 up", "link set d1 up")
    virtual_ips = [f"{VIRTUAL_IP}/32", {"address": "10.9.7.1/32", "interface": "d0"}]
    with started_pair(lab, config(lease="off", virtual_ips=virtual_ips)) as pair:
        pair["lb1"].kill()
        lab.host("lb1").ip("link del d0")
        ran = cleanup(pair)
        assert (ran.returncode, ran.stdout) == (0, LEFT)
        pair.wait_for_holder("lb2")


def test_the_note_is_for_root_only(killed: Pair) -> None:
    note = killed["lb1"].runtime_dir / "instances.json"
    assert note.stat().st_mode & 0o777 == 0o600
    assert note.stat().st_uid == os.geteuid()


# ------------------------------------------------------------------------- what the next start finds of the last


SECOND = "10.9.0.101"
BOTH = [f"{VIRTUAL_IP}/32", f"{SECOND}/32"]


@pytest.fixture
def killed_with_two(lab: Lab) -> Iterator[Pair]:
    """As `killed`, with two virtual IPs, and nobody has cleaned up."""
    with started_pair(lab, config(lease="off", virtual_ips=BOTH)) as pair:
        pair["lb1"].kill()
        assert {VIRTUAL_IP, SECOND} <= set(lab.host("lb1").addresses("e0")), "without a lease the kernel keeps them"
        yield pair


def noted_addresses(pair: Pair) -> set[str]:
    note = read_note(pair["lb1"].runtime_dir)
    assert note is not None
    return {str(ip.address) for instance in note.instances for ip in instance.virtual_ips}


def test_a_start_withdraws_what_the_config_no_longer_has_and_adopts_the_rest(killed_with_two: Pair) -> None:
    pair = killed_with_two
    write(pair.config, config(lease="off"))
    pair["lb1"].start()
    wait_for(lambda: "virtual IPs found at start" in pair.log("lb1"), 20, "the elector to have started")
    assert SECOND not in pair.lab.host("lb1").addresses("e0")
    said = [line for line in pair.log("lb1").splitlines() if "virtual IPs of an earlier config withdrawn" in line]
    assert len(said) == 1
    assert f"instance=edge addresses={SECOND}/32" in said[0]
    assert f"addresses={VIRTUAL_IP}" in pair.log("lb1").partition("virtual IPs found at start")[2].splitlines()[0]
    assert noted_addresses(pair) == {VIRTUAL_IP}


def test_of_an_instance_that_is_gone_everything_goes_and_its_peer_is_told(lab: Lab) -> None:
    with started_pair(lab, config(lease="off", interval=f"{INTERVAL_S:.0f}s")) as pair:
        wait_for(lambda: pair["lb2"].status()["instances"]["edge"]["peer"], 30, "lb2 to have heard lb1")
        pair["lb1"].kill()
        other = config(lease="off", router_id=52, virtual_ips=[f"{SECOND}/32"])
        other["instances"] = {"rim": other["instances"].pop("edge")}
        write(pair.config, other)
        pair["lb1"].start()
        wait_for(lambda: not has(pair, "lb1"), 20, "what the last run held to be gone")
        wait_for(lambda: "10.9.0.11 resigned" in pair.log("lb2"), 10, "lb2 to tell why it took over")
        wait_for(lambda: SECOND in lab.host("lb1").addresses("e0"), 30, "the new instance to be active")
        assert noted_addresses(pair) == {SECOND}


def test_a_start_that_cannot_read_the_note_says_so_and_goes_on(killed: Pair) -> None:
    (killed["lb1"].runtime_dir / "instances.json").write_text('{"node": "lb1"')
    killed["lb1"].start()
    wait_for(lambda: "earlier run unknown" in killed.log("lb1"), 30, "lb1 to say so")
    killed.wait_for_holder("lb1", 30)
    assert noted_addresses(killed) == {VIRTUAL_IP}


# --------------------------------------------------------------------------------------------------- services


def owned(pair: Pair) -> Ownership:
    return Ownership(pair["lb1"].runtime_dir / OWNERSHIP_FILE)


def test_without_services_of_ours_there_are_none_to_remove(killed: Pair) -> None:
    ran = cleanup(killed, "--services")
    assert (ran.returncode, ran.stdout) == (0, LEFT)


def test_services_whose_ipvs_was_unloaded_are_forgotten(killed: Pair) -> None:
    if has_ipvs():
        pytest.skip("this kernel has IPVS")
    owned(killed).claim([ServiceKey(IPv4Address(VIRTUAL_IP), 80, Protocol.TCP)], sync=True)
    assert owned(killed).services
    ran = cleanup(killed, "--services")
    assert (ran.returncode, ran.stdout) == (0, LEFT)
    assert (owned(killed).services, owned(killed).sync) == (frozenset(), False)


def test_services_that_nobody_knows_are_a_failure_but_the_addresses_go(killed: Pair) -> None:
    (killed["lb1"].runtime_dir / OWNERSHIP_FILE).write_text("{")
    ran = cleanup(killed, "--services")
    assert (ran.returncode, ran.stdout) == (1, LEFT)
    assert f"{OWNERSHIP_FILE} is damaged" in ran.stderr
