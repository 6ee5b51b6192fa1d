"""What the director knows of its real servers, and what that makes of the kernel: plan, apply, remember what failed.

`Pool` is the one writer of IPVS on this machine. It holds no sockets but the kernel's, and no timers: the director
process tells it what happened and calls `reconcile`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ha_lvs.daemon.channel import EndpointState
from ha_lvs.kernel.ipvs import Ipvs
from ha_lvs.kernel.ownership import Ownership
from ha_lvs.model import (
    CheckType,
    DestinationKey,
    DirectorPart,
    Endpoint,
    OnStop,
    Role,
    ServerState,
    ServiceKey,
    SyncState,
)
from ha_lvs.plan.desired import KernelState, desired
from ha_lvs.plan.diff import diff
from ha_lvs.plan.steps import DeleteService, StartSync, Step, StepFailure

OWNERSHIP_FILE = "owned.json"
STEPS_AT_ONCE = 500
"""So many are taken between two signs of life."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reconcile pass found and did."""

    steps: tuple[Step, ...]
    failures: list[StepFailure]


class Pool:
    """The services of this director in its kernel.

    Arguments:
        part: the director's part of the config.
        ipvs: the kernel, entered.
        runtime_dir: where it is remembered which services are ours.
        alive: called again and again while a long pass goes on.
    """

    def __init__(self, part: DirectorPart, ipvs: Ipvs, runtime_dir: Path, alive: Callable[[], object]) -> None:
        self._part = part
        self._alive = alive
        self._ipvs = ipvs
        self.ownership = Ownership(runtime_dir / OWNERSHIP_FILE)
        self.roles: dict[str, Role] = {}
        self.failures: list[StepFailure] = []
        self._verdicts: dict[Endpoint, EndpointState] = {}
        configured = {(each.service.key, server.destination.key) for each in part.services for server in each.servers}
        self.adopted: frozenset[tuple[ServiceKey, DestinationKey]] = frozenset(
            (entry.service.key, destination.key)
            for entry in ipvs.read().services.values()
            for destination in entry.destinations
            if (entry.service.key, destination.key) in configured
        )

    def endpoints(self) -> dict[Endpoint, bool]:
        """What has to be probed, each once, and whether it gets traffic already."""
        found: dict[Endpoint, bool] = {}
        for each in self._part.services:
            for server in each.servers:
                endpoint = server.endpoint
                if endpoint.check.type is not CheckType.NONE:
                    adopted = (each.service.key, server.destination.key) in self.adopted
                    found[endpoint] = found.get(endpoint, False) or self._serves(endpoint, adopted)
        return found

    def _serves(self, endpoint: Endpoint, adopted: bool) -> bool:
        verdict = self._verdicts.get(endpoint)
        return adopted if verdict is None else verdict.state is ServerState.UP

    def verdict(self, state: EndpointState) -> list[tuple[str, str]]:
        """Takes in a verdict; returns the (service, server) pairs whose state it changed."""
        before = self._verdicts.get(state.endpoint)
        self._verdicts[state.endpoint] = state
        if before is not None and before.state is state.state:
            return []
        return [
            (each.name, str(server.destination.key))
            for each in self._part.services
            for server in each.servers
            if server.endpoint == state.endpoint
        ]

    def reconcile(self) -> Outcome:
        """Looks at the kernel, and takes the steps to what it should hold.

        Errors: KernelError when the kernel cannot be read.
        """
        actual = self._ipvs.read()
        return self._apply(self._desired(actual), actual)

    def finish(self) -> Outcome:
        """Leaves IPVS as the config says for a planned stop. Kept services stay, with a backup sync daemon.

        The elector has ended by now, whether or not it came to tell us so.
        """
        actual = self._ipvs.read()
        if self._part.on_stop is OnStop.REMOVE:
            return self._apply(KernelState(), actual)
        self.roles = {instance.name: Role.INITIALIZE for instance in self._part.instances}
        return self._apply(self._desired(actual), actual)

    def _desired(self, actual: KernelState) -> KernelState:
        health = {endpoint: verdict.state for endpoint, verdict in self._verdicts.items()}
        wanted = desired(self._part.services, health, self.adopted, self._part.sync, self.roles.values())
        if len(self.roles) < len(self._part.instances):  # the elector has not spoken yet: leave the daemons alone
            return replace(wanted, sync=actual.sync)
        return wanted

    def _apply(self, wanted: KernelState, actual: KernelState) -> Outcome:
        owned = self.ownership.services
        steps = diff(wanted, actual, owned, sync_owned=self.ownership.sync)
        self.ownership.claim(wanted.services, sync=any(isinstance(step, StartSync) for step in steps))
        failures: list[StepFailure] = []
        for at in range(0, len(steps), STEPS_AT_ONCE):
            self._alive()
            failures += self._ipvs.apply(steps[at : at + STEPS_AT_ONCE])
        failed = {failure.step for failure in failures}
        self.ownership.release(step.key for step in steps if isinstance(step, DeleteService) and step not in failed)
        self.failures = failures
        return Outcome(steps, failures)

    def status(self) -> dict[str, Any]:
        """The `services` and `sync` of `ha-lvs status --json`."""
        actual, counts = self._ipvs.read_with_counts()
        services: dict[str, Any] = {}
        for each in self._part.services:
            key = each.service.key
            entry = actual.services.get(key)
            programmed = {} if entry is None else {found.key: found for found in entry.destinations}
            servers = {}
            for server in each.servers:
                destination = server.destination
                verdict = self._verdicts.get(server.endpoint)
                count = counts.get((key, destination.key))
                in_kernel = programmed.get(destination.key)
                servers[str(destination.key)] = {
                    "state": self._state(server.endpoint).value,
                    "weight": 0 if in_kernel is None else in_kernel.weight,
                    "configured_weight": destination.weight,
                    "forwarding": destination.forwarding.value,
                    "programmed": in_kernel is not None,
                    "active_connections": 0 if count is None else count.active,
                    "inactive_connections": 0 if count is None else count.inactive,
                    "reason": "" if verdict is None else verdict.reason,
                    "check_ms": None if verdict is None else verdict.took_ms,
                }
            services[each.name] = {"listen": str(key), "scheduler": each.service.scheduler, "servers": servers}
        states = {daemon.state for daemon in actual.sync}
        role = "master" if SyncState.MASTER in states else "backup" if SyncState.BACKUP in states else "off"
        return {
            "services": services,
            "sync": {"role": role, "coverage": None},
            "failed_steps": [str(failure) for failure in self.failures],
        }

    def _state(self, endpoint: Endpoint) -> ServerState:
        if endpoint.check.type is CheckType.NONE:
            return ServerState.UP
        verdict = self._verdicts.get(endpoint)
        return ServerState.UNKNOWN if verdict is None else verdict.state
