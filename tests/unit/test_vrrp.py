"""VRRP version 3 bytes: a golden packet, round trips, and each way in which a packet is refused."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.errors import WireError
from ha_lvs.wire import vrrp

SOURCE = IPv4Address("10.9.0.11")
ADVERTISEMENT = vrrp.Advertisement(51, 150, 100, (IPv4Address("10.9.0.100"),))

addresses = st.builds(IPv4Address, st.integers(0, 2**32 - 1))
advertisements = st.builds(
    vrrp.Advertisement,
    router_id=st.integers(1, 255),
    priority=st.integers(0, 255),
    interval_cs=st.integers(1, 4095),
    addresses=st.lists(addresses, min_size=1, max_size=20).map(tuple),
)


def ip_packet(
    payload: bytes, *, ttl: int = 255, source: IPv4Address = SOURCE, to: IPv4Address = vrrp.MULTICAST_GROUP
) -> bytes:
    length = 20 + len(payload)
    return struct.pack("!BBHHHBBH", 0x45, 0xC0, length, 0, 0, ttl, 112, 0) + source.packed + to.packed + payload


def refusal(packet: bytes) -> str:
    with pytest.raises(WireError) as caught:
        vrrp.decode(packet)
    return caught.value.reason


def with_checksum(payload: bytes) -> bytes:
    pseudo = SOURCE.packed + vrrp.MULTICAST_GROUP.packed + struct.pack("!BBH", 0, 112, len(payload))
    zeroed = payload[:6] + b"\0\0" + payload[8:]
    return payload[:6] + struct.pack("!H", vrrp.checksum(pseudo + zeroed)) + payload[8:]


def test_the_bytes_of_a_known_advertisement() -> None:
    packet = vrrp.encode(ADVERTISEMENT, SOURCE, vrrp.MULTICAST_GROUP)
    assert packet[:6].hex() == "313396010064"
    assert packet[8:].hex() == "0a090064"
    # The sum by hand: addresses 0a09+000b+e000+0012, protocol 0070, length 000c, then the words of the packet.
    total = 0x0A09 + 0x000B + 0xE000 + 0x0012 + 0x0070 + 0x000C + 0x3133 + 0x9601 + 0x0064 + 0x0A09 + 0x0064
    total = (total & 0xFFFF) + (total >> 16)
    assert struct.unpack("!H", packet[6:8])[0] == ~total & 0xFFFF


@given(advertisement=advertisements, source=addresses, to=addresses)
def test_what_is_encoded_is_decoded(advertisement: vrrp.Advertisement, source: IPv4Address, to: IPv4Address) -> None:
    received = vrrp.decode(ip_packet(vrrp.encode(advertisement, source, to), source=source, to=to))
    assert received == vrrp.Received(advertisement, source, to)


@given(st.binary(max_size=100))
def test_arbitrary_bytes_raise_nothing_but_wire_error(data: bytes) -> None:
    try:
        vrrp.decode(data)
    except WireError:
        return
    assert data[8] == 255


@given(advertisement=advertisements, position=st.integers(0, 7), bit=st.integers(0, 7))
def test_one_flipped_bit_is_never_accepted(advertisement: vrrp.Advertisement, position: int, bit: int) -> None:
    payload = bytearray(vrrp.encode(advertisement, SOURCE, vrrp.MULTICAST_GROUP))
    payload[position] ^= 1 << bit
    assert refusal(ip_packet(bytes(payload))) in {"checksum", "version", "type", "length"}


def test_a_packet_that_was_routed_is_refused() -> None:
    payload = vrrp.encode(ADVERTISEMENT, SOURCE, vrrp.MULTICAST_GROUP)
    assert refusal(ip_packet(payload, ttl=254)) == "ttl"


@pytest.mark.parametrize(
    ("position", "value", "reason"),
    [(0, 0x21, "version"), (0, 0x32, "type"), (1, 0, "router_id"), (3, 2, "length"), (3, 0, "length")],
)
def test_fields_that_must_not_be(position: int, value: int, reason: str) -> None:
    payload = bytearray(vrrp.encode(ADVERTISEMENT, SOURCE, vrrp.MULTICAST_GROUP))
    payload[position] = value
    assert refusal(ip_packet(with_checksum(bytes(payload)))) == reason


def test_interval_zero_is_refused() -> None:
    payload = vrrp.encode(vrrp.Advertisement(51, 150, 0, ADVERTISEMENT.addresses), SOURCE, vrrp.MULTICAST_GROUP)
    assert refusal(ip_packet(payload)) == "interval"


def test_another_destination_than_the_checksum_covers_is_refused() -> None:
    payload = vrrp.encode(ADVERTISEMENT, SOURCE, vrrp.MULTICAST_GROUP)
    assert refusal(ip_packet(payload, to=IPv4Address("10.9.0.12"))) == "checksum"


@pytest.mark.parametrize("version", [2, 3])
def test_the_router_id_is_found_in_any_version(version: int) -> None:
    payload = bytearray(vrrp.encode(ADVERTISEMENT, SOURCE, vrrp.MULTICAST_GROUP))
    payload[0] = version << 4 | 1
    assert vrrp.router_id_of(ip_packet(bytes(payload))) == 51


@given(st.binary(max_size=40))
def test_bytes_without_a_router_id_have_none(data: bytes) -> None:
    assert 0 <= vrrp.router_id_of(data) <= 255
