"""Checks of the virtual IPs: each once only, none that is somebody's own, and what the kernel makes of them."""

from __future__ import annotations

from collections.abc import Iterator

from ha_lvs.config import lenient
from ha_lvs.config.crosscheck.view import InstanceView, View, VipView
from ha_lvs.config.derived import mac_interface
from ha_lvs.config.lenient import Found, get, twice
from ha_lvs.config.schema.addresses import VirtualIpEntry
from ha_lvs.config.tree import Path, dotted
from ha_lvs.model import IPAddress

_LONGEST_NAME = 15


def problems(view: View) -> Iterator[Found]:
    """Every problem of those."""
    carried = [(vip.path, vip.address) for vip in view.vips]
    yield from twice(carried, "virtual IP {} is already in {}; an address can move with one instance only")
    own = own_addresses(view)
    for path, address in carried:
        if address in own:
            node = dotted(own[address])
            yield path, f"{address} is the own address of {node}; a virtual IP is added and removed, so use another"
    for vip in view.vips:
        yield from _label(vip)
        if vip.address.version == 6 and lenient.field(VirtualIpEntry, vip.entry, "scope"):
            yield (*vip.path, "scope"), "the kernel takes the scope of an IPv6 address from the address; remove it"
    yield from _virtual_macs(view)


def own_addresses(view: View) -> dict[IPAddress, Path]:
    """The addresses that the nodes have themselves, and where the file says so."""
    found: dict[IPAddress, Path] = {}
    for node in view.nodes.values():
        for address in (node.address, node.address6):
            if address is not None:
                found.setdefault(address, node.path)
    for instance in view.instances.values():
        for way in instance.paths:
            for name, address in way.written.items():
                found.setdefault(address, (*way.path, "address", name))
    return found


def _label(vip: VipView) -> Iterator[Found]:
    label = lenient.field(VirtualIpEntry, vip.entry, "label")
    if label is None:
        return
    at = (*vip.path, "label")
    if vip.address.version == 6:
        yield at, "only IPv4 addresses have labels; remove it"
    elif vip.carrier is not None and not label.startswith(vip.carrier):
        yield (
            at,
            f"'{label}' does not begin with {vip.carrier}, the interface that carries the address; write a label like"
            f" {vip.carrier}:{label.rpartition(':')[2]}, of at most {_LONGEST_NAME} characters",
        )


def _virtual_macs(view: View) -> Iterator[Found]:
    names: dict[str, Path] = {}
    usual = {way.interface for instance in view.instances.values() for way in instance.paths}
    for instance in view.instances.values():
        setting = instance.get("virtual_mac")
        if not setting or instance.router_id is None or instance.interface is None:
            continue
        at = (*instance.path, "virtual_mac")
        families = {vip.address.version for vip in instance.vips if vip.interface == instance.interface}
        if not families and len(instance.vips) == len(get(instance.raw, "virtual_ips") or ()):
            yield at, f"there is no virtual IP on {instance.interface} to have the virtual MAC address; remove it"
        for family in sorted(families):
            yield from _virtual_mac(instance, at, mac_interface(setting, instance.router_id, family), names, usual)


def _virtual_mac(
    instance: InstanceView, at: Path, name: str, names: dict[str, Path], usual: set[str | None]
) -> Iterator[Found]:
    if len(name) > _LONGEST_NAME:
        yield at, f"'{name}', the interface for IPv6, has more than {_LONGEST_NAME} characters; write a shorter name"
    elif name in usual:
        yield at, f"{name} is an interface that advertisements use; give the virtual MAC address one of its own"
    elif name in names:
        yield (
            at,
            f"{name} is already the interface of {dotted(names[name][:-1])}; write another name, like"
            f" `virtual_mac: {instance.name[:8]}-mac`",
        )
    names.setdefault(name, at)
