"""What the guardian has been told: a config file read for one node, and what it would take to follow another one.

Everything here is a value or a function of its arguments; only `read` opens files. What the elector works with cannot
be changed while it works: another elector succeeds it (`for_the_elector`). Only who this node is, nobody can change
while it runs.

No text made here shows a key.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ha_lvs.config.keys import read_keys
from ha_lvs.config.loader import load
from ha_lvs.config.parts import attendant_part, director_part, elector_part
from ha_lvs.config.schema import Config
from ha_lvs.config.sources import Sources
from ha_lvs.errors import ConfigError, Problem
from ha_lvs.model import (
    AttendantPart,
    Authentication,
    Check,
    DirectorPart,
    ElectorPart,
    Endpoint,
    FileTrack,
    HttpCheck,
    ProcessTrack,
    RealServer,
    ScriptTrack,
    ServicesChange,
    VirtualService,
    VrrpInstance,
)
from ha_lvs.plan import sharding

_TOLD_BY_THE_ELECTOR = frozenset({"config_digest", "node", "instances"})
"""Fields of the other processes' parts that are no change of their own."""

_IN_THE_FILE = {
    "sync": "connection_sync",
    "on_stop": "ipvs.on_stop",
    "reconcile_interval_s": "ipvs.reconcile_s",
    "drain_s": "ipvs.drain_s",
    "probers": "ipvs.probers",
    "timeouts": "ipvs.timeouts",
    "sysctls": "ipvs.sysctls",
    "scripts": "track",
    "files": "track",
    "processes": "track",
}
_KEYS = "authentication"
"""A field of many of our values, told of once and without its keys."""
_UNNAMED = frozenset({"service", "destination"})
"""Layers of our values that the file does not have."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a config file says to this node.

    Arguments:
        elector, director, attendant: the parts for these processes.
        log_level: the least important level that is logged.
        watch_s: how often the files are looked at for changes; None for not at all.
    """

    elector: ElectorPart
    director: DirectorPart
    attendant: AttendantPart
    log_level: str
    watch_s: float | None = None

    @property
    def authentication(self) -> Authentication | None:
        """How directors prove to each other who they are."""
        link = self.director.peer_link
        if link is not None and link.authentication is not None:
            return link.authentication
        return next((each.authentication for each in self.elector.instances if each.authentication is not None), None)

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


def read(path: Path, node: str | None, sources: Sources | None = None) -> Orders:
    """What a file, and the key files that it names, say to a node.

    Arguments:
        path: the config file.
        node: which of its nodes this machine is; None for the one named like the host.
        sources: what is known of the files from the last time.

    Errors: ConfigError.
    """
    config = load(path, sources)
    name = pick_node(config, node, path)
    authentication = read_keys(config)
    return Orders(
        elector_part(config, name, authentication),
        _with_probers(director_part(config, name, authentication)),
        attendant_part(config, name),
        config.log.level,
        config.watch.interval.seconds if config.watch.enabled else None,
    )


def _with_probers(part: DirectorPart) -> DirectorPart:
    """The part with the number of probers that it comes to on this machine."""
    probers = sharding.count(part.probers, part.services, len(os.sched_getaffinity(0)))
    return dataclasses.replace(part, probers=probers)


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
    """What differs and cannot be changed while this runs, as `node: lb1 -> lb2`."""
    return tuple(_differences("node", before.elector.node, after.elector.node))


def for_the_elector(before: Orders, after: Orders) -> bool:
    """Whether it takes another elector to follow."""
    return before.elector != after.elector


def services_only(before: Orders, after: Orders) -> ServicesChange | None:
    """What the director is to be told where nothing differs for any other process; None where it takes more.

    The first service, and the last one that goes, bring a prober and IPVS with them, or take them away: that is more.
    So is another number of probers.
    """
    same = before.elector == after.elector and before.attendant == after.attendant
    if not same or before.log_level != after.log_level:
        return None
    if not before.director.services or not after.director.services:
        return None
    return ServicesChange.between(before.director, after.director)


def changes(before: Orders, after: Orders) -> tuple[str, ...]:
    """What differs, as `instances.edge.interval_s: 1.0 -> 0.25`."""
    found = _differences("instances", before.elector.instances, after.elector.instances)
    found += _of_the_keys(before.authentication, after.authentication)
    parts = (before.director, after.director), (before.attendant, after.attendant)
    for old, new in parts:
        for each in dataclasses.fields(old):
            if each.name not in _TOLD_BY_THE_ELECTOR:
                name = _IN_THE_FILE.get(each.name, each.name)
                found += _differences(name, getattr(old, each.name), getattr(new, each.name))
    found += _differences("watch", before.watch_s, after.watch_s)
    return tuple(found + _differences("log.level", before.log_level, after.log_level))


def _of_the_keys(before: Authentication | None, after: Authentication | None) -> list[str]:
    if before is None or after is None:
        states = ["off" if each is None else "on" for each in (before, after)]
        return _differences(_KEYS, *states)
    found = [f"{_KEYS}.keys: changed"] if before.keys != after.keys else []
    found += _differences(f"{_KEYS}.send_key", before.send, after.send)
    modes = ["enforce" if each.enforce else "permissive" for each in (before, after)]
    return found + _differences(f"{_KEYS}.mode", *modes)


def _differences(path: str, before: Any, after: Any) -> list[str]:
    if before == after:
        return []
    if isinstance(before, tuple) and isinstance(after, tuple) and _named(before) and _named(after):
        return _differences_by_name(path, before, after)
    if _alike(before, after):
        server = path.removesuffix(".checks")
        names = [server] if len(before) == 1 else [f"{path}[{number}]" for number in range(len(before))]
        return [each for sides in zip(names, before, after, strict=True) for each in _differences(*sides)]
    if dataclasses.is_dataclass(before) and type(before) is type(after):
        found: list[str] = []
        for each in dataclasses.fields(before):
            if each.name == _KEYS:
                continue
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


def _alike(before: Any, after: Any) -> bool:
    """Whether both are the checks of a server, and as many."""
    both = isinstance(before, tuple) and isinstance(after, tuple) and len(before) == len(after)
    return both and all(isinstance(each, Endpoint) for each in (*before, *after))


def _named(values: tuple[Any, ...]) -> bool:
    named = (VirtualService, VrrpInstance, RealServer, ScriptTrack, FileTrack, ProcessTrack)
    return all(isinstance(each, named) for each in values)


def _name(value: Any) -> str:
    return str(value.destination.key) if isinstance(value, RealServer) else str(value.name)


def _text(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, enum.Enum):
        return str(value.value)
    if dataclasses.is_dataclass(value) and type(value).__str__ is object.__str__:
        shown = [each for each in dataclasses.fields(value) if each.name != _KEYS]
        if isinstance(value, (Check, HttpCheck)):  # of their many keys most mean nothing to a check
            shown = [each for each in shown if getattr(value, each.name) != each.default]
        return " ".join(f"{each.name} {_text(getattr(value, each.name))}" for each in shown)
    return str(value)
