"""Virtual IPs in a real kernel: what is held, what it says of it, what vanishes and what must not."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.errors import PlatformError
from ha_lvs.kernel.addresses import HeldAddresses, list_addresses
from ha_lvs.model import VirtualIp, VrrpInstance
from tests.cables import addresses, asked, cabled, conf, instance, ip, plug, virtual
from tests.cables import own as usable

pytestmark = pytest.mark.netns

OWN, OWN6 = "10.9.0.11/24", "fd00:9::11/64"
MANY = 500


@pytest.fixture(autouse=True)
def _machine() -> Iterator[None]:
    with cabled("e0", "e1"):
        yield


@pytest.fixture(name="own")
def _own() -> None:
    """The node's own addresses."""
    usable(OWN)
    usable(OWN6)


def held(config: VrrpInstance) -> HeldAddresses:
    found = HeldAddresses(config)
    assert found.hold() == []
    return found


def routes(interface: str = "e0") -> list[tuple[str, int]]:
    """Destination and metric of the IPv6 routes of an interface, without the link-local ones."""
    shown = asked(f"-6 route show dev {interface}")
    return [(each["dst"], each["metric"]) for each in shown if not each["dst"].startswith("fe80")]


def test_both_families_are_held_each_on_its_interface(own: None) -> None:
    held(instance(virtual("10.9.0.100/32"), virtual("fd00:9::100/128"), virtual("192.0.2.1/28", "e1")))
    assert set(addresses("e0")) == {OWN, OWN6, "10.9.0.100/32", "fd00:9::100/128"}
    assert set(addresses("e1")) == {"192.0.2.1/28"}


def test_label_and_scope_are_as_configured(own: None) -> None:
    held(instance(virtual("10.9.0.100/32", label="e0:web", scope=200), virtual("10.9.0.101/32")))
    shown = addresses("e0")
    assert (shown["10.9.0.100/32"]["label"], shown["10.9.0.100/32"]["scope"]) == ("e0:web", "site")
    assert (shown["10.9.0.101/32"]["label"], shown["10.9.0.101/32"]["scope"]) == ("e0", "global")


def test_holding_again_renews_the_lease_and_doubles_nothing(own: None) -> None:
    mine = held(instance(virtual("10.9.0.100/32"), virtual("fd00:9::100/128"), lease_s=300))
    for address in ("10.9.0.100/32", "fd00:9::100/128"):
        ip(f"addr change {address} dev e0 valid_lft 50 preferred_lft 0")
    assert mine.hold() == []
    shown = addresses("e0")
    assert len(shown) == 4
    for address in ("10.9.0.100/32", "fd00:9::100/128"):
        assert 290 <= shown[address]["valid_life_time"] <= 300


def test_without_renewal_the_kernel_removes_what_is_leased_and_nothing_else(own: None) -> None:
    held(instance(virtual("10.9.0.100/24"), virtual("fd00:9::100/64"), lease_s=1))
    wait_for(lambda: set(addresses("e0")) == {OWN, OWN6}, 20, "the leases to end")


def test_dropping_removes_what_is_ours_alone(own: None) -> None:
    mine = held(instance(virtual("10.9.0.100/32"), virtual("fd00:9::100/128"), virtual("192.0.2.1/28", "e1")))
    ip("addr add 10.9.0.100/25 dev e0")
    assert mine.drop() == []
    assert set(addresses("e0")) == {OWN, OWN6, "10.9.0.100/25"}
    assert addresses("e1") == {}


def test_dropping_what_is_not_there_is_no_failure() -> None:
    mine = HeldAddresses(instance(virtual("10.9.0.100/32"), virtual("fd00:9::100/64"), virtual("192.0.2.1/28", "e1")))
    assert mine.drop() == []
    ip("link del e1")
    assert mine.drop() == []


def test_present_tells_the_prefix_lengths_apart() -> None:
    mine = HeldAddresses(instance(virtual("10.9.0.100/32"), virtual("fd00:9::100/128")))
    assert mine.present() == []
    ip("addr add 10.9.0.100/24 dev e0")
    assert mine.present() == []
    mine.hold()
    assert {(str(each.address), each.prefix_length) for each in mine.present()} == {
        ("10.9.0.100", 32), ("fd00:9::100", 128)
    }  # fmt: skip
    assert ip_address("10.9.0.100") in {each.address for each in list_addresses() if each.prefix_length == 24}


# -------------------------------------------------------------------------- what shares a network


def network_of_virtual_ips() -> HeldAddresses:
    """Virtual IPs that are the first of their network; then the node gets an address in it, too."""
    mine = held(instance(*(virtual(f"10.9.0.{last}/24") for last in (100, 101, 102))))
    ip(f"addr add {OWN} dev e0")
    assert addresses("e0")[OWN].get("secondary"), "the kernel has this one hang on the first"
    return mine


def test_the_nodes_own_address_survives_the_first_one_of_its_network() -> None:
    mine = network_of_virtual_ips()
    assert mine.drop() == []
    assert set(addresses("e0")) == {OWN}
    assert [each["dst"] for each in asked("route show dev e0")] == ["10.9.0.0/24"]


def test_that_is_so_because_interfaces_promote_addresses() -> None:
    mine = network_of_virtual_ips()
    conf("ipv4", "e0", "promote_secondaries", 0)
    mine.drop()
    assert addresses("e0") == {}, "this kernel would not need it"


def test_it_survives_the_end_of_a_lease_too() -> None:
    held(instance(virtual("10.9.0.100/24"), lease_s=1))
    ip(f"addr add {OWN} dev e0")
    wait_for(lambda: set(addresses("e0")) == {OWN}, 20, "the lease to end")


def test_another_instances_virtual_ips_survive_the_first_one_of_their_network() -> None:
    first = held(instance(virtual("10.9.0.100/24"), virtual("fd00:9::100/64")))
    second = held(instance(virtual("10.9.0.101/24"), virtual("fd00:9::101/64"), router_id=52))
    assert first.drop() == []
    assert set(addresses("e0")) == {"10.9.0.101/24", "fd00:9::101/64"}
    assert routes() == [("fd00:9::/64", 1024 + 52)], "its network stays reachable"
    assert second.drop() == []
    assert (addresses("e0"), routes()) == ({}, [])


def test_virtual_ips_come_before_later_ones_of_the_same_network_on_the_way_out(own: None) -> None:
    mine = held(instance(*(virtual(f"10.9.0.{last}/24") for last in range(100, 150))))
    assert mine.drop() == []
    assert set(addresses("e0")) == {OWN, OWN6}


# ------------------------------------------------------------------------------------------- IPv6


def test_a_virtual_ip_is_usable_at_once(own: None) -> None:
    conf("ipv6", "all", "accept_dad", 1)
    conf("ipv6", "e0", "accept_dad", 1)
    held(instance(virtual("fd00:9::100/128")))
    assert not addresses("e0")["fd00:9::100/128"].get("tentative")


def test_the_node_does_not_speak_from_a_virtual_ip(own: None) -> None:
    usable("fd00:9::98/64")
    (chosen,) = asked("-6 route get fd00:9::99")
    assert chosen["prefsrc"] == "fd00:9::98", "the nearest address is chosen"
    ip("addr del fd00:9::98/64 dev e0")
    held(instance(virtual("fd00:9::98/64"), lease_s=60))
    (chosen,) = asked("-6 route get fd00:9::99")
    assert chosen["prefsrc"] == "fd00:9::11"


def test_a_lease_does_not_end_the_route_that_a_router_has_advertised() -> None:
    ip("-6 route add fd00:9::/64 dev e0 proto ra metric 256 expires 5000")
    mine = held(instance(virtual("fd00:9::100/64"), lease_s=30))
    mine.hold()
    assert mine.drop() == []
    (route,) = [each for each in asked("-6 route show dev e0") if each["dst"] == "fd00:9::/64"]
    assert (route["protocol"], route["metric"]) == ("ra", 256)
    assert route["expires"] > 4000


def test_the_network_of_a_lone_virtual_ip_is_reachable_while_it_is_held() -> None:
    mine = held(instance(virtual("fd00:9::100/64"), virtual("fd00:9::101/64"), lease_s=30))
    assert routes() == [("fd00:9::/64", 1024 + 51)]
    assert mine.hold() == []
    assert routes() == [("fd00:9::/64", 1024 + 51)]
    mine.drop()
    assert routes() == []


def test_that_route_ends_with_the_lease() -> None:
    held(instance(virtual("fd00:9::100/64"), lease_s=1))

    # The kernel collects routes that have expired every 30 s at the latest; they lead nowhere before that.
    def leads_nowhere() -> bool:
        return not any(each.get("expires", 0) > 0 for each in asked("-6 route show dev e0"))

    wait_for(leads_nowhere, 20, "the route to expire")


def test_where_ipv6_is_off_it_says_so(own: None) -> None:
    conf("ipv6", "e0", "disable_ipv6", 1)
    mine = HeldAddresses(instance(virtual("10.9.0.100/32"), virtual("fd00:9::100/128")))
    (failure,) = mine.hold()
    assert failure.errno == errno.EACCES
    assert "fd00:9::100/128 on e0" in str(failure)
    assert "net.ipv6.conf.e0.disable_ipv6" in str(failure)
    assert "10.9.0.100/32" in addresses("e0"), "the others are held all the same"
    assert mine.drop() == []


# ------------------------------------------------------------------------------------- interfaces, numbers


def test_an_interface_that_is_missing_is_named() -> None:
    with pytest.raises(PlatformError, match="interface e7 does not exist"):
        HeldAddresses(instance(virtual("10.9.0.100/32", "e7")))


def test_an_interface_made_anew_under_its_name_gets_its_addresses(own: None) -> None:
    mine = held(instance(virtual("10.9.0.100/32"), virtual("192.0.2.1/28", "e1"), virtual("fd00:9::100/64", "e1")))
    ip("link del e1")
    assert {failure.virtual_ip.interface for failure in mine.hold()} == {"e1"}
    assert "10.9.0.100/32" in addresses("e0")
    plug("e1")
    assert mine.hold() == []
    assert set(addresses("e1")) == {"192.0.2.1/28", "fd00:9::100/64"}
    assert conf("ipv4", "e1", "promote_secondaries") == "1"
    assert mine.drop() == []
    assert addresses("e1") == {}


def test_a_virtual_routers_own_interface_carries_the_address_and_is_the_worse_way() -> None:
    ip("link add link e0 name vrrp.51 type macvlan mode private")
    ip("link set vrrp.51 up")
    held(instance(virtual("10.9.0.100/24", mac_vlan="vrrp.51"), virtual("fd00:9::100/64", mac_vlan="vrrp.51")))
    assert set(addresses("vrrp.51")) == {"10.9.0.100/24", "fd00:9::100/64"}
    for address in (OWN, OWN6):  # later, as after the interface was down
        usable(address)
    for target in ("10.9.0.31", "fd00:9::31"):
        (chosen,) = asked(f"route get {target}")
        assert chosen["dev"] == "e0"


def many(family: int) -> tuple[VirtualIp, ...]:
    if family == 4:
        return tuple(virtual(f"10.9.{number // 250 + 1}.{number % 250 + 1}/16") for number in range(MANY))
    return tuple(virtual(f"fd00:9::{number + 0x1000:x}/64") for number in range(MANY))


@pytest.mark.parametrize("family", [4, 6])
def test_500_virtual_ips(own: None, family: int) -> None:
    mine = held(instance(*many(family), lease_s=60))
    assert len(mine.present()) == MANY
    assert len(addresses("e0")) == MANY + 2
    assert mine.hold() == []
    assert mine.drop() == []
    assert set(addresses("e0")) == {OWN, OWN6}


def test_500_refusals_are_all_told(own: None) -> None:
    mine = HeldAddresses(instance(*many(6)))
    conf("ipv6", "e0", "disable_ipv6", 1)
    refused = [failure.virtual_ip for failure in mine.hold() if failure.errno == errno.EACCES]
    assert set(refused) == set(many(6))
