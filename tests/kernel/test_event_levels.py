"""What `journalctl -p warning` would show of a pair: the changes of role that nobody has planned, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import wait_for
from tests.pairs import Pair, started_pair

pytestmark = pytest.mark.netns


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with Lab("pair", tmp_path) as lab, started_pair(lab) as pair:
        yield pair


def roles(pair: Pair, name: str) -> list[tuple[str, str]]:
    """Each change of role that a director has told: its level and the new role."""
    return re.findall(r"^\S+ (\w+) +role is (\w+)", pair.log(name), flags=re.MULTILINE)


def wait_for_role(pair: Pair, name: str, role: str) -> str:
    """Waits until a director's last word is this role; returns the level at which it told it."""

    def told() -> bool:
        return bool(found := roles(pair, name)) and found[-1][1] == role

    wait_for(told, 15, f"{name} to tell that it is {role}")
    return roles(pair, name)[-1][0]


def test_who_is_first_and_hears_nobody_warns_and_a_planned_stop_and_a_return_are_notices(pair: Pair) -> None:
    """Which of them is first depends on the machine: the other then takes over, or not, as arranged."""
    for name, role in (("lb1", "active"), ("lb2", "backup")):
        wait_for_role(pair, name, role)
    at_first = {name: roles(pair, name) for name in ("lb1", "lb2")}
    unplanned = {told for found in at_first.values() for told in found if told[0] != "notice"}
    assert unplanned == {("warning", "active")}
    for name in at_first:
        warned = [line for line in pair.log(name).splitlines() if " warning  role is " in line]
        assert all('reason="no other router was heard"' in line for line in warned)

    pair["lb1"].stop()
    pair.wait_for_holder("lb2")
    wait_for_role(pair, "lb1", "initialize")
    wait_for_role(pair, "lb2", "active")
    pair["lb1"].start()
    pair.wait_for_holder("lb1")
    wait_for_role(pair, "lb1", "active")
    wait_for_role(pair, "lb2", "backup")
    for name, found in at_first.items():
        later = roles(pair, name)[len(found) :]
        assert len(later) >= 2
        assert {level for level, _ in later} == {"notice"}


def test_taking_over_from_a_dead_director_is_a_warning(pair: Pair) -> None:
    wait_for_role(pair, "lb2", "backup")
    pair["lb1"].kill()
    pair.wait_for_holder("lb2")
    assert wait_for_role(pair, "lb2", "active") == "warning"
    pair["lb1"].start()
    pair.wait_for_holder("lb1")
    assert wait_for_role(pair, "lb2", "backup") == "notice"


def test_waking_from_a_freeze_is_a_warning_on_both(pair: Pair) -> None:
    wait_for_role(pair, "lb2", "backup")
    pair["lb1"].freeze()
    pair.wait_for_holder("lb2")
    assert wait_for_role(pair, "lb2", "active") == "warning"
    pair["lb1"].thaw()
    wait_for(lambda: ("warning", "backup") in roles(pair, "lb1"), 15, "lb1 to tell that it was absent")
    pair.wait_for_holder("lb1")
