"""VRRP advertisements: version 3 over IPv4 and IPv6 (RFC 9568 section 5), version 2 over IPv4 (RFC 3768 section 5).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |Version| Type  | Virtual Rtr ID|   Priority    | Addr Count    |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |Reserve| Max Advertise Interval|          Checksum             |   version 3: centiseconds
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |   Auth Type   |   Adver Int   |          Checksum             |   version 2: seconds
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                 addresses, 4 or 16 bytes each                 |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |            version 2: authentication data, 8 bytes            |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |     among directors with keys: the trailer of `wire.auth`     |

Rules that hold here:
* The checksum covers the whole message, in version 3 also a pseudo-header of source, destination, length and protocol.
* What a receiver has to verify (section 7.1) stands in `decode`, one reason for each way to fail, so that drops can be
  counted by cause. Authentication is judged by `wire.auth`: here a trailer is only cut off.
* The old authentication of version 2 is refused: it protects against nothing (RFC 3768 section 10).
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from ha_lvs.errors import WireError
from ha_lvs.model import IPAddress
from ha_lvs.wire.auth import MAGIC, TRAILER_BYTES, PrimedSigner, Signer

PROTOCOL_NUMBER = 112
HOP_LIMIT = 255
TYPE_ADVERTISEMENT = 1
MULTICAST_GROUP = IPv4Address("224.0.0.18")
MULTICAST_GROUP6 = IPv6Address("ff02::12")
MAX_ADDRESSES = 255

_HEADER = struct.Struct("!BBBBHH")
_PSEUDO_HEADERS = {4: struct.Struct("!4s4sxBH"), 6: struct.Struct("!16s16sI3xB")}
_CHECKSUM = struct.Struct("!H")
_CHECKSUM_AT = 6
_IPV4_MIN_HEADER = 20
_AUTHENTICATION_DATA = b"\0" * 8
_MAX_INTERVAL_CS = {2: 255 * 100, 3: 0x0FFF}


@dataclass(frozen=True, slots=True)
class Advertisement:
    """One advertisement.

    Arguments:
        router_id: 1 to 255.
        priority: 0 when the active resigns, else 1 to 255.
        interval_cs: the sender's advertisement interval in centiseconds: 1 to 4095 in version 3, whole seconds from
            100 to 25500 in version 2.
        addresses: the virtual IPs, in the sender's order, all of one family. Over IPv6 the first is to be link-local.
        version: of VRRP, 3 or 2.
        trailer: what proves the sender (`wire.auth`), or empty.
    """

    router_id: int
    priority: int
    interval_cs: int
    addresses: tuple[IPAddress, ...]
    version: int = 3
    trailer: bytes = b""


@dataclass(frozen=True, slots=True)
class Datagram:
    """What a raw socket delivered.

    Arguments:
        payload: the VRRP message, without IP header.
        source, destination: of the IP packet.
        hop_limit: TTL or hop limit with which it arrived.
    """

    payload: bytes
    source: IPAddress
    destination: IPAddress
    hop_limit: int


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of `data`, as it goes into a zeroed checksum field."""
    return _fold(_sum(data)) ^ 0xFFFF


def _sum(data: bytes) -> int:
    """The plain sum of the 16-bit words of `data`."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    return total


def _fold(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _pseudo_header(version: int, source: IPAddress, destination: IPAddress, length: int) -> bytes:
    """What the checksum covers beside the message itself: nothing in version 2."""
    if version == 2:
        return b""
    if source.version == 4:
        return _PSEUDO_HEADERS[4].pack(source.packed, destination.packed, PROTOCOL_NUMBER, length)
    return _PSEUDO_HEADERS[6].pack(source.packed, destination.packed, length, PROTOCOL_NUMBER)


# ------------------------------------------------------------------------------------------------ sending


def encode(advertisement: Advertisement, source: IPAddress, destination: IPAddress) -> bytes:
    """The VRRP message, without IP header, ready for a raw socket.

    Arguments:
        source, destination: of the IP packet; the checksum of version 3 covers them.

    Errors: ValueError for what the version or the family cannot express.
    """
    packet = _without_checksum(advertisement, source, destination) + advertisement.trailer
    pseudo = _pseudo_header(advertisement.version, source, destination, len(packet))
    return _with_checksum(packet, checksum(pseudo + packet))


def encode_signed(
    advertisement: Advertisement, source: IPAddress, destination: IPAddress, signer: Signer, counter: int
) -> bytes:
    """As `encode`, with the trailer that `signer` makes; `counter` as for `Signer.sign`."""
    return Prepared(advertisement, source, destination).bytes(signer, counter)


class Prepared:
    """An advertisement that is sent again and again, each time with another trailer.

    All that does not depend on the counter is computed once: message, sum, and the HMAC as far as it goes.

    Arguments: as for `encode`; the advertisement has no trailer yet.

    Errors: as for `encode`, and ValueError for an advertisement that has a trailer.
    """

    def __init__(self, advertisement: Advertisement, source: IPAddress, destination: IPAddress) -> None:
        if advertisement.trailer:
            raise ValueError("an advertisement that has a trailer already is not signed again")
        self._source = source
        self._destination = destination
        self._message = _without_checksum(advertisement, source, destination)
        length = len(self._message) + TRAILER_BYTES
        self._sum = _sum(_pseudo_header(advertisement.version, source, destination, length)) + _sum(self._message)
        self._signer: Signer | None = None
        self._primed: PrimedSigner | None = None

    def bytes(self, signer: Signer, counter: int) -> bytes:
        """The message with its trailer, ready for a raw socket; `counter` as for `Signer.sign`."""
        if self._primed is None or self._signer is not signer:
            self._signer = signer
            self._primed = signer.prime(self._message, self._source, self._destination)
        trailer = self._primed.trailer(counter)
        return _with_checksum(self._message + trailer, _fold(self._sum + _sum(trailer)) ^ 0xFFFF)


def _without_checksum(advertisement: Advertisement, source: IPAddress, destination: IPAddress) -> bytes:
    """The message without trailer, with 0 for its checksum."""
    version, interval_cs, addresses = advertisement.version, advertisement.interval_cs, advertisement.addresses
    if version not in _MAX_INTERVAL_CS or (version == 2 and source.version == 6):
        raise ValueError(f"there is no VRRP version {version} over IPv{source.version}")
    if not 0 < len(addresses) <= MAX_ADDRESSES:
        raise ValueError(f"an advertisement has 1 to {MAX_ADDRESSES} addresses, not {len(addresses)}")
    if {destination.version, *(address.version for address in addresses)} != {source.version}:
        raise ValueError(f"an advertisement from {source} has another family's address in it")
    if not 0 < interval_cs <= _MAX_INTERVAL_CS[version] or (version == 2 and interval_cs % 100):
        raise ValueError(f"VRRP version {version} has no advertisement interval of {interval_cs} centiseconds")
    body = b"".join(address.packed for address in addresses)
    if version == 2:  # authentication type 0 and the interval share what is the interval's in version 3
        interval_cs //= 100
        body += _AUTHENTICATION_DATA
    version_type = version << 4 | TYPE_ADVERTISEMENT
    router_id, priority = advertisement.router_id, advertisement.priority
    return _HEADER.pack(version_type, router_id, priority, len(addresses), interval_cs, 0) + body


def _with_checksum(packet: bytes, value: int) -> bytes:
    return packet[:_CHECKSUM_AT] + _CHECKSUM.pack(value) + packet[_CHECKSUM_AT + _CHECKSUM.size :]


# ---------------------------------------------------------------------------------------------- receiving


def strip_ipv4(packet: bytes) -> Datagram:
    """The datagram in an IPv4 packet as a raw socket delivers it, with the IP header in front (RFC 791).

    Errors: WireError `truncated` when it is not whole.
    """
    if len(packet) < _IPV4_MIN_HEADER or packet[0] >> 4 != 4:
        raise WireError("truncated", f"{len(packet)} bytes are no IPv4 packet")
    header_length = (packet[0] & 0x0F) * 4
    total_length = packet[2] << 8 | packet[3]
    if not _IPV4_MIN_HEADER <= header_length <= total_length <= len(packet):
        raise WireError("truncated", f"{len(packet)} bytes of an IPv4 packet of {total_length}")
    source, destination = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
    return Datagram(packet[header_length:total_length], source, destination, packet[8])


def router_id_of(payload: bytes) -> int:
    """The virtual router id in a message of any version; 0 when it has none."""
    return payload[1] if len(payload) > 1 else 0


def version_of(payload: bytes) -> int:
    """The version of a message; 0 when it is empty."""
    return payload[0] >> 4 if payload else 0


def decode(datagram: Datagram, min_hop_limit: int = HOP_LIMIT) -> Advertisement:
    """The advertisement in a datagram, of version 3 or 2.

    What stands behind it comes back as its trailer when it looks like one of `wire.auth`; nothing else may stand there.

    Arguments:
        min_hop_limit: the least TTL or hop limit; below 255 only for unicast peers that are routers away.

    Errors: WireError with one of the reasons `truncated`, `ttl`, `version`, `type`, `length`, `checksum`, `auth` (of
    version 2), `router_id`, `interval`. The addresses are not compared with anybody's config here (section 7.1 leaves
    that to the receiver).
    """
    payload, source = datagram.payload, datagram.source
    if len(payload) < _HEADER.size:
        raise WireError("truncated", f"{len(payload)} bytes of VRRP from {source}")
    if datagram.hop_limit < min_hop_limit:
        raise WireError("ttl", f"TTL {datagram.hop_limit} from {source}, must be at least {min_hop_limit}")
    version_type, router_id, priority, count, interval, _ = _HEADER.unpack_from(payload)
    version = version_type >> 4
    if version != 3 and (version != 2 or source.version == 6):
        raise WireError("version", f"version {version} from {source}")
    if version_type & 0x0F != TYPE_ADVERTISEMENT:
        raise WireError("type", f"type {version_type & 0x0F} from {source}")
    size = 4 if source.version == 4 else 16
    addresses_end = _HEADER.size + size * count
    end = addresses_end + (len(_AUTHENTICATION_DATA) if version == 2 else 0)
    trailer = payload[end:]
    if count == 0 or len(payload) < end or (trailer and not _is_trailer(trailer)):
        raise WireError("length", f"{len(payload)} bytes for {count} addresses from {source}")
    if checksum(_pseudo_header(version, source, datagram.destination, len(payload)) + payload):
        raise WireError("checksum", f"wrong checksum from {source}")
    if version == 2 and interval >> 8:
        raise WireError("auth", f"authentication type {interval >> 8} of version 2 from {source}")
    if router_id == 0:
        raise WireError("router_id", f"virtual router id 0 from {source}")
    interval_cs = interval & 0x0FFF if version == 3 else interval * 100
    if interval_cs == 0:
        raise WireError("interval", f"advertisement interval 0 from {source}")
    addresses = _addresses(payload[_HEADER.size : addresses_end], source.version)
    return Advertisement(router_id, priority, interval_cs, addresses, version, trailer)


@functools.lru_cache(maxsize=64)
def _addresses(packed: bytes, family: int) -> tuple[IPAddress, ...]:
    """Addresses of a family that stand side by side. They are the same in every advertisement of a virtual router, and
    making 255 of them takes ten times as long as all the rest of `decode`."""
    if family == 4:
        return tuple(IPv4Address(packed[at : at + 4]) for at in range(0, len(packed), 4))
    return tuple(IPv6Address(packed[at : at + 16]) for at in range(0, len(packed), 16))


def _is_trailer(data: bytes) -> bool:
    return len(data) == TRAILER_BYTES and data.startswith(MAGIC)
