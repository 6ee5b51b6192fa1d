"""The load generator's long-lived connections: will each still answer after the fault?

The rules of `load_stream` hold here too.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from ha_lvs.drill.measure.http_client import Answer, Connection, Failure
from ha_lvs.drill.measure.load_stream import NEVER, NextTarget, Poller

VERIFICATIONS_PER_TURN = 4


class _Member:
    """One long-lived connection and what is known of it."""

    __slots__ = ("answers", "connection", "lost", "server", "to_verify", "verified")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.server = ""
        self.answers = 0
        self.lost = ""
        self.to_verify = False
        self.verified = False


class Ring:
    """Long-lived connections, each with a request now and then, taking turns.

    Arguments:
        poller: who says when they are ready.
        target: gives whom to connect to, for each connection anew.
        request: what to ask.
        size: how many connections.
        open_per_s: how many are opened in a second.
        period_s: time between two requests on one connection.
        start: time of the first.
        report: is called with events in JSON shape: ``opened``, ``verified``.

    A connection is lost when it is reset, closed or answered wrongly, by another status or another server than before.
    """

    def __init__(
        self,
        poller: Poller,
        target: NextTarget,
        request: bytes,
        size: int,
        open_per_s: float,
        period_s: float,
        start: float,
        report: Callable[[dict[str, Any]], None],
    ) -> None:
        self._poller = poller
        self._target = target
        self._request = request
        self._size = size
        self._open_s = 1 / open_per_s
        self._turn_s = period_s / max(1, size)
        self._report = report
        self._members: list[_Member] = []
        self._position = 0
        self._beat = start if size else NEVER
        self._opened = not size
        self._verification: tuple[str, float, float] | None = None  # name, began, deadline
        self._to_ask: deque[_Member] = deque()

    @property
    def next_at(self) -> float:
        """When `turn` has something to do."""
        if self._to_ask:
            return 0.0
        return min(self._beat, self._verification[2] if self._verification else NEVER)

    def turn(self, now: float) -> None:
        """Opens or asks the next connection, and goes on with a verification."""
        if now >= self._beat:
            opening = len(self._members) < self._size
            step_s = self._open_s if opening else self._turn_s
            self._beat += step_s * (1 + int((now - self._beat) / step_s))
            if opening:
                self._open()
            else:
                self._ask(self._members[self._position])
                self._position = (self._position + 1) % self._size
        for _ in range(min(len(self._to_ask), VERIFICATIONS_PER_TURN)):
            self._ask(self._to_ask.popleft())
        self._look(now)

    def verify(self, name: str, now: float, deadline_s: float) -> None:
        """Has every connection answer one more request, sent after `now`, within `deadline_s` seconds.

        A connection that still waits for an earlier answer is asked as soon as that has come. What has not answered
        by the deadline is lost and closed. Reports ``verified`` with `name`.
        """
        self._verification = (name, now, now + deadline_s)
        for member in self._members:
            member.to_verify = not member.lost
            member.verified = False
        self._to_ask = deque(member for member in self._members if member.to_verify)

    def state(self) -> dict[str, Any]:
        """What to report now and then, in JSON shape.

        The keys: ``open`` connections, how many of them are ``waiting`` for an answer, ``lost`` ones by reason, and
        ``least_answers``, the number that every open one has had so far.
        """
        alive = [member for member in self._members if not member.lost]
        return {
            "open": sum(member.answers > 0 for member in alive),
            "waiting": sum(not member.connection.idle for member in alive),
            "lost": dict(Counter(member.lost for member in self._members if member.lost)),
            "least_answers": min((member.answers for member in alive), default=0),
        }

    def _open(self) -> None:
        connection = Connection(self._target(), self._request)
        member = _Member(connection)
        self._members.append(member)
        if connection.failure:
            member.lost = connection.failure.reason
            return
        self._poller.watch(connection.fd, connection.events, lambda _: self._ready(member))

    def _ask(self, member: _Member) -> None:
        if member.lost or not member.connection.idle:
            return
        member.verified = member.to_verify
        failure = member.connection.ask()
        if failure:
            member.lost = failure.reason

    def _ready(self, member: _Member) -> None:
        if member.lost:
            return
        events = member.connection.events
        result = member.connection.handle()
        if isinstance(result, Failure):
            member.lost = result.reason
        elif isinstance(result, Answer):
            self._answered(member, result)
        if not member.lost and member.connection.events != events:
            self._poller.change(member.connection.fd, member.connection.events)

    def _answered(self, member: _Member, answer: Answer) -> None:
        member.server = member.server or answer.body
        if answer.status != 200 or answer.body != member.server:
            member.lost = f"status {answer.status}" if answer.status != 200 else "another server"
            member.connection.close()
            return
        member.answers += 1
        if member.verified:
            member.to_verify = False
        elif member.to_verify:
            self._to_ask.append(member)

    def _look(self, now: float) -> None:
        """Reports what has come to its end."""
        if not self._opened and len(self._members) == self._size:
            self._report_opened()
        if self._verification is None:
            return
        name, began, deadline = self._verification
        late = [member for member in self._members if member.to_verify and not member.lost]
        if late and now < deadline:
            return
        for member in late:
            member.lost = "no answer"
            member.connection.close()
        self._verification = None
        self._to_ask.clear()
        kept = [member for member in self._members if not member.lost]
        self._report(
            {
                "event": "verified",
                "name": name,
                "kept": len(kept),
                "of": self._size,
                "lost": dict(Counter(member.lost for member in self._members if member.lost)),
                "servers": dict(Counter(member.server for member in kept)),
                "took_ms": round((now - began) * 1000, 1),
            }
        )

    def _report_opened(self) -> None:
        if any(not member.answers and not member.lost for member in self._members):
            return
        self._opened = True
        alive = [member for member in self._members if not member.lost]
        self._report(
            {
                "event": "opened",
                "connections": len(alive),
                "lost": dict(Counter(member.lost for member in self._members if member.lost)),
                "servers": dict(Counter(member.server for member in alive)),
                "ports": [member.connection.port for member in alive],
            }
        )
