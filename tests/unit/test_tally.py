"""What a stream of requests amounts to."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.drill.measure.http_client import Answer, Failure, parse
from ha_lvs.drill.measure.tally import Request, biggest_gap, summarise

TIMES = st.lists(st.floats(min_value=0, max_value=1000, allow_nan=False), max_size=30)


def test_the_outage_is_the_biggest_gap_between_send_times_in_any_order() -> None:
    gap = biggest_gap([3.0, 1.0, 1.5, 5.5, 5.0])
    assert (gap.from_s, gap.length_ms) == (3.0, 2000.0)


def test_only_gaps_that_overlap_the_window_count() -> None:
    times = [0.0, 10.0, 11.0, 13.0, 20.0]
    assert biggest_gap(times, since_s=10.5, until_s=12.9).length_ms == 2000.0
    assert biggest_gap(times, since_s=9.9, until_s=10.1).length_ms == 10000.0


def test_one_answer_is_no_gap() -> None:
    assert biggest_gap([4.0]).length_ms == 0.0


@given(TIMES)
def test_no_window_of_time_without_an_answer_is_longer_than_the_biggest_gap(times: list[float]) -> None:
    length_s = biggest_gap(times).length_ms / 1000
    for left, right in itertools.combinations(sorted(times), 2):
        if right - left > length_s * 1.000001:
            assert any(left < time < right for time in times)


def test_a_request_survives_its_row() -> None:
    request = Request(12.5, 1.25, "rs1", "", 40000)
    assert Request.from_row(request.to_row()) == request


def test_failures_are_counted_by_reason_and_answers_by_server() -> None:
    result = summarise(
        [
            Request(0, 2.0, "rs1", ""),
            Request(1, 4.0, "rs2", ""),
            Request(2, 1000.0, "", "timeout"),
            Request(3, 1000.0, "", "timeout"),
            Request(4, 1.0, "", "refused"),
        ]
    )
    assert result["requests"] == 5
    assert result["ok"] == 2
    assert result["failed"] == {"timeout": 2, "refused": 1}
    assert result["servers"] == {"rs1": 1, "rs2": 1}
    assert result["max_ms"] == 4.0


def test_nothing_sent_is_summarised_too() -> None:
    assert summarise([])["ok"] == 0


WHOLE = b"HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: 4\r\n\r\nrs1\n"


def test_an_answer_is_read_when_it_is_whole() -> None:
    assert parse(WHOLE) == Answer(200, "rs1")
    for end in range(len(WHOLE)):
        assert parse(WHOLE[:end]) is None


def test_what_is_no_answer_is_said_to_be_bad() -> None:
    assert parse(b"SSH-2.0\r\n\r\n") == Failure("bad answer")
    assert parse(b"HTTP/1.1 200 OK\r\n\r\n") == Failure("bad answer")
