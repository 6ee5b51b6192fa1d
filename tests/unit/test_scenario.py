"""The scenario file: what loads, that every problem is named at its place, what is promised and when it is kept."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.config import loader as config_loader
from ha_lvs.drill.lab.pair_config import dump, pair_config
from ha_lvs.drill.lab.topology import Blocked
from ha_lvs.drill.scenario import BOUNDS, Scenario, Step, Verdict, json_schema, judge, load, loads, merge
from ha_lvs.drill.scenario.model import BLOCKED, VERBS
from ha_lvs.drill.scenario.schema import Expect, StepEntry
from ha_lvs.errors import ConfigError, Problem
from ha_lvs.model import Forwarding

DATA = Path(__file__).parent / "data"
SCENARIOS = sorted((Path(__file__).parents[2] / "scenarios").glob("*.yml"))
AGAINST = {
    "elector-crash": ("keepalived",),
    "frozen-active": ("keepalived",),
    "planned-stop": ("keepalived",),
    "power-loss": ("keepalived",),
    "restart-in-place": ("keepalived",),
    "server-dies": ("keepalived", "dns"),
}
INTERVALS_MS = {"busy-processors": 10, "elector-crash": 1000, "handover": 1000, "restart-in-place": 100}
"""Of those with another interval than most."""

GOOD: dict[str, Any] = {
    "title": "A drill",
    "teaches": "Something.\n",
    "topology": {"servers": 2},
    "load": {"connections": 10, "rate": 50, "udp": "1ms"},
    "steps": [{"at": "2s", "cut": "active"}, {"at": "4s", "heal": "active"}],
    "end": "10s",
    "expect": {"outage": "1.5s"},
}


def spelt(data: dict[str, Any]) -> bytes:
    return yaml.safe_dump(data, sort_keys=False).encode()


def read(**changes: Any) -> Scenario:
    """The good scenario with other top-level keys."""
    return loads(spelt(copy.deepcopy(GOOD) | changes), "drills/a-drill.yml")


def steps(*entries: dict[str, Any], **changes: Any) -> Scenario:
    return read(steps=list(entries), **changes)


def refused(**changes: Any) -> list[str]:
    """The problems of such a scenario as `path: message`."""
    with pytest.raises(ConfigError) as caught:
        read(**changes)
    return [f"{problem.path}: {problem.message}" for problem in caught.value.problems]


def one(found: list[str], *fragments: str) -> str:
    """The only problem, which has all the fragments."""
    assert len(found) == 1, found
    assert all(fragment in found[0] for fragment in fragments), found
    return found[0]


def at(time: str, verb: str, target: object) -> dict[str, Any]:
    return {"at": time, verb: target}


# ------------------------------------------------------------------------------------------------ our eleven


def test_there_are_eleven() -> None:
    assert [path.stem for path in SCENARIOS] == [
        "busy-processors",
        "elector-crash",
        "frozen-active",
        "handover",
        "killed",
        "one-way-loss",
        "planned-stop",
        "power-loss",
        "restart-in-place",
        "server-dies",
        "server-hangs",
    ]


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_each_loads_and_says_what_it_teaches_and_promises(path: Path) -> None:
    scenario = load(path)
    assert scenario.name == path.stem
    assert len(scenario.teaches) > 300
    assert "\n" not in scenario.teaches
    assert {"holders_at_end", "role_changes"} & set(scenario.expect)
    assert scenario.against == AGAINST.get(scenario.name, ())
    assert path.read_text().startswith("title: ")


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_what_each_changes_of_the_pair_is_a_config_file(path: Path) -> None:
    scenario = load(path)
    generated = pair_config(scenario.forwarding, scenario.servers, 1000)
    config = config_loader.loads(dump(merge(generated, scenario.config), "test").encode(), "generated")
    assert bool(config.services) == scenario.needs_ipvs
    if scenario.config:
        assert config.instances["edge"].interval.ms == INTERVALS_MS.get(scenario.name, 250)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_bound_has_its_reason_beside_it(path: Path) -> None:
    """A comment stands above the first bound, and at most four bounds share one."""
    bare = 0
    lines = path.read_text().partition("expect:\n")[2].splitlines()
    assert lines[0].startswith("  # ")
    for line in lines:
        bare = 0 if line.startswith("  # ") else bare + 1
        assert bare <= 4, line


# -------------------------------------------------------------------------------------------------- loading


def test_a_scenario_as_values() -> None:
    scenario = read(
        config={"instances": {"edge": {"interval": "250ms"}}, "connection_sync": None},
        topology={"forwarding": "nat", "servers": 2, "clients": 3},
        load={"connections": 10, "rate": "2.5", "udp": "5ms"},
        against=["keepalived"],
        teaches="One\n  paragraph.\n",
        expect={"outage": "1.5s", "dual_active": "0s", "requests_failed": 3, "connections_kept": "99.5"},
    )
    assert scenario == Scenario(
        name="a-drill",
        title="A drill",
        teaches="One paragraph.",
        forwarding=Forwarding.NAT,
        servers=2,
        clients=3,
        config={"instances": {"edge": {"interval": "250ms"}}, "connection_sync": None},
        connections=10,
        rate=2.5,
        udp_interval_s=0.005,
        against=("keepalived",),
        steps=(Step(2.0, "cut", "active"), Step(4.0, "heal", "active")),
        end_s=10.0,
        expect={"outage": 1.5, "dual_active": 0.0, "requests_failed": 3.0, "connections_kept": 99.5},
    )
    assert scenario.needs_ipvs


def test_what_may_be_left_out() -> None:
    least = {key: GOOD[key] for key in ("title", "teaches", "steps", "end")}
    scenario = loads(spelt(least), "least.yml")
    assert (scenario.forwarding, scenario.servers, scenario.clients) == (Forwarding.DR, 3, 1)
    assert (scenario.connections, scenario.rate, scenario.udp_interval_s) == (0, 0.0, None)
    assert (dict(scenario.config), scenario.against, dict(scenario.expect)) == ({}, (), {})


def test_without_servers_no_ipvs_is_needed() -> None:
    assert not read(topology={"servers": 0}, load={"udp": "1ms"}, expect={"udp_outage": "1s"}).needs_ipvs


def test_steps_are_sorted_by_time_and_those_of_one_time_stay_in_order() -> None:
    found = steps(at("4s", "heal", "lb1"), at("0s", "cut", "lb1"), at("4s", "stop", "lb2"), at("500ms", "cut", "s1"))
    assert [(step.at_s, step.verb) for step in found.steps] == [(0, "cut"), (0.5, "cut"), (4, "heal"), (4, "stop")]


@pytest.mark.parametrize(
    ("verb", "target", "options", "text"),
    [
        ("cut", "active", {}, "cut active"),
        ("heal", "active", {}, "heal active"),
        ("freeze", "standby", {}, "freeze standby"),
        ("kill", "lb2", {}, "kill lb2"),
        ("hang_server", "s1", {}, "hang server s1"),
        ("handover", "active", {}, "active hands over"),
        ("standby", "lb1", {}, "put lb1 on standby"),
        ("enable", "lb1", {}, "enable lb1"),
        ("restart", "standby", {}, "restart standby in place"),
        ("kill_elector", "active", {}, "kill the elector of active"),
        ("one_way", "active", {"blocked": "sends"}, "one-way: active no longer sends"),
        ("loss", "lb1", {"percent": 2.5}, "loss: lb1 loses 2.5% each way"),
        ("delay", "s1", {"time_s": 0.02, "jitter_s": 0.0}, "delay: s1 is 20 ms late each way"),
        ("delay", "s1", {"time_s": 1.5, "jitter_s": 0.005}, "delay: s1 is 1.5 s late each way (± 5 ms)"),
        ("busy_cpu", "", {"loops": 8, "duration_s": 10.0}, "8 busy loops for 10 s"),
    ],
)
def test_a_step_in_words(verb: str, target: str, options: dict[str, float | str], text: str) -> None:
    assert Step(1.0, verb, target, options).text == text


def test_steps_with_options() -> None:
    found = steps(
        at("1s", "loss", {"node": "active", "percent": 20}),
        at("2s", "delay", {"node": "s1", "time": "20ms", "jitter": "5ms"}),
        at("3s", "one_way", {"node": "lb1", "blocked": "receives"}),
        at("4s", "busy_cpu", {"loops": 8, "duration": "1.5s"}),
    )
    assert [(step.target, dict(step.options)) for step in found.steps] == [
        ("active", {"percent": 20.0}),
        ("s1", {"time_s": 0.02, "jitter_s": 0.005}),
        ("lb1", {"blocked": "receives"}),
        ("", {"loops": 8, "duration_s": 1.5}),
    ]


def test_every_verb_and_bound_is_in_the_schema() -> None:
    assert list(StepEntry.model_fields) == ["at", *VERBS]
    assert list(Expect.model_fields) == list(BOUNDS)
    assert tuple(each.value for each in Blocked)[::-1] == BLOCKED


# ------------------------------------------------------------------------------------------------- problems


@pytest.mark.parametrize(
    ("place", "fragments"),
    [
        ("3:1", ["`teachs`", "did you mean `teaches`?"]),
        ("4:36", ["topology.forwarding", "'drr'", "did you mean 'dr'?"]),
        ("5:9", ["config", "a list", "`ha-lvs schema --scenario`"]),
        ("6:24", ["load.udp", "0.5ms", "whole milliseconds"]),
        ("7:23", ["against[1]", "'nginx'", "keepalived or dns"]),
        ("9:19", ["steps[0].cut", "'activ'", "did you mean 'active'?"]),
        ("7:11", ["against[0]", "keepalived cannot hand over", "`handover: active`"]),
        ("11:14", ["steps[2].freez", "did you mean `freeze`?"]),
        ("12:31", ["steps[3].stop", "second verb beside `kill`"]),
        ("13:5", ["steps[4]", "does nothing", "cut, heal"]),
        ("14:5", ["steps[5]", "`at` is missing", "`at: 2s`"]),
        ("15:27", ["steps[6].loss.node", "no s3", "s1 to s2"]),
        ("15:40", ["steps[6].loss.percent", "200", "0 to 100"]),
        ("16:22", ["steps[7].freeze", "s1 is a real server", "hang_server"]),
        ("17:10", ["steps[8].at", "20s", "`end`, 14s"]),
        ("18:45", ["steps[9].busy_cpu.duration", "until 18s", "14s"]),
        ("20:18", ["expect.outage", "1 has no unit", "1s"]),
        ("20:39", ["expect.connections_kept", "load.connections"]),
        ("20:55", ["expect.server_in", "there is no value"]),
        ("20:57", ["expect.role_change", "did you mean `role_changes`?"]),
    ],
)
def test_broken_names_each_problem_at_its_place(place: str, fragments: list[str]) -> None:
    path = DATA / "broken-scenario.yml"
    with pytest.raises(ConfigError) as caught:
        load(path)
    one([line for line in str(caught.value).splitlines() if line.startswith(f"{path}:{place}: ")], *fragments)


def test_broken_has_no_other_problems() -> None:
    with pytest.raises(ConfigError) as caught:
        load(DATA / "broken-scenario.yml")
    assert len(caught.value.problems) == 20


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"", "the file is empty; it needs at least title, teaches, steps and end"),
        (b"- a\n", "expected a mapping (title: ...), found a list (1 items); see `ha-lvs schema --scenario`"),
        (b"title: [\n", "not YAML"),
        (b"title: a\ntitle: b\n", "duplicate key `title`"),
    ],
)
def test_what_is_no_scenario_at_all(content: bytes, fragment: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(content, "x.yml")
    assert fragment in str(caught.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"nowhere.yml:1:1: \(top level\): cannot be read: No such file"):
        load(Path("nowhere.yml"))


@pytest.mark.parametrize("last", ["10s", "11s"])
def test_a_step_must_be_before_the_end(last: str) -> None:
    one(refused(steps=[at(last, "cut", "lb1")]), "steps[0].at", last, "`end`, 10s")


@pytest.mark.parametrize(("servers", "fragment"), [(0, "topology.servers is 0"), (1, "the only server is s1")])
def test_a_server_that_is_not_there(servers: int, fragment: str) -> None:
    changes = {"topology": {"servers": servers}, "load": {}, "expect": {}}
    one(refused(steps=[at("2s", "stop_server", "s2")], **changes), "steps[0].stop_server", "no s2", fragment)


def test_without_topology_there_are_three_servers() -> None:
    steps(at("1s", "stop_server", "s3"), topology={})
    one(refused(steps=[at("1s", "stop_server", "s4")], topology={}), "no s4", "s1 to s3")


ORDERS_THAT_WORK = [
    [("cut", "active"), ("heal", "active"), ("cut", "active")],
    [("cut", "active"), ("heal", "lb1")],
    [("loss", {"node": "lb1", "percent": 5}), ("loss", {"node": "lb1", "percent": 9}), ("heal", "lb1")],
    [("freeze", "lb1"), ("thaw", "lb1"), ("freeze", "lb1")],
    [("freeze", "lb1"), ("kill", "lb1"), ("start", "lb1")],
    [("kill", "lb1"), ("start", "lb1"), ("stop", "lb1")],
    [("stop", "active"), ("stop", "standby")],
    [("stop_server", "s1"), ("start_server", "s1"), ("hang_server", "s1"), ("start_server", "s1")],
    [("hang_server", "s1"), ("stop_server", "s1"), ("start_server", "s1")],
    [("cut", "s1"), ("heal", "s1")],
    [("handover", "active"), ("handover", "standby"), ("handover", "active")],
    [("handover", "active"), ("enable", "lb1")],
    [("standby", "lb1"), ("restart", "lb1"), ("enable", "lb1"), ("standby", "lb1")],
    [("handover", "lb1"), ("standby", "lb1"), ("enable", "lb1")],
    [("restart", "standby"), ("restart", "active"), ("restart", "active")],
    [("kill_elector", "active"), ("kill_elector", "active"), ("stop", "active")],
    [("freeze", "lb1"), ("kill_elector", "lb1"), ("thaw", "lb1"), ("handover", "lb1")],
    [("standby", "lb1"), ("stop", "lb1"), ("start", "lb1"), ("enable", "lb1")],
]


@pytest.mark.parametrize("order", ORDERS_THAT_WORK, ids=str)
def test_steps_that_follow_from_each_other(order: list[tuple[str, Any]]) -> None:
    assert len(steps(*(at(f"{n}s", *step) for n, step in enumerate(order))).steps) == len(order)


@pytest.mark.parametrize(
    ("order", "fragments"),
    [
        ([("heal", "lb1")], ["lb1 has not been cut off", "put that step before"]),
        ([("cut", "lb2"), ("heal", "lb1")], ["lb1 has not been cut off"]),
        ([("cut", "s1"), ("heal", "active")], ["active has not been cut off"]),
        ([("thaw", "active")], ["active has not been frozen"]),
        ([("freeze", "lb1"), ("kill", "lb1"), ("thaw", "lb1")], ["lb1 has not been frozen"]),
        ([("start", "active")], ["active has not been killed or stopped"]),
        ([("stop", "lb1"), ("start", "lb1"), ("start", "lb1")], ["has not been killed or stopped"]),
        ([("start_server", "s1")], ["s1 has not been stopped or hung"]),
        ([("stop_server", "s2"), ("start_server", "s1")], ["s1 has not been stopped or hung"]),
        ([("cut", "lb1"), ("cut", "lb1")], ["has already been cut off at 0ms", "heal it first"]),
        ([("stop", "lb1"), ("kill", "lb1")], ["already been stopped", "start it first"]),
        ([("freeze", "lb1"), ("stop", "lb1")], ["already been frozen", "thaw it first"]),
        ([("stop_server", "s1"), ("hang_server", "s1")], ["already been stopped", "start_server it first"]),
        ([("enable", "lb1")], ["lb1 has not been told to hand over or put on standby"]),
        ([("standby", "lb2"), ("enable", "lb1")], ["lb1 has not been told to hand over or put on standby"]),
        ([("standby", "lb1"), ("standby", "lb1")], ["already been put on standby", "enable it first"]),
        ([("standby", "lb1"), ("handover", "lb1")], ["already been put on standby", "enable it first"]),
        ([("stop", "lb1"), ("handover", "lb1")], ["already been stopped", "start it first"]),
        ([("freeze", "lb1"), ("restart", "lb1")], ["already been frozen", "thaw it first"]),
        ([("standby", "lb1"), ("freeze", "lb1"), ("enable", "lb1")], ["already been frozen", "thaw it first"]),
        ([("kill", "active"), ("kill_elector", "active")], ["already been killed", "start it first"]),
    ],
    ids=str,
)
def test_steps_that_make_no_sense(order: list[tuple[str, Any]], fragments: list[str]) -> None:
    one(refused(steps=[at(f"{n}s", *step) for n, step in enumerate(order)]), f"steps[{len(order) - 1}]", *fragments)


def test_the_order_is_that_of_the_times_not_that_of_the_file() -> None:
    assert steps(at("5s", "start", "lb1"), at("2s", "stop", "lb1"))
    one(refused(steps=[at("5s", "stop", "lb1"), at("2s", "start", "lb1")]), "steps[1].start", "not been killed")


@pytest.mark.parametrize(
    ("load", "bound", "value", "missing"),
    [
        ({"rate": 50}, "udp_outage", "1s", "load.udp"),
        ({"rate": 50}, "datagrams_lost", 0, "load.udp"),
        ({"rate": 50}, "connections_kept", 100, "load.connections"),
        ({"rate": 0, "connections": 10}, "outage", "1s", "load.rate"),
        ({}, "requests_failed", 1, "load.rate"),
    ],
)
def test_a_bound_for_what_no_load_measures(load: dict[str, Any], bound: str, value: object, missing: str) -> None:
    one(refused(load=load, expect={bound: value}), f"expect.{bound}", "cannot be measured", missing)


@pytest.mark.parametrize("bound", ["server_out", "server_in"])
def test_a_bound_on_a_server_to_which_nothing_happens(bound: str) -> None:
    one(refused(expect={bound: "3s"}), f"expect.{bound}", "cannot be measured without a step")


@pytest.mark.parametrize("key", ["connections", "rate"])
def test_http_load_needs_servers(key: str) -> None:
    one(refused(topology={"servers": 0}, load={key: 5}, expect={}), f"load.{key}", "topology.servers is 0")


def test_dns_has_no_directors() -> None:
    assert steps(at("2s", "stop_server", "s1"), against=["dns"]).against == ("dns",)
    one(refused(against=["dns"]), "against[0]", "no directors", "`cut: active`")


def test_dns_needs_servers() -> None:
    busy = [at("2s", "busy_cpu", {"loops": 1, "duration": "1s"})]
    one(refused(steps=busy, topology={"servers": 0}, load={}, expect={}, against=["dns"]), "against[0]", "servers")


@pytest.mark.parametrize(
    ("order", "fragment"),
    [
        ([("handover", "lb2")], "keepalived cannot hand over, as `handover: lb2` asks"),
        ([("standby", "active")], "keepalived cannot be put on standby"),
        ([("standby", "active"), ("enable", "active")], "keepalived cannot be put on standby"),
    ],
)
def test_what_keepalived_cannot_do(order: list[tuple[str, str]], fragment: str) -> None:
    asked = [at(f"{n}s", *step) for n, step in enumerate(order)]
    assert steps(*asked)
    one(refused(steps=asked, against=["keepalived"]), "against[0]", fragment)


def test_what_comes_near_to_it_keepalived_can_do() -> None:
    found = steps(at("1s", "restart", "active"), at("2s", "kill_elector", "active"), against=["keepalived"])
    assert found.against == ("keepalived",)


@pytest.mark.parametrize("verb", ["handover", "standby", "enable", "restart", "kill_elector"])
def test_what_is_asked_of_directors_is_not_asked_of_servers(verb: str) -> None:
    assert "s1 is a real server" in "\n".join(refused(steps=[at("1s", verb, "s1")]))


def test_a_contender_twice() -> None:
    one(refused(against=["keepalived", "keepalived"]), "against[1]", "already at against[0]")


@pytest.mark.parametrize("value", [-1, "20%", "1e2", True, [5]])
def test_percent_is_a_number(value: object) -> None:
    found = refused(steps=[at("1s", "loss", {"node": "lb1", "percent": value})])
    one(found, "steps[0].loss.percent", "0 to 100")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["2s", "active", "s1", "dns", "", "1ms"]),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(["a", "node", "time"]), below, max_size=3)
    ),
    max_leaves=6,
)
FILES = st.fixed_dictionaries(
    {},
    optional={
        "topology": ANYTHING | st.fixed_dictionaries({}, optional={"servers": ANYTHING, "clients": ANYTHING}),
        "config": ANYTHING,
        "load": ANYTHING | st.fixed_dictionaries({}, optional={"rate": ANYTHING, "udp": ANYTHING}),
        "against": ANYTHING,
        "steps": ANYTHING
        | st.lists(ANYTHING | st.dictionaries(st.sampled_from(["at", *VERBS]), ANYTHING, max_size=3), max_size=4),
        "end": ANYTHING,
        "expect": ANYTHING | st.dictionaries(st.sampled_from(list(BOUNDS)), ANYTHING, max_size=3),
    },
)


@given(FILES)
def test_whatever_a_file_holds_it_loads_or_has_problems_with_places(data: dict[str, Any]) -> None:
    problems: tuple[Problem, ...] = (Problem("x.yml", 1, 1, "", "it loads"),)
    try:
        loads(spelt(GOOD | data), "x.yml")
    except ConfigError as error:
        problems = error.problems
    assert problems
    assert all(problem.line >= 1 and problem.column >= 1 and problem.message for problem in problems)


# --------------------------------------------------------------------------------------------------- schema


def test_the_json_schema_has_every_verb_and_bound() -> None:
    schema = json_schema()
    assert schema["title"] == "ha-lvs drill scenario"
    assert schema["required"] == ["title", "teaches", "steps", "end"]
    assert set(schema["$defs"]["StepEntry"]["properties"]) == {"at", *VERBS}
    assert [each["required"] for each in schema["$defs"]["StepEntry"]["oneOf"]] == [[verb] for verb in VERBS]
    assert set(schema["$defs"]["Expect"]["properties"]) == set(BOUNDS)


def test_the_command_line_prints_it() -> None:
    script = Path(sys.executable).parent / "ha-lvs"
    ran = subprocess.run([script, "schema", "--scenario"], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout) == json_schema()


# ---------------------------------------------------------------------------------------------------- merge


VALUES = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.sampled_from("abcd"), below, max_size=3),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)
CHANGES = st.dictionaries(
    st.sampled_from("abcd"),
    st.recursive(
        st.none() | st.integers(),
        lambda below: st.dictionaries(st.sampled_from("abcd"), below, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def has_null(value: object) -> bool:
    if isinstance(value, dict):
        return any(has_null(item) for item in value.values())
    return value is None


def test_merge_goes_deep_replaces_lists_and_deletes_by_null() -> None:
    base = {"instances": {"edge": {"interval": "1s", "virtual_ips": ["a", "b"]}}, "sync": {"id": 7}, "log": "x"}
    over = {"instances": {"edge": {"virtual_ips": ["c"], "lease": "off"}}, "sync": None, "log": {"level": "debug"}}
    assert merge(base, over) == {
        "instances": {"edge": {"interval": "1s", "virtual_ips": ["c"], "lease": "off"}},
        "log": {"level": "debug"},
    }


@given(MAPPINGS)
def test_merging_nothing_changes_nothing(base: dict[str, Any]) -> None:
    assert merge(base, {}) == base
    assert merge({}, base) == base
    assert merge(base, base) == base


@given(MAPPINGS, CHANGES)
def test_merging_twice_is_merging_once_and_leaves_no_null(base: dict[str, Any], over: dict[str, Any]) -> None:
    before = copy.deepcopy((base, over))
    merged = merge(base, over)
    assert (base, over) == before
    assert merge(merged, over) == merged
    assert not has_null(merged)


@given(MAPPINGS, CHANGES)
def test_merged_keys_come_from_somewhere(base: dict[str, Any], over: dict[str, Any]) -> None:
    merged = merge(base, over)
    assert set(merged) == (set(base) | set(over)) - {key for key, value in over.items() if value is None}
    assert all(merged[key] == base[key] for key in set(base) - set(over))


# ---------------------------------------------------------------------------------------------------- judge


def verdict(name: str, bound: float, measured: float | None) -> bool:
    [found] = judge({name: bound}, {name: measured})
    assert (found.name, found.bound, found.measured) == (name, bound, measured)
    return found.ok


DIRECTIONS = {
    "at most": {
        "outage",
        "udp_outage",
        "datagrams_lost",
        "requests_failed",
        "dual_active",
        "no_holder",
        "role_changes",
        "recovery",
    }
    | {"server_out", "server_in"},
    "at least": {"connections_kept"},
    "exactly": {"holders_at_end"},
}


@pytest.mark.parametrize("name", sorted(DIRECTIONS["at most"]))
def test_at_most(name: str) -> None:
    assert [verdict(name, 2, measured) for measured in (0, 2, 2.001)] == [True, True, False]


def test_at_least() -> None:
    assert [verdict("connections_kept", 99, measured) for measured in (98.9, 99, 100)] == [False, True, True]


def test_exactly() -> None:
    assert [verdict("holders_at_end", 1, measured) for measured in (0, 1, 2)] == [False, True, False]


def test_every_bound_has_a_direction_and_a_label() -> None:
    assert {name: bound.direction for name, bound in BOUNDS.items()} == {
        name: direction for direction, names in DIRECTIONS.items() for name in names
    }
    assert all(bound.name == name and bound.label for name, bound in BOUNDS.items())


@pytest.mark.parametrize("name", list(BOUNDS))
def test_what_was_not_measured_does_not_hold(name: str) -> None:
    assert not verdict(name, 0, None)
    [missing] = judge({name: 0}, {})
    assert missing == Verdict(
        name, BOUNDS[name].label, BOUNDS[name].unit, BOUNDS[name].direction, 0, measured=None, ok=False
    )


@pytest.mark.parametrize("name", list(BOUNDS))
def test_no_number_does_not_hold(name: str) -> None:
    assert not verdict(name, 1, float("nan"))


def test_figures_without_a_bound_are_not_judged_and_verdicts_come_in_order() -> None:
    found = judge({"recovery": 3, "outage": 1}, {"outage": 0.5, "udp_outage": 99, "recovery": 4})
    assert [(each.name, each.ok) for each in found] == [("outage", True), ("recovery", False)]


def test_a_bound_that_does_not_exist() -> None:
    with pytest.raises(KeyError, match="outrage"):
        judge({"outrage": 1}, {})


FIGURES = st.floats(0, 1e6, allow_nan=False)


@given(st.sampled_from(sorted(BOUNDS)), FIGURES, FIGURES, FIGURES)
def test_a_better_figure_and_a_looser_bound_never_turn_a_verdict_bad(
    name: str, bound: float, one_figure: float, other: float
) -> None:
    low, high = sorted((one_figure, other))
    if BOUNDS[name].direction == "at most":
        assert verdict(name, bound, low) >= verdict(name, bound, high)
        assert verdict(name, high, bound) >= verdict(name, low, bound)
    elif BOUNDS[name].direction == "at least":
        assert verdict(name, bound, high) >= verdict(name, bound, low)
        assert verdict(name, low, bound) >= verdict(name, high, bound)
    else:
        assert verdict(name, bound, one_figure) == (bound == one_figure)
