"""UDP probes: a payload, and an answer that begins as expected; or none, where only an ICMP error is a failure.

Rules that hold here:
* Where no answer is needed, silence until the time-out is success, and so is any answer.
* A host sends few ICMP errors (Linux one a second to each peer, after some at once: icmp(7), icmp_ratelimit), so
  silence soon after an error is no sign of life: it counts as a failure for `ERROR_HOLDS_S`.
* Nobody may be there to send an error: a host that is off is silent too. Who wants to know asks for an answer, or
  pings besides.
"""

from __future__ import annotations

from ha_lvs.health.probes.base import Driver
from ha_lvs.health.probes.datagram import DatagramProbe
from ha_lvs.health.speech import datagram
from ha_lvs.health.speech.dialogue import Outcome
from ha_lvs.model import Endpoint, UdpCheck

ERROR_HOLDS_S = 2.0
"""For so long after an ICMP error silence is no success."""


class UdpProbe(DatagramProbe):
    """A payload, and what comes back."""

    __slots__ = ("_error_at", "_expected", "_payload")

    def __init__(self, endpoint: Endpoint, engine: Driver) -> None:
        super().__init__(endpoint, engine)
        check = endpoint.check.udp or UdpCheck()
        self._payload = bytes.fromhex(check.send)
        self._expected = None if check.expect is None else bytes.fromhex(check.expect)
        self._error_at = float("-inf")

    def ask(self) -> bytes:
        """See `DatagramProbe`."""
        return self._payload

    def hear(self, answer: bytes) -> Outcome:
        """See `DatagramProbe`."""
        return datagram.judge(answer, self._expected)

    def failed(self, code: int, now: float) -> None:
        """See `DatagramProbe`."""
        self._error_at = now
        super().failed(code, now)

    def expired(self, now: float) -> Outcome:
        """See `Probe`."""
        if self._expected is not None:
            return super().expired(now)
        if self.started - self._error_at < ERROR_HOLDS_S:
            return Outcome(False, "silent, soon after an ICMP error")
        return Outcome(True, "no ICMP error")
