"""From the services of the file to what is programmed and probed.

Rules that hold here:
* A service of the file that is the same object as before gives the same object as before, unless what it needs of the
  others has changed: a reload then finds at once what is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ha_lvs.config.derived import made_marks
from ha_lvs.config.parts.checks import Checks
from ha_lvs.config.schema import Config
from ha_lvs.config.schema import servers as schema
from ha_lvs.config.schema.checks import Check
from ha_lvs.config.schema.discover import Discover
from ha_lvs.config.schema.services import OnDown
from ha_lvs.config.schema.services import Service as ServiceEntry
from ha_lvs.model import (
    FULL_PREFIX,
    Destination,
    DestinationKey,
    Encapsulation,
    Forwarding,
    Quorum,
    RealServer,
    ServerDiscovery,
    Service,
    ServiceKey,
    Timeouts,
    Tunnel,
    VirtualService,
)

_EXPIRE = "expire_nodest_conn"


def virtual_services(config: Config) -> tuple[VirtualService, ...]:
    """The virtual services of a file, with all that their servers inherit."""
    keys = _keys(config)
    switched_on = config.ipvs.sysctls.expire_nodest_conn == 1
    some = switched_on or any(each.on_down is OnDown.EXPIRE for each in config.services)
    found = []
    for each in config.services:
        expire = each.on_down is OnDown.EXPIRE or (each.on_down is None and switched_on)
        # The kernel has one switch: where it is on, connections are kept by keeping their server, with weight 0.
        passive = config.ipvs.passive if each.passive is None else each.passive
        inhibit = each.inhibit or (some and not expire)
        found.append(_virtual_service(each, _Outside(keys[each.name], expire, inhibit, passive)))
    return tuple(found)


def timeouts(config: Config) -> Timeouts:
    """The time-outs that a file sets."""
    found = config.ipvs.timeouts
    tcp, tcp_fin, udp = (each.ms // 1000 if each else 0 for each in (found.tcp, found.tcpfin, found.udp))
    return Timeouts(tcp, tcp_fin, udp)


def sysctls(config: Config) -> tuple[tuple[str, int], ...]:
    """The sysctls that a file sets, and the one that its services need."""
    found = config.ipvs.sysctls
    said = {name: value for name in type(found).model_fields if (value := getattr(found, name)) is not None}
    if any(each.on_down is OnDown.EXPIRE for each in config.services):
        said.setdefault(_EXPIRE, 1)
    return tuple(said.items())


def _keys(config: Config) -> dict[str, ServiceKey]:
    """The identity of each service by its name."""
    taken = [each.listen.mark for each in config.services if each.listen.mark is not None]
    marks = made_marks((each.name for each in config.services if each.listen.key is None), taken)
    return {
        each.name: each.listen.key or ServiceKey.of_mark(marks[each.name], each.listen.version)
        for each in config.services
    }


class _Outside(NamedTuple):
    """What a service comes to by what the rest of the file says."""

    key: ServiceKey
    expire: bool
    inhibit: bool
    passive: bool


def _virtual_service(service: ServiceEntry, outside: _Outside) -> VirtualService:
    made = service.made
    if isinstance(made, VirtualService) and (made.service.key, made.expire, made.inhibit, made.passive) == outside:
        return made
    made = _translated(service, outside)
    service.remember(made)
    return made


def _translated(service: ServiceEntry, outside: _Outside) -> VirtualService:
    key = outside.key
    persistence, scheduler, quorum, sorry = service.persistence, service.scheduler, service.quorum, service.sorry
    prefix = None if persistence is None else persistence.prefix
    kernels = Service(
        key,
        scheduler.name,
        persistence_timeout_s=persistence.timeout.ms // 1000 if persistence else 0,
        persistence_prefix=None if prefix == FULL_PREFIX[key.family] else prefix,
        persistence_engine=persistence.engine or "" if persistence else "",
        one_packet=service.one_packet,
        fallback=scheduler.fallback,
        hash_port=scheduler.hash_port,
    )
    return VirtualService(
        name=service.name,
        service=kernels,
        servers=tuple(_servers(service, key)),
        quorum=Quorum(quorum.least, quorum.of == "weight", quorum.hysteresis),
        sorry=None if sorry is None else _destination(sorry, service, key, 1),
        inhibit=outside.inhibit,
        expire=outside.expire,
        alpha=service.alpha,
        slow_start_s=service.slow_start.seconds if service.slow_start else 0.0,
        panic=service.panic,
        traffic=service.listen.traffic,
        passive=outside.passive,
        discovery=None if service.discover is None else _discovery(service.discover, service, key),
    )


def _discovery(entry: Discover, service: ServiceEntry, key: ServiceKey) -> ServerDiscovery:
    checks = Checks(service.check or Check(), service.listen, key)
    tunnel = service.tunnel if service.forwarding is Forwarding.TUN else None
    return ServerDiscovery(
        type=entry.type,
        networks=entry.networks,
        forwarding=service.forwarding,
        encapsulation=None if tunnel is None else _encapsulation(tunnel),
        port=None if service.forwarding is Forwarding.NAT else key.port,
        checks=checks.plans,
        any_of=checks.any_of,
        interfaces=entry.interfaces,
        weight=entry.weight,
        trust_weight=entry.trust_weight,
        most=entry.most,
        forget_after_s=entry.forget_after.seconds,
    )


def _servers(service: ServiceEntry, key: ServiceKey) -> Iterator[RealServer]:
    usual = Checks(service.check or Check(), service.listen, key)
    for server in service.servers:
        destination = _destination(server, service, key, server.weight)
        checks = usual if server.check is None else Checks(server.check, service.listen, key)
        yield RealServer(destination, checks.of(server.address, destination), checks.any_of)


def _destination(target: schema.Target, service: ServiceEntry, key: ServiceKey, weight: int) -> Destination:
    forwarding, limits = target.forwarding or service.forwarding, target.connections
    tunnel = (target.tunnel or service.tunnel) if forwarding is Forwarding.TUN else None
    return Destination(
        DestinationKey(target.address, key.port if target.port is None else target.port),
        forwarding,
        weight,
        upper_threshold=limits.most if limits else 0,
        lower_threshold=limits.resume or 0 if limits else 0,
        encapsulation=None if tunnel is None else _encapsulation(tunnel),
    )


def _encapsulation(tunnel: schema.TunnelEntry) -> Encapsulation | None:
    if tunnel.type is Tunnel.IPIP:
        return None
    port = tunnel.port or schema.GUE_PORT if tunnel.type is Tunnel.GUE else 0
    return Encapsulation(tunnel.type, port, tunnel.checksum)
