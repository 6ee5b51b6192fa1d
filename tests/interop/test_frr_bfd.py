"""BFD beside FRR's bfdd: each end comes up, notices the other's death, bears its planned stop; tshark reads ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.hosts import Host, kill_group
from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import wait_for
from tests.heartbeats import Loop, Story, session

pytestmark = pytest.mark.netns

OURS, THEIRS = "10.9.0.11", "10.9.0.12"
OURS6, THEIRS6 = "fd09::11", "fd09::12"
PROGRAM = Path("/usr/lib/frr/bfdd")
PATIENT = 20
"""A multiplier with which 10 ms is no question of who gets the processor in time: what a test can promise."""
USER = "frr"  # bfdd insists on a user of the group that it was built with

CONFIG = """
bfd
 peer {peer} local-address {local}
  detect-multiplier {multiplier}
  receive-interval {interval_ms}
  transmit-interval {interval_ms}
  no shutdown
"""


class Bfdd:
    """FRR's bfdd on a host: no other daemon of FRR, nothing of it outside its directory, which its user can enter."""

    def __init__(
        self, host: Host, directory: Path, interval_ms: int, *, peer: str, local: str, multiplier: int
    ) -> None:
        self._host = host
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        shutil.chown(directory, USER, USER)
        (directory / "vtysh.conf").touch()
        self._config = directory / "bfdd.conf"
        self._config.write_text(CONFIG.format(peer=peer, local=local, multiplier=multiplier, interval_ms=interval_ms))
        shutil.chown(self._config, USER, USER)

    def start(self) -> None:
        at = self._directory
        files = {"-f": self._config, "-i": at / "pid", "-z": at / "zebra", "--vty_socket": at, "--bfdctl": at / "ctl"}
        options = [text for flag, path in files.items() for text in (flag, str(path))]
        with (at / "log").open("ab") as log:
            self._process = self._host.popen(
                [str(PROGRAM), *options, "-u", USER, "-g", USER, "-P", "0", "--log", "stdout"],
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        assert self._process is not None
        kill_group(self._process, 9)
        self._process.wait(10)

    def peer(self) -> dict[str, Any]:
        """What it says of its only session."""
        options = ["--vty_socket", str(self._directory), "--config_dir", str(self._directory), "-d", "bfdd"]
        output = self._host.run(["vtysh", *options, "-c", "show bfd peers json"]).stdout
        [found] = json.loads(output)
        assert isinstance(found, dict)
        return found

    def vtysh(self, *commands: str) -> None:
        options = ["--vty_socket", str(self._directory), "--config_dir", str(self._directory), "-d", "bfdd"]
        self._host.run(["vtysh", *options, *(text for command in commands for text in ("-c", command))])

    def wait_for_status(self, status: str) -> dict[str, Any]:
        def told() -> dict[str, Any] | None:
            peer = self.peer()
            return peer if peer["status"] == status else None

        found = wait_for(told, 20, f"bfdd to say that its session is {status}")
        assert found is not None
        return found


@pytest.fixture
def lab() -> Iterator[Lab]:
    assert PROGRAM.exists(), "bfdd is not installed: make lab, or apt-get install frr"
    assert shutil.which("vtysh")
    # Not pytest's directory: only its owner can enter that.
    with tempfile.TemporaryDirectory(prefix="frr-bfd-") as directory, Lab("frrbfd", Path(directory)) as lab:
        for name, address in (("lb1", OURS6), ("lb2", THEIRS6)):
            lab.host(name).ip(f"addr add {address}/64 dev e0 nodad")
        yield lab


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


def bfdd_on(lab: Lab, interval_ms: int = 50, *, peer: str = OURS, local: str = THEIRS, multiplier: int = 3) -> Bfdd:
    return Bfdd(lab.host("lb2"), lab.directory, interval_ms, peer=peer, local=local, multiplier=multiplier)


def ends_since(story: Story, count: int) -> list[tuple[str, bool]]:
    return story.ends[count:]


@pytest.mark.parametrize("interval_ms", [10, 50])
@pytest.mark.parametrize(("ours", "theirs"), [(OURS, THEIRS), (OURS6, THEIRS6)], ids=["ipv4", "ipv6"])
def test_a_session_comes_up_and_both_ends_know_the_numbers(
    lab: Lab, loop: Loop, interval_ms: int, ours: str, theirs: str
) -> None:
    bfdd = bfdd_on(lab, interval_ms, peer=ours, local=theirs, multiplier=PATIENT)
    bfdd.start()
    heartbeat, story = loop.add(lab.host("lb1"), session(ours, theirs, interval_ms / 1000, PATIENT))
    wait_for(lambda: heartbeat.state()["state"] == "Up", 20, "the session to come up")
    told = bfdd.wait_for_status("up")
    assert (told["remote-receive-interval"], told["remote-transmit-interval"]) == (interval_ms, interval_ms)
    assert told["remote-detect-multiplier"] == PATIENT
    assert told["remote-id"] == heartbeat.machine.discriminator
    wait_for(lambda: heartbeat.state()["detection_time_ms"] == PATIENT * interval_ms, 10, "their poll to be over")
    assert heartbeat.state()["transmit_interval_ms"] == interval_ms
    assert story.changes[0][1] == "up"
    assert "BFD session is up" in story.events


def test_a_session_with_different_intervals_takes_the_longer_ones(lab: Lab, loop: Loop) -> None:
    bfdd = bfdd_on(lab, 50)
    bfdd.start()
    heartbeat, _ = loop.add(lab.host("lb1"), session(OURS, THEIRS, 0.010, 5))
    bfdd.wait_for_status("up")
    wait_for(lambda: heartbeat.state()["detection_time_ms"] == 150, 10, "their poll to be over")
    wait_for(lambda: heartbeat.state()["transmit_interval_ms"] == 50, 10, "our poll to be over")
    assert bfdd.peer()["remote-detect-multiplier"] == 5


def test_we_notice_a_bfdd_that_was_killed_and_a_new_one(lab: Lab, loop: Loop) -> None:
    bfdd = bfdd_on(lab)
    bfdd.start()
    heartbeat, story = loop.add(lab.host("lb1"), session(OURS, THEIRS, 0.050))
    bfdd.wait_for_status("up")
    count = len(story.ends)
    bfdd.kill()
    wait_for(lambda: ends_since(story, count), 5, "us to notice")
    [(reason, planned)] = ends_since(story, count)
    assert "was not heard for 150.0 ms" in reason
    assert not planned
    bfdd.start()
    bfdd.wait_for_status("up")
    wait_for(lambda: heartbeat.state()["state"] == "Up", 20, "the session to come up again")


def test_both_ends_notice_a_cut_link_and_its_healing(lab: Lab, loop: Loop) -> None:
    bfdd = bfdd_on(lab)
    bfdd.start()
    heartbeat, story = loop.add(lab.host("lb1"), session(OURS, THEIRS, 0.050))
    bfdd.wait_for_status("up")
    count = len(story.ends)
    lab.cut("lb2")
    wait_for(lambda: ends_since(story, count), 5, "us to notice")
    assert not ends_since(story, count)[0][1]
    assert bfdd.wait_for_status("down")["diagnostic"] == "control detection time expired"
    lab.heal("lb2")
    bfdd.wait_for_status("up")
    wait_for(lambda: heartbeat.state()["state"] == "Up", 20, "the session to come up again")


def test_they_notice_our_death_and_our_new_life(lab: Lab, loop: Loop) -> None:
    bfdd = bfdd_on(lab)
    bfdd.start()
    heartbeat, _ = loop.add(lab.host("lb1"), session(OURS, THEIRS, 0.050))
    bfdd.wait_for_status("up")
    loop.remove(heartbeat)
    assert bfdd.wait_for_status("down")["diagnostic"] == "control detection time expired"
    loop.add(lab.host("lb1"), session(OURS, THEIRS, 0.050))
    bfdd.wait_for_status("up")


def test_our_planned_stop_is_no_failure_for_them(lab: Lab, loop: Loop) -> None:
    bfdd = bfdd_on(lab)
    bfdd.start()
    heartbeat, story = loop.add(lab.host("lb1"), session(OURS, THEIRS, 0.050))
    bfdd.wait_for_status("up")
    count = len(story.ends)
    loop.do(heartbeat.stop)
    told = bfdd.wait_for_status("down")
    assert told["diagnostic"] == "neighbor signaled session down"
    assert told["remote-diagnostic"] == "administratively down"
    assert ends_since(story, count) == []
    assert heartbeat.state()["state"] == "AdminDown"


def test_their_planned_stop_is_no_failure_for_us(lab: Lab, loop: Loop) -> None:
    bfdd = bfdd_on(lab)
    bfdd.start()
    _, story = loop.add(lab.host("lb1"), session(OURS, THEIRS, 0.050))
    bfdd.wait_for_status("up")
    count = len(story.ends)
    bfdd.vtysh("configure terminal", "bfd", f"peer {OURS} local-address {THEIRS}", "shutdown")
    wait_for(lambda: ends_since(story, count), 5, "us to hear of it")
    assert ends_since(story, count) == [("its session was ended on purpose", True)]
    assert ("notice", "BFD session is down") in [(level, event) for level, event, _ in story.logged]


def test_a_successor_goes_on_without_their_noticing(lab: Lab, loop: Loop) -> None:
    bfdd = bfdd_on(lab)
    bfdd.start()
    first, _ = loop.add(lab.host("lb1"), session(OURS, THEIRS, 0.050))
    up = bfdd.wait_for_status("up")

    def bequeath() -> dict[str, Any]:
        loop.heartbeats.remove(first)
        estate = first.bequeath()
        assert isinstance(estate, dict)
        return estate

    second, story = loop.add(lab.host("lb1"), session(OURS, THEIRS, 0.050), json.loads(json.dumps(loop.do(bequeath))))
    wait_for(lambda: second.state()["packets_received"] > 20, 10, "packets for the successor")
    told = bfdd.peer()
    assert told["status"] == "up"
    assert told["remote-id"] == up["remote-id"]
    assert told["remote-detect-multiplier"] == 3
    assert story.changes == []


def test_other_numbers_are_negotiated_while_the_session_is_up(lab: Lab, loop: Loop) -> None:
    bfdd = bfdd_on(lab)
    bfdd.start()
    heartbeat, _ = loop.add(lab.host("lb1"), session(OURS, THEIRS, 0.050))
    bfdd.wait_for_status("up")
    bfdd.vtysh("configure terminal", "bfd", f"peer {OURS} local-address {THEIRS}", "transmit-interval 80")
    wait_for(lambda: heartbeat.state()["detection_time_ms"] == 240, 10, "their new interval")
    loop.do(lambda: heartbeat.change(session(OURS, THEIRS, 0.100)))
    wait_for(lambda: bfdd.peer()["remote-transmit-interval"] == 100, 10, "them to hear of ours")
    wait_for(lambda: heartbeat.state()["transmit_interval_ms"] == 100, 10, "our poll to be answered")
    assert heartbeat.state()["state"] == "Up"


def dissect(host: Host, source: str, count: int) -> list[dict[str, Any]]:
    command = ["tshark", "-i", "e0", "-f", f"udp dst port 3784 and src host {source}", "-c", str(count)]
    output = host.run([*command, "-a", "duration:20", "-T", "json"], timeout_s=60)
    packets: list[dict[str, Any]] = json.loads(output.stdout)
    return [packet["_source"]["layers"] for packet in packets]


def test_tshark_dissects_our_packets(lab: Lab, loop: Loop) -> None:
    bfdd = bfdd_on(lab)
    bfdd.start()
    heartbeat, _ = loop.add(lab.host("lb1"), session(OURS, THEIRS, 0.040))
    told = bfdd.wait_for_status("up")
    packets = dissect(lab.host("lb1"), OURS, 5)
    assert len(packets) == 5
    ports = set()
    for layers in packets:
        ip, udp, bfd = layers["ip"], layers["udp"], layers["bfd"]
        assert (ip["ip.ttl"], ip["ip.dsfield"], ip["ip.dst"]) == ("255", "0xc0", THEIRS)
        assert udp["udp.checksum.status"] in ("1", "2"), udp  # good, or left to the network card
        ports.add(int(udp["udp.srcport"]))
        assert (bfd["bfd.version"], bfd["bfd.sta"], bfd["bfd.detect_time_multiplier"]) == ("1", "0x03", "3")
        assert int(bfd["bfd.my_discriminator"], 16) == heartbeat.machine.discriminator
        assert int(bfd["bfd.your_discriminator"], 16) == told["id"]
        assert (bfd["bfd.desired_min_tx_interval"], bfd["bfd.required_min_rx_interval"]) == ("40000", "40000")
        assert bfd["bfd.required_min_echo_interval"] == "0"
        assert "_ws.malformed" not in layers
    [port] = ports
    assert 49152 <= port <= 65535
