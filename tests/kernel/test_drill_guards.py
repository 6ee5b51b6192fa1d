"""Each drill fails when what it guards is switched off: bounds that hold whatever happens would guard nothing.

What is switched off is in `GUARDS`: by the config where an operator could do it too, and by a mutation
(tests/mutations) where the product has no switch. The bound that must break is named, for a drill that fails for
another reason shows nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from ha_lvs.drill.measure.events import parse_event
from ha_lvs.drill.report.build import build
from ha_lvs.drill.report.collect import OURS, Story
from ha_lvs.drill.runner import pair
from ha_lvs.drill.scenario import Scenario, load

PROJECT = Path(__file__).parents[2]
MUTATIONS = PROJECT / "tests" / "mutations"


@dataclass(frozen=True)
class Guard:
    """What a drill guards.

    Arguments:
        drill: name of the scenario.
        breaks: the bounds of which at least one must not hold without the guard.
        instance: what to change in the config's instance.
        top: what to change at the config's top; null takes it away.
        check: the check of the service.
        mutation: a name out of tests/mutations.
    """

    drill: str
    breaks: frozenset[str]
    instance: dict[str, Any] = field(default_factory=dict)
    top: dict[str, Any] = field(default_factory=dict)
    check: dict[str, Any] | None = None
    mutation: str = ""


GUARDS = {
    "connection sync": Guard("power-loss", frozenset({"connections_kept"}), top={"connection_sync": None}),
    "lease, frozen": Guard("frozen-active", frozenset({"dual_active"}), instance={"lease": "off"}),
    "lease, killed": Guard("killed", frozenset({"dual_active"}), instance={"lease": "off"}),
    "hand-over or resignation at the end": Guard(
        "planned-stop", frozenset({"outage", "udp_outage", "no_holder"}), mutation="silent stop"
    ),
    "hand-over at the end": Guard("planned-stop", frozenset({"no_holder"}), mutation="let go first"),
    "make before break": Guard(
        "handover", frozenset({"datagrams_lost", "udp_outage", "no_holder"}), mutation="let go first"
    ),
    "succession of electors": Guard(
        "restart-in-place", frozenset({"role_changes", "no_holder"}), mutation="restart by stopping"
    ),
    "recovery under a lease": Guard("elector-crash", frozenset({"role_changes"}), instance={"lease": "off"}),
    "announcing again": Guard("one-way-loss", frozenset({"udp_outage"}), mutation="announce once"),
    "real-time priority": Guard("busy-processors", frozenset({"role_changes"}), mutation="idle process"),
    "check": Guard("server-dies", frozenset({"server_out"}), check={"type": "none"}),
    "check of answers": Guard("server-hangs", frozenset({"server_out"}), check={"type": "tcp"}),
}

NEED_IPVS = {"power-loss", "frozen-active", "killed", "planned-stop", "server-dies", "server-hangs"}


def test_every_drill_has_a_guard() -> None:
    drills = {path.stem for path in (PROJECT / "scenarios").glob("*.yml")}
    assert {guard.drill for guard in GUARDS.values()} == drills
    assert {name for name in drills if load(PROJECT / "scenarios" / f"{name}.yml").needs_ipvs} == NEED_IPVS


@pytest.mark.timeout(240)
@pytest.mark.ipvs
@pytest.mark.parametrize("name", [name for name, guard in GUARDS.items() if guard.drill in NEED_IPVS])
def test_a_drill_with_servers_fails_without_its_guard(name: str, tmp_path: Path) -> None:
    assert_fails(GUARDS[name], tmp_path)


@pytest.mark.timeout(120)
@pytest.mark.alone
@pytest.mark.netns
@pytest.mark.parametrize("name", [name for name, guard in GUARDS.items() if guard.drill not in NEED_IPVS])
def test_a_drill_of_the_election_fails_without_its_guard(name: str, tmp_path: Path) -> None:
    assert_fails(GUARDS[name], tmp_path)


def assert_fails(guard: Guard, directory: Path) -> None:
    """Runs the drill without its guard: it works, and one of the bounds that are meant does not hold."""
    scenario = load(PROJECT / "scenarios" / f"{guard.drill}.yml")
    report = run(scenario, override(guard, scenario), guard.mutation, directory)
    assert not report["problems"]
    broken = {bound["name"] for bound in report["bounds"] if not bound["ok"]}
    assert broken & guard.breaks, f"without its guard the drill still holds: {report['bounds']}"


def override(guard: Guard, scenario: Scenario) -> dict[str, Any]:
    """What to change in the pair's config."""
    changes = dict(guard.top)
    if guard.instance:
        changes["instances"] = {"edge": guard.instance}
    if guard.check is not None:
        services = yaml.safe_load(pair.config_text(scenario, {}))["services"]
        changes["services"] = [{**service, "check": guard.check} for service in services]
    return changes


def run(scenario: Scenario, changes: dict[str, Any], mutation: str, directory: Path) -> dict[str, Any]:
    """The report of a run with our pair alone."""
    file = PROJECT / "scenarios" / f"{scenario.name}.yml"
    command = [sys.executable, "-m", "ha_lvs.drill.runner", str(file), "-o", str(directory)]
    command += ["--contender", OURS, "--override", json.dumps(changes)]
    if mutation:
        for variable in (f"PYTHONPATH={MUTATIONS}", f"HA_LVS_TEST_MUTATION={mutation}"):
            command += ["--environment", variable]
    done = subprocess.run(command, stdout=subprocess.PIPE, cwd=PROJECT, check=True)
    story = Story(scenario.end_s)
    for line in done.stdout.splitlines():
        event = parse_event(line)
        if event is not None:
            story.feed(event)
    return build(story, scenario, (OURS,), "")
