"""Probes that talk: a dialogue over a TCP connection.

Rules that hold here:
* What a server says, however much, is read in turns of `_READS` parts, so that no server keeps the engine from others.
* What is kept of it is the dialogue's to bound; nothing is kept here but what is still to be sent.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from ha_lvs.health.probes.base import Driver, reason
from ha_lvs.health.probes.patterns import Pattern
from ha_lvs.health.probes.tcp import EDGES, TcpProbe
from ha_lvs.health.speech import http, http_body
from ha_lvs.health.speech.dialogue import Dialogue, Outcome
from ha_lvs.model import Endpoint, HttpCheck

OpenDialogue = Callable[[], Dialogue]
"""Makes the dialogue of one probe."""

_READ = 4096
_READS = 16


class StreamProbe(TcpProbe):
    """A connection over which a dialogue goes on until it has an outcome.

    Arguments:
        endpoint, engine: as in `Probe`.
        open_dialogue: makes the dialogue of one probe.
    """

    __slots__ = ("connected", "dialogue", "open_dialogue", "unsent")

    def __init__(self, endpoint: Endpoint, engine: Driver, open_dialogue: OpenDialogue) -> None:
        super().__init__(endpoint, engine)
        self.open_dialogue = open_dialogue
        self.dialogue: Dialogue | None = None
        self.unsent = b""
        self.connected = False

    def start(self, now: float) -> None:
        """See `Probe`."""
        self.dialogue = self.open_dialogue()
        self.unsent = self.dialogue.opening
        self.connected = False
        super().start(now)

    def advance(self, event: int, now: float) -> None:
        """See `Probe`."""
        sock = self.sock
        assert sock is not None
        try:
            # A connection that failed says so in send or recv; recv first hands out what came before a reset.
            self._send(sock)
            self.connected = True
            outcome = self._listen(sock) if event & ~select.EPOLLOUT else None
        except BlockingIOError:
            return
        except OSError as problem:
            outcome = Outcome(False, reason(problem.errno or 0))
        if outcome is not None:
            self.settle(outcome, now)

    def _send(self, sock: socket.SocketType) -> None:
        if self.unsent:
            self.unsent = self.unsent[sock.send(self.unsent, socket.MSG_NOSIGNAL) :]

    def _listen(self, sock: socket.SocketType) -> Outcome | None:
        """Reads until there is an outcome; BlockingIOError says that there is nothing more to read yet."""
        for _ in range(_READS):
            part = sock.recv(_READ)
            outcome = self.take_in(part) if part else self.take_end()
            if outcome is not None:
                return outcome
            if self.unsent:
                self._send(sock)
        self.engine.renew(self.fd, EDGES)
        return None

    def take_in(self, part: bytes) -> Outcome | None:
        """Makes what it is of bytes that came; may put something into `unsent`. Returns the outcome if there is one."""
        dialogue = self.dialogue
        assert dialogue is not None
        reply = dialogue.hear(part)
        if reply.say:
            self.say(reply.say)
        return reply.outcome

    def say(self, words: bytes) -> None:
        """Sends what the dialogue says, as soon as it can be."""
        self.unsent += words

    def take_end(self) -> Outcome:
        """The server will say no more."""
        assert self.dialogue is not None
        return self.dialogue.ended()

    def settle(self, outcome: Outcome, now: float) -> None:
        """The dialogue, or the connection, is over."""
        self.spent = not outcome.success
        self.engine.end(self, outcome.success, outcome.reason, now)

    def close(self) -> None:
        """See `Probe`."""
        super().close()
        self.dialogue = None

    def overdue(self) -> str:
        """See `Probe`."""
        if self.dialogue is not None and self.connected and not self.unsent:
            return f"timed out waiting for {self.dialogue.awaited}"
        return super().overdue()


def http_dialogues(endpoint: Endpoint) -> OpenDialogue:
    """The dialogues of an HTTP check: whatever can be made once for all of its probes is made here."""
    check, request = endpoint.check.http or HttpCheck(), http.request(endpoint)
    if not http_body.looks_at_body(check):
        return lambda: http.HttpDialogue(check, request)
    search = Pattern(check.matches).search
    return lambda: http_body.BodyDialogue(check, request, search)


class HttpProbe(StreamProbe):
    """A request, and the status and perhaps the body of its answer."""

    __slots__ = ()

    def __init__(self, endpoint: Endpoint, engine: Driver) -> None:
        super().__init__(endpoint, engine, http_dialogues(endpoint))
