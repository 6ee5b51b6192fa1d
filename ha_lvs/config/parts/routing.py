"""Routes and rules of the file as the kernel room takes them."""

from __future__ import annotations

from ipaddress import ip_network

from ha_lvs.config.schema.routing import RouteEntry, RuleEntry
from ha_lvs.model import IPNetwork, VirtualRoute, VirtualRule

DEFAULT: dict[int, IPNetwork] = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
"""Where a default route leads, by address family."""


def virtual_route(entry: RouteEntry, family: int) -> VirtualRoute:
    """A route.

    Arguments:
        entry: as the file has it.
        family: of the instance, for a default route that says nothing of its family.
    """
    said = next((each.version for each in (entry.via, entry.source) if each is not None), family)
    return VirtualRoute(
        to=DEFAULT[said] if entry.to is None else entry.to,
        via=entry.via,
        interface=entry.interface,
        source=entry.source,
        table=entry.table,
        metric=entry.metric,
    )


def virtual_rule(entry: RuleEntry, family: int) -> VirtualRule:
    """A rule.

    Arguments:
        entry: as the file has it.
        family: of the instance, for a rule that says nothing of its family.
    """
    said = next((each.version for each in (entry.source, entry.to) if each is not None), entry.family or family)
    return VirtualRule(entry.priority, entry.source, entry.to, entry.fwmark, entry.table, said)
