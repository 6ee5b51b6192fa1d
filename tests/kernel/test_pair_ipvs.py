"""A whole pair on a kernel with IPVS: both directors programmed, traffic, health, sync, and what a restart leaves."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.topology import INSIDE_GATEWAY, VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.model import Forwarding
from tests.pairs import Pair, config, write

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(600 * PACE)]

SERVERS = ("10.9.0.21", "10.9.0.22")
FLAGS = {Forwarding.DR: "-g", Forwarding.NAT: "-m", Forwarding.TUN: "-i"}


def pair_config(forwarding: Forwarding = Forwarding.DR, **ipvs: Any) -> dict[str, Any]:
    """A pair with one web service on two servers, quick checks and connection sync."""
    gateway = [f"{INSIDE_GATEWAY}/32"] if forwarding is Forwarding.NAT else []
    interval = f"{min(1000, int(200 * PACE) // 10 * 10)}ms"
    return {
        **config(interval=interval, virtual_ips=[f"{VIRTUAL_IP}/32", *gateway]),
        "connection_sync": {"interface": "e0", "id": 7},
        "services": [
            {
                "name": "web",
                "listen": f"{VIRTUAL_IP}:80/tcp",
                "scheduler": "rr",
                "forwarding": forwarding.value,
                "check": {
                    "type": "http",
                    "path": "/healthz",
                    "interval": "300ms",
                    "timeout": f"{int(250 * PACE)}ms" if PACE == 1 else "300ms",
                    "rise": 2,
                    "fall": 2,
                },
                "servers": [SERVERS[0], {"address": SERVERS[1], "weight": 2}],
            }
        ],
        **({"ipvs": ipvs} if ipvs else {}),
    }


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("ipvs", tmp_path, clients=1, servers=2) as lab:
        lab.forward(Forwarding.DR)
        lab.start_servers()
        yield lab


def rules(lab: Lab, name: str) -> list[str]:
    """The IPVS of a director as ipvsadm would restore it. Newer ones also say the tunnels' default type."""
    return lab.host(name).run(["ipvsadm", "-Sn"]).stdout.replace(" --tun-type ipip", "").split("\n")[:-1]


def expected_rules(forwarding: Forwarding, servers: dict[str, int]) -> list[str]:
    service = f"-t {VIRTUAL_IP}:80"
    destinations = [
        f"-a {service} -r {address}:80 {FLAGS[forwarding]} -w {weight}" for address, weight in servers.items()
    ]
    return [f"-A {service} -s rr", *destinations]


def wait_for_rules(lab: Lab, name: str, expected: list[str]) -> None:
    def same() -> bool:
        found = rules(lab, name)
        assert sorted(found) == sorted(expected), found
        return True

    wait_for(same, 20, f"the IPVS of {name} to be {expected}", every_s=0.1)


def start(lab: Lab, content: dict[str, Any]) -> Pair:
    pair = Pair(lab, content)
    for director in pair.directors.values():
        director.start()
    pair.wait_for_holder("lb1", timeout_s=30)
    return pair


def get(lab: Lab) -> str:
    """The body of one request through the virtual IP: the name of the server."""
    with lab.host("c1").inside():
        connection = http.client.HTTPConnection(VIRTUAL_IP, 80, timeout=5 * PACE)
        connection.connect()
    connection.request("GET", "/")
    body = connection.getresponse().read().decode().strip()
    connection.close()
    return body


def daemons(lab: Lab, name: str) -> set[str]:
    listed = lab.host(name).run(["ipvsadm", "--list", "--daemon"]).stdout
    assert "master" not in listed or "syncid=7" in listed
    return set(re.findall(r"^(master|backup) sync daemon", listed, re.MULTILINE))


BOTH = dict(zip(SERVERS, (1, 2), strict=True))


@pytest.mark.parametrize("forwarding", list(Forwarding), ids=lambda each: each.value)
def test_both_directors_are_programmed_and_traffic_flows_through_either(lab: Lab, forwarding: Forwarding) -> None:
    lab.forward(forwarding)
    pair = start(lab, pair_config(forwarding))
    for name in ("lb1", "lb2"):
        wait_for_rules(lab, name, expected_rules(forwarding, BOTH))
    assert {get(lab) for _ in range(4)} == {"s1", "s2"}
    pair["lb1"].stop()
    pair.wait_for_holder("lb2")
    assert {get(lab) for _ in range(4)} == {"s1", "s2"}


def test_a_server_that_stops_leaves_both_pools_and_returns_by_itself(lab: Lab, tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = tmp_path / "tell"
    script.write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    script.chmod(0o755)
    notify = [{"command": [str(script)], "events": ["quorum"], "user": "root"}]
    pair = start(lab, {**pair_config(), "notify": notify})
    for name in ("lb1", "lb2"):
        wait_for_rules(lab, name, expected_rules(Forwarding.DR, BOTH))
    lab.server("s1").stop()
    for name in ("lb1", "lb2"):
        wait_for_rules(lab, name, expected_rules(Forwarding.DR, {SERVERS[1]: 2}))
    assert {get(lab) for _ in range(3)} == {"s2"}
    servers = pair["lb1"].status()["services"]["web"]["servers"]
    assert servers["10.9.0.21:80"]["state"] == "down"
    assert "refused" in servers["10.9.0.21:80"]["reason"]
    assert servers["10.9.0.22:80"]["state"] == "up"
    lab.server("s2").stop()
    for name in ("lb1", "lb2"):
        wait_for_rules(lab, name, expected_rules(Forwarding.DR, {}))
    lab.server("s2").start()
    lab.server("s1").start()
    for name in ("lb1", "lb2"):
        wait_for_rules(lab, name, expected_rules(Forwarding.DR, BOTH))
    expected = ["SERVICE web DOWN 0"] * 2 + ["SERVICE web UP 1"] * 2
    wait_for(lambda: sorted(told.read_text().splitlines()) == expected, 20, "both directors to tell of the quorum")


def test_a_server_that_never_answered_gets_no_traffic(lab: Lab) -> None:
    lab.server("s1").stop()
    pair = start(lab, pair_config())
    wait_for_rules(lab, "lb1", expected_rules(Forwarding.DR, {SERVERS[1]: 2}))
    wait_for(
        lambda: pair["lb1"].status()["services"]["web"]["servers"]["10.9.0.21:80"]["state"] == "down", 10, "the verdict"
    )
    assert "10.9.0.21:80" not in "".join(line for line in pair.log("lb1").splitlines() if "kernel changed" in line)


def test_connections_are_synced_and_survive_the_loss_of_the_active(lab: Lab) -> None:
    pair = start(lab, pair_config())
    wait_for_rules(lab, "lb2", expected_rules(Forwarding.DR, BOTH))
    wait_for(lambda: daemons(lab, "lb1") == {"master"}, 10, "lb1 to send")
    wait_for(lambda: daemons(lab, "lb2") == {"backup"}, 10, "lb2 to receive")
    with lab.host("c1").inside():
        connection = http.client.HTTPConnection(VIRTUAL_IP, 80, timeout=30 * PACE)
        connection.connect()
    port = connection.sock.getsockname()[1]

    def request() -> str:
        connection.request("GET", "/")
        return connection.getresponse().read().decode().strip()

    server = request()
    for _ in range(5):
        assert request() == server
    with lab.host("lb2").inside():
        table = Path("/proc/thread-self/net/ip_vs_conn")
        wait_for(lambda: f" {port:04X} " in table.read_text(), 20, "lb2 to learn the connection")
    lab.cut("lb1")
    wait_for(lambda: "lb2" in pair.holders(), 15, "lb2 to take over")
    assert isinstance(connection.sock, socket.socket)
    assert request() == server, "the same connection, the same server"
    wait_for(lambda: daemons(lab, "lb2") == {"master"}, 10, "lb2 to send")
    connection.close()
    lab.heal("lb1")
    pair.wait_for_holder("lb1", timeout_s=30)
    wait_for(lambda: daemons(lab, "lb2") == {"backup"}, 10, "lb2 to receive again")


def test_foreign_services_stay_and_own_leftovers_go(lab: Lab) -> None:
    foreign = ["-A -t 10.9.0.200:25 -s wlc", "-a -t 10.9.0.200:25 -r 10.9.0.22:25 -m -w 5"]
    lab.host("lb1").run(["ipvsadm", "-R"], input="\n".join(foreign) + "\n")
    pair = start(lab, pair_config())
    wait_for_rules(lab, "lb1", [*foreign, *expected_rules(Forwarding.DR, BOTH)])
    pair["lb1"].kill()
    assert sorted(rules(lab, "lb1")) == sorted([*foreign, *expected_rules(Forwarding.DR, BOTH)])
    changed = pair_config()
    changed["services"][0]["listen"] = f"{VIRTUAL_IP}:8080/tcp"
    changed["services"][0]["check"]["port"] = 80
    write(pair.config, changed)
    pair["lb1"].start()
    moved = [rule.replace(":80 ", ":8080 ") for rule in expected_rules(Forwarding.DR, BOTH)]
    wait_for_rules(lab, "lb1", [*foreign, *moved])


def test_a_restart_flushes_nothing(lab: Lab) -> None:
    pair = start(lab, pair_config())
    wait_for_rules(lab, "lb1", expected_rules(Forwarding.DR, BOTH))
    pair["lb1"].kill()
    for server in ("s1", "s2"):
        lab.server(server).stop()  # so that no check can succeed after the restart: only adoption keeps them for now
    pair["lb1"].start()
    wait_for(lambda: "server adopted from the kernel" in pair.log("lb1"), 20, "lb1 to adopt")
    assert "+ " not in "".join(line for line in pair.log("lb1").split("adopted")[-1].splitlines() if "service" in line)
    wait_for_rules(lab, "lb1", expected_rules(Forwarding.DR, {}))


def test_drift_is_repaired(lab: Lab) -> None:
    pair = start(lab, pair_config(reconcile="1s"))
    wait_for_rules(lab, "lb1", expected_rules(Forwarding.DR, BOTH))
    lab.host("lb1").run(["ipvsadm", "-D", "-t", f"{VIRTUAL_IP}:80"])
    wait_for_rules(lab, "lb1", expected_rules(Forwarding.DR, BOTH))
    assert "drifted" in pair.log("lb1")


def test_a_planned_stop_keeps_the_services_or_removes_them_as_configured(lab: Lab) -> None:
    pair = start(lab, pair_config())
    wait_for_rules(lab, "lb1", expected_rules(Forwarding.DR, BOTH))
    pair["lb1"].stop()
    assert sorted(rules(lab, "lb1")) == sorted(expected_rules(Forwarding.DR, BOTH))
    assert daemons(lab, "lb1") == {"backup"}
    write(pair.config, pair_config(on_stop="remove"))
    pair["lb1"].start()
    pair.wait_for_holder("lb1", timeout_s=30)
    pair["lb1"].stop()
    assert rules(lab, "lb1") == []
    assert daemons(lab, "lb1") == set()
