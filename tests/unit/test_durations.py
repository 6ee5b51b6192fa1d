"""Durations of the config file: exact, and never without a unit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.config.durations import Duration, parse


@pytest.mark.parametrize(
    ("text", "ms"),
    [("500ms", 500), ("1s", 1000), ("1.5s", 1500), ("40.95s", 40950), ("5m", 300_000), ("1h", 3_600_000), ("0s", 0)],
)
def test_units(text: str, ms: int) -> None:
    assert parse(text) == Duration(ms)


@given(st.integers(min_value=0, max_value=10**11))
def test_what_is_written_is_read_back(ms: int) -> None:
    assert parse(str(Duration(ms))) == Duration(ms)


@pytest.mark.parametrize("value", [5, "5", "1.5", 0])
def test_a_bare_number_is_refused_with_the_remedy(value: object) -> None:
    with pytest.raises(ValueError, match=r"no unit; .*500ms") as caught:
        parse(value)
    assert f"{value}s" in str(caught.value)


@pytest.mark.parametrize("value", [None, True, 1.5, [], "", "s", "-1s", "1 s", "1d", "1e3s", "1S", "1s\n", "٣s"])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse(value)


def test_nothing_is_rounded() -> None:
    with pytest.raises(ValueError, match="finer than a millisecond"):
        parse("0.5ms")


@given(st.text(max_size=12))
def test_arbitrary_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except ValueError:
        return
    assert found.ms >= 0
