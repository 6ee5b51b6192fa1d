"""Servers that announce themselves, as servers of a service: who is taken in, who stays, who goes.

The rules:
* Anybody may announce anything. Taken in is only who is in the networks of the service, on the port that it is reached
  at, and is neither a virtual IP nor a server of the config; and so many at most. Who is in stays before who comes.
* One announcement is one server, whatever its addresses: a DR server also announces the virtual IP on its loopback.
* A server that is no more announced stays until its check fails, or until it has been gone for long enough: a network
  that loses multicast must not empty a pool. Who is announced again within seconds was never gone.
* While nobody can look, nobody is gone.
* The order is that of the addresses, so that it is the same on both directors and after a restart.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from ha_lvs.model import (
    Announcement,
    Destination,
    DestinationKey,
    Forwarding,
    FoundServer,
    IPAddress,
    RealServer,
    ServerDiscovery,
    VirtualService,
)

GRACE_S = 5.0
"""For so long a server whose check fails may be without an announcement: whoever begins to look hears all within it."""

Found = Mapping[DestinationKey, FoundServer]
"""Servers of one service that were found, by their identity in the kernel."""


def settled(
    service: VirtualService,
    before: Found,
    announced: Iterable[Announcement] | None,
    now: float,
    *,
    down: Collection[DestinationKey] = (),
    virtual: Collection[IPAddress] = (),
) -> dict[DestinationKey, FoundServer]:
    """The servers that a service has found by now.

    Arguments:
        service: as configured, with its discovery.
        before: what this gave last.
        announced: what is announced, of whatever type; None while nobody can look.
        now: monotonic seconds.
        down: servers whose check fails.
        virtual: addresses that belong to no server, beside those that the service listens on.
    """
    discovery = service.discovery
    if discovery is None:
        return {}
    taken = _taken(service, virtual)
    kept = {key: each for key, each in before.items() if _admits(service, discovery, key, taken)}
    if announced is None:
        kept = {key: replace(each, gone_s=None) for key, each in kept.items()}
    else:
        seen = _seen(service, discovery, announced, taken)
        kept = {key: _now(each, seen.get(key), now) for key, each in kept.items()}
        for key in [key for key, each in kept.items() if _is_over(each, key in down, discovery, now)]:
            del kept[key]
        for key in _ordered(seen.keys() - kept.keys()):
            kept[key] = FoundServer(key, seen[key])
    return dict(list(kept.items())[: discovery.most])


def changes_at(service: VirtualService, found: Found, down: Collection[DestinationKey] = ()) -> float | None:
    """When the next server has been gone for long enough, in monotonic seconds; None when nobody is gone.

    Arguments:
        service, found, down: as for `settled`.
    """
    discovery = service.discovery
    if discovery is None:
        return None
    moments = (_over_at(each, key in down, discovery) for key, each in found.items())
    return min((each for each in moments if each is not None), default=None)


def with_found(service: VirtualService, found: Found) -> VirtualService:
    """The service with the servers that it has found behind those of the config."""
    discovery = service.discovery
    if discovery is None or not found:
        return service
    more = tuple(_server(found[key], discovery) for key in _ordered(found))
    return replace(service, servers=(*service.servers, *more))


def _server(found: FoundServer, discovery: ServerDiscovery) -> RealServer:
    destination = Destination(found.key, discovery.forwarding, found.weight, encapsulation=discovery.encapsulation)
    checks = tuple(each.of(found.key.address, destination) for each in discovery.checks)
    return RealServer(destination, checks, discovery.any_of, discovered=True)


def _ordered(keys: Iterable[DestinationKey]) -> list[DestinationKey]:
    return sorted(keys, key=lambda key: (key.address.version, int(key.address), key.port))


def _now(found: FoundServer, weight: int | None, now: float) -> FoundServer:
    """A server as it is announced now, with this weight; None for not."""
    if weight is None:
        return found if found.gone_s is not None else replace(found, gone_s=now)
    return FoundServer(found.key, weight)


def _is_over(found: FoundServer, down: bool, discovery: ServerDiscovery, now: float) -> bool:
    over_at = _over_at(found, down, discovery)
    return over_at is not None and now >= over_at


def _over_at(found: FoundServer, down: bool, discovery: ServerDiscovery) -> float | None:
    """When it has been gone for long enough; None while it is announced."""
    if found.gone_s is None:
        return None
    return found.gone_s + (min(GRACE_S, discovery.forget_after_s) if down else discovery.forget_after_s)


# ------------------------------------------------------------------------------------------------ who may come in


def _taken(service: VirtualService, virtual: Collection[IPAddress]) -> set[IPAddress]:
    """Addresses that no found server may have."""
    taken = {*virtual, *(each.destination.key.address for each in service.servers)}
    if not service.service.key.mark:
        taken.add(service.service.key.address)
    if service.sorry is not None:
        taken.add(service.sorry.key.address)
    return taken


def _admits(
    service: VirtualService, discovery: ServerDiscovery, key: DestinationKey, taken: Collection[IPAddress]
) -> bool:
    return (
        (discovery.port is None or key.port == discovery.port)
        and key.address not in taken
        and _is_within(service, discovery, key.address)
    )


def _is_within(service: VirtualService, discovery: ServerDiscovery, address: IPAddress) -> bool:
    """Whether a server may have the address by its family, the networks, and what the service listens on."""
    if discovery.forwarding is not Forwarding.TUN and address.version != service.service.key.family:
        return False
    ranges = () if service.traffic is None else service.traffic.addresses
    return any(address in network for network in discovery.networks) and not any(
        each.first.version == address.version and int(each.first) <= int(address) <= int(each.last) for each in ranges
    )


def _seen(
    service: VirtualService, discovery: ServerDiscovery, announced: Iterable[Announcement], taken: Collection[IPAddress]
) -> dict[DestinationKey, int]:
    """The servers that are announced and may come in, with their weights."""
    configured = {each.destination.key.address for each in service.servers}
    found: dict[DestinationKey, int] = {}
    for each in sorted(announced, key=lambda one: one.name):
        if each.type != discovery.type or not configured.isdisjoint(each.addresses):
            continue
        port = each.port if discovery.port is None else discovery.port
        keys = [DestinationKey(address, port) for address in each.addresses]
        fitting = [key for key in keys if _admits(service, discovery, key, taken)]
        if fitting:
            weight = each.weight if discovery.trust_weight and each.weight is not None else discovery.weight
            found.setdefault(_ordered(fitting)[0], weight)
    return found
