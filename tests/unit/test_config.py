"""The config file: what loads, what it comes to, and that any file is either loaded or refused."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from ha_lvs.config.loader import load, loads
from ha_lvs.config.parts import attendant_part, director_part, elector_part
from ha_lvs.config.schema import json_schema
from ha_lvs.daemon.shapes import from_json, to_json
from ha_lvs.errors import ConfigError, Problem
from ha_lvs.model import (
    AttendantPart,
    Check,
    CheckType,
    ConnectionSync,
    DirectorPart,
    ElectorPart,
    Forwarding,
    HttpCheck,
    OnStop,
    Protocol,
    ServiceKey,
    VirtualIp,
)
from tests.unit.configs import DATA, PAIR, complaints, config_of, instance, one, service

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
    assert web.servers[0].checks[0].check == Check(CheckType.HTTP, 1.0, 0.5, 2, 2, http=HttpCheck(path="/healthz"))


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
        # Newer releases of libyaml have a limit of their own and say nothing of what comes before it.
        ("[" * 200_000 + "]" * 200_000, "1:10", "nested more than 100 deep"),
        ("[" * 500 + "]" * 500, "1:101", "nested more than 100 deep"),
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
    assert servers[2].checks[0].check == replace(servers[0].checks[0].check, rise=5)


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


# ------------------------------------------------------------------------------------------------------ digest


def digest_of(**changes: Any) -> str:
    return config_of(instance(**changes)).digest


def test_the_digest_counts_what_is_said_and_not_how() -> None:
    digest = load(DATA / "pair.yml").digest
    assert len(digest) == 64
    assert config_of(PAIR).digest == digest
    assert config_of(dict(reversed(list(PAIR.items())))).digest == digest
    assert config_of(instance(interval="1000ms", preempt=True)).digest == digest
    assert config_of(instance(interval="2s")).digest != digest
    assert config_of(service(servers=["10.9.0.21"])).digest != digest


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        ({}, "27c4a1c419b9ae49cf313728c7b86222431a35f4eede06f84514ddfe8878e470"),
        (
            {"preempt": False, "unicast": True, "group": "224.0.0.18"},
            "04099f13b1f4b21b77357beac1139b243b92eb268da018f8fe8b5166c57ff334",
        ),
        (
            {"preempt": True, "unicast": False, "group": "224.0.0.19", "lease": "off", "announce": {"repeat": 2}},
            "1020f03e5f0dd88a34e448105e4a1e8919b82c1e55bf7534d175e7bbb3cb2aa8",
        ),
        (
            {"virtual_ips": ["10.9.0.100/32", {"address": "10.9.1.1/24", "interface": "e1"}]},
            "cbd72729866813615fc77ecd10392c22683e43bfb36e4f390cc35e15c873fcb1",
        ),
    ],
)
def test_a_file_of_the_first_release_keeps_the_digest_that_it_had(data: dict[str, Any], digest: str) -> None:
    assert digest_of(**data) == digest


def test_a_new_key_counts_unless_it_says_the_default() -> None:
    usual = digest_of()
    assert digest_of(version=3, down_after=3, preempt={"delay": "0s"}, virtual_mac=False, heartbeats=[]) == usual
    assert digest_of(unicast={"enabled": False}, bfd=False, track={"scripts": {}}, accept=True) == usual
    different = [
        digest_of(preempt={"delay": "1s"}), digest_of(bfd=True), digest_of(bfd={"interval": "3ms"}),
        digest_of(unicast=True), digest_of(unicast={"enabled": False, "min_ttl": 254}), digest_of(virtual_mac=True),
    ]  # fmt: skip
    assert len({usual, *different}) == 7
    assert digest_of(bfd={"enabled": True, "interval": "10ms"}) == digest_of(bfd=True)


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
    assert kinds["Check"]["properties"]["status"]["default"] == ["200-399"]
    assert kinds["Ipvs"]["properties"]["on_stop"]["default"] == "keep"


def test_a_switch_may_be_spelled_both_ways_in_the_json_schema() -> None:
    properties = json_schema()["$defs"]["Instance"]["properties"]
    assert properties["unicast"]["anyOf"][0] == {"type": "boolean"}
    assert (properties["unicast"]["default"], properties["preempt"]["default"]) == (False, True)
    assert "from" in json_schema()["$defs"]["RuleEntry"]["properties"]


def seen_keys(value: object, seen: dict[str, set[str]]) -> None:
    """The keys that were written, by the name of the kind of mapping."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        seen.setdefault(type(value).__name__, set()).update(
            fields[name].alias or name for name in value.model_fields_set
        )
        for name in fields:
            seen_keys(getattr(value, name), seen)
    elif isinstance(value, dict):
        for item in value.values():
            seen_keys(item, seen)
    elif isinstance(value, (list, tuple)):
        for item in value:
            seen_keys(item, seen)


def test_a_file_with_every_key_of_the_json_schema_loads() -> None:
    config = load(DATA / "everything.yml")
    seen: dict[str, set[str]] = {}
    seen_keys(config, seen)
    schema = json_schema()
    expected = {name: set(kind["properties"]) for name, kind in schema["$defs"].items()}
    assert seen == expected | {"Config": set(schema["properties"])}
    for node in config.nodes:
        for part in (elector_part(config, node), director_part(config, node), attendant_part(config, node)):
            assert from_json(type(part), json.loads(json.dumps(to_json(part)))) == part


# ------------------------------------------------------------------------------------------------- anything at all


# fmt: off
WORDS = st.sampled_from([
    "cluster", "nodes", "instances", "services", "lb1", "address", "10.9.0.11", "1s", "check", "servers", "listen",
    "priority", "virtual_ips", "connection_sync", "interval", "timeout", "port", "10.9.0.100:80/tcp", "forwarding",
    "type", "http", "lease", "unicast", "router_id", "interface", "name", "dr",
    "groups", "gw", "track", "scripts", "files", "command", "weight", "bfd", "witnesses", "addresses", "heartbeats",
    "authentication", "keys", "id", "file", "/x", "discovery", "peer_link", "routes", "rules", "to", "via", "from",
    "default", "fd00:9::100", "family", "ipv6", "virtual_mac", "notify", "user", "root", "address6", "label", "scope",
    "include", "services.d/*.yml", "ports", "protocol", "mark", "mark 5", "tcp", "quorum", "least", "sorry", "tunnel",
    "gue", "connections", "most", "persistence", "scheduler", "mh", "slow_start", "on_down", "expire",
    "10.9.0.1-10.9.0.9",
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
        for node in config.nodes:
            elector_part(config, node), director_part(config, node), attendant_part(config, node)
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


EVERYTHING: dict[str, Any] = yaml.safe_load((DATA / "everything.yml").read_text())


@pytest.mark.parametrize("whole", [PAIR, EVERYTHING], ids=["pair", "everything"])
@SLOW
@given(data=st.data())
def test_a_good_file_with_any_part_replaced_is_loaded_or_refused(whole: dict[str, Any], data: st.DataObject) -> None:
    tree = copy.deepcopy(whole)
    place: Any = tree
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            if data.draw(st.booleans()):
                place[key] = data.draw(TREES)
            else:
                del place[key]
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
    parts = (
        (ElectorPart, elector_part(config, "lb1")),
        (DirectorPart, director_part(config, "lb1")),
        (AttendantPart, attendant_part(config, "lb1")),
    )
    for kind, part in parts:
        assert from_json(kind, json.loads(json.dumps(to_json(part)))) == part
