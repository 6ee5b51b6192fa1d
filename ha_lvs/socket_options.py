"""Socket options for which the socket module has no names (linux/in.h, in6.h, asm-generic/socket.h), and the classic
BPF filter of a socket (SO_ATTACH_FILTER, linux/filter.h).
"""

from __future__ import annotations

import ctypes
import socket
import struct

SO_ATTACH_FILTER = 26
SO_BINDTOIFINDEX = 62  # since Linux 5.0; SO_BINDTODEVICE by number
IP_PKTINFO = 8
IP_RECVTTL = 12
IP_FREEBIND = 15
IP_MULTICAST_ALL = 49
IPV6_MULTICAST_ALL = 29
IPV6_FREEBIND = 78

DSCP_CS6 = 0xC0
"""Internetwork control, as IP_TOS and IPV6_TCLASS have it."""

SO_PRIORITY_CONTROL = 7
"""TC_PRIO_CONTROL, for SO_PRIORITY: before everything else that waits in the interface's queue."""

INSTRUCTION = struct.Struct("=HBBI")
"""Of a filter: code, jump if true, jump if false, operand."""

_PROGRAM = struct.Struct("@HP")


def attach_filter(sock: socket.socket, program: bytes) -> None:
    """Has the kernel pass on only what a filter accepts.

    Arguments:
        program: its instructions, one behind the other.

    Errors: OSError, for example ENOMEM for a program larger than net.core.optmem_max.
    """
    code = ctypes.create_string_buffer(program, len(program))
    length = len(program) // INSTRUCTION.size
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, _PROGRAM.pack(length, ctypes.addressof(code)))
