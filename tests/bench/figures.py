"""The figures of a benchmark: what was measured, against which bound; as a file for programs and a table for people."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

KEEPALIVED = "keepalived"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Arguments:
        group: what it belongs to: ``election``.
        figure: what was measured, in words.
        value: the ratio ours / theirs where `against` has a bound of its own, or the measured figure.
        bound: what the value must not exceed; None where it is only reported.
        ours, theirs: what was measured, medians; None where there is no such thing.
        unit: of `ours` and `theirs`.
        against: whom it is compared with; empty for an absolute bound.
        spread: all that was measured of ours, least and most.
    """

    group: str
    figure: str
    value: float
    bound: float | None
    ours: float | None
    theirs: float | None
    unit: str
    against: str = ""
    spread: tuple[float, float] | None = None

    @property
    def holds(self) -> bool:
        """Whether the bound is kept; what is only reported always holds."""
        return self.bound is None or self.value <= self.bound


def ratio(
    group: str, figure: str, ours: Sequence[float], theirs: Sequence[float], bound: float | None, unit: str
) -> Figure:
    """The figure of medians beside each other; the bound is on their ratio."""
    mine, other = statistics.median(ours), statistics.median(theirs)
    return Figure(
        group, figure, round(mine / other, 3), bound, round(mine, 3), round(other, 3), unit, KEEPALIVED, _spread(ours)
    )


def absolute(
    group: str,
    figure: str,
    ours: Sequence[float],
    bound: float | None,
    unit: str,
    theirs: Sequence[float] = (),
    *,
    worst: bool = False,
) -> Figure:
    """A figure with a bound of its own.

    Arguments:
        theirs: for comparison only.
        worst: whether the worst repetition counts instead of the median.
    """
    mine = max(ours) if worst else statistics.median(ours)
    other = round(statistics.median(theirs), 3) if theirs else None
    against = KEEPALIVED if theirs else ""
    return Figure(group, figure, round(mine, 3), bound, round(mine, 3), other, unit, against, _spread(ours))


def _spread(values: Sequence[float]) -> tuple[float, float]:
    return round(min(values), 3), round(max(values), 3)


def write(figures: Sequence[Figure], directory: Path) -> Path:
    """Writes `results.json`; gives its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "results.json"
    path.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")
    return path


def show(figures: Sequence[Figure], console: Console) -> None:
    """Prints them as a table."""
    table = Table(title="make bench")
    for column in ("figure", "ours", "least to most", "theirs", "value", "bound", ""):
        table.add_column(column, justify="left" if column in ("figure", "") else "right")
    for each in figures:
        table.add_row(
            each.figure,
            _with_unit(each.ours, each.unit),
            "" if each.spread is None else f"{each.spread[0]:g} to {each.spread[1]:g}",
            _with_unit(each.theirs, each.unit),
            f"{each.value:g}",
            "reported" if each.bound is None else f"<= {each.bound:g}",
            "" if each.bound is None else "holds" if each.holds else "[bold red]EXCEEDED",
        )
    console.print(table)


def _with_unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:g} {unit}".strip()
