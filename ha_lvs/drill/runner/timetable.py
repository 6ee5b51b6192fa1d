"""Which step is due when, and on whom. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ha_lvs.drill.scenario import Step
from ha_lvs.errors import LabError

ACTIVE, STANDBY = "active", "standby"


@dataclass(frozen=True, slots=True)
class Due:
    """A step with its place in time.

    Arguments:
        at_s: when, on the clock of arming.
        index: its number in the scenario, from 0.
        step: with the name of a node as its target.
        text: for people, in the scenario's own terms.
    """

    at_s: float
    index: int
    step: Step
    text: str


def timetable(steps: Sequence[Step], armed_s: float, active: str, standby: str) -> tuple[Due, ...]:
    """The steps in the order of their times; those of the same time in the order in which they were written.

    Arguments:
        steps: of the scenario.
        armed_s: when the drill was armed.
        active, standby: who had which role then; empty where there are no directors.

    Errors: LabError when a step is about a director and there is none.
    """
    names = {ACTIVE: active, STANDBY: standby}
    dues = []
    for index, step in enumerate(steps):
        target = names.get(step.target, step.target)
        if step.target and not target:
            raise LabError(f"step '{step.text}': there is no director here")
        dues.append(Due(armed_s + step.at_s, index, dataclasses.replace(step, target=target), step.text))
    return tuple(sorted(dues, key=lambda due: (due.at_s, due.index)))


def running_servers(servers: Iterable[str], dues: Iterable[Due]) -> frozenset[str]:
    """The real servers that answer after these steps, of those that answered before."""
    running = set(servers)
    for due in dues:
        match due.step.verb:
            case "stop_server" | "hang_server":
                running.discard(due.step.target)
            case "start_server":
                running.add(due.step.target)
    return frozenset(running)
