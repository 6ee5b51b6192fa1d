"""Who may judge a silence: the detection time of a BFD session, and when it proves nothing.

At intervals of milliseconds a silence has two explanations: the far end is gone, or this machine has not run. Silence
counts only before a judge that can rule out the second one:

* A judge that looks late, by more than half an interval of the far end's, was not running: no verdict.
* A processor that a hypervisor has taken away may sit on packets that have arrived, or on a timer of the far end where
  that is a neighbour on the same host, while the judge runs punctually on another processor. So before the detection
  time is over the judge asks for every processor of this machine (`AskProcessors`). As long as one of them does not
  answer: no verdict.
* In both cases the far end gets a whole detection time more, from when this machine runs again: what was held back has
  to come through, and whoever shares its fate has to wake up. The judge may hesitate again for a new reason, but all in
  all for no longer than `HESITATION_S`, or one detection time if that is longer; then silence is silence.
* A far end that has stopped is down after the detection time: nothing of this applies to it on a machine that runs.

Pure, like the machine in `election.bfd`, whose part it is. Times are monotonic seconds.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

ASK_BEFORE_S = 0.003
"""How long before the verdict the processors are asked, at most: a stall that has just ended is followed by packets."""
PROMPT_S = 0.0005
"""An answer that takes longer comes from a processor that did not run: as measured they take 0.1 ms."""
LOOK_AGAIN_S = 0.0005
"""How often to look whether a missing processor is back."""
HESITATION_S = 0.1
"""Longer than a hypervisor was seen to take a processor away: up to 60 ms, on a machine that is throttled."""
SHORT = 3
"""The processors are asked in the last one of so many parts of the detection time, when packets are missing already."""


@dataclass(frozen=True, slots=True)
class AskProcessors:
    """Find out whether every processor of this machine runs, and call `processors_answered` when all do."""


class Excuse(enum.Enum):
    """Why a silence was given more time; the value is for people."""

    LATE = "this director looked late"
    STALLED = "a processor of this machine did not run"


@dataclass(frozen=True, slots=True)
class Postponed:
    """For observers: the detection time is over, and the far end is given more of it. Once in a silence.

    Arguments:
        excuse: why.
        detail: more of it, in words.
    """

    excuse: Excuse
    detail: str


@dataclass(frozen=True, slots=True)
class Expired:
    """Nothing was heard, and nothing excuses it any more."""


Finding = AskProcessors | Postponed | Expired


class Silence:
    """What is going on since the last packet of the far end.

    Attributes to read:
        look_at: when to look next; None while nothing is expected.
        late_looks, stalls: how often a silence was given more time, by excuse.
    """

    __slots__ = (
        "_answered_at", "_asked_at", "_detect_at", "_detection_s", "_give_up_at", "_intervals", "_lenient", "_missing",
        "_told", "late_looks", "look_at", "stalls",
    )  # fmt: skip

    def __init__(self) -> None:
        self.late_looks = self.stalls = 0
        self._asked_at: float | None = None
        self._answered_at: float | None = None
        self.end()

    def begin(self, now: float, detection_s: float, intervals: int, *, lenient: bool = True) -> None:
        """A packet was heard: from now on it is silent.

        Arguments:
            detection_s: for how long it may be, in seconds.
            intervals: of the far end's, 1 or more, that is.
            lenient: False where nothing depends on the verdict: it falls by the clock alone then.
        """
        self._detection_s = detection_s
        self._intervals = intervals
        self._lenient = lenient
        self._told = False
        self._give_up_at = math.inf
        self._await(now + detection_s)

    def end(self) -> None:
        """Nothing is expected any more."""
        self._detect_at = self._detection_s = 0.0
        self._intervals = 1
        self._lenient = self._missing = self._told = False
        self._asked_at = self._answered_at = None
        self._give_up_at = math.inf
        self.look_at: float | None = None

    def processors_answered(self, at: float) -> None:
        """Every processor of this machine has run since `AskProcessors`.

        Arguments:
            at: when the last of them did.
        """
        if self._asked_at is not None and self._answered_at is None:
            self._answered_at = at
            if self._stalled():
                self.look_at = at

    def look(self, now: float, late_s: float) -> list[Finding]:
        """What is to be thought of the silence; to be called after every packet that has arrived was taken in.

        Arguments:
            late_s: how much later than it was wanted this look is, in seconds.
        """
        if self.look_at is None:
            return []
        if not self._lenient or now >= self._give_up_at:
            self.look_at = self._detect_at
            return [Expired()] if now >= self._detect_at else []
        enough_s = self._detection_s / self._intervals / 2
        if late_s > enough_s and now + self._detection_s - self._detect_at > enough_s:
            self.late_looks += 1
            return self._excuse(Excuse.LATE, now, now, late_s)
        if now < self.look_at:
            return []
        if self._asked_at is None:
            self._asked_at = now
            self.look_at = max(self._detect_at, now + PROMPT_S)
            return [AskProcessors()]
        if self._answered_at is None:
            return self._wait_for_processor(now, now - self._asked_at)
        if self._stalled():
            return self._processor_is_back(now, self._answered_at, self._answered_at - self._asked_at)
        return [Expired()]

    def _await(self, detect_at: float) -> None:
        self._detect_at = detect_at
        self._missing = False
        self._asked_at = self._answered_at = None
        self.look_at = detect_at - (min(ASK_BEFORE_S, self._detection_s / SHORT) if self._lenient else 0.0)

    def _stalled(self) -> bool:
        """Whether the processors' answer shows that one of them did not run."""
        assert self._asked_at is not None
        assert self._answered_at is not None
        return self._missing or self._answered_at - self._asked_at > PROMPT_S

    def _wait_for_processor(self, now: float, missing_s: float) -> list[Finding]:
        """The detection time is over, and a processor has not answered: looks again soon."""
        self.look_at = now + LOOK_AGAIN_S
        if self._missing:
            return []
        self._missing = True
        self.stalls += 1
        return self._hesitate(Excuse.STALLED, now, missing_s)

    def _processor_is_back(self, now: float, since: float, missing_s: float) -> list[Finding]:
        if not self._missing:
            self.stalls += 1
        return self._excuse(Excuse.STALLED, now, since, missing_s)

    def _excuse(self, excuse: Excuse, now: float, since: float, lost_s: float) -> list[Finding]:
        """Gives the far end a whole detection time from when this machine ran again."""
        told = self._hesitate(excuse, now, lost_s)
        self._await(max(self._detect_at, since + self._detection_s))
        return told

    def _hesitate(self, excuse: Excuse, now: float, lost_s: float) -> list[Finding]:
        """The first excuse sets the end of all of them; says so when it saves the far end from a verdict."""
        self._give_up_at = min(self._give_up_at, now + max(HESITATION_S, self._detection_s))
        if self._told or now < self._detect_at:
            return []
        self._told = True
        return [Postponed(excuse, f"for {lost_s * 1000:.1f} ms")]
