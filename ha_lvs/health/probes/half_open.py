"""Half-open probes: a server that answers a SYN is up, and its connection never comes about.

Rules that hold here:
* A probe is one packet out, one in, one out; no socket, no descriptor, nothing in the kernel's tables.
* The kernel is asked for its choice of the source address now and then, and after each probe without an answer: a
  route may have changed.
"""

from __future__ import annotations

import errno
import random

from ha_lvs.health.probes.base import Driver
from ha_lvs.health.probes.raw import Sending
from ha_lvs.health.probes.switchboard import Caller, LocalSwitchboard, Target
from ha_lvs.health.probes.ways import Ways
from ha_lvs.model import Endpoint
from ha_lvs.wire import tcp

FRESH_S = 30.0
"""About so long a route is believed in; half of it is drawn by lot, so that not all are asked for at once."""


class HalfOpenProbe(Caller):
    """Of a server's own address."""

    __slots__ = ("_flow", "_fresh_until", "_goal", "_sockaddr", "_switchboard")

    def __init__(self, endpoint: Endpoint, engine: Driver) -> None:
        super().__init__(endpoint, engine)
        self._goal = Target(endpoint.address.packed, endpoint.port)
        self._sockaddr = (str(endpoint.address), 0)
        self._switchboard: LocalSwitchboard | None = None
        self._flow: tcp.Flow | None = None
        self._fresh_until = 0.0

    def start(self, now: float) -> None:
        """See `Probe`."""
        if now >= self._fresh_until or self._switchboard is None:
            self._find_way()
            self._fresh_until = now + fresh_s()
        assert self._switchboard is not None
        self._switchboard.call(self, self._goal)

    def _find_way(self) -> None:
        endpoint, sending = self.endpoint, Sending.of(self.endpoint)
        board = self._switchboard = self.engine.shared(
            (LocalSwitchboard, sending), lambda: LocalSwitchboard(self.engine, sending)
        )
        _, source, interface, mark = sending
        if source is None:
            way = Ways.of(self.engine).to(endpoint.address, source=None, interface=interface, mark=mark)
            source = way.source
        if source is None:
            raise OSError(errno.EADDRNOTAVAIL, f"no address to reach {endpoint.address} from")
        self._flow = tcp.Flow(source, endpoint.address, board.port, endpoint.port)

    def send_syn(self, sequence: int) -> None:
        """See `Caller`."""
        assert self._flow is not None
        assert self._switchboard is not None
        self._switchboard.sock.sendto(self._flow.syn(sequence), self._sockaddr)

    def send_reset(self, sequence: int) -> None:
        """See `Caller`."""
        assert self._flow is not None
        assert self._switchboard is not None
        self._switchboard.sock.sendto(self._flow.reset(sequence), self._sockaddr)

    def answered(self, accepted: bool, now: float) -> None:
        """See `Caller`."""
        self.engine.end(self, accepted, "half-open: answered" if accepted else "connection refused", now)

    def close(self) -> None:
        """See `Probe`."""
        if self._switchboard is not None and self.target is not None:
            self._switchboard.hang_up(self)
            self._fresh_until = 0.0  # nobody answered


def fresh_s() -> float:
    """For how many seconds a route is believed in."""
    return FRESH_S * random.uniform(0.5, 1.0)
