"""The figures of a trial that bounds are about.

Rules that hold here:
* What counts is the window from arming until the scenario's end. What happened before is setting up, what happens after
  (connections are verified, directors stopped) is tidying up. A state at arming is whatever was told last until then: a
  change at the very moment of arming has been before it.
* A figure that could not be measured is None and never 0: 0 would keep a bound.
* A silence that never ends counts until the last thing that was sent, for an outage nobody saw the end of is one.
* Nothing is taken off: an undisturbed stream of requests has an outage of one beat.

Pure. Figures are seconds, counts and percent, as `ha_lvs.drill.scenario.BOUNDS` says.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from ha_lvs.drill.measure.tally import Gap, Request, biggest_gap
from ha_lvs.drill.report.collect import Changes, Trial

Figures = dict[str, float | None]

VERIFIED_AT_END = "end"
"""Name of the verification that is made when measuring stops."""

OUT_VERBS, IN_VERB = ("stop_server", "hang_server"), "start_server"


def measure(trial: Trial) -> Figures:
    """Every figure of a trial; None for what could not be measured, all None where it was never armed."""
    gap = outage(trial)
    return {
        "outage": None if gap is None else _seconds(gap.length_ms / 1000),
        "udp_outage": udp_outage(trial),
        "datagrams_lost": datagrams_lost(trial),
        "requests_failed": requests_failed(trial),
        "connections_kept": connections_kept(trial),
        "holders_at_end": holders_at_end(trial),
        "dual_active": dual_active(trial),
        "no_holder": no_holder(trial),
        "role_changes": role_changes(trial),
        "recovery": recovery(trial),
        "server_out": server_out(trial),
        "server_in": server_in(trial),
    }


def requests_in_window(trial: Trial) -> list[Request]:
    """The requests that were sent while it counts."""
    since, until = trial.armed_s, trial.measured_until_s
    if since is None or until is None:
        return []
    return [request for request in trial.requests if since <= request.sent_s < until]


def outage(trial: Trial) -> Gap | None:
    """The biggest gap between the send times of answered requests that overlaps the window.

    Where nothing was answered before or after a silence, it counts from the first request or until the last one that
    was sent in the window. None when none was sent.
    """
    tried = requests_in_window(trial)
    if not tried or trial.armed_s is None or trial.measured_until_s is None:
        return None
    answered = [request.sent_s for request in trial.requests if request.ok]
    first = min(request.sent_s for request in trial.requests)
    last = max(request.sent_s for request in tried)
    return biggest_gap([first, *answered, last], trial.armed_s, trial.measured_until_s)


def requests_failed(trial: Trial) -> float | None:
    """How many requests of the window were not answered correctly in time."""
    tried = requests_in_window(trial)
    return sum(not request.ok for request in tried) if tried else None


def udp_gaps(trial: Trial) -> list[Gap]:
    """The gaps between answered datagrams that the stream has told and that overlap the window."""
    since, until = trial.armed_s, trial.measured_until_s
    if trial.udp is None or since is None or until is None:
        return []
    told = [Gap(float(from_s), float(length_ms)) for from_s, length_ms in trial.udp.get("gaps", ())]
    return [gap for gap in told if gap.from_s < until and gap.from_s + gap.length_ms / 1000 > since]


def udp_outage(trial: Trial) -> float | None:
    """The biggest gap between the send times of answered datagrams."""
    udp = trial.udp
    if udp is None or trial.armed_s is None or not udp["sent"]:
        return None
    if udp["lost"] >= udp["sent"]:
        return trial.length_s  # not one was answered: the stream itself sees no gap then
    gaps = udp_gaps(trial)
    length_ms = max(gap.length_ms for gap in gaps) if gaps else udp["outage_ms"]
    return _seconds(length_ms / 1000)


def datagrams_lost(trial: Trial) -> float | None:
    """How many datagrams of the stream were not answered; it counts from arming, and waits for the last answers."""
    if trial.udp is None or trial.armed_s is None or not trial.udp["sent"]:
        return None
    return float(trial.udp["lost"])


def connections_kept(trial: Trial) -> float | None:
    """Percent of the long-lived connections that answered at the end."""
    end = trial.verified.get(VERIFIED_AT_END)
    return round(100 * end["kept"] / end["of"], 2) if end and end["of"] else None


def holders_at_end(trial: Trial) -> float | None:
    """How many nodes had the virtual IP when measuring stopped."""
    spans = list(spans_in_window(trial, trial.holders))
    return len(spans[-1][2]) if spans else None


def dual_active(trial: Trial) -> float | None:
    """For how long, in all, more than one node had the virtual IP."""
    spans = list(spans_in_window(trial, trial.holders))
    return _seconds(sum(until - since for since, until, nodes in spans if len(nodes) > 1)) if spans else None


def no_holder(trial: Trial) -> float | None:
    """The longest time in which no node had the virtual IP."""
    spans = list(spans_in_window(trial, trial.holders))
    return _seconds(max((until - since for since, until, nodes in spans if not nodes), default=0.0)) if spans else None


def role_changes(trial: Trial) -> float | None:
    """How often a node began to have the virtual IP."""
    spans = list(spans_in_window(trial, trial.holders))
    if not spans:
        return None
    return sum(len(set(now[2]) - set(before[2])) for before, now in itertools.pairwise(spans))


def recovery(trial: Trial) -> float | None:
    """From the last step until all was well again, as the measuring side saw it."""
    after_s = trial.settled["after_s"] if trial.settled else None
    return None if after_s is None else _seconds(float(after_s))


def server_out(trial: Trial) -> float | None:
    """From a server's failure until the holder's IPVS no longer had it; the longest, or None if one stayed in."""
    return _worst(_until_listed(trial, OUT_VERBS, (IN_VERB,), listed=False))


def server_in(trial: Trial) -> float | None:
    """From a server's return until the holder's IPVS had it again; the longest, or None if one stayed out.

    A server that was still there when it returned had never been taken out, so nothing could be measured.
    """
    return _worst(_until_listed(trial, (IN_VERB,), OUT_VERBS, listed=True))


def spans_in_window(trial: Trial, changes: Changes) -> Iterator[tuple[float, float, tuple[str, ...]]]:
    """What was the case in the window, as (since, until, names) that touch each other, equal neighbours joined.

    Nothing comes when there are no directors, when it was never armed, or when nothing was known at arming.
    """
    start, end = trial.armed_s, trial.measured_until_s
    if start is None or end is None or not trial.directors:
        return
    known = [names for at, names in changes if at <= start]
    if not known:
        return
    since, current = start, known[-1]
    for at, names in changes:
        if start < at < end and set(names) != set(current):
            yield since, at, current
            since, current = at, names
    yield since, end, current


def _until_listed(
    trial: Trial, begins: tuple[str, ...], ends: tuple[str, ...], *, listed: bool
) -> Iterator[float | None]:
    """For each server step among `begins`: seconds until the holder's IPVS listed the server (or no longer did).

    None when that had not happened before the same server's next step among `ends` or before measuring stopped.
    """
    stop = trial.measured_until_s
    if stop is None:
        return
    for number, step in enumerate(trial.steps):
        if step.verb not in begins:
            continue
        later = [
            other.at_s for other in trial.steps[number + 1 :] if other.verb in ends and other.target == step.target
        ]
        until = min([stop, *later])
        before = [servers for at, _, servers in trial.in_service if at <= step.at_s]
        if not before:
            yield None
        elif (step.target in before[-1]) == listed:
            # Out before it failed is out at once; there when it returned means that it had not been out.
            yield None if listed else 0.0
        else:
            found = (
                at - step.at_s
                for at, _, servers in trial.in_service
                if step.at_s < at < until and (step.target in servers) == listed
            )
            yield next(found, None)


def _worst(values: Iterator[float | None]) -> float | None:
    found: Sequence[float | None] = list(values)
    known = [value for value in found if value is not None]
    return _seconds(max(known)) if known and len(known) == len(found) else None


def _seconds(value: float) -> float:
    return round(value, 4)
