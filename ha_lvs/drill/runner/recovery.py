"""Since when all is well again: worked out afterwards from what was seen, so that it depends on no polling.

All is well while exactly one director has the virtual IP, its IPVS sends to every real server that runs and to no
other, and requests are answered. It counts from where that begins **and lasts until the end of measuring**: a pair that
looks well for a moment and then changes roles once more has not recovered yet. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ha_lvs.drill.measure.tally import Request

LASTING_S = 0.5
"""For how long all must have been well at the end. What begins later than that is not known to last."""


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
    since = {
        "one director with all running servers and no other": _pair_well_since(seen, end_s, running),
        "every request answered": _answered_since(seen.requests, last_step_s, end_s),
    }
    well_s = last_step_s
    for what, at_s in since.items():
        if at_s is None or at_s > end_s - LASTING_S:
            return f"not for the last {LASTING_S:g} s: {what}"
        well_s = max(well_s, at_s)
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


def _answered_since(requests: Sequence[Request] | None, last_step_s: float, end_s: float) -> float | None:
    """Since when requests have been answered without exception; None when the last ones were not.

    A failure counts from when its request was sent until the next one was sent that was answered.
    """
    if requests is None:
        return float("-inf")
    sent = sorted((request for request in requests if request.sent_s <= end_s), key=lambda request: request.sent_s)
    since: float | None = None
    for request in sent:
        since = (request.sent_s if since is None else since) if request.ok else None
    # An answer long ago says nothing: the stream must have gone on after the last step.
    return since if sent and sent[-1].sent_s > last_step_s else None
