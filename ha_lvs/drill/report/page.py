"""report.html: one page that needs nothing beside it, made of the report, the pictures and the logs.

jinja2 is an extra, so it is imported when a page is made. Everything that comes from events or logs is escaped by the
template; only our own pictures are put in as they are.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ha_lvs.drill.report import pictures
from ha_lvs.drill.report.build import Report
from ha_lvs.drill.report.collect import OURS, Story
from ha_lvs.drill.report.excerpts import excerpts
from ha_lvs.drill.scenario import BOUNDS
from ha_lvs.errors import LabError

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
_EXTRAS = ("jinja2", "matplotlib")


def require_extras() -> None:
    """Looks whether a report can be made, before minutes are spent on measuring.

    Errors: LabError with the remedy.
    """
    missing = [name for name in _EXTRAS if importlib.util.find_spec(name) is None]
    if missing:
        raise LabError(
            f"the report needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            "pip install 'ha-lvs[drill]'"
        )


def templates() -> Environment:
    """Where pages come from.

    Errors: LabError when jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as problem:
        raise LabError("the report needs jinja2, which is not installed: pip install 'ha-lvs[drill]'") from problem
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(report: Report, story: Story, rate: float, directory: Path) -> str:
    """The page.

    Arguments:
        report: as `build.build` made it.
        story: what it was made of.
        rate: requests a second.
        directory: where the logs are.

    Errors: LabError when an extra is not installed.
    """
    environment = templates()
    from markupsafe import Markup  # it comes with jinja2

    trials = [
        {
            "name": trial.contender,
            "picture": Markup(pictures.draw(trial, f"trial-{number}")) if trial.armed_s is not None else None,
        }
        for number, trial in enumerate(story.trials, 1)
    ]
    ours = story.of(OURS)
    return environment.get_template("report.html.j2").render(
        report=report,
        verdict=verdict(report),
        names=list(report["contenders"]),
        figures=figures(report),
        trials=trials,
        environment=surroundings(report, rate),
        excerpts=excerpts(ours, directory) if ours else [],
        number=number_text,
    )


def verdict(report: Mapping[str, Any]) -> str:
    """The outcome in a sentence."""
    broken = sum(not row["ok"] for row in report["bounds"])
    wrong = len(report["problems"])
    if wrong:
        return f"Not valid: {wrong} problem{'' if wrong == 1 else 's'}"
    if broken:
        return f"{broken} of {len(report['bounds'])} bounds {'does' if broken == 1 else 'do'} not hold"
    return "Every bound holds" if report["bounds"] else "Nothing to judge"


def number_text(value: float | None) -> str:
    """A figure without its unit."""
    return "–" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


def figures(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table of all contenders: ``label``, ``cells``, ``unit``. Without rows of no figures."""
    contenders = report["contenders"].values()
    rows: list[dict[str, Any]] = []
    for name, bound in BOUNDS.items():
        values = [contender["measured"][name] for contender in contenders]
        if any(value is not None for value in values):
            cells = [number_text(value) for value in values]
            rows.append({"label": bound.label, "cells": cells, "unit": bound.unit or "count"})
    extra: tuple[tuple[str, str, Callable[[Mapping[str, Any]], float | None]], ...] = (
        ("requests answered", "count", lambda one: one["requests"]["ok"] if one["requests"]["requests"] else None),
        (
            "answered within, half of them",
            "ms",
            lambda one: one["latency"]["p50_ms"] if one["requests"]["ok"] else None,
        ),
        ("answered within, 99 of 100", "ms", lambda one: one["latency"]["p99_ms"] if one["requests"]["ok"] else None),
        ("slowest answer", "ms", lambda one: one["latency"]["max_ms"] if one["requests"]["ok"] else None),
        ("datagrams lost", "count", lambda one: one["udp"]["lost"] if one["udp"] else None),
    )
    for label, unit, value_of in extra:
        values = [value_of(contender) for contender in contenders]
        if any(value is not None for value in values):
            rows.append({"label": label, "cells": [number_text(value) for value in values], "unit": unit})
    return rows


def surroundings(report: Mapping[str, Any], rate: float) -> list[tuple[str, str]]:
    """The environment, as (label, text)."""
    rows = machine_rows(report["machine"])
    for name, one in report["contenders"].items():
        if one["interval_s"]:
            rows.append((f"{name}: adverts every", f"{one['interval_s'] * 1000:g} ms"))
    if rate and any(one["requests"]["requests"] for one in report["contenders"].values()):
        rows.append(
            ("resolution of requests", f"one every {1000 / rate:g} ms: no outage is measured shorter than that")
        )
        late = max(one["worst_lateness_ms"] for one in report["contenders"].values())
        rows.append(("worst lateness of requests", f"{late:g} ms after their beat, the setting up included"))
    udp = {name: one for name, one in report["contenders"].items() if one["udp"]}
    if udp:
        beat_ms = max(one["udp_interval_s"] or 0 for one in udp.values()) * 1000
        udp_late = max(one["udp"].get("worst_lateness_ms", 0.0) for one in udp.values())
        rows.append(("resolution of datagrams", f"one every {beat_ms:g} ms, worst lateness {udp_late:g} ms"))
    rows.append(("holders of the virtual IP", "told by the kernels when an address changes, not polled"))
    return rows


def machine_rows(machine: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The machine under test, as (label, text)."""
    lab = machine.get("lab", "?")
    where = "on this machine's kernel" if lab == "native" else f"in a guest ({lab}), slower than a machine"
    rows = [
        ("kernel", f"{machine.get('kernel', '?')}, {where}"),
        ("processors", f"{machine.get('cpus', '?')}"),
    ]
    if machine.get("pace", 1) != 1:
        rows.append(("pace", f"Python starts about {machine['pace']:g} times slower than on the machine itself"))
    versions = machine.get("versions", {})
    rows.append(("versions", ", ".join(f"{name} {text}" for name, text in versions.items()) or "?"))
    return rows
