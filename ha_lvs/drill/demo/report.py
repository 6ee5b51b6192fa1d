"""The demo's result: figures of each run, of all runs together, and what did not hold.

Pure functions of a `Story`; the units are in the names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from ha_lvs.drill.demo.story import STEPS, Run, Story

NOTES = {
    "outage_ms": "biggest gap between the send times of two successive answered requests around the cut; nothing is "
    "taken off it, so it contains one beat of the stream; at the top level the worst run",
    "takeover_ms": "from the cut until the standby's kernel has the virtual IP",
    "expected_ms": "Active_Down_Interval of RFC 9568: 3 advertisement intervals and the skew time, which run from the "
    "last advertisement, so the standby may need up to one interval less after the cut",
    "return_outage_ms": "the same gap while the old active is connected again and takes over",
    "requests_total": "short requests on connections of their own, from the beginning to the end of a run; at the top "
    "level the sum",
    "requests_failed": "not answered with status 200 within the timeout; at the top level the sum. By the time they "
    "were sent: requests_failed_before the cut, when nothing was wrong (a busy machine takes servers out), "
    "requests_failed_cut from the cut to the healing, requests_failed_return from then until a server was stopped, "
    "requests_failed_server from then until it was back",
    "connections_before": "long-lived connections that answered just before the cut; at the top level the sum",
    "connections_kept": "of them, those that answered after the cut over the same TCP connection, by the same server; "
    "at the top level the sum",
    "server_out_ms": "from the stop of a real server's nginx until IPVS of the active gives it no new connections; at "
    "the top level the worst run",
    "server_in_ms": "from its start until it has its weight again; at the top level the worst run",
}


def check(run: Run) -> list[str]:
    """What did not hold in a run, as sentences. Empty when all did."""
    name = run.forwarding
    wrong = [f"{name}: {text}" for text in run.problems]
    if not run.ended:
        wrong.append(f"{name}: the run did not come to its end")
    missing = [label for step, label in STEPS.items() if step not in run.steps]
    if missing:
        others = f", nor to {len(missing) - 1} other steps" if len(missing) > 1 else ""
        wrong.append(f"{name}: it never came to this: {missing[0]}{others}")
    before = run.kept("before")
    if not before and "cut" in run.steps:
        wrong.append(f"{name}: no long-lived connection answered before the cut")
    for verification, when in (("after-cut", "after the cut"), ("after-return", "after the old active's return")):
        kept = run.kept(verification)
        if before and kept is None:
            wrong.append(f"{name}: the long-lived connections were not verified {when}")
        elif before and kept is not None and kept < before:
            reasons = ", ".join(f"{count} {why}" for why, count in run.verified[verification]["lost"].items())
            wrong.append(f"{name}: {before - kept} of {before} connections were lost {when} ({reasons})")
    for first, last in (("taken-over", "healed"), ("steady", "server-stopped"), ("server-out", "server-started")):
        if first in run.steps and last in run.steps and not run.answered_between(first, last):
            wrong.append(f"{name}: no new request was answered between '{STEPS[first]}' and '{STEPS[last]}'")
    return wrong


def figures(run: Run) -> dict[str, Any]:
    """The figures of a run, in JSON shape. What never happened is null."""
    outage = run.outage("cut", "healed")
    back = run.outage("healed", "answered") or run.outage("healed", "server-stopped")
    return {
        "forwarding": run.forwarding,
        "interval_ms": round(run.interval_s * 1000, 1),
        "expected_ms": round(run.expected_ms, 1),
        "outage_ms": round(outage.length_ms, 1) if outage else None,
        "takeover_ms": run.between_ms("cut", "taken-over"),
        "return_outage_ms": round(back.length_ms, 1) if back else None,
        "requests_total": len(run.requests),
        "requests_failed": len(run.failed),
        "requests_failed_before": run.failed_between("ready", "cut"),
        "requests_failed_cut": run.failed_between("cut", "healed"),
        "requests_failed_return": run.failed_between("healed", "server-stopped"),
        "requests_failed_server": run.failed_between("server-stopped", "server-in"),
        "failed_by_reason": dict(Counter(request.failure for request in run.failed)),
        "connections_before": run.kept("before"),
        "connections_kept": run.kept("after-cut"),
        "connections_kept_after_return": run.kept("after-return"),
        "server_out_ms": run.between_ms("server-stopped", "server-out"),
        "server_in_ms": run.between_ms("server-started", "server-in"),
        "load_lateness_ms": run.lateness_ms,
        "problems": check(run),
    }


def problems(story: Story, wanted: Iterable[str]) -> list[str]:
    """What did not hold in the whole demo, as sentences. `wanted` are the forwarding methods that should have run."""
    wrong = [text for run in story.runs for text in check(run)]
    in_runs = {text for run in story.runs for text in run.problems}
    done = {run.forwarding for run in story.runs}
    return [
        *(text for text in story.problems if text not in in_runs),
        *wrong,
        *(f"{method}: was not tried" for method in wanted if method not in done),
    ]


def build(story: Story, wanted: Iterable[str]) -> dict[str, Any]:
    """The report, in JSON shape."""
    runs = [figures(run) for run in story.runs]
    wrong = problems(story, wanted)
    return {
        "ok": not wrong,
        **story.machine,
        "outage_ms": _worst(runs, "outage_ms"),
        "requests_total": _sum(runs, "requests_total"),
        "requests_failed": _sum(runs, "requests_failed"),
        "connections_before": _sum(runs, "connections_before"),
        "connections_kept": _sum(runs, "connections_kept"),
        "server_out_ms": _worst(runs, "server_out_ms"),
        "server_in_ms": _worst(runs, "server_in_ms"),
        "took_s": round(story.now_s - (story.started_s or story.now_s), 1),
        "forwarding": runs,
        "problems": wrong,
        "notes": NOTES,
    }


def _worst(runs: list[dict[str, Any]], key: str) -> float | None:
    values = [run[key] for run in runs]
    return None if not values or None in values else max(values)


def _sum(runs: list[dict[str, Any]], key: str) -> int:
    return sum(run[key] or 0 for run in runs)
