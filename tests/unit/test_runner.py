"""The pure parts of the drills' measuring side: recovery, timetable, config file; and busy loops, which need no lab."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.config import loader
from ha_lvs.drill import scenario as scenarios
from ha_lvs.drill.lab.busy import BusyLoops
from ha_lvs.drill.lab.pair_config import dump, pair_config
from ha_lvs.drill.lab.topology import INSIDE_GATEWAY, VIRTUAL_IP
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.drill.measure.tally import Request
from ha_lvs.drill.runner import pair
from ha_lvs.drill.runner.__main__ import Variable, mapping, parser
from ha_lvs.drill.runner.recovery import LASTING_S, Seen, recovery
from ha_lvs.drill.runner.timetable import running_servers, timetable
from ha_lvs.drill.runner.versions import versions
from ha_lvs.drill.scenario import Scenario, Step
from ha_lvs.errors import ConfigError, LabError
from ha_lvs.model import Forwarding

SCENARIOS = sorted((Path(__file__).parents[2] / "scenarios").glob("*.yml"))
LAST_STEP, END = 10.0, 20.0
ALL = frozenset({"s1", "s2"})


def requests(*failed: tuple[float, float], until_s: float = END, every_s: float = 0.1) -> list[Request]:
    """A stream of requests that fail when sent within one of the spans."""
    found = []
    for number in range(int(until_s / every_s)):
        sent_s = round(number * every_s, 3)
        bad = any(begin <= sent_s < end for begin, end in failed)
        found.append(Request(sent_s, 2.0, "" if bad else "s1", "timeout" if bad else ""))
    return found


def well() -> dict[str, Any]:
    """What is seen of a run in which nothing happens."""
    return {"holders": [(1.0, ("lb1",))], "in_service": [(2.0, "lb1", ALL)], "requests": requests()}


def after(running: frozenset[str] = ALL, **seen: Any) -> float | None:
    """The figure, or None with a reason."""
    found = recovery(Seen(**{**well(), **seen}), LAST_STEP, END, running)
    assert found != ""
    return None if isinstance(found, str) else found


def test_where_nothing_happens_nothing_has_to_recover() -> None:
    assert after() == 0.0


def test_what_is_not_well_is_told_in_words() -> None:
    found = recovery(Seen(**{**well(), "requests": requests((15.0, END))}), LAST_STEP, END, ALL)
    assert isinstance(found, str)
    assert "requests" in found


def test_two_holders_are_not_well() -> None:
    assert after(holders=[(1.0, ("lb1",)), (10.5, ("lb1", "lb2")), (11.5, ("lb1",))]) == pytest.approx(1.5)


def test_no_holder_is_not_well() -> None:
    assert after(holders=[(1.0, ("lb1",)), (10.5, ()), (13.0, ("lb1",))]) == pytest.approx(3.0)


def test_another_holder_is_well_when_its_own_ipvs_is_complete() -> None:
    moved = [(1.0, ("lb1",)), (10.5, ("lb1", "lb2")), (11.0, ("lb2",))]
    servers = [(2.0, "lb1", ALL), (10.6, "lb2", frozenset({"s1"})), (12.0, "lb2", ALL)]
    assert after(holders=moved, in_service=servers) == pytest.approx(2.0)
    assert after(holders=moved, in_service=servers[:1]) is None


def test_a_dead_server_that_is_still_listed_is_not_well() -> None:
    out = [(2.0, "lb1", ALL), (12.5, "lb1", frozenset({"s2"}))]
    assert after(frozenset({"s2"}), in_service=out) == pytest.approx(2.5)
    assert after(frozenset({"s2"})) is None


def test_a_running_server_that_is_missing_is_not_well() -> None:
    assert after(in_service=[(2.0, "lb1", ALL), (9.0, "lb1", frozenset({"s2"}))]) is None


def test_it_counts_until_requests_are_answered() -> None:
    assert after(requests=requests((10.0, 12.0))) == pytest.approx(2.0)
    assert after(requests=requests((10.0, 12.0)), in_service=None) == pytest.approx(2.0)


def test_what_does_not_last_is_no_recovery() -> None:
    assert after(requests=requests((10.0, 11.0), (15.0, 16.0))) == pytest.approx(6.0)
    assert after(holders=[(1.0, ("lb1",)), (10.1, ("lb1", "lb2")), (10.2, ("lb1",)), (14.0, ("lb2",))]) is None


def test_single_failures_undo_nothing() -> None:
    assert after(requests=requests((10.0, 12.0), (15.0, 15.2), (END - 0.2, END))) == pytest.approx(2.0)


def test_requests_must_be_answered_for_a_while() -> None:
    flicker = [(at / 10, at / 10 + 0.1) for at in range(100, 130, 3)]
    assert after(requests=requests(*flicker)) == pytest.approx(2.8)


def test_answers_count_from_when_the_pair_is_well() -> None:
    servers = [(2.0, "lb1", ALL), (10.2, "lb1", frozenset({"s1"})), (12.0, "lb1", ALL)]
    assert after(in_service=servers, requests=requests((10.0, 10.4))) == pytest.approx(2.0)
    assert after(in_service=servers, requests=requests((10.0, 10.4), (11.9, 12.3))) == pytest.approx(2.3)


def test_what_is_well_only_at_the_very_end_is_not_known_to_last() -> None:
    late = END - LASTING_S / 2
    assert after(holders=[(1.0, ("lb1",)), (11.0, ()), (late, ("lb1",))]) is None
    assert after(requests=requests((10.0, late))) is None
    assert after(requests=requests((10.0, END - 2 * LASTING_S))) == pytest.approx(END - 2 * LASTING_S - LAST_STEP)


def test_what_comes_after_the_end_does_not_count() -> None:
    assert after(holders=[(1.0, ("lb1",)), (END + 1, ())]) == 0.0
    assert after(requests=requests((END + 0.5, END + 2), until_s=END + 2)) == 0.0


def test_a_stream_that_broke_off_has_not_recovered() -> None:
    assert after(requests=requests(until_s=LAST_STEP - 1)) is None
    assert after(requests=[]) is None


def test_without_directors_requests_alone_count() -> None:
    assert after(holders=None, in_service=None, requests=requests((9.0, 11.0))) == pytest.approx(1.0)


def test_a_pair_without_load_recovers_with_its_holder() -> None:
    assert after(requests=None, in_service=None, holders=[(1.0, ("lb1",)), (11.0, ("lb2",))]) == 0.0
    assert after(requests=None, in_service=None, holders=[]) is None


def test_steps_are_due_from_arming_and_keep_their_order() -> None:
    steps = (Step(5.0, "heal", "active"), Step(2.0, "cut", "active"), Step(2.0, "freeze", "standby"))
    dues = timetable(steps, 100.0, "lb2", "lb1")
    assert [(due.at_s, due.index, due.step.verb, due.step.target) for due in dues] == [
        (102.0, 1, "cut", "lb2"),
        (102.0, 2, "freeze", "lb1"),
        (105.0, 0, "heal", "lb2"),
    ]
    assert dues[0].text == "cut active"


def test_a_step_on_a_director_needs_one() -> None:
    with pytest.raises(LabError, match="no director"):
        timetable((Step(1.0, "cut", "active"),), 0.0, "", "")
    loops = Step(1.0, "busy_cpu", "", {"loops": 2.0, "duration_s": 1.0})
    assert timetable((loops, Step(1.0, "stop_server", "s1")), 0.0, "", "")[1].step.target == "s1"


def test_which_servers_run_after_the_steps() -> None:
    steps = [Step(float(at), verb, name) for at, (verb, name) in enumerate(STOPS)]
    assert running_servers(("s1", "s2", "s3"), timetable(steps, 0.0, "lb1", "lb2")) == {"s1", "s3"}
    assert running_servers(("s1", "s2", "s3"), timetable(steps[:3], 0.0, "lb1", "lb2")) == {"s3"}


STOPS = (("stop_server", "s1"), ("cut", "active"), ("hang_server", "s2"), ("start_server", "s1"))


def test_there_are_scenarios() -> None:
    assert SCENARIOS


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_pair_of_every_scenario_has_a_valid_config(path: Path) -> None:
    scenario = scenarios.load(path)
    config = pair.checked(pair.config_text(scenario, {}), scenario)
    assert len(config.services) == (1 if scenario.servers else 0)
    assert sum(len(service.servers) for service in config.services) == scenario.servers


@pytest.mark.parametrize("forwarding", Forwarding)
def test_the_generated_config_is_valid_for_each_forwarding_method(forwarding: Forwarding) -> None:
    config = loader.loads(dump(pair_config(forwarding, 3, 250), "a pair").encode(), "generated")
    held = [str(entry.address) for entry in config.instances["edge"].virtual_ips]
    expected = [VIRTUAL_IP, INSIDE_GATEWAY] if forwarding is Forwarding.NAT else [VIRTUAL_IP]
    assert [address.removesuffix("/32") for address in held] == expected


def scenario(**changes: Any) -> Scenario:
    fields: dict[str, Any] = {
        "name": "made-up", "title": "", "teaches": "", "forwarding": Forwarding.DR, "servers": 2, "clients": 1,
        "config": {}, "connections": 0, "rate": 0.0, "udp_interval_s": None, "against": (), "steps": (), "end_s": 1.0,
        "expect": {}, **changes,
    }  # fmt: skip
    return Scenario(**fields)


def test_an_override_goes_over_the_scenario_which_goes_over_the_lab() -> None:
    drill = scenario(config={"instances": {"edge": {"interval": "50ms", "lease": "3s"}}})
    edge = pair.checked(pair.config_text(drill, {"instances": {"edge": {"lease": "off"}}}), drill).instances["edge"]
    assert edge.interval.seconds == 0.05
    assert edge.lease == "off"
    without = pair.checked(pair.config_text(drill, {"connection_sync": None}), drill)
    assert without.connection_sync is None


def test_a_config_that_the_scenario_has_broken_is_refused_with_its_place() -> None:
    drill = scenario(config={"instances": {"edge": {"intervall": "50ms"}}})
    with pytest.raises(ConfigError, match=r"made-up.*intervall"):
        pair.checked(pair.config_text(drill, {}), drill)


def test_the_command_line_takes_json_and_variables() -> None:
    options = parser().parse_args(
        ["x.yml", "-o", "out", "--override", '{"a": {"b": null}}', "--environment", "A=b=c", "--contender", "ha-lvs"]
    )
    assert options.override == {"a": {"b": None}}
    assert options.environment == [Variable("A", "b=c")]
    for wrong in ("[]", "{"):
        with pytest.raises(Exception, match="JSON"):
            mapping(wrong)
    with pytest.raises(SystemExit):
        parser().parse_args(["x.yml", "-o", "out", "--environment", "novalue"])


def test_versions_are_of_what_takes_part() -> None:
    assert set(versions(["ha-lvs"], 0)) == {"ha-lvs", "python"}
    assert set(versions(["ha-lvs", "keepalived", "dns"], 2)) == {"ha-lvs", "python", "keepalived", "nginx", "dnsmasq"}
    assert json.dumps(versions(["ha-lvs"], 0))


def test_busy_loops_end_with_their_time_and_with_the_lab() -> None:
    with BusyLoops() as loops:
        loops.start(2, 60.0)
        assert loops.running == 2
    assert loops.running == 0
    with BusyLoops() as loops:
        loops.start(1, 0.2)
        wait_for(lambda: not loops.running, 20, "the loop to end by itself")
