"""What becomes of children that are stuck: they are killed, and when that does not help, systemd is called in.

Rules that hold here:
* A child that shows no sign of life is killed, since a stuck elector is worse than a dead one; time in which the
  guardian itself did not run does not count.
* How long who may be silent is in `patience`, and what starves systemd's watchdog in `watchdog`.
"""

from __future__ import annotations

import asyncio
import os

import structlog

from ha_lvs.daemon import systemd, watchdog
from ha_lvs.daemon.household import Household
from ha_lvs.daemon.patience import LOOK_EVERY_S, until_starved_s
from ha_lvs.daemon.process import monotonic

log = structlog.get_logger()


async def watch(house: Household) -> None:
    """Kills what is stuck."""
    looked_at = monotonic()
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        now = monotonic()
        late = now - looked_at > 2 * LOOK_EVERY_S
        looked_at = now
        for child in list(house.children.values()):
            if late:
                child.excuse(now)
            elif (silent_s := child.stuck_for_s(now)) is not None:
                log.error("process is stuck; killing it", process=child.spec.name, silent_s=round(silent_s, 1))
                child.kill_stuck()


def feed_watchdog_if_asked(house: Household) -> None:
    """Feeds systemd's watchdog from now on, where systemd has one for this process."""
    period_s = watchdog.period_s(os.environ, os.getpid())
    if period_s is not None:
        house.spawn(feed_watchdog(house, period_s))


async def feed_watchdog(house: Household, period_s: float) -> None:
    """Tells systemd again and again that all is well, while it is; also while we stop, which ends by itself."""
    dog = watchdog.Watchdog(systemd.feed_watchdog)
    turned_at = monotonic()
    while True:
        now = monotonic()
        if now - turned_at > period_s + 2 * LOOK_EVERY_S:
            for child in house.children.values():
                child.excuse(now)
        turned_at = now
        guarded = [] if house.stopping.is_set() else [house.children[name] for name in watchdog.GUARDED]
        fed = dog.turn(
            watchdog.Silence(child.spec.name, now - child.answered_at, until_starved_s(child.spec.alive_s))
            for child in guarded
            if child.answered_at is not None
        )
        await asyncio.sleep(period_s if fed else min(period_s, LOOK_EVERY_S))
