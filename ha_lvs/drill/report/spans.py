"""What the picture of a trial is drawn of: bars, bins, and where labels go. Pure; times are seconds from arming."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ha_lvs.drill.report.collect import Trial

BIN_S = 0.1
LEAD_S = 2.0
"""How much of the time before arming is shown."""

TAIL_S = 0.3

APART = "cut off"
"""What a bar says of a director that has the virtual IP where nobody reaches it."""


@dataclass(frozen=True, slots=True)
class Span:
    """A bar: something was so from one time until another."""

    from_s: float
    until_s: float
    what: str


@dataclass(frozen=True, slots=True)
class Bins:
    """Requests by the time they were sent: beginnings of the bins, answered, failed."""

    begin_s: list[float]
    answered: list[int]
    failed: list[int]


def view_of(trial: Trial) -> tuple[float, float]:
    """The ends of the time axis: a little before arming until the scenario's end."""
    return -LEAD_S, trial.length_s + TAIL_S


def holding(trial: Trial) -> dict[str, list[Span]]:
    """For each director when it had the virtual IP; `what` is `APART` while it was cut off, else empty."""
    changes = [(trial.since_arming(at), nodes) for at, nodes in trial.holders]
    apart = cut_off(trial)
    result: dict[str, list[Span]] = {}
    for node in trial.directors:
        cuts = [span for span in apart if span.what == node]
        edges = [edge for span in cuts for edge in (span.from_s, span.until_s)]
        result[node] = [
            Span(left, right, APART if any(cut.from_s <= left < cut.until_s for cut in cuts) else "")
            for bar in _present(trial, changes, node)
            for left, right in itertools.pairwise(
                sorted({bar.from_s, bar.until_s, *(edge for edge in edges if bar.from_s < edge < bar.until_s)})
            )
        ]
    return result


def cut_off(trial: Trial) -> list[Span]:
    """When which node was cut off from the network; `what` is the node."""
    spans = []
    for number, step in enumerate(trial.steps):
        if step.verb == "cut":
            healed = [
                later.at_s
                for later in trial.steps[number + 1 :]
                if later.verb == "heal" and later.target == step.target
            ]
            until = trial.since_arming(healed[0]) if healed else view_of(trial)[1]
            spans.append(Span(trial.since_arming(step.at_s), until, step.target))
    return spans


def in_service(trial: Trial) -> dict[str, list[Span]]:
    """For each server when the holder's IPVS had it; nobody's when nothing was told."""
    changes = [(trial.since_arming(at), servers) for at, _, servers in trial.in_service]
    return {server: _present(trial, changes, server) for server in trial.servers} if changes else {}


def roles(trial: Trial) -> dict[str, list[Span]]:
    """For each director which role it claimed; `what` is the role."""
    result: dict[str, list[Span]] = {}
    for node in trial.directors:
        told = [(trial.since_arming(at), nodes.get(node, "")) for at, nodes in trial.roles]
        spans = [
            Span(at, until, role)
            for (at, role), (until, _) in itertools.pairwise([*told, (view_of(trial)[1], "")])
            if role and until > at
        ]
        result[node] = _joined(spans)
    return result


def bins(trial: Trial) -> Bins:
    """Requests in bins of `BIN_S` that cover the time axis."""
    low, high = view_of(trial)
    sent = sorted(trial.since_arming(request.sent_s) for request in trial.requests)
    # Bins begin half a beat before a request, or else requests on an edge fall to either side of it by chance.
    beats = sorted(right - left for left, right in itertools.pairwise(sent))
    shift = (min(BIN_S, beats[len(beats) // 2]) / 2) if beats else 0.0
    first = next((at for at in sent if at >= low), low) - shift
    answered: Counter[int] = Counter()
    failed: Counter[int] = Counter()
    for request in trial.requests:
        number = int((trial.since_arming(request.sent_s) - first) // BIN_S)
        (answered if request.ok else failed)[number] += 1
    numbers = range(max(0, int((high - first) / BIN_S)))
    return Bins(
        [first + number * BIN_S for number in numbers],
        [answered[number] for number in numbers],
        [failed[number] for number in numbers],
    )


def stairs(labels: Sequence[tuple[float, float]]) -> list[int]:
    """Rows for labels that begin at a line which reaches up to them from below; 0 is the highest.

    Arguments:
        labels: (where it begins, how long it is) in order of place.

    A label goes one row below the lowest label that still lasts where it begins, so that neither labels meet nor the
    line of one crosses another; where all above are over it goes up again.
    """
    ends: list[float] = []
    rows = []
    for begin, length in labels:
        busy = [row for row, end in enumerate(ends) if end > begin]
        row = max(busy) + 1 if busy else 0
        if row == len(ends):
            ends.append(0.0)
        ends[row] = begin + length
        rows.append(row)
    return rows


def _present(trial: Trial, changes: Sequence[tuple[float, tuple[str, ...]]], name: str) -> list[Span]:
    end = view_of(trial)[1]
    told = [*changes, (end, ())]
    spans = [Span(at, until, name) for (at, names), (until, _) in itertools.pairwise(told) if name in names]
    return _joined([Span(span.from_s, min(span.until_s, end), name) for span in spans if span.from_s < end])


def _joined(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in spans:
        if joined and joined[-1].what == span.what and joined[-1].until_s == span.from_s:
            joined[-1] = Span(joined[-1].from_s, span.until_s, span.what)
        else:
            joined.append(span)
    return joined
