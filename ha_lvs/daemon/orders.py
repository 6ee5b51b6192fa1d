"""What the guardian has been told: a config file read for one node, and what it would take to follow another one.

Everything here is a value or a function of its arguments; only `read` opens a file. What the elector works with cannot
be changed while it works, so whatever differs there needs a restart and is named; all the rest is the director's.
"""

from __future__ import annotations

import dataclasses
import enum
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ha_lvs.config.loader import load
from ha_lvs.config.parts import director_part, elector_part
from ha_lvs.config.schema import Config
from ha_lvs.errors import ConfigError, Problem
from ha_lvs.model import DirectorPart, ElectorPart, RealServer, VirtualService, VrrpInstance

_TOLD_BY_THE_ELECTOR = frozenset({"config_digest", "node", "instances"})
"""Fields of the director's part that are no change of its own."""

_IN_THE_FILE = {"sync": "connection_sync", "on_stop": "ipvs.on_stop", "reconcile_interval_s": "ipvs.reconcile_s"}
_UNNAMED = frozenset({"service", "destination"})
"""Layers of our values that the file does not have."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a config file says to this node.

    Arguments:
        elector, director: the parts for these processes.
        log_level: the least important level that is logged.
    """

    elector: ElectorPart
    director: DirectorPart
    log_level: str

    @property
    def needs_ipvs(self) -> bool:
        """Whether the kernel must have IPVS."""
        return bool(self.director.services) or self.director.sync is not None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a reload.

    Arguments:
        applied: whether the file in force is another one now.
        changed: what is different from before, as `path: before -> after`.
        restart_needed: what differs and only a restart can apply; nothing at all was applied then.
        problems: why nothing was applied, or what is wrong since.
        exit_code: for the command line.
    """

    applied: bool = False
    changed: tuple[str, ...] = ()
    restart_needed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    exit_code: int = 0

    def answer(self) -> dict[str, Any]:
        """It as the control socket tells it."""
        return {
            "applied": self.applied,
            "changed": list(self.changed),
            "restart_needed": list(self.restart_needed),
            "problems": list(self.problems),
            "exit_code": self.exit_code,
        }


def read(path: Path, node: str | None) -> Orders:
    """What a file says to a node.

    Arguments:
        path: the config file.
        node: which of its nodes this machine is; None for the one named like the host.

    Errors: ConfigError.
    """
    config = load(path)
    name = pick_node(config, node, path)
    return Orders(elector_part(config, name), director_part(config, name), config.log.level)


def pick_node(config: Config, node: str | None, path: Path) -> str:
    """The name of this node.

    Arguments:
        node: what the operator said, or None: then the host's name, with or without its domain.

    Errors: ConfigError when the file has no such node.
    """
    host = socket.gethostname()
    candidates = [node] if node is not None else [host, host.split(".")[0]]
    for candidate in candidates:
        if candidate in config.nodes:
            return candidate
    known = ", ".join(config.nodes)
    said = f"--node {node}" if node is not None else f"the host's name {host}"
    message = f"{said} is none of the nodes ({known}); give --node, or add it here"
    raise ConfigError([Problem(str(path), 1, 1, "nodes", message)])


# ---------------------------------------------------------------------------------------------- differences


def needs_restart(before: Orders, after: Orders) -> tuple[str, ...]:
    """What differs for the elector, as `instances.edge.interval_s: 1.0 -> 0.25`."""
    return tuple(
        _differences("node", before.elector.node, after.elector.node)
        + _differences("instances", before.elector.instances, after.elector.instances)
    )


def changes(before: Orders, after: Orders) -> tuple[str, ...]:
    """What differs for the director, in the same form."""
    found: list[str] = []
    for each in dataclasses.fields(DirectorPart):
        if each.name not in _TOLD_BY_THE_ELECTOR:
            values = getattr(before.director, each.name), getattr(after.director, each.name)
            found += _differences(_IN_THE_FILE.get(each.name, each.name), *values)
    return tuple(found + _differences("log.level", before.log_level, after.log_level))


def _differences(path: str, before: Any, after: Any) -> list[str]:
    if before == after:
        return []
    if isinstance(before, tuple) and isinstance(after, tuple) and _named(before) and _named(after):
        return _differences_by_name(path, before, after)
    if dataclasses.is_dataclass(before) and type(before) is type(after):
        found: list[str] = []
        for each in dataclasses.fields(before):
            below = path if each.name in _UNNAMED else f"{path}.{each.name}"
            found += _differences(below, getattr(before, each.name), getattr(after, each.name))
        return found
    return [f"{path}: {_text(before)} -> {_text(after)}"]


def _differences_by_name(path: str, before: Sequence[Any], after: Sequence[Any]) -> list[str]:
    """Of values that have names; their order means nothing."""
    old, new = ({_name(each): each for each in side} for side in (before, after))
    found: list[str] = []
    for name in {**old, **new}:
        if name not in new:
            found.append(f"{path}.{name}: removed")
        elif name not in old:
            found.append(f"{path}.{name}: added")
        else:
            found += _differences(f"{path}.{name}", old[name], new[name])
    return found


def _named(values: tuple[Any, ...]) -> bool:
    return all(isinstance(each, (VirtualService, VrrpInstance, RealServer)) for each in values)


def _name(value: VirtualService | VrrpInstance | RealServer) -> str:
    return str(value.destination.key) if isinstance(value, RealServer) else value.name


def _text(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, enum.Enum):
        return str(value.value)
    if dataclasses.is_dataclass(value) and type(value).__str__ is object.__str__:
        return " ".join(f"{each.name} {_text(getattr(value, each.name))}" for each in dataclasses.fields(value))
    return str(value)
