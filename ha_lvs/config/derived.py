"""What follows from several fields of the config file, where both the checks and the parts must agree on it."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable

from ha_lvs.model import CheckType, Protocol


def mac_interface(virtual_mac: str | bool, router_id: int, family: int) -> str:
    """The interface with the virtual router's MAC address; empty for none.

    Each family has its own MAC address (RFC 9568 section 7.3), hence an interface of its own.

    Arguments:
        virtual_mac: as the file has it.
        router_id: of the instance.
        family: of the addresses on it, 4 or 6.
    """
    if virtual_mac is False:
        return ""
    name = f"ha-lvs.{router_id}" if virtual_mac is True else virtual_mac
    return f"{name}-6" if family == 6 else name


MARKS = 0x6C760000
"""Firewall marks that we make are this with 16 bits of the service's name: they look like nobody else's."""


def made_marks(names: Iterable[str], taken: Collection[int]) -> dict[str, int]:
    """The firewall marks of services that have none of their own.

    They follow from the names alone, so that both directors agree and another service renumbers none. Only where two
    names come to the same mark the later one in the order of names takes the next that is free.

    Arguments:
        names: of the services.
        taken: marks that the operator gave.
    """
    used, found = set(taken), {}
    for name in sorted(names):
        low = zlib.crc32(name.encode()) & 0xFFFF
        while MARKS | low in used and len(used) < 0x10000:
            low = (low + 1) & 0xFFFF
        found[name] = MARKS | low
        used.add(MARKS | low)
    return found


def usual_check(protocols: tuple[Protocol, ...] | None) -> CheckType:
    """The kind of check where the file names none: tcp where there may be TCP.

    Arguments:
        protocols: of the service; None where nobody knows.
    """
    return CheckType.TCP if protocols is None or Protocol.TCP in protocols else CheckType.NONE
