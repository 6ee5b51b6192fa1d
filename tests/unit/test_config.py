"""The config file: what loads, and that every problem is named at its place."""

from __future__ import annotations

import copy
import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ha_lvs.config.durations import Duration
from ha_lvs.config.loader import load, loads
from ha_lvs.config.parts import director_part, elector_part, lease_s
from ha_lvs.config.schema import Config, json_schema
from ha_lvs.daemon.channel import from_json, to_json
from ha_lvs.errors import ConfigError, Problem
from ha_lvs.model import (
    Check,
    CheckType,
    ConnectionSync,
    DirectorPart,
    ElectorPart,
    Forwarding,
    OnStop,
    Protocol,
    ServiceKey,
    VirtualIp,
)

DATA = Path(__file__).parent / "data"

PAIR: dict[str, Any] = yaml.safe_load((DATA / "pair.yml").read_text())


def complaints(text: str) -> list[str]:
    """The problems of a file as `line:column: path: message`."""
    with pytest.raises(ConfigError) as caught:
        loads(text.encode(), "f")
    return [str(problem).removeprefix("f:") for problem in caught.value.problems]


def changed(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(PAIR) | changes


def config_of(data: dict[str, Any]) -> Config:
    return loads(yaml.safe_dump(data, sort_keys=False).encode(), "f")


def refused(data: dict[str, Any]) -> list[str]:
    return complaints(yaml.safe_dump(data, sort_keys=False))


def one(found: list[str], *fragments: str) -> str:
    """The only problem, which has all the fragments."""
    assert len(found) == 1, found
    assert all(fragment in found[0] for fragment in fragments), found
    return found[0]


def service(**changes: Any) -> dict[str, Any]:
    return changed(services=[PAIR["services"][0] | changes])


def instance(**changes: Any) -> dict[str, Any]:
    return changed(instances={"edge": PAIR["instances"]["edge"] | changes})


# --------------------------------------------------------------------------------------------------- examples


def test_the_pair_loads() -> None:
    config = load(DATA / "pair.yml")
    assert list(config.nodes) == ["lb1", "lb2"]
    part = director_part(config, "lb2")
    assert (part.cluster, part.node, part.on_stop, part.reconcile_interval_s) == ("edge", "lb2", OnStop.KEEP, 30.0)
    assert part.sync == ConnectionSync("e0", 7)
    web = part.services[0]
    assert web.service.key == ServiceKey(IPv4Address("10.9.0.100"), 80, Protocol.TCP)
    assert [(str(s.destination.key), s.destination.weight) for s in web.servers] == [
        ("10.9.0.21:80", 1),
        ("10.9.0.22:80", 2),
    ]
    assert web.servers[0].destination.forwarding is Forwarding.DR
    assert web.servers[0].endpoint.check == Check(CheckType.HTTP, 1.0, 0.5, 2, 2, "/healthz")


def test_the_vip_only_pair_needs_no_ipvs() -> None:
    config = load(DATA / "vip-only.yml")
    assert director_part(config, "lb1").services == ()
    [edge] = elector_part(config, "lb1").instances
    assert (edge.priority, edge.interval_s, edge.source) == (150, 1.0, IPv4Address("10.9.0.11"))
    assert edge.virtual_ips == (VirtualIp(IPv4Address("10.9.0.100"), 32, "e0"),)
    assert (edge.peers, edge.group, edge.lease_s, edge.preempt) == ((), IPv4Address("224.0.0.18"), 3, True)
    assert elector_part(config, "lb2").instances[0].priority == 100


@pytest.mark.parametrize(
    ("place", "fragments"),
    [
        ("4:18", ["nodes.lb1.address", "10.9.0.999"]),
        ("9:16", ["router_id", "300", "1 to 255"]),
        ("10:15", ["interval", "5ms", "10ms to 40.95s"]),
        ("11:5", ["`priorty`", "did you mean `priority`?"]),
        ("15:13", ["listen", "10.9.0.101", "virtual IP"]),
        ("16:16", ["scheduler", "'fastest'", "wlc"]),
        ("18:26", ["10.9.0.21", "already in the service"]),
    ],
)
def test_broken_names_each_problem_at_its_place(place: str, fragments: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(DATA / "broken.yml")
    lines = [line for line in str(caught.value).splitlines() if line.startswith(f"{DATA / 'broken.yml'}:{place}: ")]
    one(lines, *fragments)


def test_broken_has_no_other_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        load(DATA / "broken.yml")
    assert len(caught.value.problems) == 7
    assert [p.line for p in caught.value.problems] == sorted(p.line for p in caught.value.problems)


# -------------------------------------------------------------------------------------------------------- YAML


@pytest.mark.parametrize(
    ("text", "place", "fragment"),
    [
        ("", "1:1", "empty"),
        ("# nothing\n", "1:1", "empty"),
        ("- a\n- b\n", "1:1", "expected a mapping"),
        ("\nhello\n", "2:1", "expected a mapping"),
        ("cluster: [a\nnodes: b\n", "2:", "not YAML"),
        ("a: b: c\n", "1:5", "not YAML"),
        ("cluster: x\n\ta: b\n", "2:1", "not YAML"),
        ("a: \x07\n", "1:4", "not YAML"),
        ("a: *nowhere\n", "1:4", "not YAML"),
        ("a: b\n---\nc: d\n", "2:1", "not YAML"),
        ("[" * 200_000 + "]" * 200_000, "1:101", "nested"),
    ],
)
def test_what_is_no_usable_yaml_is_a_problem_with_a_place(text: str, place: str, fragment: str) -> None:
    found = one(complaints(text), fragment)
    assert found.startswith(place)


def test_bytes_that_are_not_utf8() -> None:
    with pytest.raises(ConfigError, match=r"f:2:3: .*0xff is not UTF-8"):
        loads(b"a: b\nc \xff\n", "f")


@pytest.mark.parametrize("name", ["missing.yml", "."])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        load(tmp_path / name)
    assert caught.value.exit_code == 2


def test_a_duplicate_key_is_reported_at_the_second() -> None:
    text = (DATA / "pair.yml").read_text() + "cluster: other\n"
    one(complaints(text), f"{len(text.splitlines())}:1: cluster: duplicate key `cluster`, already given in line 2")


def test_words_that_yaml_would_guess_at_are_taken_as_written() -> None:
    config = config_of(instance(lease="off", preempt="no"))
    assert elector_part(config, "lb1").instances[0].lease_s is None
    text = (DATA / "pair.yml").read_text().replace("interval: 1s   ", "lease: off\n    preempt: no\n    interval: 1s")
    [edge] = elector_part(loads(text.encode(), "f"), "lb1").instances
    assert (edge.lease_s, edge.preempt) == (None, False)


def test_anchors_and_merges() -> None:
    text = (DATA / "pair.yml").read_text().replace("check: {", "check: &c {")
    text += "      - {address: 10.9.0.23, check: {<<: *c, rise: 5}}\n"
    servers = director_part(loads(text.encode(), "f"), "lb1").services[0].servers
    assert (servers[2].endpoint.check.path, servers[2].endpoint.check.rise) == ("/healthz", 5)


@pytest.mark.parametrize(
    "text",
    ["a: &a [*a]\n", "a: &a {<<: *a}\n", "a: &a {b: {<<: *a}}\n", "a: !!python/object:os.system {}\n", "? [a]\n: b\n"],
)
def test_tricks_are_problems(text: str) -> None:
    assert complaints(text)


def test_aliases_do_not_explode() -> None:
    rows = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]
    one(complaints("\n".join(rows)), "aliases")


# ------------------------------------------------------------------------------------------------- single values


@pytest.mark.parametrize(
    ("data", "fragments"),
    [
        (changed(cluster="a b"), ["1:10: cluster", "cannot be a name"]),
        (changed(nodes={}), ["nodes", "at least one"]),
        (
            changed(nodes={"lb1": {"address": "fd00::1"}, "lb2": {"address": "10.9.0.12"}}),
            ["IPv6", "not supported yet"],
        ),
        (changed(nodes={"lb1": None, "lb2": {"address": "10.9.0.12"}}), ["nodes.lb1", "no value"]),
        (changed(log={"level": "inof"}), ["log level", "did you mean 'info'"]),
        (changed(ipvs={"on_stop": "delete"}), ["on_stop", "keep or remove"]),
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
        (instance(virtual_ips=[f"10.9.{n // 256}.{n % 256}" for n in range(300, 560)]), ["virtual_ips", "255"]),
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
        (service(check={"type": "tcp", "path": "/"}), ["check.path", "http checks only"]),
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
        instance(priority={"lb1": 255, "lb2": 255}),
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
    endpoint = director_part(config_of(data), "lb1").services[0].servers[0].endpoint
    assert (endpoint.check.type.value, endpoint.port) == (kind, 80)


def test_a_short_interval_shortens_the_usual_timeout() -> None:
    config = config_of(service(check={"interval": "200ms"}))
    assert director_part(config, "lb1").services[0].servers[0].endpoint.check.timeout_s == 0.2


def test_a_server_may_have_its_own_check_and_port() -> None:
    server = {"address": "10.9.0.21", "port": 8080, "check": {"type": "http", "port": 9000}}
    config = config_of(service(forwarding="nat", servers=[server, "10.9.0.22:8081"]))
    first, second = director_part(config, "lb1").services[0].servers
    assert (first.destination.key.port, first.endpoint.port, first.endpoint.check.path) == (8080, 9000, "/")
    assert (second.destination.key.port, second.endpoint.port, second.endpoint.check.path) == (8081, 8081, "/healthz")


def test_an_unknown_node_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"pair.yml:4:1: nodes: there is no node 'lb3'; did you mean lb"):
        elector_part(load(DATA / "pair.yml"), "lb3")


# ------------------------------------------------------------------------------------------------------ digest


def test_the_digest_counts_what_is_said_and_not_how() -> None:
    digest = load(DATA / "pair.yml").digest
    assert len(digest) == 64
    assert config_of(PAIR).digest == digest
    assert config_of(dict(reversed(list(PAIR.items())))).digest == digest
    assert config_of(instance(interval="1000ms", preempt=True)).digest == digest
    assert config_of(instance(interval="2s")).digest != digest
    assert config_of(service(servers=["10.9.0.21"])).digest != digest


# ------------------------------------------------------------------------------------------------- JSON Schema


def test_every_field_of_the_json_schema_is_explained() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"]
    for kind in (schema, *schema["$defs"].values()):
        assert kind["additionalProperties"] is False
        for name, field in kind["properties"].items():
            assert field.get("description"), name
            assert field.get("examples"), name


def test_defaults_in_the_json_schema_are_as_the_file_spells_them() -> None:
    kinds = json_schema()["$defs"]
    assert kinds["Instance"]["properties"]["interval"]["default"] == "1s"
    assert kinds["Check"]["properties"]["status"]["default"] == "200-399"
    assert kinds["Ipvs"]["properties"]["on_stop"]["default"] == "keep"


# ------------------------------------------------------------------------------------------------- anything at all


# fmt: off
WORDS = st.sampled_from([
    "cluster", "nodes", "instances", "services", "lb1", "address", "10.9.0.11", "1s", "check", "servers", "listen",
    "priority", "virtual_ips", "connection_sync", "interval", "timeout", "port", "10.9.0.100:80/tcp", "forwarding",
    "type", "http", "lease", "unicast", "router_id", "interface", "name", "dr",
])
# fmt: on
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS, st.text(max_size=8), st.dates())
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(WORDS, st.text(max_size=4)), inner)),
    max_leaves=30,
)


def only_config_errors(content: bytes) -> None:
    problems: tuple[Problem, ...] = ()
    try:
        config = loads(content, "f")
        director_part(config, next(iter(config.nodes)))
    except ConfigError as error:
        problems = error.problems
        assert problems
    assert all(problem.line >= 1 and problem.column >= 1 and problem.path for problem in problems)
    assert all(len(str(problem).splitlines()) == 1 for problem in problems)


SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(TREES)
def test_any_structure_is_loaded_or_refused(data: object) -> None:
    only_config_errors(yaml.safe_dump(data, allow_unicode=True).encode(errors="replace"))


@SLOW
@given(st.data())
def test_a_good_file_with_any_part_replaced_is_loaded_or_refused(data: st.DataObject) -> None:
    tree = copy.deepcopy(PAIR)
    place: Any = tree
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            place[key] = data.draw(TREES)
            break
        place = inner
    only_config_errors(yaml.safe_dump(tree).encode(errors="replace"))


@SLOW
@given(
    st.one_of(st.binary(max_size=40), st.text(alphabet="ab:-[]{}&*!|>%@`'\"#,?<~ \n\t1.", max_size=40).map(str.encode))
)
def test_any_bytes_are_loaded_or_refused(content: bytes) -> None:
    only_config_errors(content)


def test_the_parts_survive_the_way_to_the_other_processes() -> None:
    config = load(DATA / "pair.yml")
    for kind, part in ((ElectorPart, elector_part(config, "lb1")), (DirectorPart, director_part(config, "lb1"))):
        assert from_json(kind, json.loads(json.dumps(to_json(part)))) == part
