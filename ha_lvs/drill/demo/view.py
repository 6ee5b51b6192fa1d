"""The demo on a screen: a live table where there is a terminal, plain lines where there is none.

Both views are shown each event after the `Story` has taken it in, and say only what the story knows. Neither measures
anything.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ha_lvs.drill.demo.story import Run, Story
from ha_lvs.drill.measure.events import Event
from ha_lvs.drill.measure.tally import Request

EVENT_LINES = 14
PLAIN_WIDTH = 132


class View(Protocol):
    """What the demo needs of a screen."""

    def show(self, story: Story, event: Event) -> None:
        """Shows an event that the story has just taken in."""

    def close(self) -> None:
        """Ends what is live; what comes after is printed below it."""


def holders_text(run: Run) -> str:
    """Who holds the virtual IP, in words."""
    nodes = run.holders[-1][1] if run.holders else ()
    return " and ".join(f"{node} (cut off)" if node == run.cut_off else node for node in nodes) or "nobody"


def sentence(run: Run | None, event: Event) -> str | None:
    """What an event says to people, or None when it is not worth a line."""
    kind = event["event"]
    if kind in ("step", "note"):
        return str(event["text"])
    if kind == "problem":
        return f"PROBLEM: {event['text']}"
    if kind == "run":
        return (
            f"=== forwarding {event['forwarding']}: {', '.join(event['directors'])} for {', '.join(event['servers'])}"
        )
    if kind == "machine":
        return f"kernel {event['kernel']}, lab: {event['lab']}, processors: {event['cpus']}"
    if run is None:
        return None
    if kind == "holders":
        return f"virtual IP held by {holders_text(run)}"
    if kind == "roles":
        return "roles: " + ", ".join(f"{node} {role}" for node, role in event["nodes"].items())
    if kind == "opened":
        shares = ", ".join(f"{server} {count}" for server, count in sorted(event["servers"].items()))
        return f"{event['connections']} long-lived connections opened ({shares})"
    if kind == "verified":
        lost = ", ".join(f"{count} {why}" for why, count in event["lost"].items())
        return f"{event['kept']} of {event['of']} connections answer{f' (lost: {lost})' if lost else ''}"
    return None


def pulse(event: Event, elapsed_s: float) -> dict[str, Any]:
    """What one report of the load generator says of the last `elapsed_s` seconds: ``rate``, ``failed``, ``p50_ms``,
    ``servers`` (answers by server)."""
    requests = [Request.from_row(row) for row in event["requests"]]
    answered = sorted(request.took_ms for request in requests if request.ok)
    servers = sorted({request.server for request in requests if request.ok})
    return {
        "rate": len(answered) / elapsed_s if elapsed_s > 0 else 0.0,
        "failed": len(requests) - len(answered),
        "p50_ms": answered[len(answered) // 2] if answered else 0.0,
        "servers": {name: sum(request.server == name for request in requests) for name in servers},
    }


class PlainView:
    """One readable line for each thing that happens, and one a second while there is load.

    Arguments:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._reported_s: float | None = None

    def show(self, story: Story, event: Event) -> None:
        """Prints the event's line, if it has one."""
        text = sentence(story.run, event)
        if event["event"] == "report" and story.run and (event["requests"] or event["under_way"]):
            text = self._pulse(story.run, event)
        if event["event"] in ("report", "started"):
            self._reported_s = float(event["t"])
        if text:
            method = story.run.forwarding if story.run else ""
            elapsed_s = story.now_s - (story.started_s or 0.0)
            style = "bold red" if event["event"] == "problem" else "bold" if event["event"] == "step" else ""
            line = Text(f"{elapsed_s:6.1f} s  {method:<3}  {text}", style=style)
            self._console.print(line, soft_wrap=True, highlight=False)

    def close(self) -> None:
        """Nothing is live here."""

    def _pulse(self, run: Run, event: Event) -> str:
        figures = pulse(event, float(event["t"]) - (self._reported_s or float(event["t"])))
        shares = " ".join(f"{name} {count}" for name, count in figures["servers"].items())
        text = f"    {figures['rate']:3.0f} requests/s ({shares or 'no answer'}), {figures['failed']} failed"
        return f"{text}; {run.connections['open']} connections open; virtual IP: {holders_text(run)}"


class LiveView:
    """A table of where things stand and the latest events below it, redrawn in place.

    Arguments:
        console: a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._lines: deque[Text] = deque(maxlen=EVENT_LINES)
        self._pulse: dict[str, Any] | None = None
        self._reported_s: float | None = None
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._live.start()

    def show(self, story: Story, event: Event) -> None:
        """Redraws the screen."""
        at = float(event.get("t", story.now_s))
        if event["event"] == "run":
            self._pulse = None
        if event["event"] == "report":
            self._pulse = pulse(event, at - (self._reported_s or at))
        if event["event"] in ("report", "started"):
            self._reported_s = at
        text = sentence(story.run, event)
        if text:
            style = {"problem": "bold red", "step": "bold", "run": "bold cyan"}.get(event["event"], "")
            self._lines.append(Text(f"{at - (story.started_s or 0.0):6.1f} s  {text}", style=style))
        self._live.update(Group(self._table(story), Text("\n").join(self._lines)))

    def close(self) -> None:
        """Leaves the last screen standing."""
        self._live.transient = False
        self._live.stop()

    def _table(self, story: Story) -> Table:
        run = story.run
        title = f"ha-lvs demo on kernel {story.machine.get('kernel', '...')}"
        table = Table(title=title, box=SIMPLE_HEAD, show_header=False, title_justify="left", min_width=72)
        table.add_column(style="dim", no_wrap=True)
        table.add_column()
        if run is None:
            table.add_row("state", "setting up")
            return table
        done = "".join(f"{each.forwarding} " for each in story.runs[:-1])
        table.add_row("forwarding", f"{run.forwarding}" + (f"   (done: {done.strip()})" if done else ""))
        table.add_row(
            "virtual IP", Text(holders_text(run), style="green" if run.holders and run.holders[-1][1] else "red")
        )
        for node in run.directors:
            role = run.roles.get(node, "?")
            text = Text(role, style="green" if role == "active" else "")
            if node == run.cut_off:
                text.append("  cut off", style="red")
            table.add_row(node, text)
        figures = self._pulse or {"rate": 0.0, "failed": 0, "p50_ms": 0.0, "servers": {}}
        shares = "  ".join(f"{name} {count}" for name, count in figures["servers"].items())
        table.add_row("requests", f"{figures['rate']:.0f}/s  half within {figures['p50_ms']:.1f} ms   {shares}")
        failed = len(run.failed)
        table.add_row("failed", Text(f"{failed} of {len(run.requests)}", style="red" if figures["failed"] else ""))
        table.add_row("connections", connections_text(run))
        return table


def connections_text(run: Run) -> str:
    """The long-lived connections in words."""
    if not run.connections:
        return "none yet"
    state = run.connections
    lost = ", ".join(f"{count} {why}" for why, count in state["lost"].items())
    text = f"{state['open']} open, {state['waiting']} waiting for an answer" + (f", lost: {lost}" if lost else "")
    after = run.kept("after-cut")
    return text + (f"; after the cut {after} of {run.kept('before')} kept" if after is not None else "")


def make(console: Console) -> View:
    """The view that suits the console."""
    return LiveView(console) if console.is_terminal else PlainView(console)


def summary_table(report: dict[str, Any]) -> Table:
    """The report's figures side by side, one column a run."""
    table = Table(title="Summary", box=SIMPLE_HEAD, title_justify="left")
    table.add_column("", no_wrap=True)
    runs = report["forwarding"]
    for run in runs:
        table.add_column(run["forwarding"], justify="right", no_wrap=True)
    for label, text in _ROWS:
        table.add_row(label, *(_cell(text, run) for run in runs))
    return table


def _cell(text: str, run: dict[str, Any]) -> str:
    cell = text.format(**{key: _shown(value) for key, value in run.items()})
    return "never" if _NEVER in cell else cell


def _shown(value: Any) -> str:
    if value is None:
        return _NEVER
    return f"{value:.0f}" if isinstance(value, float) else str(value)


_NEVER = "never"

_ROWS = (
    ("adverts every / takeover due within", "{interval_ms} ms / {expected_ms} ms"),
    ("standby had the virtual IP after", "{takeover_ms} ms"),
    ("outage seen by clients", "{outage_ms} ms"),
    ("the same when the old active returned", "{return_outage_ms} ms"),
    ("connections kept through the cut", "{connections_kept} of {connections_before}"),
    ("... and through the return", "{connections_kept_after_return} of {connections_before}"),
    (
        "requests failed: before / cut / return / server",
        "{requests_failed_before} / {requests_failed_cut} / {requests_failed_return} / {requests_failed_server}",
    ),
    ("requests failed of all", "{requests_failed} of {requests_total}"),
    ("stopped server out of IPVS after", "{server_out_ms} ms"),
    ("started server back after", "{server_in_ms} ms"),
)  # fmt: skip
