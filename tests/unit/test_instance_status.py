"""What the status of a director says of an instance."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from ha_lvs.daemon.channel import InstanceState
from ha_lvs.daemon.instance_status import instance_status
from ha_lvs.model import BfdSession, Role, Witnesses
from tests.sim.world import instance

EDGE = instance(1, 150)
STATE = InstanceState("edge", Role.ACTIVE, 150, 0.0, 2, "10.9.0.12", 100, "no other router was heard", True)
WATCHED = replace(
    EDGE,
    witnesses=Witnesses((ip_address("192.0.2.1"), ip_address("192.0.2.9")), 1, "e0", 1.0, 3, "arp", False),
    bfd=(BfdSession("e0", ip_address("10.9.0.11"), ip_address("10.9.0.12"), 0.003, 3),),
)


def test_before_the_elector_has_spoken_only_the_config_is_known() -> None:
    told = instance_status(WATCHED, None)
    assert (told["role"], told["since"], told["peer"], told["holding"]) == ("initialize", None, None, False)
    assert told["witnesses"] == {"192.0.2.1": None, "192.0.2.9": None}
    assert told["bfd"] == {"10.9.0.12": {"state": "unknown", "interval_ms": 3.0, "multiplier": 3}}


def test_what_the_elector_says_of_witnesses_and_sessions_is_told() -> None:
    state = replace(STATE, witnesses={"192.0.2.9": False, "192.0.2.1": True}, bfd={"10.9.0.12": "Up"})
    told = instance_status(WATCHED, state)
    assert list(told["witnesses"].items()) == [("192.0.2.1", True), ("192.0.2.9", False)]
    assert told["bfd"]["10.9.0.12"]["state"] == "up"


def test_an_instance_without_witnesses_and_sessions_has_none() -> None:
    told = instance_status(EDGE, STATE)
    assert (told["witnesses"], told["bfd"]) == ({}, {})
    assert (told["role"], told["since"]) == ("active", "1970-01-01T00:00:00+00:00")
    assert told["peer"] == {"address": "10.9.0.12", "priority": 100}
