"""The decoders to be fuzzed: how each is fed from plain bytes, what it may raise, and messages that it accepts.

Rules that hold here:
* `feed` takes any bytes. What a decoder needs beside them (addresses, a family) is fixed, or taken from the first byte.
* Where a checksum would keep noise out of the rest of a decoder, a bit of the first byte has `feed` put the right one.
* What is accepted has to make sense: `feed` asserts what must hold of it.
* A decoder of `ha_lvs.wire` that needs nothing but bytes is found by itself, with no messages to start from; one that
  needs more has to be written down here, and a test fails until it is.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import Any

import ha_lvs.wire
from ha_lvs.daemon import channel, shapes
from ha_lvs.errors import ChannelError, WireError
from ha_lvs.health.probes.datagram import MOST_BYTES
from ha_lvs.health.speech.dns import DnsQuestion
from ha_lvs.model import (
    Authentication,
    Destination,
    DestinationKey,
    DnsCheck,
    Forwarding,
    IPAddress,
    Key,
    Protocol,
    Role,
    Service,
    ServiceKey,
    SyncDaemon,
    SyncState,
    VirtualRoute,
    VirtualRule,
)
from ha_lvs.wire import arp, auth, conn_table, icmp, ipvs_netlink, ipvs_rows, ndp, rtnetlink, tcp, vrrp
from ha_lvs.wire.rtnetlink import ways

IPVS_FAMILY = 30
SOURCE: dict[int, IPAddress] = {4: IPv4Address("10.9.0.11"), 6: IPv6Address("fe80::11")}
GROUP: dict[int, IPAddress] = {4: vrrp.MULTICAST_GROUP, 6: vrrp.MULTICAST_GROUP6}
MAC = bytes.fromhex("020000000001")
AUTHENTICATION = Authentication((Key(1, "ab" * 32),), 1, True)
NOBODYS_KEY = Authentication((Key(1, "cd" * 32), Key(2, "ef" * 32)), 1, True)

SIX, SEAL, MEASURE = 1, 2, 4  # bits of the first byte: IPv6, put the checksum right, put the length right


@dataclass(frozen=True, slots=True)
class Decoder:
    """A decoder as it is fuzzed.

    Arguments:
        feed: gives it these bytes; the result is what came out, all of it.
        error: what it may raise, and nothing else.
        seeds: input of `feed` that is accepted.
        covers: names of the functions that are fuzzed by it, with their modules.
        stretched: makes an accepted input of about so many bytes, as one message that holds a lot; None where a message
            is short by nature.
    """

    feed: Callable[[bytes], object]
    error: type[Exception]
    seeds: tuple[bytes, ...] = ()
    covers: frozenset[str] = frozenset()
    stretched: Callable[[int], bytes] | None = None


# ------------------------------------------------------------------------------------------------ network


def _datagram(data: bytes) -> vrrp.Datagram:
    flags = data[0] if data else 0
    family = 6 if flags & SIX else 4
    payload, source, to = data[1:], SOURCE[family], GROUP[family]
    if flags & SEAL and len(payload) >= 8:
        bare = payload[:6] + b"\0\0" + payload[8:]
        # Written out here and not by `vrrp`: by the RFC's words, whatever the decoder makes of them.
        if payload[0] >> 4 == 2:
            pseudo = b""
        elif family == 4:
            pseudo = source.packed + to.packed + struct.pack("!BBH", 0, 112, len(payload) & 0xFFFF)
        else:
            pseudo = source.packed + to.packed + struct.pack("!II", len(payload), 112)
        payload = payload[:6] + vrrp.checksum(pseudo + bare).to_bytes(2, "big") + payload[8:]
    return vrrp.Datagram(payload, source, to, 255)


def _vrrp(data: bytes) -> object:
    datagram = _datagram(data)
    assert 0 <= vrrp.router_id_of(datagram.payload) <= 255
    assert 0 <= vrrp.version_of(datagram.payload) <= 15
    found = vrrp.decode(datagram)
    again = vrrp.encode(found, datagram.source, datagram.destination)
    assert vrrp.decode(replace(datagram, payload=again)) == found
    assert len(again) == len(datagram.payload)
    return found


def _strip_ipv4(data: bytes) -> object:
    datagram = vrrp.strip_ipv4(data)
    assert datagram.payload in data
    return datagram


_VERIFIER = auth.Verifier(NOBODYS_KEY)


def _auth(data: bytes) -> object:
    """Nobody gets in without a key, whatever is sent and whatever is called its trailer."""
    datagram = _datagram(data)
    payload = datagram.payload
    trailers = (b"", payload, payload[-44:], b"HA" + payload[-42:], b"HA" + payload[2:10])
    verdicts = [_VERIFIER.check(datagram, trailer) for trailer in trailers]
    assert auth.Verdict.VALID not in verdicts
    assert _VERIFIER.seen() == {}
    return verdicts


def _restore(data: bytes) -> object:
    try:
        seen = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise ValueError(str(problem)) from problem
    verifier = auth.Verifier(AUTHENTICATION)
    verifier.restore(seen)
    again = verifier.seen()
    assert sum(map(len, again.values())) <= auth.MAX_WINDOWS
    return again


def _ndp(data: bytes) -> object:
    flags, frame = (data[0] if data else 0), data[1:]
    if flags & MEASURE and len(frame) >= 54:
        frame = frame[:18] + struct.pack("!H", min(len(frame) - 54, 0xFFFF)) + frame[20:]
    if flags & SEAL and len(frame) >= 58:
        length = int.from_bytes(frame[18:20], "big")
        message = frame[54 : 54 + length]
        bare = frame[22:54] + struct.pack("!II", length, 58) + message[:2] + b"\0\0" + message[4:]
        frame = frame[:56] + vrrp.checksum(bare).to_bytes(2, "big") + frame[58:]
    found = ndp.decode(frame)
    assert len(found.mac) == 6
    assert not found.address.is_multicast
    return found


def _ipvs_rows(data: bytes) -> object:
    found = list(ipvs_rows.decode(data, IPVS_FAMILY))
    for message in found:
        if isinstance(message.body, ipvs_rows.ServiceRow):
            message.body.service()
        elif isinstance(message.body, ipvs_rows.DestinationRow):
            message.body.destination()
    assert len(found) <= len(data) // 16
    return found


def _rtnetlink(data: bytes) -> object:
    found = list(rtnetlink.decode(data))
    assert len(found) <= len(data) // 16
    return found


def _icmp(data: bytes) -> object:
    flags, message = (data[0] if data else 0), data[1:]
    version = 6 if flags & SIX else 4
    if flags & SEAL and len(message) >= 8:
        bare = message[:2] + b"\0\0" + message[4:]
        message = message[:2] + vrrp.checksum(bare).to_bytes(2, "big") + message[4:]
    found = icmp.decode_reply(message, version)
    assert message.endswith(found.payload)
    return found


_QUESTION = DnsQuestion(DnsCheck("www.example.org", "MX", ("10 mail.example.org.",)))


def _dns(data: bytes) -> object:
    """A judge rather than a decoder: it has something to say of everything, and it is short."""
    outcome = _QUESTION.judge(data[:MOST_BYTES], 513)
    assert outcome is None or 0 < len(outcome.reason) < 400
    if data in _GOOD_ANSWERS:
        assert outcome is not None
        assert outcome.success
    return outcome


# ------------------------------------------------------------------------------------------------- seeds


def _advertisements() -> Iterator[bytes]:
    signer = auth.Signer(AUTHENTICATION)
    for version, family in ((3, 4), (3, 6), (2, 4)):
        addresses = tuple(ip_address(int(SOURCE[family]) + 100 + at) for at in range(3))
        what = vrrp.Advertisement(51, 150, 100, addresses, version)
        flags = bytes([SEAL | (SIX if family == 6 else 0)])
        yield flags + vrrp.encode(what, SOURCE[family], GROUP[family])
        yield flags + vrrp.encode_signed(what, SOURCE[family], GROUP[family], signer, 1_790_000_000_000_000_000)


def _ip_packets() -> Iterator[bytes]:
    for options in (b"", b"\1" * 8):
        head = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, 0xC0, 28 + len(options), 0, 0, 255, 112, 0)
        yield head + SOURCE[4].packed + GROUP[4].packed + options + b"8 bytes."


def _ipvs_messages() -> Iterator[bytes]:
    for address in (IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")):
        key = ServiceKey(address, 80, Protocol.TCP)
        yield ipvs_netlink.new_service(IPVS_FAMILY, 7, Service(key, "rr", 300, ""))
        yield ipvs_netlink.new_destination(
            IPVS_FAMILY, 8, key, Destination(DestinationKey(address, 8080), Forwarding.DR, 10, "")
        )
    yield ipvs_netlink.new_daemon(IPVS_FAMILY, 9, SyncDaemon(SyncState.MASTER, "e1", 5))
    attributes = struct.pack("=HHIHHI", 8, 1, 0x010201, 8, 2, 4096)
    yield struct.pack("=IHHIIBBH", 20 + len(attributes), IPVS_FAMILY, 0, 5, 0, 14, 1, 0) + attributes
    text = struct.pack("=HH", 4 + 9, 1) + b"too long\0"
    body = struct.pack("=i", -22) + bytes(16) + text
    yield struct.pack("=IHHII", 16 + len(body), 2, 0x300, 5, 0) + body
    yield struct.pack("=IHHIIi", 20, 3, 2, 5, 0, 0)


def _route_messages() -> Iterator[bytes]:
    yield rtnetlink.add_address(IPv4Address("10.9.0.100"), 32, 3, 6, 1, label="e0:web")
    yield rtnetlink.add_address(IPv6Address("2001:db8::100"), 128, 3, None, 2)
    yield rtnetlink.create_macvlan("vrrp51", 3, MAC, 3)
    yield rtnetlink.delete_link(3, 3)
    network = IPv4Network("192.0.2.0/24")
    yield rtnetlink.add_route(VirtualRoute(network, via=IPv4Address("10.9.0.1"), table=1000, metric=5), 3, 4)
    yield rtnetlink.add_route(VirtualRoute(network, via=IPv6Address("fe80::1")), 3, 5)
    yield rtnetlink.add_rule(VirtualRule(100, network, network, 7, 1000), 6)
    yield struct.pack("=IHHIIi", 36, 2, 0, 7, 0, -17) + bytes(16)
    yield struct.pack("=IHHIIi", 20, 3, 2, 8, 0, 0)


def _frames() -> Iterator[bytes]:
    state = channel.InstanceState("edge", Role.ACTIVE, 150, 1.5, 2, "10.9.0.12", 100, "it fell silent", True)
    for frame in (
        channel.Hello(),
        state,
        channel.LogRecord("info", "role is active", {"priority": 150, "detail": None, "ratio": 0.5}),
        channel.OfferRole("edge", (SOURCE[4], SOURCE[6]), 3.0),
        channel.Duplicate("edge", SOURCE[4], "02:00:00:00:00:01"),
        channel.InstanceEstate("edge", {"machine": [1, 2, {"a": None}]}),
        channel.ForgetEndpoints(()),
    ):
        yield json.dumps([type(frame).__name__, shapes.to_json(frame)]).encode()


def _neighbour_advertisements() -> Iterator[bytes]:
    frame = ndp.announcement(IPv6Address("2001:db8::100"), MAC)
    yield bytes([SEAL]) + frame + bytes(4)
    yield bytes([SEAL | MEASURE]) + frame


def _long_neighbour_advertisement(length: int) -> bytes:
    options = b"\x0e\1nonce!" * (length // 8)
    return bytes([SEAL | MEASURE]) + ndp.announcement(IPv6Address("2001:db8::100"), MAC) + options


def _long_ipvs_message(length: int) -> bytes:
    """A destination behind many attributes that are not known."""
    address = IPv4Address("192.0.2.1")
    destination = Destination(DestinationKey(address, 8080), Forwarding.DR, 10, "")
    data = ipvs_netlink.new_destination(IPVS_FAMILY, 8, ServiceKey(address, 80, Protocol.TCP), destination)
    body = b"\4\0\x40\0" * (length // 4) + data[20:]
    return struct.pack("=I", 20 + len(body)) + data[4:20] + body


def _long_route_message(length: int) -> bytes:
    data = rtnetlink.add_address(IPv4Address("10.9.0.100"), 32, 3, 6, 1)
    body = data[16:] + b"\4\0\x40\0" * (length // 4)
    return struct.pack("=I", 16 + len(body)) + data[4:16] + body


def _long_frame(length: int) -> bytes:
    frame = channel.PeersFound((SOURCE[4],) * (length // 14))
    return json.dumps([type(frame).__name__, shapes.to_json(frame)]).encode()


def _long_record(length: int) -> bytes:
    return json.dumps({f"10.9.{at // 250}.{at % 250}": {"51": at} for at in range(length // 24)}).encode()


def _bfd_packets() -> Iterator[bytes]:
    for flags, yours in ((0xC0, 9), (0x40, 0), (0xD0, 9)):
        yield struct.pack("!BBBBIIIII", 0x20, flags, 3, 24, 5, yours, 3000, 3000, 0)


def _echo_replies() -> Iterator[bytes]:
    for version, flags, kind in ((4, SEAL, 0), (6, SIX, 129)):
        yield bytes([flags, kind]) + icmp.request(version, icmp.Echo(7, 8, b"nonce"))[1:]


def _dns_answers() -> Iterator[bytes]:
    question = _QUESTION.query(513)[12:]
    record = b"\xc0\x0c\0\x0f\0\1\0\0\0\x3c"
    short, long = b"\0\x09\0\x0a\4mail\xc0\x10", b"\0\x14\0\x0a\4mail\7example\3org\0"
    for count, data in ((1, record + short), (2, record + short + record + long)):
        yield b"\2\1\x81\x80\0\1" + count.to_bytes(2, "big") + bytes(4) + question + data


_GOOD_ANSWERS = tuple(_dns_answers())


def _long_dns_answer(length: int) -> bytes:
    both = _GOOD_ANSWERS[1]
    head, record = both[:12], both[33:54]
    count = length // len(record)
    return head[:6] + count.to_bytes(2, "big") + head[8:] + both[12:33] + record * count


def _connections(data: bytes) -> object:
    """The table in two pieces."""
    reader = conn_table.TableReader()
    reader.feed(data[: len(data) // 2])
    reader.feed(data[len(data) // 2 :] + b"\n")
    found = reader.handshakes()
    assert all(len(each.names) <= each.waiting for each in found.values())
    return found or None


def _connection_rows(ports: range) -> bytes:
    row = "TCP 0A09001F {:04X} 0A090064 0050 0A090015 0050 SYN_RECV         58\n"
    return "".join(row.format(port) for port in ports).encode()


_WRITTEN = {
    "vrrp": Decoder(
        _vrrp,
        WireError,
        tuple(_advertisements()),
        frozenset({"vrrp.decode", "vrrp.router_id_of", "vrrp.version_of", "vrrp.checksum"}),
    ),
    "vrrp_ipv4": Decoder(_strip_ipv4, WireError, tuple(_ip_packets()), frozenset({"vrrp.strip_ipv4"})),
    "auth": Decoder(_auth, WireError, tuple(_advertisements())),
    "auth_restore": Decoder(
        _restore, ValueError, (b'{"10.9.0.11": {"51": 1790000000000000000}, "fe80::1": {"1": 0}}',)
    ),
    "arp": Decoder(
        arp.decode,
        WireError,
        (arp.announcement(IPv4Address("10.9.0.100"), MAC), arp.probe(IPv4Address("10.9.0.100"), MAC) + bytes(18)),
        frozenset({"arp.decode"}),
    ),
    "ndp": Decoder(
        _ndp,
        WireError,
        tuple(_neighbour_advertisements()),
        frozenset({"ndp.decode"}),
        _long_neighbour_advertisement,
    ),
    "ipvs_rows": Decoder(
        _ipvs_rows, WireError, tuple(_ipvs_messages()), frozenset({"ipvs_rows.decode"}), _long_ipvs_message
    ),
    "rtnetlink": Decoder(
        _rtnetlink,
        WireError,
        tuple(_route_messages()),
        frozenset({"rtnetlink.decode", "rtnetlink.decode_item", "rtnetlink.links.decode_link"}),
        _long_route_message,
    ),
    "icmp": Decoder(_icmp, WireError, tuple(_echo_replies()), frozenset({"icmp.decode_reply"})),
    "dns": Decoder(_dns, WireError, _GOOD_ANSWERS, stretched=_long_dns_answer),
    "conn_table": Decoder(
        _connections,
        WireError,
        (_connection_rows(range(1000, 1000 + conn_table.LEAST_WAITING)),),
        stretched=lambda length: _connection_rows(range(1000, 1000 + length // 50)),
    ),
    "channel": Decoder(channel.decode, ChannelError, tuple(_frames()), stretched=_long_frame),
}


def _segments() -> Iterator[bytes]:
    """SYN/ACKs and RSTs, as servers answer."""
    for family, to in ((4, IPv4Address("10.9.0.21")), (6, IPv6Address("fd00:9::21"))):
        flow = tcp.Flow(to, SOURCE[family] if family == 4 else IPv6Address("fd00:9::11"), 80, 40000)
        yield flow.reset(7)
        yield flow.syn(7) + bytes(6)


def _ways() -> Iterator[bytes]:
    for address in (IPv4Address("10.9.0.21"), IPv6Address("fd00:9::21")):
        asked = ways.find_way(address, 1, source=address, index=3, mark=5)[16:]
        for kind in (1, 2):
            yield asked[:7] + bytes([kind]) + asked[8:]


def _neighbours() -> Iterator[bytes]:
    for address in (IPv4Address("10.9.0.21"), IPv6Address("fd00:9::21")):
        yield ways.find_neighbour(3, address, 1)[16:] + struct.pack("=HH", 10, 2) + MAC + bytes(2)


_SEEDS = {
    "bfd.decode": tuple(_bfd_packets()),
    "icmp.strip_ipv4": (bytes([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 9, 0, 21, 10, 9, 0, 11]) + bytes(8),),
    "ip.decode": tuple(_segments()),
    "tcp.decode": tuple(_segments()),
    "tcp.decode_segment": tuple(packet[20 if packet[0] >> 4 == 4 else 40 :] for packet in _segments()),
    "rtnetlink.ways.decode_way": tuple(_ways()),
    "rtnetlink.ways.decode_neighbour": tuple(_neighbours()),
}  # of decoders that are found by themselves


# ------------------------------------------------------------------------------------------ finding decoders


def _readers() -> Iterator[tuple[str, Callable[..., Any], bool]]:
    """Public functions of `ha_lvs.wire` that decode: name, function, whether they need nothing but bytes."""
    for info in pkgutil.walk_packages(ha_lvs.wire.__path__, "ha_lvs.wire."):
        module = importlib.import_module(info.name)
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("_") or function.__module__ != info.name:
                continue
            parameters = list(inspect.signature(function).parameters.values())
            first = str(parameters[0].annotation) if parameters else ""
            if name.startswith(("decode", "strip")) or first in ("bytes", "Datagram"):
                needed = [each for each in parameters if each.default is inspect.Parameter.empty]
                yield (
                    info.name.removeprefix("ha_lvs.wire.") + "." + name,
                    function,
                    first == "bytes" == "".join(str(each.annotation) for each in needed),
                )


def _to_the_end(function: Callable[[bytes], Any]) -> Callable[[bytes], object]:
    def feed(data: bytes) -> object:
        found = function(data)
        return list(found) if isinstance(found, Iterator) else found

    return feed


def _all() -> tuple[dict[str, Decoder], tuple[str, ...]]:
    decoders = dict(_WRITTEN)
    covered = frozenset[str]().union(*(decoder.covers for decoder in decoders.values()))
    left: list[str] = []
    for name, function, plain in _readers():
        if name in covered:
            continue
        if plain:
            decoders[name] = Decoder(_to_the_end(function), WireError, _SEEDS.get(name, ()), frozenset({name}))
        else:
            left.append(name)
    return decoders, tuple(left)


DECODERS, NOT_FUZZED = _all()
"""The decoders by name, and what decodes and is not among them, which must be nothing."""
