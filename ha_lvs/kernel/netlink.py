"""Route netlink sockets: prepared requests go out, answers come in; lists are asked for (netlink(7), rtnetlink(7)).

The kernel carries requests out within `send`, so their answers are there when it returns: nothing ever waits. No
library is loaded for it, because the elector does this.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable

from ha_lvs.wire import rtnetlink

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10  # an answer does not carry the request along
_NETLINK_GET_STRICT_CHK = 12  # a list is filtered by what the request says

_BUFFER_BYTES = 1 << 20
_RECEIVE_BYTES = 1 << 16  # the kernel fills at most 32 KiB
_LIST_TIMEOUT_S = 5.0
_LIST_ATTEMPTS = 5
_SEQUENCE = 1


def open_route(groups: int = 0, *, strict: bool = False) -> socket.socket:
    """A socket of route netlink that never blocks.

    Arguments:
        groups: of messages to be told of, RTMGRP_*.
        strict: whether lists are to be filtered.
    """
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)  # the kernel caps it at its rmem_max
        sock.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        if strict:
            sock.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        sock.bind((0, groups))
    except BaseException:
        sock.close()
        raise
    return sock


def exchange(sock: socket.socket, batches: Iterable[rtnetlink.Batch]) -> dict[int, int]:
    """Has requests carried out. What was refused comes back: positive error numbers by sequence number.

    Errors: OSError when the socket fails; what was carried out by then is not known.
    """
    refused: dict[int, int] = {}
    for batch in batches:
        sock.send(batch.data)
        if not _read_answers(sock, batch.last, refused):
            raise OSError(errno.EIO, "the kernel did not answer a netlink request")
    return refused


def _read_answers(sock: socket.socket, last: int, refused: dict[int, int]) -> bool:
    """Reads all that is there; whether the answer to the last request was among it."""
    ended = False
    while True:
        try:
            data = sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return ended
        for message in rtnetlink.messages(data):
            answer = rtnetlink.reply(message)
            if answer is None:
                continue
            ended = ended or answer.sequence == last
            if answer.errno:
                refused[answer.sequence] = answer.errno


def list_all(request: bytes, *, strict: bool = False) -> list[rtnetlink.Item]:
    """What the kernel lists.

    Arguments:
        request: one of the `list_` requests, with sequence number 1.
        strict: whether the kernel leaves out what the request does not ask for.

    Errors: OSError when it does not answer, or refuses, or when its list changes again and again while it is read.
    """
    with open_route(strict=strict) as sock:
        sock.settimeout(_LIST_TIMEOUT_S)
        for _ in range(_LIST_ATTEMPTS):
            sock.send(request)
            found, whole = _read_list(sock)
            if whole:
                return found
    raise OSError(errno.EINTR, "the kernel's list changes faster than it can be read")


def _read_list(sock: socket.socket) -> tuple[list[rtnetlink.Item], bool]:
    """One list, and whether nothing was changed while it was made."""
    found: list[rtnetlink.Item] = []
    whole = True
    while True:
        for message in rtnetlink.messages(sock.recv(_RECEIVE_BYTES)):
            whole = whole and not message.flags & rtnetlink.NLM_F_DUMP_INTR
            answer = rtnetlink.reply(message)
            if answer is not None:
                if answer.errno:
                    raise OSError(answer.errno, "the kernel refused to list")
                return found, whole
            item = rtnetlink.decode_item(message)
            if item is not None:
                found.append(item)
