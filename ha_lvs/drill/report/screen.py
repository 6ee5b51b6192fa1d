"""A drill on a screen: a table of where it stands where there is a terminal, plain lines where there is none.

Views are shown each event after the `Story` has taken it in, and say only what the story knows. Neither
measures anything.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ha_lvs.drill.measure.events import Event
from ha_lvs.drill.report import page
from ha_lvs.drill.report.build import Report
from ha_lvs.drill.report.collect import Story, Trial
from ha_lvs.drill.scenario import Scenario

EVENT_LINES = 10
PLAIN_WIDTH = 132
BAR_WIDTH = 40


class View(Protocol):
    """What a drill needs of a screen."""

    def show(self, story: Story, event: Event) -> None:
        """Shows an event that the story has just taken in."""

    def close(self) -> None:
        """Ends what is live; what comes after is printed below it."""


def phase(story: Story) -> str:
    """How far the trial under way has come, in words."""
    trial = story.trial
    if trial is None:
        return "between two contenders" if story.trials else "setting up the lab"
    if trial.armed_s is None:
        return "load settles" if trial.connections else "setting up"
    until = trial.measured_until_s
    if until is not None and story.now_s < until:
        return "measuring"
    return "looking at what is left" if "end" not in trial.verified else "tidying up"


def holders_text(trial: Trial) -> str:
    """Who holds the virtual IP, in words."""
    if not trial.directors:
        return "there is none"
    return " and ".join(trial.holding()) or "nobody"


def counts(trial: Trial) -> tuple[int, int]:
    """Requests answered and failed so far."""
    answered = sum(request.ok for request in trial.requests)
    return answered, len(trial.requests) - answered


def sentence(trial: Trial | None, event: Event) -> str | None:
    """What an event says to people, or None when it is not worth a line."""
    kind = event["event"]
    if kind == "note":
        return str(event["text"])
    if kind == "problem":
        return f"PROBLEM: {event['text']}"
    if kind == "machine":
        return f"kernel {event.get('kernel')}, lab: {event.get('lab')}, processors: {event.get('cpus')}"
    if trial is None:
        return None
    if kind == "run":
        return f"=== {trial.contender}: {', '.join((*trial.directors, *trial.servers))}"
    if kind == "armed":
        return f"armed: {trial.active} is active, {trial.standby} stands by" if trial.active else "armed"
    if kind == "step":
        target = f" ({event['target']})" if event["target"] and event["target"] not in event["text"] else ""
        return f"{trial.since_arming(event['t']):.1f} s: {event['text']}{target}"
    if kind == "holders":
        return f"virtual IP held by {holders_text(trial)}"
    if kind == "roles":
        return "roles: " + ", ".join(f"{node} {role}" for node, role in event["nodes"].items())
    if kind == "in_service":
        return f"in service on {event['node']}: {', '.join(event['servers']) or 'no server'}"
    if kind in ("opened", "verified"):
        lost = ", ".join(f"{count} {why}" for why, count in event["lost"].items())
        what = f"{event['connections']} long-lived connections opened" if kind == "opened" else ""
        return (what or f"{event['kept']} of {event['of']} connections answer") + (f" (lost: {lost})" if lost else "")
    if kind == "udp":
        return f"{event['lost']} of {event['sent']} datagrams lost, longest gap {event['outage_ms']:g} ms"
    if kind == "settled":
        return "never all well again" if event["after_s"] is None else f"all well after {event['after_s']:.2f} s"
    return None


class PlainView:
    """One readable line for each thing that happens, and one a report of the load.

    Arguments:
        console: where to.
        scenario: what is drilled.
    """

    def __init__(self, console: Console, scenario: Scenario) -> None:
        self._console = console
        console.print(f"{scenario.name}: {scenario.title}", style="bold", markup=False, highlight=False)

    def show(self, story: Story, event: Event) -> None:
        """Prints the event's line, if it has one."""
        trial = story.trial
        text = sentence(trial, event)
        if event["event"] == "report" and trial is not None and event["requests"]:
            answered, failed = counts(trial)
            text = f"    {phase(story)}: {answered} answered, {failed} failed; virtual IP: {holders_text(trial)}"
        if text:
            elapsed_s = story.now_s - (story.started_s or 0.0)
            name = trial.contender if trial else ""
            line = Text(f"{elapsed_s:6.1f} s  {name:<10}  {text}", style=_style(event))
            self._console.print(line, soft_wrap=True, highlight=False)

    def close(self) -> None:
        """Nothing is live here."""


class LiveView:
    """A table of where things stand and the latest events below it, redrawn in place.

    Arguments:
        console: a terminal.
        scenario: what is drilled.
    """

    def __init__(self, console: Console, scenario: Scenario) -> None:
        self._scenario = scenario
        self._story = Story(scenario.end_s)
        self._lines: deque[Text] = deque(maxlen=EVENT_LINES)
        self._armed_at: float | None = None
        self._live = Live(console=console, refresh_per_second=4, transient=True, get_renderable=self._draw)
        self._live.start()

    def show(self, story: Story, event: Event) -> None:
        """Takes the event into the next drawing."""
        self._story = story
        if event["event"] == "run":
            self._armed_at = None
        elif event["event"] == "armed":
            self._armed_at = time.monotonic()  # here: the machine under test has a clock of its own
        text = sentence(story.trial, event)
        if text:
            at = float(event["t"]) - (story.started_s or 0.0)
            self._lines.append(Text(f"{at:6.1f} s  {text}", style=_style(event)))

    def close(self) -> None:
        """Clears the screen of what was live; the figures come next."""
        self._live.stop()

    def _draw(self) -> Group:
        return Group(self._table(), Text("\n").join(self._lines))

    def _table(self) -> Table:
        scenario, story = self._scenario, self._story
        table = Table(title=f"{scenario.name}: {escape(scenario.title)}", box=SIMPLE_HEAD, show_header=False)
        table.title_justify, table.min_width = "left", 72
        table.add_column(style="dim", no_wrap=True)
        table.add_column()
        done = ", ".join(trial.contender for trial in story.trials if trial.ended_s is not None)
        trial = story.trial
        table.add_row("contender", (trial.contender if trial else "–") + (f"   (done: {done})" if done else ""))
        table.add_row("phase", phase(story))
        if trial is None:
            return table
        elapsed_s = min(scenario.end_s, time.monotonic() - self._armed_at) if self._armed_at is not None else 0.0
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=scenario.end_s, completed=elapsed_s, width=BAR_WIDTH),
            f"{elapsed_s:.1f} of {scenario.end_s:g} s, {max(0.0, scenario.end_s - elapsed_s):.1f} s to go",
        )
        table.add_row("time", bar)
        if trial.directors:
            table.add_row(
                "virtual IP", Text(holders_text(trial), style="green" if len(trial.holding()) == 1 else "red")
            )
        if trial.in_service:
            table.add_row("in service", ", ".join(trial.in_service[-1][2]) or Text("no server", style="red"))
        answered, failed = counts(trial)
        table.add_row("requests", Text(f"{answered} answered, {failed} failed", style="red" if failed else ""))
        if trial.connections:
            state = trial.connections
            table.add_row("connections", f"{state['open']} open, {sum(state['lost'].values())} lost")
        for index, step in enumerate(scenario.steps):
            mark = Text("✓ ", style="green") if index < len(trial.steps) else Text("· ")
            table.add_row("steps" if index == 0 else "", mark + Text(f"{step.at_s:g} s  {step.text}"))
        return table


def make(console: Console, scenario: Scenario, *, plain: bool) -> View:
    """The view that suits the console."""
    return LiveView(console, scenario) if console.is_terminal and not plain else PlainView(console, scenario)


def bounds_table(report: Report) -> Table:
    """Bounds and measured figures, with a tick or a cross."""
    table = Table(title=f"{report['scenario']}: {page.verdict(report)}", box=SIMPLE_HEAD, title_justify="left")
    table.title_style = "bold green" if report["ok"] else "bold red"
    table.add_column("")
    table.add_column("figure")
    table.add_column("bound", justify="right", no_wrap=True)
    table.add_column("measured", justify="right", no_wrap=True)
    for row in report["bounds"]:
        measured = "not measured" if row["measured"] is None else f"{page.number_text(row['measured'])} {row['unit']}"
        table.add_row(
            Text("✓", style="green") if row["ok"] else Text("✗", style="bold red"),
            row["label"],
            f"{row['direction']} {page.number_text(row['bound'])} {row['unit']}".rstrip(),
            measured.rstrip(),
        )
    return table


def _style(event: Event) -> str:
    return {"problem": "bold red", "step": "bold", "run": "bold cyan"}.get(event["event"], "")
