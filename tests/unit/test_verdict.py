"""Hysteresis: the verdict against a dumb twin that remembers every probe, and the rules one by one."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.health.verdict import LATELY_DOWN, SERVING, UNKNOWN, Verdict, judge
from ha_lvs.model import Check, CheckType, ServerState

UP, DOWN = ServerState.UP, ServerState.DOWN


def check(rise: int, fall: int) -> Check:
    return Check(CheckType.TCP, rise=rise, fall=fall)


def after(outcomes: list[bool], rule: Check) -> tuple[Verdict, list[ServerState]]:
    """The verdict after all outcomes, and the states reported on the way."""
    verdict, reported = UNKNOWN, []
    for number, success in enumerate(outcomes):
        verdict, changed = judge(verdict, rule, success, f"probe {number}")
        if changed:
            reported.append(verdict.state)
    return verdict, reported


def twin(outcomes: list[bool], rise: int, fall: int) -> list[ServerState]:
    """The states reported, worked out from the runs of equal outcomes in the whole history."""
    reported: list[ServerState] = []
    for success, run in groupby(outcomes):
        state, needed = (UP, rise) if success else (DOWN, fall)
        if not reported or (reported[-1] is not state and len(list(run)) >= needed):
            reported.append(state)
    return reported


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_same_reports_as_the_dumb_twin(outcomes: list[bool], rise: int, fall: int) -> None:
    verdict, reported = after(outcomes, check(rise, fall))
    assert reported == twin(outcomes, rise, fall)
    assert verdict.state is (reported[-1] if reported else ServerState.UNKNOWN)
    assert verdict.reason == (f"probe {len(outcomes) - 1}" if outcomes else "")


def test_the_first_success_brings_an_unknown_server_up_whatever_rise_is() -> None:
    assert after([True], check(rise=5, fall=5))[1] == [UP]


def test_the_first_failure_takes_an_unknown_server_down_whatever_fall_is() -> None:
    assert after([False], check(rise=5, fall=5))[1] == [DOWN]


def test_an_unknown_server_that_serves_is_taken_down_by_fall_failures_and_up_by_one_success() -> None:
    rule = check(rise=5, fall=3)
    verdict, changes = SERVING, []
    for success in (False, False):
        verdict, changed = judge(verdict, rule, success, "")
        changes.append(changed)
    assert verdict.state is ServerState.UNKNOWN
    assert judge(verdict, rule, True, "")[0].state is UP
    assert judge(verdict, rule, False, "")[0].state is DOWN
    assert changes == [False, False]


def test_one_that_another_prober_has_taken_out_comes_back_by_rise_successes() -> None:
    rule = check(rise=3, fall=5)
    verdict, changes = LATELY_DOWN, []
    for success in (True, True, True):
        verdict, changed = judge(verdict, rule, success, "")
        changes.append(changed)
    assert (changes, verdict.state) == ([False, False, True], UP)
    verdict, _ = judge(LATELY_DOWN, rule, True, "")
    verdict, changed = judge(verdict, rule, False, "")
    assert (changed, verdict.state) == (True, DOWN), "and the first failure says that it is still down"


def test_down_takes_fall_failures_in_a_row() -> None:
    rule = check(rise=1, fall=3)
    assert after([True, False, False], rule)[1] == [UP]
    assert after([True, False, False, True, False, False], rule)[1] == [UP]
    assert after([True, False, False, False], rule)[1] == [UP, DOWN]


def test_up_takes_rise_successes_in_a_row() -> None:
    rule = check(rise=3, fall=1)
    assert after([False, True, True], rule)[1] == [DOWN]
    assert after([False, True, True, False, True, True], rule)[1] == [DOWN]
    assert after([False, True, True, True], rule)[1] == [DOWN, UP]


def test_the_reason_is_the_last_probes_even_when_the_state_stays() -> None:
    verdict, _ = judge(Verdict(UP, 0, "HTTP 200"), check(2, 2), False, "HTTP 503")
    assert verdict == Verdict(UP, 1, "HTTP 503")
