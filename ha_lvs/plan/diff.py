"""The steps that lead from the IPVS state that a kernel has to the one that it should have.

What is touched: services that are desired or owned (made by us, by `Ownership`), whole with their
destinations. Every other service is foreign and stays as it is. Sync daemons are ours once any is desired or
`sync_owned` says so. The table of marks is ours alone, whatever is in it.

In which order, and why:
1. Service by service: make it or change it, because destinations need it; then add destinations, then raise
   weights, then the other changes, and only then remove destinations. So a pool that has servers before and
   after is never empty on the way, nor left with weight 0 only, wherever the steps are cut off.
2. Marks, all in one piece since their table is replaced as a whole. A packet with a mark that no service takes
   falls to the local stack, which refuses it: so marks come after the services that they are for, and go
   before them.
3. Remove services that are owned and no longer desired; the kernel drops their destinations with them.
4. Sync daemons, last because the connections that a backup receives are bound to destinations that exist.
   First those whose state does not run yet, so that nothing is lost in a change of role; then, for each that
   runs with other settings, stop before start, because the kernel has one of each state; at the end those
   that are not wanted: a master that stops discards what it has buffered, so it stops as late as possible.
5. Before all of that, the sysctls and time-outs: what the first connections live by.

Any part of the steps may fail or be cut off: the next diff starts from what the kernel then has.
"""

from __future__ import annotations

from collections.abc import Iterator

from ha_lvs.model import Destination, ServiceEntry, ServiceKey, SyncDaemon
from ha_lvs.plan.desired import KernelState
from ha_lvs.plan.steps import (
    AddDestination,
    AddService,
    DeleteDestination,
    DeleteService,
    MarkTraffic,
    MendMarks,
    SetDestination,
    SetService,
    SetSysctl,
    SetTimeouts,
    StartSync,
    Step,
    StopSync,
)


def diff(
    desired: KernelState, actual: KernelState, owned: frozenset[ServiceKey], *, sync_owned: bool = False
) -> tuple[Step, ...]:
    """The steps from `actual` to `desired`, in the order in which they must be taken; empty when all is well.

    Arguments:
        owned: services that we made, now or before a restart.
        sync_owned: whether a sync daemon that runs was started by us; only asked when none is desired.
    """
    steps: list[Step] = [
        SetSysctl(name, value, actual.sysctls.get(name))
        for name, value in desired.sysctls.items()
        if actual.sysctls.get(name) != value
    ]
    if desired.timeouts.over(actual.timeouts) != actual.timeouts:
        steps.append(SetTimeouts(desired.timeouts, actual.timeouts))
    for key, entry in desired.services.items():
        found = actual.services.get(key)
        if found != entry:
            steps += _service(entry, found)
    steps += _marks(desired, actual)
    steps += (DeleteService(key) for key in actual.services if key in owned and key not in desired.services)
    if desired.sync or sync_owned:
        steps += _sync(desired.sync, actual.sync)
    return tuple(steps)


def _service(entry: ServiceEntry, found: ServiceEntry | None) -> Iterator[Step]:
    service = entry.service
    if found is None:
        yield AddService(service)
    elif found.service != service:
        yield SetService(service, found.service)
    have = {} if found is None else {each.key: each for each in found.destinations}
    changed: list[tuple[Destination, Destination]] = []
    for destination in entry.destinations:
        before = have.pop(destination.key, None)
        if before is None:
            yield AddDestination(service.key, destination)
        elif before != destination:
            changed.append((destination, before))
    changed.sort(key=lambda pair: pair[0].weight <= pair[1].weight)
    for destination, before in changed:
        yield SetDestination(service.key, destination, before)
    for gone in have:
        yield DeleteDestination(service.key, gone)


def _marks(desired: KernelState, actual: KernelState) -> Iterator[Step]:
    if actual.strays:
        yield MendMarks(actual.strays)
    for key, before in actual.traffic.items():
        if key not in desired.traffic:
            yield MarkTraffic(key, None, before)
    for key, traffic in desired.traffic.items():
        found = actual.traffic.get(key)
        if found != traffic:
            yield MarkTraffic(key, traffic, found)


def _sync(desired: frozenset[SyncDaemon], actual: frozenset[SyncDaemon]) -> Iterator[Step]:
    wanted = {daemon.state: daemon for daemon in desired}
    running = {daemon.state: daemon for daemon in actual}
    states = sorted(wanted.keys() | running.keys(), key=lambda state: state.value)
    for state in states:
        if state not in running:
            yield StartSync(wanted[state])
    for state in states:
        if state in wanted and state in running and wanted[state] != running[state]:
            yield StopSync(running[state])
            yield StartSync(wanted[state])
    for state in states:
        if state not in wanted:
            yield StopSync(running[state])
