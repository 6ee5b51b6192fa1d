"""The election's side of the config file: what is refused, with the remedy, and what is legal."""

from __future__ import annotations

from typing import Any

import pytest

from ha_lvs.config.loader import load
from ha_lvs.config.parts import attendant_part, director_part, elector_part
from ha_lvs.errors import ConfigError
from tests.unit.configs import DATA, KEYS, PAIR, changed, config_of, grouped, instance, one, refused, two

BROKEN = DATA / "broken_election.yml"
BEAT = {"interface": "e1", "address": {"lb1": "10.8.0.11", "lb2": "10.8.0.12"}}
LONE = {"lb1": {"address": "10.9.0.11"}}
NODES6 = {"lb1": {"address": "fd00:9::11"}, "lb2": {"address": "fd00:9::12"}}
V6 = {"virtual_ips": ["fd00:9::100"]}


def alone(**changes: Any) -> dict[str, Any]:
    """One node, one instance."""
    return changed(nodes=LONE, instances={"edge": PAIR["instances"]["edge"] | {"priority": 100} | changes})


def six(**changes: Any) -> dict[str, Any]:
    """An instance of IPv6 between nodes of IPv4."""
    return changed(services=[], instances={"edge": PAIR["instances"]["edge"] | V6 | changes})


def tracked(**track: Any) -> dict[str, Any]:
    return instance(track=track)


@pytest.mark.parametrize(
    ("place", "fragments"),
    [
        ("5:18", ["nodes.lb2.address", "write the IPv6 ones as address6"]),
        ("6:39", ["nodes.lb3.address6", "fe80::13 is link-local"]),
        ("8:13", ["authentication.send_key", "no key with id 3"]),
        ("10:21", ["keys[0].file", "'keys/1.key'", "begin it with '/'"]),
        ("11:12", ["keys[1].id", "key id 1 is already given"]),
        ("12:12", ["discovery", "'mabye'"]),
        ("15:57", ["track.scripts.slow.timeout", "2s is longer than the interval 1s"]),
        ("16:22", ["track.scripts.loose.command", "not the whole path"]),
        ("21:14", ["one.version", "authenticate: false"]),
        ("22:15", ["one.interval", "whole seconds"]),
        ("23:31", ["one.priority.lb2", "lb1 and lb2 cannot both be"]),
        ("25:13", ["one.accept", "because services listen on them"]),
        ("26:38", ["one.preempt.delay", "without preempt"]),
        ("27:17", ["one.down_after", "2 to 10"]),
        ("29:38", ["virtual_ips[0].label", "does not begin with e0"]),
        ("30:39", ["virtual_ips[1].label", "only IPv4"]),
        ("30:56", ["virtual_ips[1].scope", "IPv6"]),
        ("31:12", ["one.lease", "every 1.5s"]),
        ("34:16", ["two.router_id", "51 on interface e0", "instances.one"]),
        ("35:15", ["two.priority", "several paths"]),
        ("37:24", ["preempt.in_sync", "connection_sync"]),
        ("38:12", ["two.group", "ff02::12 is an IPv6 group"]),
        ("39:31", ["two.virtual_ips[1]", "10.9.0.100 is already"]),
        ("40:18", ["two.virtual_mac", "at most 15 characters"]),
        ("42:9", ["heartbeats[0]", "e0 is the interface of two itself"]),
        ("43:40", ["address.lb1", "fd00:7::11 is IPv6"]),
        ("43:73", ["address.lb4", "no node `lb4`"]),
        ("45:9", ["routes[0]", "needs `via`"]),
        ("46:9", ["routes[1]", "`to` is IPv4, `via` is IPv6"]),
        ("47:14", ["routes[2].to", "write 10.8.0.0/16"]),
        ("49:9", ["rules[0]", "`from: all`"]),
        ("50:55", ["rules[1].family", "'ipv9'"]),
        ("52:24", ["interfaces[1]", "e1 is already tracked"]),
        ("53:17", ["scripts[0]", "did you mean `slow`?"]),
        ("54:22", ["files.maint", "give a path here"]),
        ("55:23", ["services.wbe", "did you mean `web`?"]),
        ("55:32", ["services.wbe.weight", "leave weight out for a fault"]),
        ("56:29", ["witnesses.addresses[0]", "own address of nodes.lb1"]),
        ("56:40", ["witnesses.addresses[1]", "a virtual IP"]),
        ("56:63", ["witnesses.required", "3 witnesses", "are 2"]),
        ("57:21", ["bfd.interval", "3ms to 1s"]),
        ("59:5", ["instances.three", "preempt is true in three", "group gw"]),
        ("61:13", ["three.family", "none to advertise"]),
        ("62:15", ["three.priority", "lb2: 90", "lb2: 100"]),
        ("65:20", ["groups.gw[2]", "no instance `four`"]),
        ("66:10", ["groups.three", "an instance `three` already"]),
        ("66:11", ["groups.three[0]", "already in a group"]),
        ("68:44", ["notify[0].instances[0]", "write gw"]),
        ("68:49", ["notify[0].instances[1]", "did you mean `one`?"]),
    ],
)
def test_a_broken_election_names_each_problem_at_its_place(place: str, fragments: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(BROKEN)
    assert len(caught.value.problems) == 49
    one([line for line in str(caught.value).splitlines() if line.startswith(f"{BROKEN}:{place}: ")], *fragments)


@pytest.mark.parametrize(
    ("data", "fragments"),
    [
        (changed(nodes={"lb1": {"address": "fe80::11"}, "lb2": NODES6["lb2"]}), ["link-local"]),
        (instance(version=4), ["version", "2 to 3"]),
        (instance(virtual_ips=["10.9.0.100", "fd00:9::100/129"]), ["virtual_ips[1]", "1 to 128"]),
        (instance(virtual_ips=[{"address": "10.9.0.100", "scope": "linc"}]), ["scope", "did you mean 'link'"]),
        (instance(virtual_ips=[{"address": "10.9.0.100", "scope": 255}]), ["scope", "0 to 254"]),
        (instance(virtual_ips=[{"address": "10.9.0.100", "label": "e0:a-longer-label"}]), ["cannot be a label"]),
        (instance(group="10.9.0.1"), ["group", "not a multicast group"]),
        (instance(group="fd00::12"), ["group", "write one like ff02::12"]),
        (instance(family="ip6"), ["family", "did you mean 'ipv6'"]),
        (instance(unicast={"min_ttl": 256}), ["unicast.min_ttl", "1 to 255"]),
        (instance(unicast={"minttl": 254}), ["unicast.minttl", "did you mean `min_ttl`?"]),
        (instance(preempt={"delay": 30}), ["preempt.delay", "no unit"]),
        (instance(virtual_mac=51), ["virtual_mac", "neither true nor false"]),
        (instance(heartbeats=[7]), ["heartbeats[0]", "7"]),
        (instance(heartbeats={"e1": {}}), ["heartbeats", "expected a list"]),
        (instance(routes=["default via 10.9.0.1"]), ["routes[0]", "expected a mapping"]),
        (instance(routes=[{"to": "10.8.0.0/33", "via": "10.9.0.1"}]), ["routes[0].to", "0 to 32"]),
        (instance(routes=[{"to": "defualt", "via": "10.9.0.1"}]), ["routes[0].to", "not an address"]),
        (instance(routes=[{"to": "default", "via": "10.9.0.1", "table": "mian"}]), ["did you mean 'main'"]),
        (instance(rules=[{"priority": 0, "from": "all", "table": 1}]), ["rules[0].priority", "1 to 32765"]),
        (instance(rules=[{"priority": 1, "form": "all", "table": 1}]), ["rules[0].form", "did you mean `from`?"]),
        (instance(rules=[{"priority": 1, "from": "10.9.0.1/24", "table": 1}]), ["rules[0].from", "10.9.0.0/24"]),
        (instance(rules=[{"priority": 1, "fwmark": "0xzz", "table": 1}]), ["rules[0].fwmark", "whole number"]),
        (tracked(scripts={"a": {"command": []}}), ["scripts.a.command", "empty"]),
        (tracked(scripts={"a": {"command": "/bin/a 'b"}}), ["scripts.a.command", "no closing quotation"]),
        (tracked(scripts={"a": {"command": ["/bin/a", 5]}}), ["scripts.a.command", "put it in quotes"]),
        (tracked(scripts={"a": {"command": {"x": 1}}}), ["scripts.a.command", "not a command"]),
        (tracked(scripts={"a": {"command": "/bin/a", "user": 0}}), ["scripts.a.user", "write the name"]),
        (tracked(scripts={"a": {"command": "/bin/a", "user": "a b"}}), ["scripts.a.user", "cannot be the name"]),
        (tracked(scripts=["a", "a"]), ["track.scripts", "listed twice"]),
        (tracked(processes={"a": {"program": "a-name-of-16-byte"}}), ["processes.a.program", "'a-name-of-16-by'"]),
        (tracked(processes={"a": {"program": "/bin/a"}}), ["processes.a.program", "ps -o comm"]),
        (tracked(files={"a": {"path": "maint"}}), ["files.a.path", "whole path of a file"]),
        (tracked(interfaces=[{"name": "e1", "weight": -254}]), ["interfaces[0].weight", "-253 to 253"]),
        (instance(witnesses=[]), ["edge.witnesses: is empty", "at least one"]),
        (instance(witnesses={"addresses": ["10.9.0.1"], "method": "ping"}), ["witnesses.method", "arp or icmp"]),
        (instance(bfd={"multiplier": 51}), ["bfd.multiplier", "1 to 50"]),
        (instance(bfd="3ms"), ["bfd", "neither true nor false"]),
        (changed(authentication={"keys": []}), ["authentication.keys", "at least one"]),
        (changed(authentication={"keys": [{"id": 256, "file": "/x"}]}), ["keys[0].id", "0 to 255"]),
        (changed(authentication=KEYS | {"mode": "enforced"}), ["mode", "did you mean 'enforce'"]),
        (changed(notify=[{"timeout": "1s"}]), ["notify[0]", "required key `command` is missing"]),
        (changed(notify=["tell"]), ["notify[0]: 'tell'", "not the whole path"]),
        (changed(peer_link={"port": 0}), ["peer_link.port", "1 to 65535"]),
        (changed(groups={"gw": []}), ["groups.gw", "at least one"]),
    ],
)
def test_a_wrong_value_is_named_with_its_remedy(data: dict[str, Any], fragments: list[str]) -> None:
    found = refused(data)
    assert any(all(fragment in line for fragment in fragments) for line in found), found


@pytest.mark.parametrize(
    ("data", "fragments"),
    [
        # nodes, keys, peer link
        (changed(nodes=LONE | {"lb2": {}}), ["nodes.lb2", "no address", "`discovery: true`"]),
        (changed(nodes=PAIR["nodes"] | {"lb2": {"address": "10.9.0.12", "address6": "fd00:9::12"}}, services=[],
                 instances={"edge": PAIR["instances"]["edge"] | V6 | {"unicast": True}}),
         ["instances.edge", "no IPv6 address of lb1", "add address6"]),
        (changed(discovery=True), ["discovery", "needs authentication"]),
        (changed(authentication={"keys": [*KEYS["keys"], {"id": 2, "file": "/etc/ha-lvs/keys/1.key"}]}),
         ["keys[1].file", "is already the file"]),
        (alone() | {"peer_link": True}, ["peer_link", "no peer"]),
        # the instance
        (instance(priority=255), ["priority", "lb1 and lb2 cannot both be"]),
        (instance(lease="1s", interval="1s"), ["lease", "every 1s"]),
        (instance(version=2) | {"authentication": KEYS}, ["version", "authenticate: false"]),
        (six(version=2), ["version", "IPv4 only"]),
        (six(group="224.0.0.18"), ["group", "write one like ff02::12"]),
        (instance(virtual_ips=[{"address": "10.9.0.100", "advertise": False}]), ["virtual_ips", "none to advertise"]),
        (instance(preempt={"enabled": False, "in_sync": True}), ["preempt.in_sync", "without preempt"]),
        (instance(virtual_ips=["10.9.0.100", "fd00:9::100", "fd00:9:0::100"]), ["virtual_ips[2]", "fd00:9::100"]),
        (instance(address={"lb1": "10.8.0.11", "lb2": "10.8.0.11"}), ["address.lb2", "already the address"]),
        (instance(address={"lb1": "fd00::1"}), ["address.lb1", "fd00::1 is IPv6"]),
        (instance(address={"lb3": "10.8.0.13"}), ["address.lb3", "no node `lb3`"]),
        (instance(address={"lb1": "10.9.0.100"}), ["virtual_ips[0]", "own address of instances.edge.address.lb1"]),
        (changed(nodes=NODES6), ["instances.edge", "no IPv4 address of lb1 and lb2"]),
        (instance(unicast={"discover": True}), ["unicast.discover", "`discovery: true`"]),
        # labels, virtual MAC
        (instance(virtual_mac="vr51", virtual_ips=[{"address": "10.9.0.100", "label": "e0:web"}]),
         ["label", "does not begin with vr51"]),
        (instance(virtual_mac="e0"), ["virtual_mac", "e0 is an interface that advertisements use"]),
        (instance(virtual_mac="fourteen-bytes", virtual_ips=["10.9.0.100", "fd00:9::100"]),
         ["virtual_mac", "'fourteen-bytes-6'", "shorter name"]),
        (instance(virtual_mac=True, virtual_ips=[{"address": "10.9.0.100", "interface": "e1"}]),
         ["virtual_mac", "no virtual IP on e0"]),
        (two({"virtual_mac": True}, {"virtual_mac": True, "router_id": 51, "interface": "e1"}),
         ["instances.back.virtual_mac", "ha-lvs.51 is already the interface of instances.edge"]),
        # heartbeats
        (instance(heartbeats=["e1"]), ["heartbeats[0]", "no IPv4 address of lb1 and lb2 on e1"]),
        (instance(heartbeats=[{"interface": "e1", "address": {"lb1": "10.8.0.11"}}]), ["address", "of lb2 on e1"]),
        (instance(heartbeats=[BEAT, BEAT]), ["heartbeats[1]", "already at instances.edge.heartbeats[0]"]),
        (six(heartbeats=["e1"], unicast=True) | {"nodes": NODES6}, ["heartbeats[0]", "no IPv6 address of lb1 and lb2"]),
        (instance(heartbeats=[BEAT], priority=100), ["priority", "edge has several paths"]),
        (two({"heartbeats": [BEAT]}, {"interface": "e1", "router_id": 51}),
         ["instances.back.router_id", "51 on interface e1", "instances.edge"]),
        # BFD
        (alone(bfd=True), ["bfd", "no peer"]),
        (instance(bfd={"interface": "e9"}), ["bfd.interface", "e9 is neither", "write e0"]),
        (six(bfd=True), ["bfd", "IPv6 address of each node on e0", "lb1 and lb2"]),
        (two({"bfd": True}, {"bfd": {"interval": "3ms"}}), ["instances.back.bfd", "3ms x 3", "10ms x 3"]),
        # routes and rules
        (instance(routes=[{"to": "default", "via": "fe80::1"}]), ["routes[0].via", "add `interface`"]),
        (instance(routes=[{"to": "default", "via": "10.9.0.1"}, {"to": "0.0.0.0/0", "interface": "e1"}]),
         ["routes[1]", "a default route of IPv4 is already at instances.edge.routes[0]"]),
        (instance(routes=[{"to": "10.8.0.0/16", "via": "10.9.0.1"}, {"to": "10.8.0.0/16", "via": "10.9.0.2"}]),
         ["routes[1]", "10.8.0.0/16 is already at instances.edge.routes[0]"]),
        (instance(rules=[{"priority": 1, "from": "10.9.0.1", "family": "ipv6", "table": 1}]),
         ["rules[0]", "`from` is IPv4, `family` is IPv6"]),
        (two({"rules": [{"priority": 1, "from": "all", "table": 1}]},
             {"rules": [{"priority": 1, "from": "all", "table": 2}]}),
         ["instances.back.rules[0]", "already at instances.edge.rules[0]"]),
        # tracks and witnesses
        (tracked(services=["wbe"]), ["track.services[0]", "did you mean `web`?"]),
        (tracked(scripts={"a": {"command": "/bin/a", "interval": "1s", "timeout": "2s"}}), ["timeout", "longer"]),
        (tracked(scripts={"a": {"interval": "1s"}}), ["track.scripts.a", "give a command here"]),
        (tracked(scripts={"a": {"interval": "1s"}}) | {"track": {"scripts": {"a": {"command": "/bin/a"}}}},
         ["track.scripts.a.interval", "belongs to the definition at track.scripts.a"]),
        (tracked(scripts={"a": {"command": "/bin/a"}}) | {"track": {"scripts": {"a": {"command": "/bin/a"}}}},
         ["edge.track.scripts.a", "already defined at track.scripts.a"]),
        (two({"track": {"files": {"a": {"path": "/a"}}}}, {"track": {"files": {"a": {"path": "/b"}}}}),
         ["back.track.files.a", "another one at instances.edge.track.files.a"]),
        (two({"track": {"processes": {"a": {"program": "a"}}}}, {"track": {"processes": ["a"]}}),
         ["back.track.processes[0]", "no process `a` in the top-level track"]),
        (instance(witnesses=["10.9.0.1", "10.9.0.1"]), ["witnesses[1]", "already a witness"]),
        (instance(witnesses=["10.9.0.12"]), ["witnesses[0]", "own address of nodes.lb2"]),
        # groups
        (grouped({"interval": "100ms"}, {"interval": "200ms"}), ["back.interval", "200ms in back but 100ms in edge"]),
        (grouped(None, {"down_after": 4}), ["back.down_after", "4 in back but 3 in edge"]),
        (grouped(None, {"preempt": False}), ["back.preempt", "false in back but true in edge"]),
        (grouped(None, {"startup_delay": "1s"}), ["back.startup_delay", "1s in back but 0ms in edge"]),
        (grouped(None, {"lease": "off"}), ["back.lease", "off in back but auto in edge"]),
        (grouped(None, {"announce": {"repeat": 1}}), ["back.announce", "repeat: 1 in back but the default in edge"]),
        (grouped(None, {"authenticate": False}), ["back.authenticate", "false in back"]),
        (grouped(None, {"priority": {"lb1": 100, "lb2": 150}}), ["back.priority", "lb1: 150, lb2: 100 in edge"]),
        (grouped({"witnesses": ["10.9.0.1"]}, {"witnesses": ["10.8.0.1"]}), ["back.witnesses", "one set of witnesses"]),
        (grouped({"track": {"interfaces": ["e3"]}}, {"track": {"interfaces": [{"name": "e3", "weight": 5}]}}),
         ["back.track.interfaces[0]", "the weight 5 in back but no weight in edge"]),
        (grouped({"virtual_mac": True}, {"interface": "e0"}), ["edge.virtual_mac", "router id 52 on e0"]),
        (grouped() | {"groups": {"gw": ["edge", "edge"]}}, ["groups.gw[1]", "already in a group, at groups.gw[0]"]),
        (grouped() | {"groups": {"gw": ["edge", "bakc"]}}, ["groups.gw[1]", "did you mean `back`?"]),
        (grouped() | {"groups": {"back": ["edge"]}}, ["groups.back", "an instance `back` already"]),
        (grouped() | {"notify": [{"command": "/x", "instances": ["back"]}]}, ["notify[0].instances[0]", "write gw"]),
        (changed(notify=[{"command": "/x", "instances": ["egde"]}]), ["instances[0]", "did you mean `edge`?"]),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_together(data: dict[str, Any], fragments: list[str]) -> None:
    one(refused(data), *fragments)


def test_equal_priorities_in_a_group_are_refused_for_each_member() -> None:
    found = refused(grouped({"priority": 100}, {"priority": 100}))
    assert len(found) == 2
    assert all("same priority 100" in line and "group gw" in line for line in found)


@pytest.mark.parametrize(
    "data",
    [
        instance(priority={"lb1": 255, "lb2": 100}),
        alone(priority=255),
        instance(version=2, interval="2s"),
        instance(virtual_ips=[{"address": "10.9.0.100", "label": "e0:a-long-label"}]),
        instance(version=2, authenticate=False) | {"authentication": KEYS},
        changed(nodes=NODES6, services=[], instances={"edge": PAIR["instances"]["edge"] | V6}),
        six(),
        six(heartbeats=["e1"], priority={"lb1": 2, "lb2": 1}),
        six(heartbeats=["e1"], bfd=True, address={"lb1": "fe80::11", "lb2": "fe80::12"}),
        two(None, V6 | {"router_id": 51}),
        instance(address={"lb1": "10.8.0.11"}),
        changed(nodes=NODES6, instances={"edge": PAIR["instances"]["edge"] | {"address": BEAT["address"]}}),
        instance(virtual_mac="thirteen-byte", virtual_ips=["10.9.0.100", "fd00:9::100"]),
        instance(virtual_mac=True, virtual_ips=[{"address": "10.9.0.100", "label": "ha-lvs.51:web"}]),
        two({"virtual_mac": True}, V6 | {"router_id": 51, "virtual_mac": True}),
        instance(heartbeats=[BEAT]),
        two({"bfd": True}, {"bfd": True}),
        two({"bfd": True}, {"bfd": {"enabled": False, "interval": "3ms"}}),
        two({"track": {"files": {"a": {"path": "/a"}}}}, {"track": {"files": {"a": {"path": "/a", "weight": 5}}}}),
        grouped(),
        grouped({"lease": "3s", "preempt": "yes", "interval": "1000ms"}, {"lease": "3000ms", "preempt": True}),
        grouped({"witnesses": ["10.9.0.1"]}),
        grouped({"witnesses": ["10.9.0.1"]}, {"witnesses": {"addresses": ["10.9.0.1"], "interface": "e0"}}),
        grouped({"virtual_mac": True}, {"interface": "e0", "router_id": 51} | V6),
        grouped() | {"notify": [{"command": "/x", "instances": ["gw"]}]},
        changed(nodes={"lb1": {}, "lb2": {}}, discovery=True, authentication=KEYS),
        alone(unicast=True) | {"discovery": True, "authentication": KEYS},
        changed(groups={}, notify=[], track={}, peer_link=True, discovery=False),
    ],
)
def test_what_is_legal_loads(data: dict[str, Any]) -> None:
    config = config_of(data)
    for node in config.nodes:
        elector_part(config, node), director_part(config, node), attendant_part(config, node)
