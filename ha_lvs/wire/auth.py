"""The trailer that proves who sent an advertisement, and that nobody has recorded it before: HMAC-SHA256 (RFC 2104).

It stands behind everything else in the VRRP message and is covered by its length and checksum:

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |      "H"      |      "A"      |   Format: 1   |    Key id     |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                       Counter, 64 bits                        |
    |                                                               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                     HMAC-SHA256, 32 bytes                     |

The HMAC covers: source address, destination address, the VRRP message without the trailer and with 0 for its checksum,
the first 12 bytes of the trailer.

Rules that hold here:
* The counter is nanoseconds of the sender's wall clock, made strictly increasing by the sender. Counters have gaps, so
  the window in which they may arrive out of order is one of rank: the last 64 that were accepted.
* A counter is good for once with each sender and virtual router, under whatever key: rotation reopens nothing. The
  windows of two virtual routers are apart, because their sockets are drained one after the other, which reorders their
  packets by more than any window. The HMAC covers the router id, so nothing can be carried from one to the other.
* Only what has proved itself changes any state, so nobody without a key makes it grow.
* The first message of a sender opens its window. What is older than that by more than a second counts as replayed from
  then on, and what our own clock calls older than a day never opens one. Nothing is refused for being ahead of our
  clock: directors whose clocks differ must still hear each other.
"""

from __future__ import annotations

import struct
from bisect import insort
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from ha_lvs.model import Authentication, IPAddress, Key

if TYPE_CHECKING:
    from hmac import HMAC

    from ha_lvs.wire.vrrp import Datagram

MAGIC = b"HA"
FORMAT = 1
_HEAD = struct.Struct("!2sBBQ")
DIGEST_BYTES = 32
TRAILER_BYTES = _HEAD.size + DIGEST_BYTES

WINDOW = 64
MAX_WINDOWS = 1024
MAX_COUNTER = 2**64 - 1
REORDER_NS = 1_000_000_000
FRESH_NS = 24 * 3600 * 1_000_000_000
OLDEST_NS = 10 * 60 * 1_000_000_000
"""How far behind our clock the first message of a sender may be: who was just started believes no older recording.
Clocks of directors must not be further apart."""

_CHECKSUM = slice(6, 8)
_ROUTER_ID = 1


class Verdict(Enum):
    """What a trailer proves; only VALID proves anything."""

    VALID = "valid"
    MISSING = "missing"
    UNKNOWN_KEY = "unknown key"
    WRONG = "wrong"
    REPLAYED = "replayed"


class Signer:
    """Makes trailers with the key that is to be sent.

    Arguments:
        authentication: its `send` names the key.

    Errors: ValueError when there is no such key, or its secret is not hexadecimal.
    """

    def __init__(self, authentication: Authentication) -> None:
        for key in authentication.keys:
            if key.number == authentication.send:
                break
        else:
            raise ValueError(f"key {authentication.send} is to be sent and is none of the keys")
        self.key_id = key.number
        self._keyed = _keyed(key)

    def prime(self, payload: bytes, source: IPAddress, destination: IPAddress) -> PrimedSigner:
        """What signs one and the same message again and again, each time with another counter.

        Arguments: as for `sign`.
        """
        keyed = self._keyed.copy()
        keyed.update(source.packed + destination.packed + payload)
        return PrimedSigner(self.key_id, keyed)

    def sign(self, payload: bytes, source: IPAddress, destination: IPAddress, counter: int) -> bytes:
        """The trailer for a message.

        Arguments:
            payload: the VRRP message without trailer, with 0 for its checksum.
            source, destination: of the IP packet.
            counter: 0 to 2**64 - 1, never the same again from this source address.
        """
        return self.prime(payload, source, destination).trailer(counter)


class PrimedSigner:
    """A key that has gone over a message already; made by `Signer.prime`."""

    __slots__ = ("_key_id", "_primed")

    def __init__(self, key_id: int, primed: HMAC) -> None:
        self._key_id = key_id
        self._primed = primed

    def trailer(self, counter: int) -> bytes:
        """The trailer of the message with this counter."""
        head = _HEAD.pack(MAGIC, FORMAT, self._key_id, counter)
        primed = self._primed.copy()
        primed.update(head)
        return head + primed.digest()


@dataclass(slots=True)
class _Window:
    """What was accepted from one sender for one virtual router.

    Arguments:
        floor: neither this nor anything below is accepted any more.
        kept: what was accepted above the floor, ascending, at most `WINDOW`.
        heard_ns: when something was last accepted, on the clock of `Verifier`.
    """

    floor: int
    kept: list[int] = field(default_factory=list)
    heard_ns: int = 0

    @property
    def highest(self) -> int:
        return self.kept[-1] if self.kept else self.floor

    def accept(self, counter: int) -> bool:
        if counter <= self.floor or counter in self.kept:
            return False
        insort(self.kept, counter)
        if len(self.kept) > WINDOW:
            self.floor = self.kept.pop(0)
        return True

    def raise_floor(self, floor: int) -> None:
        if floor > self.floor:
            self.floor = floor
            self.kept = [counter for counter in self.kept if counter > floor]


_Place = tuple[bytes, int]
"""Whose window: packed address of the sender, virtual router id."""


class Verifier:
    """Judges trailers, and remembers which counters were used.

    There are at most `MAX_WINDOWS` windows, enough for two families of 500 virtual routers. When they are used up, the
    one that has been silent for longest makes room, but none that was heard within a day: what opens a window must be
    younger than a day, so forgetting one lets no recording of it in. Where all were heard within a day, the new sender
    is refused, because losing what an active sender has used would be worse.

    Arguments:
        authentication: the keys that are believed.

    Errors: ValueError when a secret is not hexadecimal.
    """

    def __init__(self, authentication: Authentication) -> None:
        self._windows: dict[_Place, _Window] = {}
        self._latest_ns = 0
        self._keys: dict[int, HMAC] = {}
        self.rekey(authentication)

    def rekey(self, authentication: Authentication) -> None:
        """Believes these keys from now on; what was used stays used."""
        self._keys = {key.number: _keyed(key) for key in authentication.keys}

    def check(self, datagram: Datagram, trailer: bytes, now_counter: int = 0) -> Verdict:
        """Whether a message comes from somebody who has a key, and comes for the first time.

        Arguments:
            datagram: as it arrived, already decoded without complaint.
            trailer: the one that decoding found, or empty.
            now_counter: nanoseconds of our own wall clock; 0 when it is not to be relied upon. Then a recording of any
                age can open the window of a sender that has not been heard yet.
        """
        if not trailer.startswith(MAGIC):
            return Verdict.MISSING
        payload = datagram.payload
        if len(trailer) != TRAILER_BYTES or not payload.endswith(trailer):
            return Verdict.WRONG
        _, trailer_format, key_id, counter = _HEAD.unpack_from(trailer)
        if trailer_format != FORMAT:
            return Verdict.WRONG
        keyed = self._keys.get(key_id)
        if keyed is None:
            return Verdict.UNKNOWN_KEY
        sender = datagram.source.packed
        expected = keyed.copy()
        expected.update(sender + datagram.destination.packed)
        expected.update(payload[: _CHECKSUM.start] + b"\0\0" + payload[_CHECKSUM.stop : -DIGEST_BYTES])
        if not _equal(expected.digest(), trailer[_HEAD.size :]):
            return Verdict.WRONG
        return self._spend((sender, payload[_ROUTER_ID]), counter, now_counter)

    def _spend(self, place: _Place, counter: int, now_counter: int) -> Verdict:
        window = self._windows.get(place)
        if window is None:
            if counter < now_counter - OLDEST_NS or not self._has_room(now_counter):
                return Verdict.REPLAYED
            window = self._windows[place] = _Window(counter - REORDER_NS - 1)
        if not window.accept(counter):
            return Verdict.REPLAYED
        self._latest_ns = max(self._latest_ns, counter)
        window.heard_ns = max(self._latest_ns, now_counter)
        return Verdict.VALID

    def _has_room(self, now_counter: int) -> bool:
        """Makes room for one more window if need be and if it can be done without harm."""
        if len(self._windows) < MAX_WINDOWS:
            return True
        longest_silent = min(self._windows, key=lambda place: self._windows[place].heard_ns)
        if max(self._latest_ns, now_counter) - self._windows[longest_silent].heard_ns <= FRESH_NS:
            return False
        del self._windows[longest_silent]
        return True

    def seen(self) -> dict[str, dict[str, int]]:
        """For a successor: the highest counter of each sender, by address and virtual router id, as JSON takes it.

        The window below is left out. A message that is overtaken just when one elector succeeds another is lost, and
        the next one makes up for it.
        """
        highest: dict[str, dict[str, int]] = {}
        for (sender, router_id), window in self._windows.items():
            highest.setdefault(str(ip_address(sender)), {})[str(router_id)] = window.highest
        return highest

    def restore(self, seen: dict[str, dict[str, int]]) -> None:
        """Takes over what a predecessor has seen; nothing of it is accepted again.

        Errors: ValueError when `seen` is not what `seen()` gives.
        """
        for place, highest in _read(seen):
            window = self._windows.get(place)
            if window is None:
                if len(self._windows) >= MAX_WINDOWS:
                    return
                window = self._windows[place] = _Window(highest)
            window.raise_floor(highest)
            self._latest_ns = max(self._latest_ns, highest)
        for window in self._windows.values():
            window.heard_ns = self._latest_ns


def _read(seen: Any) -> list[tuple[_Place, int]]:
    """What `Verifier.seen` gave, checked as a whole before any of it counts."""
    try:
        read = [
            ((ip_address(sender).packed, int(router_id)), int(highest))
            for sender, of_router in seen.items()
            for router_id, highest in of_router.items()
        ]
    except (AttributeError, TypeError, ValueError, OverflowError) as problem:
        raise ValueError(f"no record of seen counters: {problem}") from problem
    for (_, router_id), highest in read:
        if not 0 <= router_id <= 255 or highest > MAX_COUNTER:
            raise ValueError(f"no record of seen counters: router id {router_id}, counter {highest}")
    return read


def _keyed(key: Key) -> HMAC:
    # Loaded here because it takes 4 MB for OpenSSL, which an elector without authentication does not need to lock.
    import hmac

    return hmac.new(bytes.fromhex(key.secret), digestmod="sha256")


def _equal(left: bytes, right: bytes) -> bool:
    """Compares in a time that does not tell how much is equal."""
    import hmac

    return hmac.compare_digest(left, right)
