"""The lab itself: hosts reach each other, faults do what they say, nothing stays behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_lvs.drill.lab import namespaces
from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.topology import Blocked, Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.errors import LabError

pytestmark = pytest.mark.netns

PORT = 7000

needs_netem = pytest.mark.ipvs
"""A kernel without loadable modules may lack netem; the guest that is there for IPVS has it."""


@pytest.fixture
def lab(lab_directory: Path) -> Iterator[Lab]:
    with Lab("labtest", lab_directory, clients=1, servers=1) as lab:
        echo = [sys.executable, "-m", "ha_lvs.drill.measure.echo", "--port", str(PORT)]
        lab.host("lb1").popen(echo)
        wait_for(lambda: echoes(lab.host("c1")), 10, "the echo on lb1 to answer")
        yield lab


def echoes(host: Host, target: str = "10.9.0.11", timeout_s: float = 0.3) -> float | None:
    """Milliseconds until the echo of a datagram came back, or None."""
    with host.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(timeout_s * PACE)
        start = time.monotonic()
        try:
            probe.sendto(b"?", (target, PORT))
            probe.recv(16)
        except (TimeoutError, ConnectionRefusedError, OSError):
            return None
        return (time.monotonic() - start) * 1000 + 1e-9


def delivered(sender: Host, receiver: Host) -> bool:
    """Whether a datagram from one host to another arrives. They know each other's hardware address already."""
    with receiver.inside():
        ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender.inside():
        mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with ear, mouth:
        ear.bind((receiver.address, 0))
        ear.settimeout(0.3 * PACE)
        mouth.sendto(b"!", ear.getsockname())
        try:
            return ear.recv(16) == b"!"
        except TimeoutError:
            return False


def ours() -> set[str]:
    if not namespaces.DIRECTORY.is_dir():
        return set()
    return {entry.name for entry in namespaces.DIRECTORY.iterdir() if f".{os.getpid()}." in entry.name}


def test_hosts_have_the_documented_addresses(lab: Lab) -> None:
    assert {name: host.addresses() for name, host in lab.hosts.items()} == {
        "lb1": {"10.9.0.11"},
        "lb2": {"10.9.0.12"},
        "s1": {"10.9.0.21"},
        "c1": {"10.9.0.31"},
    }


def test_an_address_is_seen_as_soon_as_it_is_there_and_gone(lab: Lab) -> None:
    lb1 = lab.host("lb1")
    lb1.ip("addr add 10.9.0.100/32 dev e0")
    assert lb1.addresses() == {"10.9.0.11", "10.9.0.100"}
    lb1.ip("addr del 10.9.0.100/32 dev e0")
    assert lb1.addresses() == {"10.9.0.11"}


def test_a_cut_host_is_unreachable_until_healed(lab: Lab) -> None:
    lab.cut("lb1")
    assert echoes(lab.host("c1")) is None
    lab.heal("lb1")
    wait_for(lambda: echoes(lab.host("c1")), 10, "lb1 to be back")


def test_a_cut_host_keeps_its_link(lab: Lab) -> None:
    lab.cut("lb1")
    assert "LOWER_UP" in lab.host("lb1").run(["ip", "link", "show", "e0"]).stdout


@pytest.mark.parametrize("blocked", list(Blocked))
def test_one_way_drops_that_direction_only(lab: Lab, blocked: Blocked) -> None:
    lab.one_way("lb1", blocked)
    lb1, c1 = lab.host("lb1"), lab.host("c1")
    assert delivered(c1, lb1) == (blocked is Blocked.SENDS)
    assert delivered(lb1, c1) == (blocked is Blocked.RECEIVES)
    lab.heal("lb1")
    wait_for(lambda: echoes(lab.host("c1")), 10, "lb1 to be back")


@needs_netem
def test_delay_counts_in_each_direction_and_heal_ends_it(lab: Lab) -> None:
    lab.delay("lb1", 100)
    slow = echoes(lab.host("c1"), timeout_s=5)
    assert slow is not None
    assert slow >= 199
    lab.heal("lb1")
    wait_for(lambda: (echoes(lab.host("c1")) or 1e9) < 100, 10, "the delay to end")


@needs_netem
def test_full_loss_is_no_answer(lab: Lab) -> None:
    lab.delay("lb1", 0, loss_percent=100)
    assert echoes(lab.host("c1")) is None


def test_sysctls_are_each_hosts_own(lab: Lab) -> None:
    assert lab.host("lb1").sysctl("net.ipv4.ip_forward") == "1"
    assert lab.host("c1").sysctl("net.ipv4.ip_forward") == "0"
    assert lab.host("c1").sysctl("net.ipv4.conf.e0.rp_filter") == "0"


def test_a_failing_command_says_where_and_why(lab: Lab) -> None:
    with pytest.raises(LabError, match=r"nowhere on lb1 ended with 1: .*nowhere"):
        lab.host("lb1").run(["ip", "link", "show", "nowhere"])


def test_real_servers_answer_their_name_stop_and_come_back(lab: Lab) -> None:
    lab.start_servers()
    server = lab.server("s1")
    assert server.answers()
    server.stop()
    assert not server.running
    with lab.host("c1").inside(), pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.address, 80), timeout=5 * PACE)
    server.start()
    assert server.answers()


def test_two_labs_do_not_meet(lab: Lab, tmp_path: Path) -> None:
    with Lab("labtest", tmp_path / "second", clients=1) as second:
        assert echoes(second.host("c1")) is None
        assert echoes(lab.host("c1")) is not None


def test_closing_kills_and_removes_everything(lab_directory: Path) -> None:
    before = ours()
    with Lab("labtest", lab_directory, servers=1) as lab:
        lab.start_servers()
        stray = lab.host("c1").popen(["sh", "-c", "setsid sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE)
        assert stray.stdout is not None
        stray_pid = int(stray.stdout.readline())
        assert ours() != before
    assert ours() == before
    wait_for(lambda: not _runs(stray_pid), 10, "the stray process to end")


def test_a_failure_inside_leaves_nothing(lab_directory: Path) -> None:
    before = ours()
    with pytest.raises(RuntimeError), Lab("labtest", lab_directory):
        raise RuntimeError
    assert ours() == before


def test_what_a_crashed_lab_left_is_removed_by_the_next(lab_directory: Path) -> None:
    script = (
        "import os, pathlib, sys; from ha_lvs.drill.lab.topology import Lab; "
        "lab = Lab('crashed', pathlib.Path(sys.argv[1])); lab.__enter__(); "
        "print(lab.host('c1').namespace, flush=True); os._exit(0)"
    )
    crashed = subprocess.run(
        [sys.executable, "-c", script, str(lab_directory)], check=True, capture_output=True, text=True
    )
    left = namespaces.DIRECTORY / crashed.stdout.strip()
    assert left.exists()
    with Lab("labtest", lab_directory):
        assert not left.exists()


def _runs(pid: int) -> bool:
    try:
        state = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
