"""What the director knows of its services, and what that makes of the kernel: plan, apply, remember what failed.

`Balancer` is the one writer of IPVS on this machine. It holds no sockets but the kernel's, and no timers: the director
process tells it what happened and calls `reconcile` or `follow_up`.

Rules that hold here:
* `reconcile` looks at the whole kernel, for drift; `follow_up` only at the services that something happened to, so
  that one verdict among ten thousand servers costs no more than one among ten.
* Packet rules, which give traffic the marks of services, change with the config only: whole looks see to them. Where
  no service needs any and none of ours is left, they are not looked at either.
* A verdict of a peer holds where there is none of our own yet, and no longer. One that is withdrawn because the peer is
  gone takes no server out: what gets traffic by it counts as adopted, until we have probed it.
* Whatever is derived (pools, quorums) is derived anew from what is known; only quorums remember, for their hysteresis.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ha_lvs.daemon.channel import EndpointState
from ha_lvs.daemon.overrides import Overrides
from ha_lvs.kernel.ipvs import Counts, Ipvs
from ha_lvs.kernel.marks import Marks, is_about_marks
from ha_lvs.kernel.ownership import Ownership
from ha_lvs.model import (
    DestinationKey,
    DirectorPart,
    Endpoint,
    OnStop,
    Override,
    RealServer,
    Role,
    ServerState,
    ServiceEntry,
    ServiceKey,
    SyncState,
    Traffic,
    VirtualService,
)
from ha_lvs.plan.desired import KernelState, desired_services, desired_sync, desired_traffic, service_entry
from ha_lvs.plan.diff import diff
from ha_lvs.plan.leaving import Farewell, candidates, farewell
from ha_lvs.plan.pool import Pool, Standing, state_of
from ha_lvs.plan.steps import DeleteService, StartSync, Step, StepFailure

OWNERSHIP_FILE = "owned.json"
OVERRIDES_FILE = "overrides.json"
STEPS_AT_ONCE = 500
"""So many are taken between two signs of life."""


@dataclass(frozen=True, slots=True)
class QuorumChange:
    """A service lost its quorum, or has it again."""

    service: str
    quorum: bool
    strength: int
    sorry: bool


@dataclass(frozen=True, slots=True)
class PanicChange:
    """Too few servers of a service are up for verdicts to be believed, or enough again."""

    service: str
    panic: bool
    up: int
    servers: int


@dataclass(frozen=True, slots=True)
class ServerChange:
    """A server of a service has another state."""

    service: str
    server: str
    state: ServerState


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass found and did.

    Arguments:
        steps: those that were taken, with those that failed.
        failures: those that the kernel refused.
        quorums: services whose quorum changed.
        panics: services whose verdicts are not believed any more, or are again.
    """

    steps: tuple[Step, ...]
    failures: list[StepFailure]
    quorums: list[QuorumChange] = field(default_factory=list)
    panics: list[PanicChange] = field(default_factory=list)


_News = tuple[list[QuorumChange], list[PanicChange]]


class Balancer:
    """The services of this director in its kernel.

    Arguments:
        part: the director's part of the config.
        ipvs: the kernel, entered.
        runtime_dir: where it is remembered which services are ours, and what operators have said.
        alive: called again and again while a long pass goes on.
        marks: the table of marks; only tests give it.

    Attributes:
        roles: of the instances, as the elector tells.
        failures: steps that the kernel refused when they were last tried.
        changes_at: when something changes by itself (a slow start), in monotonic seconds; None when nothing does.
        is_stale: whether the verdict on an endpoint may be out of date, for the status.
        disagreeing: what a peer says of an endpoint where it has differed from us for long, for the status.
    """

    def __init__(
        self,
        part: DirectorPart,
        ipvs: Ipvs,
        runtime_dir: Path,
        alive: Callable[[], object],
        marks: Marks | None = None,
    ) -> None:
        self._alive = alive
        self._ipvs = ipvs
        self._marks = Marks() if marks is None else marks
        self.ownership = Ownership(runtime_dir / OWNERSHIP_FILE)
        self.overrides = Overrides(runtime_dir / OVERRIDES_FILE)
        self.roles: dict[str, Role] = {}
        self.failures: list[StepFailure] = []
        self.changes_at: float | None = None
        self.is_stale: Callable[[Endpoint], bool] = lambda _: False
        self.disagreeing: Callable[[Endpoint], ServerState | None] = lambda _: None
        self._verdicts: dict[Endpoint, EndpointState] = {}
        self._borrowed: dict[Endpoint, ServerState] = {}  # of peers, where there is none of our own
        self._health: dict[Endpoint, ServerState] = {}  # of both
        self._percents: dict[Endpoint, int] = {}  # of them, where there are any
        self._risen: dict[tuple[str, DestinationKey], float] = {}
        self._pools: dict[str, Pool] = {}
        self._touched: set[str] = set()
        self._leaving: dict[str, Farewell] = {}  # by service
        self._gone: set[ServiceKey] = set()  # of services that the config has no more
        self._settings_changed = False
        self._suspects: frozenset[tuple[str, DestinationKey]] = frozenset()
        self._part = part
        self._services: dict[str, VirtualService] = {}
        self._users: dict[Endpoint, list[tuple[VirtualService, RealServer]]] = {}
        self._take_in(part)
        self.adopted: frozenset[tuple[ServiceKey, DestinationKey]] = frozenset(
            (entry.service.key, destination.key)
            for entry in ipvs.read().services.values()
            for destination in entry.destinations
        )
        self._adopt_no_others()

    def _take_in(self, part: DirectorPart) -> None:
        self._part = part
        self._ipvs.sysctls = tuple(name for name, _ in part.sysctls)
        self._services = {each.name: each for each in part.services}
        self._users = {}
        for each in part.services:
            for server in each.servers:
                for endpoint in server.checks:
                    self._users.setdefault(endpoint, []).append((each, server))

    def _adopt_no_others(self) -> None:
        """Only what is a server of a service is adopted; one that comes back later needs a good check."""
        if self.adopted:
            services = self._part.services
            servers = {(each.service.key, server.destination.key) for each in services for server in each.servers}
            self.adopted &= servers

    # ------------------------------------------------------------------------------------ what happens to it

    def endpoints(self) -> dict[Endpoint, ServerState]:
        """What has to be probed, each once, and what is known of it: up where it gets traffic already."""
        return {endpoint: self._known(endpoint, users) for endpoint, users in self._users.items()}

    def _known(self, endpoint: Endpoint, users: Iterable[tuple[VirtualService, RealServer]]) -> ServerState:
        verdict = self._verdicts.get(endpoint)
        if verdict is not None:
            return verdict.state
        if self._borrowed.get(endpoint) is not None:
            # What is down by the peer alone may come back by the first success, like whatever we know nothing of.
            return ServerState.UP if self._borrowed[endpoint] is ServerState.UP else ServerState.UNKNOWN
        if any((each.service.key, server.destination.key) in self.adopted for each, server in users):
            return ServerState.UP
        return ServerState.UNKNOWN

    @property
    def verdicts(self) -> Mapping[Endpoint, EndpointState]:
        """The last verdict of a prober on each endpoint."""
        return self._verdicts

    def users(self, endpoint: Endpoint) -> list[tuple[str, str]]:
        """The servers that are checked so, with their services."""
        return [(each.name, str(server.destination.key)) for each, server in self._users.get(endpoint, ())]

    def probes(self, endpoint: Endpoint) -> bool:
        """Whether some server is checked so."""
        return endpoint in self._users

    def borrow(self, states: Mapping[Endpoint, ServerState]) -> dict[Endpoint, ServerState]:
        """Takes in what peers say of endpoints, unknown where they say nothing any more; returns what of it holds."""
        holds: dict[Endpoint, ServerState] = {}
        for endpoint, state in states.items():
            before = self._borrowed.get(endpoint, ServerState.UNKNOWN)
            users = self._users.get(endpoint)
            if endpoint in self._verdicts or users is None or state is before:
                continue
            holds[endpoint] = state
            if state is ServerState.UNKNOWN:
                # They go on as they are: a peer that stops must not empty a pool that has just been filled.
                self.adopted |= {
                    (each.service.key, server.destination.key)
                    for each, server in users
                    if self._state(server) is ServerState.UP
                }
                del self._borrowed[endpoint]
            else:
                self._borrowed[endpoint] = state
            self._touched.update(each.name for each, _ in users)
        self._believe({each.name: each for endpoint in holds for each, _ in self._users[endpoint]}.values())
        return holds

    def _believe(self, services: Iterable[VirtualService]) -> None:
        """Weighs what peers say of the servers of these services.

        What a peer takes for down counts only where somebody knows a server of the service to be up: a peer that is cut
        off from all of them must not empty the pool of a director that has just started.
        """
        for service in services:
            endpoints = [each for server in service.servers for each in server.checks]
            known = [self._borrowed.get(each) or self._health.get(each) for each in endpoints]
            credible = ServerState.UP in known
            for endpoint in endpoints:
                if endpoint in self._verdicts:
                    continue
                borrowed, before = self._borrowed.get(endpoint), self._health.pop(endpoint, None)
                if borrowed is ServerState.UP or (borrowed is ServerState.DOWN and credible):
                    self._health[endpoint] = borrowed
                if self._health.get(endpoint) is not before:
                    self._touched.add(service.name)

    def verdict(self, state: EndpointState) -> list[ServerChange]:
        """Takes in a verdict; returns the servers whose state it changed, or settles where a peer's word held.

        One on what is not probed any more is ignored: it would stand when the server comes back.
        """
        if state.endpoint not in self._users:
            return []
        before = self._verdicts.get(state.endpoint)
        users = self._users[state.endpoint]
        stood = [self._state(server) for _, server in users]
        self._verdicts[state.endpoint] = state
        self._health[state.endpoint] = state.state
        borrowed = self._borrowed.pop(state.endpoint, None) is not None
        if self._borrowed and before is None:
            self._believe(each for each, _ in users)
        if state.percent is None:
            self._percents.pop(state.endpoint, None)
        else:
            self._percents[state.endpoint] = state.percent
        if before is not None and before.state is state.state:
            if before.percent != state.percent:
                self._touched.update(each.name for each, _ in users)
            return []
        changed: list[ServerChange] = []
        for (each, server), was in zip(users, stood, strict=True):
            now, key = self._state(server), server.destination.key
            if now is was:
                if borrowed:
                    changed.append(ServerChange(each.name, str(key), now))
                continue
            if now is ServerState.UP and was is ServerState.DOWN:
                self._risen[each.name, key] = time.monotonic()
            else:
                self._risen.pop((each.name, key), None)
            self._touched.add(each.name)
            changed.append(ServerChange(each.name, str(key), now))
        return changed

    def say(self, overrides: Iterable[Override]) -> list[Override]:
        """Takes in what an operator said, here or at the peer; returns what was news.

        Errors: PlatformError when it cannot be remembered.
        """
        news = self.overrides.take(overrides)
        self._touched.update(each.service for each in news if each.service in self._services)
        return news

    def follow(self, part: DirectorPart) -> bool:
        """Follows other services; what is known of those servers that stay still holds.

        Returns whether it takes a look at the whole kernel: packet rules are changed as a whole.
        """
        other_marks = desired_traffic(part.services) != desired_traffic(self._part.services)
        before = {each.name: each for each in self._part.services}
        self._gone |= {each.service.key for each in before.values()} - {each.service.key for each in part.services}
        self._touched.update(each.name for each in part.services if before.get(each.name) != each)
        settings = (part.timeouts, part.sysctls)
        self._settings_changed |= settings != (self._part.timeouts, self._part.sysctls)
        self._take_in(part)
        self._adopt_no_others()
        for endpoint in self._verdicts.keys() - self._users.keys():
            del self._verdicts[endpoint], self._health[endpoint]
            self._percents.pop(endpoint, None)
        for endpoint in self._borrowed.keys() - self._users.keys():
            del self._borrowed[endpoint]
            self._health.pop(endpoint, None)
        return other_marks

    def down(self, name: str) -> set[DestinationKey]:
        """The servers of a service, by its name, whose checks fail."""
        service = self._services.get(name)
        servers = () if service is None else service.servers
        return {each.destination.key for each in servers if self._state(each) is ServerState.DOWN}

    @property
    def wants_evidence(self) -> bool:
        """Whether the connection table is to be watched for a service."""
        return any(each.passive for each in self._part.services)

    def suspect(self, found: Collection[DestinationKey]) -> list[tuple[str, RealServer]]:
        """These are suspect, by address and port in the connection table, and nobody else; returns the servers.

        Servers are returned with the names of their services, as far as these want evidence of that kind.
        """
        every_port = {key.address for key in found}
        suspects = [
            (each.name, server)
            for each in (self._part.services if found else ())
            if each.passive
            for server in each.servers
            if (key := server.destination.key) in found or (not key.port and key.address in every_port)
        ]
        self._suspects = frozenset((name, server.destination.key) for name, server in suspects)
        return suspects

    def lost(self) -> list[QuorumChange]:
        """The services that are without their quorum."""
        return [
            QuorumChange(name, pool.quorum, pool.strength, pool.sorry)
            for name, pool in self._pools.items()
            if not pool.quorum
        ]

    @property
    def settled(self) -> bool:
        """Whether there is a verdict on every server that is probed."""
        return self._verdicts.keys() >= self._users.keys()

    @property
    def touched(self) -> bool:
        """Whether something happened that the kernel does not reflect yet."""
        return bool(self._touched or self._gone or self._settings_changed)

    # --------------------------------------------------------------------------------------- what it does

    def reconcile(self) -> Outcome:
        """Looks at the whole kernel, and takes the steps to what it should hold.

        Errors: KernelError when the kernel cannot be read.
        """
        traffic = desired_traffic(self._part.services)
        actual = self._look(traffic)
        self._forget_what_happened()
        entries, news = self._wanted(self._part.services, actual.services)
        part = self._part
        settled = len(self.roles) >= len(part.instances)  # else the elector has not spoken: leave the daemons alone
        sync = desired_sync(part.sync, self.roles.values()) if settled else actual.sync
        wanted = KernelState(entries, sync, part.timeouts, dict(part.sysctls), traffic)
        return self._apply_all(wanted, actual, news)

    def follow_up(self) -> Outcome:
        """Looks only at the services that something happened to, and brings them to what they should be.

        Errors: as `reconcile`.
        """
        services = [self._services[name] for name in self._touched if name in self._services]
        now = time.monotonic()
        services += (
            self._services[name]
            for name, moment in self._moments()
            if moment <= now and name in self._services and name not in self._touched
        )
        found = self._ipvs.read_services({*(each.service.key for each in services), *self._gone})
        settings = self._settings_changed
        actual = self._ipvs.with_settings(KernelState(found)) if settings else KernelState(found)
        self._forget_what_happened()
        entries, news = self._wanted(services, found)
        wanted = KernelState(entries)
        if settings:
            wanted = replace(wanted, timeouts=self._part.timeouts, sysctls=dict(self._part.sysctls))
        return self._apply(wanted, actual, news)

    def _forget_what_happened(self) -> None:
        self._touched.clear()
        self._gone.clear()
        self._settings_changed = False

    def finish(self) -> Outcome:
        """Leaves IPVS as the config says for a planned stop. Kept services stay, with a backup sync daemon.

        The elector has ended by now, whether or not it came to tell us so.
        """
        if self._part.on_stop is OnStop.REMOVE:
            return self._apply_all(KernelState(), self._look({}), ([], []))
        self.roles = {instance.name: Role.INITIALIZE for instance in self._part.instances}
        return self.reconcile()

    def _look(self, traffic: Mapping[ServiceKey, Traffic]) -> KernelState:
        """The whole kernel; its packet rules where there are to be any, or we have made some."""
        actual = self._ipvs.read()
        if not traffic and not self.ownership.marks:
            return actual
        self._alive()
        found = self._marks.look()
        return replace(actual, traffic=found.traffic, strays=found.strays)

    def _apply_all(self, wanted: KernelState, actual: KernelState, news: _News) -> Outcome:
        outcome = self._apply(wanted, actual, news)
        if not wanted.traffic and not any(is_about_marks(failure.step) for failure in outcome.failures):
            self.ownership.release(marks=True)
        return outcome

    def _wanted(
        self, services: Iterable[VirtualService], found: Mapping[ServiceKey, ServiceEntry]
    ) -> tuple[dict[ServiceKey, ServiceEntry], _News]:
        """What the kernel should have of these services, and whose quorum or panic changed.

        Arguments:
            found: what it has of them.
        """
        before = {name: pool.quorum for name, pool in self._pools.items()}
        panicked = {name for name, pool in self._pools.items() if pool.panic}
        now = time.monotonic()
        standing = Standing(self._health, self.adopted, self.overrides.said, self._risen, before, now, self._percents)
        entries, pools = desired_services(services, standing)
        self._pools.update(pools)
        for name in self._pools.keys() - self._services.keys():
            del self._pools[name]
        for each in services:
            entries[each.service.key] = self._with_those_that_leave(each, entries[each.service.key], found, now)
        self.changes_at = min((moment for _, moment in self._moments()), default=None)
        quorums = [
            QuorumChange(name, pool.quorum, pool.strength, pool.sorry)
            for name, pool in pools.items()
            if pool.quorum != before.get(name, True)
        ]
        panics = [
            PanicChange(name, pool.panic, pool.up, len(self._services[name].servers))
            for name, pool in pools.items()
            if pool.panic != (name in panicked)
        ]
        return entries, (quorums, panics)

    def _with_those_that_leave(
        self, service: VirtualService, wanted: ServiceEntry, found: Mapping[ServiceKey, ServiceEntry], now: float
    ) -> ServiceEntry:
        down = {server.destination.key for server in service.servers if self._state(server) is not ServerState.UP}
        leaving = candidates(wanted, found.get(service.service.key), down)
        if not leaving:
            self._leaving.pop(service.name, None)
            return wanted
        key = service.service.key
        counts = self._ipvs.read_services_with_counts([key])[1]
        active = {each.key: counts[key, each.key].active for each in leaving if (key, each.key) in counts}
        before = self._leaving.pop(service.name, None)
        stays = farewell(leaving, active, before.since if before else {}, self._part.drain_s, now)
        if stays.destinations:
            self._leaving[service.name] = stays
        return service_entry(wanted.service, (*wanted.destinations, *stays.destinations))

    def _moments(self) -> Iterator[tuple[str, float]]:
        """When something changes by itself, by service: a slow start, or a server that may be gone by then."""
        for name, pool in self._pools.items():
            if pool.changes_at is not None:
                yield name, pool.changes_at
        for name, stays in self._leaving.items():
            yield name, stays.look_at

    def _apply(self, wanted: KernelState, actual: KernelState, news: _News) -> Outcome:
        owned = self.ownership.services
        steps = diff(wanted, actual, owned, sync_owned=self.ownership.sync and bool(actual.sync))
        starts = any(isinstance(step, StartSync) for step in steps)
        self.ownership.claim(wanted.services, sync=starts, marks=bool(wanted.traffic))
        failures: list[StepFailure] = []
        for about_marks, group in itertools.groupby(steps, is_about_marks):
            alike = tuple(group)
            if about_marks:  # one transaction, however many
                self._alive()
                failures += self._marks.apply(alike, wanted.traffic)
                continue
            for at in range(0, len(alike), STEPS_AT_ONCE):
                self._alive()
                failures += self._ipvs.apply(alike[at : at + STEPS_AT_ONCE])
        failed = {failure.step for failure in failures}
        self.ownership.release(step.key for step in steps if isinstance(step, DeleteService) and step not in failed)
        self.failures = failures
        return Outcome(steps, failures, *news)

    # ------------------------------------------------------------------------------------------------ status

    def status(self) -> dict[str, Any]:
        """The `services` and `sync` of `ha-lvs status --json`."""
        actual, counts = self._ipvs.read_with_counts()
        states = {daemon.state for daemon in actual.sync}
        role = "master" if SyncState.MASTER in states else "backup" if SyncState.BACKUP in states else "off"
        return {
            "services": {
                each.name: self._service_status(each, actual.services.get(each.service.key), counts)
                for each in self._part.services
            },
            "sync": {"role": role, "coverage": None},
            "failed_steps": [str(failure) for failure in self.failures],
        }

    @property
    def services(self) -> Mapping[str, VirtualService]:
        """The services of the config by their names."""
        return self._services

    def sysctl(self, name: str) -> int | None:
        """What the kernel has for one under net.ipv4.vs; None for what it does not know."""
        return self._ipvs.sysctl(name)

    def service_status(self, name: str) -> dict[str, Any]:
        """The same of one service alone, which takes a look at that service only."""
        each = self._services[name]
        found, counts = self._ipvs.read_services_with_counts([each.service.key])
        return self._service_status(each, found.get(each.service.key), counts)

    def _service_status(
        self,
        each: VirtualService,
        entry: ServiceEntry | None,
        counts: Mapping[tuple[ServiceKey, DestinationKey], Counts],
    ) -> dict[str, Any]:
        key = each.service.key
        programmed = {} if entry is None else {found.key: found for found in entry.destinations}
        pool = self._pools.get(each.name)
        servers: dict[str, dict[str, Any]] = {}
        for server in each.servers:
            destination = server.destination
            verdict = self._deciding(server)
            count = counts.get((key, destination.key))
            in_kernel = programmed.get(destination.key)
            said = self.overrides.said.get((each.name, destination.key))
            servers[str(destination.key)] = {
                "state": self._state(server).value,
                "discovered": server.discovered,
                "suspect": (each.name, destination.key) in self._suspects,
                "weight": 0 if in_kernel is None else in_kernel.weight,
                "configured_weight": destination.weight,
                "override": None if said is None else said.weight,
                "forwarding": destination.forwarding.value,
                "programmed": in_kernel is not None,
                "active_connections": 0 if count is None else count.active,
                "inactive_connections": 0 if count is None else count.inactive,
                "reason": "" if verdict is None else verdict.reason,
                "check_ms": None if verdict is None else verdict.took_ms,
                "warning": "" if verdict is None else verdict.warning,
                "stale": any(map(self.is_stale, server.checks)),
                "borrowed": any(each in self._borrowed for each in server.checks),
                "peer_state": self._peer_state(server),
            }
            if len(server.checks) > 1:
                servers[str(destination.key)]["checks"] = [self._check_status(each) for each in server.checks]
        return {
            "listen": str(key),
            "scheduler": each.service.scheduler,
            "enabled": pool is None or not pool.disabled,
            "quorum": None if pool is None else pool.quorum,
            "strength": 0 if pool is None else pool.strength,
            "sorry": pool is not None and pool.sorry,
            "panic": pool is not None and pool.panic,
            "leaving": [str(key) for key in (self._leaving[each.name].since if each.name in self._leaving else ())],
            "servers": servers,
        }

    def _peer_state(self, server: RealServer) -> str | None:
        found = [state for each in server.checks if (state := self.disagreeing(each)) is not None]
        if not found:
            return None
        health = {each: self.disagreeing(each) or self._health.get(each, ServerState.UNKNOWN) for each in server.checks}
        return state_of(server, health).value

    def _check_status(self, endpoint: Endpoint) -> dict[str, Any]:
        verdict = self._verdicts.get(endpoint)
        return {
            "type": endpoint.check.type.value,
            "state": (ServerState.UNKNOWN if verdict is None else verdict.state).value,
            "reason": "" if verdict is None else verdict.reason,
            "check_ms": None if verdict is None else verdict.took_ms,
        }

    def _state(self, server: RealServer) -> ServerState:
        return state_of(server, self._health)

    def _deciding(self, server: RealServer) -> EndpointState | None:
        """The verdict that makes the server what it is: the first one that says the same."""
        verdicts = [self._verdicts[each] for each in server.checks if each in self._verdicts]
        state = self._state(server)
        return next((each for each in verdicts if each.state is state), verdicts[0] if verdicts else None)
