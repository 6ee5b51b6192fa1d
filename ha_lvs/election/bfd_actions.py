"""What a BFD session may want done, beside what the judge of its silence wants. Frozen values."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ha_lvs.election.bfd_silence import AskProcessors, Postponed
from ha_lvs.model import IPAddress
from ha_lvs.wire.bfd import Control


class Ending(enum.Enum):
    """How a session went down."""

    SILENT = "silent"
    """Nothing was heard for the detection time: the far end is dead or cut off."""
    SIGNALED = "signaled"
    """The far end, which therefore lives, says that its end is down: it does not hear us, or it was started anew."""
    ADMINISTRATIVE = "administrative"
    """The far end has been told to end the session."""


@dataclass(frozen=True, slots=True)
class SendControl:
    """Send this packet."""

    packet: Control


@dataclass(frozen=True, slots=True)
class WentUp:
    """The session is up: both ends hear each other.

    Arguments:
        peer: address of the far end.
    """

    peer: IPAddress


@dataclass(frozen=True, slots=True)
class WentDown:
    """The session was up and is not any more.

    Arguments:
        peer: address of the far end.
        ending: in which way.
        diagnostic: that our packets carry from now on.
        reason: in words.
    """

    peer: IPAddress
    ending: Ending
    diagnostic: int
    reason: str

    @property
    def planned(self) -> bool:
        """Whether the far end has said so itself: it lives, and nobody has to take anything over from it."""
        return self.ending is not Ending.SILENT


BfdAction = SendControl | WentUp | WentDown | AskProcessors | Postponed
