"""How directors hear each other: several heartbeat paths, BFD, witnesses, and other machines with our address."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import lasting, wait_for
from ha_lvs.kernel.links import hardware_address
from ha_lvs.wire import arp
from tests.pairs import LB1, SECOND, SECOND_ADDRESSES, config, cut_second, heal_second, second_network, started_pair

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

WITNESS = "10.9.0.31"  # c1


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("paths", tmp_path) as lab:
        yield lab


# ---------------------------------------------------------------------------------------------- heartbeats


def test_one_path_that_is_cut_changes_no_role_and_the_last_one_does(lab: Lab) -> None:
    second_network(lab)
    with started_pair(lab, config(heartbeats=[{"interface": SECOND, "address": SECOND_ADDRESSES}])) as pair:
        pair.wait_for_roles()
        lab.cut("lb1")
        pair.assert_stays("lb1", 2.0)  # ten intervals
        peer = wait_for(lambda: pair.instance("lb2")["peer"], 15, "lb2 to tell whom it hears")
        assert peer["priority"] == 150
        cut_second(lab, "lb1")
        wait_for(lambda: "lb2" in pair.holders(), 15, "lb2 to take over")
        pair.wait_for_words("lb2", "fell silent")
        heal_second(lab, "lb1")  # either path is enough to find each other again
        pair.wait_for_holder("lb1")
        pair.wait_for_roles()
        lab.heal("lb1")
        cut_second(lab, "lb1")
        pair.assert_stays("lb1", 2.0)


def test_a_heartbeat_interface_without_carrier_is_one_chance_less_and_no_fault(lab: Lab) -> None:
    second_network(lab)
    with started_pair(lab, config(heartbeats=[{"interface": SECOND, "address": SECOND_ADDRESSES}])) as pair:
        pair.wait_for_roles()
        lab.host("lb1").ip(f"link set {SECOND} down")
        pair.assert_stays("lb1", 2.0)
        assert pair.instance("lb1")["barred"] == ""


# --------------------------------------------------------------------------------------------------- BFD


def test_bfd_notices_a_cut_long_before_advertisements_would(lab: Lab) -> None:
    """Ten intervals of three seconds: without BFD nothing would happen for half a minute. lb1 owns the addresses, so
    that it need not wait for as long to become active."""
    adverts = {"interval": "3s", "down_after": 10, "priority": {"lb1": 255, "lb2": 100}}
    with started_pair(lab, config(**adverts, bfd={"interval": "50ms", "multiplier": 3})) as pair:
        for name in ("lb1", "lb2"):
            pair.wait_for_words(name, "BFD session is up")
        wait_for(lambda: pair.instance("lb2")["peer"] == {"address": LB1, "priority": 255}, 30, "lb2 to hear lb1")
        lab.cut("lb1")
        wait_for(lambda: "lb2" in pair.holders(), 10, "lb2 to take over")
        pair.wait_for_words("lb2", "BFD session is down")
        lab.heal("lb1")
        pair.wait_for_holder("lb1", 30)


# ---------------------------------------------------------------------------------------------- witnesses


def witnessed(**changes: Any) -> dict[str, Any]:
    return config(witnesses={"addresses": [WITNESS], "interval": "100ms", "fall": 3, **changes})


def test_who_sees_neither_witness_nor_peer_does_not_promote_itself(lab: Lab) -> None:
    with started_pair(lab, witnessed()) as pair:
        pair.wait_for_roles()
        wait_for(lambda: pair.instance("lb2")["barred"] == "", 15, "lb2 to see its witness")
        lab.cut("lb2")
        wait_for(lambda: "fewer than 1 of its witnesses" in pair.instance("lb2")["barred"], 15, "lb2 to miss it")
        pair.assert_stays("lb1", 2.0)
        pair.wait_for_words("lb2", "not eligible")
        lab.heal("lb2")
        wait_for(lambda: pair.instance("lb2")["barred"] == "", 15, "lb2 to see its witness again")
        pair["lb1"].kill()
        pair.wait_for_holder("lb2")


def test_an_active_without_witness_and_peer_steps_down_where_it_is_told_to(lab: Lab) -> None:
    with started_pair(lab, witnessed(yield_alone=True)) as pair:
        pair.wait_for_roles()
        wait_for(lambda: pair.instance("lb2")["barred"] == "", 15, "lb2 to see its witness")
        lab.cut("lb1")
        pair.wait_for_holder("lb2")
        wait_for(lambda: pair.role("lb1") == "backup", 10, "lb1 to say so")
        lab.heal("lb1")
        pair.wait_for_holder("lb1")


# --------------------------------------------------------------------------------------------- duplicates


def announce(host: Host) -> None:
    """Says once that the virtual IP is on a host."""
    with host.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        mac = hardware_address("e0")
        assert mac is not None
        sock.bind(("e0", 0))
        sock.send(arp.announcement(IPv4Address(VIRTUAL_IP), mac))


def test_another_machine_with_our_address_is_told_and_changes_nothing(lab: Lab) -> None:
    with started_pair(lab) as pair:
        pair.wait_for_roles()
        stranger = lab.host("c1")
        stranger.ip(f"addr add {VIRTUAL_IP}/32 dev e0")
        with stranger.inside():
            mac = hardware_address("e0")
        assert mac is not None
        told = "virtual IP is answered by another machine"

        def reported(name: str) -> bool:
            announce(stranger)
            return any(told in line and mac.hex(":") in line for line in pair.log(name).splitlines())

        wait_for(lambda: reported("lb1"), 40, "lb1 to tell of it", every_s=0.5)
        wait_for(lambda: told in pair.log("lb2"), 40, "lb2 to tell of it", every_s=0.5)
        pair.assert_stays("lb1", 1.0)
        stranger.ip(f"addr del {VIRTUAL_IP}/32 dev e0")


def test_a_split_that_heals_is_no_duplicate_for_ever(lab: Lab) -> None:
    with started_pair(lab) as pair:
        pair.wait_for_roles()
        lab.cut("lb1")
        wait_for(lambda: pair.holders() == ["lb1", "lb2"], 15, "both to hold it")
        lab.heal("lb1")
        pair.wait_for_holder("lb1")
        pair.wait_for_roles()
        before = pair.log("lb1").count("answered by another") + pair.log("lb2").count("answered by another")
        wait_for(lasting(lambda: pair.holders() == ["lb1"], 3.0), 20, "lb1 to go on")
        assert pair.log("lb1").count("answered by another") + pair.log("lb2").count("answered by another") == before
