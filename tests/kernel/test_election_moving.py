"""What moves with the role beside plain addresses: routes and rules, labels, both families, virtual MAC addresses."""

from __future__ import annotations

import errno
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import wait_for
from tests.pairs import SECOND, SECOND_ADDRESSES, Pair, config, second_network, started_pair

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

VIRTUAL_IP6 = "fd00:9::100"
INSIDE_IP = "10.8.0.100"
VIRTUAL_MAC = "00:00:5e:00:01:33"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("moving", tmp_path) as lab:
        yield lab


def shown(pair: Pair, name: str, what: str) -> list[dict[str, Any]]:
    """What `ip -j` shows on a director."""
    ran = pair.lab.host(name).run(["ip", "-j", *what.split()], check=False)
    found: list[dict[str, Any]] = [] if ran.returncode else json.loads(ran.stdout or "[]")  # a table without routes
    return found


# ---------------------------------------------------------------------------------------- routes and rules

ROUTES = [
    {"to": "10.77.0.0/16", "via": "10.9.0.31", "source": VIRTUAL_IP},
    {"to": "default", "via": "10.9.0.31", "table": 100},
    {"to": "fd77::/64", "via": "fd00:9::31"},
]
RULES = [
    {"priority": 1000, "from": VIRTUAL_IP, "table": 100},
    {"priority": 1001, "fwmark": 16, "table": 100, "family": "ipv6"},
]


def moved(pair: Pair, name: str) -> list[bool]:
    """Which of those a director has."""
    routes = shown(pair, name, "route show") + shown(pair, name, "route show table 100")
    routes += shown(pair, name, "-6 route show")
    rules = shown(pair, name, "rule show") + shown(pair, name, "-6 rule show")
    found = [(route["dst"], route.get("gateway")) for route in routes]
    priorities = [rule["priority"] for rule in rules]
    wanted = [("10.77.0.0/16", "10.9.0.31"), ("default", "10.9.0.31"), ("fd77::/64", "fd00:9::31")]
    return [*(each in found for each in wanted), *(each in priorities for each in (1000, 1001))]


def test_virtual_routes_and_rules_come_with_the_role_and_go_with_it(lab: Lab) -> None:
    ips = [f"{VIRTUAL_IP}/32", f"{VIRTUAL_IP6}/64"]
    with started_pair(lab, config(routes=ROUTES, rules=RULES, virtual_ips=ips)) as pair:
        pair.wait_for_roles()
        wait_for(lambda: all(moved(pair, "lb1")), 10, "lb1 to have all")
        assert not any(moved(pair, "lb2"))
        [sourced] = [route for route in shown(pair, "lb1", "route show") if route["dst"] == "10.77.0.0/16"]
        assert sourced["prefsrc"] == VIRTUAL_IP
        pair["lb1"].stop()
        pair.wait_for_holder("lb2")
        wait_for(lambda: all(moved(pair, "lb2")), 10, "lb2 to have all")
        assert not any(moved(pair, "lb1"))
        pair["lb1"].start()
        pair.wait_for_holder("lb1")
        wait_for(lambda: all(moved(pair, "lb1")) and not any(moved(pair, "lb2")), 10, "all to be at lb1 again")
        assert "not held" not in pair.log("lb1") + pair.log("lb2")


def test_both_families_and_both_sides_move_together(lab: Lab) -> None:
    second_network(lab)
    inside = {"address": f"{INSIDE_IP}/24", "interface": SECOND}
    ips = [{"address": f"{VIRTUAL_IP}/32", "label": "e0:web"}, f"{VIRTUAL_IP6}/64", inside]

    def all_at(pair: Pair, name: str) -> bool:
        at = [lab.host(each) for each in ("lb1", "lb2")]
        found = [VIRTUAL_IP in host.addresses("e0") for host in at]
        found += [VIRTUAL_IP6 in host.addresses("e0", 6) for host in at]
        found += [INSIDE_IP in host.addresses(SECOND) for host in at]
        return found == [name == "lb1", name == "lb2"] * 3

    with started_pair(lab, config(virtual_ips=ips)) as pair:
        pair.wait_for_roles()
        wait_for(lambda: all_at(pair, "lb1"), 10, "lb1 to have all")
        listed = shown(pair, "lb1", "address show dev e0")[0]["addr_info"]
        [virtual] = [each for each in listed if each["local"] == VIRTUAL_IP]
        assert virtual["label"] == "e0:web"
        pair["lb1"].kill()
        wait_for(lambda: all_at(pair, "lb2"), 15, "lb2 to have all, and their leases on lb1 to end")
        assert SECOND_ADDRESSES["lb1"] in lab.host("lb1").addresses(SECOND), "its own address stays"


# --------------------------------------------------------------------------------------------- virtual MAC


def mac_at_client(pair: Pair) -> str:
    """What the client's ARP table has for the virtual IP."""
    found = re.search(r"lladdr (\S+)", pair.lab.host("c1").run(["ip", "neighbour", "show", VIRTUAL_IP]).stdout)
    return found[1] if found else ""


def ask(pair: Pair) -> None:
    """Has the client look for the virtual IP."""
    with pair.lab.host("c1").inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"who has this address?", (VIRTUAL_IP, 9))


def reachable(pair: Pair) -> bool:
    """Whether whoever has the virtual IP answers a client: nobody listens there, and it says so."""
    with pair.lab.host("c1").inside(), socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(0.5)
        return sock.connect_ex((VIRTUAL_IP, 9)) == errno.ECONNREFUSED


def test_the_virtual_mac_is_the_same_wherever_the_role_is(lab: Lab) -> None:
    with started_pair(lab, config(virtual_mac=True), carrier="ha-lvs.51") as pair:
        pair.wait_for_roles()
        ask(pair)
        wait_for(lambda: mac_at_client(pair) == VIRTUAL_MAC, 10, "the client to know the virtual MAC address")
        wait_for(lambda: reachable(pair), 20, "the virtual IP to answer")
        pair["lb1"].kill()
        pair.wait_for_holder("lb2")
        wait_for(lambda: reachable(pair), 20, "the virtual IP to answer on lb2")
        assert mac_at_client(pair) == VIRTUAL_MAC
        pair["lb1"].start()
        pair.wait_for_holder("lb1")
        wait_for(lambda: reachable(pair), 20, "the virtual IP to answer on lb1")
        assert mac_at_client(pair) == VIRTUAL_MAC
        assert "answered by another machine" not in pair.log("lb1") + pair.log("lb2")


def test_a_planned_switch_with_a_virtual_mac(lab: Lab) -> None:
    with started_pair(lab, config(virtual_mac="vr51"), carrier="vr51") as pair:
        pair.wait_for_roles()
        assert pair["lb1"].stop() == 0
        pair.wait_for_holder("lb2")
        wait_for(lambda: reachable(pair), 20, "the virtual IP to answer on lb2")
        assert mac_at_client(pair) == VIRTUAL_MAC
        up = [link for link in shown(pair, "lb1", "link show") if link["ifname"] == "vr51" and "UP" in link["flags"]]
        assert up == [], "no silent twin of the MAC address is left"
