"""`python -m ha_lvs.drill.runner`: see the package."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ha_lvs.drill import contenders
from ha_lvs.drill.lab import kernel
from ha_lvs.drill.lab.waiting import PACE
from ha_lvs.drill.measure.events import Emitter
from ha_lvs.drill.runner import pair
from ha_lvs.drill.runner.trial import run_contender
from ha_lvs.drill.runner.versions import versions
from ha_lvs.drill.scenario import load
from ha_lvs.errors import ConfigError

OURS = "ha-lvs"


@dataclass(frozen=True, slots=True)
class Variable:
    """NAME=VALUE, taken apart."""

    name: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Variable:
        """As argparse wants it."""
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
        return cls(name, value)


def mapping(text: str) -> Mapping[str, Any]:
    """A JSON object, as argparse wants it."""
    try:
        found = json.loads(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(f"not JSON: {problem}") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError("not a JSON object")
    return found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(prog="python -m ha_lvs.drill.runner", description="The measuring side of drills.")
    options.add_argument("scenario", type=Path)
    options.add_argument("-o", "--output", type=Path, required=True, help="directory for logs")
    options.add_argument("--lab", default="native", help="kind of lab, only told on (default native)")
    options.add_argument(
        "--contender", action="append", choices=contenders.NAMES, help="default: ha-lvs and the scenario's `against`"
    )
    options.add_argument(
        "--override", type=mapping, default={}, metavar="JSON", help="merged over the pair's config; null deletes"
    )
    options.add_argument(
        "--environment", type=Variable.parse, action="append", default=[], metavar="NAME=VALUE", help="for ha-lvs"
    )
    return options


def main(arguments: list[str] | None = None) -> int:
    """Runs a scenario for its contenders, one after the other. The exit code is 2 when the scenario is invalid."""
    options = parser().parse_args(arguments)
    # SIGTERM unwinds like any exit does, so that the lab is taken down.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        scenario = load(options.scenario)
    except ConfigError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    names = options.contender or [OURS, *scenario.against]
    emitter = Emitter(sys.stdout.fileno())
    emitter(
        "machine",
        kernel=kernel.release(),
        lab=options.lab,
        cpus=os.cpu_count(),
        pace=PACE,
        versions=versions(names, scenario.servers),
    )
    text = pair.config_text(scenario, options.override)
    try:
        config = pair.checked(text, scenario)
    except ConfigError as problem:
        emitter("problem", text=str(problem))
        return 0
    environment = {variable.name: variable.value for variable in options.environment}
    for name in names:
        run_contender(name, scenario, text, config, environment, options.output, emitter)
    return 0


if __name__ == "__main__":
    sys.exit(main())
