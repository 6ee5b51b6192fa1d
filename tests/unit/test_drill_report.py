"""A drill's report: figures, verdicts, pictures and pages, made of events."""

from __future__ import annotations

import html.parser
import io
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ha_lvs.drill.measure.events import Event
from ha_lvs.drill.report import build, conduct, excerpts, measured, page, pictures, screen, spans, summary, svg
from ha_lvs.drill.report.collect import Story, Trial
from ha_lvs.drill.scenario import BOUNDS, Scenario, Step
from ha_lvs.errors import LabError
from ha_lvs.model import Forwarding
from tests.unit.drill_stories import ARMED_S, MACHINE, Tale, beats, events, holders, requests, step, trial

WHOLE = ("ha-lvs", "keepalived", "dns")
SCRIPT = "<script>alert(1)</script>"


def scenario(**changed: Any) -> Scenario:
    fields: dict[str, Any] = {
        "name": "power-loss",
        "title": "Power loss of the active director",
        "teaches": "What it teaches.",
        "forwarding": Forwarding.DR,
        "servers": 3,
        "clients": 1,
        "config": {},
        "connections": 100,
        "rate": 50.0,
        "udp_interval_s": 0.001,
        "against": ("keepalived", "dns"),
        "steps": (Step(2.0, "cut", "active"), Step(6.0, "heal", "active")),
        "end_s": 10.0,
        "expect": {"outage": 1.5, "requests_failed": 60, "connections_kept": 100, "holders_at_end": 1},
    }
    return Scenario(**(fields | changed))


def tales() -> list[Tale]:
    return [
        Tale(),
        Tale(contender="keepalived", begin=ARMED_S + 40, dead=((2.0, 3.5),), kept=0, settled=None),
        Tale(
            contender="dns",
            begin=ARMED_S + 80,
            directors=(),
            active="",
            dead=(),
            sick=((2.0, 6.0),),
            udp=False,
            holders=(),
            in_service=(),
        ),
    ]


def story_of(*told: Tale, extra: tuple[Event, ...] = ()) -> Story:
    story = Story(10.0)
    for event in [MACHINE, *(event for tale in told for event in events(tale)), *extra]:
        story.feed(event)
    return story


def report_of(*told: Tale, **changed: Any) -> build.Report:
    wanted = tuple(tale.contender for tale in told)
    return build.build(story_of(*told), scenario(**changed), wanted, "ha-lvs drill power-loss.yml")


class TestOutage:
    def test_is_the_gap_around_the_requests_that_failed(self) -> None:
        one = trial(requests=requests(beats(-3, 11), lambda at: 2 <= at < 2.9))
        gap = measured.outage(one)
        assert gap is not None
        assert gap.length_ms == pytest.approx(920, abs=1)
        assert gap.from_s - ARMED_S == pytest.approx(1.98)

    def test_without_a_fault_it_is_one_beat(self) -> None:
        assert measured.measure(trial())["outage"] == pytest.approx(0.02, abs=1e-6)

    def test_that_never_ends_counts_until_the_last_request_of_the_window(self) -> None:
        one = trial(requests=requests(beats(-3, 11), lambda at: at >= 4))
        assert measured.measure(one)["outage"] == pytest.approx(9.98 - 3.98, abs=0.001)

    def test_from_the_first_request_on_counts_although_nothing_was_answered_before(self) -> None:
        one = trial(requests=requests(beats(-0.5, 11), lambda at: at < 5))
        assert measured.measure(one)["outage"] == pytest.approx(5.5, abs=0.001)

    def test_with_no_answer_at_all_is_the_whole_time(self) -> None:
        one = trial(requests=requests(beats(0, 11), lambda _: True))
        assert measured.measure(one)["outage"] == pytest.approx(9.98, abs=0.001)

    def test_before_arming_does_not_count(self) -> None:
        one = trial(requests=requests(beats(-6, 11), lambda at: -5 <= at < -3))
        assert measured.measure(one)["outage"] == pytest.approx(0.02, abs=0.001)

    @pytest.mark.parametrize("sent", [[], beats(-3, -1)])
    def test_without_requests_in_the_window_is_not_measured(self, sent: list[float]) -> None:
        one = trial(requests=requests(sent))
        figures = measured.measure(one)
        assert (figures["outage"], figures["requests_failed"]) == (None, None)

    def test_a_load_that_stalls_is_an_outage_too(self) -> None:
        one = trial(requests=requests([*beats(-3, 2), *beats(5, 11)]))
        assert measured.measure(one)["outage"] == pytest.approx(3.02, abs=0.001)


class TestUdpOutage:
    def udp(self, **changed: Any) -> Trial:
        event = {"event": "udp", "t": 0.0, "sent": 10_000, "lost": 900, "outage_ms": 901.5, "gaps": []}
        return trial(udp=event | changed, udp_interval_s=0.001)

    def test_is_the_longest_gap_of_the_window(self) -> None:
        gaps = [[ARMED_S - 3, 2000.0], [ARMED_S + 2, 901.5], [ARMED_S + 7, 40.0], [ARMED_S + 11, 5000.0]]
        assert measured.udp_outage(self.udp(gaps=gaps, outage_ms=5000.0)) == 0.9015

    def test_without_notable_gaps_is_the_biggest_of_all(self) -> None:
        assert measured.udp_outage(self.udp(lost=0, outage_ms=1.4)) == 0.0014

    def test_with_no_answer_at_all_is_the_whole_time_and_not_zero(self) -> None:
        assert measured.udp_outage(self.udp(lost=10_000, outage_ms=0.0)) == 10.0

    def test_without_a_stream_is_not_measured(self) -> None:
        assert measured.udp_outage(trial()) is None
        assert measured.udp_outage(self.udp(sent=0, lost=0, outage_ms=0.0)) is None


class TestHolders:
    def test_one_that_stays(self) -> None:
        figures = measured.measure(trial())
        assert [figures[name] for name in ("holders_at_end", "dual_active", "no_holder", "role_changes")] == [
            1,
            0,
            0,
            0,
        ]

    def test_a_take_over_with_a_gap(self) -> None:
        one = trial(holders=holders((-5, "lb1"), (2, ""), (3.5, "lb2")))
        figures = measured.measure(one)
        assert [figures[name] for name in ("holders_at_end", "dual_active", "no_holder", "role_changes")] == [
            1,
            0,
            1.5,
            1,
        ]

    def test_dual_active_is_the_sum_and_no_holder_the_longest(self) -> None:
        told = (
            (-5, "lb1"),
            (1, "lb1 lb2"),
            (1.5, "lb1"),
            (2, ""),
            (2.2, "lb2"),
            (3, ""),
            (4, "lb1 lb2"),
            (4.25, "lb1"),
        )
        figures = measured.measure(trial(holders=holders(*told)))
        assert figures["dual_active"] == pytest.approx(0.75)
        assert figures["no_holder"] == pytest.approx(1.0)
        assert figures["role_changes"] == 4

    def test_both_until_the_end_and_beyond_counts_until_the_end_only(self) -> None:
        one = trial(holders=holders((-5, "lb1"), (4, "lb1 lb2"), (13, "lb2")))
        figures = measured.measure(one)
        assert (figures["holders_at_end"], figures["dual_active"]) == (2, 6.0)

    def test_directors_stopped_after_the_end_are_no_time_without_a_holder(self) -> None:
        figures = measured.measure(trial(holders=holders((-5, "lb1"), (10.5, ""))))
        assert (figures["holders_at_end"], figures["no_holder"]) == (1, 0)

    def test_a_change_at_the_moment_of_arming_was_before_it(self) -> None:
        figures = measured.measure(trial(holders=holders((-5, "lb1"), (0, "lb2"))))
        assert (figures["role_changes"], figures["holders_at_end"]) == (0, 1)

    def test_the_same_told_twice_is_no_change(self) -> None:
        one = trial(holders=holders((-5, "lb1"), (3, "lb1"), (4, "")))
        assert (measured.role_changes(one), measured.no_holder(one)) == (0, 6.0)

    @pytest.mark.parametrize("changed", [{"directors": ()}, {"holders": []}, {"armed_s": None}])
    def test_unknown_is_not_none_of_them(self, changed: dict[str, Any]) -> None:
        figures = measured.measure(trial(**changed))
        for name in ("holders_at_end", "dual_active", "no_holder", "role_changes"):
            assert figures[name] is None


class TestServers:
    def in_service(self, *changes: tuple[float, str]) -> list[tuple[float, str, tuple[str, ...]]]:
        return [(ARMED_S + at, "lb1", tuple(names.split())) for at, names in changes]

    def test_out_and_in(self) -> None:
        one = trial(
            steps=[step(2, "stop_server", "s1"), step(6, "start_server", "s1")],
            in_service=self.in_service((-4, "s1 s2 s3"), (3.8, "s2 s3"), (8.1, "s1 s2 s3")),
        )
        assert (measured.server_out(one), measured.server_in(one)) == (1.8, 2.1)

    def test_a_hanging_one_counts_as_well_and_the_slowest_is_told(self) -> None:
        one = trial(
            steps=[step(1, "hang_server", "s1"), step(1.5, "stop_server", "s2")],
            in_service=self.in_service((-4, "s1 s2 s3"), (2.5, "s1 s3"), (4, "s3")),
        )
        assert measured.server_out(one) == 3.0

    def test_one_that_stays_in_is_not_measured(self) -> None:
        one = trial(
            steps=[step(1, "stop_server", "s1"), step(1.5, "stop_server", "s2")],
            in_service=self.in_service((-4, "s1 s2 s3"), (2.5, "s1 s3")),
        )
        assert measured.server_out(one) is None

    def test_out_only_after_it_had_been_started_again_is_not_measured(self) -> None:
        one = trial(
            steps=[step(1, "stop_server", "s1"), step(2, "start_server", "s1")],
            in_service=self.in_service((-4, "s1 s2"), (3, "s2"), (5, "s1 s2")),
        )
        assert (measured.server_out(one), measured.server_in(one)) == (None, None)

    def test_one_that_was_out_before_it_stopped_is_out_at_once(self) -> None:
        one = trial(steps=[step(1, "stop_server", "s1")], in_service=self.in_service((-4, "s2 s3")))
        assert measured.server_out(one) == 0.0

    def test_in_after_the_end_is_not_measured(self) -> None:
        one = trial(
            steps=[step(2, "stop_server", "s1"), step(6, "start_server", "s1")],
            in_service=self.in_service((-4, "s1 s2"), (3, "s2"), (10.4, "s1 s2")),
        )
        assert measured.server_in(one) is None

    def test_without_server_steps_there_is_nothing_to_measure(self) -> None:
        assert (measured.server_out(trial()), measured.server_in(trial())) == (None, None)


def test_connections_kept_are_a_share_of_all_that_were_asked_for() -> None:
    end = {"event": "verified", "t": 0, "name": "end", "kept": 66, "of": 100}
    assert measured.connections_kept(trial(verified={"end": end})) == 66.0
    assert measured.connections_kept(trial(verified={"end": end | {"kept": 0, "of": 0}})) is None
    assert measured.connections_kept(trial(verified={"before": end})) is None


def test_requests_after_the_end_do_not_count_as_failed() -> None:
    one = trial(requests=requests(beats(-3, 11), lambda at: at < -1 or at >= 9.9))
    assert measured.requests_failed(one) == 5


def test_recovery_is_what_the_runner_saw_or_nothing() -> None:
    assert measured.recovery(trial(settled={"after_s": 1.25})) == 1.25
    assert measured.recovery(trial(settled={"after_s": None})) is None
    assert measured.recovery(trial()) is None


def test_a_trial_that_was_never_armed_has_no_figures_at_all() -> None:
    assert set(measured.measure(trial(armed_s=None, steps=[step(1, "stop_server", "s1")])).values()) == {None}


def test_there_is_a_figure_for_each_bound() -> None:
    assert list(measured.measure(trial())) == list(BOUNDS)


class TestReport:
    def test_a_drill_that_holds(self) -> None:
        report = report_of(*tales())
        assert report["ok"] is True
        assert report["problems"] == []
        assert list(report["contenders"]) == list(WHOLE)
        assert [row["name"] for row in report["bounds"]] == [
            "outage",
            "requests_failed",
            "connections_kept",
            "holders_at_end",
        ]
        ours = report["contenders"]["ha-lvs"]
        assert ours["measured"]["outage"] == pytest.approx(0.92, abs=0.001)
        assert ours["measured"]["role_changes"] == 2
        assert ours["steps"] == [{"at_s": 2.0, "text": "cut active"}, {"at_s": 6.0, "text": "heal active"}]
        assert ours["requests"]["requests"] == 500
        assert ours["requests"]["failed"] == {"timeout": 45}
        assert set(ours["latency"]) == {"p50_ms", "p99_ms", "max_ms"}
        assert ours["udp"]["sent"] == 13000
        assert report["contenders"]["dns"]["udp"] is None
        json.dumps(report, allow_nan=False)

    def test_bounds_apply_to_ours_alone(self) -> None:
        report = report_of(*tales())
        theirs = report["contenders"]["keepalived"]["measured"]
        assert theirs["connections_kept"] == 0
        assert report["ok"] is True

    def test_a_bound_that_does_not_hold(self) -> None:
        report = report_of(*tales(), expect={"outage": 0.5})
        assert report["ok"] is False
        assert [(row["name"], row["ok"]) for row in report["bounds"]] == [("outage", False)]
        assert page.verdict(report) == "1 of 1 bounds does not hold"

    def test_a_figure_that_is_missing_keeps_no_bound(self) -> None:
        report = report_of(Tale(settled=None), expect={"recovery": 100.0})
        assert report["ok"] is False
        assert report["bounds"][0]["measured"] is None

    def test_a_problem_of_any_contender_spoils_it(self) -> None:
        first, second, third = tales()
        second.problems = ("lb1 did not start",)
        report = report_of(first, second, third)
        assert report["ok"] is False
        assert report["problems"] == ["keepalived: lb1 did not start"]
        assert page.verdict(report) == "Not valid: 1 problem"

    def test_a_run_that_stops_half_way(self) -> None:
        story = Story(10.0)
        for event in events(Tale()):
            if event["event"] == "end" or event["t"] > ARMED_S + 4:
                break
            story.feed(event)
        report = build.build(story, scenario(), ("ha-lvs", "dns"), "")
        assert report["problems"] == [
            "ha-lvs: 1 of 2 steps were not done",
            "ha-lvs: the run did not come to its end",
            "dns: was not tried",
        ]

    def test_steps_on_the_wrong_active_are_not_overlooked(self) -> None:
        report = report_of(Tale(holders=((-5.0, "lb1"), (-1.0, "lb2"))))
        assert report["problems"] == ["ha-lvs: armed with lb1 as the active, but lb2 held the virtual IP"]

    def test_without_ours_nothing_is_judged(self) -> None:
        report = report_of(tales()[1])
        assert (report["bounds"], report["ok"]) == ([], True)

    def test_without_any_event(self) -> None:
        report = build.build(Story(10.0), scenario(), ("ha-lvs",), "")
        assert report["ok"] is False
        assert report["problems"] == ["ha-lvs: was not tried"]
        assert all(row["measured"] is None and not row["ok"] for row in report["bounds"])

    def test_a_problem_outside_of_any_run_is_told(self) -> None:
        story = story_of(*tales(), extra=({"event": "problem", "t": 2000.0, "text": "no disk"},))
        assert build.build(story, scenario(), WHOLE, "")["problems"] == ["no disk"]


class TestLabels:
    def test_that_do_not_meet_are_all_at_the_top(self) -> None:
        assert spans.stairs([(0, 1), (2, 1), (4, 1)]) == [0, 0, 0]

    def test_that_meet_go_down_stairs(self) -> None:
        assert spans.stairs([(0, 5), (1, 5), (2, 5), (9, 1)]) == [0, 1, 2, 0]

    def test_none_is_crossed_by_the_line_of_a_later_one(self) -> None:
        # The first label is over at 3, but the second, below it, is not: at the top the third's line would cross it.
        labels = [(0.0, 3.0), (1.0, 5.0), (4.0, 2.0)]
        assert spans.stairs(labels) == [0, 1, 2]

    def test_hold_for_any_places(self) -> None:
        labels = [(at * 0.37 % 11, 1 + at % 4) for at in range(40)]
        labels.sort()
        rows = spans.stairs(labels)
        for first, (begin, length) in enumerate(labels):
            for second, (other, _) in enumerate(labels[first + 1 :], first + 1):
                if other < begin + length:
                    assert rows[second] > rows[first]


class TestSpans:
    def test_a_cut_off_holder_is_told_apart(self) -> None:
        one = trial(steps=[step(2, "cut"), step(6, "heal")], holders=holders((-5, "lb1"), (3, "lb1 lb2"), (6.5, "lb1")))
        told = spans.holding(one)
        assert [(span.from_s, span.until_s, span.what) for span in told["lb1"]] == [
            (-5, 2, ""),
            (2, 6, spans.APART),
            (6, 10 + spans.TAIL_S, ""),
        ]
        assert [(span.from_s, span.until_s, span.what) for span in told["lb2"]] == [(3, 6.5, "")]

    def test_bins_hold_every_request_of_the_axis_once(self) -> None:
        one = trial(requests=requests(beats(-2, 10), lambda at: 2 <= at < 3))
        found = spans.bins(one)
        assert (sum(found.answered), sum(found.failed)) == (550, 50)
        assert {ok + bad for ok, bad in zip(found.answered, found.failed, strict=True) if ok + bad} == {5}

    def test_roles_last_until_they_change(self) -> None:
        one = trial(
            roles=[
                (ARMED_S - 3, {"lb1": "active", "lb2": "backup"}),
                (ARMED_S + 1, {"lb1": "active", "lb2": "active"}),
                (ARMED_S + 2, {"lb1": "active", "lb2": "backup"}),
            ]
        )
        told = spans.roles(one)
        assert [span.what for span in told["lb1"]] == ["active"]
        assert [(span.from_s, span.what) for span in told["lb2"]] == [(-3, "backup"), (1, "active"), (2, "backup")]


class Page(html.parser.HTMLParser):
    """What matters of a page: ids, what it would load, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.tags: Counter[str] = Counter()
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href") and value:
                self.references.append(value)
            self.references += re.findall(r"url\(([^)]*)\)", value or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture(scope="module")
def whole_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("drill")
    (directory / "lb1.log").write_text(f"2026-11-23T10:00:02.000 info role changed {SCRIPT}\n")
    first, *others = tales()
    first.logs = {"lb1": "lb1.log", "lb2": "missing.log"}
    story = story_of(first, *others)
    report = build.build(story, scenario(title=f"Loss & {SCRIPT}"), WHOLE, "ha-lvs drill power-loss.yml")
    return page.render(report, story, 50.0, directory)


class TestPage:
    def test_needs_nothing_from_elsewhere(self, whole_page: str) -> None:
        read = Page(whole_page)
        assert read.references
        assert all(reference.startswith("#") for reference in read.references)
        assert not re.search(r"https?://|@import|<link|<script|<img", whole_page)

    def test_ids_are_unique_and_references_lead_somewhere(self, whole_page: str) -> None:
        read = Page(whole_page)
        assert [name for name, count in Counter(read.ids).items() if count > 1] == []
        assert {reference[1:] for reference in read.references} <= set(read.ids)

    def test_has_a_picture_for_each_contender_with_text_in_it(self, whole_page: str) -> None:
        read = Page(whole_page)
        assert read.tags["svg"] == len(WHOLE)
        for text in (
            "time since the drill was armed (s)",
            "per 100 ms",
            "request took",
            "(ms)",
            "2.0 s cut active (lb1)",
            "has the virtual IP",
        ):
            assert text in re.sub(r"\s+", " ", read.text), text

    def test_colours_are_all_those_of_the_page(self, whole_page: str) -> None:
        for picture in re.findall(r"<svg.*?</svg>", whole_page, re.DOTALL):
            assert set(re.findall(r"#[0-9a-f]{6}\b", picture)) <= {"#ffffff", "#000000"}
            used = set(re.findall(r"var\(--([\w-]+)\)", picture))
            assert used <= set(svg.PALETTE)
        style = (page.TEMPLATES / "style.css").read_text()
        for colour in svg.PALETTE:
            assert style.count(f"--{colour}:") >= 2, f"{colour} in light and dark"

    def test_what_comes_from_outside_is_escaped(self, whole_page: str) -> None:
        assert "<script>" not in whole_page
        assert SCRIPT in Page(whole_page).text

    def test_says_the_figures_and_bounds(self, whole_page: str) -> None:
        text = re.sub(r"\s+", " ", Page(whole_page).text)
        assert "Every bound holds" in text
        assert BOUNDS["outage"].label in text
        assert "ha-lvs drill power-loss.yml" in text
        assert "6.1.0-test, in a guest (uml)" in text
        assert "one every 20 ms" in text

    def test_of_nothing_at_all_still_says_why(self, tmp_path: Path) -> None:
        story = Story(10.0)
        report = build.build(story, scenario(), ("ha-lvs",), "again")
        text = page.render(report, story, 50.0, tmp_path)
        assert "ha-lvs: was not tried" in text

    def test_of_a_trial_that_was_never_armed(self, tmp_path: Path) -> None:
        story = Story(10.0)
        for event in events(Tale(problems=("no root",))):
            if event["event"] in ("run", "problem", "end"):
                story.feed(event)
        report = build.build(story, scenario(), ("ha-lvs",), "again")
        text = page.render(report, story, 50.0, tmp_path)
        assert "It never came to a measurement" in text
        assert "ha-lvs: no root" in text

    def test_of_a_pure_pair_has_no_panels_of_requests(self) -> None:
        drawn = pictures.draw(trial(requests=[], in_service=[], servers=()), "x")
        assert "per 100 ms" not in drawn
        assert "has the virtual IP" in drawn

    def test_without_an_extra_says_how_to_get_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "jinja2", None)
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        for make in (page.templates, page.require_extras, lambda: pictures.draw(trial(), "x")):
            with pytest.raises(LabError, match=re.escape("pip install 'ha-lvs[drill]'")):
                make()


class TestExcerpts:
    OFFSET_S = 1_700_000_000.0 - ARMED_S
    """Armed at that wall-clock time."""

    def line(self, at: float, text: str) -> str:
        from datetime import datetime

        stamp = datetime.fromtimestamp(1_700_000_000.0 + at).isoformat(timespec="milliseconds")
        return f"{stamp} info     {text}"

    def test_lines_around_a_step_with_times_from_arming(self) -> None:
        log = [self.line(at, f"at {at}") for at in (-3.0, 1.9, 2.0, 2.5, 9.5)]
        found = excerpts.choose(log, trial(steps=[step(2, "cut")], wall_offset_s=self.OFFSET_S))
        assert [line.text.strip() for line in found] == [
            "+1.900 s  info     at 1.9",
            "+2.000 s  ── cut lb1 ──",
            "+2.000 s  info     at 2.0",
            "+2.500 s  info     at 2.5",
        ]

    def test_a_traceback_stays_with_its_line(self) -> None:
        log = [self.line(2.5, "failed"), "    Traceback", "    ValueError"]
        found = excerpts.choose(log, trial(steps=[step(2, "cut")], wall_offset_s=self.OFFSET_S))
        assert len(found) == 4

    @pytest.mark.parametrize("steps", [1, 3, 12])
    @pytest.mark.parametrize("offset_s", [OFFSET_S, None])
    def test_never_more_than_the_limit(self, steps: int, offset_s: float | None) -> None:
        log = [self.line(at / 100, "x") for at in range(1000)]
        told = [step(0.5 * number, "cut") for number in range(steps)]
        found = excerpts.choose(log, trial(steps=told, wall_offset_s=offset_s))
        assert 10 < len(found) <= excerpts.MAX_LINES + (offset_s is None)
        assert any(line.kind == "omitted" for line in found)


class TestScreen:
    def shown(self, *told: Tale) -> str:
        console = Console(file=io.StringIO(), width=132)
        view = screen.PlainView(console, scenario())
        story = Story(10.0)
        for event in [MACHINE, *(event for tale in told for event in events(tale))]:
            story.feed(event)
            view.show(story, event)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    def test_plain_lines_tell_the_story(self) -> None:
        text = self.shown(*tales())
        for part in (
            "=== keepalived: lb1, lb2, s1, s2, s3",
            "armed: lb1 is active, lb2 stands by",
            "2.0 s: cut active (lb1)",
            "virtual IP held by lb1 and lb2",
            "0 of 100 connections answer (lost: 100 no answer)",
            "never all well again",
            "all well after 1.40 s",
            "in service on lb1: s1, s2, s3",
        ):
            assert part in text, part

    def test_a_problem_is_not_overlooked(self) -> None:
        assert "PROBLEM: no root" in self.shown(Tale(problems=("no root",)))

    def test_phases_come_in_their_order(self) -> None:
        story = Story(10.0)
        seen: list[str] = []
        for event in [MACHINE, *events(Tale())]:
            story.feed(event)
            if screen.phase(story) not in seen[-1:]:
                seen.append(screen.phase(story))
        assert seen == [
            "setting up the lab",
            "setting up",
            "load settles",
            "measuring",
            "looking at what is left",
            "tidying up",
            "between two contenders",
        ]

    def test_the_live_table_says_where_things_stand(self) -> None:
        console = Console(file=io.StringIO(), width=132, force_terminal=True)
        view = screen.LiveView(console, scenario())
        story = Story(10.0)
        for event in [MACHINE, *events(Tale())]:
            if event["t"] > ARMED_S + 3.3:
                break
            story.feed(event)
            view.show(story, event)
        drawn = Console(file=io.StringIO(), width=132)
        drawn.print(view._draw())
        view.close()
        assert isinstance(drawn.file, io.StringIO)
        text = drawn.file.getvalue()
        for part in ("ha-lvs", "measuring", "of 10 s", "lb1 and lb2", "✓ 2 s  cut active", "· 6 s  heal active"):
            assert part in text, part

    def test_the_table_of_bounds_has_ticks_and_crosses(self) -> None:
        console = Console(file=io.StringIO(), width=132)
        console.print(screen.bounds_table(report_of(*tales(), expect={"outage": 1.5, "requests_failed": 3})))
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue()
        assert re.search(r"✓ +longest gap between answered requests +at most 1.5 s +0.92 s", text)
        assert re.search(r"✗ +requests that failed +at most 3 +45", text)


class TestSummary:
    def reports(self) -> list[build.Report]:
        good = report_of(*tales())
        bad = report_of(Tale(), name="frozen-active", title="Frozen", expect={"outage": 0.1})
        return [good, bad]

    def test_files_of_several_drills(self, tmp_path: Path) -> None:
        reports = self.reports()
        (tmp_path / "power-loss").mkdir()
        (tmp_path / "power-loss" / "report.html").write_text("x")
        found = summary.write(reports, "make drills", tmp_path)
        assert json.loads((tmp_path / "index.json").read_text()) == found
        assert found["ok"] is False
        assert [drill["ok"] for drill in found["drills"]] == [True, False]
        assert set(found["drills"][0]["contenders"]) == set(WHOLE)
        assert found["drills"][0]["contenders"]["keepalived"]["outage"] == pytest.approx(1.52, abs=0.001)
        text = (tmp_path / "index.html").read_text()
        assert 'href="power-loss/report.html"' in text
        assert "frozen-active/report.html" not in text
        assert "1 of 2 drills hold" in text
        assert "longest gap between answered requests: 0.92 s, to be at most 0.1 s" in text

    def test_markdown_has_every_contender(self) -> None:
        lines = summary.markdown(self.reports()).splitlines()
        assert lines[0] == "| drill | holds | outage | requests failed | connections kept | dual-active |"
        assert lines[2].startswith("| Power loss of the active director | yes | 0.920 s | 45 | 100 % |")
        assert lines[3].startswith("| Frozen | **no** |")
        assert [line.split("|")[2].strip() for line in lines if "– |" in line] == ["dns"]
        assert len({line.count("|") for line in lines if line.startswith("|")}) == 1

    def test_no_drill_is_not_fine(self) -> None:
        assert summary.index([], "")["ok"] is False


def test_a_recorded_drill_gives_the_same_again(tmp_path: Path) -> None:
    lines = [json.dumps(event).encode() + b"\n" for tale in tales() for event in events(tale)]
    lines.insert(3, b"something else\n")
    story = Story(10.0)
    view = screen.PlainView(Console(file=io.StringIO()), scenario())
    drill = conduct.Drill(tmp_path / "x.yml", scenario(), tmp_path, WHOLE, "again")
    with (tmp_path / conduct.EVENTS).open("wb") as record, (tmp_path / conduct.LAB_LOG).open("wb") as rest:
        conduct.follow(lines, story, view, record, rest)
    assert (tmp_path / conduct.LAB_LOG).read_bytes() == b"something else\n"
    assert {one.wall_offset_s is None for one in story.trials} == {False}
    first = conduct.write(story, drill)
    page_then = (tmp_path / "report.html").read_text()
    assert conduct.again(drill) == first == json.loads((tmp_path / "report.json").read_text())
    assert (tmp_path / "report.html").read_text() == page_then
