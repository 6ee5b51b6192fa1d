"""What a director's standing depends on in a running pair: what it tracks, and how long it waits."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import wait_for
from tests.pairs import LB2, SECOND, Pair, config, public_directory, second_network, started_pair

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("standing", tmp_path) as lab:
        yield lab


@pytest.fixture
def place() -> Iterator[Path]:
    with public_directory() as place:
        yield place


def tracked(**track: Any) -> dict[str, Any]:
    return config(track=track)


def alone_tracked(lab: Lab, **track: Any) -> Any:
    """A pair of which only lb1 tracks: hosts of the lab share files and processes."""
    return started_pair(lab, tracked(**track), {"lb2": config()})


# ----------------------------------------------------------------------------------------------- tracking


def test_an_interface_that_loses_its_carrier_moves_the_role_and_gives_it_back(lab: Lab) -> None:
    second_network(lab)
    with started_pair(lab, tracked(interfaces=[SECOND])) as pair:
        pair.wait_for_roles()
        lab.host("lb1").ip(f"link set {SECOND} down")
        pair.wait_for_holder("lb2")
        wait_for(lambda: pair.instance("lb1")["barred"] == f"interface:{SECOND} is down", 10, "lb1 to say why")
        lab.host("lb1").ip(f"link set {SECOND} up")
        pair.wait_for_holder("lb1")
        # The far end of the cable: no carrier, though nobody has touched the interface itself.
        lab.host("c1").ip("link set lb1 down")
        pair.wait_for_holder("lb2")
        lab.host("c1").ip("link set lb1 up")
        pair.wait_for_holder("lb1")


def test_the_interface_of_the_virtual_ip_itself_is_tracked_unasked(lab: Lab) -> None:
    with started_pair(lab) as pair:
        pair.wait_for_roles()
        lab.host("lb1").ip("link set e0 down")
        pair.wait_for_holder("lb2")
        wait_for(lambda: pair.instance("lb1")["barred"] == "interface:e0 is down", 10, "lb1 to say why")
        lab.host("lb1").ip("link set e0 up")
        pair.wait_for_holder("lb1")


def test_a_script_runs_as_nobody_and_its_weight_decides(lab: Lab, place: Path) -> None:
    who, up = place / "who", place / "up"
    who.touch()
    who.chmod(0o666)
    up.touch()
    command = ["/bin/sh", "-c", f"id -un > {who}; test -e {up}"]
    script = {"command": command, "interval": "100ms", "rise": 1, "fall": 2, "weight": -60}
    with alone_tracked(lab, scripts={"uplink": script}) as pair:
        pair.wait_for_roles()
        wait_for(
            lambda: who.read_text() == "nobody\n", 10, "a run to have written who it is"
        )  # each run empties it first
        up.unlink()
        pair.wait_for_holder("lb2")
        wait_for(lambda: pair.instance("lb1")["effective_priority"] == 90, 10, "lb1 to count it")
        pair.wait_for_words("lb1", "tracked thing is down: track=script:uplink")
        up.touch()
        pair.wait_for_holder("lb1")
        pair.wait_for_words("lb1", "tracked thing is up again: track=script:uplink")


def test_a_maintenance_file_takes_a_director_out(lab: Lab, place: Path) -> None:
    file = place / "maintenance"
    with alone_tracked(lab, files={"maint": {"path": str(file), "absent": True}}) as pair:
        pair.wait_for_roles()
        file.touch()
        pair.wait_for_holder("lb2")
        wait_for(lambda: pair.instance("lb1")["barred"] == "file:maint is down", 10, "lb1 to say why")
        file.unlink()
        pair.wait_for_holder("lb1")


def test_a_process_that_ends_takes_the_role_with_it(lab: Lab, place: Path) -> None:
    program = place / f"trk{place.name[-8:]}"  # a name that no other process has
    shutil.copy("/bin/sleep", program)
    process = subprocess.Popen([program, "600"])
    try:
        with alone_tracked(lab, processes={"worker": {"program": program.name}}) as pair:
            pair.wait_for_roles()
            process.kill()
            process.wait()
            pair.wait_for_holder("lb2")
            process = subprocess.Popen([program, "600"])
            pair.wait_for_holder("lb1")
    finally:
        process.kill()
        process.wait()


# ------------------------------------------------------------------------------------------------- waiting


def lb1_joins(lab: Lab, **changes: Any) -> Pair:
    """A pair whose lb2 is active when lb1 comes."""
    pair = Pair(lab, config(**changes))
    pair["lb2"].start()
    pair.wait_for_holder("lb2", 30)
    pair["lb1"].start()
    pair.wait_for_words("lb1", "role is backup")
    return pair


def test_nobody_becomes_active_before_the_start_up_delay_is_over(lab: Lab) -> None:
    pair = Pair(lab, config(startup_delay="3s"))
    pair["lb1"].start()
    pair.wait_for_words("lb1", "role is backup")
    began = time.monotonic()
    pair.wait_for_holder("lb1")
    assert time.monotonic() - began > 2.5


def test_preemption_waits_for_its_delay(lab: Lab) -> None:
    pair = lb1_joins(lab, preempt={"delay": "3s"})
    began = time.monotonic()
    pair.wait_for_holder("lb1")
    assert time.monotonic() - began > 2.5
    pair.wait_for_words("lb1", f"priority 150 is above {LB2}'s 100")


def test_the_delay_is_not_for_an_active_that_dies_meanwhile(lab: Lab) -> None:
    pair = lb1_joins(lab, preempt={"delay": "10m"})
    wait_for(lambda: pair.instance("lb1")["peer"], 20, "lb1 to hear lb2")
    assert pair.holders() == ["lb2"]
    pair["lb2"].kill()
    pair.wait_for_holder("lb1")


def test_more_intervals_of_silence_are_borne_where_it_is_said(lab: Lab) -> None:
    with started_pair(lab, config(down_after=10, interval="300ms")) as pair:
        pair.wait_for_roles()
        began = time.monotonic()
        pair["lb1"].kill()
        pair.wait_for_holder("lb2")
        assert time.monotonic() - began > 2.5
