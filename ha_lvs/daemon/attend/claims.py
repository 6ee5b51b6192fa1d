"""When a claim to a virtual IP is a duplicate: the judgement alone, without sockets or clock.

Rules that hold here:
* While we are active, whoever else claims the address is a rival. While we are backup, the active is none; only when
  two claim it are they rivals of one another. But where no other router has been heard, one is enough: whoever answers
  then is none that we know of.
* Rivals count once they have lasted: while a role is handed over, both directors answer for a moment, and neighbours
  may hear the last word of the old one late. So claims must still come after `settle_s` since the first one, without a
  silence of `quiet_s` in between.
* Each address is reported at most every `report_every_s`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MIN_SETTLE_S = 2.0
REPORT_EVERY_S = 10.0
ASK_SUSPECT_EVERY_S = 0.5
MOST_MACS = 16
"""So many claims to one address are remembered: whoever invents senders must not fill our memory."""


def settle_s(interval_s: float) -> float:
    """For how long a claim must last, from the advertisement interval: 3 of them, or 2 s if that is longer."""
    return max(3 * interval_s, MIN_SETTLE_S)


@dataclass(slots=True)
class Claims:
    """The claims to one address, of others than ourselves. Times are monotonic seconds.

    Arguments:
        settle_s: for how long rivals must last.
        report_every_s: between two reports.
    """

    settle_s: float
    report_every_s: float = REPORT_EVERY_S
    since: float | None = None
    _heard: dict[bytes, float] = field(default_factory=dict)
    _reported_at: float | None = None

    @property
    def quiet_s(self) -> float:
        """After so long without a claim, the next one is the first again."""
        return self.settle_s + 3.0

    def forget(self) -> None:
        """Begins anew: the role has changed."""
        self.since = None
        self._heard.clear()

    def heard(self, mac: bytes, now: float, rivals_needed: int) -> bytes | None:
        """Takes in a claim.

        Arguments:
            mac: whose.
            rivals_needed: how many must claim it to be rivals: 1, or 2 while one of them may.

        Returns the MAC address to report, or None.
        """
        self._heard = {each: at for each, at in self._heard.items() if now - at < self.quiet_s}
        if len(self._heard) < rivals_needed:
            self.since = None  # it was quiet, or there was one alone
        self._heard[mac] = now
        if len(self._heard) > MOST_MACS:
            del self._heard[min(self._heard, key=lambda each: self._heard[each])]
        if len(self._heard) < rivals_needed:
            return None
        if self.since is None:
            self.since = now
            return None
        lasting = [each for each, at in self._heard.items() if at >= self.since + self.settle_s]
        if len(lasting) < rivals_needed or self.reported(now):
            return None
        self._reported_at = now
        return mac

    def reported(self, now: float) -> bool:
        """Whether it has been reported lately."""
        return self._reported_at is not None and now - self._reported_at < self.report_every_s

    def suspected(self, now: float) -> bool:
        """Whether there may be rivals, so that it has to be asked for soon."""
        return self.since is not None and now - max(self._heard.values(), default=self.since) < self.quiet_s
