"""Asking the processors: all answer on a machine that runs; one that is busy with something more urgent does not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.kernel.processors import MISSING_S, Processors

pytestmark = [pytest.mark.netns, pytest.mark.alone]  # not for the network: real-time priority needs root

BUSY_S = 0.1
URGENT = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(40))
print(flush=True)
sys.stdin.readline()
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    pass
"""


@pytest.fixture
def processors() -> Processors:
    made = Processors(priority=10)
    if made.count < 2:
        pytest.skip("needs two processors and the right to real-time priority")
    return made


@pytest.fixture
def urgent() -> Iterator[subprocess.Popen[str]]:
    """Something that keeps the last processor busy, when it is told to, for `BUSY_S`."""
    last = sorted(os.sched_getaffinity(0))[-1]
    command = [sys.executable, "-c", URGENT, str(last), str(BUSY_S)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def answer(processors: Processors, ticket: int) -> float:
    found = wait_for(lambda: processors.answered_at(ticket), 10, "every processor to answer")
    assert found is not None
    return found


def test_all_answer_and_not_before_they_were_asked(processors: Processors) -> None:
    for _ in range(20):
        asked_at = time.monotonic()
        assert answer(processors, processors.ask()) >= asked_at


def test_a_processor_that_is_taken_away_is_missed_until_it_is_back(
    processors: Processors, urgent: subprocess.Popen[str]
) -> None:
    assert urgent.stdin is not None
    urgent.stdin.write("\n")
    urgent.stdin.flush()

    def missing() -> int | None:
        ticket = processors.ask()
        time.sleep(0.005)  # much longer than an answer takes
        return ticket if processors.answered_at(ticket) is None else None

    ticket = wait_for(missing, 10, "the processor to be busy")
    assert ticket is not None
    answer(processors, ticket)
    urgent.wait(10)
    answer(processors, processors.ask())


def test_a_processor_that_never_answers_is_left_out_after_a_while(processors: Processors) -> None:
    seat = processors._seats[-1]
    ticket = processors.ask()
    answer(processors, ticket)
    seat.asked_at = time.monotonic() - 2 * MISSING_S  # as if it had been asked long ago, and had not answered
    assert answer(processors, processors.ask()) is not None


def test_without_the_right_to_be_urgent_every_question_counts_as_answered() -> None:
    nobody = Processors(priority=1000)  # no such priority: refused, as it is to those without the right
    assert nobody.count == 0
    assert nobody.answered_at(nobody.ask()) == 0.0
