"""Frames between processes: what is sent arrives as it was, over real socket pairs."""

from __future__ import annotations

import os
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.daemon import memory
from ha_lvs.daemon.channel import (
    FRAMES,
    Channel,
    EndpointState,
    Follow,
    Hello,
    InstanceState,
    LogRecord,
    Stop,
    Suspect,
    WatchEndpoints,
    decode,
    pair,
)
from ha_lvs.daemon.shapes import from_json, to_json
from ha_lvs.errors import ChannelError
from ha_lvs.model import (
    Check,
    CheckType,
    ElectorPart,
    Endpoint,
    HttpCheck,
    OnStop,
    Role,
    ServerState,
    ServicesChange,
    Timeouts,
    VirtualIp,
    VrrpInstance,
)

ENDPOINTS = (
    Endpoint(ip_address("10.9.0.21"), 80, Check(CheckType.HTTP, http=HttpCheck(path="/healthz", host="example"))),
    Endpoint(ip_address("2001:db8::1"), 443, Check(CheckType.TCP)),
)
EXAMPLES = [
    Hello(),
    Stop(),
    LogRecord("info", "role is active", {"priority": 150, "detail": None, "ratio": 0.5, "yes": True}),
    InstanceState("edge", Role.ACTIVE, 150, 1.5, 2, "10.9.0.12", 100, "it fell silent", True),
    WatchEndpoints(ENDPOINTS),
    Suspect(ENDPOINTS),
    EndpointState(ENDPOINTS[0], ServerState.DOWN, "HTTP 503", 1.25),
]


@pytest.fixture
def channels():  # type: ignore[no-untyped-def]
    left, right = pair()
    ends = Channel(left), Channel(right)
    yield ends
    for end in ends:
        end.close()


@pytest.mark.parametrize("frame", EXAMPLES, ids=lambda frame: type(frame).__name__)
def test_a_frame_arrives_as_it_was_sent(channels: tuple[Channel, Channel], frame: object) -> None:
    left, right = channels
    assert left.send(frame)
    assert right.receive() == [frame]


def test_frames_keep_their_order_and_their_bounds(channels: tuple[Channel, Channel]) -> None:
    left, right = channels
    for frame in EXAMPLES:
        left.send(frame)
    assert right.receive() == EXAMPLES
    assert right.receive() == []


def test_a_descriptor_goes_beside_the_frame_that_it_belongs_to(channels: tuple[Channel, Channel]) -> None:
    left, right = channels
    change = ServicesChange("abc", (), ("web",), OnStop.KEEP, 30.0, Timeouts(udp=5), (("conn_reuse_mode", 0),))
    ours = memory.write("services", change)
    left.send(Hello())
    left.send(Follow(), ours)
    left.send(Stop())
    os.close(ours)
    first, follow, last = right.receive()
    assert (first, last) == (Hello(), Stop())
    assert memory.read(ServicesChange, follow.fd) == change


def refers_to(fd: int, file: os.stat_result) -> bool:
    try:
        found = os.fstat(fd)
    except OSError:  # of the directory that was listed
        return False
    return (found.st_dev, found.st_ino) == (file.st_dev, file.st_ino)


def test_a_descriptor_that_nobody_asked_for_is_closed(channels: tuple[Channel, Channel]) -> None:
    left, right = channels
    ours = memory.write("services", [])
    for _ in range(20):
        left.send(Hello(), ours)
    assert right.receive() == [Hello()] * 20
    file = os.fstat(ours)
    assert [fd for fd in (int(each.name) for each in Path("/proc/self/fd").iterdir()) if refers_to(fd, file)] == [ours]
    os.close(ours)


def test_a_reader_that_is_gone_is_noticed_and_harms_nobody(channels: tuple[Channel, Channel]) -> None:
    left, right = channels
    right.close()
    assert left.send(Hello()) is False
    assert left.receive() == []
    assert left.closed


def test_a_reader_that_sleeps_does_not_block_the_sender(channels: tuple[Channel, Channel]) -> None:
    left, right = channels
    sent = 0
    while left.send(EXAMPLES[4]):
        sent += 1
        assert sent < 1_000_000
    assert len(right.receive()) == sent


@given(st.binary(max_size=60))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ChannelError):
        decode(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
)
def test_a_frame_of_the_wrong_shape_is_refused(data: object) -> None:
    for name in set(FRAMES) - {"Hello", "Stop", "Alive", "Ready", "Follow"}:
        with pytest.raises(ChannelError):
            from_json(FRAMES[name], data)


def test_the_part_of_the_elector_survives_the_way() -> None:
    instance = VrrpInstance(
        name="edge",
        interface="e0",
        router_id=51,
        priority=150,
        interval_s=1,
        preempt=True,
        source=IPv4Address("10.9.0.11"),
        peers=(),
        group=IPv4Address("224.0.0.18"),
        virtual_ips=(VirtualIp(IPv4Address("10.9.0.100"), 32, "e0"),),
        lease_s=None,
        announce_repeat=5,
        announce_interval_s=1.0,
    )
    part = ElectorPart("lb1", (instance,))
    assert from_json(ElectorPart, to_json(part)) == part
