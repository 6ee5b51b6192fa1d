"""A server that clients cannot reach any more is found out by their handshakes, long before its next check."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.model import Forwarding
from tests.kernel.test_pair_ipvs import BOTH, SERVERS, expected_rules, pair_config, start, wait_for_rules
from tests.pairs import Pair

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(600 * PACE)]

ONE, TWO = SERVERS
ROUND = 4


def watching_config() -> dict[str, Any]:
    """A pair that would not probe again within the test, were it not for the connection table."""
    content = pair_config()
    content["services"][0]["passive"] = True
    content["services"][0]["check"] = {"type": "tcp", "interval": "1h", "timeout": "1s", "rise": 1, "fall": 1}
    return content


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with Lab("passive", tmp_path, clients=1, servers=2) as lab:
        lab.forward(Forwarding.DR)
        lab.start_servers()
        made = start(lab, watching_config())
        wait_for_rules(lab, "lb1", expected_rules(Forwarding.DR, BOTH))
        yield made


def test_handshakes_that_remain_unfinished_bring_the_probe_that_takes_the_server_out(pair: Pair) -> None:
    lab = pair.lab
    lab.cut("s1")
    with contextlib.ExitStack() as stack:

        def more_clients() -> bool:
            with lab.host("c1").inside():
                for _ in range(ROUND):
                    client = stack.enter_context(socket.socket())
                    client.setblocking(False)
                    client.connect_ex((VIRTUAL_IP, 80))
            found: dict[str, Any] = pair["lb1"].status()["services"]["web"]["servers"]
            return (found[f"{ONE}:80"]["state"], found[f"{TWO}:80"]["state"]) == ("down", "up")

        wait_for(more_clients, 60, "the server that is cut off to be found out", every_s=0.5)
    pair.wait_for_words("lb1", f"server suspect: service=web server={ONE}:80")
    assert f"server suspect: service=web server={TWO}:80" not in pair.log("lb1")
    wait_for_rules(pair.lab, "lb1", expected_rules(Forwarding.DR, {TWO: 2}))
