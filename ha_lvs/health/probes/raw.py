"""The sockets of probes without a connection, and the filters that let pass only what answers them.

Rules that hold here:
* A listening socket holds a source port; its filter drops everything, so that the kernel neither gives the port to
  anybody else nor answers a SYN/ACK with a RST of its own.
* What came before a socket had its filter is thrown away.
* A filter costs a packet that is not for us next to nothing; but a socket on the wire has every packet of its family
  looked at, clients' too. So there is one only where probes need it.

Source: raw(7), packet(7), linux/filter.h.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import NamedTuple

from ha_lvs.model import Endpoint, IPAddress
from ha_lvs.socket_options import INSTRUCTION, attach_filter
from ha_lvs.wire import ip

_KIND = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
_SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 33, 32
_BUFFER_BYTES = 4 << 20  # thousands of answers may come within one turn of the loop
_IPV6_HDRINCL = 36

# linux/filter.h
_LOAD_BYTE, _LOAD_HALF, _LOAD_HALF_INDEXED, _LOAD_HEADER_LENGTH = 0x30, 0x28, 0x48, 0xB1
_JUMP_EQUAL, _JUMP_SET, _RETURN = 0x15, 0x45, 0x06
_DROP_ALL = INSTRUCTION.pack(_RETURN, 0, 0, 0)


class Sending(NamedTuple):
    """What probes must have in common to share a socket.

    Arguments:
        version: of IP.
        source: their address; None for the kernel's choice.
        interface, mark: as in `Check`.
    """

    version: int
    source: IPAddress | None
    interface: str
    mark: int

    @classmethod
    def of(cls, endpoint: Endpoint) -> Sending:
        """Those of an endpoint's probes."""
        check = endpoint.check
        return cls(endpoint.address.version, check.source, check.interface, check.mark)


class RawSender:
    """Sends whole packets of any protocol by the kernel's routes, and receives nothing.

    Arguments:
        sending: as for `Switchboard`.

    Errors: OSError.
    """

    def __init__(self, sending: Sending) -> None:
        self.sock = open_raw(sending, socket.IPPROTO_RAW, _DROP_ALL)

    def close(self) -> None:
        """Closes the socket."""
        self.sock.close()


# ---------------------------------------------------------------------------------------------------- sockets


def open_answers(sending: Sending, port: int) -> socket.socket:
    """A raw socket that gets the segments to a port that have been delivered to this host, and sends whole packets.

    Errors: OSError.
    """
    return open_raw(sending, socket.IPPROTO_TCP, _filter_of_raw(sending.version, port))


def open_wire(sending: Sending, port: int) -> socket.socket:
    """A packet socket that gets the segments to a port before routing sees them, on all interfaces.

    Errors: OSError.
    """
    # With its protocol from the start, since the socket module cannot bind to all interfaces.
    kind = socket.htons(ip.ETHERTYPES[sending.version])
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | _KIND, kind)
    try:
        attach_filter(sock, _filter_of_wire(sending.version, port))
        _prepare(sock, sending)
        _drain(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def open_raw(sending: Sending, protocol: int, program: bytes) -> socket.socket:
    """A raw socket that takes packets with their headers.

    Arguments:
        protocol: of IP, that is received.
        program: the filter for what is received.

    Errors: OSError.
    """
    family = socket.AF_INET if sending.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_RAW | _KIND, protocol)
    try:
        attach_filter(sock, program)
        if sending.version == 4:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
        if sending.interface:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, sending.interface.encode() + b"\0")
        _prepare(sock, sending)
        _drain(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _prepare(sock: socket.socket, sending: Sending) -> None:
    if sending.mark:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, sending.mark)
    for option in (_SO_RCVBUFFORCE, _SO_SNDBUFFORCE):
        with contextlib.suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)


def _drain(sock: socket.socket) -> None:
    """Throws away what came before the filter was there."""
    with contextlib.suppress(OSError):
        while True:
            sock.recv(1)


def hold_port(version: int) -> tuple[socket.socket, int]:
    """A port that nobody else gets and at which the kernel is silent, and the socket that holds it.

    Errors: OSError.
    """
    family, anywhere = (socket.AF_INET, "0.0.0.0") if version == 4 else (socket.AF_INET6, "::")
    sock = socket.socket(family, socket.SOCK_STREAM | _KIND)
    try:
        attach_filter(sock, _DROP_ALL)
        if version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((anywhere, 0))
        sock.listen(1)
    except BaseException:
        sock.close()
        raise
    return sock, sock.getsockname()[1]


# ----------------------------------------------------------------------------------- the filters in the kernel


def _filter_of_raw(version: int, port: int) -> bytes:
    """Passes segments to a port; the raw socket of IPv4 sees the header of IP, that of IPv6 does not."""
    if version == 4:
        return _program((_LOAD_HEADER_LENGTH, 0), (_LOAD_HALF_INDEXED, 2), (_JUMP_EQUAL, port))
    return _program((_LOAD_HALF, 2), (_JUMP_EQUAL, port))


def _filter_of_wire(version: int, port: int) -> bytes:
    """The same for packets of a family as they come from the wire, without their link's header."""
    if version == 4:
        return _program(
            (_LOAD_BYTE, 9), (_JUMP_EQUAL, ip.TCP),
            (_LOAD_HALF, 6), (_JUMP_SET, 0x1FFF),
            (_LOAD_HEADER_LENGTH, 0), (_LOAD_HALF_INDEXED, 2), (_JUMP_EQUAL, port),
        )  # fmt: skip
    return _program((_LOAD_BYTE, 6), (_JUMP_EQUAL, ip.TCP), (_LOAD_HALF, 42), (_JUMP_EQUAL, port))


def _program(*steps: tuple[int, int]) -> bytes:
    """A filter out of loads and conditions, all of which must hold; `_JUMP_SET` is one that must not."""
    return b"".join(_instructions(steps)) + INSTRUCTION.pack(_RETURN, 0, 0, 0xFFFF) + _DROP_ALL


def _instructions(steps: tuple[tuple[int, int], ...]) -> Iterator[bytes]:
    for at, (code, operand) in enumerate(steps):
        away = len(steps) - at  # to the last instruction
        yes, no = {_JUMP_EQUAL: (0, away), _JUMP_SET: (away, 0)}.get(code, (0, 0))
        yield INSTRUCTION.pack(code, yes, no, operand)
