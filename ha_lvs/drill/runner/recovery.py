"""Since when all is well again: worked out afterwards from what was seen, so that it depends on no polling.

All is well while exactly one director has the virtual IP, its IPVS sends to every real server that runs and to no
other, and requests are answered. Rules that hold here:

* The pair must be well **for good**, from then until the end of measuring: one that looks well for a moment and then
  changes roles once more has not recovered yet.
* Requests are answered from where half a second begins in which none failed. A single failure later is counted
  elsewhere and undoes nothing, but failures for half a second on end do: then it counts from behind them.
* What has not lasted for half a second at the end is not known to last.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ha_lvs.drill.measure.tally import Request

LASTING_S = 0.5
"""How long something has to last so as to be no accident."""


@dataclass(slots=True)
class Seen:
    """What was seen of a run, in order of time.

    Arguments:
        holders: who had the virtual IP, as it changed (time, directors); None where there are no directors.
        in_service: which real servers a director's IPVS sent to, as it changed (time, director, servers); None where
            there is no IPVS.
        requests: those that are over; None where none were sent.
    """

    holders: Sequence[tuple[float, tuple[str, ...]]] | None = None
    in_service: Sequence[tuple[float, str, frozenset[str]]] | None = None
    requests: Sequence[Request] | None = field(default=None)


def recovery(seen: Seen, last_step_s: float, end_s: float, running: frozenset[str]) -> float | str:
    """Seconds from the last step until all was well for good, or in words what was not well at the end.

    Arguments:
        seen: of the whole run.
        last_step_s, end_s: when the last step was done, and when measuring ended.
        running: names of the real servers that answer after the last step.
    """
    pair_s = _pair_well_since(seen, end_s, running)
    if pair_s is None or pair_s > end_s - LASTING_S:
        return f"at the end it was not one director alone, with all running servers and no other, for {LASTING_S:g} s"
    well_s = max(last_step_s, pair_s)
    if seen.requests is not None:
        answered_s = _answered_since([each for each in seen.requests if each.sent_s <= end_s], well_s, end_s)
        if answered_s is None or answered_s > end_s - LASTING_S:
            return f"requests were not answered for {LASTING_S:g} s on end"
        well_s = answered_s
    return well_s - last_step_s


def _pair_well_since(seen: Seen, end_s: float, running: frozenset[str]) -> float | None:
    """Since when one director has held the address with the right servers; None when it did not at the end."""
    if seen.holders is None:
        return float("-inf")
    changes: list[tuple[float, int]] = [(at_s, n) for n, (at_s, _) in enumerate(seen.holders)]
    changes += [(at_s, -1 - n) for n, (at_s, _, _) in enumerate(seen.in_service or ())]
    holders: tuple[str, ...] = ()
    servers: dict[str, frozenset[str]] = {}
    since: float | None = None
    for at_s, number in sorted(change for change in changes if change[0] <= end_s):
        if number >= 0:
            holders = seen.holders[number][1]
        elif seen.in_service is not None:
            _, node, servers[node] = seen.in_service[-1 - number]
        well = len(holders) == 1 and (seen.in_service is None or servers.get(holders[0]) == running)
        since = (at_s if since is None else since) if well else None
    return since


def _answered_since(requests: Sequence[Request], since_s: float, end_s: float) -> float | None:
    """From when on, at `since_s` or later, requests have been answered; None when they never were."""
    sent = sorted(requests, key=lambda request: request.sent_s)
    for began_s, over_s in _failures(sent):
        if (end_s if over_s is None else over_s) - began_s < LASTING_S:
            continue
        if over_s is None:
            return None
        since_s = max(since_s, over_s)
    for request in sent:
        if request.sent_s >= since_s + LASTING_S:
            break
        if request.sent_s >= since_s and not request.ok:
            again_s = next((each.sent_s for each in sent if each.ok and each.sent_s > request.sent_s), None)
            if again_s is None:
                return None
            since_s = again_s
    # Answers of long ago say nothing: the stream must have gone on.
    return since_s if any(request.ok and request.sent_s >= since_s for request in sent) else None


def _failures(sent: Sequence[Request]) -> list[tuple[float, float | None]]:
    """The failures on end, of requests in order: when the first was sent, and the next one that was answered."""
    spans: list[tuple[float, float | None]] = []
    began_s: float | None = None
    for request in sent:
        if request.ok and began_s is not None:
            spans.append((began_s, request.sent_s))
        began_s = None if request.ok else request.sent_s if began_s is None else began_s
    return spans if began_s is None else [*spans, (began_s, None)]
