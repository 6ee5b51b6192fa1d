"""From the first virtual IP that is announced to the last, as a host on the same switch sees them."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable

from ha_lvs.drill.lab.hosts import INTERFACE, Host
from ha_lvs.errors import LabError

_ETH_P_ARP = 0x0806
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("=qq")
_SENDER = slice(28, 32)  # the sender's protocol address in an Ethernet frame with ARP
_RECEIVE_BUFFER = 8 << 20
_SO_RCVBUFFORCE = 33


def first_to_last_ms(host: Host, addresses: set[str], what: Callable[[], object], timeout_s: float = 30.0) -> float:
    """How long it takes until every address has been announced once, counted from the first one.

    Arguments:
        host: where to listen.
        addresses: those that will be announced.
        what: causes it.
        timeout_s: for all of it.

    Returns: milliseconds, by the kernel's time stamps.
    Errors: LabError when not all are announced in time.
    """
    with host.inside():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP))
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.bind((INTERFACE, _ETH_P_ARP))
        sock.setblocking(False)
        what()
        wanted = {socket.inet_aton(address) for address in addresses}
        first_s = last_s = 0.0
        deadline = time.monotonic() + timeout_s
        while wanted:
            if not select.select([sock], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise LabError(f"{len(wanted)} of {len(addresses)} virtual IPs were not announced")
            frame, ancillary, _, _ = sock.recvmsg(128, 128)
            sender = frame[_SENDER]
            if sender not in wanted:
                continue
            wanted.discard(sender)
            seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
            last_s = seconds + nanoseconds / 1e9
            first_s = first_s or last_s
    return (last_s - first_s) * 1000
