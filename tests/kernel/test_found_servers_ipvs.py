"""Servers that announce themselves get traffic of a whole pair, after a good check, and are drained like any other."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.model import Forwarding
from tests.announcers import TYPE, Announcer
from tests.kernel.test_pair_ipvs import BOTH, SERVERS, expected_rules, pair_config, rules, start, wait_for_rules
from tests.pairs import Pair

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(600 * PACE)]

ONE, TWO = SERVERS


def finding_config() -> dict[str, Any]:
    """A pair with one server in the file, which takes others from the network in."""
    content = pair_config()
    content["services"][0]["servers"] = [ONE]
    found = {"type": TYPE, "networks": ["10.9.0.0/24"], "weight": 2, "interfaces": ["e0"], "forget_after": "1h"}
    content["services"][0]["discover"] = found
    return content


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with Lab("found", tmp_path, clients=1, servers=2) as lab:
        lab.forward(Forwarding.DR)
        lab.start_servers()
        made = start(lab, finding_config())
        for name in ("lb1", "lb2"):
            wait_for_rules(lab, name, expected_rules(Forwarding.DR, {ONE: 1}))
        yield made


def server_status(pair: Pair, name: str) -> dict[str, Any]:
    """What a director says of the servers of its service."""
    found: dict[str, Any] = pair[name].status()["services"]["web"]["servers"]
    return found


def test_a_server_that_announces_itself_gets_traffic_of_both_and_is_drained_like_any_other(pair: Pair) -> None:
    lab = pair.lab
    digest = pair["lb1"].status()["config_digest"]
    announcer = Announcer(lab.host("s2"), [TWO])
    try:
        announcer_of_nobody = Announcer(lab.host("c1"), ["10.9.0.31"])  # nothing serves there
        try:
            for name in ("lb1", "lb2"):
                wait_for_rules(lab, name, expected_rules(Forwarding.DR, BOTH))
                wait_for(lambda name=name: "10.9.0.31:80" in server_status(pair, name), 20, "it to be found")  # type: ignore[misc]
        finally:
            announcer_of_nobody.close()
        said = server_status(pair, "lb1")
        assert [(key, each["discovered"]) for key, each in said.items()] == [
            (f"{ONE}:80", False),
            (f"{TWO}:80", True),
            ("10.9.0.31:80", True),
        ]
        assert not said["10.9.0.31:80"]["programmed"], "no traffic without a good check"
        wait_for(lambda: "10.9.0.31:80" not in server_status(pair, "lb1"), 30, "it to go, whose check fails")
        assert pair["lb1"].status()["config_digest"] == digest
        shown = pair.verb("lb1", "status").stdout
        assert f"{TWO}:80 discovered" in shown
        ran = pair.verb("lb1", "server", "weight", "web", TWO, "0")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        for name in ("lb1", "lb2"):
            wait_for_rules(lab, name, expected_rules(Forwarding.DR, {ONE: 1, TWO: 0}))
        overrides = json.loads(pair.verb("lb1", "status", "--json").stdout)["overrides"]
        assert [(each["server"], each["configured"]) for each in overrides] == [(f"{TWO}:80", True)]
    finally:
        announcer.close()


def test_a_director_that_starts_anew_keeps_what_it_had_found(pair: Pair) -> None:
    announcer = Announcer(pair.lab.host("s2"), [TWO])
    try:
        wait_for_rules(pair.lab, "lb2", expected_rules(Forwarding.DR, BOTH))
    finally:
        announcer.close()
    os.kill(pair["lb2"].processes()["director"], signal.SIGKILL)
    pair.wait_for_words("lb2", "server adopted from the kernel: service=10.9.0.100:80/tcp server=10.9.0.22:80")
    wait_for(lambda: server_status(pair, "lb2")[f"{TWO}:80"]["state"] == "up", 30, "its check to be good again")
    assert sorted(rules(pair.lab, "lb2")) == sorted(expected_rules(Forwarding.DR, BOTH))
