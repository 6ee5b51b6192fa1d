"""The check of the checks: each rule that is taken away is missed, by the simulation or by the exhaustive model."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sim import mutations
from tests.sim.scenarios import hand_over_without_a_gap, heal_cut, listen_before_taking, pause_whole_machine
from tests.sim.small import WITH_WITNESS, explored
from tests.sim.torment import live

SEEDS = 400


def any_seed(course: Callable[[int], object]) -> Callable[[], None]:
    """Lives seeds until one breaks a rule."""

    def search() -> None:
        for seed in range(SEEDS):
            course(seed)

    return search


def witnesses() -> None:
    explored(("witness gone", "witness back", "crash"), 0, 2, 16, **WITH_WITNESS)


CAUGHT = [
    pytest.param(mutations.no_benefit_for_lateness, any_seed(pause_whole_machine), "a pause has cost", id="lateness"),
    pytest.param(mutations.bearing_never_ends, any_seed(live), "both active for", id="bearing"),
    pytest.param(mutations.no_witness_needed, any_seed(live), "although it sees no witness", id="witness"),
    pytest.param(mutations.no_witness_needed, witnesses, "although it is barred", id="witness, exhaustive"),
    pytest.param(mutations.no_deferring, any_seed(live), "had handed over and took", id="deferring"),
    pytest.param(mutations.no_listening, any_seed(live), "spoke without listening", id="listening"),
    pytest.param(mutations.no_resignation, any_seed(heal_cut), "must know the survivor", id="resignation"),
    pytest.param(mutations.no_yielding, any_seed(live), "both active for", id="yielding"),
    pytest.param(mutations.faults_are_ignored, any_seed(live), "although it has a fault", id="fault"),
    pytest.param(mutations.no_startup_delay, any_seed(live), "before its start-up delay", id="start-up delay"),
    pytest.param(mutations.break_before_make, any_seed(hand_over_without_a_gap), "held by nobody", id="make first"),
    pytest.param(mutations.quick_listener_after_bar, any_seed(listen_before_taking), "live active", id="barred"),
]


@pytest.mark.parametrize(("mutate", "course", "says"), CAUGHT)
def test_a_rule_that_is_taken_away_is_missed(
    mutate: Callable[[pytest.MonkeyPatch], None],
    course: Callable[[], None],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutate(monkeypatch)
    with pytest.raises(AssertionError, match=says):
        course()


@pytest.mark.parametrize("course", [pause_whole_machine, heal_cut, hand_over_without_a_gap, listen_before_taking])
def test_with_all_rules_the_courses_end_well(course: Callable[[int], None]) -> None:
    for seed in range(50):
        course(seed)
