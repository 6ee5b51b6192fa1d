"""Withdraws the virtual IPs that a daemon left behind, whatever was killed: for systemd's ExecStopPost, and for people.

Rules that hold here:
* Never beside a running daemon.
* Only an instance whose addresses are there is acted for: they go, then its resignation is sent, so that the peer takes
  over after the skew time instead of three intervals. For all others nothing is sent, so it can be done any number of
  times.
* What is missing (interfaces, files) is no failure: it holds no address.
* IPVS stays as it is, as after a planned stop that keeps it: the next start adopts it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from ha_lvs.daemon import orders, runtime
from ha_lvs.daemon.withdrawal import resign
from ha_lvs.errors import ConfigError, PlatformError
from ha_lvs.kernel import links
from ha_lvs.kernel.addresses import HeldAddresses, list_addresses
from ha_lvs.kernel.adverts import AdvertSocket
from ha_lvs.model import VirtualIp, VrrpInstance

log = structlog.get_logger()


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
        warnings: what was left out, and why; the rest was done.
        failures: what could not be done.
    """

    withdrawn: list[Withdrawn]
    warnings: list[str]
    failures: list[str]


def clean(runtime_dir: Path, config: Path | None, node: str | None) -> Cleaned:
    """Withdraws what the last run with this runtime directory, and the config file, may hold on this machine.

    Arguments:
        runtime_dir: as it was given to `ha-lvs run`.
        config: a config file, or None.
        node: which of its nodes this machine is; None for the one named like the host.

    Errors: ConfigError when there is only the file and it is broken; PlatformError when a daemon runs.
    """
    with runtime.vacant(runtime_dir):
        done = Cleaned([], [], [])
        for instance in _instances(runtime_dir, config, node, done.warnings):
            _withdraw(instance, done)
    return done


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
    addresses = HeldAddresses(replace(instance, virtual_ips=there))
    try:
        failures = addresses.drop()
    finally:
        addresses.close()
    for failure in failures:
        log.error("virtual IP not withdrawn", instance=instance.name, detail=str(failure))
        done.failures.append(f"virtual IP not withdrawn: {failure}")
    kept = {failure.virtual_ip for failure in failures}
    gone = [ip for ip in there if ip not in kept]
    done.withdrawn += (Withdrawn(instance.name, ip) for ip in gone)
    if gone:
        log.warning("virtual IPs withdrawn by cleanup", instance=instance.name, addresses=", ".join(map(str, gone)))
    if not failures:  # else the peer would take over while they are still here
        _resign(instance, done)


def _resign(instance: VrrpInstance, done: Cleaned) -> None:
    try:
        adverts = AdvertSocket(instance, listen=False)
        try:
            resign(instance, adverts)
        finally:
            adverts.close()
    except (OSError, PlatformError) as problem:  # the peer will notice by the silence
        done.warnings.append(f"resignation of {instance.name} not sent: {problem}")


def _present(virtual_ips: Iterable[VirtualIp]) -> tuple[VirtualIp, ...]:
    """Those that are on their interfaces now."""
    there = {(each.index, each.address) for each in list_addresses()}
    found = []
    for ip in virtual_ips:
        try:
            index = links.index_of(ip.interface)
        except PlatformError:  # the interface is gone, and the address with it
            continue
        if (index, ip.address) in there:
            found.append(ip)
    return tuple(found)
