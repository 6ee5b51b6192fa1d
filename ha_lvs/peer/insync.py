"""Whether this node holds the peer's connection table, as far as that can be told now. Pure.

This is the place for a later issue that compares the tables. Until then a node counts as in sync when nothing is
synchronised, when it has been linked for so long that the kernel's sync has told of what is in use, and when no peer
was there for so long that nobody has a better table.
"""

from __future__ import annotations

LINKED_S, ALONE_S = 3.0, 10.0


class InSync:
    """What is known of it.

    Arguments:
        needed: whether connections are synchronised at all.
        now: monotonic seconds of the start.
    """

    def __init__(self, needed: bool, now: float) -> None:
        self._needed = needed
        self._linked_at: float | None = None
        self._alone_since = now
        self._value: bool | None = None

    def linked(self, now: float) -> None:
        """The first peer is there. After a long time alone our table is not its table; after a moment it still is."""
        if self._linked_at is not None:
            return
        if now - self._alone_since >= ALONE_S:
            self._value = False
        self._linked_at = now

    def lost(self, now: float) -> None:
        """The last peer is gone; what we hold of it we go on holding."""
        self._linked_at, self._alone_since = None, now

    def value(self, now: float) -> bool | None:
        """Whether it is in sync; None until that can be told: then whatever was said before holds."""
        if self._linked_at is None:
            since, enough_s = self._alone_since, ALONE_S
        else:
            since, enough_s = self._linked_at, LINKED_S
        if not self._needed or now - since >= enough_s:
            self._value = True
        return self._value
