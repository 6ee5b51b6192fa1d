"""The histogram of how late probes start: what it tells is at most a tenth more than what was."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.health.lateness import Lateness


def filled(*late_s: float) -> Lateness:
    lateness = Lateness()
    for each in late_s:
        lateness.note(each)
    return lateness


@given(st.lists(st.floats(-1.0, 15.0), min_size=1), st.floats(0.0, 1.0))
def test_a_quantile_is_at_most_a_tenth_more_than_that_of_the_sorted_list(late_s: list[float], share: float) -> None:
    told = filled(*late_s).quantile_s(share)
    exact = max(0.0, sorted(late_s)[max(0, math.ceil(share * len(late_s)) - 1)])
    assert told == pytest.approx(exact, abs=0.0001) or exact <= told <= exact * 1.11


def test_nothing_has_been_late_before_the_first_start() -> None:
    assert (filled().total, filled().quantile_s(0.99)) == (0, 0.0)


def test_what_is_later_than_all_buckets_is_in_the_last() -> None:
    lateness = filled(1e6)
    assert lateness.total == 1
    assert 10 < lateness.quantile_s(0.5) < 30
