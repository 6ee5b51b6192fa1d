"""The little HTTP/2 that a health check needs (RFC 9113): frames, and the header block of one request.

Rules that hold here:
* Pure, bytes to values.
* Header blocks are written without compression (RFC 7541: indexes of the static table, and literals that are not
  indexed) and so need no state.
* A frame that is longer than we allow (`MAX_FRAME`, the least that RFC 9113 section 4.2 has everybody accept) is an
  error; what is kept is one frame that is not complete.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME = 16384

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20

_HEADER_TABLE_SIZE, _ENABLE_PUSH, _MAX_HEADER_LIST_SIZE = 1, 2, 6
_HEAD = struct.Struct("!BHBBI")
_STATIC = {b":authority": 1, b":method": 2, b":path": 4, b":scheme": 6}
_STATIC_PAIRS = {(b":method", b"POST"): 3, (b":scheme", b"http"): 6, (b":scheme", b"https"): 7}


class NotHttp2(Exception):
    """What came is no HTTP/2; the text is the reason, for people."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame.

    Arguments:
        type, flags: numbers, as in section 6.
        stream: the stream's identifier; 0 for the connection.
        payload: without padding and priority.
    """

    type: int
    flags: int
    stream: int
    payload: bytes = b""


def encode(frame: Frame) -> bytes:
    """A frame as bytes."""
    length = len(frame.payload)
    return _HEAD.pack(length >> 16, length & 0xFFFF, frame.type, frame.flags, frame.stream) + frame.payload


def settings() -> bytes:
    """What we ask of a server: no dynamic table of headers, no pushed streams, short headers."""
    values = ((_HEADER_TABLE_SIZE, 0), (_ENABLE_PUSH, 0), (_MAX_HEADER_LIST_SIZE, MAX_FRAME))
    return encode(Frame(SETTINGS, 0, 0, b"".join(struct.pack("!HI", *each) for each in values)))


def header_block(fields: list[tuple[bytes, bytes]]) -> bytes:
    """Header fields as a header block (RFC 7541 section 6.1 and 6.2.2)."""
    block = b""
    for name, value in fields:
        pair, index = _STATIC_PAIRS.get((name, value)), _STATIC.get(name)
        if pair is not None:
            block += bytes([0x80 | pair])
        elif index is not None:
            block += bytes([index]) + _literal(value)
        else:
            block += b"\0" + _literal(name) + _literal(value)
    return block


def _literal(text: bytes) -> bytes:
    """A string without Huffman coding, behind its length as an integer with a prefix of 7 bits (section 5)."""
    length = len(text)
    if length < 127:
        return bytes([length]) + text
    head, length = b"\x7f", length - 127
    while length >= 128:
        head += bytes([0x80 | length & 0x7F])
        length >>= 7
    return head + bytes([length]) + text


class Frames:
    """Takes a server's bytes to pieces."""

    __slots__ = ("_first", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._first = True

    def take(self, part: bytes) -> Iterator[Frame]:
        """The frames that are complete with these bytes; to be asked for all of them.

        Errors: NotHttp2.
        """
        data = self._rest + part
        at = 0
        while len(data) - at >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            length = high << 16 | low
            if self._first and (kind != SETTINGS or flags & ACK or stream):
                raise NotHttp2("not HTTP/2: the server does not begin with its settings")
            if length > MAX_FRAME:
                raise NotHttp2(f"not HTTP/2: a frame of {length} bytes")
            end = at + _HEAD.size + length
            if end > len(data):
                break
            self._first = False
            payload = data[at + _HEAD.size : end]
            at = end
            yield Frame(kind, flags, stream & 0x7FFFFFFF, _stripped(kind, flags, payload))
        self._rest = data[at:]


def _stripped(kind: int, flags: int, payload: bytes) -> bytes:
    """The payload without padding and priority (sections 6.1 and 6.2)."""
    padding = 0
    if kind in (DATA, HEADERS) and flags & PADDED:
        if not payload or payload[0] >= len(payload):
            raise NotHttp2("not HTTP/2: more padding than there is")
        padding, payload = payload[0], payload[1:]
    if kind == HEADERS and flags & PRIORITY:
        if len(payload) - padding < 5:
            raise NotHttp2("not HTTP/2: a priority that is cut short")
        payload = payload[5:]
    return payload[: len(payload) - padding]
