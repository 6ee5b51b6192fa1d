"""Config files for tests: a pair that is fine, changes to it, and what `loads` says of them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from ha_lvs.config.loader import loads
from ha_lvs.config.schema import Config
from ha_lvs.errors import ConfigError

DATA = Path(__file__).parent / "data"

PAIR: dict[str, Any] = yaml.safe_load((DATA / "pair.yml").read_text())

SECOND = {"interface": "e0", "router_id": 52, "priority": {"lb1": 150, "lb2": 100}, "virtual_ips": ["10.9.0.101"]}
"""Another instance that gets along with the one of the pair."""

KEYS = {"keys": [{"id": 1, "file": "/etc/ha-lvs/keys/1.key"}]}


def complaints(text: str) -> list[str]:
    """The problems of a file as `line:column: path: message`."""
    with pytest.raises(ConfigError) as caught:
        loads(text.encode(), "f")
    return [str(problem).removeprefix("f:") for problem in caught.value.problems]


def changed(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(PAIR) | changes


def config_of(data: dict[str, Any]) -> Config:
    return loads(yaml.safe_dump(data, sort_keys=False).encode(), "f")


def refused(data: dict[str, Any]) -> list[str]:
    return complaints(yaml.safe_dump(data, sort_keys=False))


def one(found: list[str], *fragments: str) -> str:
    """The only problem, which has all the fragments."""
    assert len(found) == 1, found
    assert all(fragment in found[0] for fragment in fragments), found
    return found[0]


def service(**changes: Any) -> dict[str, Any]:
    return changed(services=[PAIR["services"][0] | changes])


def instance(**changes: Any) -> dict[str, Any]:
    return changed(instances={"edge": PAIR["instances"]["edge"] | changes})


def two(first: dict[str, Any] | None = None, second: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The pair with a second instance `back`."""
    edge, back = PAIR["instances"]["edge"] | (first or {}), SECOND | (second or {})
    return changed(instances={"edge": edge, "back": back}, **changes)


def grouped(first: dict[str, Any] | None = None, second: dict[str, Any] | None = None) -> dict[str, Any]:
    """The same, with both in the group `gw`."""
    return two(first, {"interface": "e1"} | (second or {}), groups={"gw": ["edge", "back"]})
