"""What the directors' logs said around the steps, with their times turned to seconds from arming.

A log line begins with the wall clock's time (`ha_lvs.observe.logs`), events have the monotonic clock's. The trial knows
how far these are apart; where it does not, the ends of the logs are shown as they are. Pure but for `excerpts`, which
reads the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ha_lvs.drill.report.collect import Trial

MAX_LINES = 60
BEFORE_S, AFTER_S = 0.3, 6.0
"""Which lines belong to a step, unless the next step comes before."""

_STAMP_LENGTH = len("2026-01-01T00:00:00.000")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an excerpt; `kind` is ``mark`` for a step, ``omitted`` for what was left out, else empty."""

    text: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What is shown of a node's log."""

    node: str
    lines: tuple[Line, ...]


def excerpts(trial: Trial, directory: Path) -> list[Excerpt]:
    """Of each log that the trial has kept below a directory; a log that is not there is passed over."""
    found = []
    for node, path in sorted(trial.logs.items()):
        try:
            text = (directory / path).read_text(errors="replace")
        except OSError:
            continue
        lines = choose(text.splitlines(), trial)
        if lines:
            found.append(Excerpt(node, tuple(lines)))
    return found


def choose(log: Sequence[str], trial: Trial) -> list[Line]:
    """The lines around the steps, at most `MAX_LINES` of the log, each step's share the same.

    Arguments:
        log: its lines.
    """
    wall_offset_s = trial.wall_offset_s
    if wall_offset_s is None or trial.armed_s is None or not trial.steps:
        left_out = [Line(f"… {len(log) - MAX_LINES} lines before", "omitted")] if len(log) > MAX_LINES else []
        return [*left_out, *(Line(text) for text in log[-MAX_LINES:])]
    armed_s = trial.armed_s
    timed = [(at - wall_offset_s - armed_s, text) for at, text in _stamped(log)]
    share = max(1, MAX_LINES // len(trial.steps) - 2)  # a step takes a line itself, and what is left out another
    shown: list[Line] = []
    begins = [step.at_s - armed_s for step in trial.steps]
    for index, (begin, step) in enumerate(zip(begins, trial.steps, strict=True)):
        since = begin - BEFORE_S if index == 0 else max(begin - BEFORE_S, begins[index - 1])
        until = min([begin + AFTER_S, trial.length_s, *(later - BEFORE_S for later in begins[index + 1 : index + 2])])
        near = [(at, text) for at, text in timed if since <= at < max(until, begin)]
        lines = [Line(f"{at:+8.3f} s  {text}") for at, text in near[:share]]
        mark = Line(f"{begin:+8.3f} s  ── {step.text} ──", "mark")
        shown += lines[: sum(at < begin for at, _ in near[:share])]
        shown.append(mark)
        shown += lines[sum(at < begin for at, _ in near[:share]) :]
        if len(near) > share:
            shown.append(Line(f"… {len(near) - share} more lines", "omitted"))
    return shown


def _stamped(log: Sequence[str]) -> list[tuple[float, str]]:
    """Each line with its wall-clock time and without its stamp; one without a stamp has that of the line before."""
    result: list[tuple[float, str]] = []
    at = float("-inf")
    for line in log:
        try:
            at = datetime.fromisoformat(line[:_STAMP_LENGTH]).timestamp()
            line = line[_STAMP_LENGTH:].lstrip()
        except ValueError:
            pass  # goes on from the line before: a traceback
        result.append((at, line))
    return result
