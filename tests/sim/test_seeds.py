"""Elections under random faults: 2 000 seeds. A failing one replays alone: `python -m tests.sim --seed K`."""

from __future__ import annotations

import pytest

from tests.sim.torment import live

SEEDS = 2000
CHUNK = 100


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_safety_under_faults_and_one_right_active_after_healing(first: int) -> None:
    outcomes = [live(seed) for seed in range(first, first + CHUNK)]
    assert sum(outcome.promotions for outcome in outcomes) > 2 * CHUNK, "the faults must keep the directors busy"


def test_the_faults_come_near_to_what_the_bounds_allow() -> None:
    """A bound that nothing ever comes near to proves little."""
    outcomes = [live(seed) for seed in range(300)]
    assert max(outcome.longest_both_active_s / outcome.both_active_bound_s for outcome in outcomes) > 0.3
    assert max(outcome.longest_idle_hold_s for outcome in outcomes) > 0.5
