"""Several drills side by side: index.json, index.html and summary.md, and the same on a screen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ha_lvs.drill.report import page
from ha_lvs.drill.report.build import COMPARED, Report, compared
from ha_lvs.drill.report.collect import OURS

LABELS = {
    "outage": "outage",
    "requests_failed": "requests failed",
    "connections_kept": "connections kept",
    "dual_active": "dual-active",
}
"""Short names of the figures of `COMPARED`."""

NOTE = (
    "Outage: the longest gap between answered requests. Dual-active: for how long more than one director had the "
    "virtual IP in its kernel, one that is cut off counted too. –: does not apply."
)


def index(reports: Sequence[Report], reproduce: str) -> dict[str, Any]:
    """index.json: for each drill its verdict and the figures that contenders are compared by."""
    drills = [
        {
            "scenario": report["scenario"],
            "title": report["title"],
            "ok": report["ok"],
            "verdict": page.verdict(report),
            "wrong": wrong(report),
            "report": f"{report['scenario']}/report.html",
            "contenders": {
                name: {key: one["measured"][key] for key in COMPARED} for name, one in report["contenders"].items()
            },
        }
        for report in reports
    ]
    return {
        "ok": bool(drills) and all(drill["ok"] for drill in drills),
        "machine": next((report["machine"] for report in reports if report["machine"]), {}),
        "reproduce": reproduce,
        "drills": drills,
    }


def wrong(report: Mapping[str, Any]) -> list[str]:
    """What is wrong with a drill, as sentences: problems, then bounds that do not hold."""
    broken = [
        f"{row['label']}: {'not measured' if row['measured'] is None else page.number_text(row['measured'])}"
        f" {row['unit']}".rstrip()
        + f", to be {row['direction']} {page.number_text(row['bound'])} {row['unit']}".rstrip()
        for row in report["bounds"]
        if not row["ok"]
    ]
    return [*report["problems"], *broken]


def write(reports: Sequence[Report], reproduce: str, directory: Path) -> dict[str, Any]:
    """Writes the files into a directory below which the drills' directories are; gives the index.

    Errors: LabError when jinja2 is not installed.
    """
    found = index(reports, reproduce)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "index.json").write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    (directory / "summary.md").write_text(markdown(reports))
    rows = [
        {
            "title": report["title"],
            "ok": report["ok"],
            "wrong": wrong(report),
            "cells": dict(compared(report)).get(OURS, ["–"] * len(COMPARED)),
            "link": drill["report"] if (directory / drill["report"]).exists() else "",
        }
        for report, drill in zip(reports, found["drills"], strict=True)
    ]
    against = [
        {"title": report["title"] if number == 0 else "", "contender": name, "cells": cells}
        for report in reports
        if len(report["contenders"]) > 1
        for number, (name, cells) in enumerate(compared(report))
    ]
    surroundings = next((page.machine_rows(report["machine"]) for report in reports if report["machine"]), [])
    html = (
        page.templates()
        .get_template("index.html.j2")
        .render(
            index=found,
            verdict=verdict(found),
            labels=list(LABELS.values()),
            rows=rows,
            against=against,
            environment=surroundings,
            note=NOTE,
        )
    )
    (directory / "index.html").write_text(html)
    return found


def verdict(found: Mapping[str, Any]) -> str:
    """The outcome of all in a sentence."""
    total = len(found["drills"])
    held = sum(drill["ok"] for drill in found["drills"])
    return f"All {total} drills hold" if held == total else f"{held} of {total} drills hold"


def markdown(reports: Sequence[Report]) -> str:
    """Two tables: every drill with our figures, and contenders side by side where there are several."""
    labels = list(LABELS.values())
    lines = [_row(["drill", "holds", *labels]), _row(["---", "---", *("---:" for _ in labels)])]
    for report in reports:
        cells = dict(compared(report)).get(OURS, ["–"] * len(labels))
        lines.append(_row([report["title"], "yes" if report["ok"] else "**no**", *cells]))
    rivals = [report for report in reports if len(report["contenders"]) > 1]
    if rivals:
        lines += ["", _row(["drill", "contender", *labels]), _row(["---", "---", *("---:" for _ in labels)])]
        for report in rivals:
            for number, (name, cells) in enumerate(compared(report)):
                lines.append(_row([report["title"] if number == 0 else "", name, *cells]))
    return "\n".join([*lines, "", NOTE]) + "\n"


def show(reports: Sequence[Report], console: Console) -> None:
    """The same tables on a screen."""
    table = _table("Drills", "drill", "holds")
    for report in reports:
        cells = dict(compared(report)).get(OURS, ["–"] * len(COMPARED))
        mark = Text("✓", style="green") if report["ok"] else Text("✗", style="bold red")
        table.add_row(report["scenario"], mark, *cells)
    console.print(table)
    rivals = [report for report in reports if len(report["contenders"]) > 1]
    if rivals:
        table = _table("Against others", "drill", "contender")
        for report in rivals:
            for number, (name, cells) in enumerate(compared(report)):
                table.add_row(report["scenario"] if number == 0 else "", name, *cells)
        console.print(table)
    for report in reports:
        for text in wrong(report):
            console.print(f"{report['scenario']}: {text}", style="red", markup=False, highlight=False, soft_wrap=True)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for label in LABELS.values():
        table.add_column(label, justify="right", no_wrap=True)
    return table


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
