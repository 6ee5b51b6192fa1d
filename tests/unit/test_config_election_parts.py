"""What the election of a config file comes to for a node: paths, addresses, groups, tracks, the peer link."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest

from ha_lvs.config.durations import Duration
from ha_lvs.config.parts import attendant_part, director_part, elector_part, lease_s
from ha_lvs.model import (
    Authentication,
    BfdSession,
    FileTrack,
    IPAddress,
    Key,
    NotifyScript,
    Peer,
    ProcessTrack,
    ScriptTrack,
    Track,
    VirtualIp,
    VirtualRoute,
    VirtualRule,
    VrrpInstance,
    Witnesses,
)
from tests.unit.configs import KEYS, PAIR, changed, config_of, grouped, instance, two

DUAL = {
    "lb1": {"address": "10.9.0.11", "address6": "fd00:9::11"},
    "lb2": {"address": "10.9.0.12", "address6": "fd00:9::12"},
}
SIX = {"lb1": {"address": "fd00:9::11"}, "lb2": {"address": "fd00:9::12"}}
V6 = {"virtual_ips": ["fd00:9::100/64"]}


def only(data: dict[str, Any], node: str = "lb1") -> VrrpInstance:
    [found] = elector_part(config_of(data), node).instances
    return found


def addresses(*texts: str) -> tuple[IPAddress, ...]:
    return tuple(ip_address(text) for text in texts)


# ------------------------------------------------------------------------------------------------------ families


def test_an_instance_of_ipv6_speaks_ipv6() -> None:
    found = only(changed(nodes=SIX, services=[], instances={"edge": PAIR["instances"]["edge"] | V6}))
    [path] = found.paths
    assert (path.group, path.source, path.peers) == (IPv6Address("ff02::12"), IPv6Address("::"), ())
    assert path.addresses == addresses("fd00:9::100")
    assert found.virtual_ips == (VirtualIp(IPv6Address("fd00:9::100"), 64, "e0"),)


def test_with_addresses_of_both_families_it_speaks_ipv4_unless_told_otherwise() -> None:
    both = ["fd00:9::100", "10.9.0.100", "fe80::100"]
    assert only(instance(virtual_ips=both)).paths[0].addresses == addresses("10.9.0.100")
    found = only(instance(virtual_ips=both, family="ipv6", group="ff02::99"))
    assert found.group == IPv6Address("ff02::99")
    assert found.paths[0].addresses == addresses("fe80::100", "fd00:9::100")  # the link-local one first
    assert [ip.prefix_length for ip in found.virtual_ips] == [128, 32, 128]


def test_unicast_goes_to_the_addresses_of_its_family() -> None:
    data = changed(nodes=DUAL, services=[], instances={"edge": PAIR["instances"]["edge"] | V6 | {"unicast": True}})
    found = only(data, "lb2")
    assert (found.source, found.peers) == (IPv6Address("fd00:9::12"), addresses("fd00:9::11"))
    assert (found.min_ttl, found.discover) == (255, False)
    assert only(instance(unicast={"min_ttl": 254})).paths[0].min_ttl == 254
    assert only(instance(unicast={"enabled": False, "min_ttl": 254})).paths[0].min_ttl == 255


def test_an_instance_may_have_its_own_addresses() -> None:
    found = only(instance(address={"lb2": "10.8.0.12"}, unicast=True, bfd=True))
    assert (found.source, found.peers) == (IPv4Address("10.9.0.11"), addresses("10.8.0.12"))
    assert found.bfd[0].peer == IPv4Address("10.8.0.12")


def test_what_is_advertised_and_what_is_not() -> None:
    assert only(instance()).advertised is None
    hidden = [{"address": "10.9.0.101", "advertise": False}, "10.9.0.100"]
    assert only(instance(virtual_ips=hidden)).paths[0].addresses == addresses("10.9.0.100")
    many = [f"10.9.{n // 250}.{n % 250 + 1}" for n in range(500, 1000)]
    found = only(instance(virtual_ips=["10.9.0.100", *many]))
    assert (len(found.virtual_ips), len(found.paths[0].addresses)) == (501, 255)
    found = only(instance(virtual_ips=["10.9.0.100", {"address": "10.9.0.99", "advertise": False}, *many]))
    assert (len(found.virtual_ips), len(found.paths[0].addresses)) == (502, 255)
    six = [f"fd00:9::{n:x}" for n in range(256, 456)]
    assert len(only(instance(virtual_ips=["10.9.0.100", *six], family="ipv6")).paths[0].addresses) == 85


# ---------------------------------------------------------------------------------------- timing and preemption


@pytest.mark.parametrize(
    ("preempt", "expected"),
    [
        (True, (True, 0.0, False)),
        (False, (False, 0.0, False)),
        ("no", (False, 0.0, False)),
        ({"delay": "30s"}, (True, 30.0, False)),
        ({"delay": "1500ms", "in_sync": True}, (True, 1.5, True)),
    ],
)
def test_preemption(preempt: object, expected: tuple[bool, float, bool]) -> None:
    found = only(instance(preempt=preempt))
    assert (found.preempt, found.preempt_delay_s, found.preempt_in_sync) == expected


def test_patience() -> None:
    found = only(instance(down_after=5, startup_delay="10s", version=2))
    assert (found.down_after, found.startup_delay_s, found.version, found.paths[0].version) == (5, 10.0, 2, 2)
    assert (found.lease_s, lease_s("auto", Duration(1500), 2)) == (5, 3)


# ------------------------------------------------------------------------------ addresses, routes, rules, MAC


def test_labels_scopes_and_interfaces() -> None:
    entries = [
        {"address": "10.9.0.100/24", "label": "e0:web", "scope": "link"},
        {"address": "10.7.0.1", "interface": "e2", "scope": 200},
    ]
    assert only(instance(virtual_ips=entries)).virtual_ips == (
        VirtualIp(IPv4Address("10.9.0.100"), 24, "e0", label="e0:web", scope=253),
        VirtualIp(IPv4Address("10.7.0.1"), 32, "e2", scope=200),
    )


@pytest.mark.parametrize(("setting", "names"), [(True, ("ha-lvs.51", "ha-lvs.51-6")), ("vr51", ("vr51", "vr51-6"))])
def test_a_virtual_mac_is_on_an_interface_for_each_family(setting: object, names: tuple[str, str]) -> None:
    entries = ["10.9.0.100", "fd00:9::100", {"address": "10.7.0.1", "interface": "e2"}]
    found = only(instance(virtual_ips=entries, virtual_mac=setting)).virtual_ips
    assert tuple(ip.mac_vlan for ip in found) == (*names, "")
    assert tuple(ip.carrier for ip in found) == (*names, "e2")


@pytest.mark.parametrize("setting", [False, "no", "off"])
def test_without_a_virtual_mac(setting: object) -> None:
    assert only(instance(virtual_mac=setting)).virtual_ips[0].mac_vlan == ""


def test_routes_and_rules() -> None:
    routes = [
        {"to": "default", "via": "10.9.0.1"},
        {"to": "10.8.0.0/16", "interface": "e1", "source": "10.9.0.100", "table": 100, "metric": 5},
        {"to": "default", "via": "fd00:9::1", "table": "default"},
        {"to": "default", "interface": "e5", "table": 7},
    ]
    rules = [
        {"priority": 10, "from": "10.9.0.100", "table": 100},
        {"priority": 11, "from": "all", "fwmark": "0x10", "table": "main", "family": "ipv6"},
        {"priority": 12, "to": "fd00:8::/32", "table": 100},
        {"priority": 13, "from": "all", "table": 100},
    ]
    found = only(instance(routes=routes, rules=rules))
    assert found.routes == (
        VirtualRoute(ip_network("0.0.0.0/0"), via=IPv4Address("10.9.0.1")),
        VirtualRoute(ip_network("10.8.0.0/16"), None, "e1", IPv4Address("10.9.0.100"), 100, 5),
        VirtualRoute(ip_network("::/0"), via=IPv6Address("fd00:9::1"), table=253),
        VirtualRoute(ip_network("0.0.0.0/0"), interface="e5", table=7),
    )
    assert found.rules == (
        VirtualRule(10, source=ip_network("10.9.0.100/32"), table=100),
        VirtualRule(11, fwmark=16, table=254, family=6),
        VirtualRule(12, destination=ip_network("fd00:8::/32"), table=100, family=6),
        VirtualRule(13, table=100),
    )


# ---------------------------------------------------------------------------------------- heartbeats, BFD, witnesses


def test_heartbeats_are_further_paths() -> None:
    beat = {"interface": "e1", "address": {"lb1": "10.8.0.11", "lb2": "10.8.0.12"}}
    own, further = only(instance(heartbeats=[beat], unicast={"min_ttl": 254})).paths
    assert (further.member, further.interface, further.router_id) == ("edge", "e1", 51)
    assert (further.source, further.peers, further.min_ttl) == (IPv4Address("10.8.0.11"), addresses("10.8.0.12"), 254)
    assert (further.addresses, further.group) == (own.addresses, own.group)
    multicast = only(instance(heartbeats=[beat]), "lb2").paths[1]
    assert (multicast.source, multicast.peers) == (IPv4Address("10.8.0.12"), ())


def test_a_heartbeat_of_ipv6_multicast_needs_no_address() -> None:
    data = changed(services=[], instances={"edge": PAIR["instances"]["edge"] | V6 | {"heartbeats": ["e1"]}})
    assert [path.source for path in only(data).paths] == [IPv6Address("::")] * 2


def test_bfd_runs_to_every_other_node() -> None:
    nodes = PAIR["nodes"] | {"lb3": {"address": "10.9.0.13"}}
    data = changed(nodes=nodes, instances={"edge": PAIR["instances"]["edge"] | {"priority": 100, "bfd": True}})
    mine = IPv4Address("10.9.0.12")
    assert only(data, "lb2").bfd == tuple(
        BfdSession("e0", mine, IPv4Address(peer), 0.01, 3) for peer in ("10.9.0.11", "10.9.0.13")
    )


def test_bfd_may_run_where_a_heartbeat_does() -> None:
    beat = {"interface": "e1", "address": {"lb1": "10.8.0.11", "lb2": "10.8.0.12"}}
    found = only(instance(heartbeats=[beat], bfd={"interval": "3ms", "multiplier": 5, "interface": "e1"}))
    assert found.bfd == (BfdSession("e1", IPv4Address("10.8.0.11"), IPv4Address("10.8.0.12"), 0.003, 5),)


@pytest.mark.parametrize("bfd", [False, {"enabled": False, "interval": "3ms"}])
def test_bfd_is_off_unless_switched_on(bfd: object) -> None:
    assert only(instance(bfd=bfd)).bfd == ()


def test_bfd_over_ipv6_uses_the_addresses_of_the_nodes() -> None:
    data = changed(nodes=DUAL, services=[], instances={"edge": PAIR["instances"]["edge"] | V6 | {"bfd": True}})
    assert only(data).bfd == (BfdSession("e0", IPv6Address("fd00:9::11"), IPv6Address("fd00:9::12"), 0.01, 3),)


def test_witnesses() -> None:
    assert only(instance(witnesses=["10.9.0.1", "fe80::1"])).witnesses == Witnesses(
        addresses("10.9.0.1", "fe80::1"), 1, "e0", 1.0, 3, "arp", False
    )
    full = {
        "addresses": ["10.9.0.1", "10.9.0.2"], "required": 2, "interval": "200ms", "fall": 5, "method": "icmp",
        "yield_alone": True, "interface": "e1",
    }  # fmt: skip
    expected = Witnesses(addresses("10.9.0.1", "10.9.0.2"), 2, "e1", 0.2, 5, "icmp", True)
    assert only(instance(witnesses=full)).witnesses == expected


# -------------------------------------------------------------------------------------------------- tracks, notify


def test_what_is_tracked_and_what_the_attendant_runs() -> None:
    top = {
        "scripts": {"up": {"command": ["/bin/up", "-x"], "interval": "500ms"}, "unused": {"command": "/bin/no"}},
        "files": {"maint": {"path": "/etc/maint", "absent": True}},
    }
    track = {
        "interfaces": ["e1", {"name": "e2", "weight": -20}],
        "scripts": {"up": {"weight": 7}, "own": {"command": "/bin/own 'a b'", "user": "root", "timeout": "1500ms"}},
        "files": ["maint"],
        "processes": {"proxy": {"program": "haproxy", "quorum": 2}},
        "services": ["web"],
    }
    data = instance(track=track)
    config = config_of(data | {"track": top})
    assert elector_part(config, "lb1").instances[0].tracks == (
        Track("interface:e1"),
        Track("interface:e2", -20),
        Track("script:up", 7),
        Track("script:own"),
        Track("file:maint"),
        Track("process:proxy"),
        Track("service:web"),
    )
    part = attendant_part(config, "lb1")
    assert part.scripts == (
        ScriptTrack("script:up", ("/bin/up", "-x"), 0.5, 0.5, 2, 2, "nobody"),
        ScriptTrack("script:own", ("/bin/own", "a b"), 2.0, 1.5, 2, 2, "root"),
    )
    assert part.files == (FileTrack("file:maint", "/etc/maint", True),)
    assert part.processes == (ProcessTrack("process:proxy", "haproxy", 2),)
    assert part.instances == elector_part(config, "lb1").instances


def test_who_is_told() -> None:
    entries = ["/bin/tell --all", ["/bin/tell", "me too"], {"command": "/bin/x", "user": "root", "instances": ["edge"]}]
    assert attendant_part(config_of(changed(notify=entries)), "lb1").notify == (
        NotifyScript(("/bin/tell", "--all"), 10.0, "nobody"),
        NotifyScript(("/bin/tell", "me too"), 10.0, "nobody"),
        NotifyScript(("/bin/x",), 10.0, "root", ("edge",)),
    )


# ---------------------------------------------------------------------------------------------------------- groups


def test_the_members_of_a_group_are_one_virtual_router() -> None:
    beat = {"interface": "e2", "address": {"lb1": "10.7.0.11", "lb2": "10.7.0.12"}}
    data = grouped(
        {"bfd": True, "track": {"interfaces": ["e0", "e1"]}, "heartbeats": [beat]},
        {
            "address": {"lb1": "10.8.0.11", "lb2": "10.8.0.12"}, "bfd": True, "witnesses": ["10.8.0.1"],
            "track": {"interfaces": ["e1"]}, "routes": [{"to": "default", "via": "10.8.0.1"}],
        },
    )  # fmt: skip
    found = only(data, "lb2")
    assert (found.name, found.members, found.priority) == ("gw", ("edge", "back"), 100)
    assert [(path.member, path.interface, path.router_id) for path in found.paths] == [
        ("edge", "e0", 51),
        ("edge", "e2", 51),
        ("back", "e1", 52),
    ]
    assert [path.addresses for path in found.paths] == [
        addresses("10.9.0.100"),
        addresses("10.9.0.100"),
        addresses("10.9.0.101"),
    ]
    assert found.paths[2].source == IPv4Address("10.8.0.12")
    assert [str(ip.address) for ip in found.virtual_ips] == ["10.9.0.100", "10.9.0.101"]
    assert [track.name for track in found.tracks] == ["interface:e0", "interface:e1"]
    assert [str(session.peer) for session in found.bfd] == ["10.9.0.11", "10.8.0.11"]
    assert found.witnesses is not None
    assert (found.witnesses.interface, len(found.routes)) == ("e1", 1)


def test_a_group_stands_where_its_first_member_does() -> None:
    third = {"interface": "e3", "router_id": 53, "priority": {"lb1": 150, "lb2": 100}, "virtual_ips": ["10.9.0.103"]}
    data = grouped()
    data["instances"] = {"first": third, **data["instances"]}
    data["groups"] = {"gw": ["back", "edge"]}
    part = elector_part(config_of(data), "lb1")
    assert [each.name for each in part.instances] == ["first", "gw"]
    assert [path.member for path in part.instances[1].paths] == ["back", "edge"]
    assert director_part(config_of(data), "lb1").instances == part.instances


# ------------------------------------------------------------------------------------- authentication, peer link


AUTHENTICATION = Authentication((Key(1, "00" * 16),), 1, True)


def test_an_instance_may_be_left_unauthenticated() -> None:
    config = config_of(two({"authenticate": False}, authentication=KEYS))
    edge, back = elector_part(config, "lb1", AUTHENTICATION).instances
    assert (edge.authentication, back.authentication) == (None, AUTHENTICATION)


def test_two_nodes_with_addresses_are_linked() -> None:
    link = director_part(config_of(PAIR), "lb2").peer_link
    assert link is not None
    assert (link.node, link.address, link.port) == ("lb2", IPv4Address("10.9.0.12"), 8849)
    assert link.peers == (Peer("lb1", IPv4Address("10.9.0.11")),)
    assert (link.authentication, link.discovery, link.discovery_interface) == (None, False, "")


@pytest.mark.parametrize("setting", [False, {"enabled": False, "port": 1}])
def test_the_link_may_be_switched_off(setting: object) -> None:
    assert director_part(config_of(changed(peer_link=setting)), "lb1").peer_link is None


def test_a_node_alone_has_no_link() -> None:
    data = changed(
        nodes={"lb1": {"address": "10.9.0.11"}}, instances={"edge": PAIR["instances"]["edge"] | {"priority": 1}}
    )
    assert director_part(config_of(data), "lb1").peer_link is None


def test_with_discovery_nodes_need_no_address() -> None:
    edge = PAIR["instances"]["edge"] | {"unicast": True}
    data = changed(
        nodes={"lb1": {}, "lb2": {}}, discovery={"interface": "e0"}, authentication=KEYS, instances={"edge": edge}
    )
    [path] = only(data).paths
    assert (path.source, path.peers, path.discover) == (IPv4Address("0.0.0.0"), (), True)
    link = director_part(config_of(data), "lb1", AUTHENTICATION).peer_link
    assert link is not None
    assert (link.address, link.peers, link.discovery, link.discovery_interface) == (None, (), True, "e0")
    assert link.authentication == AUTHENTICATION


def test_discovery_beside_addresses_finds_no_unicast_peers_unless_asked() -> None:
    data = instance(unicast=True) | {"discovery": True, "authentication": KEYS}
    assert not only(data).discover
    assert only(instance(unicast={"discover": True}) | {"discovery": True, "authentication": KEYS}).discover
