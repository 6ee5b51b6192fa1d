"""How long things may take, derived from the configurations alone. All in seconds of the slowest clock.

The words: I an advertisement interval, d the longest way of a packet, R the time between announcements, W the window
of an offer, L the time for which one that slept listens (interval and skew, below 2 I), D an Active_Down_Interval, S a
start-up delay, P a preempt delay; each the longest among the directors. A clock is wrong by at most `DRIFT`, and
everything is stretched by more than twice that.

**Two that are active and hear each other: W + L + I + d.** Count from the last packet between them that was lost, and
from the moment from which both run. Of two actives the inferior yields to the first advertisement of the superior. That
comes within I and d, unless
  * the superior listens first, having slept: L more. (If the inferior speaks meanwhile, the superior yields: sooner.)
  * the inferior has taken the role from it by an offer and bears its advertisements: W more, from its own beginning.
The inferior's bearing and the superior's listening may follow one another, so they add up.

**An address held where nobody runs: the lease.** One that is not an active at work does not renew: what it held when it
ceased to be one, or has found when it started, ends by itself. It may be put there once more, when one without a lease
was found and given one; the simulated kernel knows only leased ones.

**From healing to one active in its place, for good: S + 2 L + 3 D + W + P + I + 5 d + R.** The longest way to it:
  * a role is taken by an offer in the last moment, which is borne: W;
  * whoever slept listens, or gives others the benefit of listening: L; whoever was barred listens: L;
  * whoever slept while it waited waits for D anew; whoever starts waits for D, but not less than S;
  * the active that results is inferior: it is borne for P, but not for less than D, by one that yielded to it before;
  * an active that yields to a live one resigns: I and a D again at most for those who believed in it;
  * each step takes a packet's way.
The neighbours may have learned a loser that nobody has heard: it is put right by the next announcement, R later.
"""

from __future__ import annotations

from ha_lvs.election.timing import (
    LOWEST_PRIORITY,
    active_down_interval_s,
    listening_s,
    offer_window_s,
)
from ha_lvs.model import VrrpInstance

DRIFT = 500e-6
STRETCH = 1 + 4 * DRIFT


def longest_interval_s(configs: list[VrrpInstance]) -> float:
    """I."""
    return max(config.interval_s for config in configs)


def longest_down_s(configs: list[VrrpInstance]) -> float:
    """D."""
    return max(active_down_interval_s(LOWEST_PRIORITY, c.interval_s, c.down_after, c.version) for c in configs)


def longest_listening_s(configs: list[VrrpInstance]) -> float:
    """L."""
    return max(listening_s(LOWEST_PRIORITY, c.interval_s, c.version) for c in configs)


def both_active_s(configs: list[VrrpInstance], way_s: float, *, offers: bool = True) -> float:
    """How long two may be active that hear each other.

    Arguments:
        configs: of the directors.
        way_s: d.
        offers: whether the role is ever offered.
    """
    interval_s = longest_interval_s(configs)
    window_s = max(offer_window_s(c.interval_s) for c in configs) if offers else 0.0
    return (window_s + longest_listening_s(configs) + interval_s + way_s) * STRETCH


def settled_s(configs: list[VrrpInstance], way_s: float) -> float:
    """How long after all faults have ended until one is active, in its place, and nothing changes any more."""
    window_s = max(offer_window_s(c.interval_s) for c in configs)
    starting_s = max(c.startup_delay_s for c in configs)
    preempting_s = max(c.preempt_delay_s for c in configs)
    waits_s = 2 * longest_listening_s(configs) + 3 * longest_down_s(configs) + longest_interval_s(configs)
    refresh_s = max(c.announce_refresh_s + c.announce_interval_s for c in configs)
    return (refresh_s + starting_s + waits_s + window_s + preempting_s + 5 * way_s) * STRETCH
