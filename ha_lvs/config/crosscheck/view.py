"""What can be understood of a file that may be wrong anywhere, for the checks between its fields.

Rules that hold here:
* Nothing is raised, and nothing is guessed: what is wrong is None or left out.
* Defaults are the schema's; what follows from several fields (the family of an instance, a node's address on a path) is
  worked out as in `ha_lvs.config.parts`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ha_lvs.config import lenient, networks, values
from ha_lvs.config.derived import mac_interface
from ha_lvs.config.durations import Duration
from ha_lvs.config.fields import EVERY_NODE
from ha_lvs.config.lenient import children, get, tried
from ha_lvs.config.schema.addresses import VirtualIpEntry
from ha_lvs.config.schema.cluster import DiscoveryEntry, Node
from ha_lvs.config.schema.config import Config
from ha_lvs.config.schema.instance import Instance, Unicast
from ha_lvs.config.schema.tracking import BfdEntry
from ha_lvs.config.tree import Path, dotted
from ha_lvs.model import IPAddress


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node.

    Arguments:
        path: where it is.
        name: its name.
        address, address6: as in the file; None where not there or wrong.
        clear: whether both were understood.
    """

    path: Path
    name: str
    address: IPAddress | None
    address6: IPAddress | None
    clear: bool

    @property
    def bare(self) -> bool:
        """Whether it has no address at all."""
        return self.clear and self.address is None and self.address6 is None

    def address_of(self, family: int) -> IPAddress | None:
        """Its address in a family."""
        return next((each for each in (self.address, self.address6) if each and each.version == family), None)


@dataclass(frozen=True, slots=True)
class VipView:
    """A virtual IP whose address was understood.

    Arguments:
        path: where it is.
        prefix: the address.
        interface: that it belongs to; None if unknown.
        carrier: the interface that it is put on, which has the virtual MAC address where there is one.
        entry: its mapping; empty for the short spelling.
    """

    path: Path
    prefix: networks.IPInterface
    interface: str | None
    carrier: str | None
    entry: dict[str, Any]

    @property
    def address(self) -> IPAddress:
        """Without the prefix length."""
        return self.prefix.ip

    @property
    def advertised(self) -> bool:
        """Whether advertisements may name it."""
        return lenient.field(VirtualIpEntry, self.entry, "advertise") is not False


@dataclass(frozen=True, slots=True)
class PathView:
    """The instance's interface or one of its heartbeats'.

    Arguments:
        path: where it is.
        interface: its name, or None.
        written: each node's address as the path itself says it; those understood.
        addresses: the same, with what `nodes` has for the instance's own interface.
    """

    path: Path
    interface: str | None
    written: dict[str, IPAddress]
    addresses: dict[str, IPAddress]


@dataclass(frozen=True, slots=True)
class InstanceView:
    """An instance.

    Arguments:
        path, name, raw: where it is, what it is called, and its data.
        interface, router_id, interval, version: as understood.
        family: of its advertisements, 4 or 6; None if unknown.
        unicast, bfd: as understood.
        priorities: of the nodes that have one.
        vips: its virtual IPs.
        own: the path of its own interface.
        heartbeats: further ones.
    """

    path: Path
    name: str
    raw: object
    interface: str | None
    router_id: int | None
    interval: Duration | None
    version: int | None
    family: int | None
    unicast: Unicast | None
    bfd: BfdEntry | None
    priorities: dict[str, int]
    vips: list[VipView]
    own: PathView
    heartbeats: list[PathView]

    def get(self, name: str) -> Any:
        """A field as the schema understands it."""
        return lenient.field(Instance, self.raw, name)

    def says(self, name: str) -> bool:
        """Whether a key is written."""
        return isinstance(self.raw, dict) and name in self.raw

    @property
    def paths(self) -> list[PathView]:
        """All of them."""
        return [self.own, *self.heartbeats]


@dataclass(frozen=True, slots=True)
class View:
    """A file.

    Arguments:
        data: its plain data.
        nodes, instances: by name.
        discovery: whether the nodes find each other.
        authentication: whether there is any, however wrong.
        groups: names of instances by the name of the group.
        where: how a path is told to people; a service may stand in another file.
        whole: whether all services are known: no file that has some is missing.
    """

    data: dict[str, Any]
    nodes: dict[str, NodeView] = field(default_factory=dict)
    instances: dict[str, InstanceView] = field(default_factory=dict)
    discovery: bool = False
    authentication: bool = False
    groups: dict[str, list[str]] = field(default_factory=dict)
    where: Callable[[Path], str] = dotted
    whole: bool = True

    @property
    def vips(self) -> list[VipView]:
        """The virtual IPs of all instances."""
        return [vip for instance in self.instances.values() for vip in instance.vips]

    def group_of(self, instance: str) -> str | None:
        """The group that an instance is in."""
        return next((group for group, members in self.groups.items() if instance in members), None)


def view_of(data: dict[str, Any], where: Callable[[Path], str] = dotted, *, whole: bool = True) -> View:
    """What can be understood of a file's plain data; the rest is as for `View`."""
    nodes = {str(path[-1]): _node(path, value) for path, value in children(get(data, "nodes"), "nodes")}
    discovery = lenient.field(Config, data, "discovery")
    if not isinstance(discovery, DiscoveryEntry):
        discovery = DiscoveryEntry(enabled=True)  # wrong, but meant
    found = [_instance(path, value, nodes) for path, value in children(get(data, "instances"), "instances")]
    groups = {
        str(path[-1]): [name for _, name in children(members) if isinstance(name, str)]
        for path, members in children(get(data, "groups"), "groups")
    }
    return View(
        data=data,
        nodes=nodes,
        instances={instance.name: instance for instance in found},
        discovery=discovery.enabled,
        authentication=get(data, "authentication") is not None,
        groups=groups,
        where=where,
        whole=whole,
    )


def _node(path: Path, value: object) -> NodeView:
    found = {name: lenient.field(Node, value, name) for name in ("address", "address6")}
    clear = isinstance(value, dict) and all(get(value, name) is None or found[name] is not None for name in found)
    return NodeView(path, str(path[-1]), found["address"], found["address6"], clear)


def _instance(path: Path, raw: object, nodes: dict[str, NodeView]) -> InstanceView:
    name = str(path[-1])
    interface, router_id = (lenient.field(Instance, raw, key) for key in ("interface", "router_id"))
    prefixes = [
        (at, entry, tried(networks.prefix, get(entry, "address") if isinstance(entry, dict) else entry))
        for at, entry in children(get(raw, "virtual_ips"), *path, "virtual_ips")
    ]
    family = lenient.field(Instance, raw, "family")
    if family is None and get(raw, "family") is None and None not in (prefix for _, _, prefix in prefixes):
        family = min((prefix.version for _, _, prefix in prefixes if prefix), default=None)
    virtual_mac = lenient.field(Instance, raw, "virtual_mac")
    vips = []
    for at, entry, prefix in prefixes:
        if prefix is None:
            continue
        own = get(entry, "interface") is None
        carrier = on = interface if own else lenient.field(VirtualIpEntry, entry, "interface")
        if interface is not None and on == interface:
            known = virtual_mac is not None and router_id is not None
            carrier = (mac_interface(virtual_mac, router_id, prefix.version) or interface) if known else None
        vips.append(VipView(at, prefix, on, carrier, entry if isinstance(entry, dict) else {"address": entry}))
    heartbeats = []
    for at, entry in children(get(raw, "heartbeats"), *path, "heartbeats"):
        word = tried(values.interface, get(entry, "interface") if isinstance(entry, dict) else entry)
        written = _addresses(get(entry, "address"))
        heartbeats.append(PathView(at, word, written, written))
    return InstanceView(
        path=path,
        name=name,
        raw=raw,
        interface=interface,
        router_id=router_id,
        interval=lenient.field(Instance, raw, "interval"),
        version=lenient.field(Instance, raw, "version"),
        family=family,
        unicast=lenient.field(Instance, raw, "unicast"),
        bfd=lenient.field(Instance, raw, "bfd"),
        priorities=_priorities(raw, nodes),
        vips=vips,
        own=_own_path(path, raw, interface, family, nodes),
        heartbeats=heartbeats,
    )


def _own_path(
    path: Path, raw: object, interface: str | None, family: int | None, nodes: dict[str, NodeView]
) -> PathView:
    written = _addresses(get(raw, "address"))
    usual = {name: node.address_of(family or 4) for name, node in nodes.items()}
    return PathView(path, interface, written, {name: each for name, each in usual.items() if each} | written)


def _addresses(value: object) -> dict[str, IPAddress]:
    found = {str(path[-1]): tried(networks.address, each) for path, each in children(value)}
    return {name: address for name, address in found.items() if address is not None}


def _priorities(raw: object, nodes: dict[str, NodeView]) -> dict[str, int]:
    value = get(raw, "priority")
    written = value if isinstance(value, dict) else {EVERY_NODE: value}
    found = {name: tried(_priority, each) for name, each in written.items()}
    spread = {name: found.get(name, found.get(EVERY_NODE)) for name in nodes}
    return {name: priority for name, priority in spread.items() if priority is not None}


def _priority(value: object) -> int:
    return values.whole_number(value, 1, 255)
