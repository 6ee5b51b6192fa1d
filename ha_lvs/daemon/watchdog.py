"""systemd's watchdog: fed by the guardian, and only while the elector and the director answer.

The guardian's own loop feeding it says that the guardian turns; withholding it says that what the guardian is there
for does not, and that the guardian could not mend it. systemd then ends the whole unit and starts it anew, which hands
the virtual IPs to the peer.

A process's silence counts from its last sign of life, through its death and restart: being started again is no answer,
and one that dies and returns in time has never been missed. How long it may last is `patience.until_starved_s`: longer
than the guardian needs to kill it and start it again. So the watchdog starves only when that did not help.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

log = structlog.get_logger()

FEEDINGS = 3
"""How often it is fed in the time that systemd allows."""
UNLIMITED_USEC = (1 << 64) - 1
GUARDED = ("elector", "director")
"""Whose silence starves it. A prober that is gone leaves the servers as they were; the guardian restarts it."""


@dataclass(frozen=True, slots=True)
class Silence:
    """How long a process has not been heard, in seconds, and how long it may be."""

    process: str
    silent_s: float
    allowed_s: float


def period_s(environment: Mapping[str, str], pid: int) -> float | None:
    """How often the watchdog has to be fed, in seconds; None when systemd asks for none (sd_watchdog_enabled(3)).

    Arguments:
        environment: this process's.
        pid: this process's.
    """
    try:
        limit_usec = int(environment["WATCHDOG_USEC"])
        asked = int(environment.get("WATCHDOG_PID", pid))
    except (KeyError, ValueError):
        return None
    if asked != pid or not 0 < limit_usec < UNLIMITED_USEC:
        return None
    return limit_usec / 1e6 / FEEDINGS


def starved_by(silences: Iterable[Silence]) -> Silence | None:
    """Whose silence forbids to feed the watchdog: the one that is longest overdue; None when it may be fed."""
    overdue = [each for each in silences if each.silent_s > each.allowed_s]
    return max(overdue, key=lambda each: each.silent_s - each.allowed_s, default=None)


class Watchdog:
    """What has been done about the watchdog so far.

    Arguments:
        feed: sends WATCHDOG=1.
    """

    def __init__(self, feed: Callable[[], None]) -> None:
        self._feed = feed
        self._starving: Silence | None = None

    def turn(self, silences: Iterable[Silence]) -> bool:
        """Feeds or withholds, and says which; the first withholding is logged, and its end.

        Arguments:
            silences: of the processes that have to answer; none while stopping, which is bounded by itself.
        """
        starved = starved_by(silences)
        if starved is None:
            self._feed()
            if self._starving is not None:
                log.warning("watchdog fed again", process=self._starving.process)
        elif self._starving is None:
            log.error("watchdog starved", process=starved.process, silent_s=round(starved.silent_s, 1))
        self._starving = starved
        return starved is None
