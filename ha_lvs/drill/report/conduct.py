"""Runs drills: starts the measuring side where the lab is, shows what happens, judges, writes the report.

Below a drill's directory there are afterwards:

    report.json, report.html    figures and verdicts (`build`); the same to read, with pictures (`page`)
    events.jsonl                the events, from which the rest can be made again (`again`)
    NAME.yml                    the scenario as it was
    logs/CONTENDER/NODE.log     of directors, and lab.log: what else the measuring side had to say
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rich.console import Console

from ha_lvs.drill.lab import choice
from ha_lvs.drill.measure.events import parse_event
from ha_lvs.drill.report import page, screen
from ha_lvs.drill.report.build import Report, build
from ha_lvs.drill.report.collect import OURS, Story
from ha_lvs.drill.scenario import Scenario
from ha_lvs.errors import LabError

RUNNER = "ha_lvs.drill.runner"
EVENTS, LAB_LOG = "events.jsonl", "lab.log"
TIDY_UP_S = 60.0
"""How long the measuring side may take to take its lab down when it is told to end."""


@dataclass(frozen=True, slots=True)
class Drill:
    """A drill to be run.

    Arguments:
        path: the scenario's file.
        scenario: what it says.
        directory: where everything goes, absolute.
        wanted: the contenders, in their order.
        reproduce: the command that runs it again.
        extra: further arguments for the runner.
    """

    path: Path
    scenario: Scenario
    directory: Path
    wanted: tuple[str, ...]
    reproduce: str
    extra: tuple[str, ...] = ()


def wanted(scenario: Scenario, only: Sequence[str] = ()) -> tuple[str, ...]:
    """The contenders to be tried: those asked for, or ours and whom the scenario names."""
    return tuple(dict.fromkeys(only)) or (OURS, *scenario.against)


def lab_of(drill: Drill) -> str:
    """The kind of lab that a drill needs here.

    Errors: LabError when there is none to be had.
    """
    return choice.choose(drill.directory, needs_ipvs=drill.scenario.needs_ipvs)


def command(drill: Drill, lab: str) -> list[str]:
    """How the measuring side is started."""
    run = [str(_copy_of(drill)), "-o", str(drill.directory), "--lab", lab]
    for name in drill.wanted:
        run += ["--contender", name]
    return choice.inside(lab, RUNNER, [*run, *drill.extra])


def run(drill: Drill, lab: str, console: Console, *, plain: bool = False) -> Report:
    """The whole drill; its report comes back and is written.

    Arguments:
        lab: as of `lab_of`.
        console: where progress goes.
        plain: lines even on a terminal.

    Errors: LabError when the report cannot be made for want of an extra.
    """
    page.require_extras()
    _make_room(drill)
    if lab != choice.NATIVE:
        console.print(f"this kernel has no IPVS: the drill runs in a guest ({lab}), slower than a real machine")
    story = Story(drill.scenario.end_s)
    view = screen.make(console, drill.scenario, plain=plain)
    with (drill.directory / EVENTS).open("wb") as record, (drill.directory / LAB_LOG).open("wb") as rest:
        process = subprocess.Popen(command(drill, lab), stdout=subprocess.PIPE, stderr=rest, stdin=subprocess.DEVNULL)
        try:
            assert process.stdout
            follow(process.stdout, story, view, record, rest)
            process.wait()
        finally:
            view.close()
            _end(process)
    if process.returncode and not (story.problems or any(trial.problems for trial in story.trials)):
        # With problems told, the exit code says nothing new.
        log = drill.directory / LAB_LOG
        story.problems.append(f"the measuring side ended with exit code {process.returncode}, see {log}")
    return write(story, drill)


def follow(lines: Iterable[bytes], story: Story, view: screen.View, record: IO[bytes], rest: IO[bytes]) -> None:
    """Feeds each event to the story, the screen and the record; lines that are no events go to `rest`.

    At the end it adds a ``clock`` event: an event arrives a little after it happened and never before, so the one that
    took least time tells how the two clocks stand to each other.
    """
    best: tuple[float, float] | None = None
    for line in lines:
        event = parse_event(line)
        if event is None:
            rest.write(line)
            rest.flush()
            continue
        at, wall_s = float(event["t"]), time.time()
        if best is None or wall_s - at < best[1] - best[0]:
            best = (at, wall_s)
        record.write(line)
        record.flush()
        story.feed(event)
        view.show(story, event)
    if best is not None:
        clock = {"event": "clock", "t": best[0], "wall_s": round(best[1], 4)}
        record.write(json.dumps(clock).encode() + b"\n")
        story.feed(clock)


def again(drill: Drill) -> Report:
    """Makes the report anew of the events that a drill has left.

    Errors: LabError when there are none.
    """
    story = Story(drill.scenario.end_s)
    try:
        lines = (drill.directory / EVENTS).read_bytes().splitlines()
    except OSError as problem:
        raise LabError(f"{drill.directory / EVENTS}: {problem.strerror}; run the drill first") from problem
    for line in lines:
        event = parse_event(line)
        if event is not None:
            story.feed(event)
    return write(story, drill)


def write(story: Story, drill: Drill) -> Report:
    """report.json and report.html of a story."""
    report = build(story, drill.scenario, drill.wanted, drill.reproduce)
    (drill.directory / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    html = page.render(report, story, drill.scenario.rate, drill.directory)
    (drill.directory / "report.html").write_text(html)
    return report


def _copy_of(drill: Drill) -> Path:
    return drill.directory / f"{drill.scenario.name}.yml"


def _make_room(drill: Drill) -> None:
    """An empty directory but for the scenario. The copy is there because a guest does not see all of our files."""
    drill.directory.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(drill.directory / "logs", ignore_errors=True)
    for name in ("report.json", "report.html", EVENTS, LAB_LOG):
        (drill.directory / name).unlink(missing_ok=True)
    with contextlib.suppress(shutil.SameFileError):
        shutil.copyfile(drill.path, _copy_of(drill))


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(TIDY_UP_S)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()
