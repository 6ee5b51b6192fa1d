"""Probes by the way of clients' packets: to the virtual IP, through what IPVS does to reach a real server.

* DR: a frame to the server's MAC address, with the virtual IP as destination.
* TUN: a packet to the server's address, with one to the virtual IP inside.

Rules that hold here:
* The source is this director's own address, so that the answer, which comes from the virtual IP, reaches it and not the
  director that is active. Whether this one holds the virtual IP makes no difference: answers are taken from the wire.
* A SYN may be forwarded once, within a server that has its service in a container. A server without the virtual IP that
  forwards would send it to the active director, whose IPVS would find another server to answer; there it must die.
* A server that does not answer is told from one whose MAC address nobody tells: what to look at is different.
"""

from __future__ import annotations

import errno
import socket

from ha_lvs.health.probes.base import Driver, reason
from ha_lvs.health.probes.half_open import fresh_s
from ha_lvs.health.probes.raw import RawSender, Sending
from ha_lvs.health.probes.switchboard import Caller, Target, WireSwitchboard
from ha_lvs.health.probes.ways import Ways
from ha_lvs.model import Endpoint, Forwarding, IPAddress
from ha_lvs.model.addresses import endpoint as spelled
from ha_lvs.wire import tcp, tunnels
from ha_lvs.wire.rtnetlink.ways import Way

HOPS = 2
"""What a SYN may live: IPVS needs one hop more to send it on to another server (ip_vs_xmit.c, decrement_ttl)."""


class VirtualProbe(Caller):
    """What DR and TUN have in common."""

    __slots__ = ("_flow", "_fresh_until", "_sending", "_switchboard", "_way", "_what", "path")

    def __init__(self, endpoint: Endpoint, engine: Driver) -> None:
        super().__init__(endpoint, engine)
        path = endpoint.check.via
        assert path is not None
        self.path = path
        self._sending = Sending.of(endpoint)
        self._what = ""
        self._switchboard: WireSwitchboard | None = None
        self._way: Way | None = None
        self._flow: tcp.Flow | None = None
        self._fresh_until = 0.0

    def start(self, now: float) -> None:
        """See `Probe`."""
        if now >= self._fresh_until or self._flow is None:
            try:
                self._find_way()
            except OSError as problem:
                if problem.errno != errno.EADDRNOTAVAIL:
                    raise
                self.engine.end(self, False, f"cannot probe from here: {problem.strerror}", now)
                return
            self._fresh_until = now + fresh_s()
        self._leave()

    def _find_way(self) -> None:
        """Works out by which way and from which address the packets go. Errors: OSError."""
        server, sending = self.endpoint.address, self._sending
        board = self._switchboard = self.engine.shared(
            (WireSwitchboard, sending), lambda: WireSwitchboard(self.engine, sending)
        )
        _, source, interface, mark = sending
        way = self._way = Ways.of(self.engine).to(server, source=source, interface=interface, mark=mark)
        if way.local:
            raise OSError(errno.EADDRNOTAVAIL, f"{server} is this director itself")
        source = source or way.source
        if source is None or source == self.path.address:
            raise OSError(errno.EADDRNOTAVAIL, "this director has no address of its own there")
        self._flow = tcp.Flow(source, self.path.address, board.port, self.path.port, HOPS)
        self._ready(source, way)

    def _ready(self, source: IPAddress, way: Way) -> None:
        """What else has to be known before packets can leave. Errors: OSError."""
        raise NotImplementedError

    def _leave(self) -> None:
        """Sends the SYN, now or when it can be sent. Errors: OSError."""
        raise NotImplementedError

    def answered(self, accepted: bool, now: float) -> None:
        """See `Caller`."""
        refused = f"connection refused at {spelled(self.path.address, self.path.port)}"
        self.engine.end(self, accepted, "half-open: answered" if accepted else refused, now)

    def overdue(self) -> str:
        """See `Probe`."""
        return f"no answer to a packet for {self.path.address}"

    def close(self) -> None:
        """See `Probe`."""
        if self._switchboard is not None and self.target is not None:
            self._switchboard.hang_up(self)
            self._fresh_until = 0.0  # nobody answered


class DirectProbe(VirtualProbe):
    """Of a DR server."""

    __slots__ = ("_awaiting", "_interface", "_mac")

    def __init__(self, endpoint: Endpoint, engine: Driver) -> None:
        super().__init__(endpoint, engine)
        self._interface = ""
        self._mac = b""
        self._awaiting: IPAddress | None = None

    def _ready(self, source: IPAddress, way: Way) -> None:
        self._interface = socket.if_indextoname(way.index)

    def _leave(self) -> None:
        assert self._way is not None
        hop = self._way.gateway or self.endpoint.address
        mac = Ways.of(self.engine).mac(self._way.index, hop)
        if mac is None:
            self._awaiting = hop
            Ways.of(self.engine).await_mac(self._way.index, hop, self._found)
        else:
            self._call(mac)

    def _found(self, mac: bytes) -> None:
        self._awaiting = None
        try:
            self._call(mac)
        except OSError as problem:
            self.engine.end(self, False, reason(problem.errno or errno.EIO), self.engine.clock())

    def _call(self, mac: bytes) -> None:
        assert self._switchboard is not None
        self._mac = mac
        self._switchboard.call(self, Target(self.path.address.packed, self.path.port, mac))

    def send_syn(self, sequence: int) -> None:
        """See `Caller`."""
        assert self._flow is not None
        self._send(self._flow.syn(sequence))

    def send_reset(self, sequence: int) -> None:
        """See `Caller`."""
        assert self._flow is not None
        self._send(self._flow.reset(sequence))

    def _send(self, packet: bytes) -> None:
        assert self._switchboard is not None
        self._switchboard.send_frame(packet, self._interface, self._mac)

    def overdue(self) -> str:
        """See `Probe`."""
        said = super().overdue()
        if self._awaiting is not None:
            question = "ARP" if self._awaiting.version == 4 else "neighbour discovery"
            return f"no answer to {question} for {self._awaiting}"
        if self._way is not None and self._way.gateway is not None:
            return f"{said}: the server is behind the router {self._way.gateway}, where direct routing does not reach"
        return f"{said}: is the virtual IP on the server's loopback?"

    def close(self) -> None:
        """See `Probe`."""
        if self._awaiting is not None:
            assert self._way is not None
            Ways.of(self.engine).forget(self._way.index, self._awaiting, self._found)
            self._awaiting = None
        super().close()


class TunnelProbe(VirtualProbe):
    """Of a TUN server."""

    __slots__ = ("_sender", "_sockaddr", "_source")

    def __init__(self, endpoint: Endpoint, engine: Driver) -> None:
        super().__init__(endpoint, engine)
        self._sockaddr = (str(endpoint.address), 0)
        self._sender: RawSender | None = None
        self._source: IPAddress | None = None

    def _ready(self, source: IPAddress, way: Way) -> None:
        self._source = source
        self._sender = self.engine.shared((RawSender, self._sending), lambda: RawSender(self._sending))

    def _leave(self) -> None:
        assert self._switchboard is not None
        self._switchboard.call(self, Target(self.path.address.packed, self.path.port, self.endpoint.address.packed))

    def send_syn(self, sequence: int) -> None:
        """See `Caller`."""
        assert self._flow is not None
        self._send(self._flow.syn(sequence))

    def send_reset(self, sequence: int) -> None:
        """See `Caller`."""
        assert self._flow is not None
        self._send(self._flow.reset(sequence))

    def _send(self, packet: bytes) -> None:
        assert self._sender is not None
        assert self._source is not None
        assert self._switchboard is not None
        how, port = self.path.encapsulation or tunnels.PLAIN, self._switchboard.port
        outer = tunnels.wrap(how, self._source, self.endpoint.address, packet, source_port=port)
        self._sender.sock.sendto(outer, self._sockaddr)

    def overdue(self) -> str:
        """See `Probe`."""
        how = (self.path.encapsulation or tunnels.PLAIN).tunnel.value
        return f"{super().overdue()} in {how}: does the server unpack that, and has it the virtual IP?"


def virtual_probe(endpoint: Endpoint, engine: Driver) -> VirtualProbe:
    """The probe for the way of clients' packets to an endpoint."""
    path = endpoint.check.via
    assert path is not None
    return TunnelProbe(endpoint, engine) if path.forwarding is Forwarding.TUN else DirectProbe(endpoint, engine)
