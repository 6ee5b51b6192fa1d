"""Virtual IPs on their interfaces: held under a lease, dropped, listed.

All requests are bytes prepared at the start; holding and dropping are one `send` each, whatever the number of
addresses. The kernel carries requests out within `send`, so the acknowledgements are there when it returns.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass

from ha_lvs.errors import PlatformError
from ha_lvs.kernel import links
from ha_lvs.model import VirtualIp, VrrpInstance
from ha_lvs.wire import rtnetlink

_RECEIVE_BYTES = 1 << 16
_RECEIVE_BUFFER = 1 << 20
_DUMP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class AddressFailure:
    """A virtual IP that the kernel refused to add or remove, and why."""

    virtual_ip: VirtualIp
    errno: int

    def __str__(self) -> str:
        return f"{self.virtual_ip} on {self.virtual_ip.interface}: {os.strerror(self.errno)}"


class HeldAddresses:
    """The virtual IPs of one instance on this machine.

    Arguments:
        instance: names the addresses, their interfaces and the lease.

    Errors: PlatformError when one of the interfaces does not exist.
    """

    def __init__(self, instance: VrrpInstance) -> None:
        self._virtual_ips = instance.virtual_ips
        self._lease_s = instance.lease_s
        self._sock = _open()
        self._sock.setblocking(False)
        self._prepare()

    def _prepare(self) -> None:
        """Builds the requests; sequence number i + 1 belongs to virtual IP i."""
        indexed = [(ip, links.index_of(ip.interface)) for ip in self._virtual_ips]
        self._where = {(index, ip.address) for ip, index in indexed}
        self._hold = b"".join(
            rtnetlink.add_address(ip.address, ip.prefix_length, index, self._lease_s, sequence)
            for sequence, (ip, index) in enumerate(indexed, start=1)
        )
        self._drop = b"".join(
            rtnetlink.delete_address(ip.address, ip.prefix_length, index, sequence)
            for sequence, (ip, index) in enumerate(indexed, start=1)
        )

    def hold(self) -> list[AddressFailure]:
        """Adds what is missing and renews the lease of what is there. What failed comes back."""
        failures = self._request(self._hold)
        return self._request(self._hold) if self._moved(failures) else failures

    def drop(self) -> list[AddressFailure]:
        """Removes what is there. What is not there, or whose interface is gone, is no failure."""
        failures = self._request(self._drop)
        if self._moved(failures):
            failures = self._request(self._drop)
        return [failure for failure in failures if failure.errno not in (errno.EADDRNOTAVAIL, errno.ENODEV)]

    def _moved(self, failures: list[AddressFailure]) -> bool:
        """Whether an interface was made anew under its name; the requests then have its new index."""
        if all(failure.errno != errno.ENODEV for failure in failures):
            return False
        try:
            self._prepare()
        except PlatformError:  # it is gone for now
            return False
        return True

    def present(self) -> list[rtnetlink.Address]:
        """Those of the addresses that are on their interfaces now."""
        return [each for each in list_addresses() if (each.index, each.address) in self._where]

    def _request(self, data: bytes) -> list[AddressFailure]:
        """Sends prepared requests; a socket that fails is a failure of all of them, never an exception."""
        failures: list[AddressFailure] = []
        try:
            self._sock.send(data)
            while True:
                failures.extend(
                    AddressFailure(self._virtual_ips[reply.sequence - 1], reply.errno)
                    for reply in rtnetlink.decode(self._sock.recv(_RECEIVE_BYTES))
                    if isinstance(reply, rtnetlink.Reply) and reply.errno
                )
        except BlockingIOError:
            return failures
        except OSError as problem:
            return [AddressFailure(ip, problem.errno or errno.EIO) for ip in self._virtual_ips]

    def close(self) -> None:
        """Closes the socket; the addresses stay as they are."""
        self._sock.close()


def list_addresses() -> list[rtnetlink.Address]:
    """Every IPv4 address of this network namespace."""
    found: list[rtnetlink.Address] = []
    with _open() as sock:
        sock.settimeout(_DUMP_TIMEOUT_S)
        sock.send(rtnetlink.list_addresses(1))
        while True:
            for item in rtnetlink.decode(sock.recv(_RECEIVE_BYTES)):
                if isinstance(item, rtnetlink.Reply):
                    return found
                found.append(item)


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)  # the answers about all addresses wait there
    sock.bind((0, 0))
    return sock
