"""What follows from several fields of the config file, where both the checks and the parts must agree on it."""

from __future__ import annotations


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
