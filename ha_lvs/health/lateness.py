"""How late probes start: a histogram that costs next to nothing to fill. Pure.

Rules that hold here:
* Buckets grow by a tenth, so that what is told is at most a tenth more than what was.
"""

from __future__ import annotations

import math

_GROWTH = 1.1
_FIRST_S = 0.0001
_BUCKETS = 128  # up to 18 seconds
_PER_LOG = 1 / math.log(_GROWTH)


class Lateness:
    """The lateness of many starts."""

    __slots__ = ("_counts", "total")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.total = 0

    def note(self, late_s: float) -> None:
        """Counts one start, in seconds; what came early was on time."""
        bucket = int(math.log(late_s / _FIRST_S) * _PER_LOG) + 1 if late_s > _FIRST_S else 0
        self._counts[bucket if bucket < _BUCKETS else _BUCKETS - 1] += 1
        self.total += 1

    def quantile_s(self, share: float) -> float:
        """The lateness in seconds that a share of the starts did not exceed, 0 to 1; 0.0 before the first."""
        wanted, seen = share * self.total, 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return _FIRST_S * _GROWTH**bucket if bucket else 0.0
        return 0.0
