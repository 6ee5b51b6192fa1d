"""Netlink messages and attributes: framing, batches of requests, answers (linux/netlink.h).

Rules that hold here:
* Fields are in host byte order, addresses in network order; messages and attributes are padded to 4 bytes.
* A request does not ask for an acknowledgement by itself. The kernel always answers what it refuses; `batches` has the
  last request of each batch acknowledged, so that its end can be seen. 500 addresses then cost a handful of answers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ha_lvs.errors import WireError

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_DUMP = 0x300
NLM_F_CREATE = 0x400
NLA_TYPE_MASK = 0x3FFF
AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10
ADDRESS_BYTES = {AF_INET: 4, AF_INET6: 16}
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253  # linux/rtnetlink.h, of addresses and routes
RT_TABLE_COMPAT = 252  # where the number of a table does not fit its byte; an attribute has it then

BATCH_MESSAGES = 128
"""In a batch at most: if all of them are refused, the answers fit any receive buffer."""

BATCH_BYTES = 1 << 15
"""In a batch at most: fits any send buffer, and the kernel copies it in one piece."""

_HEADER = struct.Struct("=IHHII")
_FLAGS = struct.Struct("=H")
_FLAGS_AT = 6
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
_U32 = struct.Struct("=I")


class Message(NamedTuple):
    """A message without its header."""

    kind: int
    flags: int
    sequence: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """The kernel's answer to a request, or the end of a dump: `errno` is 0 or a positive error number."""

    sequence: int
    errno: int


class Batch(NamedTuple):
    """Requests that travel in one `send`.

    Arguments:
        data: their bytes.
        last: sequence number of the last one, which is acknowledged.
    """

    data: bytes
    last: int


def request(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A request.

    Arguments:
        kind: RTM_*.
        flags: NLM_F_* beside NLM_F_REQUEST.
        sequence: comes back in the answer.
        body: what follows the header.
    """
    return _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST | flags, sequence, 0) + body


def attribute(kind: int, data: bytes) -> bytes:
    """An attribute, padded."""
    length = _ATTRIBUTE.size + len(data)
    return _ATTRIBUTE.pack(length, kind) + data + b"\0" * (-length % 4)


def attribute_u32(kind: int, value: int) -> bytes:
    """An attribute that is a number of 32 bits."""
    return attribute(kind, _U32.pack(value))


def batches(requests: Sequence[bytes]) -> tuple[Batch, ...]:
    """Requests put together for few `send` calls, in their order."""
    found: list[Batch] = []
    pending: list[bytes] = []
    size = 0
    for each in requests:
        if pending and (len(pending) == BATCH_MESSAGES or size + len(each) > BATCH_BYTES):
            found.append(_batch(pending))
            pending, size = [], 0
        pending.append(each)
        size += len(each)
    if pending:
        found.append(_batch(pending))
    return tuple(found)


def _batch(requests: Sequence[bytes]) -> Batch:
    last = bytearray(requests[-1])
    _, _, flags, sequence, _ = _HEADER.unpack_from(last)
    _FLAGS.pack_into(last, _FLAGS_AT, flags | NLM_F_ACK)
    return Batch(b"".join([*requests[:-1], bytes(last)]), sequence)


def messages(data: bytes) -> Iterator[Message]:
    """The messages in one datagram.

    Errors: WireError on bytes that are no netlink.
    """
    offset = 0
    while offset < len(data):
        if len(data) - offset < _HEADER.size:
            raise WireError("truncated", "netlink header")
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            raise WireError("length", f"netlink message of {length} bytes")
        yield Message(kind, flags, sequence, data[offset + _HEADER.size : offset + length])
        offset += (length + 3) & ~3


def reply(message: Message) -> Reply | None:
    """What a message answers; None when it is no answer but has content."""
    if message.kind not in (NLMSG_ERROR, NLMSG_DONE):
        return None
    errno = -_ERROR.unpack_from(message.body)[0] if len(message.body) >= _ERROR.size else 0
    return Reply(message.sequence, errno)


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes behind `offset` by their type; of a repeated one the last.

    Errors: WireError when they do not fit.
    """
    found: dict[int, bytes] = {}
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size or offset + length > len(data):
            raise WireError("length", f"netlink attribute of {length} bytes")
        found[kind & NLA_TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def u32(value: bytes | None, default: int = 0) -> int:
    """The number in an attribute; `default` when it is missing or of another size."""
    return default if value is None or len(value) != _U32.size else int(_U32.unpack(value)[0])
