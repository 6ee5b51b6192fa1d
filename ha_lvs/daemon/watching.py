"""Following the config file by itself, where it says so: `watch`.

Rules that hold here:
* Files are looked at, not listened to: that works on every file system, through symbolic links that are swapped, and
  for a file that did not exist when it was included.
* A change is followed when two looks in a row have found the same, so that a file is not read while it is written.
* What was tried once and refused is not tried again before it changes again.
"""

from __future__ import annotations

import asyncio

import structlog

from ha_lvs.config.sources import Sources
from ha_lvs.daemon.household import Household
from ha_lvs.daemon.reloading import Reloading

log = structlog.get_logger()

LOOK_WHETHER_S = 1.0
"""How often it is looked whether the file in force asks to be watched."""


async def follow(house: Household, reloading: Reloading, sources: Sources) -> None:
    """Reloads whenever a file of the config has changed, as long as the one in force asks for it.

    Arguments:
        sources: the files, as they were read last.
    """
    before = tried = sources.as_read
    while True:
        every_s = house.orders.watch_s
        await asyncio.sleep(LOOK_WHETHER_S if every_s is None else every_s)
        if house.orders.watch_s is None or reloading.lock.locked():
            continue
        now = await asyncio.to_thread(sources.as_they_are)
        settled, before = now == before, now
        if now in (sources.as_read, tried) or not settled:
            continue
        tried = now
        log.info("config file changed; following it")
        await reloading.reload()
