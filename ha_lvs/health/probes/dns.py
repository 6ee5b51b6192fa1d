"""DNS probes: a query over UDP."""

from __future__ import annotations

import os

from ha_lvs.health.probes.base import Driver
from ha_lvs.health.probes.datagram import DatagramProbe
from ha_lvs.health.speech.dialogue import Outcome
from ha_lvs.model import DnsCheck, Endpoint


class DnsProbe(DatagramProbe):
    """A query and its answer."""

    __slots__ = ("_identity", "_question", "_strange")

    def __init__(self, endpoint: Endpoint, engine: Driver) -> None:
        # Here and not above: whoever has no DNS check does without dnspython.
        from ha_lvs.health.speech.dns import DnsQuestion

        super().__init__(endpoint, engine)
        self._question = DnsQuestion(endpoint.check.dns or DnsCheck("."))
        self._identity = 0
        self._strange = False

    def ask(self) -> bytes:
        """See `DatagramProbe`."""
        self._identity = int.from_bytes(os.urandom(2), "big")
        self._strange = False
        return self._question.query(self._identity)

    def hear(self, answer: bytes) -> Outcome | None:
        """See `DatagramProbe`."""
        outcome = self._question.judge(answer, self._identity)
        self._strange = self._strange or outcome is None
        return outcome

    def overdue(self) -> str:
        """See `Probe`."""
        if self._strange:
            return "timed out: what came was no answer to the query"
        return super().overdue()
