"""Checks of the ways that advertisements and BFD take: each node needs the addresses that they have there."""

from __future__ import annotations

from collections.abc import Iterator

from ha_lvs.config.crosscheck.instances import unknown_nodes
from ha_lvs.config.crosscheck.view import InstanceView, PathView, View
from ha_lvs.config.durations import Duration
from ha_lvs.config.lenient import Found, get, twice
from ha_lvs.config.networks import family_name
from ha_lvs.config.tree import Path, dotted
from ha_lvs.config.values import listed


def problems(view: View) -> Iterator[Found]:
    """Every problem of those."""
    for instance in view.instances.values():
        yield from _unicast(view, instance)
        for way in instance.paths:
            yield from _written(view, instance, way)
            yield from _sources(view, instance, way)
        yield from _heartbeats(instance)
        yield from _bfd(view, instance)
    yield from _shared_sessions(view)


def _unicast(view: View, instance: InstanceView) -> Iterator[Found]:
    unicast = instance.unicast
    if unicast is None or not unicast.enabled:
        return
    at = (*instance.path, "unicast")
    if unicast.discover and not view.discovery:
        yield (*at, "discover"), "nothing finds peers; add `discovery: true`, or remove discover"
    if len(view.nodes) == 1 and not (unicast.discover or view.discovery):
        yield at, "unicast with one node has no peer to send to; add the other node or remove it"


def _written(view: View, instance: InstanceView, way: PathView) -> Iterator[Found]:
    """The mapping of addresses by node that a path has itself."""
    raw = get(instance.raw, "address")
    if way is not instance.own:
        raw = get(_entry(instance, way), "address")
    at = (*way.path, "address")
    if isinstance(raw, dict):
        yield from unknown_nodes(view, at, raw)
    for name, address in way.written.items():
        if instance.family is not None and address.version != instance.family:
            yield (
                (*at, name),
                f"{address} is {family_name(address.version)}, but the advertisements of {instance.name} are"
                f" {family_name(instance.family)}; give an {family_name(instance.family)} address",
            )
    found: list[tuple[Path, object]] = [((*at, name), address) for name, address in way.written.items()]
    yield from twice(found, "{} is already the address at {}; give each node its own")


def _sources(view: View, instance: InstanceView, way: PathView) -> Iterator[Found]:
    """What sends IPv4, or to single hosts, needs an address of each node."""
    family, unicast = instance.family, instance.unicast
    if family is None or unicast is None or (family == 6 and not unicast.enabled):
        return
    is_own = way is instance.own
    if not is_own and way.interface == instance.interface:
        return  # it should not be there at all
    missing = [
        name
        for name, node in view.nodes.items()
        if name not in way.addresses and (not is_own or (node.clear and not (node.bare and view.discovery)))
    ]
    # What is written but wrong has been complained about.
    raw = get(instance.raw if is_own else _entry(instance, way), "address")
    missing = [name for name in missing if get(raw, name) is None]
    # A node without any address has its own complaint.
    missing = [name for name in missing if not (is_own and view.nodes[name].bare)]
    if missing:
        names = listed(missing).replace(" or ", " and ")
        where = f"on {way.interface}" if not is_own and way.interface else f"for the advertisements of {instance.name}"
        remedy = "write `address: {NODE: ADDRESS}` here" if not is_own else _remedy(family)
        yield (
            (*way.path, "address"),
            f"there is no {family_name(family)} address of {names} {where}; {remedy}",
        )


def _remedy(family: int) -> str:
    if family == 6:
        return "add address6 to the node, or `address: {NODE: ADDRESS}` here"
    return "write `address: {NODE: ADDRESS}` here, or use family: ipv6"


def _heartbeats(instance: InstanceView) -> Iterator[Found]:
    found = [(way.path, way.interface) for way in instance.heartbeats if way.interface is not None]
    for path, interface in found:
        if interface == instance.interface:
            yield path, f"{interface} is the interface of {instance.name} itself; name another, or remove it"
    yield from twice(found, "a heartbeat on {} is already at {}; remove one")


def _entry(instance: InstanceView, way: PathView) -> object:
    """A heartbeat's own data."""
    entries = get(instance.raw, "heartbeats")
    index = way.path[-1]
    return entries[index] if isinstance(entries, list) and isinstance(index, int) else None


# ------------------------------------------------------------------------------------------------------------ BFD


def _bfd_path(instance: InstanceView) -> PathView | None:
    """The path that its sessions take, or None where there is none such."""
    if instance.bfd is None or not instance.bfd.enabled:
        return None
    wanted = instance.bfd.interface or instance.interface
    return next((way for way in instance.paths if wanted is not None and way.interface == wanted), None)


def _bfd(view: View, instance: InstanceView) -> Iterator[Found]:
    bfd = instance.bfd
    if bfd is None or not bfd.enabled or instance.family is None:
        return
    at = (*instance.path, "bfd")
    if len(view.nodes) < 2:
        yield at, "bfd with one node has no peer; add the other node or remove it"
        return
    way = _bfd_path(instance)
    if way is None:
        known = [each.interface for each in instance.paths if each.interface is not None]
        if bfd.interface is not None and len(known) == len(instance.paths):
            yield (
                (*at, "interface"),
                f"{bfd.interface} is neither the interface of {instance.name} nor one of its heartbeats; write"
                f" {listed(known)}, or add a heartbeat there",
            )
        return
    missing = [name for name, node in view.nodes.items() if node.clear and name not in way.addresses]
    missing = [name for name in missing if get(get(_entry(instance, way), "address"), name) is None]
    if missing:
        names = listed(missing).replace(" or ", " and ")
        yield (
            at,
            f"bfd needs an {family_name(instance.family)} address of each node on {way.interface}, and there is none of"
            f" {names}; write it at {dotted((*way.path, 'address'))}, or in nodes",
        )


def _shared_sessions(view: View) -> Iterator[Found]:
    """Two instances may share a session; it can have one interval only."""
    seen: dict[tuple[str, frozenset[object]], tuple[Path, tuple[Duration, int]]] = {}
    for instance in view.instances.values():
        way, bfd = _bfd_path(instance), instance.bfd
        if way is None or bfd is None or way.interface is None:
            continue
        session = (way.interface, frozenset(way.addresses.values()))
        timing = (bfd.interval, bfd.multiplier)
        path, first = seen.setdefault(session, ((*instance.path, "bfd"), timing))
        if first != timing:
            yield (
                (*instance.path, "bfd"),
                f"{bfd.interval} x {bfd.multiplier}, but {dotted(path)} has {first[0]} x {first[1]} for the same"
                " session; write the same in both",
            )
