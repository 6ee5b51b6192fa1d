"""A pair with as many virtual routers as an interface can have: nothing that grows with them may break it."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.topology import Lab, addresses
from ha_lvs.drill.lab.waiting import lasting, wait_for
from tests.pairs import Pair, write

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

MOST = 255
ALL_ACTIVE = {"active": MOST}
ALL_BACKUP = {"backup": MOST}


def content(interval: str) -> dict[str, object]:
    return {
        "cluster": "many",
        "nodes": {name: {"address": address} for name, address in addresses("lb", 2).items()},
        "instances": {
            f"i{number}": {
                "interface": "e0",
                "router_id": number,
                "interval": interval,
                "priority": {"lb1": 150, "lb2": 100},
                "virtual_ips": [f"10.9.7.{number}/32"],
            }
            for number in range(1, MOST + 1)
        },
    }


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with Lab("many", tmp_path) as lab:
        pair = Pair(lab, content("1s"))
        for director in pair.directors.values():
            director.start()
        wait_for(lambda: settled(pair), 60, "lb1 to be active for all of them", every_s=0.5)
        yield pair


def roles(director: Director) -> Counter[str]:
    return Counter(str(each["role"]) for each in director.status()["instances"].values())


def settled(pair: Pair) -> bool:
    return roles(pair["lb1"]) == ALL_ACTIVE and roles(pair["lb2"]) == ALL_BACKUP


def transitions(pair: Pair) -> list[int]:
    told = [director.status()["instances"].values() for director in pair.directors.values()]
    return [sum(int(each["transitions"]) for each in instances) for instances in told]


def test_255_instances_stay_are_succeeded_and_outlive_their_elector(pair: Pair) -> None:
    lb1, lb2 = pair["lb1"], pair["lb2"]
    wait_for(lasting(lambda: settled(pair), 6), 60, "nothing to change for a while", every_s=0.5)
    before = transitions(pair)
    write(pair.config, content("2s"))
    reloaded = pair.verb("lb1", "reload")
    assert reloaded.returncode == 0, reloaded.stderr
    wait_for(lasting(lambda: settled(pair), 6), 60, "nothing to change after a succession", every_s=0.5)
    assert transitions(pair) == before
    elector = lb1.processes()["elector"]
    os.kill(elector, signal.SIGKILL)
    wait_for(lambda: lb1.processes().get("elector") not in (None, elector), 30, "another elector")
    # On a starved machine the next one may not be there in time, and the role goes to lb2 for a while.
    wait_for(lasting(lambda: settled(pair), 6), 90, "all to be as before the crash", every_s=0.5)
    for name in pair.directors:
        log = pair.log(name)
        assert "frame ignored" not in log
    assert lb1.stop() == 0
    wait_for(lambda: roles(lb2) == ALL_ACTIVE, 60, "lb2 to have all of them", every_s=0.5)
