"""The pair's config file for a scenario: the lab's, then what the scenario changes, then what the caller does. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ha_lvs.config import loader
from ha_lvs.config.schema import Config
from ha_lvs.drill.lab.pair_config import dump, pair_config
from ha_lvs.drill.scenario import Scenario, merge

DEFAULT_INTERVAL_MS = 250


def config_text(scenario: Scenario, override: Mapping[str, Any]) -> str:
    """The file that both directors of every contender get, or from which theirs is made.

    Arguments:
        scenario: its topology and its ``config``.
        override: in the config file's own terms, over all else; null deletes.
    """
    generated = pair_config(scenario.forwarding, scenario.servers, DEFAULT_INTERVAL_MS)
    content = merge(merge(generated, scenario.config), override)
    return dump(content, f"Written for the drill {scenario.name}: one file, the same on both directors.")


def checked(text: str, scenario: Scenario) -> Config:
    """The config in that file.

    Errors: ConfigError with every problem; what a scenario's ``config`` has broken shows here.
    """
    return loader.loads(text.encode(), f"the config of {scenario.name}")
