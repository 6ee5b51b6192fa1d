"""What the kernel's IPVS state should be, derived from the config, what is known of the servers, and the role.

The rules:
* Both directors are programmed at all times, whatever their role, so that a fail-over has nothing to program.
* Which servers are destinations, and with what weight, says `pool`.
* The master sync daemon runs while any instance is active here, the backup one while any is not. A node with
  some of each runs both, as the kernel allows. Without instances none runs.
* States compare equal when they mean the same: destinations are kept in the order of their addresses.
* Of time-outs and sysctls only those are desired that the config sets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ha_lvs.model import (
    ConnectionSync,
    Destination,
    Role,
    Service,
    ServiceEntry,
    ServiceKey,
    SyncDaemon,
    SyncState,
    Timeouts,
    Traffic,
    VirtualService,
)
from ha_lvs.plan.pool import Pool, Standing, pool


@dataclass(frozen=True, slots=True)
class KernelState:
    """The IPVS state of a network namespace, as desired or as found.

    Arguments:
        services: by their identity; the entries come from `service_entry`.
        sync: at most one daemon of each state.
        timeouts: of connections.
        sysctls: under net.ipv4.vs, by name.
        traffic: what is given a firewall mark by us, by the service of that mark; as `Traffic.merged`.
        strays: what else was found in our table of marks, for people; empty in whatever is desired.
    """

    services: Mapping[ServiceKey, ServiceEntry] = field(default_factory=dict)
    sync: frozenset[SyncDaemon] = frozenset()
    timeouts: Timeouts = field(default_factory=Timeouts)
    sysctls: Mapping[str, int] = field(default_factory=dict)
    traffic: Mapping[ServiceKey, Traffic] = field(default_factory=dict)
    strays: str = ""


def service_entry(service: Service, destinations: Iterable[Destination] = ()) -> ServiceEntry:
    """A service with its destinations, in the one order by which entries compare."""
    return ServiceEntry(service, tuple(sorted(destinations, key=_order)))


def desired_services(
    services: Iterable[VirtualService], standing: Standing
) -> tuple[dict[ServiceKey, ServiceEntry], dict[str, Pool]]:
    """What the kernel should have of these services, and the pool of each by its name."""
    pools = {each.name: pool(each, standing) for each in services}
    entries = {each.service.key: service_entry(each.service, pools[each.name].destinations) for each in services}
    return entries, pools


def desired_sync(sync: ConnectionSync | None, roles: Collection[Role]) -> frozenset[SyncDaemon]:
    """The sync daemons that the kernel should run.

    Arguments:
        sync: what the operator asked for, or None.
        roles: of the instances of this node.
    """
    return frozenset() if sync is None else frozenset(_daemon(sync, state) for state in _sync_states(roles))


def desired_traffic(services: Iterable[VirtualService]) -> dict[ServiceKey, Traffic]:
    """What is to be given firewall marks for these services."""
    return {each.service.key: each.traffic.merged() for each in services if each.traffic is not None}


def _sync_states(roles: Collection[Role]) -> set[SyncState]:
    return {SyncState.MASTER if role is Role.ACTIVE else SyncState.BACKUP for role in roles}


def _daemon(sync: ConnectionSync, state: SyncState) -> SyncDaemon:
    return SyncDaemon(state, sync.interface, sync.sync_id, sync.group, sync.port, sync.ttl)


def _order(destination: Destination) -> tuple[int, int, int]:
    address = destination.key.address
    return address.version, int(address), destination.key.port
