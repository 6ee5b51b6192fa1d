"""The interfaces with virtual MAC addresses that instances ask for: made before anything is put on them, and removed.

The guardian makes them, before it prepares what acts on them; an elector finds them there.
"""

from __future__ import annotations

from collections.abc import Iterable

from ha_lvs.daemon.channel import LogRecord
from ha_lvs.errors import HaLvsError
from ha_lvs.kernel import macvlan
from ha_lvs.model import VirtualIp, VrrpInstance


def provide(instances: Iterable[VrrpInstance]) -> list[LogRecord]:
    """Makes what is missing; what is there stays as it is.

    Returns what there is to log.
    Errors: PlatformError or KernelError when one cannot be made.
    """
    events: list[LogRecord] = []
    for instance, ip in _carried(instances):
        mac = macvlan.virtual_mac(_router_id(instance, ip), ip.address.version)
        events += (
            LogRecord(
                "warning", "virtual MAC interface not as it should be", {"interface": ip.mac_vlan, "detail": warning}
            )
            for warning in macvlan.ensure(ip.mac_vlan, ip.interface, mac)
        )
    return events


def remove(instances: Iterable[VrrpInstance], but: Iterable[VrrpInstance] = ()) -> list[str]:
    """Removes them, and gives what went wrong, in words.

    Arguments:
        but: whose interfaces stay.
    """
    stays = {ip.mac_vlan for _, ip in _carried(but)}
    problems = []
    for _, ip in _carried(instances):
        if ip.mac_vlan in stays:
            continue
        try:
            macvlan.remove(ip.mac_vlan)
        except (HaLvsError, OSError) as problem:
            problems.append(f"interface {ip.mac_vlan} not removed: {problem}")
    return problems


def _carried(instances: Iterable[VrrpInstance]) -> list[tuple[VrrpInstance, VirtualIp]]:
    """One virtual IP for each such interface, with its instance."""
    found = {ip.mac_vlan: (each, ip) for each in instances for ip in each.virtual_ips if ip.mac_vlan}
    return list(found.values())


def _router_id(instance: VrrpInstance, ip: VirtualIp) -> int:
    """The router id of the path on the interface below; members of a group may have different ones."""
    found = (path.router_id for path in instance.paths if path.interface == ip.interface)
    return next(found, instance.router_id)
