"""VRRP's derived times (RFC 9568 section 6.1), with full precision.

RFC 9568 computes in centiseconds; implementations that truncate the skew there let priorities stagger by nothing at
short intervals, so everything here is a float of seconds.
"""

from __future__ import annotations

MISSED_INTERVALS = 3
"""How many advertisements may stay out before the active counts as dead."""


def skew_time_s(priority: int, active_interval_s: float) -> float:
    """Skew_Time: the higher the priority, the sooner a backup moves.

    Arguments:
        priority: of this router, 1 to 254.
        active_interval_s: Active_Adver_Interval, the interval that the active announces.
    """
    return (256 - priority) * active_interval_s / 256


def active_down_interval_s(priority: int, active_interval_s: float) -> float:
    """Active_Down_Interval: the silence after which a backup takes over."""
    return MISSED_INTERVALS * active_interval_s + skew_time_s(priority, active_interval_s)
