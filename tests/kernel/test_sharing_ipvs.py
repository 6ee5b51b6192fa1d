"""A whole pair on a kernel with IPVS: what one director knows of servers, and what the other makes of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.model import Forwarding
from tests.kernel.test_pair_ipvs import SERVERS, expected_rules, pair_config, rules, wait_for_rules
from tests.pairs import Pair

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(600 * PACE)]

SLOW = "20s"
NOWHERE = "02:00:00:00:00:99"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("sharing", tmp_path, clients=0, servers=2) as lab:
        lab.forward(Forwarding.DR)
        lab.start_servers()
        yield lab


def servers(pair: Pair, name: str) -> dict[str, Any]:
    found: dict[str, Any] = pair[name].status()["services"]["web"]["servers"]
    return found


def test_one_that_has_just_started_goes_by_its_peer_until_it_knows_better_and_then_both_say_so(lab: Lab) -> None:
    """lb2 is cut off from both servers: what it sends to them goes to nobody, so its probes take their whole time."""
    content = pair_config()
    content["services"][0]["check"] = {"type": "tcp", "interval": SLOW, "timeout": SLOW, "rise": 1, "fall": 1}
    lab.server("s2").stop()
    for address in SERVERS:
        lab.host("lb2").ip(f"neigh replace {address} lladdr {NOWHERE} dev e0 nud permanent")
    pair = Pair(lab, content)
    good = f"{SERVERS[0]}:80"
    pair["lb1"].start()
    wait_for(lambda: [each["state"] for each in servers(pair, "lb1").values()] == ["up", "down"], 30, "lb1 to know")

    pair["lb2"].start()
    wait_for(lambda: servers(pair, "lb2")[good]["borrowed"], 30, "lb2 to go by its peer", every_s=0.2)
    wait_for_rules(lab, "lb2", expected_rules(Forwarding.DR, {SERVERS[0]: 1}))
    wait_for(lambda: servers(pair, "lb2")[good]["state"] == "down", 90, "lb2 to find out by itself")
    wait_for_rules(lab, "lb2", expected_rules(Forwarding.DR, {}))
    wait_for_rules(lab, "lb1", expected_rules(Forwarding.DR, {SERVERS[0]: 1}))

    wait_for(lambda: servers(pair, "lb2")[good]["peer_state"] == "up", 120, "lb2 to say that they disagree")
    wait_for(lambda: servers(pair, "lb1")[good]["peer_state"] == "down", 30, "lb1 to say so, too")
    assert [pair[name].status()["disagreements"] for name in ("lb1", "lb2")] == [1, 1]
    for name in ("lb1", "lb2"):
        pair.wait_for_words(name, "directors disagree about a server")

    for address in SERVERS:
        lab.host("lb2").ip(f"neigh del {address} dev e0")
    for name in ("lb1", "lb2"):
        pair.wait_for_words(name, "directors agree again", timeout_s=90)
    wait_for_rules(lab, "lb2", expected_rules(Forwarding.DR, {SERVERS[0]: 1}))


def test_a_prober_that_is_stopped_leaves_the_pool_as_it_is_and_is_replaced(lab: Lab) -> None:
    content = pair_config(probers=2)
    content["services"][0]["check"] |= {"interval": "1s", "timeout": "1s"}
    pair = Pair(lab, content)
    lb1 = pair["lb1"]
    lb1.start()
    both = expected_rules(Forwarding.DR, {SERVERS[0]: 1, SERVERS[1]: 2})
    wait_for_rules(lab, "lb1", both)
    probed = {each["name"]: each["endpoints"] for each in lb1.status()["probers"]}
    assert set(probed) == {"prober", "prober-2"}
    assert sum(probed.values()) == 2
    stopped = max(probed, key=lambda name: probed[name])
    before = lb1.processes()
    os.kill(before[stopped], signal.SIGSTOP)

    def stale() -> list[bool]:
        return [each["stale"] for each in servers(pair, "lb1").values()]

    wait_for(lambda: sum(stale()) == probed[stopped], 30, "its verdicts to be stale", every_s=0.1)
    assert sorted(rules(lab, "lb1")) == sorted(both)
    pair.wait_for_words("lb1", "prober is silent; verdicts are stale")
    pair.wait_for_words("lb1", "prober is back", timeout_s=90)
    wait_for(lambda: not any(stale()), 30, "the new one to have probed")
    after = lb1.processes()
    assert {name for name in before if after[name] != before[name]} == {stopped}
    told = pair.log("lb1").split("prober is silent")[1]
    assert "server down" not in told
    assert "kernel changed" not in told
    assert sorted(rules(lab, "lb1")) == sorted(both)
    for name in ("s1", "s2"):
        lab.server(name).stop()
    wait_for_rules(lab, "lb1", expected_rules(Forwarding.DR, {}))
