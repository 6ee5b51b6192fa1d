"""Virtual routes and rules in a real kernel: what is held, what is left alone."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from ha_lvs.errors import PlatformError
from ha_lvs.kernel.addresses import HeldAddresses
from ha_lvs.kernel.routes import HeldRoutes
from ha_lvs.model import VirtualRoute, VirtualRule, VrrpInstance
from tests.cables import asked, cabled, instance, ip, own, plug, virtual

pytestmark = pytest.mark.netns


@pytest.fixture(autouse=True)
def _machine() -> Iterator[None]:
    with cabled("e0", "e1"):
        for address in ("10.9.0.11/24", "fd00:9::11/64"):
            own(address)
        yield


def route(to: str, via: str = "", source: str = "", **more: Any) -> VirtualRoute:
    gateway = ip_address(via) if via else None
    return VirtualRoute(ip_network(to), gateway, source=ip_address(source) if source else None, **more)


def rule(priority: int, source: str = "", destination: str = "", **more: Any) -> VirtualRule:
    networks = [ip_network(text) if text else None for text in (source, destination)]
    return VirtualRule(priority, networks[0], networks[1], **more)


def held(config: VrrpInstance) -> HeldRoutes:
    found = HeldRoutes(config)
    assert found.hold() == []
    return found


def routes(family: int = 4, more: str = "proto 112") -> list[dict[str, Any]]:
    return asked(f"-{family} route show table all {more}")


def rules(family: int = 4) -> list[dict[str, Any]]:
    return asked(f"-{family} rule show")


ALL_KINDS = instance(
    routes=(
        route("0.0.0.0/0", "10.9.0.1"),
        route("172.16.0.0/12", interface="e1", table=77),
        route("172.31.0.0/16", "10.9.0.2", "10.9.0.11", interface="e0", table=1000, metric=50),
        route("::/0", "fd00:9::1", interface="e0"),
        route("fd00:77::/48", interface="e1", table=77, metric=9),
        route("fd00:78::/48", "fd00:9::2", "fd00:9::11"),
        route("192.0.2.0/24", "fe80::1", interface="e0"),
    ),
    rules=(
        rule(100, "10.9.0.100/32", table=77),
        rule(101, "10.9.0.0/24", "10.8.0.0/16", fwmark=7, table=1000),
        rule(102, fwmark=0),
        rule(100, "fd00:9::100/128", table=77, family=6),
    ),
)


def test_routes_of_both_families_are_there_with_all_that_was_asked_for() -> None:
    held(ALL_KINDS)
    words = [
        (each["dst"], each.get("gateway"), each.get("dev"), each.get("table"), each.get("metric"), each.get("prefsrc"))
        for each in routes(4)
    ]
    assert sorted(words, key=str) == sorted(
        [
            ("default", "10.9.0.1", "e0", "main", None, None),
            ("172.16.0.0/12", None, "e1", "77", None, None),
            ("172.31.0.0/16", "10.9.0.2", "e0", "1000", 50, "10.9.0.11"),
            ("192.0.2.0/24", None, "e0", "main", None, None),
        ],
        key=str,
    )
    (over_ipv6,) = [each for each in routes(4) if each["dst"] == "192.0.2.0/24"]
    assert over_ipv6["via"] == {"family": "inet6", "host": "fe80::1"}
    words = [
        (each["dst"], each.get("gateway"), each.get("dev"), each.get("table"), each.get("metric"), each.get("prefsrc"))
        for each in routes(6)
    ]
    assert sorted(words, key=str) == sorted(
        [
            ("default", "fd00:9::1", "e0", "main", 1024, None),
            ("fd00:77::/48", None, "e1", "77", 9, None),
            ("fd00:78::/48", "fd00:9::2", "e0", "main", 1024, "fd00:9::11"),
        ],
        key=str,
    )


def test_rules_of_both_families_are_there_with_all_that_was_asked_for() -> None:
    held(ALL_KINDS)
    found = {each["priority"]: each for each in rules(4) if each.get("protocol") == "112"}
    assert set(found) == {100, 101, 102}
    assert (found[100]["src"], found[100]["table"]) == ("10.9.0.100", "77")
    assert (found[101]["src"], found[101]["dst"]) == ("10.9.0.0", "10.8.0.0")
    assert (found[101]["fwmark"], found[101]["table"]) == ("0x7", "1000")
    assert found[102]["table"] == "main"
    (sixth,) = [each for each in rules(6) if each.get("protocol") == "112"]
    assert (sixth["priority"], sixth["src"], sixth["table"]) == (100, "fd00:9::100", "77")


def everything() -> tuple[list[dict[str, Any]], ...]:
    """All routes and rules but those that the kernel makes by itself, some of them a moment after a link came up."""
    made = [[each for each in routes(family, "") if each.get("protocol") != "kernel"] for family in (4, 6)]
    return (*made, rules(4), rules(6))


def test_holding_again_doubles_nothing_and_dropping_leaves_nothing() -> None:
    ip("route add 198.51.100.0/24 via 10.9.0.3")
    before = everything()
    mine = held(ALL_KINDS)
    there = everything()
    assert mine.hold() == []
    assert everything() == there
    assert mine.drop() == []
    assert everything() == before
    assert mine.drop() == [], "what is not there is no failure"


def test_a_new_life_knows_what_an_earlier_one_left() -> None:
    mine = HeldRoutes(ALL_KINDS)
    assert mine.present() == []
    held(ALL_KINDS).close()
    assert mine.present() == [*ALL_KINDS.routes, *ALL_KINDS.rules]
    assert mine.hold() == []
    assert mine.drop() == []
    assert mine.present() == []


def test_part_of_what_is_held_comes_back_when_it_was_taken_away() -> None:
    mine = held(ALL_KINDS)
    ip("route del default")
    ip("-6 rule del priority 100")
    assert mine.hold() == []
    assert mine.present() == [*ALL_KINDS.routes, *ALL_KINDS.rules]


# -------------------------------------------------------------------------------- what is somebody else's


def test_an_ipv4_route_of_somebody_else_is_hidden_meanwhile_and_then_there_again() -> None:
    ip("route add default via 10.9.0.9 proto static")
    mine = held(instance(routes=(route("0.0.0.0/0", "10.9.0.1"),)))
    assert asked("route get 1.1.1.1")[0]["gateway"] == "10.9.0.1"
    assert mine.hold() == []
    assert mine.drop() == []
    assert asked("route get 1.1.1.1")[0]["gateway"] == "10.9.0.9"


def test_the_very_same_ipv4_route_of_somebody_else_stays() -> None:
    ip("route add default via 10.9.0.1 proto static")
    mine = held(instance(routes=(route("0.0.0.0/0", "10.9.0.1"),)))
    assert mine.drop() == []
    (left,) = routes(4, "default")
    assert left["protocol"] == "static"


@pytest.mark.parametrize("gateway", ["fd00:9::9", "fd00:9::1"])
def test_an_ipv6_route_of_somebody_else_with_the_same_metric_is_left_alone_and_told(gateway: str) -> None:
    ip(f"-6 route add default via {gateway} dev e0 metric 1024 proto static")
    mine = HeldRoutes(instance(routes=(route("::/0", "fd00:9::1"),)))
    (failure,) = mine.hold()
    assert failure.errno == errno.EEXIST
    assert "::/0 via fd00:9::1" in str(failure)
    assert "metric" in str(failure)
    assert mine.drop() == []
    (left,) = routes(6, "default")
    assert (left["gateway"], left["protocol"]) == (gateway, "static")


def test_an_ipv6_route_with_a_better_metric_comes_first_meanwhile() -> None:
    ip("-6 route add default via fd00:9::9 dev e0 metric 1024 proto static")
    mine = held(instance(routes=(route("::/0", "fd00:9::1", metric=512),)))
    assert asked("-6 route get 2001:db8::1")[0]["gateway"] == "fd00:9::1"
    assert mine.drop() == []
    assert asked("-6 route get 2001:db8::1")[0]["gateway"] == "fd00:9::9"


def test_the_very_same_rule_of_somebody_else_stays() -> None:
    ip("rule add priority 100 from 10.9.0.100 table 77")
    before = rules(4)
    mine = held(instance(rules=(rule(100, "10.9.0.100/32", table=77),)))
    assert mine.hold() == []
    assert len(mine.present()) <= 1
    assert mine.drop() == []
    assert rules(4) == before


# -------------------------------------------------------------------------------------------- failures


def test_a_route_that_needs_a_virtual_ip_works_with_it_and_not_before() -> None:
    config = instance(
        virtual("192.0.2.1/28", "e1"),
        virtual("fd00:2::1/64", "e1"),
        routes=(
            route("172.16.0.0/12", "192.0.2.2", "192.0.2.1"),
            route("fd00:77::/48", "fd00:2::2", "fd00:2::1"),
        ),
    )
    addresses, mine = HeldAddresses(config), HeldRoutes(config)
    assert [failure.item for failure in mine.hold()] == list(config.routes)
    assert addresses.hold() == []
    assert mine.hold() == []
    assert {each["dev"] for family in (4, 6) for each in routes(family)} == {"e1"}
    assert mine.drop() == []
    assert addresses.drop() == []
    assert routes(4) == routes(6) == []


def test_one_that_is_refused_is_told_and_the_others_are_held() -> None:
    bad, good = route("172.16.0.0/12", "203.0.113.1"), route("172.17.0.0/16", "10.9.0.1")
    mine = HeldRoutes(instance(routes=(bad, good), rules=(rule(100, table=77),)))
    (failure,) = mine.hold()
    assert failure.item == bad
    assert "172.16.0.0/12 via 203.0.113.1" in str(failure)
    assert "gateway" in str(failure)
    assert mine.present() == [good, rule(100, table=77)]


def test_an_interface_that_is_missing_is_named() -> None:
    with pytest.raises(PlatformError, match="interface e7 does not exist"):
        HeldRoutes(instance(routes=(route("172.16.0.0/12", interface="e7"),)))


def test_an_interface_made_anew_under_its_name_gets_its_routes() -> None:
    mine = held(instance(routes=(route("172.16.0.0/12", interface="e1"), route("fd00:77::/48", interface="e1"))))
    ip("link del e1")
    assert len(mine.hold()) == 2
    assert mine.drop() == []
    plug("e1")
    assert mine.hold() == []
    assert len(mine.present()) == 2
    assert mine.drop() == []
    assert mine.present() == []
