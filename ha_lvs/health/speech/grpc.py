"""The health check of gRPC: `grpc.health.v1.Health/Check` over HTTP/2, in one request.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md and doc/PROTOCOL-HTTP2.md.

Rules that hold here:
* Pure, bytes to values.
* The request is sent with the preface, before the server has said anything, which RFC 9113 section 3.4 allows.
* The check ends with the message that has the status; the trailers behind it are not waited for. An answer without a
  message has failed. Of its headers only the HTTP and gRPC status are looked for, for the reason: no decoder is needed.
* `MAX_ANSWER` bytes of a message, as many of headers, and `MAX_FRAMES` frames are read at most.
"""

from __future__ import annotations

import struct
from urllib.parse import quote

from ha_lvs import __version__
from ha_lvs.health.speech import http2
from ha_lvs.health.speech.dialogue import Outcome, Reply, excerpt
from ha_lvs.health.speech.http2 import Frame, Frames, NotHttp2

MAX_ANSWER = 16 * 1024
MAX_FRAMES = 200

_PATH = b"/grpc.health.v1.Health/Check"
_STREAM = 1
_SERVING = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_HTTP_STATUS = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
"""RFC 7541 appendix A: a field that is no more than an index of the static table."""

_CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
_REMARKS = {"NOT_FOUND": "the server knows no such service", "UNIMPLEMENTED": "the server has no health service"}


def request(authority: str, service: str, secure: bool) -> bytes:
    """What is sent to ask for the health of a service: the preface, our settings and the request.

    Arguments:
        authority: the host, and the port if it matters, that is asked.
        service: whose health is asked for; empty for the server's as a whole.
        secure: whether it is sent in TLS.
    """
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"https" if secure else b"http"),
        (b":path", _PATH),
        (b":authority", quote(authority, "[]:%").encode()),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", f"ha-lvs/{__version__}".encode()),
    ]
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""  # HealthCheckRequest, field 1
    body = b"\0" + struct.pack("!I", len(message)) + message
    headers = Frame(http2.HEADERS, http2.END_HEADERS, _STREAM, http2.header_block(fields))
    data = Frame(http2.DATA, http2.END_STREAM, _STREAM, body)
    return http2.PREFACE + http2.settings() + http2.encode(headers) + http2.encode(data)


class GrpcDialogue:
    """A request for the health of a service, and the answer.

    Arguments:
        request: as `request` gives it.
    """

    __slots__ = (
        "_beginning",
        "_count",
        "_ends",
        "_frames",
        "_headers",
        "_message",
        "_within_block",
        "awaited",
        "opening",
    )

    def __init__(self, request: bytes) -> None:
        self.opening = request
        self.awaited = "the server's settings"
        self._frames = Frames()
        self._count = 0
        self._beginning = b""  # of what the server said, to quote what is no HTTP/2
        self._headers = b""
        self._within_block = False  # the headers go on in the next frame
        self._ends = False  # the server will say no more
        self._message = b""

    def hear(self, part: bytes) -> Reply:
        """See `Dialogue`."""
        if len(self._beginning) < 40:
            self._beginning += part[:40]
        say = b""
        try:
            for frame in self._frames.take(part):
                self._count += 1
                if self._count > MAX_FRAMES:
                    raise NotHttp2("too many frames before an answer")
                say += self._answer(frame)
                outcome = self._take(frame) if frame.stream == _STREAM else None
                if outcome is not None:
                    return Reply(outcome=outcome)
        except NotHttp2 as problem:
            if self._count == 0:
                return Reply(outcome=Outcome(False, f"not HTTP/2: {excerpt(self._beginning)}"))
            return Reply(outcome=Outcome(False, str(problem)))
        return Reply(say)

    def ended(self) -> Outcome:
        """See `Dialogue`."""
        return Outcome(False, f"connection closed before {self.awaited}")

    def _answer(self, frame: Frame) -> bytes:
        """What a frame of the connection demands to be sent. Errors: NotHttp2 when it ends the connection."""
        if frame.type == http2.SETTINGS and not frame.flags & http2.ACK:
            self.awaited = "the health"
            return http2.encode(Frame(http2.SETTINGS, http2.ACK, 0))
        if frame.type == http2.PING and not frame.flags & http2.ACK:
            return http2.encode(Frame(http2.PING, http2.ACK, 0, frame.payload[:8].ljust(8, b"\0")))
        if frame.type == http2.GOAWAY:
            last, code = struct.unpack("!II", frame.payload[:8].ljust(8, b"\0"))
            if code or last & 0x7FFFFFFF < _STREAM:  # else it still answers us
                raise NotHttp2(f"server ended the connection with HTTP/2 error {code}")
        return b""

    def _take(self, frame: Frame) -> Outcome | None:
        """Takes in a frame of our stream; returns the outcome if there is one. Errors: NotHttp2."""
        if frame.type == http2.RST_STREAM:
            code = int.from_bytes(frame.payload[:4], "big")
            return Outcome(False, f"server reset the request with HTTP/2 error {code}")
        if frame.type in (http2.HEADERS, http2.CONTINUATION):
            self._headers += frame.payload
            self._within_block = not frame.flags & http2.END_HEADERS
            if len(self._headers) > MAX_ANSWER:
                raise NotHttp2(f"not gRPC: headers of more than {MAX_ANSWER // 1024} KiB")
            status = None if self._within_block else _http_status(self._headers)
            if status not in (None, 200):
                return Outcome(False, f"HTTP {status} in place of gRPC's answer")
        elif frame.type == http2.DATA:
            self._message += frame.payload
            outcome = _health(self._message)
            if outcome is not None:
                return outcome
        # A header block that ends the stream may go on in CONTINUATION frames, which do not say so themselves.
        if frame.type in (http2.HEADERS, http2.DATA) and frame.flags & http2.END_STREAM:
            self._ends = True
        return self._without_health() if self._ends and not self._within_block else None

    def _without_health(self) -> Outcome:
        code = _grpc_status(self._headers)
        if not code:
            return Outcome(False, "the server answered without a health")
        name = _CODES[code]
        return Outcome(False, f"gRPC status {code} ({name})" + (f": {_REMARKS[name]}" if name in _REMARKS else ""))


# ------------------------------------------------------------------------------------------------- messages


def _health(message: bytes) -> Outcome | None:
    """What a HealthCheckResponse says, behind the prefix of its length; None while it is not complete."""
    if message and message[0]:
        said = "a compressed message, which nobody asked for" if message[0] == 1 else excerpt(message)
        return Outcome(False, f"not gRPC: {said}")
    if len(message) < 5:
        return None
    end = 5 + int.from_bytes(message[1:5], "big")
    if end > MAX_ANSWER:
        return Outcome(False, f"not gRPC: a message of more than {MAX_ANSWER // 1024} KiB")
    if len(message) < end:
        return None
    status = _field_1(message[5:end])
    if status is None:
        return Outcome(False, "not gRPC: the answer is no HealthCheckResponse")
    return Outcome(_SERVING.get(status) == "SERVING", _SERVING.get(status, f"health {status}"))


def _field_1(message: bytes) -> int | None:
    """The last value of the enum that is field 1 of a protobuf message, 0 where it is left out; None for no message."""
    value, at = 0, 0
    while at < len(message):
        key, at = _read_varint(message, at)
        if at < 0 or not key >> 3:
            return None
        if key & 7 == 0:
            number, at = _read_varint(message, at)
            value = number if key >> 3 == 1 else value
        elif key & 7 == 2:
            length, at = _read_varint(message, at)
            at = at + length if at >= 0 else at
        elif key & 7 in (1, 5):
            at += 8 if key & 7 == 1 else 4
        else:
            return None
        if not 0 <= at <= len(message):
            return None
    return value


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in up to ten bytes, and where the next thing is; -1 where there is no number."""
    value = 0
    for count, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << 7 * count
        if not byte & 0x80:
            return value, at + count + 1
    return 0, -1


def _varint(value: int) -> bytes:
    head = b""
    while value >= 128:
        head += bytes([0x80 | value & 0x7F])
        value >>= 7
    return head + bytes([value])


# -------------------------------------------------------------------------------------------------- headers


def _huffman(text: str) -> bytes:
    """Text as RFC 7541 appendix B codes it; only the letters of what we look for are here."""
    codes = {
        "0": "00000", "1": "00001", "2": "00010", "3": "011001", "4": "011010", "5": "011011", "6": "011100",
        "7": "011101", "8": "011110", "9": "011111", "-": "010110", "a": "00011", "c": "00100", "g": "100110",
        "p": "101011", "r": "101100", "s": "01000", "t": "01001", "u": "101101",
    }  # fmt: skip
    bits = "".join(codes[letter] for letter in text)
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _strings(text: str) -> tuple[bytes, bytes]:
    """The two forms that a short string has in a header block."""
    plain, coded = text.encode(), _huffman(text)
    return bytes([len(plain)]) + plain, bytes([0x80 | len(coded)]) + coded


_STATUS_FIELDS = {
    name + value: code
    for code in range(len(_CODES))
    for name in _strings("grpc-status")
    for value in _strings(str(code))
}


def _grpc_status(headers: bytes) -> int:
    """The gRPC status in header blocks, found by the bytes that it can be written in; 0 where there is none."""
    found = [(len(field), code) for field, code in _STATUS_FIELDS.items() if field in headers]
    return max(found)[1] if found else 0


def _http_status(headers: bytes) -> int | None:
    """The HTTP status that a header block begins with, if it is one of the usual ones."""
    at = 0
    while at < len(headers) and headers[at] & 0xE0 == 0x20:  # the size of the table of headers, section 6.3
        long = headers[at] == 0x3F
        at += 1
        while long and at < len(headers):
            long = bool(headers[at] & 0x80)
            at += 1
    return _HTTP_STATUS.get(headers[at]) if at < len(headers) else None
