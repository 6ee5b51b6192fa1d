"""VRRP's derived times (RFC 9568 section 6.1), with full precision, and those that ha-lvs adds.

RFC 9568 computes in centiseconds; implementations that truncate the skew there let priorities stagger by nothing at
short intervals, so everything here is a float of seconds.
"""

from __future__ import annotations

MISSED_INTERVALS = 3
"""How many advertisements may stay out before the active counts as dead, unless the operator says otherwise."""

LOWEST_PRIORITY = 1
OWNER_PRIORITY = 255

LOOKS_PER_INTERVAL = 2
LATE_SHARE = 0.25
"""A timer is late when it comes by more than this share of an interval after its time."""

SHORTEST_OFFER_S = 0.3
LONGEST_OFFER_S = 1.0
ADVERTS_PER_OFFER = 4


def skew_time_s(priority: int, active_interval_s: float, version: int = 3) -> float:
    """Skew_Time: the higher the priority, the sooner a backup moves.

    Arguments:
        priority: of this router, 1 to 254.
        active_interval_s: Active_Adver_Interval, the interval that the active announces, in seconds.
        version: of VRRP; the skew of version 2 is a share of one second whatever the interval (RFC 3768 6.1).
    """
    return (256 - priority) * (1.0 if version == 2 else active_interval_s) / 256


def active_down_interval_s(
    priority: int, active_interval_s: float, down_after: int = MISSED_INTERVALS, version: int = 3
) -> float:
    """Active_Down_Interval: the silence after which a backup takes over, in seconds.

    Arguments:
        priority, active_interval_s, version: as for `skew_time_s`.
        down_after: intervals of silence, without the skew.
    """
    return down_after * active_interval_s + skew_time_s(priority, active_interval_s, version)


def listening_s(priority: int, interval_s: float, version: int = 3) -> float:
    """For how long an active that did not run listens before it speaks, in seconds.

    Whoever replaced it speaks within an interval; the skew is for the way, and lets the highest priority speak first.
    """
    return interval_s + skew_time_s(priority, interval_s, version)


def offer_window_s(interval_s: float) -> float:
    """For how long an offered role waits to be taken, in seconds.

    Two intervals, since who takes it is recognised by its advertisements. Not less than four processes on two machines
    need to pass the word on when they are busy; not more than a person who stops a director waits gladly. Within it the
    taker advertises `ADVERTS_PER_OFFER` times, however long the interval: one lost packet does not spoil the hand-over.
    """
    return min(LONGEST_OFFER_S, max(SHORTEST_OFFER_S, 2 * interval_s))
