"""Which way a probe's packets go: interface, next hop and source address, and the next hop's MAC address.

Rules that hold here:
* The kernel is asked, over route netlink, since it decides for everybody's packets. It answers within `send`, so
  nothing waits.
* Of a neighbour that was asked for once every change is heard, so that a probe costs no question and a new MAC address
  is known at once. Whoever waits for one is called when it is there.
* A neighbour that is not known, or that the kernel has not heard of for a while, is asked for by the kernel itself
  (NTF_USE). Frames that go past the kernel's own sending would never make it look.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable

from ha_lvs.errors import WireError
from ha_lvs.health.probes.base import Driver
from ha_lvs.model import IPAddress
from ha_lvs.wire import rtnetlink
from ha_lvs.wire.rtnetlink import ways

_RECEIVE_BYTES = 1 << 16
_BUFFER_BYTES = 1 << 20
_SO_RCVBUFFORCE = 33
_SEQUENCE = 1

Key = tuple[int, IPAddress]


class Ways:
    """What an engine's probes know of routes and neighbours.

    Arguments:
        engine: that listens to the kernel's news.

    Errors: OSError.
    """

    def __init__(self, engine: Driver) -> None:
        self._engine = engine
        self._neighbours: dict[Key, ways.Neighbour] = {}
        self._waiting: dict[Key, dict[Callable[[bytes], None], None]] = {}
        self._asking = _open(0)
        try:
            self._news = _open(ways.RTMGRP_NEIGH)
        except BaseException:
            self._asking.close()
            raise
        engine.watch(self._news.fileno(), self._hear)

    @staticmethod
    def of(engine: Driver) -> Ways:
        """The one that an engine's probes share. Errors: OSError."""
        return engine.shared(Ways, lambda: Ways(engine))

    def to(self, address: IPAddress, *, source: IPAddress | None, interface: str, mark: int) -> ways.Way:
        """The route that packets to an address take now.

        Arguments:
            source, interface, mark: of the packets; None, empty and 0 for the kernel's choice.

        Errors: OSError: ENETUNREACH, EHOSTUNREACH and the like where there is none, ENODEV for a missing interface.
        """
        index = socket.if_nametoindex(interface) if interface else 0
        message = self._ask(ways.find_way(address, _SEQUENCE, source=source, index=index, mark=mark))
        way = ways.decode_way(message.body) if message is not None else None
        if way is None:
            raise OSError(errno.EHOSTUNREACH, f"no way leads to {address}")
        return way

    def mac(self, index: int, address: IPAddress) -> bytes | None:
        """The MAC address of a neighbour; None where it is not known yet, and the kernel has been told to ask.

        Arguments:
            index: of the interface that the neighbour is at.

        Errors: OSError.
        """
        key = index, address
        known = self._neighbours.get(key)
        if known is None or not known.usable:
            known = self._look(key)
        if known is None or not known.usable or known.stale:
            with contextlib.suppress(FileNotFoundError):
                self._ask(ways.use_neighbour(index, address, _SEQUENCE))
            known = self._look(key)  # it may be no question at all: interfaces without ARP know at once
        return known.mac if known is not None and known.usable else None

    def await_mac(self, index: int, address: IPAddress, found: Callable[[bytes], None]) -> None:
        """Calls `found` with the neighbour's MAC address as soon as there is one; once, unless `forget` comes first."""
        self._waiting.setdefault((index, address), {})[found] = None

    def forget(self, index: int, address: IPAddress, found: Callable[[bytes], None]) -> None:
        """Ends `await_mac`."""
        waiting = self._waiting.get((index, address))
        if waiting is not None:
            waiting.pop(found, None)
            if not waiting:
                del self._waiting[index, address]

    def close(self) -> None:
        """Closes the sockets."""
        self._engine.unwatch(self._news.fileno())
        self._news.close()
        self._asking.close()

    # ------------------------------------------------------------------------------------------- asking

    def _look(self, key: Key) -> ways.Neighbour | None:
        try:
            message = self._ask(ways.find_neighbour(*key, _SEQUENCE))
        except FileNotFoundError:
            return None
        found = ways.decode_neighbour(message.body) if message is not None else None
        if found is not None:
            self._neighbours[key] = found
        return found

    def _ask(self, request: bytes) -> rtnetlink.Message | None:
        """The answer to a request; None for a plain yes. Errors: OSError with what the kernel has against it."""
        with contextlib.suppress(BlockingIOError):  # what an interrupted question may have left
            while True:
                self._asking.recv(_RECEIVE_BYTES)
        self._asking.send(request)
        try:
            for message in rtnetlink.messages(self._asking.recv(_RECEIVE_BYTES)):
                answer = rtnetlink.reply(message)
                if answer is None:
                    return message
                if answer.errno:
                    raise OSError(answer.errno, "the kernel refuses a question about a route or neighbour")
        except WireError as problem:
            raise OSError(errno.EPROTO, str(problem)) from problem
        return None

    # ---------------------------------------------------------------------------------------------- news

    def _hear(self) -> None:
        while True:
            try:
                data = self._news.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: some news are lost
                self._look_again()
                continue
            with contextlib.suppress(WireError):
                for message in rtnetlink.messages(data):
                    if message.kind in (ways.RTM_NEWNEIGH, ways.RTM_DELNEIGH):
                        self._note(message)

    def _note(self, message: rtnetlink.Message) -> None:
        neighbour = ways.decode_neighbour(message.body)
        if neighbour is None:
            return
        key = neighbour.index, neighbour.address
        if message.kind == ways.RTM_DELNEIGH:
            self._neighbours.pop(key, None)
        elif key in self._neighbours or key in self._waiting:
            self._neighbours[key] = neighbour
            self._tell(key, neighbour)

    def _look_again(self) -> None:
        self._neighbours.clear()
        for key in tuple(self._waiting):
            with contextlib.suppress(OSError):
                neighbour = self._look(key)
                if neighbour is not None:
                    self._tell(key, neighbour)

    def _tell(self, key: Key, neighbour: ways.Neighbour) -> None:
        if neighbour.usable:
            for found in self._waiting.pop(key, {}):
                found(neighbour.mac)


def _open(groups: int) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    try:
        if groups:
            with contextlib.suppress(PermissionError):
                sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        sock.bind((0, groups))
    except BaseException:
        sock.close()
        raise
    return sock
