"""The kernel's rules for IPVS changes, without a kernel.

`apply` answers each step as `ip_vs_genl_set_cmd` does (net/netfilter/ipvs/ip_vs_ctl.c), error numbers
included. The contract tests hold it against a real kernel, so that plans can be tried on it in their
thousands.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass

from ha_lvs.model import Destination, DestinationKey, Service, ServiceKey, SyncDaemon, SyncState, Tunnel
from ha_lvs.plan.desired import KernelState, service_entry
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
    StepFailure,
    StopSync,
)


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of some steps: the state after them, and those that were refused."""

    state: KernelState
    failures: tuple[StepFailure, ...]


class _Refused(Exception):
    def __init__(self, number: int) -> None:
        self.number = number


def _check(destination: Destination) -> None:
    if destination.weight < 0 or destination.lower_threshold > destination.upper_threshold:
        raise _Refused(errno.ERANGE)
    tunnel = destination.encapsulation
    if tunnel is not None and tunnel.tunnel is Tunnel.GUE and not tunnel.port:
        raise _Refused(errno.EINVAL)


class _Kernel:
    def __init__(self, state: KernelState) -> None:
        self.services: dict[ServiceKey, Service] = {}
        self.pools: dict[ServiceKey, dict[DestinationKey, Destination]] = {}
        self.timeouts = state.timeouts
        self.sysctls = dict(state.sysctls)
        self.traffic = dict(state.traffic)
        self.strays = state.strays
        self.sync: dict[SyncState, SyncDaemon] = {daemon.state: daemon for daemon in state.sync}
        for key, entry in state.services.items():
            self.services[key] = entry.service
            self.pools[key] = {each.key: each for each in entry.destinations}

    def state(self) -> KernelState:
        services = {key: service_entry(service, self.pools[key].values()) for key, service in self.services.items()}
        sync = frozenset(self.sync.values())
        return KernelState(services, sync, self.timeouts, self.sysctls, self.traffic, self.strays)

    def take(self, step: Step) -> None:
        match step:
            case AddService(service):
                if service.key in self.services:
                    raise _Refused(errno.EEXIST)
                self.services[service.key] = service
                self.pools[service.key] = {}
            case SetService(service):
                self._pool(service.key)
                self.services[service.key] = service
            case DeleteService(key):
                self._pool(key)
                del self.services[key], self.pools[key]
            case AddDestination(key, destination):
                pool = self._pool(key)
                _check(destination)
                if destination.key in pool:
                    raise _Refused(errno.EEXIST)
                pool[destination.key] = destination
            case SetDestination(key, destination):
                pool = self._pool(key)
                _check(destination)
                if destination.key not in pool:
                    raise _Refused(errno.ENOENT)
                self.pools[key][destination.key] = destination
            case DeleteDestination(key, gone):
                if self._pool(key).pop(gone, None) is None:
                    raise _Refused(errno.ENOENT)
            case SetTimeouts(timeouts):
                self.timeouts = timeouts.over(self.timeouts)
            case SetSysctl(name, value):
                if name not in self.sysctls:
                    raise _Refused(errno.ENOENT)
                self.sysctls[name] = value
            case MarkTraffic(key, None):
                self.traffic.pop(key, None)
            case MarkTraffic(key, traffic) if traffic is not None:
                self.traffic[key] = traffic
            case MendMarks():
                self.strays = ""
            case StartSync(daemon):
                if daemon.state in self.sync:
                    raise _Refused(errno.EEXIST)
                self.sync[daemon.state] = daemon
            case StopSync(daemon):
                if self.sync.pop(daemon.state, None) is None:
                    raise _Refused(errno.ESRCH)

    def _pool(self, key: ServiceKey) -> dict[DestinationKey, Destination]:
        if key not in self.pools:
            raise _Refused(errno.ESRCH)
        return self.pools[key]


def apply(steps: Iterable[Step], state: KernelState) -> Applied:
    """Takes steps on a state, one after the other, going on after one that is refused as the kernel does.

    Arguments:
        state: is left as it was.
    """
    kernel = _Kernel(state)
    failures: list[StepFailure] = []
    for step in steps:
        try:
            kernel.take(step)
        except _Refused as refused:
            failures.append(StepFailure(step, refused.number, errno.errorcode[refused.number]))
    return Applied(kernel.state(), tuple(failures))
