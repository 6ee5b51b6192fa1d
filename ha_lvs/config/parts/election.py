"""From an instance of the file to the virtual router as a node takes part in it."""

from __future__ import annotations

import math
from ipaddress import IPv4Address, IPv6Address

from ha_lvs.config.derived import mac_interface
from ha_lvs.config.durations import Duration
from ha_lvs.config.fields import LEASE_OFF
from ha_lvs.config.parts.routing import virtual_route, virtual_rule
from ha_lvs.config.parts.tracking import tracks
from ha_lvs.config.schema import Config
from ha_lvs.config.schema.addresses import VirtualIpEntry
from ha_lvs.config.schema.instance import Heartbeat, Instance
from ha_lvs.model import (
    MAX_ADVERTISED,
    Authentication,
    BfdSession,
    IPAddress,
    VirtualIp,
    VrrpInstance,
    VrrpPath,
    Witnesses,
)

UNKNOWN: dict[int, IPAddress] = {4: IPv4Address("0.0.0.0"), 6: IPv6Address("::")}
"""The source of a path whose address is looked up on the interface at the start: the link-local one for IPv6."""


def lease_s(lease: str | Duration, interval: Duration, down_after: int = 3) -> int | None:
    """The kernel lifetime of virtual IPs in whole seconds, or None for none.

    "auto" is as many intervals as silence may last, rounded down: the standby takes over after those and a bit
    (RFC 9568 Active_Down_Interval), and a frozen active should have lost its addresses just before. The kernel counts
    whole seconds, so one second is the least.
    """
    if isinstance(lease, Duration):
        return lease.ms // 1000
    if lease == LEASE_OFF:
        return None
    return max(1, math.floor(down_after * interval.ms / 1000))


def vrrp_instance(config: Config, node: str, name: str, authentication: Authentication | None) -> VrrpInstance:
    """One virtual router of a node, by itself.

    Arguments:
        node: a node of the file.
        name: of the instance in the file.
        authentication: the keys, or None.
    """
    instance = config.instances[name]
    addresses = addresses_of(config, instance)
    version = instance.ip_version
    unicast = instance.unicast.enabled
    virtual_ips = tuple(_virtual_ip(entry, instance) for entry in instance.virtual_ips)
    return VrrpInstance(
        name=name,
        interface=instance.interface,
        router_id=instance.router_id,
        priority=instance.priority_of(node),
        interval_s=instance.interval.seconds,
        preempt=instance.preempt.enabled,
        source=_source(addresses, node, version, unicast),
        peers=_others(addresses, node) if unicast else (),
        group=instance.multicast_group,
        virtual_ips=virtual_ips,
        lease_s=lease_s(instance.lease, instance.interval, instance.down_after),
        announce_repeat=instance.announce.repeat,
        announce_interval_s=instance.announce.interval.seconds,
        announce_refresh_s=instance.announce.refresh.seconds,
        version=instance.version,
        min_ttl=instance.unicast.min_ttl if unicast else 255,
        discover=unicast and _discovers(config, instance, addresses),
        advertised=_advertised(instance, virtual_ips),
        companions=tuple(_heartbeat(config, node, name, heartbeat) for heartbeat in instance.heartbeats),
        preempt_delay_s=instance.preempt.delay.seconds,
        preempt_in_sync=instance.preempt.in_sync,
        startup_delay_s=instance.startup_delay.seconds,
        down_after=instance.down_after,
        routes=tuple(virtual_route(entry, version) for entry in instance.routes),
        rules=tuple(virtual_rule(entry, version) for entry in instance.rules),
        tracks=tracks(instance.track),
        witnesses=_witnesses(instance),
        bfd=_bfd(config, node, instance),
        authentication=authentication if instance.authenticate else None,
    )


def addresses_of(config: Config, instance: Instance) -> dict[str, IPAddress]:
    """The address of each node on the instance's interface, in the family of its advertisements; of those that have
    one."""
    found: dict[str, IPAddress] = {}
    for name, node in config.nodes.items():
        address = instance.address.get(name) or node.address_of(instance.ip_version)
        if address is not None:
            found[name] = address
    return found


def _source(addresses: dict[str, IPAddress], node: str, version: int, unicast: bool) -> IPAddress:
    """What a node's advertisements come from; IPv6 multicast is link-local (RFC 9568 section 5.1.2.1)."""
    if version == 6 and not unicast:
        return UNKNOWN[6]
    return addresses.get(node, UNKNOWN[version])


def _others(addresses: dict[str, IPAddress], node: str) -> tuple[IPAddress, ...]:
    return tuple(address for name, address in addresses.items() if name != node)


def _discovers(config: Config, instance: Instance, addresses: dict[str, IPAddress]) -> bool:
    if instance.unicast.discover is not None:
        return instance.unicast.discover
    return config.discovery.enabled and (len(addresses) < len(config.nodes) or len(config.nodes) == 1)


def _virtual_ip(entry: VirtualIpEntry, instance: Instance) -> VirtualIp:
    interface = entry.interface or instance.interface
    own = interface == instance.interface
    return VirtualIp(
        address=entry.address.ip,
        prefix_length=entry.address.network.prefixlen,
        interface=interface,
        label=entry.label or "",
        scope=entry.scope,
        mac_vlan=mac_interface(instance.virtual_mac, instance.router_id, entry.address.version) if own else "",
    )


def _advertised(instance: Instance, virtual_ips: tuple[VirtualIp, ...]) -> tuple[IPAddress, ...] | None:
    """What its advertisements name; None where that is what they name anyway. A link-local address comes first
    (RFC 9568 section 5.2.9)."""
    version = instance.ip_version
    usual = [ip.address for ip in virtual_ips if ip.address.version == version]
    unnamed = {entry.address.ip for entry in instance.virtual_ips if not entry.advertise}
    kept = [address for address in usual if address not in unnamed]
    if version == 6:
        kept.sort(key=lambda address: not address.is_link_local)
    return None if kept == usual else tuple(kept[: MAX_ADVERTISED[version]])


def _heartbeat(config: Config, node: str, name: str, heartbeat: Heartbeat) -> VrrpPath:
    instance = config.instances[name]
    version, unicast = instance.ip_version, instance.unicast.enabled
    addresses = {each: heartbeat.address[each] for each in config.nodes if each in heartbeat.address}
    virtual_ips = tuple(_virtual_ip(entry, instance) for entry in instance.virtual_ips)
    advertised = _advertised(instance, virtual_ips)
    if advertised is None:
        usual = tuple(ip.address for ip in virtual_ips if ip.address.version == version)
        advertised = usual[: MAX_ADVERTISED[version]]
    return VrrpPath(
        member=name,
        interface=heartbeat.interface,
        router_id=instance.router_id,
        source=_source(addresses, node, version, unicast),
        peers=_others(addresses, node) if unicast else (),
        group=instance.multicast_group,
        addresses=advertised,
        version=instance.version,
        min_ttl=instance.unicast.min_ttl if unicast else 255,
    )


def _witnesses(instance: Instance) -> Witnesses | None:
    found = instance.witnesses
    if found is None:
        return None
    return Witnesses(
        addresses=tuple(found.addresses),
        required=found.required,
        interface=found.interface or instance.interface,
        interval_s=found.interval.seconds,
        fall=found.fall,
        method=found.method,
        yield_alone=found.yield_alone,
    )


def _bfd(config: Config, node: str, instance: Instance) -> tuple[BfdSession, ...]:
    """A session with each other node, on the instance's interface or on that of a heartbeat."""
    bfd = instance.bfd
    if not bfd.enabled:
        return ()
    interface, addresses = instance.interface, addresses_of(config, instance)
    for heartbeat in instance.heartbeats:
        if heartbeat.interface == bfd.interface:
            interface = heartbeat.interface
            addresses = {each: heartbeat.address[each] for each in config.nodes if each in heartbeat.address}
    return tuple(
        BfdSession(interface, addresses[node], peer, bfd.interval.seconds, bfd.multiplier)
        for peer in _others(addresses, node)
    )
