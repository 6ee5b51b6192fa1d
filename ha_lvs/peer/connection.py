"""One TCP connection to another director: the session on a transport. What is made of it is its owner's business.

Rules that hold here:
* A connection that has not been linked after `HANDSHAKE_S` is given up; one that broke a rule is told why.
* What is written leaves at once (no Nagle), and the kernel holds little that it has not sent: an offer of a role must
  not queue behind a connection table. Whoever sends much asks `drain` between two messages.
* A connection that is not wanted any more beside a better one is retired: nothing is sent on it, but what the other
  side had already written is still read.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from ipaddress import IPv6Address, ip_address
from typing import Any, Protocol

from ha_lvs.errors import WireError
from ha_lvs.model import IPAddress
from ha_lvs.peer import session as protocol
from ha_lvs.peer.frames import Message
from ha_lvs.peer.session import Session

HANDSHAKE_S = 3.0
DEAD_AFTER_S = 3.0
RETIRED_S = 3.0
HIGH_WATER = 128 * 1024
"""More than this unsent, in bytes, and `drain` waits."""
MOST_UNSENT = 4 * 1024 * 1024
"""More than this unsent, in bytes, and nothing is taken any more."""

_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
_KERNEL_UNSENT = 64 * 1024
_SILENT_ERRNOS = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN})


class Owner(Protocol):
    """Who is told of what happens on connections."""

    def session_for(self, connection: Connection) -> Session:
        """The session for a connection that is up now. Errors: WireError when it is not wanted."""

    def established(self, connection: Connection) -> None:
        """It is linked."""

    def received(self, connection: Connection, message: Message) -> None:
        """A message has come on a linked connection."""

    def refused(self, connection: Connection, problem: WireError) -> None:
        """The other end has broken a rule, or says that we have; the connection is being closed."""

    def closed(self, connection: Connection) -> None:
        """It is gone; `why` says what ended it."""


class Connection(asyncio.Protocol):
    """A connection, from its first byte to its end.

    Arguments:
        owner: is told.
        dialed: whether we have opened it.
        expected: the node that must be there; empty for any.

    Attributes:
        address: of the other end; None until the connection is up.
        settled: done once the connection is linked, or has ended; its result is why it has ended.
        last_heard: monotonic seconds of the last bytes.
        heard: whether a message has come since it is linked.
        why: what has ended it, in words.
        silent: whether it ended for want of packets, rather than because somebody closed it.
        planned: whether the other side has said that it stops.
    """

    session: Session

    def __init__(self, owner: Owner, *, dialed: bool, expected: str = "") -> None:
        self.dialed = dialed
        self.expected = expected
        self.address: IPAddress | None = None
        self.settled: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.last_heard = 0.0
        self.heard = False
        self.why = ""
        self.silent = False
        self.planned = False
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = False

    @property
    def open(self) -> bool:
        """Whether it can be used."""
        return self._transport is not None and not self._ended

    @property
    def dialer(self) -> str:
        """The name of the node that has opened it; it must be linked."""
        assert self.session.peer is not None
        return self.session.own_node if self.dialed else self.session.peer.node

    def send(self, kind: str, body: dict[str, Any]) -> bool:
        """Sends a message; says whether it was taken.

        Errors: WireError when it is too long for a frame.
        """
        transport = self._transport
        if transport is None or self._ended or transport.get_write_buffer_size() > MOST_UNSENT:
            return False
        transport.write(self.session.encode(kind, body))
        return True

    async def drain(self) -> None:
        """Waits until little is unsent, or the connection has ended."""
        await self._writable.wait()

    def retire(self) -> None:
        """Says that nothing more will be sent, and reads the rest."""
        if self._transport is None or self._ended:
            return
        self._end("another connection is used instead")
        self._transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(RETIRED_S, self._transport.abort)

    def close(self, why: str, *, silent: bool = False) -> None:
        """Ends the connection.

        Arguments:
            why: in words; the other side is told.
            silent: nothing has come for too long; it is told nothing.
        """
        if self._transport is None or self._ended:
            return
        if silent:
            self._end(why)
            self.silent = True
            self._transport.abort()
            return
        self.send(protocol.BYE, {"reason": why})
        self._end(why)
        self._transport.close()
        # A peer that reads nothing must not keep what is unsent, nor the connection, for ever.
        self._timer = asyncio.get_running_loop().call_later(RETIRED_S, self._transport.abort)

    def _end(self, why: str) -> None:
        self._ended = True
        self.why = self.why or why
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ------------------------------------------------------------------------------------ for asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is up."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peername = transport.get_extra_info("peername")
        if not peername:  # it was gone before we looked
            self._end("it went away")
            transport.abort()
            return
        self.address = without_scope(peername[0])
        transport.set_write_buffer_limits(high=HIGH_WATER)
        _set_options(transport.get_extra_info("socket"))
        self.last_heard = time.monotonic()
        try:
            self.session = self._owner.session_for(self)
        except WireError as problem:
            self._owner.refused(self, problem)
            self._end(str(problem))
            transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_S, self._handshake_late)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self.last_heard = time.monotonic()
        if self._ended and not self.session.linked:
            return
        try:
            for message in self.session.receive(data):
                self._flush()
                self._take(message)
        except WireError as problem:
            self._refuse(problem)
        self._flush()

    def eof_received(self) -> bool:
        """The other side sends nothing more; so the transport sends what is left and closes."""
        return False

    def connection_lost(self, problem: Exception | None) -> None:
        """The connection is gone."""
        if problem is not None and not self._ended:
            number = getattr(problem, "errno", None)
            self.silent = number in _SILENT_ERRNOS
            self._end(os.strerror(number).lower() if number else str(problem))
        self._end("the peer closed it")
        self._transport = None
        self._writable.set()
        if not self.settled.done():
            self.settled.set_result(self.why)
        self._owner.closed(self)

    def pause_writing(self) -> None:
        """Much is unsent."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Little is unsent again."""
        self._writable.set()

    # ----------------------------------------------------------------------------------------- inside

    def _take(self, message: Message) -> None:
        if message.kind == protocol.BYE:
            reason = _shown(message.body.get("reason"))
            self.planned = reason == STOPPING
            if not self.session.linked and not self.planned:
                self._owner.refused(self, WireError(REFUSES_US, reason))
            self.why = self.why or f"the peer closed it: {reason}"
        elif message.kind == protocol.WELCOME:
            self._stop_timer()
            self.settled.set_result("")
            self._owner.established(self)
        else:
            self.heard = True
            self._owner.received(self, message)

    def _flush(self) -> None:
        outgoing, self.session.outgoing = self.session.outgoing, []
        if self._transport is not None and not self._ended:
            for frame in outgoing:
                self._transport.write(frame)

    def _refuse(self, problem: WireError) -> None:
        self._flush()
        self._owner.refused(self, problem)
        if self._transport is not None:
            self.close(str(problem))
            self._transport.close()  # also when it had been retired: nothing of it is believed any more

    def _handshake_late(self) -> None:
        self.close(f"it has not said who it is within {HANDSHAKE_S:.0f} s", silent=True)


STOPPING = "stopping"
"""What a director says on its links when it is stopped on purpose."""
REFUSES_US = "refuses us"


def without_scope(text: str) -> IPAddress:
    """An address as a socket gives it, without the interface that a link-local one has behind it."""
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or IPv6Address(int(address))
    return address


def _set_options(sock: socket.socket) -> None:
    """Makes the kernel notice within `DEAD_AFTER_S` that nobody is there any more, tcp(7)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_NODELAY, 1),
        (socket.TCP_KEEPIDLE, 1),
        (socket.TCP_KEEPINTVL, 1),
        (socket.TCP_KEEPCNT, int(DEAD_AFTER_S)),
        (socket.TCP_USER_TIMEOUT, int(DEAD_AFTER_S * 1000)),
        (_NOTSENT_LOWAT, _KERNEL_UNSENT),
    ):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _shown(reason: object) -> str:
    text = reason if isinstance(reason, str) else ""
    return text[:200] if text.isascii() and text.isprintable() else "for no good reason"
