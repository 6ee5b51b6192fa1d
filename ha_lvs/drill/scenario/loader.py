"""Reads a scenario file into the frozen `Scenario`, or reports every problem at once with its place."""

from __future__ import annotations

from pathlib import Path

from ha_lvs.config import reading
from ha_lvs.config.durations import Duration
from ha_lvs.drill.scenario import crosscheck
from ha_lvs.drill.scenario.model import VERBS, Scenario, Step
from ha_lvs.drill.scenario.schema import Expect, ScenarioFile, StepEntry

_SCHEMA = reading.Schema(
    model=ScenarioFile,
    crosscheck=crosscheck.problems,
    needs="title, teaches, steps and end",
    example="title: ...",
    verb="ha-lvs schema --scenario",
)


def load(path: Path) -> Scenario:
    """The scenario in a file.

    Arguments:
        path: the file, as the operator gave it; problems quote it so. Its name without the suffix is the scenario's.

    Errors: ConfigError with every problem, sorted by place.
    """
    return loads(reading.content_of(path), str(path))


def loads(content: bytes, source: str) -> Scenario:
    """The scenario in the bytes of a file.

    Arguments:
        content: what is in the file.
        source: what problems call the file.

    Errors: as for `load`.
    """
    found, _ = reading.reads(content, source, _SCHEMA)
    return Scenario(
        name=Path(source).stem,
        title=found.title.strip(),
        teaches=" ".join(found.teaches.split()),
        forwarding=found.topology.forwarding,
        servers=found.topology.servers,
        clients=found.topology.clients,
        config=found.config,
        connections=found.load.connections,
        rate=found.load.rate,
        udp_interval_s=found.load.udp.seconds if found.load.udp else None,
        against=tuple(found.against),
        steps=tuple(sorted((_step(entry) for entry in found.steps), key=lambda step: step.at_s)),
        end_s=found.end.seconds,
        expect=_bounds(found.expect),
    )


def _step(entry: StepEntry) -> Step:
    [verb] = (name for name in VERBS if getattr(entry, name) is not None)
    value = getattr(entry, verb)
    if isinstance(value, str):
        return Step(entry.at.seconds, verb, value)
    options: dict[str, float | str] = {}
    for key in type(value).model_fields:
        option = getattr(value, key)
        if isinstance(option, Duration):
            options[f"{key}_s"] = option.seconds
        elif key != "node":
            options[key] = option
    return Step(entry.at.seconds, verb, getattr(value, "node", ""), options)


def _bounds(expect: Expect) -> dict[str, float]:
    given = {name: getattr(expect, name) for name in Expect.model_fields if getattr(expect, name) is not None}
    return {name: value.seconds if isinstance(value, Duration) else float(value) for name, value in given.items()}
