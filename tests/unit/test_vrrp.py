"""VRRP bytes: what keepalived sends, round trips, a sum by hand, and each way in which a message is refused."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha_lvs.errors import WireError
from ha_lvs.model import Authentication, IPAddress, Key
from ha_lvs.wire import vrrp
from ha_lvs.wire.auth import TRAILER_BYTES, Signer

UNHURRIED = settings(deadline=None)  # the machine may be busy
SOURCE = IPv4Address("10.9.0.11")
SOURCE6 = IPv6Address("fe80::ff:fe00:aa01")
ADVERTISEMENT = vrrp.Advertisement(51, 150, 100, (IPv4Address("10.9.0.100"),))
ADVERTISEMENT2 = replace(ADVERTISEMENT, version=2)
ADVERTISEMENT6 = replace(ADVERTISEMENT, addresses=(IPv6Address("fe80::100"), IPv6Address("2001:db8::100")))
TRAILER = b"HA" + bytes(range(TRAILER_BYTES - 2))
SIGNER = Signer(Authentication((Key(1, "00ff" * 16),), 1, True))

addresses4 = st.integers(0, 2**32 - 1).map(IPv4Address)
addresses6 = st.integers(0, 2**128 - 1).map(IPv6Address)


def families(version: int) -> st.SearchStrategy[st.SearchStrategy[IPAddress]]:
    return st.just(addresses4) if version == 2 else st.sampled_from([addresses4, addresses6])


@st.composite
def sent(draw: st.DrawFn) -> tuple[vrrp.Advertisement, IPAddress, IPAddress]:
    """An advertisement with its source and destination."""
    version = draw(st.sampled_from([2, 3]))
    addresses = draw(families(version))
    advertisement = vrrp.Advertisement(
        router_id=draw(st.integers(1, 255)),
        priority=draw(st.integers(0, 255)),
        interval_cs=draw(st.integers(1, 4095) if version == 3 else st.integers(1, 255).map(lambda s: s * 100)),
        addresses=tuple(draw(st.lists(addresses, min_size=1, max_size=20))),
        version=version,
        trailer=draw(st.just(b"") | st.binary(min_size=42, max_size=42).map(lambda rest: b"HA" + rest)),
    )
    return advertisement, draw(addresses), draw(addresses)


def arrived(payload: bytes, source: IPAddress = SOURCE, to: IPAddress | None = None, hops: int = 255) -> vrrp.Datagram:
    group = vrrp.MULTICAST_GROUP if source.version == 4 else vrrp.MULTICAST_GROUP6
    return vrrp.Datagram(payload, source, to or group, hops)


def refusal(datagram: vrrp.Datagram, min_hop_limit: int = 255) -> str:
    with pytest.raises(WireError) as caught:
        vrrp.decode(datagram, min_hop_limit)
    return caught.value.reason


def checksum_by_hand(payload: bytes, source: IPAddress, to: IPAddress) -> int:
    """RFC 1071 word by word: the dumb twin."""
    covered = payload[:6] + b"\0\0" + payload[8:]
    if payload[0] >> 4 == 3:
        length = len(payload)
        if source.version == 4:
            covered = source.packed + to.packed + bytes([0, 112]) + length.to_bytes(2, "big") + covered
        else:
            covered = source.packed + to.packed + length.to_bytes(4, "big") + bytes([0, 0, 0, 112]) + covered
    total = 0
    for at in range(0, len(covered), 2):
        total += int.from_bytes(covered[at : at + 2].ljust(2, b"\0"), "big")
        if total > 0xFFFF:
            total -= 0xFFFF
    return 0xFFFF - total


def sealed(payload: bytes, source: IPAddress = SOURCE) -> vrrp.Datagram:
    """As it arrives with the right checksum, whatever is in it."""
    datagram = arrived(payload, source)
    value = checksum_by_hand(payload, source, datagram.destination)
    return replace(datagram, payload=payload[:6] + value.to_bytes(2, "big") + payload[8:])


# --------------------------------------------------------------------------------- what keepalived 2.2.7 sends

KEEPALIVED_4 = [
    (
        "version 3",
        "45c0002400010000ff70d0820a09000be000001231339602006438e40a0900640a090065",
        vrrp.Advertisement(51, 150, 100, (IPv4Address("10.9.0.100"), IPv4Address("10.9.0.101"))),
    ),
    (
        "version 3, resigning",
        "45c0002400070000ff70d07c0a09000be0000012313300020064cee40a0900640a090065",
        vrrp.Advertisement(51, 0, 100, (IPv4Address("10.9.0.100"), IPv4Address("10.9.0.101"))),
    ),
    (
        "version 2",
        "45c0002800010000ff70d07e0a09000be00000122134780100015c5a0a0900660000000000000000",
        vrrp.Advertisement(52, 120, 100, (IPv4Address("10.9.0.102"),), 2),
    ),
    (
        "version 2, resigning",
        "45c0002800070000ff70d0780a09000be0000012213400010001d45a0a0900660000000000000000",
        vrrp.Advertisement(52, 0, 100, (IPv4Address("10.9.0.102"),), 2),
    ),
]
KEEPALIVED_6 = [
    ("3135c8020032312c", vrrp.Advertisement(53, 200, 50, ADVERTISEMENT6.addresses)),
    ("313500020032f92c", vrrp.Advertisement(53, 0, 50, ADVERTISEMENT6.addresses)),
]


@pytest.mark.parametrize(
    ("recorded", "advertisement"), [row[1:] for row in KEEPALIVED_4], ids=[row[0] for row in KEEPALIVED_4]
)
def test_what_keepalived_sends_over_ipv4_is_read_and_made(recorded: str, advertisement: vrrp.Advertisement) -> None:
    datagram = vrrp.strip_ipv4(bytes.fromhex(recorded))
    assert datagram == vrrp.Datagram(datagram.payload, SOURCE, vrrp.MULTICAST_GROUP, 255)
    assert vrrp.decode(datagram) == advertisement
    assert vrrp.encode(advertisement, SOURCE, vrrp.MULTICAST_GROUP) == datagram.payload


@pytest.mark.parametrize(("header", "advertisement"), KEEPALIVED_6, ids=["usual", "resigning"])
def test_what_keepalived_sends_over_ipv6_is_read_and_made(header: str, advertisement: vrrp.Advertisement) -> None:
    payload = bytes.fromhex(header + "fe80000000000000000000000000010020010db8000000000000000000000100")
    assert vrrp.decode(arrived(payload, SOURCE6)) == advertisement
    assert vrrp.encode(advertisement, SOURCE6, vrrp.MULTICAST_GROUP6) == payload


def test_the_simple_text_authentication_of_keepalived_is_refused() -> None:
    recorded = "45c0002800010000ff70d07e0a09000be0000012213678010102edd70a0900677365637265743132"
    assert refusal(vrrp.strip_ipv4(bytes.fromhex(recorded))) == "auth"


# ------------------------------------------------------------------------------------------------ round trips


def test_the_bytes_of_a_known_advertisement() -> None:
    packet = vrrp.encode(ADVERTISEMENT, SOURCE, vrrp.MULTICAST_GROUP)
    assert packet[:6].hex() == "313396010064"
    assert packet[8:].hex() == "0a090064"
    # The sum by hand: addresses 0a09+000b+e000+0012, protocol 0070, length 000c, then the words of the packet.
    total = 0x0A09 + 0x000B + 0xE000 + 0x0012 + 0x0070 + 0x000C + 0x3133 + 0x9601 + 0x0064 + 0x0A09 + 0x0064
    total = (total & 0xFFFF) + (total >> 16)
    assert struct.unpack("!H", packet[6:8])[0] == ~total & 0xFFFF


@UNHURRIED
@given(sent())
def test_what_is_encoded_is_decoded(what: tuple[vrrp.Advertisement, IPAddress, IPAddress]) -> None:
    advertisement, source, to = what
    payload = vrrp.encode(advertisement, source, to)
    assert int.from_bytes(payload[6:8], "big") == checksum_by_hand(payload, source, to)
    assert vrrp.decode(arrived(payload, source, to)) == advertisement
    assert vrrp.router_id_of(payload) == advertisement.router_id
    assert vrrp.version_of(payload) == advertisement.version


@UNHURRIED
@given(sent(), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_signing_step_by_step_gives_the_same_bytes(
    what: tuple[vrrp.Advertisement, IPAddress, IPAddress], first: int, second: int
) -> None:
    advertisement, source, to = what
    advertisement = replace(advertisement, trailer=b"")
    unsigned = vrrp.encode(advertisement, source, to)
    prepared = vrrp.Prepared(advertisement, source, to)
    for counter in (first, second):
        trailer = SIGNER.sign(unsigned[:6] + b"\0\0" + unsigned[8:], source, to, counter)
        whole = vrrp.encode(replace(advertisement, trailer=trailer), source, to)
        assert prepared.bytes(SIGNER, counter) == whole
        assert vrrp.encode_signed(advertisement, source, to, SIGNER, counter) == whole


def test_a_prepared_advertisement_takes_another_signer() -> None:
    other = Signer(Authentication((Key(2, "11" * 32),), 2, True))
    prepared = vrrp.Prepared(ADVERTISEMENT, SOURCE, vrrp.MULTICAST_GROUP)
    for signer in (SIGNER, other, SIGNER):
        expected = vrrp.encode_signed(ADVERTISEMENT, SOURCE, vrrp.MULTICAST_GROUP, signer, 7)
        assert prepared.bytes(signer, 7) == expected


@pytest.mark.parametrize("advertisement", [ADVERTISEMENT, ADVERTISEMENT2])
def test_the_most_addresses_that_an_advertisement_holds(advertisement: vrrp.Advertisement) -> None:
    full = replace(advertisement, addresses=tuple(IPv4Address(n) for n in range(vrrp.MAX_ADDRESSES)), trailer=TRAILER)
    assert vrrp.decode(arrived(vrrp.encode(full, SOURCE, vrrp.MULTICAST_GROUP))) == full


@pytest.mark.parametrize(
    ("advertisement", "source", "to"),
    [
        (replace(ADVERTISEMENT, version=4), SOURCE, vrrp.MULTICAST_GROUP),
        (replace(ADVERTISEMENT6, version=2), SOURCE6, vrrp.MULTICAST_GROUP6),
        (replace(ADVERTISEMENT, addresses=()), SOURCE, vrrp.MULTICAST_GROUP),
        (replace(ADVERTISEMENT, addresses=ADVERTISEMENT.addresses * 256), SOURCE, vrrp.MULTICAST_GROUP),
        (ADVERTISEMENT6, SOURCE, vrrp.MULTICAST_GROUP),
        (ADVERTISEMENT, SOURCE, vrrp.MULTICAST_GROUP6),
        (replace(ADVERTISEMENT, interval_cs=0), SOURCE, vrrp.MULTICAST_GROUP),
        (replace(ADVERTISEMENT, interval_cs=4096), SOURCE, vrrp.MULTICAST_GROUP),
        (replace(ADVERTISEMENT2, interval_cs=150), SOURCE, vrrp.MULTICAST_GROUP),
        (replace(ADVERTISEMENT2, interval_cs=25600), SOURCE, vrrp.MULTICAST_GROUP),
    ],
)
def test_what_cannot_be_expressed_is_not_sent(
    advertisement: vrrp.Advertisement, source: IPAddress, to: IPAddress
) -> None:
    with pytest.raises(ValueError):
        vrrp.encode(advertisement, source, to)


def test_an_advertisement_is_not_signed_twice() -> None:
    with pytest.raises(ValueError):
        vrrp.Prepared(replace(ADVERTISEMENT, trailer=TRAILER), SOURCE, vrrp.MULTICAST_GROUP)


# --------------------------------------------------------------------------------------------------- refusals


@UNHURRIED
@given(sent(), st.integers(0, 7), st.data())
def test_one_flipped_bit_is_never_accepted(
    what: tuple[vrrp.Advertisement, IPAddress, IPAddress], bit: int, data: st.DataObject
) -> None:
    advertisement, source, to = what
    payload = bytearray(vrrp.encode(advertisement, source, to))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << bit
    assert refusal(arrived(bytes(payload), source, to)) in {"checksum", "version", "type", "length"}


@pytest.mark.parametrize("version", [2, 3])
def test_an_advertisement_of_no_address_is_refused(version: int) -> None:
    assert (
        refusal(sealed(bytes([version << 4 | 1, 51, 150, 0, 0, 1, 0, 0]) + bytes(8 if version == 2 else 0))) == "length"
    )


@pytest.mark.parametrize("length", range(8))
def test_less_than_a_header_is_refused(length: int) -> None:
    assert refusal(arrived(vrrp.encode(ADVERTISEMENT, SOURCE, vrrp.MULTICAST_GROUP)[:length])) == "truncated"


def test_a_packet_that_was_routed_is_refused_unless_it_may_be() -> None:
    payload = vrrp.encode(ADVERTISEMENT, SOURCE, vrrp.MULTICAST_GROUP)
    assert refusal(arrived(payload, hops=254)) == "ttl"
    assert vrrp.decode(arrived(payload, hops=254), 254) == ADVERTISEMENT
    assert refusal(arrived(payload, hops=253), 254) == "ttl"


@pytest.mark.parametrize(
    ("position", "value", "reason"),
    [
        (0, 0x11, "version"),
        (0, 0x41, "version"),
        (0, 0x32, "type"),
        (0, 0x21, "length"),  # as version 2 it lacks the authentication data
        (1, 0, "router_id"),
        (3, 2, "length"),
        (3, 0, "length"),
    ],
)
def test_fields_that_must_not_be(position: int, value: int, reason: str) -> None:
    payload = bytearray(vrrp.encode(ADVERTISEMENT, SOURCE, vrrp.MULTICAST_GROUP))
    payload[position] = value
    assert refusal(sealed(bytes(payload))) == reason


@pytest.mark.parametrize(
    ("position", "value", "reason"),
    [(0, 0x31, "length"), (1, 0, "router_id"), (3, 3, "length"), (4, 1, "auth"), (4, 2, "auth"), (5, 0, "interval")],
)
def test_fields_that_must_not_be_in_version_2(position: int, value: int, reason: str) -> None:
    payload = bytearray(vrrp.encode(ADVERTISEMENT2, SOURCE, vrrp.MULTICAST_GROUP))
    payload[position] = value
    assert refusal(sealed(bytes(payload))) == reason


def test_version_2_over_ipv6_is_refused() -> None:
    payload = bytearray(vrrp.encode(ADVERTISEMENT6, SOURCE6, vrrp.MULTICAST_GROUP6))
    payload[0] = 0x21
    assert refusal(sealed(bytes(payload), SOURCE6)) == "version"


def test_interval_zero_is_refused_and_the_reserved_bits_are_not_looked_at() -> None:
    payload = bytearray(vrrp.encode(ADVERTISEMENT, SOURCE, vrrp.MULTICAST_GROUP))
    payload[4] |= 0xF0
    assert vrrp.decode(sealed(bytes(payload))) == ADVERTISEMENT
    payload[4:6] = b"\xf0\0"
    assert refusal(sealed(bytes(payload))) == "interval"


@pytest.mark.parametrize("source", [SOURCE, SOURCE6], ids=["IPv4", "IPv6"])
def test_another_destination_than_the_checksum_covers_is_refused(source: IPAddress) -> None:
    advertisement = ADVERTISEMENT if source.version == 4 else ADVERTISEMENT6
    datagram = arrived(vrrp.encode(advertisement, source, arrived(b"", source).destination), source)
    assert vrrp.decode(datagram) == advertisement
    elsewhere = ip_address(int(datagram.destination) + 1)
    assert refusal(replace(datagram, destination=elsewhere)) == "checksum"


def test_a_checksum_without_the_pseudo_header_is_refused_in_version_3() -> None:
    payload = vrrp.encode(ADVERTISEMENT, SOURCE, vrrp.MULTICAST_GROUP)
    bare = vrrp.checksum(payload[:6] + b"\0\0" + payload[8:])
    assert refusal(arrived(payload[:6] + bare.to_bytes(2, "big") + payload[8:])) == "checksum"


@pytest.mark.parametrize(
    "behind",
    [b"\0", b"\0" * TRAILER_BYTES, TRAILER[:-1], TRAILER + b"\0", b"ha" + TRAILER[2:], b"H", b"HA"],
    ids=["a byte", "zeros", "short", "long", "another magic", "half a magic", "a magic"],
)
@pytest.mark.parametrize("advertisement", [ADVERTISEMENT, ADVERTISEMENT2], ids=["version 3", "version 2"])
def test_nothing_but_a_trailer_may_stand_behind(behind: bytes, advertisement: vrrp.Advertisement) -> None:
    payload = vrrp.encode(advertisement, SOURCE, vrrp.MULTICAST_GROUP)
    assert refusal(sealed(payload + behind)) == "length"
    assert vrrp.decode(sealed(payload + TRAILER)) == replace(advertisement, trailer=TRAILER)


# -------------------------------------------------------------------------------------------- the IP header


def ip_packet(payload: bytes, options: bytes = b"", total_length: int | None = None) -> bytes:
    total = 20 + len(options) + len(payload) if total_length is None else total_length
    first = 0x45 + len(options) // 4
    header = struct.pack("!BBHHHBBH", first, 0xC0, total, 0, 0, 255, 112, 0)
    return header + SOURCE.packed + vrrp.MULTICAST_GROUP.packed + options + payload


@UNHURRIED
@given(st.binary(max_size=60), st.integers(0, 10))
def test_an_ip_header_with_options_is_stripped(payload: bytes, words: int) -> None:
    packet = ip_packet(payload, b"\1" * 4 * words)
    assert vrrp.strip_ipv4(packet) == arrived(payload)
    assert vrrp.strip_ipv4(packet + b"padding") == arrived(payload)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        ip_packet(b"")[:19],
        ip_packet(b"payload")[:-1],
        ip_packet(b"payload", total_length=19),
        b"\x44" + ip_packet(b"payload")[1:],
        b"\x4f" + ip_packet(b"payload")[1:],
        b"\x65" + ip_packet(b"payload")[1:],
    ],
    ids=["empty", "half a header", "a byte short", "less than a header", "short header", "long header", "version 6"],
)
def test_a_packet_that_is_not_whole_is_refused(packet: bytes) -> None:
    with pytest.raises(WireError) as caught:
        vrrp.strip_ipv4(packet)
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize(("payload", "router_id", "version"), [(b"", 0, 0), (b"\x31", 0, 3), (b"\x71\x05", 5, 7)])
def test_messages_of_any_kind_have_a_router_id_and_a_version(payload: bytes, router_id: int, version: int) -> None:
    assert (vrrp.router_id_of(payload), vrrp.version_of(payload)) == (router_id, version)


@UNHURRIED
@given(st.binary(max_size=1501))
def test_the_checksum_agrees_with_the_dumb_one(data: bytes) -> None:
    total = sum(byte << 8 if at % 2 == 0 else byte for at, byte in enumerate(data))
    assert (vrrp.checksum(data) + total) % 0xFFFF == 0
    assert 0 <= vrrp.checksum(data) <= 0xFFFF
