"""How often the elector speaks of a trouble that recurs: at once, then now and then.

Nothing is imported here: the elector has to stay light.
"""

from __future__ import annotations

SAME_COMPLAINT_EVERY_S = 10.0


class Complaints:
    """What one part of the elector has complained of lately."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def due(self, key: str, now: float) -> bool:
        """Whether to complain: at most every `SAME_COMPLAINT_EVERY_S`. If so, it counts as done.

        Arguments:
            key: tells one trouble from another.
            now: monotonic seconds.
        """
        if now - self._at.get(key, -SAME_COMPLAINT_EVERY_S) < SAME_COMPLAINT_EVERY_S:
            return False
        self._at[key] = now
        return True
