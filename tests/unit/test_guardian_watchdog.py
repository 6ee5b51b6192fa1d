"""When the guardian feeds systemd's watchdog, and what it says when it does not."""

from __future__ import annotations

import pytest
import structlog

from ha_lvs.daemon.watchdog import Silence, Watchdog, period_s, starved_by

PID = 4711


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "9000000"}, 3.0),
        ({"WATCHDOG_USEC": "9000000", "WATCHDOG_PID": str(PID)}, 3.0),
        ({"WATCHDOG_USEC": "9000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_PID": str(PID)}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "9000000", "WATCHDOG_PID": "me"}, None),
        ({"WATCHDOG_USEC": str((1 << 64) - 1)}, None),
    ],
)
def test_how_often_systemd_wants_it(environment: dict[str, str], expected: float | None) -> None:
    assert period_s(environment, PID) == expected


ELECTOR = Silence("elector", 1.0, 5.0)
DIRECTOR = Silence("director", 1.0, 30.0)
LATE_ELECTOR = Silence("elector", 5.1, 5.0)
LATE_DIRECTOR = Silence("director", 31.0, 30.0)


@pytest.mark.parametrize(
    ("silences", "expected"),
    [
        ([], None),
        ([ELECTOR, DIRECTOR], None),
        ([Silence("elector", 5.0, 5.0), DIRECTOR], None),
        ([LATE_ELECTOR, DIRECTOR], LATE_ELECTOR),
        ([ELECTOR, LATE_DIRECTOR], LATE_DIRECTOR),
        ([LATE_ELECTOR, LATE_DIRECTOR], LATE_DIRECTOR),
    ],
)
def test_who_starves_it(silences: list[Silence], expected: Silence | None) -> None:
    assert starved_by(silences) == expected


def test_withholding_is_said_once_and_so_is_its_end() -> None:
    fed: list[str] = []
    dog = Watchdog(lambda: fed.append("WATCHDOG=1"))
    with structlog.testing.capture_logs() as said:
        turns = [[ELECTOR], [LATE_ELECTOR], [LATE_ELECTOR], [ELECTOR], [ELECTOR], [LATE_ELECTOR], []]
        results = [dog.turn(silences) for silences in turns]
    assert results == [True, False, False, True, True, False, True]
    assert len(fed) == 4
    starved = {"event": "watchdog starved", "log_level": "error", "process": "elector", "silent_s": 5.1}
    again = {"event": "watchdog fed again", "log_level": "warning", "process": "elector"}
    assert said == [starved, again, starved, again]
