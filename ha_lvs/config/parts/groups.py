"""The virtual routers of a node: each instance by itself, or with those that move together with it.

The members of a group become one virtual router: the first lends its path, the others' paths are companions, and what
they hold and watch is united. `crosscheck.groups` has made sure that they agree in all the rest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from itertools import chain
from typing import TypeVar

from ha_lvs.config.parts.cluster import must_have
from ha_lvs.config.parts.election import vrrp_instance
from ha_lvs.config.schema import Config
from ha_lvs.model import Authentication, VrrpInstance

T = TypeVar("T")


def instances(config: Config, node: str, authentication: Authentication | None = None) -> tuple[VrrpInstance, ...]:
    """The virtual routers of a node, in the file's order; a group stands where its first member in the file does.

    Arguments:
        node: its name in the file.
        authentication: the keys, or None.

    Errors: ConfigError when the file has no such node.
    """
    must_have(config, node)
    group_of = {member: group for group, members in config.groups.items() for member in members}
    found: dict[str, VrrpInstance] = {}
    for name in config.instances:
        group = group_of.get(name)
        if group is None:
            found[name] = vrrp_instance(config, node, name, authentication)
        elif group not in found:
            members = [vrrp_instance(config, node, member, authentication) for member in config.groups[group]]
            found[group] = united(group, members)
    return tuple(found.values())


def united(name: str, members: list[VrrpInstance]) -> VrrpInstance:
    """One virtual router out of several.

    Arguments:
        name: the group's.
        members: at least one; the first lends its own path.
    """
    first = members[0]
    own, *further = chain.from_iterable(member.paths for member in members)
    return dataclasses.replace(
        first,
        name=name,
        advertised=own.addresses,
        companions=tuple(further),
        members=tuple(member.name for member in members),
        virtual_ips=_all(member.virtual_ips for member in members),
        routes=_all(member.routes for member in members),
        rules=_all(member.rules for member in members),
        tracks=_all(member.tracks for member in members),
        witnesses=next((member.witnesses for member in members if member.witnesses is not None), None),
        bfd=_all(member.bfd for member in members),
    )


def _all(parts: Iterable[tuple[T, ...]]) -> tuple[T, ...]:
    """Each once, in order."""
    return tuple(dict.fromkeys(chain.from_iterable(parts)))
