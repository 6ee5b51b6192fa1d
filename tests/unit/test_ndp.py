"""Neighbour discovery frames: those of keepalived and of a kernel, our own, and what is refused."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha_lvs.errors import WireError
from ha_lvs.wire import ndp

UNHURRIED = settings(deadline=None)  # the machine may be busy
MAC = bytes.fromhex("02000000bb02")
THEIR_MAC = bytes.fromhex("02000000aa01")
VIRTUAL = IPv6Address("2001:db8::100")
THEIRS = IPv6Address("2001:db8::11")
OURS = IPv6Address("2001:db8::12")
ICMP = 14 + 40

# keepalived 2.2.7 announces 2001:db8::100
KEEPALIVED = bytes.fromhex(
    "333300000001 02000000aa01 86dd 60000000 0020 3a ff"
    "20010db8000000000000000000000100 ff020000000000000000000000000001"
    "8800 4d2c 20000000 20010db8000000000000000000000100 0201 02000000aa01"
)
# Linux 6.18 answers `solicitation`, from an address of ours and from none
ANSWER = bytes.fromhex(
    "02000000bb02 02000000aa01 86dd 60000000 0020 3a ff"
    "20010db8000000000000000000000011 20010db8000000000000000000000012"
    "8800 e042 60000000 20010db8000000000000000000000011 0201 02000000aa01"
)
ANSWER_TO_ALL = bytes.fromhex(
    "333300000001 02000000aa01 86dd 60000000 0020 3a ff"
    "20010db8000000000000000000000011 ff020000000000000000000000000001"
    "8800 4f0a 20000000 20010db8000000000000000000000011 0201 02000000aa01"
)

addresses = st.integers(0, 2**128 - 1).map(IPv6Address)
unicast = addresses.filter(lambda address: not address.is_multicast)
macs = st.binary(min_size=6, max_size=6)


def icmp_checksum(frame: bytes) -> int:
    """RFC 4443 section 2.3, word by word: the dumb twin."""
    message = bytearray(frame[ICMP:])
    message[2:4] = b"\0\0"
    covered = frame[22:ICMP] + len(message).to_bytes(4, "big") + bytes([0, 0, 0, 58]) + bytes(message)
    total = 0
    for at in range(0, len(covered), 2):
        total += int.from_bytes(covered[at : at + 2].ljust(2, b"\0"), "big")
        if total > 0xFFFF:
            total -= 0xFFFF
    return 0xFFFF - total


def sealed(frame: bytes | bytearray) -> bytes:
    """With the right length and checksum, whatever is in it."""
    frame = bytes(frame[:18]) + (len(frame) - ICMP).to_bytes(2, "big") + bytes(frame[20:])
    return frame[: ICMP + 2] + icmp_checksum(frame).to_bytes(2, "big") + frame[ICMP + 4 :]


def refusal(frame: bytes) -> str:
    with pytest.raises(WireError) as caught:
        ndp.decode(frame)
    return caught.value.reason


def test_our_announcement_is_that_of_keepalived() -> None:
    assert ndp.announcement(VIRTUAL, THEIR_MAC) == KEEPALIVED


def test_a_router_says_that_it_is_one() -> None:
    frame = ndp.announcement(VIRTUAL, THEIR_MAC, router=True)
    expected = bytearray(KEEPALIVED)
    expected[ICMP + 4] = 0xA0
    assert frame == sealed(expected)


def test_the_bytes_of_a_solicitation() -> None:
    frame = ndp.solicitation(THEIRS, MAC, OURS)
    assert frame == sealed(
        bytes.fromhex(
            "3333ff000011 02000000bb02 86dd 60000000 0020 3a ff"
            "20010db8000000000000000000000012 ff0200000000000000000001ff000011"
            "8700 0000 00000000 20010db8000000000000000000000011 0101 02000000bb02"
        )
    )


def test_a_duplicate_address_probe_says_nothing_of_the_sender() -> None:
    frame = ndp.solicitation(IPv6Address("fe80::1234:5678"), MAC)
    assert frame == sealed(
        bytes.fromhex(
            "3333ff345678 02000000bb02 86dd 60000000 0018 3a ff"
            "00000000000000000000000000000000 ff0200000000000000000001ff345678"
            "8700 0000 00000000 fe800000000000000000000012345678"
        )
    )


@pytest.mark.parametrize(
    ("frame", "address"),
    [(KEEPALIVED, VIRTUAL), (ANSWER, THEIRS), (ANSWER_TO_ALL, THEIRS)],
    ids=["keepalived", "answer", "answer to all"],
)
@pytest.mark.parametrize("padding", [b"", b"\0" * 9], ids=["bare", "padded"])
def test_what_others_send_is_read(frame: bytes, address: IPv6Address, padding: bytes) -> None:
    assert ndp.decode(frame + padding) == ndp.Neighbour(address, THEIR_MAC)


@UNHURRIED
@given(unicast, macs, st.booleans())
def test_what_is_encoded_is_decoded(address: IPv6Address, mac: bytes, router: bool) -> None:
    frame = ndp.announcement(address, mac, router)
    assert frame == sealed(frame)
    assert ndp.decode(frame) == (address, mac)


@UNHURRIED
@given(addresses, macs, st.none() | addresses)
def test_a_solicitation_is_whole_and_no_advertisement(target: IPv6Address, mac: bytes, source: IPv6Address) -> None:
    frame = ndp.solicitation(target, mac, source)
    assert frame == sealed(frame)
    assert refusal(frame) == "kind"


def test_without_an_option_the_mac_is_that_of_the_frame() -> None:
    assert ndp.decode(sealed(ANSWER[:-8])) == (THEIRS, THEIR_MAC)


def test_other_options_are_passed_over() -> None:
    nonce = bytes.fromhex("0e01 010203040506")
    other = bytes.fromhex("0201 02000000dd04")
    assert ndp.decode(sealed(ANSWER[:-8] + nonce + other + nonce)) == (THEIRS, other[2:])


@pytest.mark.parametrize("length", [0, 13, 53])
def test_less_than_the_headers_is_refused(length: int) -> None:
    assert refusal(ANSWER[:length]) == "truncated"


def test_a_message_that_is_not_whole_is_refused() -> None:
    assert refusal(ANSWER[:-1]) == "truncated"
    assert refusal(sealed(ANSWER[: ICMP + 20])) == "length"


@pytest.mark.parametrize(
    ("position", "value", "reason"),
    [
        (12, 0x08, "kind"),  # no IPv6 frame
        (14, 0x40, "kind"),  # no IPv6 packet
        (20, 44, "kind"),  # a fragment
        (ICMP, 135, "kind"),  # a solicitation
        (21, 254, "ttl"),
        (ICMP + 1, 1, "code"),
        (ICMP + 8, 0xFF, "target"),
        (38, 0xFF, "flags"),  # solicited, and yet to a group
        (-7, 0, "option"),
        (-7, 2, "option"),
    ],
)
def test_fields_that_must_not_be(position: int, value: int, reason: str) -> None:
    frame = bytearray(ANSWER)
    frame[position] = value
    assert refusal(sealed(frame)) == reason


def test_a_link_layer_address_of_another_length_is_refused() -> None:
    assert refusal(sealed(ANSWER[:-8] + bytes.fromhex("0202") + b"\1" * 14)) == "option"


@pytest.mark.parametrize("lost", range(1, 8))
def test_half_an_option_is_refused(lost: int) -> None:
    assert refusal(sealed(ANSWER[:-lost])) == "option"


@pytest.mark.parametrize("position", [22, 38, 53, ICMP + 4, ICMP + 10, len(ANSWER) - 1])
def test_one_flipped_bit_is_never_accepted(position: int) -> None:
    frame = bytearray(ANSWER)
    frame[position] ^= 1
    assert refusal(bytes(frame)) == "checksum"


@pytest.mark.parametrize("mac", [b"", MAC[:5], MAC + b"\0", b"\0" * 20], ids=len)
def test_another_hardware_address_than_an_ethernet_one_is_not_sent(mac: bytes) -> None:
    with pytest.raises(ValueError):
        ndp.announcement(VIRTUAL, mac)
