"""Removes what a daemon left behind, whatever was killed: for systemd's ExecStopPost, for the next start, for people.

Rules that hold here:
* Never beside a running daemon.
* Only an instance whose addresses are there is acted for: they go, then its resignation is sent, so that the peer takes
  over after the skew time instead of three intervals. For all others nothing is sent, so it can be done any number of
  times.
* What is missing (interfaces, files) is no failure: it holds no address.
* A start replaces the note of the last run, so first it withdraws what is in there and not in its own orders: nobody
  would know of it afterwards. What will not go stays noted.
* IPVS stays as it is, as after a planned stop that keeps it: the next start adopts it. Only who asks for it, since
  nothing is to start here again, has our services removed, and never anybody else's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from ha_lvs.daemon import orders, runtime
from ha_lvs.daemon.pool import OWNERSHIP_FILE
from ha_lvs.daemon.withdrawal import resign
from ha_lvs.errors import ConfigError, PlatformError
from ha_lvs.kernel import links
from ha_lvs.kernel.addresses import AddressFailure, HeldAddresses, list_addresses
from ha_lvs.kernel.adverts import AdvertSocket
from ha_lvs.kernel.ipvs import Ipvs
from ha_lvs.kernel.ownership import Ownership
from ha_lvs.model import ElectorPart, VirtualIp, VrrpInstance
from ha_lvs.plan.desired import KernelState
from ha_lvs.plan.diff import diff
from ha_lvs.plan.steps import DeleteService, Step, StopSync

log = structlog.get_logger()

IPVS_LOADED = Path("/proc/net/ip_vs")
"""There while this kernel has IPVS."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A virtual IP that is gone now, and the instance that it belonged to."""

    instance: str
    virtual_ip: VirtualIp

    def __str__(self) -> str:
        return f"withdrawn {self.virtual_ip} from {self.virtual_ip.interface} (instance {self.instance})"


@dataclass(slots=True)
class Cleaned:
    """What was done.

    Arguments:
        withdrawn: each address that is gone now.
        steps: each that was taken in IPVS.
        warnings: what was left out, and why; the rest was done.
        failures: what could not be done.
    """

    withdrawn: list[Withdrawn]
    steps: list[Step]
    warnings: list[str]
    failures: list[str]


def clean(runtime_dir: Path, config: Path | None, node: str | None, *, services: bool = False) -> Cleaned:
    """Withdraws what the last run with this runtime directory, and the config file, may hold on this machine.

    Arguments:
        runtime_dir: as it was given to `ha-lvs run`.
        config: a config file, or None.
        node: which of its nodes this machine is; None for the one named like the host.
        services: whether our services and sync daemons leave IPVS, too, after the addresses.

    Errors: ConfigError when there is only the file and it is broken; PlatformError when a daemon runs.
    """
    with runtime.vacant(runtime_dir):
        done = Cleaned([], [], [], [])
        for instance in _instances(runtime_dir, config, node, done.warnings):
            _withdraw(instance, done)
        if services:
            _remove_services(runtime_dir, done)
    return done


def succeed(runtime_dir: Path, part: ElectorPart) -> None:
    """Takes over from the last run: withdraws what that may hold and this one will not, and notes what this one may.

    Arguments:
        runtime_dir: locked by us.
        part: the orders of this run.

    Errors: PlatformError when the note cannot be written.
    """
    noted = None
    try:
        noted = runtime.read_note(runtime_dir)
    except PlatformError as problem:
        log.warning("earlier run unknown", detail=str(problem))
    ours = {ip for instance in part.instances for ip in instance.virtual_ips}
    stays = {instance.name for instance in part.instances}
    stuck: list[VrrpInstance] = []
    for instance in () if noted is None else noted.instances:
        there = _present(ip for ip in instance.virtual_ips if ip not in ours)
        if not there:
            continue
        gone, kept = _drop(instance, there)
        if gone:
            texts = ", ".join(map(str, gone))
            log.warning("virtual IPs of an earlier config withdrawn", instance=instance.name, addresses=texts)
        if kept:
            stuck.append(replace(instance, virtual_ips=tuple(kept)))
        elif instance.name not in stays:
            _resign(instance)  # in vain at worst: the peer will notice by the silence
    runtime.write_note(runtime_dir, replace(part, instances=(*part.instances, *stuck)))


def _instances(runtime_dir: Path, config: Path | None, node: str | None, warnings: list[str]) -> list[VrrpInstance]:
    noted = None
    try:
        noted = runtime.read_note(runtime_dir)
    except PlatformError as problem:
        warnings.append(str(problem))
    found = [] if noted is None else list(noted.instances)
    if config is None:
        if noted is None:
            warnings.append(f"nothing in {runtime_dir} tells what an earlier run held; give the config file with -c")
        return found
    try:
        found += orders.read(config, node).elector.instances
    except ConfigError as problem:
        if noted is None:
            raise
        warnings += str(problem).splitlines()
    return list(dict.fromkeys(found))


def _withdraw(instance: VrrpInstance, done: Cleaned) -> None:
    there = _present(instance.virtual_ips)
    if not there:
        return
    gone, kept = _drop(instance, there)
    done.failures += (f"virtual IP not withdrawn: {failure}" for failure in kept.values())
    done.withdrawn += (Withdrawn(instance.name, ip) for ip in gone)
    if gone:
        log.warning("virtual IPs withdrawn by cleanup", instance=instance.name, addresses=", ".join(map(str, gone)))
    if not kept:  # else the peer would take over while they are still here
        done.warnings += _resign(instance)


def _drop(
    instance: VrrpInstance, there: tuple[VirtualIp, ...]
) -> tuple[list[VirtualIp], dict[VirtualIp, AddressFailure]]:
    """Removes addresses that are there; which of them are gone, and why the others are not."""
    addresses = HeldAddresses(replace(instance, virtual_ips=there))
    try:
        kept = {failure.virtual_ip: failure for failure in addresses.drop()}
    finally:
        addresses.close()
    for failure in kept.values():
        log.error("virtual IP not withdrawn", instance=instance.name, detail=str(failure))
    return [ip for ip in there if ip not in kept], kept


def _resign(instance: VrrpInstance) -> list[str]:
    """Tells the peers; why it was not possible, in words."""
    try:
        adverts = AdvertSocket(instance, listen=False)
        try:
            resign(instance, adverts)
        finally:
            adverts.close()
    except (OSError, PlatformError) as problem:  # the peer will notice by the silence
        return [f"resignation of {instance.name} not sent: {problem}"]
    return []


def _remove_services(runtime_dir: Path, done: Cleaned) -> None:
    """Removes from IPVS what the runs with this runtime directory have made there, and forgets it."""
    ownership = Ownership(runtime_dir / OWNERSHIP_FILE)
    if ownership.problem:
        done.failures.append(ownership.problem)
        return
    if not ownership.services and not ownership.sync:
        return
    try:
        with Ipvs() as ipvs:
            steps = diff(KernelState(), ipvs.read(), ownership.services, sync_owned=ownership.sync)
            failures = ipvs.apply(steps) if steps else []
    except PlatformError as problem:
        if IPVS_LOADED.exists():
            done.failures.append(str(problem))
            return
        steps, failures = (), []  # IPVS was unloaded, and what was ours with it
    failed = {failure.step for failure in failures}
    done.steps += (step for step in steps if step not in failed)
    done.failures += map(str, failures)
    if done.steps:
        log.notice("services removed by cleanup", steps=len(done.steps))
    ownership.release(
        ownership.services.difference(step.key for step in failed if isinstance(step, DeleteService)),
        sync=not any(isinstance(step, StopSync) for step in failed),
    )


def _present(virtual_ips: Iterable[VirtualIp]) -> tuple[VirtualIp, ...]:
    """Those that are on their interfaces now."""
    there = {(each.index, each.address, each.prefix_length) for each in list_addresses()}
    found = []
    for ip in virtual_ips:
        try:
            index = links.index_of(ip.interface)
        except PlatformError:  # the interface is gone, and the address with it
            continue
        if (index, ip.address, ip.prefix_length) in there:
            found.append(ip)
    return tuple(found)
