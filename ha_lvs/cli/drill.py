"""The verb `drill`: rehearses failures on a lab, measures what clients see of them, and writes a report."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ha_lvs.errors import ConfigError, Problem

if TYPE_CHECKING:
    from ha_lvs.drill.report.conduct import Drill
    from ha_lvs.drill.scenario import Scenario

DEFAULT_OUTPUT = Path("build/drills")


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(drill)


def drill(
    scenarios: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Scenario files.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help=f"For the report; of several scenarios each has its own below. By default {DEFAULT_OUTPUT}/NAME.",
        ),
    ] = None,
    contender: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Try only this one: ha-lvs, keepalived or dns; may be repeated. Bounds are those of ha-lvs.",
        ),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of a live table.")] = False,
) -> None:
    """Run drills: break a pair on purpose, measure, and compare with what the scenario promises.

    Exit code 1 when a bound does not hold or something did not work, 2 when a scenario is wrong.
    """
    loaded = _load(scenarios)
    only = _known(contender or [])
    from rich.console import Console

    from ha_lvs.drill.report import conduct, page, screen, summary

    page.require_extras()
    drills = _drills(loaded, output, only)
    labs = [conduct.lab_of(each) for each in drills]
    # SIGTERM unwinds like any exit does, so that the lab is taken down and the guest switched off.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    console = Console()
    if not console.is_terminal:
        console = Console(width=screen.PLAIN_WIDTH)
    reports = []
    try:
        for each, lab in zip(drills, labs, strict=True):
            report = conduct.run(each, lab, console, plain=plain)
            reports.append(report)
            console.print()
            console.print(screen.bounds_table(report))
            for text in report["problems"]:
                console.print(f"  {text}", style="red", markup=False, highlight=False, soft_wrap=True)
            console.print(f"{each.directory / 'report.html'}", markup=False, highlight=False, soft_wrap=True)
        if len(drills) > 1:
            parent = (output or DEFAULT_OUTPUT).absolute()
            summary.write(reports, _command([path for path, _ in loaded], output, only), parent)
            console.print()
            summary.show(reports, console)
            console.print(
                f"{parent}/: index.html, index.json, summary.md", markup=False, highlight=False, soft_wrap=True
            )
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if not all(report["ok"] for report in reports):
        raise typer.Exit(1)


def _load(paths: list[Path]) -> list[tuple[Path, Scenario]]:
    """All scenarios, or all problems of all of them."""
    from ha_lvs.drill.scenario import load

    loaded: list[tuple[Path, Scenario]] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            loaded.append((path, load(path)))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    names = [scenario.name for _, scenario in loaded]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise typer.BadParameter(f"there are two scenarios called {twice}; their reports would share a directory")
    return loaded


def _known(names: list[str]) -> list[str]:
    from ha_lvs.drill.report.collect import OURS
    from ha_lvs.drill.scenario.model import CONTENDERS

    for name in names:
        if name not in (OURS, *CONTENDERS):
            raise typer.BadParameter(f"{name!r} is no contender; there are {', '.join((OURS, *CONTENDERS))}")
    return names


def _drills(loaded: list[tuple[Path, Scenario]], output: Path | None, only: list[str]) -> list[Drill]:
    from ha_lvs.drill.report.conduct import Drill, wanted

    drills = []
    for path, scenario in loaded:
        directory = output if output is not None and len(loaded) == 1 else (output or DEFAULT_OUTPUT) / scenario.name
        command = _command([path], output if len(loaded) == 1 else None, only)
        drills.append(Drill(path, scenario, directory.absolute(), wanted(scenario, only), command))
    return drills


def _command(paths: list[Path], output: Path | None, only: list[str]) -> str:
    words = ["ha-lvs", "drill", *map(str, paths)]
    words += ["-o", str(output)] if output else []
    for name in only:
        words += ["--contender", name]
    return shlex.join(words)
