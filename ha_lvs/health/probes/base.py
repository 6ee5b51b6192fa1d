"""What every kind of probe is to the engine, and what they share.

Rules that hold here:
* A probe is made once for an endpoint and used for all of its probes. `start` begins one; whatever ends it calls
  `self.engine.end` once, or the engine gives it up at its time-out with the outcome that `expired` tells. `close`
  leaves nothing behind, at any moment.
* A probe raises OSError out of `start` where it cannot begin. Any other exception is a bug.
* All calls come from the engine's thread. Nothing blocks.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Protocol, TypeVar

from ha_lvs.health.schedule import Slot
from ha_lvs.health.speech.dialogue import Outcome
from ha_lvs.health.verdict import UNKNOWN
from ha_lvs.model import Endpoint

T = TypeVar("T")

REASONS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network unreachable",
    errno.ETIMEDOUT: "timed out while connecting",
    errno.EHOSTDOWN: "host down",
}


class Driver(Protocol):
    """The engine, as probes see it."""

    def follow(self, fd: int, probe: Probe, events: int) -> None:
        """Calls `probe.advance` when `fd` has news; `events` are epoll's. Ends with `unfollow`, then close the fd."""

    def renew(self, fd: int, events: int) -> None:
        """Has `probe.advance` called once more for `fd`, which was not read to its end, to let others in."""

    def unfollow(self, fd: int) -> None:
        """Ends `follow`; the descriptor is closed next, which ends its registration too."""

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """Calls `readable` as long as `fd` can be read: for what several probes share, or what outlives one.

        A descriptor that is followed is not followed any more.
        """

    def unwatch(self, fd: int) -> None:
        """Ends `watch`; to be called before `fd` is closed."""

    def shared(self, key: object, make: Callable[[], T]) -> T:
        """What probes share (a raw socket): made by the first that asks, closed (`close()`) with the engine."""

    def hold(self, probe: Probe) -> None:
        """Called within `start` by a probe that has to wait for its turn: it has no time-out until `begun`."""

    def begun(self, probe: Probe, now: float) -> None:
        """The turn of a probe that was held has come; its time-out begins now."""

    def end(self, probe: Probe, success: bool, reason: str, now: float) -> None:
        """The running probe has an outcome."""

    def clock(self) -> float:
        """Monotonic seconds."""


class Probe(Slot):
    """An endpoint with what its probes need; each kind inherits from it.

    Arguments:
        endpoint: what is probed.
        engine: that drives it.

    Attributes:
        verdict: on the endpoint.
        started: when the running or last probe began, in monotonic seconds.
        took_s: how long the last one took.
        percent: set before `end` where the check gives a weight, in percent of the configured one.
        warning: set before `end` where something is wrong although the server is up.
    """

    __slots__ = ("engine", "percent", "started", "took_s", "verdict", "warning")

    def __init__(self, endpoint: Endpoint, engine: Driver) -> None:
        super().__init__(endpoint)
        self.engine = engine
        self.verdict = UNKNOWN
        self.took_s = 0.0
        self.started = 0.0
        self.percent: int | None = None
        self.warning = ""

    def start(self, now: float) -> None:
        """Begins a probe. Errors: OSError when it cannot be begun from here."""
        raise NotImplementedError

    def advance(self, event: int, now: float) -> None:
        """A descriptor that the engine follows for this probe has news, as epoll's `event` says."""

    def close(self) -> None:
        """Ends the running probe without an outcome; nothing where none runs."""

    def release(self) -> None:
        """Gives back what is kept between two probes; called after `close` when no further one will come."""

    def overdue(self) -> str:
        """Why the running probe failed, if it were given up now."""
        return "timed out"

    def expired(self, now: float) -> Outcome:
        """The outcome of the running probe at its time-out: a failure, but where silence is what is wanted."""
        return Outcome(False, self.overdue())


def family_of(endpoint: Endpoint) -> socket.AddressFamily:
    """The address family of an endpoint."""
    return socket.AF_INET6 if endpoint.address.version == 6 else socket.AF_INET


def prepare(sock: socket.SocketType, endpoint: Endpoint) -> None:
    """Gives a socket the source, interface and mark that the check asks for.

    Errors: OSError.
    """
    check = endpoint.check
    if check.mark:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, check.mark)
    if check.interface:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, check.interface.encode() + b"\0")
    if check.source is not None:
        if check.source.version == 4:
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((str(check.source), 0))


IP_BIND_ADDRESS_NO_PORT = 24
"""linux/in.h: the port is chosen at connect, when the whole connection is known."""


def reason(code: int) -> str:
    """An error of a server or the way to it, for people."""
    return REASONS.get(code) or os.strerror(code).lower()


def local_reason(code: int) -> str:
    """The reason for a probe that could not even start: often this director's fault, not the server's."""
    return REASONS.get(code) or f"cannot probe from here: {os.strerror(code).lower()}"
