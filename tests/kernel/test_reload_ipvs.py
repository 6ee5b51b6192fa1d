"""Reloads of a pair with IPVS: only what differs is touched, whatever else goes on, and no role changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.model import Forwarding
from tests.kernel.test_pair_ipvs import (
    BOTH,
    SERVERS,
    daemons,
    expected_rules,
    get,
    pair_config,
    rules,
    start,
    wait_for_rules,
)
from tests.kernel.test_reload import reloaded, standing
from tests.pairs import Pair, write

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(600 * PACE)]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("reload", tmp_path, clients=1, servers=2) as lab:
        lab.forward(Forwarding.DR)
        lab.start_servers()
        yield lab


def second_service() -> dict[str, Any]:
    service = copy.deepcopy(pair_config()["services"][0])
    service.update(name="alt", listen=f"{VIRTUAL_IP}:8080/tcp", servers=[SERVERS[0]])
    service["check"]["port"] = 80
    return dict(service)


ALT = [f"-A -t {VIRTUAL_IP}:8080 -s rr", f"-a -t {VIRTUAL_IP}:8080 -r {SERVERS[0]}:8080 -g -w 1"]
SYNC = "connection_sync: none -> interface e0 sync_id 7 group 224.0.0.81 port 8848 ttl 1"


def settled(lab: Lab, content: dict[str, Any]) -> Pair:
    pair = start(lab, content)
    wait_for(lambda: (pair.role("lb1"), pair.role("lb2")) == ("active", "backup"), 20, "both to know their roles")
    return pair


def follow(pair: Pair, content: dict[str, Any]) -> list[str]:
    """Reloads lb1 with this config, untouched in all that a reload must not touch; what it says has changed."""
    before = standing(pair)
    write(pair.config, content)
    code, answer = reloaded(pair)
    assert (code, answer["applied"]) == (0, True), answer
    wait_for(lambda: standing(pair) == before, 20, "elector, role, transitions and holder to be as before")
    return list(answer["changed"])


def steps(pair: Pair, since: int) -> list[str]:
    """The steps on the kernel that lb1 has logged after this many characters of its log."""
    lines = pair.log("lb1")[since:].splitlines()
    return [line.partition("step=")[2] for line in lines if "kernel changed" in line or "kernel had drifted" in line]


def test_services_come_change_and_go_while_the_pair_runs(lab: Lab) -> None:
    pair = settled(lab, pair_config())
    wait_for_rules(lab, "lb1", expected_rules(Forwarding.DR, BOTH))
    wait_for(lambda: daemons(lab, "lb1") == {"master"}, 20, "lb1 to send")

    added = pair_config()
    added["services"].append(second_service())
    assert follow(pair, added) == ["services.alt: added"]
    wait_for_rules(lab, "lb1", [*expected_rules(Forwarding.DR, BOTH), *ALT])

    mark = len(pair.log("lb1"))
    weighted = copy.deepcopy(added)
    weighted["services"][0]["servers"][1]["weight"] = 5
    assert follow(pair, weighted) == [f"services.web.servers.{SERVERS[1]}:80.weight: 2 -> 5"]
    heavier = expected_rules(Forwarding.DR, {SERVERS[0]: 1, SERVERS[1]: 5})
    wait_for_rules(lab, "lb1", [*heavier, *ALT])
    assert len(steps(pair, mark)) == 1, "nothing but the weight was touched"

    mark = len(pair.log("lb1"))
    del weighted["services"][1]
    assert follow(pair, weighted) == ["services.alt: removed"]
    wait_for_rules(lab, "lb1", heavier)
    assert len(steps(pair, mark)) == 1, "nothing but the service was touched"
    assert daemons(lab, "lb1") == {"master"}
    assert {get(lab) for _ in range(4)} == {"s1", "s2"}
    assert sorted(rules(lab, "lb2")) == sorted(expected_rules(Forwarding.DR, BOTH)), "lb2 was not told to follow"
    assert "server down" not in pair.log("lb1")


def test_a_pure_pair_gets_services_and_loses_them_again(lab: Lab) -> None:
    whole = pair_config(on_stop="keep")
    pure = {key: value for key, value in whole.items() if key not in ("services", "connection_sync")}
    pair = settled(lab, pure)
    assert "prober" not in pair["lb1"].processes()
    assert set(follow(pair, whole)) == {"services.web: added", SYNC}
    wait_for_rules(lab, "lb1", expected_rules(Forwarding.DR, BOTH))
    assert "prober" in pair["lb1"].processes()
    wait_for(lambda: daemons(lab, "lb1") == {"master"}, 20, "lb1 to send")
    assert {get(lab) for _ in range(4)} == {"s1", "s2"}

    foreign = ["-A -t 10.9.0.200:25 -s wlc", "-a -t 10.9.0.200:25 -r 10.9.0.22:25 -m -w 5"]
    lab.host("lb1").run(["ipvsadm", "-R"], input="\n".join(foreign) + "\n")
    assert "services.web: removed" in follow(pair, pure)
    wait_for_rules(lab, "lb1", foreign)
    wait_for(lambda: daemons(lab, "lb1") == set(), 20, "the sync daemons to go")
    assert "prober" not in pair["lb1"].processes()


def test_a_server_that_is_down_stays_out_and_one_that_is_up_stays_in(lab: Lab) -> None:
    pair = settled(lab, pair_config())
    lab.server("s1").stop()
    left = expected_rules(Forwarding.DR, {SERVERS[1]: 2})
    wait_for_rules(lab, "lb1", left)
    mark = len(pair.log("lb1"))
    content = {**pair_config(), "log": {"level": "debug"}}
    follow(pair, content)
    wait_for(
        lambda: pair["lb1"].status()["services"]["web"]["servers"][f"{SERVERS[0]}:80"]["state"] == "down",
        20,
        "the new prober's verdict",
    )
    assert rules(lab, "lb1") == left
    assert steps(pair, mark) == [], "IPVS was not touched at all"


def test_a_reload_never_removes_what_a_planned_stop_would(lab: Lab) -> None:
    pair = settled(lab, pair_config(on_stop="remove"))
    wait_for_rules(lab, "lb1", expected_rules(Forwarding.DR, BOTH))
    mark = len(pair.log("lb1"))
    follow(pair, {**pair_config(on_stop="remove"), "log": {"level": "debug"}})
    assert steps(pair, mark) == []
    assert sorted(rules(lab, "lb1")) == sorted(expected_rules(Forwarding.DR, BOTH))
