"""Effective priority and faults out of what is tracked."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from ha_lvs.election.events import Standing
from ha_lvs.election.standing import standing, tracks_of
from ha_lvs.model import Track, VirtualIp, VrrpInstance, VrrpPath
from tests.sim.world import instance

EDGE = instance(1, 150)
UP = {"interface:e0": True}


def with_tracks(*tracks: Track) -> VrrpInstance:
    return replace(EDGE, tracks=tracks)


def test_without_tracks_only_its_own_interface_counts() -> None:
    assert standing(EDGE, UP) == Standing(150)
    assert standing(EDGE, {"interface:e0": False}) == Standing(150, "interface:e0 is down")


def test_what_was_never_judged_counts_as_down() -> None:
    assert standing(EDGE, {}).fault == "interface:e0 is not judged yet"
    assert standing(with_tracks(Track("script:chk", 20)), UP).priority == 150
    assert standing(with_tracks(Track("script:chk", -20)), UP).priority == 130


@pytest.mark.parametrize(
    ("weight", "up", "expected"), [(20, True, 170), (20, False, 150), (-20, True, 150), (-20, False, 130)]
)
def test_a_weight_counts_while_it_should(weight: int, up: bool, expected: int) -> None:
    assert standing(with_tracks(Track("file:maint", weight)), {**UP, "file:maint": up}) == Standing(expected)


def test_priorities_stay_within_their_range() -> None:
    heavy = with_tracks(Track("a", 253), Track("b", 253))
    assert standing(heavy, {**UP, "a": True, "b": True}).priority == 254
    light = with_tracks(Track("a", -253), Track("b", -253))
    assert standing(light, {**UP, "a": False, "b": False}).priority == 1


def test_the_owner_keeps_its_priority_and_has_faults() -> None:
    owner = replace(with_tracks(Track("a", -20), Track("b")), priority=255)
    assert standing(owner, {**UP, "a": False, "b": False}) == Standing(255, "b is down")


def test_several_faults_are_all_named() -> None:
    fault = standing(with_tracks(Track("a"), Track("b")), {**UP, "b": False}).fault
    assert fault == "a is not judged yet, b is down"


def test_interfaces_of_the_group_and_of_virtual_ips_are_tracked_and_heartbeats_are_not() -> None:
    def path(member: str, interface: str) -> VrrpPath:
        return VrrpPath(member, interface, 52, IPv4Address("10.8.0.11"), (), EDGE.group, ())

    group = replace(
        EDGE,
        members=("inside", "outside"),
        virtual_ips=(*EDGE.virtual_ips, VirtualIp(IPv4Address("192.0.2.1"), 32, "e2")),
        companions=(path("inside", "hb0"), path("outside", "e1")),
    )
    assert {track.name for track in tracks_of(group)} == {"interface:e0", "interface:e1", "interface:e2"}
    assert all(track.weight is None for track in tracks_of(group))


def test_what_the_operator_wrote_counts_instead_of_what_goes_without_saying() -> None:
    softer = with_tracks(Track("interface:e0", -50))
    assert standing(softer, {"interface:e0": False}) == Standing(100)
