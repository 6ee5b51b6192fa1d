"""How the times that the guardian and systemd wait stand to each other, and what the catalog says of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ha_lvs.cli.operate import RELOAD_TIMEOUT_S, REQUEST_TIMEOUT_S, RESTART_TIMEOUT_S
from ha_lvs.daemon import patience, watchdog
from ha_lvs.daemon.elector import LAST_OFFER_S
from ha_lvs.daemon.orders import Orders
from ha_lvs.daemon.wiring import Wiring
from ha_lvs.model import AttendantPart, DirectorPart, ElectorPart, OnStop
from ha_lvs.observe.events import EVENTS

UNIT = Path(__file__).parents[2] / "ansible" / "roles" / "ha_lvs" / "templates" / "ha-lvs.service.j2"
ALIVE_S = {"elector": patience.ELECTOR_ALIVE_S, "director": patience.DIRECTOR_ALIVE_S}


def of_the_unit(setting: str) -> float:
    [value] = re.findall(rf"^{setting}=(\d+)$", UNIT.read_text(), re.MULTILINE)
    return float(value)


def test_the_processes_that_feed_the_watchdog_have_these_times() -> None:
    part = DirectorPart("edge", "lb1", "digest", (), (), None, OnStop.KEEP, 30.0)
    specs = Wiring().specs(Orders(ElectorPart("lb1", ()), part, AttendantPart("lb1", ()), "info"), Path())
    assert {name: specs[name].alive_s for name in watchdog.GUARDED} == ALIVE_S


@pytest.mark.parametrize("alive_s", ALIVE_S.values(), ids=ALIVE_S)
def test_the_guardian_has_mended_before_the_watchdog_starves(alive_s: float) -> None:
    """The worst case: noticed as late as can be, after many deaths, and slow to start."""
    killed_s = alive_s + patience.LOOK_EVERY_S
    answers_s = killed_s + patience.RESTART_MAX_S + patience.STARTING_S
    assert answers_s <= patience.until_starved_s(alive_s)


def test_a_reload_is_answered_before_the_watchdog_starves_and_after_one_stuck_start() -> None:
    stuck_s = patience.STARTING_S + patience.LOOK_EVERY_S + patience.RESTART_FIRST_S
    assert stuck_s + 10.0 <= patience.SUCCESSORS_S
    assert patience.until_starved_s(patience.DIRECTOR_ALIVE_S) >= patience.SUCCESSORS_S + 10.0


AT_MOST_S = patience.STARTING_S + patience.STOP_OTHERS_S + patience.SUCCESSORS_S
"""Another elector that is never ready, a director that does not end, and one that does not answer."""


def test_who_asked_for_a_reload_and_systemd_wait_for_its_answer() -> None:
    assert AT_MOST_S < RELOAD_TIMEOUT_S
    assert of_the_unit("TimeoutStartSec") > AT_MOST_S, "systemd kills an ExecReload after the time for a start"


def test_who_asked_for_a_restart_waits_until_it_is_over() -> None:
    assert patience.PROBE_S < RESTART_TIMEOUT_S
    assert patience.STARTING_S + AT_MOST_S < RESTART_TIMEOUT_S


def test_who_asks_something_of_the_election_waits_until_it_is_its_turn() -> None:
    assert patience.STARTING_S + patience.STOP_OTHERS_S + patience.REQUEST_S < REQUEST_TIMEOUT_S


def test_a_planned_stop_gives_the_elector_time_for_its_offer_and_ends_before_systemd_kills() -> None:
    assert LAST_OFFER_S + 1.0 < patience.STOP_ELECTOR_S
    waits_for_locks_s = 2 * patience.STOP_OTHERS_S
    assert waits_for_locks_s + patience.STOP_ELECTOR_S + patience.STOP_OTHERS_S < of_the_unit("TimeoutStopSec")


@pytest.mark.parametrize(
    ("phrase", "processes"),
    [
        ("process died; starting it again", ["elector", "director"]),
        ("process cannot be started; trying again", ["elector", "director"]),
        ("director cannot run", ["director"]),
        ("elector cannot run", ["elector"]),
    ],
)
def test_the_catalog_says_when_systemd_steps_in(phrase: str, processes: list[str]) -> None:
    told = [float(number) for number in re.findall(r"about (\d+)", EVENTS[phrase].follows)]
    assert len(told) == len(processes)
    for seconds, name in zip(told, processes, strict=True):
        starved_s = patience.until_starved_s(ALIVE_S[name])
        assert starved_s < seconds <= starved_s + of_the_unit("WatchdogSec")
    assert "systemd restarts everything" in EVENTS[phrase].follows


def test_the_catalog_says_how_long_a_starved_watchdog_waits() -> None:
    assert f"WatchdogSec, {of_the_unit('WatchdogSec'):.0f} seconds" in EVENTS["watchdog starved"].follows
