"""What a director makes of the verdicts of its peer, on a simulated kernel."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from ha_lvs.daemon.balancer import Balancer
from ha_lvs.daemon.channel import EndpointState
from ha_lvs.model import (
    Check,
    CheckType,
    Destination,
    DestinationKey,
    DirectorPart,
    Endpoint,
    Forwarding,
    OnStop,
    Protocol,
    RealServer,
    ServerState,
    Service,
    ServiceKey,
    VirtualService,
)
from tests.unit.test_operating import SimulatedIpvs

UP, DOWN, UNKNOWN = ServerState.UP, ServerState.DOWN, ServerState.UNKNOWN
WEB = ServiceKey(ip_address("192.0.2.10"), 80, Protocol.TCP)


def server(number: int) -> RealServer:
    address = ip_address(f"10.0.0.{number}")
    endpoint = Endpoint(address, 80, Check(CheckType.TCP))
    return RealServer(Destination(DestinationKey(address, 80), Forwarding.DR), (endpoint,))


SERVERS = tuple(server(number) for number in (1, 2, 3))
ONE, TWO, THREE = (each.checks[0] for each in SERVERS)
PART = DirectorPart(
    "edge", "lb1", "d1", (), (VirtualService("web", Service(WEB, "wlc"), SERVERS),), None, OnStop.KEEP, 30.0
)


class Kernel:
    """A kernel, and the director processes that follow one another on it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.ipvs = SimulatedIpvs()

    def balancer(self) -> Balancer:
        made = Balancer(PART, self.ipvs, self._directory, lambda: None)  # type: ignore[arg-type]
        made.reconcile()
        return made

    @property
    def pool(self) -> set[str]:
        return set(self.ipvs.weights(WEB))


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def verdict(endpoint: Endpoint, state: ServerState) -> EndpointState:
    return EndpointState(endpoint, state, "", 1.0)


def test_what_the_peer_knows_to_be_good_serves_and_nothing_else(kernel: Kernel) -> None:
    balancer = kernel.balancer()
    assert balancer.borrow({ONE: UP, TWO: DOWN}) == {ONE: UP, TWO: DOWN}
    balancer.follow_up()
    assert kernel.pool == {"10.0.0.1:80"}
    assert balancer.endpoints() == {ONE: UP, TWO: UNKNOWN, THREE: UNKNOWN}, "for the probers"
    servers = balancer.service_status("web")["servers"]
    assert [each["borrowed"] for each in servers.values()] == [True, True, False]
    assert [each["state"] for each in servers.values()] == ["up", "down", "unknown"]
    assert not balancer.settled, "we have not probed them"


def test_what_the_peer_knows_to_be_bad_does_not_serve_even_if_it_did(kernel: Kernel) -> None:
    first = kernel.balancer()
    for each in (ONE, TWO):
        first.verdict(verdict(each, UP))
    first.follow_up()
    second = kernel.balancer()
    assert kernel.pool == {"10.0.0.1:80", "10.0.0.2:80"}
    second.borrow({ONE: DOWN, TWO: UP})
    second.follow_up()
    assert kernel.pool == {"10.0.0.2:80"}


def test_a_peer_to_which_all_are_bad_is_not_believed_until_somebody_knows_one_to_be_good(kernel: Kernel) -> None:
    """It may be the peer that is cut off from them."""
    first = kernel.balancer()
    for each in (ONE, TWO):
        first.verdict(verdict(each, UP))
    first.follow_up()
    second = kernel.balancer()
    second.borrow({ONE: DOWN, TWO: DOWN, THREE: DOWN})
    second.follow_up()
    assert kernel.pool == {"10.0.0.1:80", "10.0.0.2:80"}, "they were adopted"
    second.verdict(verdict(ONE, UP))
    second.follow_up()
    assert kernel.pool == {"10.0.0.1:80"}, "so the servers can be reached, and the peer knows of the others"


def test_our_own_verdict_stands_in_its_place_and_the_peers_counts_no_more(kernel: Kernel) -> None:
    balancer = kernel.balancer()
    balancer.borrow({ONE: UP, TWO: UP})
    [change] = balancer.verdict(verdict(ONE, DOWN))
    assert (change.server, change.state) == ("10.0.0.1:80", DOWN)
    [settled] = balancer.verdict(verdict(TWO, UP))
    assert (settled.server, settled.state) == ("10.0.0.2:80", UP), "to be told, as now it is by our own probe"
    assert balancer.borrow({ONE: UP, TWO: DOWN}) == {}
    balancer.follow_up()
    assert kernel.pool == {"10.0.0.2:80"}


def test_a_peer_that_goes_before_we_have_probed_empties_no_pool(kernel: Kernel) -> None:
    balancer = kernel.balancer()
    balancer.borrow({ONE: UP, TWO: DOWN})
    balancer.follow_up()
    assert balancer.borrow({ONE: UNKNOWN, TWO: UNKNOWN}) == {ONE: UNKNOWN, TWO: UNKNOWN}
    balancer.follow_up()
    assert kernel.pool == {"10.0.0.1:80"}
    assert [each["state"] for each in balancer.service_status("web")["servers"].values()] == ["unknown"] * 3
    balancer.verdict(verdict(ONE, DOWN))
    balancer.follow_up()
    assert kernel.pool == set()


def test_what_is_not_probed_here_or_said_again_is_nothing_new(kernel: Kernel) -> None:
    balancer = kernel.balancer()
    other = replace(ONE, port=81)
    assert balancer.borrow({other: UP, ONE: UNKNOWN}) == {}
    balancer.borrow({ONE: UP})
    balancer.follow_up()
    assert balancer.borrow({ONE: UP}) == {}
    assert not balancer.touched


def test_a_server_that_leaves_the_config_takes_what_was_borrowed_with_it(kernel: Kernel) -> None:
    balancer = kernel.balancer()
    balancer.borrow({ONE: UP, TWO: UP})
    [web] = PART.services
    balancer.follow(replace(PART, services=(replace(web, servers=SERVERS[1:]),)))
    balancer.follow(PART)
    assert balancer.endpoints()[ONE] is UNKNOWN
    assert not balancer.probes(replace(ONE, port=81))
    assert balancer.probes(ONE)
