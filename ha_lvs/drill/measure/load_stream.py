"""The load generator's stream: a short request on a connection of its own, on each beat.

Rules that hold here and in `load_ring`:
* No clock is read: `now` (CLOCK_MONOTONIC seconds) comes in, the time of the next turn is `next_at`.
* One turn does little (one request sent, or a handful of verifications), so that neither part holds up the other: a
  measured outage must never be the load generator's own.
* The stream keeps its beat whatever happens to the requests under way.
"""

from __future__ import annotations

import select
from collections.abc import Callable

from ha_lvs.drill.measure.http_client import Address, Answer, Connection, Failure
from ha_lvs.drill.measure.tally import Request

HANDLED_PER_TURN = 16

NEVER = float("inf")

NextTarget = Callable[[], Address]
"""Gives the address for the next connection."""


class Poller:
    """An epoll that knows what to call for each connection."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._calls: dict[int, Callable[[float], None]] = {}

    def watch(self, fd: int, events: int, call: Callable[[float], None]) -> None:
        """From now on calls `call(now)` when `fd` is ready. A descriptor of the same number is forgotten."""
        self._calls[fd] = call
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Waits for other events on a watched descriptor."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Watches a descriptor no more; one that is closed is forgotten by itself."""
        self._epoll.unregister(fd)
        del self._calls[fd]

    def wait(self, seconds: float) -> list[Callable[[float], None]]:
        """What to call, after at most `seconds`. A few at a time: the beat of the stream goes first."""
        ready = self._epoll.poll(max(0.0, seconds), HANDLED_PER_TURN)
        return [self._calls[fd] for fd, _ in ready if fd in self._calls]


class Stream:
    """A new connection and request on each beat, independent of those under way.

    Arguments:
        poller: who says when they are ready.
        target: gives whom to ask, for each request anew.
        request: what to ask.
        rate: requests a second; 0 for none.
        timeout_s: after which a request has failed. Not more than a second, the time after which Linux sends a SYN
            again: otherwise a request of the outage would be answered after it and make it look shorter.
        start: time of the first request.
    """

    def __init__(
        self, poller: Poller, target: NextTarget, request: bytes, rate: float, timeout_s: float, start: float
    ) -> None:
        self._poller = poller
        self._target = target
        self._request = request
        self._period_s = 1 / rate if rate else NEVER
        self._timeout_s = timeout_s
        self._under_way: dict[Connection, float] = {}  # in order of sending, therefore of timing out
        self._beat = start if rate else NEVER
        self.finished: list[Request] = []
        self.sent = 0
        self.worst_lateness_ms = 0.0

    @property
    def next_at(self) -> float:
        """When `turn` has something to do."""
        oldest = next(iter(self._under_way.values()), NEVER)
        return min(self._beat, oldest + self._timeout_s)

    def turn(self, now: float) -> None:
        """Gives up what is too old and sends what is due."""
        while self._under_way:
            connection, sent_s = next(iter(self._under_way.items()))
            if now < sent_s + self._timeout_s:
                break
            self._over(connection, now, Failure("timeout"))
        if now >= self._beat:
            self.worst_lateness_ms = max(self.worst_lateness_ms, (now - self._beat) * 1000)
            # Beats that were slept through are left out: a burst of them afterwards would be another load.
            self._beat += self._period_s * (1 + int((now - self._beat) / self._period_s))
            self._send(now)

    def stop(self) -> None:
        """Sends no more and forgets what is under way: it is neither answered nor failed."""
        self._beat = NEVER
        for connection in self._under_way:
            connection.close()
        self._under_way.clear()

    def _send(self, now: float) -> None:
        connection = Connection(self._target(), self._request)
        self.sent += 1
        self._under_way[connection] = now
        if connection.failure:
            self._over(connection, now, connection.failure)
        else:
            self._poller.watch(connection.fd, connection.events, lambda at: self._ready(connection, at))

    def _ready(self, connection: Connection, now: float) -> None:
        if connection not in self._under_way:
            return
        events = connection.events
        result = connection.handle()
        if result is not None:
            self._over(connection, now, result)
        elif connection.events != events:
            self._poller.change(connection.fd, connection.events)

    def _over(self, connection: Connection, now: float, result: Answer | Failure) -> None:
        sent_s = self._under_way.pop(connection)
        connection.close()
        took_s = now - sent_s
        if isinstance(result, Answer) and result.status != 200:
            result = Failure(f"status {result.status}")
        if isinstance(result, Answer) and took_s > self._timeout_s:
            result = Failure("timeout")
        server = result.body if isinstance(result, Answer) else ""
        failure = result.reason if isinstance(result, Failure) else ""
        self.finished.append(Request(sent_s, took_s * 1000, server, failure, connection.port))
