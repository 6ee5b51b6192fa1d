"""Under a steady load of requests nothing that an operator does to a pool costs one of them."""

from __future__ import annotations

import copy
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.model import Forwarding
from tests.kernel.test_pair_ipvs import BOTH, SERVERS, expected_rules, pair_config, rules, start, wait_for_rules
from tests.kernel.test_reload import reloaded
from tests.pairs import Pair, write

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(600 * PACE)]

SORRY = "10.9.0.23"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("changes", tmp_path, clients=1, servers=3) as lab:
        lab.forward(Forwarding.DR)
        lab.start_servers()
        yield lab


class Load:
    """Asks again and again, each time over a new connection, and remembers who answered and what went wrong."""

    def __init__(self, client: Host) -> None:
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._client = client
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with self._client.inside():
            while not self._over.wait(0.02):
                connection = http.client.HTTPConnection(VIRTUAL_IP, 80, timeout=5 * PACE)
                try:
                    connection.request("GET", "/")
                    time.sleep(0.02)  # the server's answer is on its way while the pool changes
                    self.answers.append(connection.getresponse().read().decode())
                except (OSError, http.client.HTTPException) as problem:
                    self.failures.append(f"{type(problem).__name__}: {problem}")
                finally:
                    connection.close()

    @contextmanager
    def going(self) -> Iterator[Load]:
        """It asks meanwhile."""
        self._thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._thread.join(30 * PACE)

    def from_now(self, count: int = 20) -> set[str]:
        """Who answers the next requests."""
        at = len(self.answers)
        wait_for(lambda: len(self.answers) >= at + count + 2, 30, "requests to be answered")
        return set(self.answers[at + 2 :])  # those that were under way are of before


def test_no_request_fails_whatever_is_changed(lab: Lab) -> None:
    content = pair_config()
    content["services"][0]["sorry"] = SORRY
    content["services"][0]["quorum"] = 1
    content["ipvs"] = {"drain": "10s"}
    pair = start(lab, content)
    wait_for_rules(lab, "lb1", expected_rules(Forwarding.DR, BOTH))
    with Load(lab.host("c1")).going() as load:
        assert load.from_now() == {"s1", "s2"}
        for name, change in changes(lab, pair, content).items():
            change(load)
            assert load.failures == [], name
    assert load.failures == []
    assert len(load.answers) > 100


def changes(lab: Lab, pair: Pair, content: dict[str, Any]) -> dict[str, Callable[[Load], None]]:
    """What an operator does, one after the other, and what the clients see of it."""

    def operate(*words: str) -> None:
        done = pair.verb("lb1", *words)
        assert done.returncode == 0, done.stderr

    def follow(changed: dict[str, Any]) -> None:
        write(pair.config, changed)
        code, answer = reloaded(pair)
        assert (code, answer["applied"]) == (0, True), answer

    def drain(load: Load) -> None:
        operate("server", "drain", "web", SERVERS[0], "--no-wait")
        assert load.from_now() == {"s2"}
        assert sorted(rules(lab, "lb1")) == sorted(expected_rules(Forwarding.DR, BOTH | {SERVERS[0]: 0}))

    def sorry(load: Load) -> None:
        operate("server", "drain", "web", SERVERS[1], "--no-wait")
        assert load.from_now() == {"s3"}
        assert pair["lb1"].status()["services"]["web"]["sorry"] is True

    def enable(load: Load) -> None:
        for server in SERVERS:
            operate("server", "enable", "web", server)
        assert load.from_now() == {"s1", "s2"}
        wait_for_rules(lab, "lb1", expected_rules(Forwarding.DR, BOTH))  # the sorry server has left

    def weigh(load: Load) -> None:
        operate("server", "weight", "web", SERVERS[0], "7")
        assert load.from_now() == {"s1", "s2"}
        operate("server", "enable", "web", SERVERS[0])

    def reload_weight(load: Load) -> None:
        changed = copy.deepcopy(content)
        changed["services"][0]["servers"][1]["weight"] = 9
        changed["services"][0]["scheduler"] = "wrr"
        follow(changed)
        assert load.from_now() == {"s1", "s2"}

    def remove(load: Load) -> None:
        changed = copy.deepcopy(content)
        changed["services"][0]["servers"].pop()
        follow(changed)
        assert load.from_now() == {"s1"}
        wait_for_rules(lab, "lb1", expected_rules(Forwarding.DR, {SERVERS[0]: 1}))

    def add(load: Load) -> None:
        follow(content)
        wait_for_rules(lab, "lb1", expected_rules(Forwarding.DR, BOTH))
        assert load.from_now() == {"s1", "s2"}

    def die(load: Load) -> None:
        lab.server("s3").stop()  # nobody needs it now
        assert load.from_now() == {"s1", "s2"}

    return {
        "drain": drain, "sorry server": sorry, "enable": enable, "weight": weigh,
        "weight and scheduler by reload": reload_weight, "server removed": remove, "server added": add,
        "sorry server died unneeded": die,
    }  # fmt: skip
