"""The table of marks as text for nft, and back from its JSON."""

from __future__ import annotations

import json
import subprocess
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.errors import WireError
from ha_lvs.kernel import marks
from ha_lvs.model import MOST_PORT, AddressRange, PortRange, Protocol, ServiceKey, Traffic
from ha_lvs.wire.nft import parse, ruleset

LISTED = Path(__file__).parent / "data" / "nft-marks.json"
"""What nft 1.0.6 (Debian 12) says of `GROUPS`: nft -j -n list table inet ha-lvs-marks."""


def addresses(first: str, last: str = "") -> AddressRange:
    return AddressRange(ip_address(first), ip_address(last or first))


WEB = Traffic(
    (Protocol.TCP, Protocol.UDP),
    (addresses("192.0.2.10", "192.0.2.20"), addresses("192.0.2.32", "192.0.2.47")),
    (PortRange(80, 80), PortRange(8000, 8100)),
)
ALL = Traffic((Protocol.SCTP,), (addresses("198.51.100.1"),))
SIX = Traffic((Protocol.TCP,), (addresses("2001:db8::1", "2001:db8::ff"),), (PortRange(443, 443),))
GROUPS = {ServiceKey.of_mark(1): WEB, ServiceKey.of_mark(0xFFFFFFFF): ALL, ServiceKey.of_mark(1, 6): SIX}


def listed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(LISTED.read_text())
    return found


def test_the_text_replaces_the_table_in_one_transaction() -> None:
    lines = [line.strip() for line in ruleset({ServiceKey.of_mark(7): WEB}).splitlines()]
    assert lines[:3] == ["add table inet ha-lvs-marks", "delete table inet ha-lvs-marks", "table inet ha-lvs-marks {"]
    assert "192.0.2.10-192.0.2.20 . 6 . 80 : 7," in lines
    assert "192.0.2.32-192.0.2.47 . 17 . 8000-8100 : 7" in lines
    assert "type filter hook prerouting priority -150; policy accept;" in lines
    assert "meta mark set ip daddr . meta l4proto . th dport map @ipv4" in lines
    assert "fib daddr type local meta mark set ip6 daddr . meta l4proto . th dport map @ipv6" in lines


def test_without_traffic_the_table_goes() -> None:
    assert ruleset({}).splitlines() == ["add table inet ha-lvs-marks", "delete table inet ha-lvs-marks"]


def test_every_port_is_a_range_too() -> None:
    assert "198.51.100.1 . 132 . 0-65535 : 9" in ruleset({ServiceKey.of_mark(9): ALL})


def test_what_nft_lists_is_what_was_written() -> None:
    found = parse(LISTED.read_text())
    assert (found.traffic, found.strays) == (GROUPS, "")


def test_names_of_protocols_and_other_wordings_are_understood() -> None:
    data = listed()
    for each in data["nftables"]:
        if "map" in each:
            each["map"]["flags"] = "interval"
            each["map"]["comment"] = "a later nft tells it"
            for element in each["map"]["elem"]:
                concat = element[0]["concat"]
                concat[1] = {6: "tcp", 17: "udp", 132: "sctp"}[concat[1]]
    found = parse(json.dumps(data))
    assert (found.traffic, found.strays) == (GROUPS, "")


def without_a_rule(objects: list[dict[str, Any]]) -> None:
    del objects[-1]


def dormant(objects: list[dict[str, Any]]) -> None:
    next(each for each in objects if "table" in each)["table"]["flags"] = ["dormant"]


def with_a_rule(objects: list[dict[str, Any]]) -> None:
    objects.append(
        {"rule": {"family": "inet", "table": "ha-lvs-marks", "chain": "output", "handle": 99, "expr": [{"drop": None}]}}
    )


def other_priority(objects: list[dict[str, Any]]) -> None:
    next(each for each in objects if "chain" in each)["chain"]["prio"] = 0


def without_an_element(objects: list[dict[str, Any]]) -> None:
    del next(each for each in objects if "map" in each)["map"]["elem"][0]


def odd_element(objects: list[dict[str, Any]]) -> None:
    next(each for each in objects if "map" in each)["map"]["elem"][0] = ["192.0.2.1", 7]


def odd_protocol(objects: list[dict[str, Any]]) -> None:
    next(each for each in objects if "map" in each)["map"]["elem"][0][0]["concat"][1] = 1


def flushed(objects: list[dict[str, Any]]) -> None:
    for each in objects:
        if "map" in each:
            del each["map"]["elem"]


@pytest.mark.parametrize(
    "change",
    [
        without_a_rule,
        dormant,
        with_a_rule,
        other_priority,
        without_an_element,
        odd_element,
        odd_protocol,
        flushed,
    ],
)
def test_whatever_somebody_did_to_it_is_seen(change: Any) -> None:
    data = listed()
    change(data["nftables"])
    found = parse(json.dumps(data))
    assert found.strays or found.traffic != GROUPS


def test_another_wording_of_the_same_can_be_learned() -> None:
    data = listed()
    without_a_rule(data["nftables"])
    odd = parse(json.dumps(data))
    assert odd.strays
    assert parse(json.dumps(data), [odd.shape]).strays == ""


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"nftables": 7}', '{"nftables": [7]}', '{"nftables": [{}]}', "[" * 9999]
)
def test_what_is_no_listing_is_an_error(text: str) -> None:
    with pytest.raises(WireError):
        parse(text)


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_no_listing_of_a_map_is_a_surprise(elements: Any) -> None:
    listing = {"nftables": [{"map": {"name": "ipv4", "elem": elements}}]}
    assert parse(json.dumps(listing)).strays


# ------------------------------------------------------------------------------------------------------ with nft

octets = st.integers(0, 0xFFFF)


def ranged(kind: Any, base: int) -> st.SearchStrategy[AddressRange]:
    return st.builds(
        lambda one, other: AddressRange(kind(base + min(one, other)), kind(base + max(one, other))), octets, octets
    )


ports = st.builds(lambda one, other: PortRange(min(one, other), max(one, other)), octets, octets)


def traffic(kind: Any, base: int) -> st.SearchStrategy[Traffic]:
    some = st.lists(st.sampled_from(Protocol), min_size=1, max_size=3, unique=True).map(tuple)
    return st.builds(
        Traffic,
        some,
        st.lists(ranged(kind, base), min_size=1, max_size=5).map(tuple),
        st.lists(ports, max_size=5).map(tuple),
    )


def test_every_such_text_is_accepted_by_nft() -> None:
    if marks.program() is None:
        pytest.skip("needs nftables")
    done = subprocess.run(
        [marks.program() or "", "--check", "-f", "-"],
        input=ruleset(GROUPS),
        capture_output=True,
        text=True,
        check=False,
    )
    if "ermission" in done.stderr or "permitted" in done.stderr or "cache initialization" in done.stderr:
        pytest.skip(done.stderr.splitlines()[0])
    assert (done.returncode, done.stderr) == (0, "")


@given(traffic(IPv4Address, 0x0A000000), traffic(IPv6Address, 0x20010DB8 << 96))
def test_the_form_by_which_traffic_compares_is_one(four: Traffic, six: Traffic) -> None:
    for each in (four, six):
        merged = each.merged()
        assert merged.merged() == merged
        assert merged == Traffic(each.protocols[::-1], each.addresses[::-1], each.ports[::-1]).merged()
        ends = {end for some in each.ports for end in (some.first, some.last)}
        for point in {beside for end in ends for beside in (end - 1, end, end + 1)}:
            assert any(some.first <= point <= some.last for some in each.ports) == (
                0 <= point <= MOST_PORT
                and (not merged.ports or any(some.first <= point <= some.last for some in merged.ports))
            )
