"""What a bystander hears of an election: every VRRP packet on the wire, with the kernel's time of its arrival."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ha_lvs.drill.lab.hosts import INTERFACE, Host

GROUP = "224.0.0.18"
PROTOCOL = 112
_SO_TIMESTAMPNS = 35  # asm-generic/socket.h


@dataclass(frozen=True)
class Advert:
    """A packet: when it arrived (seconds), its sender, the priority in it."""

    at_s: float
    source: str
    priority: int


class Adverts:
    """All that has been heard so far."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._heard: list[Advert] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def of(self, source: str) -> list[Advert]:
        """Those of one sender."""
        return [each for each in self._heard.copy() if each.source == source]

    def longest_gap_s(self, source: str) -> float:
        """The longest time between two packets of a sender that followed each other."""
        times = [each.at_s for each in self.of(source)]
        return max(after - before for before, after in itertools.pairwise(times))

    def _listen(self) -> None:
        while True:
            try:
                packet, ancillary, _, _ = self._sock.recvmsg(2048, 256)
            except TimeoutError:
                continue
            except OSError:
                return
            [stamp] = [data for _, kind, data in ancillary if kind == _SO_TIMESTAMPNS]
            seconds, nanoseconds = struct.unpack("qq", stamp)
            header = (packet[0] & 0x0F) * 4
            source = socket.inet_ntoa(packet[12:16])
            self._heard.append(Advert(seconds + nanoseconds / 1e9, source, packet[header + 2]))


@contextmanager
def listening(host: Host) -> Iterator[Adverts]:
    """Listens on a host while the block lasts."""
    with host.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, PROTOCOL)
        index = socket.if_nametoindex(INTERFACE)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        member = struct.pack("4s4si", socket.inet_aton(GROUP), b"\0" * 4, index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        sock.settimeout(0.2)
        heard = Adverts(sock)
        yield heard
        sock.close()
        heard._thread.join(5)
