"""Passive evidence: whose handshakes remain unfinished is suspect, before a check has found anything out.

The rule: a server is suspect when in two readings in a row the number of its unfinished handshakes has grown, when at
least `LEAST_OLD` of them were there a reading ago, and when they are more than half of its connections. New
connections alone are no evidence, since each begins with a handshake: only those that go on waiting are.

A suspect is probed at once. It loses nothing by it: what counts is what the probe finds.
"""

from __future__ import annotations

from collections.abc import Mapping

from ha_lvs.model import DestinationKey
from ha_lvs.wire.conn_table import Handshakes

LEAST_OLD = 5

Reading = Mapping[DestinationKey, Handshakes]


class Suspicion:
    """What the last readings of the connection table say of the servers."""

    def __init__(self) -> None:
        self._before: Reading = {}
        self._grown: frozenset[DestinationKey] = frozenset()  # those that grew up to the last reading
        self._any = False  # whether there was a reading

    def note(self, reading: Reading) -> frozenset[DestinationKey]:
        """The servers that are suspect after another reading, about a second after the one before."""
        grown = frozenset(key for key, each in reading.items() if self._any and each.waiting > self._waited(key))
        suspects = frozenset(
            key
            for key in grown & self._grown
            if 2 * reading[key].waiting > reading[key].entries and self._old(key, reading[key]) >= LEAST_OLD
        )
        self._before, self._grown, self._any = reading, grown, True
        return suspects

    def forget(self) -> None:
        """What is read next is compared with nothing."""
        self._before, self._grown, self._any = {}, frozenset(), False

    def _waited(self, key: DestinationKey) -> int:
        return self._before[key].waiting if key in self._before else 0

    def _old(self, key: DestinationKey, now: Handshakes) -> int:
        """How many of its unfinished handshakes were there a reading ago."""
        return len(now.names & self._before[key].names) if key in self._before else 0
