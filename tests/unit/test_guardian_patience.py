"""How the times that the guardian and systemd wait stand to each other, and what the catalog says of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ha_lvs.cli.operate import RELOAD_TIMEOUT_S
from ha_lvs.daemon import patience, watchdog
from ha_lvs.daemon.guardian import STOP_OTHERS_S
from ha_lvs.daemon.orders import Orders
from ha_lvs.daemon.wiring import Wiring
from ha_lvs.model import DirectorPart, ElectorPart, OnStop
from ha_lvs.observe.events import EVENTS

UNIT = Path(__file__).parents[2] / "ansible" / "roles" / "ha_lvs" / "templates" / "ha-lvs.service.j2"
ALIVE_S = {"elector": patience.ELECTOR_ALIVE_S, "director": patience.DIRECTOR_ALIVE_S}


def of_the_unit(setting: str) -> float:
    [value] = re.findall(rf"^{setting}=(\d+)$", UNIT.read_text(), re.MULTILINE)
    return float(value)


def test_the_processes_that_feed_the_watchdog_have_these_times() -> None:
    part = DirectorPart("edge", "lb1", "digest", (), (), None, OnStop.KEEP, 30.0)
    specs = Wiring().specs(Orders(ElectorPart("lb1", ()), part, "info"), Path())
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


def test_who_asked_for_a_reload_and_systemd_wait_for_its_answer() -> None:
    at_most_s = STOP_OTHERS_S + patience.SUCCESSORS_S
    assert at_most_s < RELOAD_TIMEOUT_S
    assert at_most_s < of_the_unit("TimeoutStartSec"), "systemd kills an ExecReload after the time for a start"


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
