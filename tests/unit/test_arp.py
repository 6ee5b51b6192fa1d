"""ARP frames: those of keepalived and of a kernel, our own, and what is refused."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha_lvs.errors import WireError
from ha_lvs.wire import arp

UNHURRIED = settings(deadline=None)  # the machine may be busy
MAC = bytes.fromhex("02000000bb02")
THEIR_MAC = bytes.fromhex("02000000aa01")
OURS = IPv4Address("10.9.0.12")
THEIRS = IPv4Address("10.9.0.11")
HEAD = "ffffffffffff 02000000bb02 0806 0001 0800 06 04 0001 02000000bb02"

addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
macs = st.binary(min_size=6, max_size=6)


def refusal(frame: bytes) -> str:
    with pytest.raises(WireError) as caught:
        arp.decode(frame)
    return caught.value.reason


@pytest.mark.parametrize(
    ("frame", "rest"),
    [
        (arp.announcement(OURS, MAC), "0a09000c 000000000000 0a09000c"),
        (arp.probe(THEIRS, MAC), "00000000 000000000000 0a09000b"),
        (arp.request(THEIRS, MAC, OURS), "0a09000c 000000000000 0a09000b"),
    ],
    ids=["announcement", "probe", "request"],
)
def test_the_bytes_of_a_frame(frame: bytes, rest: str) -> None:
    assert frame == bytes.fromhex(HEAD + rest)


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        (  # Linux 6.18 answers `probe`
            "02000000bb02 02000000aa01 0806 0001080006040002 02000000aa010a09000b 02000000bb0200000000",
            arp.ArpPacket(arp.REPLY, THEIR_MAC, THEIRS, IPv4Address("0.0.0.0")),
        ),
        (  # ... and `request`
            "02000000bb02 02000000aa01 0806 0001080006040002 02000000aa010a09000b 02000000bb020a09000c",
            arp.ArpPacket(arp.REPLY, THEIR_MAC, THEIRS, OURS),
        ),
        (  # keepalived 2.2.7 announces
            "ffffffffffff 02000000aa01 0806 0001080006040001 02000000aa010a090064 ffffffffffff0a090064",
            arp.ArpPacket(arp.REQUEST, THEIR_MAC, IPv4Address("10.9.0.100"), IPv4Address("10.9.0.100")),
        ),
    ],
    ids=["answer to a probe", "answer to a request", "announcement"],
)
@pytest.mark.parametrize("padding", [b"", b"\0" * 18], ids=["bare", "padded"])
def test_what_others_send_is_read(recorded: str, expected: arp.ArpPacket, padding: bytes) -> None:
    assert arp.decode(bytes.fromhex(recorded) + padding) == expected


@UNHURRIED
@given(addresses, macs, addresses)
def test_what_is_encoded_is_decoded(target: IPv4Address, mac: bytes, source: IPv4Address) -> None:
    assert arp.decode(arp.request(target, mac, source)) == arp.ArpPacket(arp.REQUEST, mac, source, target)
    assert arp.decode(arp.announcement(source, mac)) == arp.ArpPacket(arp.REQUEST, mac, source, source)
    assert arp.decode(arp.probe(target, mac)) == arp.ArpPacket(arp.REQUEST, mac, IPv4Address(0), target)


@pytest.mark.parametrize("length", [0, 13, 41])
def test_half_a_frame_is_refused(length: int) -> None:
    assert refusal(arp.announcement(OURS, MAC)[:length]) == "truncated"


@pytest.mark.parametrize(
    ("position", "value", "reason"),
    [
        (13, 0x00, "kind"),  # IPv4, not ARP
        (15, 6, "kind"),  # another hardware
        (16, 0x86, "kind"),  # another protocol
        (18, 8, "kind"),  # another length of hardware addresses
        (19, 16, "kind"),  # another length of protocol addresses
        (21, 3, "operation"),  # reverse ARP
        (21, 0, "operation"),
    ],
)
def test_what_is_no_arp_of_ours_is_refused(position: int, value: int, reason: str) -> None:
    frame = bytearray(arp.announcement(OURS, MAC))
    frame[position] = value
    assert refusal(bytes(frame)) == reason


@pytest.mark.parametrize("mac", [b"", MAC[:5], MAC + b"\0", b"\0" * 20], ids=len)
def test_another_hardware_address_than_an_ethernet_one_is_not_sent(mac: bytes) -> None:
    with pytest.raises(ValueError):
        arp.announcement(OURS, mac)
