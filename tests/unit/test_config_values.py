"""Single values of the config file, and what services need of each other: problems are named with their remedy."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from typing import Any

import pytest

from ha_lvs.config.durations import Duration
from ha_lvs.config.loader import load
from ha_lvs.config.parts import director_part, elector_part, lease_s
from ha_lvs.daemon.shapes import from_json, to_json
from ha_lvs.errors import ConfigError
from ha_lvs.model import RealServer
from tests.unit.configs import DATA, PAIR, changed, complaints, config_of, instance, one, refused, service

# ------------------------------------------------------------------------------------------------- single values


@pytest.mark.parametrize(
    ("data", "fragments"),
    [
        (changed(cluster="a b"), ["1:10: cluster", "cannot be a name"]),
        (changed(nodes={}), ["nodes", "at least one"]),
        (service(servers=["fd00::1"]), ["servers[0]", "fd00::1 is IPv6", "only tun can carry"]),
        (changed(nodes={"lb1": {"address": "fd00:9::1%e0"}}), ["nodes.lb1.address", "'%'"]),
        (changed(nodes={"lb1": {"address": "::ffff:10.9.0.11"}}), ["nodes.lb1.address", "write 10.9.0.11"]),
        (changed(nodes={"lb1": {"address": "ff02::1"}}), ["nodes.lb1.address", "not the address of one host"]),
        (changed(nodes={"lb1": {"address": "fd00::g"}}), ["nodes.lb1.address", "'fd00::g' is not an address"]),
        (changed(nodes={"lb1": None, "lb2": {"address": "10.9.0.12"}}), ["nodes.lb1", "no value"]),
        (changed(log={"level": "inof"}), ["log level", "did you mean 'info'"]),
        (changed(ipvs={"on_stop": "delete"}), ["on_stop", "keep or remove"]),
        (changed(ipvs={"probers": 0}), ["ipvs.probers", "1 to 64"]),
        (changed(ipvs={"probers": 65}), ["ipvs.probers", "1 to 64"]),
        (changed(ipvs={"probers": "atuo"}), ["ipvs.probers", "did you mean 'auto'"]),
        (changed(ipvs={"probers": True}), ["ipvs.probers", "true is not a whole number"]),
        (changed(ipvs={"on_stpo": "keep"}), ["ipvs.on_stpo", "did you mean `on_stop`?"]),
        (changed(zebra="red"), ["unknown key `zebra`", "known keys are cluster"]),
        (changed(connection_sync={"id": 7}), ["connection_sync: required key `interface` is missing"]),
        (changed(connection_sync={"interface": "e0", "id": 256}), ["256", "0 to 255"]),
        (changed(connection_sync={"interface": "e0", "id": 1, "group": "10.0.0.1"}), ["not a multicast group"]),
        (instance(router_id=0), ["router_id", "1 to 255"]),
        (instance(router_id="51"), ["remove the quotes"]),
        (instance(router_id=True), ["true is not a whole number"]),
        (instance(interval=1), ["1 has no unit"]),
        (instance(interval="15ms"), ["not a multiple of 10ms", "10ms or 20ms"]),
        (instance(interval="40.96s"), ["out of range"]),
        (instance(interface="an-interface-of-17"), ["interface"]),
        (instance(priority=0), ["priority", "1 to 255"]),
        (instance(priority={"lb1": 256, "lb2": 1}), ["priority.lb1", "256"]),
        (instance(lease="atuo"), ["did you mean 'auto'"]),
        (instance(lease="1500ms"), ["multiple of 1s", "1s or 2s"]),
        (instance(lease="500ms"), ["out of range"]),
        (instance(interval="5s", lease="3s"), ["lease", "3s ends between advertisements", "use auto"]),
        (instance(virtual_ips=["10.9.0.12/32"]), ["virtual_ips[0]", "own address of nodes.lb2"]),
        (instance(virtual_ips=[f"10.9.{n // 256}.{n % 256}" for n in range(300, 4397)]), ["virtual_ips", "4096"]),
        (instance(preempt="maybe"), ["neither true nor false"]),
        (instance(group="224.0.0.256"), ["256 is greater than 255"]),
        (instance(announce={"repeat": -1}), ["announce.repeat"]),
        (instance(announce={"refresh": "999ms"}), ["announce.refresh", "999ms is out of range", "1s"]),
        (instance(announce={"refresh": 30}), ["announce.refresh", "30 has no unit"]),
        (instance(announce={"refersh": "30s"}), ["announce.refersh", "did you mean `refresh`?"]),
        (service(scheduler="wlcc"), ["did you mean 'wlc'"]),
        (service(forwarding="masq"), ["forwarding", "nat, tun or dr"]),
        (service(persistence="90500ms"), ["multiple of 1s"]),
        (service(listen="10.9.0.100:80"), ["no protocol", "10.9.0.100:80/tcp"]),
        (service(listen="10.9.0.100/tcp"), ["no port"]),
        (service(listen="10.9.0.100:80/tpc"), ["did you mean 'tcp'"]),
        (service(listen="[fd00::1]:80/tcp"), ["listen"]),
        (service(servers="10.9.0.21"), ["expected a list"]),
        (service(servers=["10.9.0.21:99999"]), ["servers[0]", "'99999'", "not a port"]),
        (service(servers=[7]), ["servers[0]", "not an address"]),
        (service(servers=[{"adress": "10.9.0.21"}]), ["servers[0].adress", "did you mean `address`?"]),
        (service(servers=[{"address": "10.9.0.21", "weight": 65536}]), ["weight", "0 to 65535"]),
        (service(check={"type": "htpp"}), ["check type", "did you mean 'http'"]),
        (service(check={"type": "http", "path": "healthz"}), ["start it with '/'"]),
        (service(check={"type": "http", "path": "/a\r\nHost: b"}), ["no path"]),
        (service(check={"type": "http", "status": "200-99"}), ["no HTTP status"]),
        (service(check="http"), ["expected a mapping"]),
    ],
)
def test_a_wrong_value_is_named_with_its_remedy(data: dict[str, Any], fragments: list[str]) -> None:
    found = refused(data)
    assert any(all(fragment in line for fragment in fragments) for line in found), found


@pytest.mark.parametrize(
    ("announce", "expected"),
    [
        (None, (5, 1.0, 30.0)),
        ({"refresh": "1s"}, (5, 1.0, 1.0)),
        ({"refresh": "30s"}, (5, 1.0, 30.0)),
        ({"repeat": 2, "interval": "250ms", "refresh": "2500ms"}, (2, 0.25, 2.5)),
    ],
)
def test_how_the_virtual_ips_are_announced(announce: dict[str, Any] | None, expected: tuple[int, float, float]) -> None:
    config = config_of(changed() if announce is None else instance(announce=announce))
    [edge] = elector_part(config, "lb1").instances
    assert (edge.announce_repeat, edge.announce_interval_s, edge.announce_refresh_s) == expected


def test_a_missing_key_is_reported_where_it_belongs() -> None:
    text = (DATA / "vip-only.yml").read_text().replace("    router_id: 51\n", "")
    one(complaints(text), "10:5: instances.edge: required key `router_id` is missing", "router_id: 51")


# ---------------------------------------------------------------------------------------- between several values


SECOND = {"interface": "e0", "router_id": 52, "priority": 100, "virtual_ips": ["10.9.0.101"]}


@pytest.mark.parametrize(
    ("data", "fragments"),
    [
        (service(listen="10.9.0.101:80/tcp"), ["services[0].listen", "10.9.0.101 is not a virtual IP"]),
        (changed(services=[*PAIR["services"], PAIR["services"][0] | {"name": "b"}]), ["services[1].listen", "taken"]),
        (
            changed(services=[*PAIR["services"], PAIR["services"][0] | {"listen": "10.9.0.100:81/tcp"}]),
            ["services[1].name", "'web' is already used"],
        ),
        (service(servers=["10.9.0.21", "10.9.0.21:80"]), ["servers[1]", "10.9.0.21:80 is already"]),
        (
            changed(instances=PAIR["instances"] | {"b": SECOND | {"router_id": 51}}),
            ["instances.b.router_id", "51 on interface e0"],
        ),
        (
            changed(instances=PAIR["instances"] | {"b": SECOND | {"virtual_ips": ["10.9.0.100"]}}),
            ["instances.b.virtual_ips[0]", "10.9.0.100"],
        ),
        (instance(priority={"lb1": 150, "lb22": 100, "lb2": 1}), ["priority.lb22", "did you mean `lb2`?"]),
        (instance(priority={"lb1": 150}), ["instances.edge.priority", "no priority for node lb2"]),
        (service(servers=["10.9.0.21:8080"]), ["servers[0]", "dr forwarding cannot change the port"]),
        (
            service(forwarding="nat", servers=[{"address": "10.9.0.21", "port": 81, "forwarding": "tun"}]),
            ["servers[0].port", "tun"],
        ),
        (service(check={"interval": "1s", "timeout": "2s"}), ["check.timeout", "longer than the interval"]),
        (service(check={"timeout": "3s"}), ["check.timeout", "(the default)"]),
        (service(check={"type": "tcp", "path": "/"}), ["check.path", "https checks only"]),
        (service(listen="10.9.0.100:80/udp", check={"type": "tcp"}), ["check.type", "udp"]),
        (
            changed(nodes={"lb1": {"address": "10.9.0.11"}, "lb2": {"address": "10.9.0.11"}}),
            ["nodes.lb2.address", "nodes.lb1.address"],
        ),
        (
            changed(
                nodes={"lb1": {"address": "10.9.0.11"}},
                instances={"edge": PAIR["instances"]["edge"] | {"priority": 1, "unicast": True}},
            ),
            ["instances.edge.unicast", "no peer"],
        ),
    ],
)
def test_values_that_do_not_fit_together(data: dict[str, Any], fragments: list[str]) -> None:
    one(refused(data), *fragments)


@pytest.mark.parametrize(
    "data",
    [
        instance(priority=100),
        instance(priority={"lb1": 255, "lb2": 254}),
        instance(virtual_ips=["10.9.0.100", *(f"10.9.{n // 256}.{n % 256}" for n in range(300, 4395))]),
        instance(priority={"lb1": 100, "lb2": 100}),
        instance(unicast=True),
        instance(virtual_ips=["10.9.0.100", {"address": "10.9.1.1/24", "interface": "e1"}]),
        changed(instances=PAIR["instances"] | {"b": SECOND | {"router_id": 51, "interface": "e1"}}),
        changed(nodes={"lb1": {"address": "10.9.0.11"}}, instances={"edge": SECOND | {"virtual_ips": ["10.9.0.100"]}}),
        service(forwarding="nat", servers=["10.9.0.21:8080", "10.9.0.21:8081"]),
        service(servers=[]),
        service(check={"type": "http", "status": 204, "port": 8080, "host": "www.example.org"}),
        service(listen="10.9.0.100:53/udp", check={"type": "tcp", "port": 8080}),
        service(persistence="5m"),
        changed(ipvs={"on_stop": "remove", "reconcile": "1m"}, log={"level": "debug"}),
        changed(log={"level": "notice"}),
    ],
)
def test_what_is_legal_loads(data: dict[str, Any]) -> None:
    config = config_of(data)
    for part in (elector_part(config, "lb1"), director_part(config, "lb1")):
        assert from_json(type(part), json.loads(json.dumps(to_json(part)))) == part


# ------------------------------------------------------------------------------------------------------- parts


def test_unicast_peers_are_the_other_nodes() -> None:
    config = config_of(instance(unicast=True))
    assert elector_part(config, "lb1").instances[0].peers == (IPv4Address("10.9.0.12"),)
    assert elector_part(config, "lb2").instances[0].peers == (IPv4Address("10.9.0.11"),)


@pytest.mark.parametrize(
    ("lease", "interval_ms", "expected"),
    [("auto", 1000, 3), ("auto", 10, 1), ("auto", 900, 2), ("off", 1000, None), (Duration(5000), 1000, 5)],
)
def test_lease(lease: str | Duration, interval_ms: int, expected: int | None) -> None:
    assert lease_s(lease, Duration(interval_ms)) == expected


@pytest.mark.parametrize(("protocol", "kind"), [("tcp", "tcp"), ("udp", "none"), ("sctp", "none")])
def test_the_usual_check_depends_on_the_protocol(protocol: str, kind: str) -> None:
    data = service(listen=f"10.9.0.100:80/{protocol}")
    del data["services"][0]["check"]
    checks = director_part(config_of(data), "lb1").services[0].servers[0].checks
    assert [(each.check.type.value, each.port) for each in checks] == ([] if kind == "none" else [(kind, 80)])


def test_a_short_interval_shortens_the_usual_timeout() -> None:
    config = config_of(service(check={"interval": "200ms"}))
    assert director_part(config, "lb1").services[0].servers[0].checks[0].check.timeout_s == 0.2


def path_of(server: RealServer) -> str:
    http = server.checks[0].check.http
    assert http is not None
    return http.path


def test_a_server_may_have_its_own_check_and_port() -> None:
    server = {"address": "10.9.0.21", "port": 8080, "check": {"type": "http", "port": 9000}}
    config = config_of(service(forwarding="nat", servers=[server, "10.9.0.22:8081"]))
    first, second = director_part(config, "lb1").services[0].servers
    assert (first.destination.key.port, first.checks[0].port, path_of(first)) == (8080, 9000, "/")
    assert (second.destination.key.port, second.checks[0].port, path_of(second)) == (8081, 8081, "/healthz")


def test_an_unknown_node_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"pair.yml:4:1: nodes: there is no node 'lb3'; did you mean lb"):
        elector_part(load(DATA / "pair.yml"), "lb3")
