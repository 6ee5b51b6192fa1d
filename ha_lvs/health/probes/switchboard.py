"""Probes without a connection: their SYNs go out by shared sockets, and each answer finds its probe.

Rules that hold here:
* All probes of a `Sending` come from one source port, which nobody else has and at which the kernel is silent.
* An answer belongs to the probe whose random number it acknowledges, if it comes from where that probe went.
* The server gets its RST as soon as it has answered, and nothing is left half open there; also when it answers later
  than the probe waited.
* Two probes of one target at once would be one connection to the server, and the second SYN a strange one. So the
  second gets the answer to the first.
* All that has come is read before the engine goes on: it judges time-outs by that.
"""

from __future__ import annotations

import contextlib
import random
import socket
from ipaddress import ip_address
from typing import NamedTuple

from ha_lvs.errors import WireError
from ha_lvs.health.probes.base import Driver, Probe
from ha_lvs.health.probes.raw import Sending, hold_port, open_answers, open_wire
from ha_lvs.health.probes.ways import Ways
from ha_lvs.model import Endpoint, IPAddress
from ha_lvs.wire import ip, tcp

_ANSWER_BYTES = 256  # headers with all options; nothing behind them matters
_UNKNOWN = ("", b"")
_AT_ONCE = 1 << 15  # more than the buffer holds; a flood must not keep the loop for ever


class Target(NamedTuple):
    """Where a SYN goes: a second one to there would meet the first.

    Arguments:
        address: packed, as the SYN has it.
        port: the same.
        mac: of the server, where the address alone does not tell it from others.
    """

    address: bytes
    port: int
    mac: bytes = b""


class Caller(Probe):
    """A probe that sends a SYN and waits for what comes back.

    Attributes:
        target, acknowledgement: of the SYN that is waited for; None and -1 for none.
    """

    __slots__ = ("acknowledgement", "target")

    def __init__(self, endpoint: Endpoint, engine: Driver) -> None:
        super().__init__(endpoint, engine)
        self.target: Target | None = None
        self.acknowledgement = -1

    def send_syn(self, sequence: int) -> None:
        """Sends the SYN. Errors: OSError."""
        raise NotImplementedError

    def send_reset(self, sequence: int) -> None:
        """Sends the RST. Errors: OSError."""
        raise NotImplementedError

    def answered(self, accepted: bool, now: float) -> None:
        """The server has accepted the connection (it is reset already), or refused it."""
        raise NotImplementedError


class Switchboard:
    """Sends SYNs and brings the answers to their probes.

    Arguments:
        engine: that listens for answers.
        sending: what its probes have in common.

    Errors: OSError.
    """

    def __init__(self, engine: Driver, sending: Sending) -> None:
        self._engine = engine
        self._sending = sending
        self._callers: dict[int, Caller] = {}  # by the number that is to be acknowledged
        self._listeners: dict[int, list[Caller]] = {}  # who gets the answer to another's SYN, by the same number
        self._asked: dict[Target, int] = {}
        self._holder, self.port = hold_port(sending.version)
        try:
            self.sock = self._open(self.port)
        except BaseException:
            self._holder.close()
            raise
        engine.watch(self.sock.fileno(), self._hear)

    def _open(self, port: int) -> socket.socket:
        raise NotImplementedError

    def _receive(self) -> tuple[tcp.Answer, tuple[str, bytes]]:
        """The next answer, and by which interface and from which MAC address it came, as far as that is known.

        Errors: BlockingIOError when there is none; WireError when it is not whole; OSError.
        """
        raise NotImplementedError

    def _send_late_reset(self, answer: tcp.Answer, back: tuple[str, bytes]) -> None:
        """Sends a RST to whoever answered when nobody waited for it any more. Errors: OSError."""
        raise NotImplementedError

    def call(self, caller: Caller, target: Target) -> None:
        """Sends the SYN of a probe, whose `answered` is called in the end unless `hang_up` comes first.

        Errors: OSError.
        """
        caller.target = target
        asked = self._asked.get(target)
        if asked is not None:
            caller.acknowledgement = asked
            self._listeners.setdefault(asked, []).append(caller)
            return
        number = random.getrandbits(32)
        while number in self._callers:
            number = random.getrandbits(32)
        self._callers[number] = caller
        self._asked[target] = caller.acknowledgement = number
        caller.send_syn(tcp.before(number))

    def hang_up(self, caller: Caller) -> None:
        """Forgets a probe that waits."""
        number, target = caller.acknowledgement, caller.target
        assert target is not None
        caller.target = None
        listeners = self._listeners.get(number, [])
        if self._callers[number] is not caller:
            listeners.remove(caller)
        elif listeners:
            self._callers[number] = listeners.pop()
        else:
            del self._callers[number]
            del self._asked[target]
        if not listeners:
            self._listeners.pop(number, None)

    def close(self) -> None:
        """Closes the sockets."""
        self._engine.unwatch(self.sock.fileno())
        self.sock.close()
        self._holder.close()

    # --------------------------------------------------------------------------------------------- answers

    def _hear(self) -> None:
        now = self._engine.clock()
        for _ in range(_AT_ONCE):
            try:
                answer, back = self._receive()
            except BlockingIOError:
                return
            except (WireError, OSError):  # OSError: an interface that went down says so once
                continue
            caller = self._callers.get(answer.acknowledgement)
            if caller is None or not answer.flags & tcp.ACK:
                self._late(answer, back)
                continue
            target = caller.target
            if target is not None and target.address == answer.source and target.port == answer.source_port:
                self._deliver(caller, answer, now)

    def _deliver(self, caller: Caller, answer: tcp.Answer, now: float) -> None:
        accepted = answer.flags & (tcp.SYN | tcp.RST) == tcp.SYN
        if accepted:
            with contextlib.suppress(OSError):  # it has answered, whatever becomes of our RST
                caller.send_reset(answer.acknowledgement)
        elif not answer.flags & tcp.RST:
            return
        waiting = [*self._listeners.get(answer.acknowledgement, ()), caller]
        for each in waiting:
            self.hang_up(each)
        for each in waiting:
            if each.running:  # what becomes of one may have ended another
                each.answered(accepted, now)

    def _late(self, answer: tcp.Answer, back: tuple[str, bytes]) -> None:
        """Closes what an earlier SYN has left half open at a server, as the kernel would (RFC 9293 section 3.10.7.1).

        Where a SYN is under way, it met that; so it goes out again.
        """
        if answer.flags & (tcp.ACK | tcp.RST) != tcp.ACK:
            return
        with contextlib.suppress(OSError):
            self._send_late_reset(answer, back)
            number = self._asked.get(Target(answer.source, answer.source_port, back[1]))
            if number is not None:
                self._callers[number].send_syn(tcp.before(number))


class LocalSwitchboard(Switchboard):
    """For answers that the kernel takes for ours: a raw socket gets what has been delivered to this host."""

    def _open(self, port: int) -> socket.socket:
        self._whole = self._sending.version == 4  # raw sockets of IPv6 give no header
        return open_answers(self._sending, port)

    def _receive(self) -> tuple[tcp.Answer, tuple[str, bytes]]:
        if self._whole:
            return tcp.decode(self.sock.recv(_ANSWER_BYTES)), _UNKNOWN
        segment, sender = self.sock.recvfrom(_ANSWER_BYTES)
        source = socket.inet_pton(socket.AF_INET6, sender[0].partition("%")[0])
        return tcp.decode_segment(segment, source), _UNKNOWN

    def _send_late_reset(self, answer: tcp.Answer, back: tuple[str, bytes]) -> None:
        server = ip_address(answer.source)
        if answer.destination:
            source: IPAddress | None = ip_address(answer.destination)
        else:
            _, chosen, interface, mark = self._sending
            source = chosen or Ways.of(self._engine).to(server, source=None, interface=interface, mark=mark).source
        if source is not None:
            flow = tcp.Flow(source, server, self.port, answer.source_port)
            self.sock.sendto(flow.reset(answer.acknowledgement), (str(server), 0))


class WireSwitchboard(Switchboard):
    """For answers that the kernel drops, as they come from an address of its own: taken before it looks at them."""

    def _open(self, port: int) -> socket.socket:
        self.ethertype = ip.ETHERTYPES[self._sending.version]
        return open_wire(self._sending, port)

    def _receive(self) -> tuple[tcp.Answer, tuple[str, bytes]]:
        packet, (interface, _, kind, _, mac) = self.sock.recvfrom(_ANSWER_BYTES)
        if kind == socket.PACKET_OTHERHOST:
            raise WireError("kind", "a packet for somebody else, that a promiscuous interface shows")
        return tcp.decode(packet), (interface, mac)

    def send_frame(self, packet: bytes, interface: str, mac: bytes) -> None:
        """Sends a packet to a neighbour, whatever addresses it has.

        Errors: OSError.
        """
        self.sock.sendto(packet, (interface, self.ethertype, 0, 0, mac))

    def _send_late_reset(self, answer: tcp.Answer, back: tuple[str, bytes]) -> None:
        us, virtual = ip_address(answer.destination), ip_address(answer.source)
        flow = tcp.Flow(us, virtual, self.port, answer.source_port)
        self.send_frame(flow.reset(answer.acknowledgement), *back)
