"""Frames of the peer link: bytes <-> messages, and the seal that proves who sent them. Pure.

    0  u32  length of all that follows, at most `MAX_FRAME`
    4  u8   version of this layout, 1
    5  u8   flags: 1 = sealed
    6  sealed only: u64 counter
    .  the message: JSON `[kind, {field: value}]` in UTF-8
    .  sealed only: 32 bytes HMAC-SHA256 over bytes 0 up to here, by the session key of this direction

Rules that hold here:
* Counters go up by exactly one, from 1, in each direction: a frame that is repeated, left out or moved is noticed.
* Whatever the bytes are, the only error is WireError; its reason is one of the countable words below. After an error
  the stream cannot be read on.
* A reader holds no more than one frame and what arrived with it. Until the sender is known, let `limit` be small.
* A seal proves and does not hide: what is on the link can be read by whoever sees it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from dataclasses import dataclass
from typing import Any, NoReturn

from ha_lvs.errors import WireError

LAYOUT = 1
MAX_FRAME = 256 * 1024
"""The most that may follow the length, in bytes."""
MAX_KIND = 64

MALFORMED, TOO_LONG, LAYOUT_UNKNOWN = "malformed", "too long", "unknown layout"
MISSING, WRONG, REPLAYED, GAP = "not authenticated", "wrong authentication", "replayed", "frame missing"

_HEAD = struct.Struct("!IBB")
_COUNTER = struct.Struct("!Q")
_LENGTH_BYTES = 4
_SEALED = 1
_MAC_BYTES = hashlib.sha256().digest_size
_OVERHEAD = _HEAD.size - _LENGTH_BYTES + _COUNTER.size + _MAC_BYTES

MAX_MESSAGE = MAX_FRAME - _OVERHEAD
"""The most that a message's JSON may take, in bytes."""


@dataclass(frozen=True, slots=True)
class Message:
    """What one director tells another.

    Arguments:
        kind: what it is, which decides what is in the body.
        body: names and JSON values.
    """

    kind: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it arrived; `message` and `Opener.message` say what is in it.

    Arguments:
        whole: all of it, from its length on.
        sealed: whether it claims to be sealed.
    """

    whole: bytes
    sealed: bool

    @property
    def payload(self) -> bytes:
        """The message's JSON, whoever sent it."""
        if self.sealed:
            return self.whole[_HEAD.size + _COUNTER.size : -_MAC_BYTES]
        return self.whole[_HEAD.size :]


def encode(message: Message, sealer: Sealer | None = None) -> bytes:
    """The frame of a message.

    Arguments:
        message: what to send.
        sealer: of this direction; None leaves the frame open.

    Errors: WireError when it is too long, and nothing has been counted.
    """
    payload = json.dumps([message.kind, message.body], separators=(",", ":")).encode()
    if len(payload) > MAX_MESSAGE:
        raise WireError(
            TOO_LONG, f"{message.kind} takes {len(payload)} bytes, more than {MAX_MESSAGE}; send it in parts"
        )
    if sealer is None:
        return _HEAD.pack(_HEAD.size - _LENGTH_BYTES + len(payload), LAYOUT, 0) + payload
    return sealer.seal(payload)


def message(payload: bytes) -> Message:
    """The message in a payload.

    Errors: WireError.
    """
    try:
        found = json.loads(payload, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as problem:
        raise WireError(MALFORMED, f"not JSON: {type(problem).__name__}") from problem
    if not (isinstance(found, list) and len(found) == 2):
        raise WireError(MALFORMED, "not a kind and a body")
    kind, body = found
    if not (isinstance(kind, str) and 0 < len(kind) <= MAX_KIND and isinstance(body, dict)):
        raise WireError(MALFORMED, "not a kind and a body")
    return Message(kind, body)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


class Sealer:
    """Seals the frames of one direction.

    Arguments:
        key: the session key of that direction.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._counter = 0

    def seal(self, payload: bytes) -> bytes:
        """The next sealed frame."""
        self._counter += 1
        signed = _HEAD.pack(_OVERHEAD + len(payload), LAYOUT, _SEALED) + _COUNTER.pack(self._counter) + payload
        return signed + hmac.digest(self._key, signed, "sha256")


class Opener:
    """Opens the frames of one direction, in their order.

    Arguments:
        key: the session key of that direction.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._counter = 0

    def message(self, frame: Frame) -> Message:
        """The message in the next frame.

        Errors: WireError, also when the frame is authentic and not the next one.
        """
        if not frame.sealed:
            raise WireError(MISSING, "a frame without its seal")
        signed, mac = frame.whole[:-_MAC_BYTES], frame.whole[-_MAC_BYTES:]
        if not hmac.compare_digest(hmac.digest(self._key, signed, "sha256"), mac):
            raise WireError(WRONG, "a frame whose seal is not by the key of this session")
        counter: int = _COUNTER.unpack_from(signed, _HEAD.size)[0]
        if counter <= self._counter:
            raise WireError(REPLAYED, f"frame {counter} after frame {self._counter}")
        if counter != self._counter + 1:
            raise WireError(GAP, f"frame {counter} after frame {self._counter}")
        self._counter = counter
        return message(frame.payload)


class Reader:
    """Cuts a stream of bytes into frames.

    Attributes:
        limit: the most that may follow a length, in bytes; it may be raised while reading.
    """

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self.limit = limit
        self._held = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes in what has arrived."""
        self._held += data

    def next_frame(self) -> Frame | None:
        """The next whole frame, or None when more has to arrive first.

        Errors: WireError, as soon as the beginning of a frame shows that it will not do.
        """
        held = self._held
        if len(held) < _HEAD.size:
            return None
        length, layout, flags = _HEAD.unpack_from(held)
        if layout != LAYOUT or flags & ~_SEALED:
            raise WireError(LAYOUT_UNKNOWN, f"layout {layout} with flags {flags}; ours is {LAYOUT}")
        sealed = bool(flags & _SEALED)
        if length < (_OVERHEAD if sealed else _HEAD.size - _LENGTH_BYTES):
            raise WireError(MALFORMED, f"a frame of {length} bytes")
        if length > self.limit:
            raise WireError(TOO_LONG, f"a frame of {length} bytes, where at most {self.limit} are taken")
        end = _LENGTH_BYTES + length
        if len(held) < end:
            return None
        whole = bytes(held[:end])
        del held[:end]
        return Frame(whole, sealed)
