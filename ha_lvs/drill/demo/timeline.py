"""The demo as a picture: requests over time, who held the virtual IP, and when what was done.

One panel a run. Above, the short requests by the time they were sent, in bins of 100 ms, answered and failed; below
it a strip for each director that is filled while its kernel has the virtual IP. Matplotlib is an extra (`report`).
"""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

from ha_lvs.drill.demo.story import STEPS, Run, Story
from ha_lvs.errors import LabError

BIN_S = 0.1
LABEL_ROWS = 5
CHARACTER_SHARE = 0.0053
"""Width of a label's character as a share of the axis."""

_GOOD, _BAD, _HELD, _CUT = "#4c9a6a", "#d1495b", "#3b6ea5", "#f3e3bd"


def holding_spans(run: Run, node: str) -> list[tuple[float, float]]:
    """When a node had the virtual IP: (from, until) in seconds of the run's clock."""
    spans: list[tuple[float, float]] = []
    since: float | None = None
    for at, nodes in run.holders:
        if node in nodes and since is None:
            since = at
        elif node not in nodes and since is not None:
            spans.append((since, at))
            since = None
    if since is not None:
        spans.append((since, max(run.ended_s, since)))
    return spans


def origin_of(run: Run) -> float:
    """Where the time axis begins: when the pair was ready, or the run if it never was."""
    return run.steps.get("ready", run.begun_s)


def bins(run: Run) -> tuple[list[float], list[int], list[int]]:
    """Requests by the time they were sent: beginnings of the bins in seconds of the time axis, answered, failed."""
    if not run.requests:
        return [], [], []
    sent_s = sorted(request.sent_s for request in run.requests)
    # The bins begin half a beat before the first request, or else those on an edge would fall to either side of it.
    beats_s = sorted(right - left for left, right in itertools.pairwise(sent_s))
    start_s = sent_s[0] - (min(BIN_S, beats_s[len(beats_s) // 2]) / 2 if beats_s else 0.0)
    good: Counter[int] = Counter()
    bad: Counter[int] = Counter()
    for request in run.requests:
        (good if request.ok else bad)[int((request.sent_s - start_s) // BIN_S)] += 1
    numbers = range(max([*good, *bad]) + 1)
    first = start_s - origin_of(run)
    return [first + n * BIN_S for n in numbers], [good[n] for n in numbers], [bad[n] for n in numbers]


def draw(story: Story, path: Path) -> None:
    """Writes the picture; the suffix of `path` (.png or .svg) says in which format.

    Errors: LabError when matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as problem:
        raise LabError(
            "the picture needs matplotlib, which is not installed: pip install 'ha-lvs[report]'"
        ) from problem
    matplotlib.use("Agg")
    from matplotlib import pyplot

    runs = [run for run in story.runs if run.requests]
    figure, axes = pyplot.subplots(
        nrows=2 * max(1, len(runs)),
        figsize=(13, 3.6 * max(1, len(runs)) + 0.6),
        height_ratios=[4, 1] * max(1, len(runs)),
        layout="constrained",
        squeeze=False,
    )
    for index, run in enumerate(runs):
        upper, lower = axes[2 * index][0], axes[2 * index + 1][0]
        upper.sharex(lower)
        _draw_run(run, upper, lower)
    if runs:
        axes[0][0].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False, fontsize=8)
        axes[-1][0].set_xlabel("time since the pair was ready (s)")
    figure.suptitle(f"ha-lvs demo, kernel {story.machine.get('kernel', '?')}", fontsize=11)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _draw_run(run: Run, upper: Any, lower: Any) -> None:
    origin_s = origin_of(run)
    times, good, bad = bins(run)
    view = (times[0] - 0.5, times[-1] + 1.0)
    edges = [*times, times[-1] + BIN_S]
    total = [ok + failed for ok, failed in zip(good, bad, strict=True)]
    upper.stairs(total, edges, fill=True, color=_BAD, label="failed")
    upper.stairs(good, edges, fill=True, color=_GOOD, label="answered")
    top = max(total)
    upper.set_ylim(0, top * 1.75)
    upper.set_yticks(range(0, top + 1, max(1, top // 4)))
    upper.set_ylabel("requests\nper 100 ms")
    upper.set_title(f"forwarding {run.forwarding}", loc="left", fontsize=10, fontweight="bold")
    upper.tick_params(labelbottom=False)
    _draw_steps(run, upper, lower, top, view)
    for row, node in enumerate(reversed(run.directors)):
        for since, until in holding_spans(run, node):
            lower.broken_barh([(since - origin_s, until - since)], (row + 0.15, 0.7), color=_HELD)
    if "cut" in run.steps:
        until = run.steps.get("healed", run.ended_s)
        lower.axvspan(run.steps["cut"] - origin_s, until - origin_s, color=_CUT, lw=0, zorder=0)
    lower.set_yticks([row + 0.5 for row in range(len(run.directors))], [*reversed(run.directors)])
    lower.set_ylim(0, len(run.directors))
    lower.set_ylabel("holds\nvirtual IP", rotation=0, ha="right", va="center", labelpad=18, fontsize=8)
    for axis in (upper, lower):
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlim(*view)


def _draw_steps(run: Run, upper: Any, lower: Any, top: int, view: tuple[float, float]) -> None:
    """Marks what was done and what followed; each label goes to the highest row where it has room."""
    ends = [view[0]] * LABEL_ROWS
    for name, at_s in sorted(run.steps.items(), key=lambda item: item[1]):
        at = at_s - origin_of(run)
        if not view[0] <= at <= view[1]:
            continue
        label = f" {STEPS.get(name, name)} ({at:.1f} s)"
        row = next((n for n, end in enumerate(ends) if end <= at), LABEL_ROWS - 1)
        ends[row] = at + len(label) * CHARACTER_SHARE * (view[1] - view[0])
        for axis in (upper, lower):
            axis.axvline(at, color="0.35", lw=0.8, ls="--")
        upper.text(at, top * (1.68 - 0.135 * row), label, fontsize=7.5, va="center")
