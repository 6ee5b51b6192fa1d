"""How servers leave a pool: never while they are needed, never for longer than the operator's patience."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.model import Destination, DestinationKey, Forwarding, Protocol, Service, ServiceKey
from ha_lvs.plan.desired import service_entry
from ha_lvs.plan.leaving import SETTLES_S, candidates, farewell

WEB = Service(ServiceKey(IPv4Address("192.0.2.10"), 80, Protocol.TCP), "wlc")


def server(last: int, weight: int = 1) -> Destination:
    return Destination(DestinationKey(IPv4Address(f"10.0.0.{last}"), 80), Forwarding.DR, weight)


def test_only_what_is_not_wanted_and_not_down_leaves() -> None:
    found = service_entry(WEB, [server(1), server(2), server(3)])
    assert candidates(service_entry(WEB, [server(1)]), found, {server(3).key}) == [server(2)]
    assert candidates(service_entry(WEB), None, set()) == []


def test_a_server_settles_then_waits_for_its_connections() -> None:
    one = [server(1, 5)]
    first = farewell(one, {}, {}, 60.0, 100.0)
    assert first.destinations == (server(1, 0),)
    settled = 100.0 + SETTLES_S
    assert farewell(one, {}, first.since, 60.0, settled).destinations == ()
    busy = farewell(one, {server(1).key: 3}, first.since, 60.0, settled)
    assert (busy.destinations, busy.since) == ((server(1, 0),), {server(1).key: 100.0})
    assert farewell(one, {server(1).key: 3}, busy.since, 60.0, 160.0).destinations == ()


def test_without_patience_all_go_at_once() -> None:
    assert farewell([server(1)], {server(1).key: 3}, {}, 0.0, 5.0).destinations == ()


@given(
    st.lists(st.tuples(st.floats(0.01, 5), st.integers(0, 2)), min_size=1, max_size=200),
    st.floats(0, 30),
)
def test_one_that_leaves_is_gone_within_the_patience_and_not_while_it_serves(
    looks: list[tuple[float, int]], patience_s: float
) -> None:
    now, since = 0.0, dict[DestinationKey, float]()
    for wait_s, active in looks:
        stays = farewell([server(1)], {server(1).key: active}, since, patience_s, now)
        if not stays.destinations:
            assert now >= patience_s or (active == 0 and now >= min(SETTLES_S, patience_s))
            return
        assert now < patience_s
        assert active or now < SETTLES_S
        assert stays.look_at > now
        since = dict(stays.since)
        now += wait_s
