"""Checks of groups: one role holds for all members, so they must agree in whatever decides it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ha_lvs.config import fields, values
from ha_lvs.config.crosscheck.tracking import interfaces, named
from ha_lvs.config.crosscheck.view import InstanceView, View
from ha_lvs.config.lenient import Found, children, get
from ha_lvs.config.schema.tracking import KINDS
from ha_lvs.config.tree import Path, dotted

AGREE = (
    "interval", "down_after", "preempt", "startup_delay", "lease", "announce", "authenticate",
)  # fmt: skip
"""Fields in which the members of a group are the same, beside the priorities."""


def problems(view: View) -> Iterator[Found]:
    """Every problem of those."""
    member_of: dict[str, Path] = {}
    for path, members in children(get(view.data, "groups"), "groups"):
        group = str(path[-1])
        if group in view.instances:
            yield path, f"there is an instance `{group}` already; give the group another name"
        found = []
        for at, name in children(members, *path):
            if not isinstance(name, str):
                continue
            if name not in view.instances:
                yield from _unknown(view, at, name)
                continue
            if name in member_of:
                where = dotted(member_of[name])
                yield at, f"instance {name} is already in a group, at {where}; an instance can be in one only"
                continue
            member_of[name] = at
            found.append(view.instances[name])
        for member in found[1:]:
            yield from _agreement(group, found[0], member)
        yield from _weights(group, found)
        yield from _virtual_macs(group, found)


def _unknown(view: View, at: Path, name: str) -> Iterator[Found]:
    if view.instances:
        near = values.suggestion(name, view.instances)
        hint = f"did you mean `{near}`?" if near else f"the instances are {', '.join(view.instances)}"
        yield at, f"there is no instance `{name}`; {hint}"


def _agreement(group: str, first: InstanceView, member: InstanceView) -> Iterator[Found]:
    if first.priorities.keys() == member.priorities.keys() and first.priorities != member.priorities:
        yield _differs(group, first, member, "priority", _priorities(first), _priorities(member))
    for name in AGREE:
        ours, theirs = first.get(name), member.get(name)
        if ours is not None and theirs is not None and ours != theirs:
            yield _differs(group, first, member, name, _shown(ours), _shown(theirs))
    ours, theirs = first.get("witnesses"), member.get("witnesses")
    if ours is not None and theirs is not None:
        at_ours, at_theirs = ours.interface or first.interface, theirs.interface or member.interface
        if (ours.model_copy(update={"interface": at_ours})) != theirs.model_copy(update={"interface": at_theirs}):
            yield (
                (*member.path, "witnesses"),
                f"{first.name} has others, and the group {group} has one set of witnesses; give them to one member"
                " only, or write the same with `interface`",
            )


def _differs(group: str, first: InstanceView, member: InstanceView, name: str, ours: str, theirs: str) -> Found:
    return (
        (*member.path, name),
        f"{name} is {theirs} in {member.name} but {ours} in {first.name}; the instances of the group {group} move"
        " together, so write the same in both",
    )


def _priorities(instance: InstanceView) -> str:
    return ", ".join(f"{name}: {priority}" for name, priority in instance.priorities.items())


def _shown(value: Any) -> str:
    found = fields.plain(value)
    if isinstance(found, dict):
        return ", ".join(f"{key}: {_shown(item)}" for key, item in found.items()) or "the default"
    return {True: "true", False: "false"}.get(found, str(found)) if isinstance(found, bool) else str(found)


def _weights(group: str, members: list[InstanceView]) -> Iterator[Found]:
    """The same thing tracked by two members is tracked once."""
    seen: dict[tuple[str, str], tuple[str, object]] = {}
    for member in members:
        track, at = get(member.raw, "track"), (*member.path, "track")
        tracked = [("interfaces", *each) for each in interfaces(get(track, "interfaces"), (*at, "interfaces"))]
        for kind in KINDS:
            tracked += [(kind, *each) for each in named(get(track, kind), (*at, kind))]
        for kind, path, name, entry in tracked:
            weight = get(entry, "weight")
            where, first = seen.setdefault((kind, name), (member.name, weight))
            if first != weight:
                ours, theirs = (f"the weight {each}" if each is not None else "no weight" for each in (first, weight))
                yield (
                    path,
                    f"{name} has {theirs} in {member.name} but {ours} in {where}; the group {group} tracks it once, so"
                    " write the same in both",
                )


def _virtual_macs(group: str, members: list[InstanceView]) -> Iterator[Found]:
    """The router id, of which the MAC address is made, is found by the interface of a virtual IP."""
    for member in members:
        if not member.get("virtual_mac") or member.interface is None or member.router_id is None:
            continue
        for other in members:
            shared = any(way.interface == member.interface for way in other.paths)
            if shared and other.router_id is not None and other.router_id != member.router_id:
                yield (
                    (*member.path, "virtual_mac"),
                    f"{other.name} of the same group {group} has router id {other.router_id} on {member.interface} too,"
                    " so there would be two virtual MAC addresses; give both the same router id, or remove it",
                )
                break
