"""Interfaces by name: index, hardware address, link-local address; and news of them as they come and go.

By ioctl and netlink, since /sys may show another namespace's.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address

from ha_lvs.errors import PlatformError, WireError
from ha_lvs.kernel import netlink
from ha_lvs.wire import rtnetlink

SIOCGIFADDR = 0x8915
SIOCGIFHWADDR = 0x8927
ARPHRD_ETHER = 1

_IFREQ_ADDR = struct.Struct("16sH2x4s16s")
_IFREQ_HWADDR = struct.Struct("16sH14s")
_UNUSABLE = rtnetlink.IFA_F_TENTATIVE | rtnetlink.IFA_F_DADFAILED
_RECEIVE_BYTES = 1 << 16
_LIST_SEQUENCE = 1


def index_of(interface: str) -> int:
    """The index of an interface.

    Errors: PlatformError when there is none of that name.
    """
    try:
        return socket.if_nametoindex(interface)
    except OSError as problem:
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise PlatformError(
            f"interface {interface} does not exist on this machine (there are: {names}); "
            "correct the name in the config file or create the interface"
        ) from problem


def indexes_of(interfaces: Iterable[str], known: Mapping[str, int]) -> dict[str, int]:
    """The indexes of interfaces by name; of one that is gone for now the last one known.

    Errors: PlatformError when there is none of a name, and never was.
    """
    found: dict[str, int] = {}
    for interface in interfaces:
        try:
            found[interface] = index_of(interface)
        except PlatformError:
            if interface not in known:
                raise
            found[interface] = known[interface]
    return found


def hardware_address(interface: str) -> bytes | None:
    """The 6 bytes of an interface's MAC address; None when it is no Ethernet and speaks no ARP.

    Errors: OSError when there is no such interface.
    """
    request = _IFREQ_HWADDR.pack(interface.encode(), 0, b"")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        _, family, address = _IFREQ_HWADDR.unpack(fcntl.ioctl(sock, SIOCGIFHWADDR, request))
    return bytes(address[:6]) if family == ARPHRD_ETHER else None


def own_address(interface: str) -> IPv4Address | None:
    """The first IPv4 address of an interface, by which it speaks where nothing else is said; None when it has none."""
    request = _IFREQ_ADDR.pack(interface.encode(), 0, b"", b"")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            _, _, address, _ = _IFREQ_ADDR.unpack(fcntl.ioctl(sock, SIOCGIFADDR, request))
        except OSError:
            return None
    return IPv4Address(address)


def link_local(interface: str) -> IPv6Address | None:
    """The link-local address of an interface that packets can be sent from.

    None while there is none: IPv6 is off, the interface is down, or the kernel still looks for a duplicate (a second
    or two after the interface came up).

    Errors: PlatformError when there is no such interface; OSError when the kernel does not list addresses.
    """
    index = index_of(interface)
    for found in netlink.list_all(rtnetlink.list_addresses(_LIST_SEQUENCE, rtnetlink.AF_INET6)):
        if (
            isinstance(found, rtnetlink.Address)
            and found.index == index
            and isinstance(found.address, IPv6Address)
            and found.address.is_link_local
            and not found.flags & _UNUSABLE
        ):
            return found.address
    return None


class LinkMonitor:
    """Which of some interfaces are up, told by the kernel as it changes. Nothing is polled.

    Up means switched on and with a carrier. An interface that does not exist is down; one that is made anew under a
    watched name, or renamed to it, counts as that.

    Arguments:
        interfaces: their names.

    Errors: OSError when the kernel does not let us.
    """

    def __init__(self, interfaces: Iterable[str]) -> None:
        self._up = dict.fromkeys(interfaces, False)
        self._names: dict[int, str] = {}  # of the watched ones, by index: who is renamed has left its name
        self._sock = netlink.open_route(rtnetlink.RTMGRP_LINK if self._up else 0)  # whoever watches none is not woken
        try:
            self._list()
        except BaseException:
            self._sock.close()
            raise

    def fileno(self) -> int:
        """For select."""
        return self._sock.fileno()

    def states(self) -> dict[str, bool]:
        """Which are up, as far as has been read."""
        return dict(self._up)

    def read(self) -> list[tuple[str, bool]]:
        """What has changed since the last time, oldest first. Does not wait.

        Errors: OSError when the kernel does not list interfaces, after so many changes that some were lost.
        """
        changes: list[tuple[str, bool]] = []
        while True:
            try:
                data = self._sock.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return changes
            except OSError:  # more has happened than the buffer holds: what was missed shows in the list
                changes += self._list()
                continue
            try:
                for item in rtnetlink.decode(data):
                    changes += self._take(item)
            except WireError:  # not from this kernel; the list tells what is so
                changes += self._list()

    def close(self) -> None:
        """Closes the socket."""
        self._sock.close()

    def _list(self) -> list[tuple[str, bool]]:
        """Compares with what is there now."""
        links = [
            item
            for item in netlink.list_all(rtnetlink.list_links(_LIST_SEQUENCE))
            if isinstance(item, rtnetlink.Link) and item.name in self._up
        ]
        self._names = {link.index: link.name for link in links}
        now = {link.name: link.up for link in links}
        return [change for name in self._up for change in self._set(name, now.get(name, False))]

    def _take(self, item: rtnetlink.Item | rtnetlink.Reply) -> list[tuple[str, bool]]:
        """The changes that a message from the kernel makes."""
        changes: list[tuple[str, bool]] = []
        if not isinstance(item, rtnetlink.Link | rtnetlink.LinkGone):
            return changes
        before = self._names.get(item.index)
        if before is not None and (isinstance(item, rtnetlink.LinkGone) or item.name != before):
            del self._names[item.index]
            changes += self._set(before, False)
        if isinstance(item, rtnetlink.Link) and item.name in self._up:
            self._names[item.index] = item.name
            changes += self._set(item.name, item.up)
        return changes

    def _set(self, name: str, up: bool) -> list[tuple[str, bool]]:
        if self._up[name] == up:
            return []
        self._up[name] = up
        return [(name, up)]
