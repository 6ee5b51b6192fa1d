"""Route netlink bytes against pyroute2, the dumb twin, and against noise."""

from __future__ import annotations

import sys
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from ha_lvs.errors import WireError
from ha_lvs.model import IPAddress, VirtualRoute, VirtualRule
from ha_lvs.wire import rtnetlink
from ha_lvs.wire.rtnetlink import ways
from ha_lvs.wire.rtnetlink.message import BATCH_BYTES, BATCH_MESSAGES, request

REQUEST, ACK, REPLACE, EXCL, CREATE, DUMP = 0x1, 0x4, 0x100, 0x200, 0x400, 0x300
FOREVER = 0xFFFFFFFF
MAC = bytes.fromhex("00005e000133")

addresses4 = st.builds(IPv4Address, st.integers(0, 2**32 - 1))
addresses6 = st.builds(IPv6Address, st.integers(0, 2**128 - 1))
addresses = addresses4 | addresses6
indexes = st.integers(1, 2**31 - 1)
sequences = st.integers(1, 2**31 - 1)
leases = st.none() | st.integers(1, 2**31)
tables = st.integers(1, 2**32 - 1)
metrics = st.integers(0, 2**32 - 1)
networks4 = st.builds(lambda a, n: IPv4Network((a, n), strict=False), addresses4, st.integers(0, 32))
networks6 = st.builds(lambda a, n: IPv6Network((a, n), strict=False), addresses6, st.integers(0, 128))


def routes_of(family: st.SearchStrategy[Any], network: st.SearchStrategy[Any]) -> st.SearchStrategy[VirtualRoute]:
    interface = st.none() | st.just("e0")
    return st.builds(VirtualRoute, network, st.none() | family, interface, st.none() | family, tables, metrics)


def rules_of(family: int, network: st.SearchStrategy[Any]) -> st.SearchStrategy[VirtualRule]:
    some = st.none() | network.filter(lambda each: each.prefixlen > 0)
    mark = st.none() | st.integers(0, 2**32 - 1)
    return st.builds(VirtualRule, st.integers(1, 32765), some, some, mark, tables, st.just(family))


routes = routes_of(addresses4, networks4) | routes_of(addresses6, networks6)
rules = rules_of(4, networks4) | rules_of(6, networks6)


def read(kind: Any, data: bytes) -> Any:
    message = kind(data)
    message.decode()
    assert message["header"]["length"] == len(data)
    return message


def asks_for(message: Any) -> tuple[int, int, int]:
    header = message["header"]
    return header["type"], header["flags"], header["sequence_number"]


def prefixes(address: IPAddress) -> st.SearchStrategy[int]:
    return st.integers(0, address.max_prefixlen)


# --------------------------------------------------------------------------------------------- addresses


@given(st.data(), addresses, indexes, leases, sequences)
def test_pyroute2_reads_what_adds_an_address(
    data: st.DataObject, address: IPAddress, index: int, lease_s: int | None, sequence: int
) -> None:
    prefix_length = data.draw(prefixes(address))
    message = read(ifaddrmsg, rtnetlink.add_address(address, prefix_length, index, lease_s, sequence))
    assert asks_for(message) == (20, REQUEST | REPLACE | CREATE, sequence)
    family = 2 if address.version == 4 else 10
    assert (message["family"], message["prefixlen"], message["index"]) == (family, prefix_length, index)
    assert ip_address(message.get_attr("IFA_LOCAL")) == ip_address(message.get_attr("IFA_ADDRESS")) == address
    assert message.get_attr("IFA_CACHEINFO")["ifa_valid"] == (FOREVER if lease_s is None else lease_s)


@given(addresses4, indexes, leases)
def test_an_ipv4_address_is_preferred_for_its_whole_life(address: IPv4Address, index: int, lease_s: int | None) -> None:
    lifetime = read(ifaddrmsg, rtnetlink.add_address(address, 32, index, lease_s, 1)).get_attr("IFA_CACHEINFO")
    assert lifetime["ifa_preferred"] == lifetime["ifa_valid"]


@given(addresses6, indexes, leases)
def test_an_ipv6_address_is_deprecated_needs_no_look_and_brings_no_route(
    address: IPv6Address, index: int, lease_s: int | None
) -> None:
    message = read(ifaddrmsg, rtnetlink.add_address(address, 64, index, lease_s, 1))
    assert message.get_attr("IFA_CACHEINFO")["ifa_preferred"] == 0
    assert message.get_attr("IFA_FLAGS") == 0x02 | 0x200


def test_pyroute2_reads_label_scope_and_metric() -> None:
    request = rtnetlink.add_address(IPv4Address("10.9.0.100"), 24, 3, None, 1, label="e0:web", scope=200, metric=1075)
    message = read(ifaddrmsg, request)
    assert (message.get_attr("IFA_LABEL"), message["scope"]) == ("e0:web", 200)
    assert message.get_attr("IFA_RT_PRIORITY") == 1075


@given(st.data(), addresses, indexes, sequences)
def test_pyroute2_reads_what_deletes_an_address(
    data: st.DataObject, address: IPAddress, index: int, sequence: int
) -> None:
    prefix_length = data.draw(prefixes(address))
    message = read(ifaddrmsg, rtnetlink.delete_address(address, prefix_length, index, sequence))
    assert asks_for(message) == (21, REQUEST, sequence)
    assert (message["prefixlen"], message["index"]) == (prefix_length, index)
    assert ip_address(message.get_attr("IFA_LOCAL")) == ip_address(message.get_attr("IFA_ADDRESS")) == address


@given(st.data(), addresses, indexes, leases)
def test_an_address_that_the_kernel_lists_is_decoded(
    data: st.DataObject, address: IPAddress, index: int, lease_s: int | None
) -> None:
    prefix_length = data.draw(prefixes(address))
    listed = rtnetlink.add_address(address, prefix_length, index, lease_s, 7)
    flags = 0x202 if address.version == 6 else 0
    expected = rtnetlink.Address(index, address, prefix_length, lease_s, flags=flags)
    assert list(rtnetlink.decode(listed)) == [expected]


# ------------------------------------------------------------------------------------- routes and rules


@given(routes, st.none() | indexes, sequences)
def test_pyroute2_reads_what_adds_a_route(route: VirtualRoute, index: int | None, sequence: int) -> None:
    message = read(rtmsg, rtnetlink.add_route(route, index, sequence))
    ipv6 = route.to.version == 6
    assert asks_for(message) == (24, REQUEST | CREATE | (EXCL if ipv6 else 0), sequence)
    assert message["family"] == (10 if ipv6 else 2)
    assert ip_network((message.get_attr("RTA_DST"), message["dst_len"])) == route.to
    assert (message["proto"], message["type"]) == (112, 1)
    assert message["scope"] == (0 if ipv6 or route.via is not None else 253)
    assert message.get_attr("RTA_TABLE") == route.table
    assert message["table"] == (route.table if route.table < 256 else 252)
    assert message.get_attr("RTA_OIF") == index
    assert message.get_attr("RTA_PRIORITY") == (route.metric or (1024 if ipv6 else None))
    for name, address in (("RTA_GATEWAY", route.via), ("RTA_PREFSRC", route.source)):
        found = message.get_attr(name)
        assert (None if found is None else ip_address(found)) == address


@given(routes, st.none() | indexes, sequences)
def test_what_deletes_a_route_names_the_same_one(route: VirtualRoute, index: int | None, sequence: int) -> None:
    add = read(rtmsg, rtnetlink.add_route(route, index, sequence))
    delete = read(rtmsg, rtnetlink.delete_route(route, index, sequence))
    assert asks_for(delete) == (25, REQUEST, sequence)
    for message in (add, delete):
        del message["header"]
    assert add == delete


def test_an_ipv4_network_behind_an_ipv6_router() -> None:
    route = VirtualRoute(ip_network("0.0.0.0/0"), via=ip_address("fe80::1"), interface="e0")
    via = read(rtmsg, rtnetlink.add_route(route, 3, 1)).get_attr("RTA_VIA")
    assert (via["family"], via["addr"]) == (10, "fe80::1")


@given(routes, indexes)
def test_a_route_that_the_kernel_lists_is_decoded(route: VirtualRoute, index: int) -> None:
    metric = route.metric or (1024 if route.to.version == 6 else 0)
    expected = rtnetlink.Route(route.to, route.via, index, route.source, route.table, metric, 112)
    assert list(rtnetlink.decode(rtnetlink.add_route(route, index, 1))) == [expected]


@given(networks6, indexes, st.integers(1, 2**31), leases, sequences)
def test_pyroute2_reads_the_route_to_the_network_of_an_address(
    network: IPv6Network, index: int, metric: int, lease_s: int | None, sequence: int
) -> None:
    message = read(rtmsg, rtnetlink.add_on_link(network, index, metric, lease_s, sequence))
    assert asks_for(message) == (24, REQUEST | CREATE | REPLACE, sequence)
    assert ip_network((message.get_attr("RTA_DST"), message["dst_len"])) == network
    assert (message.get_attr("RTA_OIF"), message.get_attr("RTA_PRIORITY")) == (index, metric)
    expires = message.get_attr("RTA_EXPIRES")  # pyroute2 knows no type for it
    assert expires == (None if lease_s is None else lease_s.to_bytes(4, sys.byteorder).hex(":"))


@given(rules, sequences)
def test_pyroute2_reads_what_adds_and_what_deletes_a_rule(rule: VirtualRule, sequence: int) -> None:
    for data, kind, flags in (
        (rtnetlink.add_rule(rule, sequence), 32, REQUEST | CREATE | EXCL),
        (rtnetlink.delete_rule(rule, sequence), 33, REQUEST),
    ):
        message = read(fibmsg, data)
        assert asks_for(message) == (kind, flags, sequence)
        assert (message["family"], message["action"]) == (2 if rule.family == 4 else 10, 1)
        assert message.get_attr("FRA_PRIORITY") == rule.priority
        assert message.get_attr("FRA_TABLE") == rule.table
        assert message.get_attr("FRA_PROTOCOL") == 112
        assert message.get_attr("FRA_FWMARK") == rule.fwmark
        assert message.get_attr("FRA_FWMASK") == (None if rule.fwmark is None else 0xFFFFFFFF)
        for name, length, network in (
            ("FRA_SRC", message["src_len"], rule.source),
            ("FRA_DST", message["dst_len"], rule.destination),
        ):
            found = message.get_attr(name)
            assert (None if found is None else ip_network((found, length))) == network


@given(rules)
def test_a_rule_that_the_kernel_lists_is_decoded(rule: VirtualRule) -> None:
    assert list(rtnetlink.decode(rtnetlink.add_rule(rule, 1))) == [rtnetlink.Rule(rule, 112)]


def test_a_rule_for_unmarked_packets_is_known_by_its_mask() -> None:
    rule = VirtualRule(102, fwmark=0)
    listed = rtnetlink.add_rule(rule, 1)
    without_mark = listed.replace(bytes.fromhex("08000a0000000000"), b"")
    assert len(without_mark) == len(listed) - 8
    without_mark = len(without_mark).to_bytes(4, sys.byteorder) + without_mark[4:]
    assert list(rtnetlink.decode(without_mark)) == [rtnetlink.Rule(rule, 112)]


# ------------------------------------------------------------------------------------------------- links


def test_pyroute2_reads_what_makes_a_macvlan() -> None:
    message = read(ifinfmsg, rtnetlink.create_macvlan("vrrp.51", 3, MAC, 9))
    assert asks_for(message) == (16, REQUEST | CREATE | EXCL, 9)
    assert (message.get_attr("IFLA_IFNAME"), message.get_attr("IFLA_LINK")) == ("vrrp.51", 3)
    assert message.get_attr("IFLA_ADDRESS") == "00:00:5e:00:01:33"
    info = message.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "macvlan"
    assert info.get_attr("IFLA_INFO_DATA").get_attr("IFLA_MACVLAN_MODE") == "private"


def test_a_macvlan_that_the_kernel_lists_is_decoded() -> None:
    (found,) = rtnetlink.decode(rtnetlink.create_macvlan("vrrp.51", 3, MAC, 9))
    assert found == rtnetlink.Link(0, "vrrp.51", 0, MAC, parent=3, kind="macvlan", mode=1)


def test_pyroute2_reads_what_switches_on_and_deletes() -> None:
    message = read(ifinfmsg, rtnetlink.switch_on(5, 9))
    assert (asks_for(message), message["index"]) == ((16, REQUEST, 9), 5)
    assert (message["flags"], message["change"]) == (1, 1)
    assert asks_for(read(ifinfmsg, rtnetlink.delete_link(5, 9))) == (17, REQUEST, 9)


def test_news_of_a_bridge_port_are_no_news_of_its_interface() -> None:
    gone = bytearray(rtnetlink.delete_link(5, 0))
    assert list(rtnetlink.decode(bytes(gone))) == [rtnetlink.LinkGone(5, "")]
    gone[16] = 7  # AF_BRIDGE: the port has left its bridge
    assert list(rtnetlink.decode(bytes(gone))) == []


@pytest.mark.parametrize(("flags", "up"), [(0x1 | 0x40, True), (0x1, False), (0x40, False), (0x1043, True)])
def test_up_is_switched_on_and_has_a_carrier(flags: int, up: bool) -> None:
    assert rtnetlink.Link(1, "e0", flags).up is up


# ----------------------------------------------------------------------------------- batches and framing


@given(st.lists(st.binary(max_size=900), max_size=400))
def test_batches_are_the_requests_in_order_with_each_batch_acknowledged_once(bodies: list[bytes]) -> None:
    requests = [request(20, CREATE, sequence, body) for sequence, body in enumerate(bodies, start=1)]
    batches = rtnetlink.batches([each + b"\0" * (-len(each) % 4) for each in requests])
    read_back = []
    for batch in batches:
        assert len(batch.data) <= BATCH_BYTES
        inside = list(rtnetlink.messages(batch.data))
        assert len(inside) <= BATCH_MESSAGES
        assert [message.flags & ACK for message in inside] == [0] * (len(inside) - 1) + [ACK]
        assert inside[-1].sequence == batch.last
        read_back += [(message.sequence, message.flags & ~ACK, message.body) for message in inside]
    assert read_back == [(at, REQUEST | CREATE, body) for at, body in enumerate(bodies, start=1)]


def test_a_refusal_and_the_end_of_a_list_are_answers() -> None:
    refused = bytes.fromhex("24000000020000000700000000000000f3ffffff") + bytes(16)
    ended = bytes.fromhex("1400000003000200080000000000000000000000")
    assert list(rtnetlink.decode(refused + ended)) == [rtnetlink.Reply(7, 13), rtnetlink.Reply(8, 0)]


@given(st.binary(max_size=200))
def test_noise_raises_nothing_but_wire_error(data: bytes) -> None:
    try:
        list(rtnetlink.decode(data))
    except WireError:
        return


@given(
    st.sampled_from(
        [
            rtnetlink.add_address(IPv6Address("fd00:9::100"), 64, 3, 2, 1),
            rtnetlink.add_address(IPv4Address("10.9.0.100"), 24, 3, 2, 1, label="e0:x"),
            rtnetlink.add_route(VirtualRoute(ip_network("10.0.0.0/8"), ip_address("10.9.0.1"), metric=5), 3, 1),
            rtnetlink.add_rule(VirtualRule(100, ip_network("10.0.0.0/8"), fwmark=7), 1),
            rtnetlink.create_macvlan("vrrp.51", 3, MAC, 1),
        ]
    ),
    st.data(),
)
def test_a_damaged_message_raises_nothing_but_wire_error(message: bytes, data: st.DataObject) -> None:
    damaged = bytearray(message)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(16, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        list(rtnetlink.decode(bytes(damaged)))
    except WireError:
        return


# ------------------------------------------------------------------------------------------------------ ways


@given(addresses, st.booleans(), st.none() | indexes, st.none() | st.integers(1, 2**32 - 1), sequences)
def test_a_way_is_asked_for(to: IPAddress, from_it: bool, index: int | None, mark: int | None, sequence: int) -> None:
    source = to if from_it else None
    message = read(rtmsg, ways.find_way(to, sequence, source=source, index=index or 0, mark=mark or 0))
    assert asks_for(message) == (26, REQUEST, sequence)
    bits = to.max_prefixlen
    assert (message["family"], message["dst_len"], message["src_len"]) == (
        2 if to.version == 4 else 10, bits, bits if from_it else 0,
    )  # fmt: skip
    assert ip_address(message.get_attr("RTA_DST")) == to
    assert (message.get_attr("RTA_SRC") is not None) == from_it
    assert (message.get_attr("RTA_OIF"), message.get_attr("RTA_MARK")) == (index, mark)


@given(addresses, indexes, sequences)
def test_a_neighbour_is_asked_for_and_made_sure_of(address: IPAddress, index: int, sequence: int) -> None:
    asked = read(ndmsg, ways.find_neighbour(index, address, sequence))
    used = read(ndmsg, ways.use_neighbour(index, address, sequence))
    assert asks_for(asked) == (30, REQUEST, sequence)
    assert asks_for(used) == (28, REQUEST | ACK | CREATE, sequence)
    for message, flags in ((asked, 0), (used, 0x01)):
        assert (message["ifindex"], message["flags"], message["state"]) == (index, flags, 0)
        assert ip_address(message.get_attr("NDA_DST")) == address  # it may be spelled with an IPv4 address in it


@given(addresses, indexes, st.sampled_from([0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80]), st.booleans())
def test_a_neighbour_is_read(address: IPAddress, index: int, state: int, known: bool) -> None:
    message = ndmsg()
    message["family"], message["ifindex"], message["state"] = (2 if address.version == 4 else 10), index, state
    message["attrs"] = [("NDA_DST", str(address))] + ([("NDA_LLADDR", "00:00:5e:00:01:33")] if known else [])
    message.encode()
    found = ways.decode_neighbour(bytes(message.data)[16:])
    assert found == ways.Neighbour(index, address, MAC if known else b"", state)
    assert found is not None
    assert found.usable == (known and state not in (0x01, 0x20)), "INCOMPLETE and FAILED are of no use"
    assert found.stale == (state == 0x04)


@given(addresses, st.none() | addresses, st.sampled_from([1, 2, 3, 6, 7]), indexes)
def test_a_way_is_read(source: IPAddress, gateway: IPAddress | None, kind: int, index: int) -> None:
    if gateway is not None and gateway.version != source.version:
        gateway = None
    message = rtmsg()
    message["family"], message["type"] = (2 if source.version == 4 else 10), kind
    message["attrs"] = [("RTA_OIF", index), ("RTA_PREFSRC", str(source))]
    if gateway is not None:
        message["attrs"].append(("RTA_GATEWAY", str(gateway)))
    message.encode()
    found = ways.decode_way(bytes(message.data)[16:])
    assert found == (ways.Way(index, gateway, source, kind == 2) if kind in (1, 2) else None), "unicast and local only"


@pytest.mark.parametrize("decode", [ways.decode_way, ways.decode_neighbour])
def test_half_a_way_is_refused(decode: Any) -> None:
    with pytest.raises(WireError):
        decode(b"\2" * 7)
