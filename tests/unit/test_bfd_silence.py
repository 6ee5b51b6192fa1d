"""A late judge gives no verdict: which silences count, and how long the judge may hesitate at most."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ha_lvs.election.bfd_silence import (
    HESITATION_S,
    LOOK_AGAIN_S,
    PROMPT_S,
    AskProcessors,
    Excuse,
    Expired,
    Finding,
    Postponed,
    Silence,
)

INTERVAL_S, INTERVALS = 0.003, 3
DETECTION_S = INTERVAL_S * INTERVALS
ASKED_AT = 0.00601  # a little after the last third of the detection time has begun
JUDGED_AT = 0.00901
ANSWER_S = 0.0001


def silent_since(at: float, detection_s: float = DETECTION_S) -> Silence:
    silence = Silence()
    silence.begin(at, detection_s, INTERVALS)
    return silence


def look(silence: Silence, now: float) -> list[Finding]:
    """A look at a time, late by what it is behind the one that was wanted."""
    assert silence.look_at is not None
    return silence.look(now, max(0.0, now - silence.look_at))


def asked(silence: Silence) -> Silence:
    """The same, when the processors have been asked."""
    assert look(silence, ASKED_AT) == [AskProcessors()]
    return silence


def verdict_at(silence: Silence, *, answer_after_s: float | None = ANSWER_S) -> float:
    """When a punctual judge gives its verdict; processors answer so long after they were asked, or never."""
    answer_at: float | None = None
    for _ in range(10_000):
        assert silence.look_at is not None
        now: float = silence.look_at
        if answer_at is not None and answer_at <= now:
            silence.processors_answered(answer_at)
            answer_at = None
        found = silence.look(now, 0.0)
        if AskProcessors() in found and answer_after_s is not None:
            answer_at = now + answer_after_s
        if Expired() in found:
            return now
    raise AssertionError("no verdict")


def test_a_punctual_judge_on_a_machine_that_runs_gives_it_at_the_detection_time() -> None:
    assert verdict_at(silent_since(0.0)) == pytest.approx(DETECTION_S)


@pytest.mark.parametrize("detection_s", [0.003, 0.009, 0.150, 3.0])
def test_that_holds_for_any_detection_time(detection_s: float) -> None:
    assert verdict_at(silent_since(0.0, detection_s)) == pytest.approx(detection_s)


def test_the_processors_are_asked_once_when_packets_are_missing_already() -> None:
    silence = silent_since(0.0)
    assert silence.look_at == pytest.approx(0.006)
    assert look(silence, ASKED_AT) == [AskProcessors()]
    assert silence.look_at == pytest.approx(DETECTION_S)
    assert AskProcessors() not in look(silence, JUDGED_AT)


def test_nobody_is_asked_and_nobody_excused_where_nothing_depends_on_it() -> None:
    silence = Silence()
    silence.begin(0.0, DETECTION_S, INTERVALS, lenient=False)
    assert silence.look_at == pytest.approx(DETECTION_S)
    assert look(silence, 1.0) == [Expired()]


# ------------------------------------------------------------------------------------------------------ the late look


def test_a_look_that_comes_late_gives_a_whole_detection_time_and_says_so() -> None:
    silence = silent_since(0.0)
    assert look(silence, 0.016) == [Postponed(Excuse.LATE, "for 10.0 ms")]
    assert verdict_at(silence) == pytest.approx(0.016 + DETECTION_S)
    assert silence.late_looks == 1


def test_a_judge_that_keeps_being_late_says_so_once_and_comes_to_a_verdict() -> None:
    silence = silent_since(0.0)
    now, told = 0.0, []
    while Expired() not in told:
        now += 0.014
        told += look(silence, now)
        if told and told[-1] == AskProcessors():
            silence.processors_answered(now)
    assert [each for each in told if isinstance(each, Postponed)] == [Postponed(Excuse.LATE, "for 8.0 ms")]
    assert now <= 0.014 + HESITATION_S + 2 * DETECTION_S + 0.014


def test_a_little_late_is_punctual() -> None:
    silence = silent_since(0.0)
    assert look(silence, 0.006 + 0.0014) == [AskProcessors()]
    assert silence.late_looks == 0


def test_a_late_look_long_before_the_verdict_counts_too() -> None:
    """The judge slept until 5 ms of the silence: the far end may have slept as long."""
    silence = silent_since(0.0)
    assert silence.look(0.005, 0.004) == []
    assert verdict_at(silence) == pytest.approx(0.005 + DETECTION_S)


def test_a_late_turn_that_found_a_packet_excuses_nothing() -> None:
    silence = silent_since(0.5)
    assert silence.look(0.5, 0.4) == []
    assert silence.late_looks == 0
    assert verdict_at(silence) == pytest.approx(0.5 + DETECTION_S)


def test_a_pause_of_the_machine_of_any_length_is_excused() -> None:
    silence = silent_since(0.0)
    assert look(silence, 3600.0) == [Postponed(Excuse.LATE, "for 3599994.0 ms")]
    assert verdict_at(silence) == pytest.approx(3600.0 + DETECTION_S)


# ------------------------------------------------------------------------------------------- the missing processor


def test_who_waits_for_a_processor_says_so_once() -> None:
    silence = asked(silent_since(0.0))
    assert look(silence, JUDGED_AT) == [Postponed(Excuse.STALLED, "for 3.0 ms")]
    assert look(silence, JUDGED_AT + 0.0006) == []
    assert silence.stalls == 1


def test_when_the_processor_is_back_the_far_end_has_a_whole_detection_time() -> None:
    silence = asked(silent_since(0.0))
    look(silence, JUDGED_AT)
    silence.processors_answered(0.030)
    assert look(silence, 0.0301) == []
    assert verdict_at(silence) == pytest.approx(0.030 + DETECTION_S)
    assert silence.stalls == 1


def test_an_answer_that_was_slow_shows_a_stall_even_if_it_comes_before_the_verdict() -> None:
    silence = asked(silent_since(0.0))
    silence.processors_answered(ASKED_AT + 0.002)
    assert look(silence, ASKED_AT + 0.0021) == []
    assert silence.stalls == 1
    assert verdict_at(silence) == pytest.approx(ASKED_AT + 0.002 + DETECTION_S)


def test_a_processor_that_is_taken_away_again_is_waited_for_again() -> None:
    silence = asked(silent_since(0.0))
    look(silence, JUDGED_AT)
    silence.processors_answered(0.030)
    assert look(silence, 0.0301) == []
    assert look(silence, 0.0361) == [AskProcessors()]
    assert look(silence, 0.0391) == []
    silence.processors_answered(0.050)
    assert look(silence, 0.0501) == []
    assert verdict_at(silence) == pytest.approx(0.050 + DETECTION_S)
    assert silence.stalls == 2


def test_a_packet_ends_the_silence_and_all_hesitation() -> None:
    silence = asked(silent_since(0.0))
    look(silence, JUDGED_AT)
    silence.begin(0.013, DETECTION_S, INTERVALS)
    assert verdict_at(silence) == pytest.approx(0.013 + DETECTION_S)


@pytest.mark.parametrize("detection_s", [0.009, 0.150])
def test_a_processor_that_never_answers_does_not_put_the_verdict_off_for_ever(detection_s: float) -> None:
    hesitation_s = max(HESITATION_S, detection_s)
    at = verdict_at(silent_since(0.0, detection_s), answer_after_s=None)
    assert at == pytest.approx(detection_s + hesitation_s, abs=2 * LOOK_AGAIN_S)


def test_an_answer_that_nobody_waits_for_means_nothing() -> None:
    silence = silent_since(0.0)
    silence.processors_answered(0.001)
    assert silence.look_at == pytest.approx(0.006)
    silence.end()
    silence.processors_answered(0.002)
    assert silence.look_at is None


# --------------------------------------------------------------------------------------------------------- the bound


@given(
    detection_s=st.floats(0.0015, 5.0),
    intervals=st.integers(1, 255),
    lateness=st.lists(st.floats(0.0, 0.05), min_size=1, max_size=50),
    answers=st.lists(st.none() | st.floats(0.0, 0.2), min_size=1, max_size=50),
)
@example(0.0625, 17, [0.002], [None])  # always a little too late, and never later than the time it has just given
def test_a_verdict_is_never_early_and_never_later_than_the_hesitation_allows(
    detection_s: float, intervals: int, lateness: list[float], answers: list[float | None]
) -> None:
    """Whatever the judge's own lateness and that of the processors."""
    silence = Silence()
    silence.begin(0.0, detection_s, intervals)
    now, answer_at = 0.0, None
    first_excuse_at: float | None = None
    turn = questions = 0
    while True:
        assert silence.look_at is not None
        wanted = silence.look_at
        now = max(now, wanted) + lateness[turn % len(lateness)]
        turn += 1
        assert turn < 20_000, "no verdict"
        if answer_at is not None and answer_at <= now:
            silence.processors_answered(answer_at)
            answer_at = None
        found = silence.look(now, now - wanted)
        if first_excuse_at is None and silence.late_looks + silence.stalls:
            first_excuse_at = now
        if AskProcessors() in found:
            answer_after_s = answers[questions % len(answers)]
            questions += 1
            answer_at = None if answer_after_s is None else now + answer_after_s
        if Expired() in found:
            break
    excused_s = 0.0 if first_excuse_at is None else first_excuse_at + max(HESITATION_S, detection_s)
    assert now >= detection_s * (1 - 1e-9)
    assert now <= excused_s + detection_s + 2 * max(lateness) + PROMPT_S + LOOK_AGAIN_S
