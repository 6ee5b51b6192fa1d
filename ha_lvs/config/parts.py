"""From a loaded file and a node's name to what each process needs.

Rules that hold here:
* Pure: the same file and node always give the same part.
* Every default that depends on other fields is worked out here and nowhere else, so that the processes see
  plain values only.
"""

from __future__ import annotations

import math

from ha_lvs.config import schema, values
from ha_lvs.config.durations import Duration
from ha_lvs.config.fields import LEASE_OFF
from ha_lvs.config.schema import Config
from ha_lvs.errors import ConfigError, Problem
from ha_lvs.model import (
    Check,
    CheckType,
    ConnectionSync,
    Destination,
    DestinationKey,
    DirectorPart,
    ElectorPart,
    Endpoint,
    Protocol,
    RealServer,
    Service,
    ServiceKey,
    VirtualIp,
    VirtualService,
    VrrpInstance,
)

_DEFAULT_TIMEOUT = Duration(1000)


def elector_part(config: Config, node: str) -> ElectorPart:
    """What the elector of a node needs.

    Arguments:
        node: its name in the file.

    Errors: ConfigError when the file has no such node.
    """
    return ElectorPart(node, _instances(config, node))


def director_part(config: Config, node: str) -> DirectorPart:
    """What the director process of a node needs.

    Arguments:
        node: its name in the file.

    Errors: ConfigError when the file has no such node.
    """
    sync = config.connection_sync
    return DirectorPart(
        cluster=config.cluster,
        node=node,
        config_digest=config.digest,
        instances=_instances(config, node),
        services=tuple(_service(service) for service in config.services),
        sync=None if sync is None else ConnectionSync(sync.interface, sync.id, sync.group, sync.port, sync.ttl),
        on_stop=config.ipvs.on_stop,
        reconcile_interval_s=config.ipvs.reconcile.seconds,
    )


def lease_s(lease: str | Duration, interval: Duration) -> int | None:
    """The kernel lifetime of virtual IPs in whole seconds, or None for none.

    "auto" is three intervals, rounded down: the standby takes over after three intervals and a bit (RFC 9568
    Active_Down_Interval), and a frozen active should have lost its addresses just before. The kernel counts
    whole seconds, so one second is the least.
    """
    if isinstance(lease, Duration):
        return lease.ms // 1000
    if lease == LEASE_OFF:
        return None
    return max(1, math.floor(3 * interval.ms / 1000))


def _instances(config: Config, node: str) -> tuple[VrrpInstance, ...]:
    if node not in config.nodes:
        near = values.suggestion(node, config.nodes)
        hint = f"did you mean {near}? " if near else ""
        message = f"there is no node '{node}'; {hint}The nodes are {', '.join(config.nodes)}; pick one with --node"
        raise ConfigError([Problem(config._source, *config._nodes_at, "nodes", message)])
    others = tuple(other.address for name, other in config.nodes.items() if name != node)
    return tuple(
        VrrpInstance(
            name=name,
            interface=instance.interface,
            router_id=instance.router_id,
            priority=instance.priority_of(node),
            interval_s=instance.interval.seconds,
            preempt=instance.preempt,
            source=config.nodes[node].address,
            peers=others if instance.unicast else (),
            group=instance.group,
            virtual_ips=tuple(
                VirtualIp(entry.address.ip, entry.address.network.prefixlen, entry.interface or instance.interface)
                for entry in instance.virtual_ips
            ),
            lease_s=lease_s(instance.lease, instance.interval),
            announce_repeat=instance.announce.repeat,
            announce_interval_s=instance.announce.interval.seconds,
            announce_refresh_s=instance.announce.refresh.seconds,
        )
        for name, instance in config.instances.items()
    )


def _service(service: schema.Service) -> VirtualService:
    persistence_s = service.persistence.ms // 1000 if service.persistence else 0
    return VirtualService(
        name=service.name,
        service=Service(service.listen, service.scheduler, persistence_s),
        servers=tuple(_server(server, service) for server in service.servers),
    )


def _server(server: schema.Server, service: schema.Service) -> RealServer:
    key = DestinationKey(server.address, service.listen.port if server.port is None else server.port)
    check = server.check or service.check or schema.Check()
    port = key.port if check.port is None else check.port
    return RealServer(
        destination=Destination(key, server.forwarding or service.forwarding, server.weight),
        endpoint=Endpoint(server.address, port, _check(check, service.listen)),
    )


def _check(check: schema.Check, listen: ServiceKey) -> Check:
    usual = CheckType.TCP if listen.protocol is Protocol.TCP else CheckType.NONE
    return Check(
        type=check.type or usual,
        interval_s=check.interval.seconds,
        timeout_s=(check.timeout or min(_DEFAULT_TIMEOUT, check.interval)).seconds,
        rise=check.rise,
        fall=check.fall,
        path=check.path,
        host=check.host or "",
        status_min=check.status.low,
        status_max=check.status.high,
    )
