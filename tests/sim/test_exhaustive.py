"""Two directors in coarse time: every order of packets, losses, timers and faults, up to a bound. See `small`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim.small import WITH_WITNESS, explored

# What may happen, how many losses and faults, quarters of an interval, and fields of the configurations.
MODELS: dict[str, tuple[tuple[str, ...], int, int, int, dict[str, Any]]] = {
    "a cold start": ((), 2, 0, 24, {"cold": True}),
    "crashes": (("crash", "restart"), 1, 2, 20, {}),
    "crashes without preemption": (("crash", "restart", "freeze", "thaw"), 1, 2, 12, {"preempt": False}),
    "crashes with a preempt delay": (("crash", "restart"), 1, 2, 14, {"preempt_delay_s": 1.5, "down_after": 2}),
    "pauses": (("freeze", "thaw", "freeze all", "thaw all"), 1, 2, 20, {}),
    "a hand-over and a lost packet": (("hand over", "resign", "leave", "enable"), 1, 1, 12, {}),
    "two hand-overs": (("hand over", "resign", "enable"), 0, 2, 6, {}),
    "a hand-over and a fault": (("hand over", "crash", "freeze", "thaw"), 0, 2, 6, {}),
    "planned stops": (("stop", "restart"), 1, 1, 12, {}),
    "faults and false BFD": (("fault", "clear", "bfd lies"), 1, 2, 12, {}),
    "witnesses": (("witness gone", "witness back", "crash"), 1, 2, 12, WITH_WITNESS),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_course_is_safe_and_heals(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    kinds, losses, faults, quarters, more = MODELS[name]
    model = explored(kinds, losses, faults, quarters, **more)
    with capsys.disabled():
        print(f"\n{name}: {model.states} states, healed from {model.healed} of them", end="")
    assert model.states > 500, "the faults must lead somewhere"
    assert model.healed > 0
