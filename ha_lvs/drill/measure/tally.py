"""What a stream of requests amounts to: counts, latencies, and the outage.

The outage is the biggest gap between the **send** times of two successive answered requests. Nothing is taken off it:
a stream of one request every 20 ms that loses nothing has an "outage" of 20 ms and a little, which is its resolution.
Send times are used because an answer's time of arrival would count the server's own delay as outage. A request that
was under way when the fault came and was answered after TCP had sent it again counts as answered.

Pure: no clock, no socket. Times are seconds of CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """One request that is over.

    Arguments:
        sent_s: when its first packet was sent.
        took_ms: from then until it was over.
        server: who answered, or an empty string.
        failure: why it failed in a word that can be counted, or an empty string.
        port: its local port, which tells it from others in the kernel's connection tables; 0 where there was none.
    """

    sent_s: float
    took_ms: float
    server: str
    failure: str
    port: int = 0

    @property
    def ok(self) -> bool:
        """Whether a correct answer came in time."""
        return not self.failure

    def to_row(self) -> list[Any]:
        """Its JSON shape: short, because there is one for each request."""
        return [round(self.sent_s, 4), round(self.took_ms, 2), self.server, self.failure, self.port]

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Request:
        """The request whose JSON shape is `row`."""
        sent_s, took_ms, server, failure, port = row
        return cls(float(sent_s), float(took_ms), str(server), str(failure), int(port))


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which nothing that was sent was answered.

    Arguments:
        from_s: send time of the last answered request before it.
        length_ms: until the send time of the next answered one.
    """

    from_s: float
    length_ms: float


def biggest_gap(sent_s: Iterable[float], since_s: float = 0.0, until_s: float = float("inf")) -> Gap:
    """The outage, looking at the gaps that overlap a window of time.

    Arguments:
        sent_s: send times of the answered requests, in any order.
        since_s, until_s: a gap counts when it ends after the one and begins before the other.

    The answer is a gap of 0 ms when fewer than two requests were answered around the window.
    """
    gaps = [
        Gap(left, (right - left) * 1000)
        for left, right in itertools.pairwise(sorted(sent_s))
        if right > since_s and left < until_s
    ]
    return max(gaps, key=lambda gap: gap.length_ms, default=Gap(since_s, 0.0))


def gaps_between(sent_s: Iterable[float]) -> list[Gap]:
    """The gaps between successive times, in their order; the times may come in any."""
    return [Gap(left, (right - left) * 1000) for left, right in itertools.pairwise(sorted(sent_s))]


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the sorted `values` lie; 0 when there are none."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def summarise(requests: Sequence[Request]) -> dict[str, Any]:
    """Counts and latencies of requests that are over, in JSON shape.

    The keys: ``requests`` (how many), ``ok``, ``failed`` (by reason), ``servers`` (answers by server), ``p50_ms``,
    ``p99_ms`` and ``max_ms`` of the answered ones.
    """
    took = sorted(request.took_ms for request in requests if request.ok)
    return {
        "requests": len(requests),
        "ok": len(took),
        "failed": dict(Counter(request.failure for request in requests if not request.ok)),
        "servers": dict(Counter(request.server for request in requests if request.ok)),
        "p50_ms": round(quantile(took, 0.5), 2),
        "p99_ms": round(quantile(took, 0.99), 2),
        "max_ms": round(took[-1], 2) if took else 0.0,
    }
