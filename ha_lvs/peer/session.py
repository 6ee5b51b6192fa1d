"""One connection between two directors as a pure protocol: who is there, is it proved, and then messages.

    dialer   hello ->            <- hello    listener     who I am, a fresh nonce, the numbers of my keys
             proof ->            <- proof                 HMAC by one of the keys that both have
             welcome ->          <- welcome               your proof was good: from here on we are linked
             message ->          <- message               sealed, where there are keys

The caller sends what is in `outgoing` after each call, and ends the connection on any WireError. No sockets, no clock;
the nonce is given, and must be random and new for each session.

Rules that hold here:
* A proof is over both hellos, byte for byte, and over the direction. Both nonces are in them, so it cannot be repeated
  in another session, nor be sent back to whoever made it; nor can anybody in between change what was said.
* Each direction is sealed by a key of its own, made of the key that proved it and of both hellos.
* One signs with one's send key if the other side has it too, else with any key that both have: so keys can be replaced
  in steps, on one director after the other.
* Nobody is linked before both proofs were good. Until then frames are small.
* Without keys of our own, or while they are introduced (`enforce` off), an address of the config file is proof enough;
  the session then says that it is not authenticated.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from ha_lvs.errors import WireError
from ha_lvs.model import Authentication, Key
from ha_lvs.peer import frames
from ha_lvs.peer.frames import Frame, Message, Opener, Reader, Sealer

PROTOCOL = 1
NONCE_BYTES = 32
HANDSHAKE_FRAME = 8 * 1024
"""The most that a frame may have, in bytes, before its sender is known."""

HELLO, PROOF, WELCOME, BYE, ALIVE = "hello", "proof", "welcome", "bye", "alive"
RESERVED = frozenset({HELLO, PROOF, WELCOME, BYE, ALIVE})
"""Kinds of message that belong to the link itself."""

OTHER_PROTOCOL, OTHER_CLUSTER, SAME_NODE, OTHER_NODE = "other protocol", "other cluster", "same node", "other node"
UNKNOWN_KEY = "unknown key"

_LABEL = b"ha-lvs peer link"  # shorter than whatever else is signed with the same keys
_LONGEST_WORD = 255


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a director says it is.

    Arguments:
        cluster, node: names in the config file.
        version: of the program.
        config_digest: of the file.
        life: random, one for each start of the process: tells a successor from itself.
        address: where it listens; empty for every address.
    """

    cluster: str
    node: str
    version: str
    config_digest: str
    life: str
    address: str = ""


class _Stage(Enum):
    HELLO = auto()
    PROOF = auto()
    WELCOME = auto()
    LINKED = auto()


class Session:
    """Our end of a connection.

    Arguments:
        own: who we are.
        nonce: `NONCE_BYTES` random bytes, never used before.
        dialed: whether we have opened the connection.
        authentication: our keys, or None.
        known_as: the node to which the config file gives the other end's address; empty where it is in no file.
        expected: the node that must be there; empty for any.

    Attributes:
        peer: who is there, from its hello on.
        authenticated: whether it has proved that.
        doubt: why it has not, although we have keys.
        outgoing: frames to be sent, in this order.
    """

    def __init__(
        self,
        own: Identity,
        nonce: bytes,
        *,
        dialed: bool,
        authentication: Authentication | None,
        known_as: str,
        expected: str = "",
    ) -> None:
        self.peer: Identity | None = None
        self.authenticated = False
        self.doubt = ""
        self._own = own
        self._dialed = dialed
        self._authentication = authentication
        self._known_as = known_as
        self._expected = expected
        self._keys = {} if authentication is None else {key.number: key for key in authentication.keys}
        self._stage = _Stage.HELLO
        self._reader = Reader(HANDSHAKE_FRAME)
        self._sealer: Sealer | None = None
        self._opener: Opener | None = None
        self._transcript = b""
        hello = frames.encode(Message(HELLO, self._hello(nonce)))
        self._own_hello = Frame(hello, sealed=False).payload
        self.outgoing: list[bytes] = [hello]

    @property
    def own_node(self) -> str:
        """Our own name."""
        return self._own.node

    @property
    def linked(self) -> bool:
        """Whether messages can be sent."""
        return self._stage is _Stage.LINKED

    def encode(self, kind: str, body: dict[str, Any]) -> bytes:
        """The next frame of ours.

        Errors: WireError when it is too long.
        """
        return frames.encode(Message(kind, body), self._sealer)

    def receive(self, data: bytes) -> Iterator[Message]:
        """Takes in bytes; gives the messages that they complete.

        The first message of all is `welcome`: from then on the session is linked. A `bye` may come at any time.

        Errors: WireError, after the good messages before it.
        """
        self._reader.feed(data)
        while (frame := self._reader.next_frame()) is not None:
            yield from self._take(frame)

    # ------------------------------------------------------------------------------------- the handshake

    def _take(self, frame: Frame) -> Iterator[Message]:
        found = frames.message(frame.payload) if self._opener is None else self._opener.message(frame)
        if self._stage is _Stage.LINKED or found.kind == BYE:
            yield found
        elif found.kind != self._stage.name.lower():
            raise WireError(frames.MALFORMED, f"{found.kind} where {self._stage.name.lower()} was to come")
        elif self._stage is _Stage.HELLO:
            self._heard_hello(found.body, frame.payload)
        elif self._stage is _Stage.PROOF:
            self._heard_proof(found.body)
        else:
            self._stage = _Stage.LINKED
            self._reader.limit = frames.MAX_FRAME
            yield found

    def _hello(self, nonce: bytes) -> dict[str, Any]:
        own = self._own
        return {
            "protocol": PROTOCOL,
            "cluster": own.cluster,
            "node": own.node,
            "version": own.version,
            "config_digest": own.config_digest,
            "life": own.life,
            "address": own.address,
            "keys": list(self._keys),
            "nonce": nonce.hex(),
        }

    def _heard_hello(self, body: dict[str, Any], payload: bytes) -> None:
        protocol = body.get("protocol")
        if protocol != PROTOCOL:
            raise WireError(OTHER_PROTOCOL, f"it speaks protocol {protocol!r:.20} of the link, we speak {PROTOCOL}")
        peer = Identity(
            cluster=_word(body, "cluster"),
            node=_word(body, "node"),
            version=_word(body, "version"),
            config_digest=_word(body, "config_digest"),
            life=_word(body, "life"),
            address=_word(body, "address", may_be_empty=True),
        )
        if len(_word(body, "nonce")) != 2 * NONCE_BYTES:
            raise WireError(frames.MALFORMED, "a nonce of another length")
        if peer.cluster != self._own.cluster:
            raise WireError(OTHER_CLUSTER, f"it is of cluster {peer.cluster}, we are of {self._own.cluster}")
        if peer.node == self._own.node:
            raise WireError(SAME_NODE, f"it calls itself {peer.node}, as we do")
        self.peer = peer
        if self._expected:
            self._must_be(self._expected)
        both = (self._own_hello, payload) if self._dialed else (payload, self._own_hello)
        self._transcript = hashlib.sha256(struct.pack("!I", len(both[0])) + both[0] + both[1]).digest()
        self._stage = _Stage.PROOF
        self._prove(_numbers(body))

    def _must_be(self, node: str) -> None:
        assert self.peer is not None
        if self.peer.node != node:
            raise WireError(OTHER_NODE, f"it calls itself {self.peer.node}, where {node} should be")

    def _prove(self, theirs: list[int]) -> None:
        key = self._common_key(theirs)
        proof = {} if key is None else {"key": key.number, "mac": self._proof(key, self._dialed).hex()}
        self.outgoing.append(frames.encode(Message(PROOF, proof)))
        if key is not None:
            self._sealer = Sealer(self._session_key(key, self._dialed))

    def _common_key(self, theirs: list[int]) -> Key | None:
        if self._authentication is None:
            return None
        common = [key for number, key in self._keys.items() if number in theirs]
        return next((key for key in common if key.number == self._authentication.send), next(iter(common), None))

    def _heard_proof(self, body: dict[str, Any]) -> None:
        try:
            self._opener = self._judge(body)
            self.authenticated = self._opener is not None
        except WireError as problem:
            enforced = self._authentication is None or self._authentication.enforce
            if enforced or not self._known_as:
                raise
            self._must_be(self._known_as)
            self.doubt = str(problem)
        self._stage = _Stage.WELCOME
        self.outgoing.append(self.encode(WELCOME, {}))

    def _judge(self, body: dict[str, Any]) -> Opener | None:
        """What opens the frames of a peer that has proved itself; None where we have no keys, and its address will do.

        Errors: WireError.
        """
        if self._authentication is None:
            if not self._known_as:
                raise WireError(frames.MISSING, "its address is not in the config file, and there are no keys")
            self._must_be(self._known_as)
            return None
        number = body.get("key")
        if number is None:
            ours = ", ".join(map(str, self._keys))
            raise WireError(frames.MISSING, f"it has none of our keys (ours are {ours})")
        key = self._keys.get(number) if isinstance(number, int) else None
        if key is None:
            raise WireError(UNKNOWN_KEY, f"it signs with key {number!r:.20}, which we do not have")
        if not hmac.compare_digest(self._proof(key, not self._dialed).hex(), _word(body, "mac")):
            raise WireError(frames.WRONG, f"its {key} has another secret than ours")
        return Opener(self._session_key(key, not self._dialed))

    def _proof(self, key: Key, by_dialer: bool) -> bytes:
        return self._derive(key, b"proof", by_dialer)

    def _session_key(self, key: Key, by_dialer: bool) -> bytes:
        return self._derive(key, b"session", by_dialer)

    def _derive(self, key: Key, use: bytes, by_dialer: bool) -> bytes:
        link_key = hmac.digest(bytes.fromhex(key.secret), _LABEL, "sha256")
        direction = b"dialer" if by_dialer else b"listener"
        said = b" ".join((use, direction, str(key.number).encode(), self._transcript))
        return hmac.digest(link_key, said, "sha256")


def _word(body: dict[str, Any], name: str, *, may_be_empty: bool = False) -> str:
    found = body.get(name)
    fits = isinstance(found, str) and len(found) <= _LONGEST_WORD and found.isascii() and found.isprintable()
    if not isinstance(found, str) or not fits or not (found or may_be_empty):
        raise WireError(frames.MALFORMED, f"a {name} that is no word")
    return found


def _numbers(body: dict[str, Any]) -> list[int]:
    found = body.get("keys")
    if not isinstance(found, list) or not all(isinstance(each, int) for each in found):
        raise WireError(frames.MALFORMED, "keys that are no numbers")
    return found
