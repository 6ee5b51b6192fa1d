"""Heartbeats on real sockets: two of ours, several sessions on one interface, packets that must not count."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.daemon.heartbeat import Heartbeat
from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.errors import PlatformError
from ha_lvs.kernel.bfd import BfdSocket
from ha_lvs.wire import bfd
from ha_lvs.wire.bfd import Control, State
from tests.heartbeats import Loop, Story, loops, session

pytestmark = pytest.mark.netns

LB1, LB2, C1 = "10.9.0.11", "10.9.0.12", "10.9.0.31"
DOWN = Control(State.DOWN, 0, 3, 77, 0, 1_000_000, 20_000)
NO_SESSION = bfd.encode(Control(State.DOWN, 0, 3, 77, 99, 1_000_000, 20_000))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("bfd", tmp_path) as lab:
        for number, name in enumerate(("lb1", "lb2"), start=11):
            lab.host(name).ip(f"addr add fd09::{number}/64 dev e0 nodad", f"addr add fe80::{number}/64 dev e0 nodad")
        yield lab


@pytest.fixture
def two() -> Iterator[list[Loop]]:
    """A loop for each end."""
    with loops(2) as made:
        yield made


def wait_for_up(*heartbeats: Heartbeat) -> None:
    """Waits until all are up and at their pace."""

    def paces() -> list[object]:
        states = [each.state() for each in heartbeats]
        return [(each["state"], each["transmit_interval_ms"], each["detection_time_ms"]) for each in states]

    intervals = [each.session.interval_s * 1000 for each in heartbeats]
    wanted = [("Up", interval, 3 * interval) for interval in intervals]
    wait_for(lambda: paces() == wanted, 20, "the sessions to come up")


def pair(
    lab: Lab, two: list[Loop], a: str = LB1, b: str = LB2
) -> tuple[tuple[Heartbeat, Story], tuple[Heartbeat, Story]]:
    """A session between lb1 and lb2 that is up."""
    left = two[0].add(lab.host("lb1"), session(a, b))
    right = two[1].add(lab.host("lb2"), session(b, a))
    wait_for_up(left[0], right[0])
    return left, right


def send(host: Host, payload: bytes, to: str, *, ttl: int = 255) -> None:
    """A packet from another process of a host."""
    with host.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        sock.sendto(payload, (to, bfd.PORT))


@pytest.mark.parametrize(
    ("a", "b"), [(LB1, LB2), ("fd09::11", "fd09::12"), ("fe80::11", "fe80::12")], ids=["ipv4", "ipv6", "link-local"]
)
def test_two_of_ours_come_up_and_one_notices_the_death_of_the_other(lab: Lab, two: list[Loop], a: str, b: str) -> None:
    (left, story), (right, _) = pair(lab, two, a, b)
    count = len(story.ends)
    two[1].remove(right)
    wait_for(lambda: len(story.ends) > count, 5, "lb1 to notice")
    reason, planned = story.ends[count]
    assert "was not heard for 60.0 ms" in reason
    assert not planned
    assert ("warning", "BFD session is down") in [(level, event) for level, event, _ in story.logged]
    assert left.state()["remote_state"] == "Down"


def test_a_planned_stop_arrives_as_such(lab: Lab, two: list[Loop]) -> None:
    (_, story), (right, _) = pair(lab, two)
    count = len(story.ends)
    two[1].do(right.stop)
    two[1].remove(right)
    wait_for(lambda: len(story.ends) > count, 5, "lb1 to hear of it")
    assert story.ends[count] == ("its session was ended on purpose", True)


def test_sessions_of_one_interface_and_address_do_not_mix(lab: Lab, two: list[Loop]) -> None:
    near, far = two
    to_lb2, story_lb2 = near.add(lab.host("lb1"), session(LB1, LB2))
    to_c1, story_c1 = near.add(lab.host("lb1"), session(LB1, C1, 0.030))
    lb2, _ = far.add(lab.host("lb2"), session(LB2, LB1))
    c1, _ = far.add(lab.host("c1"), session(C1, LB1, 0.030))
    assert to_lb2.fileno() == to_c1.fileno()
    wait_for_up(to_lb2, to_c1, lb2, c1)
    assert to_lb2.machine.remote_discriminator == lb2.machine.discriminator
    assert to_c1.machine.remote_discriminator == c1.machine.discriminator
    count, other = len(story_lb2.ends), len(story_c1.ends)
    far.remove(lb2)
    wait_for(lambda: len(story_lb2.ends) > count, 5, "lb1 to notice that lb2 is gone")
    assert len(story_c1.ends) == other
    near.remove(to_lb2)  # the other one keeps the socket
    received = to_c1.state()["packets_received"]
    wait_for(lambda: to_c1.state()["packets_received"] > received + 20, 10, "packets for the session with c1")
    assert to_c1.state()["state"] == "Up"


@pytest.mark.parametrize(
    ("payload", "ttl", "reason"),
    [
        pytest.param(bfd.encode(DOWN), 254, "ttl", id="through a router"),
        pytest.param(bytes([0x20, 0x44]) + bfd.encode(DOWN)[2:], 255, "authentication", id="authenticated"),
        pytest.param(bfd.encode(DOWN)[:20], 255, "truncated", id="truncated"),
        pytest.param(NO_SESSION, 255, "discriminator", id="no session"),
    ],
)
def test_a_packet_that_must_not_count_does_not(
    lab: Lab, two: list[Loop], payload: bytes, ttl: int, reason: str
) -> None:
    (left, story), _ = pair(lab, two)
    count = len(story.ends)
    send(lab.host("lb2"), payload, LB1, ttl=ttl)
    wait_for(lambda: left.state()["packets_dropped"].get(reason) == 1, 5, "the packet to be dropped")
    assert [end for end in story.ends[count:] if end[1]] == []  # nobody said that its end is down
    assert "BFD packet dropped" in story.events


def test_a_stranger_is_not_heard(lab: Lab, two: list[Loop]) -> None:
    (left, _), _ = pair(lab, two)
    send(lab.host("c1"), bfd.encode(DOWN), LB1)
    wait_for(lambda: left.state()["packets_dropped"].get("stranger") == 1, 5, "the packet to be dropped")


def test_the_same_packet_from_the_far_end_with_a_ttl_of_255_does_count(lab: Lab, two: list[Loop]) -> None:
    (_, story), _ = pair(lab, two)
    count = len(story.ends)
    send(lab.host("lb2"), bfd.encode(DOWN), LB1)
    wait_for(lambda: len(story.ends) > count, 5, "lb1 to hear of a new life")
    assert any("started anew" in reason and planned for reason, planned in story.ends[count:])


def test_a_successor_goes_on_from_the_same_port_without_a_change(lab: Lab, two: list[Loop]) -> None:
    (left, _), (right, story) = pair(lab, two)
    count = len(story.changes)

    def bequeath(heartbeat: Heartbeat) -> Any:
        two[0].heartbeats.remove(heartbeat)
        return heartbeat.bequeath()

    estate = two[0].do(lambda: bequeath(left))
    successor, its_story = two[0].add(lab.host("lb1"), session(LB1, LB2), json.loads(json.dumps(estate)))
    wait_for(lambda: successor.state()["packets_received"] > 20, 10, "packets for the successor")
    assert (successor.state()["state"], right.state()["state"]) == ("Up", "Up")
    assert two[0].do(lambda: bequeath(successor))["source_port"] == estate["source_port"]
    assert its_story.changes == []
    assert story.changes[count:] == []


@pytest.mark.parametrize("estate", [{"peer": LB2}, {"peer": "10.9.0.99"}, {"peer": LB2, "machine": {"state": 9}}])
def test_an_estate_that_does_not_fit_is_left_aside(lab: Lab, two: list[Loop], estate: dict[str, Any]) -> None:
    left, _ = two[0].add(lab.host("lb1"), session(LB1, LB2), estate)
    right, _ = two[1].add(lab.host("lb2"), session(LB2, LB1))
    wait_for_up(left, right)


def test_the_far_end_bears_a_pause_that_was_announced(lab: Lab, two: list[Loop]) -> None:
    (left, _), (_, story) = pair(lab, two)
    count = len(story.ends)

    def pause() -> None:
        left.brace(1.0)
        time.sleep(0.5)  # the loop does not get its turn, as during long work: that is what is tried here

    two[0].do(pause)
    wait_for(lambda: left.state()["state"] == "Up", 5, "the session to be up afterwards")
    assert [end for end in story.ends[count:] if "was not heard" in end[0]] == []


def test_an_interface_that_was_made_anew_is_used_again(lab: Lab) -> None:
    lb1, lb2 = lab.host("lb1"), lab.host("lb2")

    def plug() -> None:
        lb1.ip(f"link add x0 type veth peer name x0 netns {lb2.namespace}")
        for host, address in ((lb1, "10.8.0.1"), (lb2, "10.8.0.2")):
            host.ip(f"addr add {address}/24 dev x0", "link set x0 up")

    plug()
    with Loop(lb1) as near, Loop(lb2) as far:
        left, story = near.add(lb1, session("10.8.0.1", "10.8.0.2", interface="x0"))
        right, _ = far.add(lb2, session("10.8.0.2", "10.8.0.1", interface="x0"))
        wait_for_up(left, right)
        lb1.ip("link del x0")
        wait_for(lambda: left.state()["state"] == right.state()["state"] == "Down", 5, "both ends to notice")
        wait_for(lambda: "BFD socket failed" in story.events, 5, "lb1 to say why")
        plug()
        wait_for_up(left, right)


def test_a_port_that_is_taken_is_told(lab: Lab) -> None:
    with lab.host("lb1").inside():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind((LB1, bfd.PORT))
            with pytest.raises(PlatformError, match=r"3784 of 10\.9\.0\.11 is taken"):
                BfdSocket(session(LB1, LB2), 5)
        BfdSocket(session(LB1, LB2), 5).close()  # nothing was left behind


def test_an_interface_that_is_missing_is_told(lab: Lab) -> None:
    with lab.host("lb1").inside(), pytest.raises(PlatformError, match="nosuch"):
        BfdSocket(session(LB1, LB2, interface="nosuch"), 5)


def test_no_other_user_of_the_machine_can_share_our_ports(lab: Lab) -> None:
    with lab.host("lb1").inside():
        ours = BfdSocket(session(LB1, LB2), 5)
        for port in (bfd.PORT, ours.source_port):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
                thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                with pytest.raises(OSError, match="in use"):
                    thief.bind((LB1, port))
        ours.close()
