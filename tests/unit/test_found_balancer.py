"""Servers that come and go by themselves, in the balancer: nothing that was known of one holds when it comes back."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.daemon.balancer import Balancer
from ha_lvs.daemon.channel import EndpointState
from ha_lvs.model import Destination, DestinationKey, DirectorPart, OnStop, ServerState, ServiceEntry, VirtualService
from ha_lvs.plan.desired import KernelState
from ha_lvs.plan.found import settled, with_found
from tests.unit.test_balancer_marks import FakeIpvs
from tests.unit.test_found import DISCOVERY, says, service

FOUND = DestinationKey(ip_address("10.9.0.5"), 80)
WEB = replace(service(), sorry=None, alpha=False)
WITH_IT = with_found(WEB, settled(WEB, {}, [says("10.9.0.5")], 0.0))


def part(given: VirtualService) -> DirectorPart:
    return DirectorPart("edge", "lb1", "d", (), (given,), None, OnStop.KEEP, 30.0)


@pytest.fixture
def ipvs() -> FakeIpvs:
    return FakeIpvs()


def made(ipvs: Any, given: VirtualService, directory: Path) -> Balancer:
    return Balancer(part(given), ipvs, directory, lambda: None)


def servers(ipvs: FakeIpvs) -> set[str]:
    """The addresses in the kernel."""
    [entry] = ipvs.state.services.values()
    return {str(each.key.address) for each in entry.destinations}


def verdict(of: DestinationKey, state: ServerState) -> EndpointState:
    [check] = DISCOVERY.checks
    return EndpointState(check.of(of.address, Destination(of, DISCOVERY.forwarding)), state, "", 1.0)


def test_it_gets_traffic_after_a_good_check_only(ipvs: FakeIpvs, tmp_path: Path) -> None:
    balancer = made(ipvs, WITH_IT, tmp_path)
    balancer.reconcile()
    assert servers(ipvs) == {"10.9.0.1"}
    balancer.verdict(verdict(FOUND, ServerState.UP))
    balancer.follow_up()
    assert servers(ipvs) == {"10.9.0.1", "10.9.0.5"}
    balancer.verdict(verdict(FOUND, ServerState.DOWN))
    assert balancer.down("web") == {FOUND}


def test_a_verdict_that_comes_too_late_does_not_stand_when_it_comes_back(ipvs: FakeIpvs, tmp_path: Path) -> None:
    balancer = made(ipvs, WITH_IT, tmp_path)
    balancer.reconcile()
    balancer.follow(part(WEB))
    assert balancer.verdict(verdict(FOUND, ServerState.UP)) == []
    balancer.follow(part(WITH_IT))
    balancer.reconcile()
    assert servers(ipvs) == {"10.9.0.1"}


def test_one_that_was_adopted_needs_a_good_check_when_it_comes_back(ipvs: FakeIpvs, tmp_path: Path) -> None:
    adopted = tuple(each.destination for each in WITH_IT.servers)
    ipvs.state = KernelState({WEB.service.key: ServiceEntry(WEB.service, adopted)})
    balancer = made(ipvs, WITH_IT, tmp_path)
    balancer.ownership.claim([WEB.service.key])
    balancer.reconcile()
    assert servers(ipvs) == {"10.9.0.1", "10.9.0.5"}
    assert (WEB.service.key, FOUND) in balancer.adopted
    balancer.follow(part(WEB))
    balancer.follow(part(WITH_IT))
    assert (WEB.service.key, FOUND) not in balancer.adopted
