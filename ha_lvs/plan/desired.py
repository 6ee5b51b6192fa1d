"""What the kernel's IPVS state should be, derived from the config, the health of the servers and the role.

The rules:
* Both directors are programmed at all times, whatever their role, so that a fail-over has nothing to program.
* A server that is up, or that is never checked, is a destination. One that is down never is. An unknown one
  is only while it is *adopted*: the kernel already sent it traffic when we started, and a restart must not
  empty a pool.
* The master sync daemon runs while any instance is active here, the backup one while any is not. A node with
  some of each runs both, as the kernel allows. Without instances none runs.
* States compare equal when they mean the same: destinations are kept in the order of their addresses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ha_lvs.model import (
    CheckType,
    ConnectionSync,
    Destination,
    DestinationKey,
    Endpoint,
    RealServer,
    Role,
    ServerState,
    Service,
    ServiceEntry,
    ServiceKey,
    SyncDaemon,
    SyncState,
    VirtualService,
)


@dataclass(frozen=True, slots=True)
class KernelState:
    """The IPVS state of a network namespace, as desired or as found.

    Arguments:
        services: by their identity; the entries come from `service_entry`.
        sync: at most one daemon of each state.
    """

    services: Mapping[ServiceKey, ServiceEntry] = field(default_factory=dict)
    sync: frozenset[SyncDaemon] = frozenset()


def service_entry(service: Service, destinations: Iterable[Destination] = ()) -> ServiceEntry:
    """A service with its destinations, in the one order by which entries compare."""
    return ServiceEntry(service, tuple(sorted(destinations, key=_order)))


def desired(
    services: tuple[VirtualService, ...],
    health: Mapping[Endpoint, ServerState],
    adopted: frozenset[tuple[ServiceKey, DestinationKey]],
    sync: ConnectionSync | None,
    roles: Collection[Role],
) -> KernelState:
    """The state that the kernel should have.

    Arguments:
        services: all that the config has.
        health: the last verdict on each endpoint; what is missing is unknown.
        adopted: destinations that the kernel had when we started.
        sync: what the operator asked for, or None.
        roles: of the instances of this node.
    """
    return KernelState(
        services={
            each.service.key: service_entry(
                each.service,
                (
                    server.destination
                    for server in each.servers
                    if _serves(server, health, (each.service.key, server.destination.key) in adopted)
                ),
            )
            for each in services
        },
        sync=frozenset() if sync is None else frozenset(_daemon(sync, state) for state in _sync_states(roles)),
    )


def _serves(server: RealServer, health: Mapping[Endpoint, ServerState], adopted: bool) -> bool:
    if server.endpoint.check.type is CheckType.NONE:
        return True
    state = health.get(server.endpoint, ServerState.UNKNOWN)
    return state is ServerState.UP or (state is ServerState.UNKNOWN and adopted)


def _sync_states(roles: Collection[Role]) -> set[SyncState]:
    return {SyncState.MASTER if role is Role.ACTIVE else SyncState.BACKUP for role in roles}


def _daemon(sync: ConnectionSync, state: SyncState) -> SyncDaemon:
    return SyncDaemon(state, sync.interface, sync.sync_id, sync.group, sync.port, sync.ttl)


def _order(destination: Destination) -> tuple[int, int, int]:
    address = destination.key.address
    return address.version, int(address), destination.key.port
