"""report.json: figures of every contender, verdicts on ours, and what did not work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ha_lvs.drill.measure.tally import summarise
from ha_lvs.drill.report.collect import OURS, Story, Trial
from ha_lvs.drill.report.measured import Figures, measure, requests_in_window
from ha_lvs.drill.scenario import BOUNDS, Scenario, judge

Report = dict[str, Any]

COMPARED = ("outage", "requests_failed", "connections_kept", "dual_active")
"""The figures that contenders are compared by in short tables."""


def build(story: Story, scenario: Scenario, wanted: tuple[str, ...], reproduce: str) -> Report:
    """The report, in JSON shape.

    Arguments:
        story: all that has been told.
        scenario: what was to be done and what must hold.
        wanted: the contenders that were to be tried. Without ours no bound is judged.
        reproduce: the command that does it again.

    A bound that does not hold and a problem both make ``ok`` false.
    """
    figures = {trial.contender: measure(trial) for trial in story.trials}
    ours: Figures = figures.get(OURS, {})
    verdicts = [asdict(verdict) for verdict in judge(scenario.expect, ours)] if OURS in wanted else []
    wrong = problems(story, scenario, wanted)
    return {
        "scenario": scenario.name,
        "title": scenario.title,
        "teaches": scenario.teaches.strip(),
        "ok": not wrong and all(verdict["ok"] for verdict in verdicts),
        "problems": wrong,
        "machine": story.machine,
        "reproduce": reproduce,
        "contenders": {trial.contender: _contender(trial, figures[trial.contender]) for trial in story.trials},
        "bounds": verdicts,
    }


def problems(story: Story, scenario: Scenario, wanted: tuple[str, ...]) -> list[str]:
    """What did not work, as sentences; a drill with one of them has shown nothing, whatever its figures are."""
    found = list(story.problems)
    for name in wanted:
        trial = story.of(name)
        if trial is None:
            found.append(f"{name}: was not tried")
            continue
        found += [f"{name}: {text}" for text in trial.problems]
        if trial.armed_s is None:
            found.append(f"{name}: the load never settled, so nothing was measured")
        elif trial.directors and (known := trial.holding(trial.armed_s)) != (trial.active,):
            # Steps on "the active" would have hit the other one, and bounds held for nothing.
            told = " and ".join(known) or "nobody"
            found.append(f"{name}: armed with {trial.active} as the active, but {told} held the virtual IP")
        if trial.armed_s is not None and len(trial.steps) < len(scenario.steps):
            missing = len(scenario.steps) - len(trial.steps)
            found.append(f"{name}: {missing} of {len(scenario.steps)} steps were not done")
        if trial.ended_s is None:
            found.append(f"{name}: the run did not come to its end")
    return found


def shown(name: str, value: float | None) -> str:
    """A figure for people, with its unit."""
    if value is None:
        return "not measured"
    unit = BOUNDS[name].unit
    text = f"{value:.3f}" if unit == "s" else f"{value:g}"
    return f"{text} {unit}".strip()


def compared(report: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """The short table of a report: a row for each contender, with its figures of `COMPARED` for people."""
    rows = []
    for name, contender in report["contenders"].items():
        measured = contender["measured"]
        rows.append((name, ["–" if measured[key] is None else shown(key, measured[key]) for key in COMPARED]))
    return rows


def _contender(trial: Trial, figures: Figures) -> dict[str, Any]:
    requests = summarise(requests_in_window(trial))
    return {
        "measured": figures,
        "problems": trial.problems,
        "steps": [{"at_s": round(trial.since_arming(step.at_s), 3), "text": step.text} for step in trial.steps],
        "requests": requests,
        "latency": {key: requests[key] for key in ("p50_ms", "p99_ms", "max_ms")},
        "udp": _without_stamp(trial.udp) if trial.udp else None,
        "connections": _without_stamp(trial.verified["end"]) if "end" in trial.verified else None,
        "interval_s": trial.interval_s if trial.directors else None,
        "udp_interval_s": trial.udp_interval_s,
        "worst_lateness_ms": trial.lateness_ms,
        "logs": trial.logs,
    }


def _without_stamp(event: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key not in ("event", "t")}
