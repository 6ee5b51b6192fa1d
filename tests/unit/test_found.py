"""Servers that announce themselves, as servers of a service: who comes in, who stays, who goes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.model import (
    AddressRange,
    Announcement,
    Check,
    CheckPlan,
    CheckType,
    Destination,
    DestinationKey,
    Endpoint,
    Forwarding,
    FoundServer,
    PortRange,
    Protocol,
    RealServer,
    ServerDiscovery,
    Service,
    ServiceKey,
    Traffic,
    VirtualPath,
    VirtualService,
)
from ha_lvs.peer.servers import MOST_ADDRESSES, announcement
from ha_lvs.plan.found import GRACE_S, changes_at, settled, with_found
from ha_lvs.plan.pool import Standing, pool

TCP = Check(CheckType.TCP)
NETWORK = ip_network("10.9.0.0/28")
VIRTUAL = ip_address("10.9.0.10")
OTHER_VIRTUAL = ip_address("10.9.0.11")
CONFIGURED = ip_address("10.9.0.1")
SORRY = ip_address("10.9.0.2")

DISCOVERY = ServerDiscovery("_http._tcp", (NETWORK,), Forwarding.DR, None, 80, (CheckPlan(TCP),))


def server(address: Any, port: int = 80) -> RealServer:
    destination = Destination(DestinationKey(ip_address(str(address)), port), Forwarding.DR)
    return RealServer(destination, (Endpoint(destination.key.address, port, TCP),))


def service(**changes: Any) -> VirtualService:
    """One with a server of the config, and a discovery with the changes."""
    return VirtualService(
        "web",
        Service(ServiceKey(VIRTUAL, 80, Protocol.TCP), "wlc"),
        (server(CONFIGURED),),
        sorry=Destination(DestinationKey(SORRY, 80), Forwarding.DR),
        discovery=replace(DISCOVERY, **changes),
    )


def says(*addresses: str, name: str = "", port: int = 8080, weight: int | None = None) -> Announcement:
    kind = "_http._tcp"
    given_name = name or f"at {addresses[0]}"
    return Announcement(given_name, kind, tuple(ip_address(each) for each in addresses), port, weight)


def names(found: Iterable[DestinationKey]) -> list[str]:
    return [str(key) for key in found]


# ------------------------------------------------------------------------------------------------------ who comes in


def test_a_server_is_reached_and_probed_as_the_service_says() -> None:
    found = settled(service(), {}, [says("10.9.0.5")], 0.0)
    more = with_found(service(), found).servers[1:]
    destination = Destination(DestinationKey(ip_address("10.9.0.5"), 80), Forwarding.DR, 1)
    assert more == (RealServer(destination, (Endpoint(ip_address("10.9.0.5"), 80, TCP),), discovered=True),)


def test_by_nat_the_announced_port_counts() -> None:
    web = service(port=None, forwarding=Forwarding.NAT)
    found = settled(web, {}, [says("10.9.0.5", port=8080), says("10.9.0.5", name="b", port=8081)], 0.0)
    assert names(found) == ["10.9.0.5:8080", "10.9.0.5:8081"]
    [first, _] = with_found(web, found).servers[1:]
    assert [each.port for each in first.checks] == [8080]


def test_a_check_has_its_own_address_port_and_path() -> None:
    elsewhere = CheckPlan(TCP, ip_address("10.9.1.1"), 9000)
    through = CheckPlan(Check(CheckType.HALF_OPEN), virtual=VIRTUAL)
    web = service(checks=(elsewhere, through), any_of=True)
    [_, found] = with_found(web, settled(web, {}, [says("10.9.0.5")], 0.0)).servers
    path = VirtualPath(VIRTUAL, 80, Forwarding.DR)
    assert found.any_of
    assert found.checks == (
        Endpoint(ip_address("10.9.1.1"), 9000, TCP),
        Endpoint(ip_address("10.9.0.5"), 80, Check(CheckType.HALF_OPEN, via=path)),
    )


@pytest.mark.parametrize(
    "announced",
    [
        says("10.9.1.5"),
        says(str(VIRTUAL)),
        says(str(OTHER_VIRTUAL)),
        says(str(SORRY)),
        says(str(CONFIGURED)),
        says(str(CONFIGURED), "10.9.0.5"),
        says("fd00:9::5"),
        replace(says("10.9.0.5"), type="_https._tcp"),
    ],
    ids=str,
)
def test_who_does_not_come_in(announced: Announcement) -> None:
    assert settled(service(), {}, [announced], 0.0, virtual={OTHER_VIRTUAL}) == {}


def test_an_address_of_a_group_of_virtual_ips_is_no_server() -> None:
    traffic = Traffic((Protocol.TCP,), (AddressRange(VIRTUAL, ip_address("10.9.0.12")),), (PortRange(80, 90),))
    group = replace(service(port=0), service=Service(ServiceKey.of_mark(7), "wlc"), traffic=traffic)
    assert names(settled(group, {}, [says("10.9.0.12"), says("10.9.0.13")], 0.0)) == ["10.9.0.13:0"]


def test_another_family_comes_in_by_tun_only() -> None:
    networks = (ip_network("fd00:9::/64"),)
    assert not settled(service(networks=networks), {}, [says("fd00:9::5")], 0.0)
    by_tun = service(networks=networks, forwarding=Forwarding.TUN)
    assert names(settled(by_tun, {}, [says("fd00:9::5")], 0.0)) == ["[fd00:9::5]:80"]


def test_a_server_of_several_addresses_is_one_and_its_virtual_ip_none() -> None:
    assert names(settled(service(), {}, [says(str(VIRTUAL), "10.9.0.6", "10.9.0.5")], 0.0)) == ["10.9.0.5:80"]


@pytest.mark.parametrize(("trusts", "said", "weight"), [(False, 9, 3), (True, 9, 9), (True, 0, 0), (True, None, 3)])
def test_an_announced_weight_counts_where_it_is_trusted(trusts: bool, said: int | None, weight: int) -> None:
    web = service(weight=3, trust_weight=trusts)
    [found] = settled(web, {}, [says("10.9.0.5", weight=said)], 0.0).values()
    assert found.weight == weight


def test_who_is_in_stays_before_who_comes() -> None:
    web = service(most=2)
    first = settled(web, {}, [says("10.9.0.7"), says("10.9.0.8")], 0.0)
    everybody = [says(f"10.9.0.{n}") for n in (3, 4, 7, 8)]
    assert names(settled(web, first, everybody, 1.0)) == ["10.9.0.7:80", "10.9.0.8:80"]
    assert names(settled(web, first, everybody[:-1], 1.0)) == ["10.9.0.7:80", "10.9.0.8:80"], "it is not forgotten yet"
    gone = settled(web, first, everybody[:-1], 1.0)
    assert names(settled(web, gone, everybody[:-1], 1.0 + 60.0)) == ["10.9.0.7:80", "10.9.0.3:80"]


def test_no_traffic_before_the_first_good_check_whatever_the_service_says() -> None:
    web = with_found(replace(service(), alpha=False), settled(service(), {}, [says("10.9.0.5")], 0.0))
    assert [str(each.key.address) for each in pool(web, Standing()).destinations] == [str(CONFIGURED)]


# ------------------------------------------------------------------------------------------------------- who goes

KEY = DestinationKey(ip_address("10.9.0.5"), 80)


def test_who_is_not_announced_any_more_stays_for_a_while() -> None:
    web = service(forget_after_s=60.0)
    there = settled(web, {}, [says("10.9.0.5")], 0.0)
    assert changes_at(web, there) is None
    gone = settled(web, there, [], 10.0)
    assert gone == {KEY: FoundServer(KEY, 1, 10.0)}
    assert changes_at(web, gone) == 70.0
    assert settled(web, gone, [], 69.9) == gone
    assert settled(web, gone, [], 70.0) == {}
    assert settled(web, gone, [says("10.9.0.5")], 69.9) == there


def test_who_is_not_announced_any_more_goes_when_its_check_fails() -> None:
    web = service(forget_after_s=60.0)
    gone = settled(web, settled(web, {}, [says("10.9.0.5")], 0.0), [], 10.0)
    assert changes_at(web, gone, {KEY}) == 10.0 + GRACE_S
    assert settled(web, gone, [], 10.0 + GRACE_S) == gone
    assert settled(web, gone, [], 10.0 + GRACE_S, down={KEY}) == {}


def test_a_failing_check_alone_takes_nobody_out() -> None:
    there = settled(service(), {}, [says("10.9.0.5")], 0.0)
    assert settled(service(), there, [says("10.9.0.5")], 1000.0, down={KEY}) == there


def test_while_nobody_can_look_nobody_is_gone() -> None:
    web = service(forget_after_s=60.0)
    there = settled(web, {}, [says("10.9.0.5")], 0.0)
    blind = settled(web, settled(web, there, [], 10.0), None, 1000.0, down={KEY})
    assert blind == there
    assert changes_at(web, blind, {KEY}) is None
    assert names(settled(web, settled(web, blind, [], 1001.0), [], 1002.0)) == ["10.9.0.5:80"]


def test_a_config_that_admits_it_no_more_takes_it_out_at_once() -> None:
    there = settled(service(), {}, [says("10.9.0.5")], 0.0)
    assert settled(service(networks=(ip_network("10.9.1.0/24"),)), there, None, 1.0) == {}
    assert settled(service(port=81), there, None, 1.0) == {}
    assert settled(replace(service(), servers=(server("10.9.0.5"),)), there, None, 1.0) == {}
    assert settled(replace(service(), discovery=None), there, None, 1.0) == {}


# -------------------------------------------------------------------------------------------------------- always

ADDRESSES = st.sampled_from([f"10.9.0.{n}" for n in range(16)] + ["10.9.1.1", "fd00:9::1", "fd00:9::2"])
ANNOUNCEMENTS = st.builds(
    says,
    ADDRESSES,
    ADDRESSES,
    name=st.sampled_from("abcdefgh"),
    port=st.integers(1, 3),
    weight=st.one_of(st.none(), st.integers(0, 65535)),
)
LOOKS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.lists(ANNOUNCEMENTS, max_size=8)),
        st.floats(0.0, 40.0),
        st.sets(st.builds(DestinationKey, st.just(ip_address("10.9.0.5")), st.just(80))),
    ),
    max_size=8,
)
SERVICES = st.builds(
    service,
    port=st.sampled_from([None, 80]),
    most=st.integers(1, 4),
    trust_weight=st.booleans(),
    forwarding=st.sampled_from(Forwarding),
    networks=st.sampled_from([(NETWORK,), (ip_network("10.9.0.4/30"), ip_network("fd00:9::/127"))]),
)


@given(SERVICES, LOOKS)
def test_whatever_is_announced_the_limits_hold(web: VirtualService, looks: list[Any]) -> None:
    assert web.discovery is not None
    found: dict[DestinationKey, FoundServer] = {}
    now = 0.0
    for announced, passed_s, down in looks:
        now += passed_s
        before, found = found, settled(web, found, announced, now, down=down, virtual={OTHER_VIRTUAL})
        assert len(found) <= web.discovery.most
        for key, each in found.items():
            assert each.key == key
            assert any(key.address in network for network in web.discovery.networks)
            assert key.address not in {CONFIGURED, SORRY, VIRTUAL, OTHER_VIRTUAL}
            assert web.discovery.port in (None, key.port)
            assert key in before or any(key.address in one.addresses for one in announced or ())
        made = with_found(web, found)
        keys = [each.destination.key for each in made.servers]
        assert made.servers[:1] == web.servers
        assert len(set(keys)) == len(keys)
        assert keys[1:] == sorted(found, key=lambda key: (key.address.version, int(key.address), key.port))
        assert announced is not None or found.keys() == before.keys(), "while nobody looks nobody comes or goes"
        at = changes_at(web, found, down)
        assert at is None or at > now
        again = settled(web, found, announced, now, down=down, virtual={OTHER_VIRTUAL})
        assert (again, list(again)) == (found, list(found)), "nothing changes while nothing happens"


@given(st.lists(ANNOUNCEMENTS, max_size=8), st.randoms())
def test_the_order_of_announcements_means_nothing(announced: list[Announcement], random: Any) -> None:
    unique = list({each.name: each for each in announced}.values())
    shuffled = list(unique)
    random.shuffle(shuffled)
    one, other = settled(service(most=3), {}, unique, 0.0), settled(service(most=3), {}, shuffled, 0.0)
    assert (one, list(one)) == (other, list(other))


# ------------------------------------------------------------------------------------------------ data of strangers


def test_an_announcement_is_read() -> None:
    read = announcement("a._http._tcp.local.", "_http._tcp.local.", ["10.9.0.5", "fd00:9::5"], 80, {b"weight": b"7"})
    addresses = (ip_address("10.9.0.5"), ip_address("fd00:9::5"))
    assert read == Announcement("a._http._tcp.local.", "_http._tcp", addresses, 80, 7)


@pytest.mark.parametrize("weight", [None, b"", b"-1", b"65536", b"1e3", b"1.5", "²".encode(), b"9" * 5000, b" 1"])
def test_what_is_no_weight_is_none(weight: bytes | None) -> None:
    read = announcement("a", "_http._tcp.local.", ["10.9.0.5"], 80, {b"weight": weight})
    assert read is not None
    assert read.weight is None


@pytest.mark.parametrize(
    ("addresses", "port"),
    [([], 80), (["fe80::1%3"], 80), (["127.0.0.1", "::1", "224.0.0.1", "0.0.0.0", "x"], 80), (["10.9.0.5"], 0),
     (["10.9.0.5"], None), (["10.9.0.5"], 65536)],
)  # fmt: skip
def test_what_cannot_be_reached_is_nobody(addresses: list[str], port: int | None) -> None:
    assert announcement("a", "_http._tcp.local.", addresses, port, {}) is None


@given(
    st.text(max_size=20),
    st.lists(st.one_of(st.text(max_size=20), st.ip_addresses().map(str)), max_size=60),
    st.one_of(st.none(), st.integers()),
    st.dictionaries(
        st.one_of(st.just(b"weight"), st.binary(max_size=8)), st.one_of(st.none(), st.binary(max_size=300))
    ),
)
def test_anything_is_read_or_nothing(name: str, addresses: list[str], port: int | None, txt: Any) -> None:
    read = announcement(name, name, addresses, port, txt)
    if read is not None:
        assert 1 <= len(read.addresses) <= MOST_ADDRESSES
        assert 1 <= read.port <= 65535
        assert read.weight is None or 0 <= read.weight <= 65535
