"""Passive evidence in the director process: reads the connection table and tells which servers are suspect.

Rules that hold here:
* It is read only while some service wants it, once a second at most, and so seldom that reading takes a tenth of the
  time at most, in a thread.
* Where the table cannot be read whole, that is told once, and its first rows are what is known: it is in the order of
  a hash, so they are a fair sample.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from ha_lvs.daemon.balancer import Balancer
from ha_lvs.kernel import connections
from ha_lvs.kernel.connections import LEAST_ROWS, MOST_ROWS, Reading
from ha_lvs.model import DestinationKey, Endpoint
from ha_lvs.plan.suspicion import Suspicion

log = structlog.get_logger()

EVERY_S = 1.0
REST = 9.0
"""After a reading it rests for so many times as long as that took, at least."""

QUIET_S = 60.0
"""A server that is suspect again within this time is not told of anew."""


class Evidence:
    """Watches the connection table.

    Arguments:
        services: in the kernel; who wants it, and who is where.
        hurry: has these probed at once.
        read: reads the table up to so many rows; only tests give it.
    """

    def __init__(
        self,
        services: Balancer,
        hurry: Callable[[Sequence[Endpoint]], object],
        read: Callable[[int], Reading] | None = None,
    ) -> None:
        self._services = services
        self._hurry = hurry
        self._read = read or (lambda most: connections.read(most, time.monotonic))
        self._suspicion = Suspicion()
        self._most_rows = MOST_ROWS
        self._complained = False
        self._lately: dict[tuple[str, DestinationKey], float] = {}

    async def run(self) -> None:
        """Works until it is cancelled."""
        rest_s = EVERY_S
        while True:
            await asyncio.sleep(rest_s)
            rest_s = EVERY_S
            if not self._services.wants_evidence:
                self._know_nothing()
                continue
            try:
                reading = await asyncio.to_thread(self._read, self._most_rows)
            except OSError as problem:
                self._complain(str(problem))
                self._know_nothing()
                continue
            rest_s = max(EVERY_S - reading.took_s, REST * reading.took_s)
            self.note(reading, time.monotonic())

    def note(self, reading: Reading, now: float) -> None:
        """Takes in a reading of the table.

        Arguments:
            now: monotonic seconds.
        """
        if not reading.whole:
            self._complain(f"only its first {reading.rows} rows are looked at")
        if reading.late:  # later readings are of fewer rows, and then always of the same ones
            self._most_rows = max(LEAST_ROWS, min(reading.rows, self._most_rows) // 2)
            self._know_nothing()
            return
        found = self._services.suspect(self._suspicion.note(reading.servers))
        self._lately = {each: at for each, at in self._lately.items() if now - at < QUIET_S}
        for service, server in found:
            key = server.destination.key
            if (service, key) not in self._lately:
                log.notice("server suspect", service=service, server=str(key))
            self._lately[service, key] = now
        endpoints = dict.fromkeys(endpoint for _, server in found for endpoint in server.checks)
        if endpoints:
            self._hurry(list(endpoints))

    def _know_nothing(self) -> None:
        self._suspicion.forget()
        self._services.suspect(())

    def _complain(self, detail: str) -> None:
        if not self._complained:
            log.warning("connection table not read whole", detail=detail)
        self._complained = True
