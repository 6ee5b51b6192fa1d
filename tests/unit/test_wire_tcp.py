"""Packets of half-open probes: bytes, checksums by another road, and what is refused."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.errors import WireError
from ha_lvs.model import Encapsulation, IPAddress, Tunnel, TunnelChecksum
from ha_lvs.wire import ip, tcp, tunnels

ports = st.integers(1, 65535)
numbers = st.integers(0, 2**32 - 1)
hops = st.integers(1, 255)
addresses4 = st.builds(IPv4Address, st.integers(0, 2**32 - 1))
addresses6 = st.builds(IPv6Address, st.integers(0, 2**128 - 1))
pairs = st.tuples(addresses4, addresses4) | st.tuples(addresses6, addresses6)
US, THEM = IPv4Address("10.9.0.11"), IPv4Address("10.9.0.21")
US6, THEM6 = IPv6Address("fd00:9::11"), IPv6Address("fd00:9::21")
GUE = Encapsulation(Tunnel.GUE, 6080)


def ones_complement(data: bytes) -> int:
    """The sum of RFC 1071 as a child would add it: 0xFFFF for data with a right checksum in it."""
    total = 0
    for at in range(0, len(data), 2):
        total += data[at] * 256 + (data[at + 1] if at + 1 < len(data) else 0)
        if total > 0xFFFF:
            total -= 0xFFFF
    return total


def summed(source: IPAddress, destination: IPAddress, protocol: int, segment: bytes) -> int:
    """The same with the pseudo-header, written out by the RFCs' figures."""
    if source.version == 4:
        pseudo = source.packed + destination.packed + bytes([0, protocol]) + len(segment).to_bytes(2, "big")
    else:
        pseudo = source.packed + destination.packed + len(segment).to_bytes(4, "big") + bytes([0, 0, 0, protocol])
    return ones_complement(pseudo + segment)


def header_bytes(packet: bytes) -> int:
    return 20 if packet[0] >> 4 == 4 else 40


def reason(function: Any, data: bytes) -> str:
    with pytest.raises(WireError) as caught:
        function(data)
    return caught.value.reason


@given(pairs, ports, ports, numbers, hops)
def test_what_is_built_is_read_and_sums_up(
    pair: tuple[Any, Any], source_port: int, destination_port: int, sequence: int, hop_limit: int
) -> None:
    source, destination = pair
    flow = tcp.Flow(source, destination, source_port, destination_port, hop_limit)
    for packet, flags in ((flow.syn(sequence), tcp.SYN), (flow.reset(sequence), tcp.RST)):
        assert tcp.decode(packet) == tcp.Answer(
            source.packed, destination.packed, source_port, destination_port, sequence, 0, flags
        )
        start = header_bytes(packet)
        assert summed(source, destination, 6, packet[start:]) == 0xFFFF
        if source.version == 4:
            assert ones_complement(packet[:start]) == 0xFFFF
            assert packet[8] == hop_limit
        else:
            assert packet[7] == hop_limit


def test_the_bytes_of_a_syn() -> None:
    packet = tcp.Flow(US, THEM, 40000, 80).syn(0x01020304)
    words = [packet[at : at + 4].hex() for at in range(0, len(packet), 4)]
    assert words[:2] == ["4500002c", "00004000"]  # 44 bytes, not to be fragmented
    assert words[2].startswith("4006")  # TTL 64, TCP
    assert words[3:5] == ["0a09000b", "0a090015"]
    assert words[5:9] == ["9c400050", "01020304", "00000000", "6002faf0"]
    assert words[10:] == ["020405b4"]  # a maximum segment of 1460


def test_padding_behind_a_packet_means_nothing() -> None:
    packet = tcp.Flow(US, THEM, 40000, 80).reset(7)
    assert tcp.decode(packet + bytes(6)) == tcp.decode(packet)


def test_options_of_ip_and_tcp_are_passed_over() -> None:
    segment = struct.pack("!HHIIBBHHH", 80, 40000, 1, 8, 0xA0, tcp.SYN | tcp.ACK, 0, 0, 0) + bytes(20)
    head = struct.pack("!BBHHHBBH4s4s", 0x47, 0, 28 + len(segment), 0, 0, 64, 6, 0, THEM.packed, US.packed) + b"\1" * 8
    assert tcp.decode(head + segment) == tcp.Answer(THEM.packed, US.packed, 80, 40000, 1, 8, tcp.SYN | tcp.ACK)


def test_the_number_before_the_first_is_the_last() -> None:
    assert tcp.before(0) == 2**32 - 1
    assert tcp.before(8) == 7


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (b"", "version"),
        (b"\x50" * 60, "version"),
        (b"\x45" * 19, "truncated"),
        (b"\x60" + bytes(38), "truncated"),
        (b"\x60" + bytes(3) + b"\0\x28\6\x40" + bytes(40), "length"),
        (ip.header(US, THEM, 6, 20), "length"),
        (ip.header(US, THEM, 6, 19) + bytes(19), "truncated"),
        (ip.header(US, THEM, 17, 20) + bytes(20), "kind"),
        (ip.header(US6, THEM6, 44, 20) + bytes(20), "kind"),
        (ip.header(US, THEM, 6, 20) + bytes(12) + b"\xf0" + bytes(7), "length"),
        (ip.header(US, THEM, 6, 20) + bytes(12) + b"\x40" + bytes(7), "length"),
        (ip.header(US, THEM, 6, 20)[:6] + b"\x20\0" + ip.header(US, THEM, 6, 20)[8:] + bytes(20), "fragment"),
        (b"\x44" + ip.header(US, THEM, 6, 20)[1:] + bytes(20), "length"),
    ],
)
def test_what_is_no_segment_is_refused(packet: bytes, why: str) -> None:
    assert reason(tcp.decode, packet) == why


# --------------------------------------------------------------------------------------------------- tunnels

inners = st.sampled_from([tcp.Flow(US, THEM, 1, 2).syn(3), tcp.Flow(US6, THEM6, 1, 2).reset(3)])


@given(pairs, inners)
def test_ip_in_ip_puts_a_header_in_front(pair: tuple[Any, Any], inner: bytes) -> None:
    source, destination = pair
    outer = ip.decode(tunnels.wrap(tunnels.PLAIN, source, destination, inner))
    assert outer == ip.Packet(source.packed, destination.packed, 4 if inner[0] >> 4 == 4 else 41, inner)


@given(pairs, inners, st.sampled_from([TunnelChecksum.NONE, TunnelChecksum.FULL]))
def test_gre_names_what_is_inside(pair: tuple[Any, Any], inner: bytes, checked: TunnelChecksum) -> None:
    outer = ip.decode(tunnels.wrap(Encapsulation(Tunnel.GRE, checksum=checked), *pair, inner))
    kind = b"\x08\0" if inner[0] >> 4 == 4 else b"\x86\xdd"
    assert outer.protocol == 47
    if checked is TunnelChecksum.NONE:
        assert outer.payload == b"\0\0" + kind + inner
    else:
        assert outer.payload[:4] == b"\x80\0" + kind
        assert outer.payload[6:] == b"\0\0" + inner
        assert ones_complement(outer.payload) == 0xFFFF


@given(pairs, inners, st.sampled_from(list(TunnelChecksum)), ports)
def test_gue_is_udp_with_four_bytes_more(
    pair: tuple[Any, Any], inner: bytes, checked: TunnelChecksum, port: int
) -> None:
    source, destination = pair
    how = Encapsulation(Tunnel.GUE, 6080, checked)
    outer = ip.decode(tunnels.wrap(how, source, destination, inner, source_port=port))
    assert outer.protocol == 17
    sent_from, sent_to, length, value = struct.unpack_from("!HHHH", outer.payload)
    assert (sent_from, sent_to, length) == (port, 6080, len(outer.payload))
    assert outer.payload[8:] == bytes([0, 4 if inner[0] >> 4 == 4 else 41, 0, 0]) + inner
    if checked is TunnelChecksum.NONE:
        assert value == 0
    else:
        assert value != 0
        assert summed(source, destination, 17, outer.payload) == 0xFFFF


@pytest.mark.parametrize("inner", [b"", b"\x50" + bytes(40)])
def test_only_packets_are_wrapped(inner: bytes) -> None:
    with pytest.raises(ValueError):
        tunnels.wrap(GUE, ip_address("10.9.0.11"), ip_address("10.9.0.21"), inner)
