"""TCP segments of half-open probes: a SYN goes out, SYN/ACK or RST comes back, a RST closes (RFC 9293).

Rules that hold here:
* A probe costs the director two sums of a few numbers: what is the same in each packet of a flow is worked out once.
* What is read is not verified by its checksum. The kernel does that where it can; packets of the same machine have none
  yet. Whoever asked knows an answer by the acknowledged number, which was random.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from ha_lvs.errors import WireError
from ha_lvs.model import IPAddress
from ha_lvs.wire import ip
from ha_lvs.wire.vrrp import checksum

SYN, RST, ACK = 0x02, 0x04, 0x10

_HEADER = struct.Struct("!HHIIBBHHH")
_OPTION = struct.Struct("!BBH")
_PORTS_AND_NUMBERS = struct.Struct("!HHIIBB")
_USUAL = struct.Struct("!BxHxxHxBxx4s4sHHIIBB")
_MAXIMUM_SEGMENT = 2  # the option that every client sends; some firewalls find a SYN without it strange
_SEGMENT_BYTES = {4: 1460, 6: 1440}
_WINDOW = 64240
_MODULUS = 1 << 32


class Answer(NamedTuple):
    """A segment from a server.

    Arguments:
        source, destination: packed addresses; the destination is empty where the kernel did not tell.
        source_port, destination_port: of TCP.
        sequence, acknowledgement: numbers of 32 bits.
        flags: SYN, RST, ACK and others.
    """

    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    sequence: int
    acknowledgement: int
    flags: int


class Flow:
    """Makes the packets of a director to a server, IP header included.

    Arguments:
        source, destination: of one family.
        source_port, destination_port: of TCP.
        hop_limit: TTL or hop limit.
    """

    __slots__ = ("_reset", "_syn")

    def __init__(
        self,
        source: IPAddress,
        destination: IPAddress,
        source_port: int,
        destination_port: int,
        hop_limit: int = ip.HOP_LIMIT,
    ) -> None:
        ends = (source, destination, source_port, destination_port, hop_limit)
        option = _OPTION.pack(_MAXIMUM_SEGMENT, _OPTION.size, _SEGMENT_BYTES[source.version])
        self._syn = _Segment(*ends, SYN, _WINDOW, option)
        self._reset = _Segment(*ends, RST, 0, b"")

    def syn(self, sequence: int) -> bytes:
        """The packet that asks for a connection.

        Arguments:
            sequence: the first number of our side, of 32 bits; the answer acknowledges the one after it.
        """
        return self._syn.packet(sequence)

    def reset(self, sequence: int) -> bytes:
        """The packet that ends what a SYN has begun.

        Arguments:
            sequence: what the other side has acknowledged.
        """
        return self._reset.packet(sequence)


class _Segment:
    """A packet that is always the same but for its sequence number and checksum."""

    __slots__ = ("_before", "_behind", "_flags", "_pack", "_sum")

    def __init__(
        self,
        source: IPAddress,
        destination: IPAddress,
        source_port: int,
        destination_port: int,
        hop_limit: int,
        flags: int,
        window: int,
        option: bytes,
    ) -> None:
        length = _HEADER.size + len(option)
        bare = _HEADER.pack(source_port, destination_port, 0, 0, length // 4 << 4, flags, window, 0, 0) + option
        self._before = ip.header(source, destination, ip.TCP, length, hop_limit) + bare[:4]
        self._flags = bare[8:16]
        self._behind = bare[18:]
        self._pack = struct.Struct(f"!{len(self._before)}sI8sH{len(self._behind)}s").pack
        self._sum = checksum(ip.pseudo_header(source, destination, ip.TCP, length) + bare) ^ 0xFFFF

    def packet(self, sequence: int) -> bytes:
        total = self._sum + (sequence >> 16) + (sequence & 0xFFFF)
        total = (total & 0xFFFF) + (total >> 16)
        total = (total & 0xFFFF) + (total >> 16)
        return self._pack(self._before, sequence, self._flags, total ^ 0xFFFF, self._behind)


def before(number: int) -> int:
    """The sequence number of the SYN that `number` acknowledges."""
    return (number - 1) % _MODULUS


def decode(packet: bytes) -> Answer:
    """The segment in an IP packet.

    Errors: WireError with the reasons of `ip.decode`, `kind` (no TCP) or those of `decode_segment`.
    """
    if len(packet) >= _USUAL.size:  # all at once what has no options of IP and is whole: nearly everything
        head, length, fragment, protocol, source, to, port, our_port, sequence, number, offset, flags = (
            _USUAL.unpack_from(packet)
        )
        offset = (offset >> 4) * 4
        whole = 20 <= offset <= length - 20 <= len(packet) - 20 and not fragment & 0x3FFF
        if whole and head == 0x45 and protocol == ip.TCP:
            return Answer(source, to, port, our_port, sequence, number, flags)
    source, destination, protocol, segment = ip.decode(packet)
    if protocol != ip.TCP:
        raise WireError("kind", f"IP protocol {protocol} is not TCP")
    return decode_segment(segment, source, destination)


def decode_segment(segment: bytes, source: bytes = b"", destination: bytes = b"") -> Answer:
    """The same of a segment without its IP header.

    Arguments:
        source, destination: packed addresses, as far as they are known.

    Errors: WireError with the reason `truncated` or `length`.
    """
    if len(segment) < _HEADER.size:
        raise WireError("truncated", f"{len(segment)} bytes are no TCP segment")
    source_port, destination_port, sequence, acknowledgement, offset, flags = _PORTS_AND_NUMBERS.unpack_from(segment)
    if not _HEADER.size <= (offset >> 4) * 4 <= len(segment):
        raise WireError("length", f"{len(segment)} bytes of a TCP segment with a header of {(offset >> 4) * 4}")
    return Answer(source, destination, source_port, destination_port, sequence, acknowledgement, flags)
