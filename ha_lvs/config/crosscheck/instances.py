"""Checks between the fields of an instance that say how it is elected, and between instances."""

from __future__ import annotations

from collections.abc import Iterator

from ha_lvs.config import values
from ha_lvs.config.crosscheck.view import InstanceView, View
from ha_lvs.config.durations import Duration
from ha_lvs.config.lenient import Found, get
from ha_lvs.config.networks import family_name
from ha_lvs.config.schema.instance import Preempt
from ha_lvs.config.tree import Path, dotted

_OWNER = 255


def problems(view: View) -> Iterator[Found]:
    """Every problem between those."""
    for instance in view.instances.values():
        yield from _lease(instance)
        yield from _version(view, instance)
        yield from _family(instance)
        yield from _preempt(view, instance)
        yield from _priorities(view, instance)
        yield from _ties(view, instance)
    yield from _router_ids(view)


def _lease(instance: InstanceView) -> Iterator[Found]:
    lease, interval = instance.get("lease"), instance.interval
    if isinstance(lease, Duration) and interval is not None and lease.ms < 2 * interval.ms:
        message = f"{lease} ends between advertisements, which renew it every {interval}; use auto, or twice that"
        yield (*instance.path, "lease"), message


def _version(view: View, instance: InstanceView) -> Iterator[Found]:
    if instance.version != 2:
        return
    if instance.family == 6:
        yield (*instance.path, "version"), "version 2 is for IPv4 only; use version 3, or family: ipv4"
    if instance.interval is not None and instance.interval.ms % 1000:
        at = (*instance.path, "interval")
        yield at, f"{instance.interval} cannot be said in version 2; write whole seconds, or use version 3"
    if view.authentication and instance.get("authenticate"):
        yield (
            (*instance.path, "version"),
            "version 2 cannot be authenticated; use version 3, or write authenticate: false beside it",
        )


def _family(instance: InstanceView) -> Iterator[Found]:
    family = instance.family
    if family is None:
        return
    group = instance.get("group")
    if instance.says("group") and group is not None and group.version != family:
        usual = "224.0.0.18" if family == 4 else "ff02::12"
        yield (
            (*instance.path, "group"),
            f"{group} is an {family_name(group.version)} group, but the advertisements are {family_name(family)};"
            f" write one like {usual}",
        )
    if not any(vip.address.version == family and vip.advertised for vip in instance.vips):
        key = "family" if instance.says("family") else "virtual_ips"
        yield (
            (*instance.path, key),
            f"advertisements of {family_name(family)} must name a virtual IP of {family_name(family)}, and there is"
            " none to advertise; add one, or change the family",
        )


def _preempt(view: View, instance: InstanceView) -> Iterator[Found]:
    preempt = instance.get("preempt")
    if not isinstance(preempt, Preempt):
        return
    at = (*instance.path, "preempt")
    if not preempt.enabled:
        if preempt.delay.ms:
            yield (*at, "delay"), "without preempt nothing is delayed; remove it, or enable preempt"
        if preempt.in_sync:
            yield (*at, "in_sync"), "without preempt nothing waits for the table; remove it, or enable preempt"
    elif preempt.in_sync and get(view.data, "connection_sync") is None:
        yield (*at, "in_sync"), "there is no connection table to wait for; add connection_sync, or remove it"


def _priorities(view: View, instance: InstanceView) -> Iterator[Found]:
    path = (*instance.path, "priority")
    priority = get(instance.raw, "priority")
    if isinstance(priority, dict) and view.nodes:
        yield from unknown_nodes(view, path, priority)
        missing = [name for name in view.nodes if name not in priority]
        if missing:
            yield path, f"no priority for node {values.listed(missing)}; add one from 1 to 255"
    owners = [name for name, each in instance.priorities.items() if each == _OWNER]
    if len(owners) > 1:
        at = (*path, owners[1]) if isinstance(priority, dict) else path
        yield (
            at,
            f"255 is for the owner of the addresses, and {values.listed(owners).replace(' or ', ' and ')} cannot both"
            " be; write at most 254 for all but one",
        )


def _ties(view: View, instance: InstanceView) -> Iterator[Found]:
    """A tie is broken by the source address, which is another on each path: both could win, or neither."""
    group = view.group_of(instance.name)
    if not instance.heartbeats and (group is None or len(view.groups[group]) < 2):
        return
    first: dict[int, str] = {}
    for name, priority in instance.priorities.items():
        if priority in first and priority != _OWNER:
            why = "has several paths" if instance.heartbeats else f"moves with the group {group}"
            yield (
                (*instance.path, "priority"),
                f"{first[priority]} and {name} have the same priority {priority}, and {instance.name} {why}, on which"
                " a tie may end differently; give each node its own priority",
            )
            return
        first.setdefault(priority, name)


def _router_ids(view: View) -> Iterator[Found]:
    """An IPv4 and an IPv6 instance may share an id: they are two virtual routers (RFC 9568 section 5.2.3)."""
    seen: dict[tuple[int, str, int], Path] = {}
    for instance in view.instances.values():
        for way in instance.paths:
            if instance.router_id is None or way.interface is None or instance.family is None:
                continue
            if way is not instance.own and way.interface == instance.interface:
                continue
            router = (instance.router_id, way.interface, instance.family)
            if router in seen and seen[router] != instance.path:
                yield (
                    (*way.path, "router_id") if way is instance.own else way.path,
                    f"router id {router[0]} on interface {router[1]} is already taken by {dotted(seen[router])};"
                    " give each instance on a network its own",
                )
            seen.setdefault(router, instance.path)


def unknown_nodes(view: View, path: Path, written: dict[str, object]) -> Iterator[Found]:
    """A problem for every key of a mapping by node that names none."""
    for name in written:
        if view.nodes and name not in view.nodes:
            near = values.suggestion(name, view.nodes)
            hint = f"did you mean `{near}`?" if near else f"the nodes are {', '.join(view.nodes)}"
            yield (*path, name), f"there is no node `{name}`; {hint}"
