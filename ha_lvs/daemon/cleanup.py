"""Removes what a daemon left behind, whatever was killed: for systemd's ExecStopPost, for the next start, for people.

Rules that hold here:
* Never beside a running daemon.
* Only an instance whose addresses are there is acted for: they go, then its resignation is sent, so that the peer takes
  over after the skew time instead of three intervals. For all others nothing is sent, so it can be done any number of
  times.
* What is missing (interfaces, files) is no failure: it holds no address.
* A start replaces the note of the last run, so first it withdraws what is in there and not in its own orders: nobody
  would know of it afterwards. What will not go stays noted.
* What was noted goes first, before anything heavy is imported: on a starved machine loading a config parser can take
  longer than a peer waits. What there is to log is handed over afterwards for the same reason.
* IPVS stays as it is, as after a planned stop that keeps it: the next start adopts it. What operators have said of
  servers at run time stays, too. Only who asks for it, since nothing is to start here again, has our services removed
  and that forgotten, and never anything of anybody else's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ha_lvs.daemon import carriers, runtime
from ha_lvs.daemon.channel import LogRecord
from ha_lvs.daemon.withdrawal import mute_sockets, resign
from ha_lvs.errors import ConfigError, PlatformError
from ha_lvs.kernel import links
from ha_lvs.kernel.addresses import AddressFailure, HeldAddresses, list_addresses
from ha_lvs.kernel.routes import HeldRoutes
from ha_lvs.model import ElectorPart, VirtualIp, VrrpInstance

if TYPE_CHECKING:
    from ha_lvs.plan.steps import Step

IPVS_LOADED = Path("/proc/net/ip_vs")
"""There while this kernel has IPVS."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A virtual IP that is gone now, and the instance that it belonged to."""

    instance: str
    virtual_ip: VirtualIp

    def __str__(self) -> str:
        return f"withdrawn {self.virtual_ip} from {self.virtual_ip.carrier} (instance {self.instance})"


@dataclass(slots=True)
class Cleaned:
    """What was done.

    Arguments:
        withdrawn: each address that is gone now.
        steps: each that was taken in IPVS and packet rules.
        warnings: what was left out, and why; the rest was done.
        failures: what could not be done.
        events: the same for the log.
    """

    withdrawn: list[Withdrawn] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    events: list[LogRecord] = field(default_factory=list)

    def for_the_journal(self) -> list[LogRecord]:
        """All of it as events, for where nobody reads but the journal."""
        left_out = [LogRecord("warning", "cleanup incomplete", {"detail": each}) for each in self.warnings]
        failed = [LogRecord("error", "cleanup incomplete", {"detail": each}) for each in self.failures]
        return [*self.events, *left_out, *failed]


def clean(runtime_dir: Path, config: Path | None, node: str | None, *, services: bool = False) -> Cleaned:
    """Withdraws what the last run with this runtime directory, and the config file, may hold on this machine.

    Arguments:
        runtime_dir: as it was given to `ha-lvs run`.
        config: a config file, or None.
        node: which of its nodes this machine is; None for the one named like the host.
        services: whether our services, marks and sync daemons leave the kernel, too, after the addresses, and what
            operators have said of them at run time is forgotten.

    Errors: ConfigError when there is only the file and it is broken; PlatformError when a daemon runs.
    """
    with runtime.vacant(runtime_dir):
        done = Cleaned()
        noted = _noted(runtime_dir, done.warnings)
        for instance in noted or ():
            _withdraw(instance, done)
        if config is not None:
            for instance in _configured(config, node, noted, done.warnings):
                _withdraw(instance, done)
        elif noted is None:
            done.warnings.append(
                f"nothing in {runtime_dir} tells what an earlier run held; give the config file with -c"
            )
        done.failures += carriers.remove(noted or ())
        if services:
            _remove_services(runtime_dir, done)
            _forget_overrides(runtime_dir, done)
    return done


def succeed(runtime_dir: Path, part: ElectorPart) -> list[LogRecord]:
    """Takes over from the last run: withdraws what that may hold and this one will not, and notes what this one may.

    Arguments:
        runtime_dir: locked by us.
        part: the orders of this run.

    Returns what there is to log.
    Errors: PlatformError when the note cannot be written.
    """
    noted, events = None, list[LogRecord]()
    try:
        noted = runtime.read_note(runtime_dir)
    except PlatformError as problem:
        events.append(LogRecord("warning", "earlier run unknown", {"detail": str(problem)}))
    ours = {ip for instance in part.instances for ip in instance.virtual_ips}
    stays = {instance.name for instance in part.instances}
    stuck: list[VrrpInstance] = []
    for instance in () if noted is None else noted.instances:
        there = _present(ip for ip in instance.virtual_ips if ip not in ours)
        if not there:
            continue
        gone, kept = _drop(instance, there, events)
        if gone:
            events.append(
                LogRecord(
                    "warning",
                    "virtual IPs of an earlier config withdrawn",
                    {"instance": instance.name, "addresses": ", ".join(map(str, gone))},
                )
            )
        if kept:
            stuck.append(replace(instance, virtual_ips=tuple(kept)))
        elif instance.name not in stays:
            _resign(instance)  # in vain at worst: the peer will notice by the silence
    runtime.write_note(runtime_dir, replace(part, instances=(*part.instances, *stuck)))
    return events


def _noted(runtime_dir: Path, warnings: list[str]) -> tuple[VrrpInstance, ...] | None:
    """What the last run may hold; None when nothing tells."""
    try:
        note = runtime.read_note(runtime_dir)
    except PlatformError as problem:
        warnings.append(str(problem))
        return None
    return None if note is None else note.instances


def _configured(
    config: Path, node: str | None, noted: tuple[VrrpInstance, ...] | None, warnings: list[str]
) -> list[VrrpInstance]:
    """The instances of the file that are not noted as they are there."""
    from ha_lvs.daemon import orders

    try:
        found = orders.read(config, node).elector.instances
    except ConfigError as problem:
        if noted is None:
            raise
        warnings += str(problem).splitlines()
        return []
    return [instance for instance in found if instance not in (noted or ())]


def _withdraw(instance: VrrpInstance, done: Cleaned) -> None:
    there = _present(instance.virtual_ips)
    if not there:
        return
    gone, kept = _drop(instance, there, done.events)
    if not kept:  # else the peer would take over while they are still here
        done.warnings += _resign(instance)
    done.failures += (f"virtual IP not withdrawn: {failure}" for failure in kept.values())
    done.withdrawn += (Withdrawn(instance.name, ip) for ip in gone)
    if gone:
        done.events.append(
            LogRecord(
                "warning",
                "virtual IPs withdrawn by cleanup",
                {"instance": instance.name, "addresses": ", ".join(map(str, gone))},
            )
        )


def _drop(
    instance: VrrpInstance, there: tuple[VirtualIp, ...], events: list[LogRecord]
) -> tuple[list[VirtualIp], dict[VirtualIp, AddressFailure]]:
    """Removes addresses that are there, after the instance's routes; which are gone, and why the others are not."""
    _drop_routes(instance, events)
    addresses = HeldAddresses(replace(instance, virtual_ips=there))
    try:
        kept = {failure.virtual_ip: failure for failure in addresses.drop()}
    finally:
        addresses.close()
    events += (
        LogRecord("error", "virtual IP not withdrawn", {"instance": instance.name, "detail": str(failure)})
        for failure in kept.values()
    )
    return [ip for ip in there if ip not in kept], kept


def _drop_routes(instance: VrrpInstance, events: list[LogRecord]) -> None:
    if not instance.routes and not instance.rules:
        return
    try:
        routes = HeldRoutes(instance)
    except PlatformError:  # an interface is gone, and its routes with it
        return
    try:
        events += (
            LogRecord("error", "virtual route not withdrawn", {"instance": instance.name, "detail": str(failure)})
            for failure in routes.drop()
        )
    finally:
        routes.close()


def _resign(instance: VrrpInstance) -> list[str]:
    """Tells the peers; why it was not possible, in words."""
    try:
        sockets = mute_sockets(instance)
        try:
            resign(instance, sockets)
        finally:
            for sock in sockets:
                sock.close()
    except (OSError, PlatformError) as problem:  # the peer will notice by the silence
        return [f"resignation of {instance.name} not sent: {problem}"]
    return []


def _remove_services(runtime_dir: Path, done: Cleaned) -> None:
    """Removes from IPVS what the runs with this runtime directory have made there, and forgets it."""
    from ha_lvs.daemon.balancer import OWNERSHIP_FILE
    from ha_lvs.kernel.ipvs import Ipvs
    from ha_lvs.kernel.marks import Marks, MarksError
    from ha_lvs.kernel.ownership import Ownership
    from ha_lvs.plan.desired import KernelState
    from ha_lvs.plan.diff import diff
    from ha_lvs.plan.steps import DeleteService, MarkTraffic, StopSync

    ownership = Ownership(runtime_dir / OWNERSHIP_FILE)
    if ownership.problem:
        done.failures.append(ownership.problem)
        return
    if ownership.marks:  # first: a packet with a mark that no service takes goes astray
        try:
            marks = Marks()
            found = marks.look()
            marks.replace({})
            done.steps += (MarkTraffic(key, None, traffic) for key, traffic in found.traffic.items())
            ownership.release(marks=True)
        except MarksError as problem:
            done.failures.append(f"marks not removed: {problem}")
    if not ownership.services and not ownership.sync:
        _log_steps(done)
        return
    try:
        with Ipvs() as ipvs:
            steps = diff(KernelState(), ipvs.read(), ownership.services, sync_owned=ownership.sync)
            failures = ipvs.apply(steps) if steps else []
    except PlatformError as problem:
        if IPVS_LOADED.exists():
            done.failures.append(str(problem))
            _log_steps(done)
            return
        steps, failures = (), []  # IPVS was unloaded, and what was ours with it
    failed = {failure.step for failure in failures}
    done.steps += (step for step in steps if step not in failed)
    done.failures += map(str, failures)
    _log_steps(done)
    ownership.release(
        ownership.services.difference(step.key for step in failed if isinstance(step, DeleteService)),
        sync=not any(isinstance(step, StopSync) for step in failed),
    )


def _log_steps(done: Cleaned) -> None:
    if done.steps:
        done.events.append(LogRecord("notice", "services removed by cleanup", {"steps": len(done.steps)}))


def _forget_overrides(runtime_dir: Path, done: Cleaned) -> None:
    from ha_lvs.daemon.balancer import OVERRIDES_FILE

    try:
        (runtime_dir / OVERRIDES_FILE).unlink(missing_ok=True)
    except OSError as problem:
        done.failures.append(f"{runtime_dir / OVERRIDES_FILE} not removed: {problem.strerror}")


def _present(virtual_ips: Iterable[VirtualIp]) -> tuple[VirtualIp, ...]:
    """Those that are on their interfaces now."""
    there = {(each.index, each.address, each.prefix_length) for each in list_addresses()}
    found = []
    for ip in virtual_ips:
        try:
            index = links.index_of(ip.carrier)
        except PlatformError:  # the interface is gone, and the address with it
            continue
        if (index, ip.address, ip.prefix_length) in there:
            found.append(ip)
    return tuple(found)
