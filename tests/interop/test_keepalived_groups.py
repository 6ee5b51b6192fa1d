"""A mixed pair whose roles depend on more than one another's priority: sync groups, and no preemption."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import wait_for
from tests.interop.keepalived import Keepalived, Router, holders, wait_for_holder
from tests.pairs import SECOND, SECOND_ADDRESSES, config, second_network, write

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

INSIDE_IP = "10.8.0.100"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("mixgrp", tmp_path) as lab:
        yield lab


def director(lab: Lab, content: dict[str, Any]) -> Director:
    return Director(lab.host("lb1"), write(lab.directory / "c.yml", content), lab.directory / "lb1")


def grouped() -> dict[str, Any]:
    """An outside and an inside virtual router that move together."""
    content = config()
    inside = {
        **content["instances"]["edge"],
        "interface": SECOND,
        "router_id": 52,
        "virtual_ips": [f"{INSIDE_IP}/32"],
        "address": SECOND_ADDRESSES,
    }
    return {**content, "instances": {**content["instances"], "inside": inside}, "groups": {"gw": ["edge", "inside"]}}


def both_at(lab: Lab, name: str) -> None:
    """Waits until this director, and it alone, has both addresses."""
    wait_for_holder(lab, name)
    wait_for_holder(lab, name, INSIDE_IP, SECOND)


def test_our_group_and_their_sync_group_move_together(lab: Lab) -> None:
    second_network(lab)
    ours = director(lab, grouped())
    inside = Router(120, "inside", SECOND, 52, virtual_ips=(f"{INSIDE_IP}/32",))
    theirs = Keepalived(lab.host("lb2"), lab.directory, Router(120), inside, group=True)
    ours.start()
    both_at(lab, "lb1")
    theirs.start()
    theirs.heard("(inside) Entering BACKUP STATE")
    wait_for(lambda: ours.status()["instances"]["gw"]["members"] == ["edge", "inside"], 20, "us to say so")
    # Half of ours is broken: all of it goes to them.
    lab.host("lb1").ip(f"link set {SECOND} down")
    both_at(lab, "lb2")
    assert f"interface:{SECOND} is down" in ours.status()["instances"]["gw"]["barred"]
    lab.host("lb1").ip(f"link set {SECOND} up")
    both_at(lab, "lb1")
    # We are gone: all of it goes to them, and comes back.
    ours.stop()
    both_at(lab, "lb2")
    ours.start()
    both_at(lab, "lb1")
    theirs.stop()


def test_half_of_theirs_broken_gives_us_everything(lab: Lab) -> None:
    second_network(lab)
    ours = director(lab, grouped())
    inside = Router(200, "inside", SECOND, 52, virtual_ips=(f"{INSIDE_IP}/32",))
    theirs = Keepalived(lab.host("lb2"), lab.directory, Router(200), inside, group=True)
    theirs.start()
    both_at(lab, "lb2")
    ours.start()
    wait_for(lambda: ours.status()["instances"]["gw"]["peer"], 20, "us to hear them")
    lab.host("lb2").ip(f"link set {SECOND} down")
    both_at(lab, "lb1")
    lab.host("lb2").ip(f"link set {SECOND} up")
    both_at(lab, "lb2")
    theirs.stop()


def test_without_preemption_neither_takes_the_role_from_the_other(lab: Lab) -> None:
    ours = director(lab, config(preempt=False))
    theirs = Keepalived(lab.host("lb2"), lab.directory, Router(200, more="nopreempt"))
    theirs.start()
    wait_for_holder(lab, "lb2")
    ours.start()
    wait_for(lambda: ours.status()["instances"]["edge"]["peer"], 20, "us to hear them")
    theirs.stop()
    wait_for_holder(lab, "lb1")
    theirs.start()
    wait_for(lambda: theirs.log.count("Entering BACKUP STATE") >= 2, 10, "them to hear us")
    assert holders(lab) == ["lb1"]  # 200 does not take it from 150
    ours.stop()
    wait_for_holder(lab, "lb2")
    ours.start()
    peer = {"address": "10.9.0.12", "priority": 200}
    wait_for(lambda: ours.status()["instances"]["edge"]["peer"] == peer, 20, "us to hear them again")
    assert holders(lab) == ["lb2"]
    theirs.stop()
    wait_for_holder(lab, "lb1")
    assert VIRTUAL_IP not in lab.host("lb2").addresses("e0")


def test_our_higher_priority_does_not_preempt_them_either(lab: Lab) -> None:
    ours = director(lab, config(preempt=False))
    theirs = Keepalived(lab.host("lb2"), lab.directory, Router(100))
    theirs.start()
    wait_for_holder(lab, "lb2")
    ours.start()
    peer = {"address": "10.9.0.12", "priority": 100}
    wait_for(lambda: ours.status()["instances"]["edge"]["peer"] == peer, 20, "us to hear them")
    assert ours.role() == "backup"
    assert holders(lab) == ["lb2"]
    theirs.stop()
    wait_for_holder(lab, "lb1")
