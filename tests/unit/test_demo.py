"""The demo's story, report, screen and picture, made from events."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ha_lvs.drill.demo import report, show, timeline
from ha_lvs.drill.demo import view as demo_view
from ha_lvs.drill.demo.story import STEPS, Story
from ha_lvs.drill.measure.events import Event

STEP_TIMES = {
    "ready": 5.0,
    "cut": 10.0,
    "taken-over": 10.9,
    "healed": 14.0,
    "steady": 15.0,
    "answered": 15.2,
    "server-stopped": 16.0,
    "server-out": 18.0,
    "server-started": 19.0,
    "server-in": 20.5,
}
NO_CONNECTIONS = {"open": 0, "waiting": 0, "lost": {}, "least_answers": 0}


def verified(at: float, name: str, kept: int = 200, lost: dict[str, int] | None = None) -> Event:
    return {"event": "verified", "t": at, "name": name, "kept": kept, "of": 200, "lost": lost or {}}


def run_events(method: str, start: float, **verifications: int) -> list[Event]:
    """A run in which everything is as it should be, but for the connections kept."""
    kept = {"before": 200, "after-cut": 200, "after-return": 200, **verifications}
    rows: list[list[Any]] = []
    for tick in range(60, 220):
        sent = tick / 10
        dead = 10.0 <= sent < 11.0
        refused = 16.0 <= sent < 18.0 and tick % 4 == 0
        failure = "timeout" if dead else "refused" if refused else ""
        rows.append(
            [start + sent, 1000.0 if dead else 3.0, "" if failure else f"s{tick % 3 + 1}", failure, 40000 + tick]
        )
    events: list[Event] = [
        {
            "event": "run",
            "t": start,
            "forwarding": method,
            "directors": ["lb1", "lb2"],
            "servers": ["s1", "s2", "s3"],
            "interval_s": 0.25,
            "expected_ms": 902.3,
        },
        {"event": "holders", "t": start + 4, "nodes": ["lb1"]},
        {"event": "started", "t": start + 6, "pid": 1, "realtime": True},
        {"event": "holders", "t": start + 10.9, "nodes": ["lb1", "lb2"]},
        {"event": "holders", "t": start + 14.2, "nodes": ["lb1"]},
        {"event": "roles", "t": start + 15, "nodes": {"lb1": "active", "lb2": "backup"}},
        *({"event": "step", "t": start + at, "name": name, "text": STEPS[name]} for name, at in STEP_TIMES.items()),
        verified(start + 9.5, "before", kept["before"]),
        verified(start + 12, "after-cut", kept["after-cut"], {"reset": 200 - kept["after-cut"]}),
        verified(start + 15.5, "after-return", kept["after-return"]),
        {
            "event": "report",
            "t": start + 22,
            "requests": rows,
            "sent": len(rows),
            "under_way": 0,
            "connections": {**NO_CONNECTIONS, "open": 200},
            "worst_lateness_ms": 1.5,
        },
        {"event": "end", "t": start + 23},
    ]
    return sorted(events, key=lambda event: float(event["t"]))


MACHINE: Event = {"event": "machine", "t": 0.0, "kernel": "6.1.0-1-amd64", "lab": "vm", "cpus": 2}
METHODS = ("dr", "nat", "tun")


def all_well() -> list[Event]:
    return [MACHINE, *(event for n, method in enumerate(METHODS) for event in run_events(method, 100.0 * (n + 1)))]


def story_of(events: list[Event]) -> Story:
    story = Story()
    for event in events:
        story.feed(event)
    return story


def test_the_report_has_every_figure_of_each_run() -> None:
    result = report.build(story_of(all_well()), METHODS)
    assert result["ok"]
    assert result["problems"] == []
    assert result["kernel"] == "6.1.0-1-amd64"
    assert [run["forwarding"] for run in result["forwarding"]] == ["dr", "nat", "tun"]
    run = result["forwarding"][0]
    # The last answer before the cut was asked for at 9.9 s, the first after it at 11.0 s.
    assert run["outage_ms"] == pytest.approx(1100, abs=1)
    assert run["takeover_ms"] == pytest.approx(900, abs=1)
    assert run["return_outage_ms"] == pytest.approx(100, abs=1)
    assert (run["requests_total"], run["requests_failed"]) == (160, 15)
    assert (run["requests_failed_cut"], run["requests_failed_server"]) == (10, 5)
    assert run["failed_by_reason"] == {"timeout": 10, "refused": 5}
    assert (run["connections_before"], run["connections_kept"]) == (200, 200)
    assert (run["server_out_ms"], run["server_in_ms"]) == (2000.0, 1500.0)


def test_the_figures_of_all_runs_together_are_sums_and_worst_cases() -> None:
    result = report.build(story_of(all_well()), METHODS)
    assert (result["requests_total"], result["requests_failed"]) == (480, 45)
    assert (result["connections_before"], result["connections_kept"]) == (600, 600)
    assert result["outage_ms"] == max(run["outage_ms"] for run in result["forwarding"])
    assert set(result["notes"]) >= {"outage_ms", "requests_failed", "connections_kept", "server_out_ms"}


def test_a_lost_connection_does_not_hold() -> None:
    events = [MACHINE, *run_events("nat", 100.0, **{"after-cut": 198})]
    (problem,) = report.build(story_of(events), ("nat",))["problems"]
    assert problem == "nat: 2 of 200 connections were lost after the cut (2 reset)"


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_never_happened_does_not_hold(name: str) -> None:
    events = [event for event in run_events("dr", 100.0) if event.get("name") != name]
    result = report.build(story_of([MACHINE, *events]), ("dr",))
    assert not result["ok"]
    assert any(STEPS[name] in text for text in result["problems"])


def test_requests_that_are_never_answered_again_do_not_hold_and_are_an_outage_until_the_last() -> None:
    events = run_events("nat", 100.0)
    for event in events:
        if event["event"] == "report":
            event["requests"] = [
                row if row[0] < 114.0 else [*row[:2], "", "timeout", row[4]] for row in event["requests"]
            ]
    result = report.build(story_of([MACHINE, *events]), ("nat",))
    assert "nat: no new request was answered between" in "".join(result["problems"])
    # From the last answered one, sent at 13.9 s, to the last of all, sent at 21.9 s.
    assert result["forwarding"][0]["return_outage_ms"] == pytest.approx(8000, abs=1)


def test_a_run_that_was_broken_off_says_why_and_has_no_invented_figures() -> None:
    events = [event for event in run_events("tun", 100.0) if float(event["t"]) < 110.5]
    events.append({"event": "problem", "t": 130.0, "text": "waited 20 s for lb2 to hold 10.9.0.100"})
    result = report.build(story_of([MACHINE, *events]), METHODS)
    run = result["forwarding"][0]
    assert run["outage_ms"] is None
    assert run["server_out_ms"] is None
    assert result["outage_ms"] is None
    assert "tun: waited 20 s for lb2 to hold 10.9.0.100" in result["problems"]
    assert "dr: was not tried" in result["problems"]


def test_nothing_measured_at_all_is_a_report_too() -> None:
    result = report.build(Story(), METHODS)
    assert not result["ok"]
    assert result["outage_ms"] is None


def plain(events: list[Event]) -> list[str]:
    text = io.StringIO()
    view = demo_view.PlainView(Console(file=text, width=demo_view.PLAIN_WIDTH))
    story = Story()
    for event in events:
        story.feed(event)
        view.show(story, event)
    view.close()
    return text.getvalue().splitlines()


def test_without_a_terminal_each_thing_that_happens_is_a_line() -> None:
    lines = plain([MACHINE, *run_events("dr", 100.0)])
    for expected in (
        "kernel 6.1.0-1-amd64",
        "virtual IP held by lb1 (cut off) and lb2",
        "200 of 200 connections answer",
        "roles: lb1 active, lb2 backup",
        " 9 requests/s (s1 50 s2 47 s3 48), 15 failed",
    ):
        assert any(expected in line for line in lines), expected


def test_on_a_terminal_the_table_says_where_things_stand() -> None:
    text = io.StringIO()
    console = Console(file=text, width=100, height=50, force_terminal=True)
    view = demo_view.make(console)
    story = Story()
    for event in [MACHINE, *run_events("dr", 100.0)]:
        story.feed(event)
        view.show(story, event)
    view.close()
    shown = text.getvalue()
    assert isinstance(view, demo_view.LiveView)
    assert "15 of 160" in shown
    assert "after the cut 200 of 200 kept" in shown


def test_the_summary_says_what_never_happened() -> None:
    events = [event for event in run_events("dr", 100.0) if event.get("name") != "server-in"]
    text = io.StringIO()
    console = Console(file=text, width=120)
    console.print(demo_view.summary_table(report.build(story_of([MACHINE, *events]), ("dr",))))
    assert "never" in text.getvalue()
    assert "200 of 200" in text.getvalue()


def test_a_director_that_is_cut_off_still_holds_the_address_in_the_picture() -> None:
    (run,) = story_of(run_events("dr", 0.0)).runs
    assert timeline.holding_spans(run, "lb1") == [(4.0, 23.0)]
    assert timeline.holding_spans(run, "lb2") == [(10.9, 14.2)]


def test_every_request_is_in_one_bin_of_the_picture() -> None:
    (run,) = story_of(run_events("dr", 0.0)).runs
    times, good, bad = timeline.bins(run)
    assert (sum(good), sum(bad)) == (145, 15)
    assert len(times) == len(good) == len(bad)


def test_the_picture_is_drawn_from_whole_and_broken_runs(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    broken = [event for event in run_events("nat", 200.0) if event["event"] in ("run", "report")]
    timeline.draw(story_of([MACHINE, *run_events("dr", 100.0), *broken]), tmp_path / "two.svg")
    timeline.draw(Story(), tmp_path / "none.svg")
    assert (tmp_path / "two.svg").stat().st_size > (tmp_path / "none.svg").stat().st_size > 0


def test_lines_that_are_no_events_are_kept_apart() -> None:
    record, rest, story = io.BytesIO(), io.BytesIO(), Story()
    console = Console(file=io.StringIO())
    lines = [b"booting\n", b'{"event": "machine", "t": 1, "kernel": "k", "lab": "vm", "cpus": 2}\n', b"3\n"]
    show.follow(iter(lines), story, demo_view.PlainView(console), record, rest)
    assert story.machine["kernel"] == "k"
    assert record.getvalue() == lines[1]
    assert rest.getvalue() == b"booting\n3\n"
