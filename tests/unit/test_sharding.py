"""How many probers there are, and which of them probes what."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.model import (
    Check,
    CheckType,
    Destination,
    DestinationKey,
    Endpoint,
    Forwarding,
    Protocol,
    RealServer,
    Service,
    ServiceKey,
    VirtualService,
)
from ha_lvs.plan.sharding import ALONE, MOST, count, is_prober, names, shard

CHECK = Check(CheckType.TCP)
ENDPOINTS = st.builds(
    Endpoint,
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)),
    st.integers(0, 65535),
    st.builds(Check, st.sampled_from(CheckType), st.floats(1, 60)),
)


def services(servers: int, copies: int = 1) -> list[VirtualService]:
    reals = []
    for number in range(servers):
        address = ip_address(0x0A000000 + number)
        destination = Destination(DestinationKey(address, 80), Forwarding.DR)
        reals.append(RealServer(destination, (Endpoint(address, 80, CHECK),)))
    virtual = ip_address("10.9.0.100")
    return [
        VirtualService(f"s{each}", Service(ServiceKey(virtual, 1000 + each, Protocol.TCP), "wlc"), tuple(reals))
        for each in range(copies)
    ]


@pytest.mark.parametrize(
    ("said", "servers", "cores", "expected"),
    [
        (0, 0, 16, 1),
        (0, ALONE, 16, 1),
        (0, ALONE + 1, 16, 8),
        (0, ALONE + 1, 2, 2),
        (0, ALONE + 1, 1, 1),
        (1, ALONE + 1, 16, 1),
        (5, 0, 1, 5),
        (64, 10, 1, 64),
    ],
)
def test_as_many_as_are_asked_for_or_as_it_takes(said: int, servers: int, cores: int, expected: int) -> None:
    assert count(said, services(servers), cores) == expected


def test_what_services_share_counts_once() -> None:
    assert count(0, services(ALONE, copies=2), 16) == 1


def test_a_single_one_is_called_as_ever() -> None:
    assert names(1) == ("prober",)
    assert names(3) == ("prober", "prober-2", "prober-3")
    assert all(map(is_prober, names(MOST)))
    assert not any(map(is_prober, ("director", "elector", "prober-", "prober-x", "probers")))


@given(ENDPOINTS, st.integers(1, MOST), st.integers(1, MOST))
def test_an_endpoint_has_one_place_whatever_its_check_is(endpoint: Endpoint, probers: int, others: int) -> None:
    place = shard(endpoint, probers)
    assert 0 <= place < probers
    assert place == shard(replace(endpoint, check=CHECK), probers)
    if others > probers:
        assert shard(endpoint, others) == place or shard(endpoint, others) >= probers, "it moves to a new one or stays"


@pytest.mark.parametrize("probers", [2, 3, 8, 64])
def test_shares_are_about_equal(probers: int) -> None:
    every = [Endpoint(ip_address(0x0A000000 + number), 80, CHECK) for number in range(200 * probers)]
    found = Counter(shard(each, probers) for each in every)
    assert all(100 <= found[each] <= 320 for each in range(probers)), found


def test_places_are_the_same_in_every_release() -> None:
    """A director is restarted in place beside probers that go on; they must not mean different things."""
    found = [shard(Endpoint(ip_address(f"10.9.0.{number}"), 80, CHECK), 8) for number in range(21, 29)]
    assert found == [2, 7, 7, 1, 4, 2, 6, 6]
