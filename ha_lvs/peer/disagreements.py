"""Where two directors think differently of a server, and for how long. Pure.

A server that is up for one director and down for the other is seldom ill: rather something is wrong on the way from one
of the two. For a moment they always differ, since each finds out by its own probes.

Rules that hold here:
* They disagree when both have a verdict and these have differed without a break for longer than `SHORTEST_S` and than
  `INTERVALS` intervals of the check.
* Of many at once, `TELL_MOST` are told one by one in `TELL_EVERY_S`; of the others how many there are. The end is told
  of those whose beginning was, and once of all others, when nobody disagrees any more.
* When a peer is gone, nobody knows whether it still thinks differently: that is no end, and nothing is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ha_lvs.model import ServerState

SHORTEST_S = 5.0
INTERVALS = 3
TELL_MOST, TELL_EVERY_S = 5, 60.0

Case = tuple[str, bytes]
"""A node and the digest of an endpoint."""


@dataclass(slots=True)
class Report:
    """What there is to tell.

    Arguments:
        begun, ended: cases, one by one.
        many: how many endpoints are disagreed about; 0 where that is not to be told.
        over: whether nobody disagrees any more, after it was told that many do.
    """

    begun: list[Case] = field(default_factory=list)
    ended: list[Case] = field(default_factory=list)
    many: int = 0
    over: bool = False


class Disagreements:
    """All that there are.

    Arguments:
        interval_s: seconds between two probes of the endpoint with a digest.

    Attributes:
        lasting: cases that have lasted long enough to count.
    """

    def __init__(self, interval_s: Callable[[bytes], float]) -> None:
        self._interval_s = interval_s
        self._since: dict[Case, float] = {}
        self.lasting: set[Case] = set()
        self._told: set[Case] = set()  # of `lasting`, one by one
        self._ended: list[Case] = []
        self._window = float("-inf"), 0  # when the time began in which so many were told
        self._summarised_at: float | None = None  # when it was told that there are many; None when that is over
        self._untold = False

    @property
    def count(self) -> int:
        """How many endpoints are disagreed about."""
        return len({digest for _, digest in self.lasting})

    def compare(
        self, node: str, digest: bytes, ours: ServerState | None, theirs: ServerState | None, now: float
    ) -> None:
        """One of the two has another verdict; None for none.

        Arguments:
            now: monotonic seconds.
        """
        case = (node, digest)
        if ours is None or theirs is None or ours is theirs:
            if self._since.pop(case, None) is None:
                return
            self.lasting.discard(case)
            if case in self._told:
                self._told.discard(case)
                if ours is theirs:
                    self._ended.append(case)
        else:
            self._since.setdefault(case, now)

    def drop(self, node: str, digest: bytes) -> None:
        """An endpoint is not probed any more."""
        case = (node, digest)
        self._since.pop(case, None)
        self.lasting.discard(case)
        self._told.discard(case)

    def forget(self, node: str) -> None:
        """A peer is gone."""
        for case in [each for each in self._since if each[0] == node]:
            self.drop(*case)
        if not self.lasting:
            self._summarised_at, self._untold = None, False

    def look(self, now: float) -> Report:
        """What has come to last, and has ended, since the last look."""
        report = Report()
        report.ended, self._ended = self._ended, []
        for case, since in self._since.items():
            if case not in self.lasting and now - since > self._patience_s(case[1]):
                self.lasting.add(case)
                if self._may_tell(now):
                    self._told.add(case)
                    report.begun.append(case)
                else:
                    self._untold = True
        if self._untold and self.lasting and not self._told_lately(now):
            report.many, self._summarised_at, self._untold = self.count, now, False
        if not self.lasting:
            report.over = self._summarised_at is not None
            self._summarised_at, self._untold = None, False
        return report

    def _patience_s(self, digest: bytes) -> float:
        return max(SHORTEST_S, INTERVALS * self._interval_s(digest))

    def _told_lately(self, now: float) -> bool:
        return self._summarised_at is not None and now - self._summarised_at < TELL_EVERY_S

    def _may_tell(self, now: float) -> bool:
        began, told = self._window
        if now - began >= TELL_EVERY_S:
            began, told = now, 0
        self._window = (began, told + 1)
        return told < TELL_MOST
