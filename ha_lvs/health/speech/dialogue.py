"""A dialogue with a server over a stream, whatever carries it: what to say first, and what to make of what comes back.

Rules that hold here:
* Pure: bytes in, bytes and an outcome out. Time-outs, sockets and TLS are the driver's.
* However much comes, however slowly, a dialogue keeps a bounded part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a probe ended.

    Arguments:
        success: whether the server is fine.
        reason: the same for people: ``HTTP 503``, ``connected``.
    """

    success: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What a dialogue does about what it heard.

    Arguments:
        say: what to send next; empty for nothing.
        outcome: how it ended, or None while it goes on.
    """

    say: bytes = b""
    outcome: Outcome | None = None


NOTHING = Reply()
"""Wait for more."""


class Dialogue(Protocol):
    """One conversation with one server; made anew for each probe.

    Attributes:
        opening: what is sent as soon as the connection stands; empty where the server speaks first.
        awaited: what is waited for, for people: ``the status line``.
    """

    opening: bytes
    awaited: str

    def hear(self, part: bytes) -> Reply:
        """Takes in what came next; called with one byte at least."""

    def ended(self) -> Outcome:
        """The server has closed the connection before the dialogue was over."""


def excerpt(part: bytes) -> str:
    """The first line of what a server said, at most 40 bytes of it, fit for a log."""
    line = part.split(b"\n", 1)[0][:40]
    return repr(line.decode("latin-1").rstrip("\r"))
