"""The pool of one service: which of its servers are destinations, with what weight, and whether it has its quorum.

The rules:
* A server that is up, or that is never checked, is a destination. One that is down is not, or stays with weight 0 where
  the service inhibits. An unknown one is only while it is *adopted* (the kernel already sent it traffic when we
  started, and a restart must not empty a pool), or where the service takes servers before their first verdict: only
  those of the config, never one that has announced itself.
* What an operator said at run time stands in place of the configured weight. A service that is disabled keeps its
  destinations with weight 0: its connections go on, and new ones are refused.
* The weight of a server that came back grows to what it should be, in steps, over the slow start of the service.
* Without its quorum a service that has a sorry server sends new connections there alone; the servers that are up stay
  with weight 0, for the connections that they have. A service without a sorry server keeps what it has.
* What is not known yet never costs the quorum: only verdicts do.
* While fewer servers are up than the service's panic threshold, no verdict is believed: those that are down get traffic
  like those that are up, and the sorry server gets none. The quorum is still told as it is.
* A check may give a weight in percent of the configured one; of several, the least counts. What an operator said at run
  time is not weighed again.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from ha_lvs.model import (
    Destination,
    DestinationKey,
    Endpoint,
    Override,
    Quorum,
    RealServer,
    ServerState,
    ServiceKey,
    VirtualService,
)

SLOW_START_STEPS = 20
MOST_WEIGHT = 65_535
"""As the config has it: whatever percent a check gives, no weight is greater."""

_ROUNDING = 1e-6

Said = Mapping[tuple[str, DestinationKey | None], Override]
"""What operators have said, by service name and server; None stands for the service as a whole."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of the servers and services at some moment.

    Arguments:
        health: the last verdict on each endpoint; what is missing is unknown.
        percents: the weight that a check of an endpoint gives, in percent of the configured one.
        adopted: destinations that the kernel had when we started.
        said: overrides that hold.
        risen: when a server that had been down came back, in monotonic seconds, by service name and server.
        quorums: whether a service had its quorum so far, by name; what is missing had.
        now: monotonic seconds.
    """

    health: Mapping[Endpoint, ServerState] = field(default_factory=dict)
    adopted: Collection[tuple[ServiceKey, DestinationKey]] = frozenset()
    said: Said = field(default_factory=dict)
    risen: Mapping[tuple[str, DestinationKey], float] = field(default_factory=dict)
    quorums: Mapping[str, bool] = field(default_factory=dict)
    now: float = 0.0
    percents: Mapping[Endpoint, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pool:
    """What becomes of a service's servers.

    Arguments:
        destinations: as the kernel should have them, in the order of the config, the sorry server last.
        quorum: whether the service has its quorum.
        strength: servers, or their weight, that count for it.
        sorry: whether clients are sent to the sorry server.
        panic: whether verdicts are not believed, since too few servers are up.
        up: how many servers are up.
        disabled: whether an operator disabled it.
        changes_at: when a slow start takes its next step, in monotonic seconds; None when nothing changes by itself.
    """

    destinations: tuple[Destination, ...]
    quorum: bool
    strength: int
    sorry: bool = False
    disabled: bool = False
    changes_at: float | None = None
    panic: bool = False
    up: int = 0


def state_of(server: RealServer, health: Mapping[Endpoint, ServerState]) -> ServerState:
    """The state of a server by all of its checks: one that is never checked is up.

    Where all checks must be good, one that is bad is enough to be down; where any is enough, one that is good to be up.
    """
    checks = server.checks
    if len(checks) == 1:
        return health.get(checks[0], ServerState.UNKNOWN)
    states = [health.get(each, ServerState.UNKNOWN) for each in checks]
    first = ServerState.UP if server.any_of else ServerState.DOWN
    if first in states:
        return first
    if ServerState.UNKNOWN in states:
        return ServerState.UNKNOWN
    return ServerState.DOWN if server.any_of and states else ServerState.UP


def pool(service: VirtualService, standing: Standing) -> Pool:
    """The pool of a service as it should be."""
    disabled = _weight_said(service, None, standing) == 0
    states = [state_of(server, standing.health) for server in service.servers]
    panic = _panics(service, states)
    up: list[Destination] = []
    down: list[Destination] = []
    strength = unknown = 0
    changes: list[float] = []
    for server, state in zip(service.servers, states, strict=True):
        destination = server.destination
        said = _weight_said(service, destination.key, standing)
        weight = _weighed(server, standing) if said is None else said
        counts = _counts(weight, service.quorum)
        strength += counts if state is ServerState.UP else 0
        unknown += counts if state is ServerState.UNKNOWN else 0
        serves = state is ServerState.UP or (panic and state is ServerState.DOWN)
        if serves or (state is ServerState.UNKNOWN and _trusted(service, server, standing)):
            weight, change = _slow_start(service, destination.key, weight, standing)
            if change is not None:
                changes.append(change)
            up.append(_weighing(destination, 0 if disabled else weight))
        elif state is ServerState.DOWN and service.inhibit:
            down.append(_weighing(destination, 0))
    quorum = _quorum(service.quorum, standing.quorums.get(service.name, True), strength, strength + unknown)
    sorry = service.sorry is not None and not quorum and not panic
    if sorry and service.sorry is not None:
        up = [*(_weighing(each, 0) for each in up), service.sorry if not disabled else _weighing(service.sorry, 0)]
    change_at = min(changes, default=None)
    return Pool((*down, *up), quorum, strength, sorry, disabled, change_at, panic, states.count(ServerState.UP))


def _panics(service: VirtualService, states: list[ServerState]) -> bool:
    """Whether too few servers are up for the verdicts to be believed; what is not known yet speaks against it."""
    return (len(states) - states.count(ServerState.DOWN)) * 100 < service.panic * len(states)


def _weighed(server: RealServer, standing: Standing) -> int:
    """The configured weight by what the checks say of it: more than 0 percent of more than 0 is 1 at least."""
    weight = server.destination.weight
    percents = (
        [standing.percents[each] for each in server.checks if each in standing.percents] if standing.percents else []
    )
    if not percents or not weight:
        return weight
    return min(MOST_WEIGHT, max(int(min(percents) > 0), weight * min(percents) // 100))


def _weight_said(service: VirtualService, server: DestinationKey | None, standing: Standing) -> int | None:
    said = standing.said.get((service.name, server)) if standing.said else None
    return None if said is None else said.weight


def _trusted(service: VirtualService, server: RealServer, standing: Standing) -> bool:
    trusted = not service.alpha and not server.discovered
    return trusted or (service.service.key, server.destination.key) in standing.adopted


def _weighing(destination: Destination, weight: int) -> Destination:
    return destination if destination.weight == weight else replace(destination, weight=weight)


def _counts(weight: int, quorum: Quorum) -> int:
    """What a server adds to the strength of its pool."""
    return weight if quorum.by_weight else int(weight > 0)


def _quorum(quorum: Quorum, had: bool, strength: int, at_best: int) -> bool:
    if had:
        return at_best >= quorum.least - quorum.hysteresis
    return strength >= quorum.least + quorum.hysteresis


def _slow_start(
    service: VirtualService, server: DestinationKey, weight: int, standing: Standing
) -> tuple[int, float | None]:
    """The weight by now, and when it changes next."""
    since = standing.risen.get((service.name, server)) if service.slow_start_s else None
    if since is None or weight <= 1:
        return weight, None
    # The moment that was given as the next one counts as reached, however it was rounded; else time stands still there.
    step = math.floor((standing.now - since) * SLOW_START_STEPS / service.slow_start_s + _ROUNDING)
    if step >= SLOW_START_STEPS:
        return weight, None
    by_now = max(1, weight * max(0, step) // SLOW_START_STEPS)
    return by_now, since + (max(0, step) + 1) * service.slow_start_s / SLOW_START_STEPS
