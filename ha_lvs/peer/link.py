"""The link to one other director, whatever connections it is made of at the moment.

Both directors dial, so that it does not matter which starts first; for a moment there may be two connections. Both ends
pick the same one, by the same rule:

1. one that is authenticated before one that is not;
2. one on which something was heard lately before one that may be dead;
3. that which the node with the lower name has opened;
4. the newer.

Rules that hold here:
* The others are retired only when a message has come on the one that was picked: then the other side has it, too, and
  the link is never down between the two.
* A peer that was started anew says so by its `life`: connections of its earlier life are dropped at once.
* Messages come in the order in which they were sent, as long as the peer keeps to one connection.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from ha_lvs.peer import session
from ha_lvs.peer.connection import Connection
from ha_lvs.peer.session import Identity

FRESH_S = 1.5
_TRANSIT_MEMORY_S = 30.0


@dataclass(frozen=True, slots=True)
class LinkState:
    """Where a link stands.

    Arguments:
        node: the other director's name.
        address: where it is, or was.
        linked: whether it is there.
        authenticated: whether it has proved who it is; where no keys are in use, it need not.
        version, config_digest: of its program and config; empty while not linked.
        detail: why it is not linked, or not authenticated.
    """

    node: str
    address: str
    linked: bool = False
    authenticated: bool = False
    version: str = ""
    config_digest: str = ""
    detail: str = "not reached yet"


class Link:
    """The link to one node.

    Arguments:
        node: its name.
        own_node: ours.
        address: where it is said to be; empty when that is not known.

    Attributes:
        since_s: wall clock (seconds since the epoch) of the last time that it came or went.
        changed_at: the same as monotonic seconds.
        planned: whether the peer has said that it stops.
    """

    def __init__(self, node: str, own_node: str, address: str = "") -> None:
        self.node = node
        self.since_s = time.time()
        self.changed_at = time.monotonic()
        self.planned = False
        self.address = address
        self.detail = "not reached yet"
        self._lower = min(node, own_node)
        self._connections: list[Connection] = []  # oldest first; none of them is retired
        self._transit = Transit()

    @property
    def linked(self) -> bool:
        """Whether messages can be sent."""
        return bool(self._connections)

    @property
    def peer(self) -> Identity | None:
        """Who is there; None while not linked."""
        return None if not self._connections else self._best().session.peer

    @property
    def authenticated(self) -> bool:
        """Whether that is proved."""
        return self.linked and self._best().session.authenticated

    def state(self) -> LinkState:
        """Where it stands."""
        peer = self.peer
        if peer is None:
            return LinkState(self.node, self.address, detail=self.detail)
        return LinkState(
            node=self.node,
            address=self.address,
            linked=True,
            authenticated=self.authenticated,
            version=peer.version,
            config_digest=peer.config_digest,
            detail=self._best().session.doubt,
        )

    def follows(self, config_digest: str) -> None:
        """The peer has said that it follows another config file from now on."""
        for connection in self._connections:
            peer = connection.session.peer
            if peer is not None:
                connection.session.peer = replace(peer, config_digest=config_digest)

    def send(self, kind: str, body: dict[str, Any]) -> bool:
        """Sends a message; says whether it was taken, which does not say that it arrives.

        Arguments:
            kind: what it is; not one of `session.RESERVED`.
            body: names and JSON values, at most `frames.MAX_MESSAGE` bytes as JSON together with the kind.

        Whoever has much to say sends it in messages of at most 64 KiB and awaits `drain` after each.

        Errors: WireError when it is too long.
        """
        if kind in session.RESERVED:
            raise ValueError(f"{kind} is a word of the link itself")
        return self._send(kind, body)

    async def drain(self) -> None:
        """Waits until the peer has read so much that little is unsent, or is gone."""
        if self._connections:
            await self._best().drain()

    def age_s(self, sent_at: object) -> float:
        """For how long a message was under way, in seconds, beyond what one takes at best.

        Arguments:
            sent_at: the sender's monotonic clock when it was sent.

        The two clocks have nothing in common but their pace: what is known is how much longer it took than the fastest
        of the messages of the last minute.
        """
        if not isinstance(sent_at, (int, float)):
            return 0.0
        return self._transit.excess_s(float(sent_at), time.monotonic())

    # ------------------------------------------------------------------------------------ for the hub

    def would_degrade(self, connection: Connection) -> bool:
        """Whether a connection proves less than one that works: somebody else may be behind it."""
        if connection.session.authenticated or not self.authenticated:
            return False
        return time.monotonic() - self._best().last_heard < FRESH_S

    def admit(self, connection: Connection) -> bool:
        """Takes a linked connection in; says whether whoever is there knows nothing of us yet."""
        assert connection.session.peer is not None
        life = connection.session.peer.life
        before = self.peer
        for old in list(self._connections):
            assert old.session.peer is not None
            if old.session.peer.life != life:
                self._connections.remove(old)
                old.close("the peer was started anew", silent=True)
        new = before is None or before.life != life
        if new:
            self._transit = Transit()
            if before is None:
                self._came_or_went()
        self.planned = False
        self._connections.append(connection)
        self._locate()
        connection.send(session.ALIVE, {"at": time.monotonic()})
        if not new and self._best().heard:
            self._retire_others()
        return new

    def alive(self, sent_at: object) -> None:
        """A sign of life has come."""
        if isinstance(sent_at, (int, float)):
            self._transit.learn(float(sent_at), time.monotonic())

    def heard(self, connection: Connection) -> None:
        """A message has come on a connection."""
        if len(self._connections) > 1 and connection is self._best():
            self._retire_others()

    def gone(self, connection: Connection) -> bool:
        """A connection has ended; says whether the link is down by that."""
        if connection not in self._connections:
            return False
        self._connections.remove(connection)
        if self._connections:
            self._locate()
            return False
        self.detail = connection.why
        self.planned = connection.planned
        self._came_or_went()
        return True

    def beat(self) -> None:
        """Gives a sign of life."""
        for connection in self._connections:
            connection.send(session.ALIVE, {"at": time.monotonic()})

    def end_silent(self, longer_than_s: float) -> None:
        """Ends connections on which nothing was heard for so long."""
        now = time.monotonic()
        for connection in list(self._connections):
            if now - connection.last_heard > longer_than_s:
                connection.close(f"nothing heard for {longer_than_s:.0f} s", silent=True)

    def close(self, why: str) -> None:
        """Ends all connections."""
        for connection in list(self._connections):
            connection.close(why)

    def _send(self, kind: str, body: dict[str, Any]) -> bool:
        return bool(self._connections) and self._best().send(kind, body)

    def _best(self) -> Connection:
        now = time.monotonic()

        def rank(at: int) -> tuple[bool, bool, bool, int]:
            each = self._connections[at]
            fresh = now - each.last_heard < FRESH_S
            return each.session.authenticated, fresh, each.dialer == self._lower, at

        return self._connections[max(range(len(self._connections)), key=rank)]

    def _retire_others(self) -> None:
        best = self._best()
        for each in self._connections:
            if each is not best:
                each.retire()
        self._connections = [best]
        self._locate()

    def _locate(self) -> None:
        """The address by which the peer is known: the one that it listens on, or else the connection's."""
        best = self._best()
        assert best.session.peer is not None
        self.address = best.session.peer.address or str(best.address)

    def _came_or_went(self) -> None:
        self.since_s, self.changed_at = time.time(), time.monotonic()


class Transit:
    """The least time that messages of the last minute or so took, on two clocks of which only the pace is the same."""

    def __init__(self) -> None:
        self._least: float | None = None
        self._former: float | None = None
        self._began = 0.0

    def learn(self, sent_at: float, now: float) -> None:
        """A message has come.

        Arguments:
            sent_at: seconds on the sender's clock.
            now: seconds on ours.
        """
        if self._least is None or now - self._began > _TRANSIT_MEMORY_S:
            self._former, self._least, self._began = self._least, now - sent_at, now
        self._least = min(self._least, now - sent_at)

    def excess_s(self, sent_at: float, now: float) -> float:
        """How much longer than the least a message took that has come now; 0 when nothing is known."""
        known = [each for each in (self._least, self._former) if each is not None]
        return max(0.0, now - sent_at - min(known)) if known else 0.0
