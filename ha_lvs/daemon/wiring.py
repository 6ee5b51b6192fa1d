"""The channels between the processes, and how each process is started on them.

Rules that hold here:
* The guardian holds both ends of every channel for as long as it lives, so a process that is started again finds what
  its predecessor had, and its partners notice nothing but a `Hello`.
* Electors that follow one another share their channels. The one that is to come reads none of them before it has the
  estate of the other; what is sent meanwhile waits.
* Each elector has one more channel, the heritage, over which its successor will ask it for its estate. It belongs to
  that one elector: whoever comes after it gets a new one.
* Channels outlive the program of the guardian: their descriptors can be told to the next one (`ends`, `from_ends`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Mapping
from pathlib import Path

from ha_lvs.daemon.channel import Channel, pair
from ha_lvs.daemon.children import Spec
from ha_lvs.daemon.orders import Orders
from ha_lvs.daemon.patience import ATTENDANT_ALIVE_S, DIRECTOR_ALIVE_S, ELECTOR_ALIVE_S

_DATAGRAM = 1 << 17
_LINKS = (
    ("guardian", "elector"),
    ("guardian", "director"),
    ("guardian", "attendant"),
    ("guardian", "prober"),
    ("elector", "director"),
    ("elector", "attendant"),
    ("director", "prober"),
)
_HERITAGE = "heritage"

Pair = tuple[socket.socket, socket.socket]


class Wiring:
    """All channels of one `ha-lvs run`.

    Attributes:
        channels: the guardian's ends, by the process at the other one.
    """

    def __init__(self, inherited: Mapping[str, Pair] | None = None) -> None:
        given = inherited or {}
        self._links = {link: given.get(" ".join(link)) or pair() for link in _LINKS}
        self._heritage = given.get(_HERITAGE) or pair()
        self._next_heritage: Pair | None = None
        self.channels = {
            other: Channel(ends[0]) for (guardian, other), ends in self._links.items() if guardian == "guardian"
        }

    # ----------------------------------------------------------------------------------- another program

    def ends(self) -> dict[str, tuple[int, int]]:
        """The descriptors of all channels, for `from_ends` in the program that follows this one."""
        pairs = {" ".join(link): ends for link, ends in self._links.items()} | {_HERITAGE: self._heritage}
        return {name: (left.fileno(), right.fileno()) for name, (left, right) in pairs.items()}

    @classmethod
    def from_ends(cls, ends: Mapping[str, tuple[int, int]]) -> Wiring:
        """The channels that an earlier program of this process has made; those that it did not know are new."""
        found: dict[str, Pair] = {}
        for name, (left, right) in ends.items():
            for fd in (left, right):
                os.set_inheritable(fd, False)
            found[name] = socket.socket(fileno=left), socket.socket(fileno=right)
        return cls(found)

    # --------------------------------------------------------------------------------------------- specs

    def specs(self, orders: Orders, runtime_dir: Path) -> dict[str, Spec]:
        """How to start the processes that these orders need, by name; the elector as one that succeeds nobody."""
        usual = ("--runtime-dir", str(runtime_dir), "--log-level", orders.log_level)
        found = [
            self._elector(orders, {"--bequeath-fd": self._heritage[0].fileno()}),
            Spec("director", self._fds("director"), usual, orders.director, DIRECTOR_ALIVE_S),
        ]
        if orders.attendant.instances:
            found.append(Spec("attendant", self._fds("attendant"), usual, orders.attendant, ATTENDANT_ALIVE_S))
        if orders.director.services:
            found.append(Spec("prober", self._fds("prober")))
        return {spec.name: spec for spec in found}

    def _elector(self, orders: Orders, more: Mapping[str, int]) -> Spec:
        return Spec("elector", {**self._fds("elector"), **more}, (), orders.elector, ELECTOR_ALIVE_S)

    def _fds(self, name: str) -> dict[str, int]:
        """The ends of a process, by the options that name the process at the other one."""
        fds: dict[str, int] = {}
        for (left, right), ends in self._links.items():
            if name == right:
                fds[f"--{left}-fd"] = ends[1].fileno()
            elif name == left:
                fds[f"--{right}-fd"] = ends[0].fileno()
        return fds

    # ---------------------------------------------------------------------------------------- succession

    def successor(self, orders: Orders) -> Spec:
        """How to start an elector that succeeds the running one."""
        self._next_heritage = pair()
        heritage = {"--succeed-fd": self._heritage[1].fileno(), "--bequeath-fd": self._next_heritage[0].fileno()}
        return self._elector(orders, heritage)

    def succeeded(self) -> None:
        """The running elector has ended and its successor is the elector: closes what was between the two.

        Only now a successor that got no estate learns that there is none.
        """
        if self._next_heritage is not None:
            _close(self._heritage)
            self._heritage, self._next_heritage = self._next_heritage, None

    def not_succeeded(self) -> None:
        """The successor has ended and the running elector goes on: what that has not read yet, it must not obey."""
        if self._next_heritage is not None:
            _close(self._next_heritage)
            self._next_heritage = None
        for end in self._heritage:
            _drain(end)

    def afresh(self) -> None:
        """No elector lives: makes way for one that knows nothing of what was said to the dead one.

        An offer of the role, or a request, must not be obeyed long after it was made. State is told again on `Hello`.
        """
        _close(self._heritage)
        self._heritage = pair()
        self.drop_unread(["elector"])

    def drop_unread(self, dead: Collection[str]) -> None:
        """Empties what was sent to processes that are dead and have not read it.

        Their successors follow other orders: a probe that the old director asked for must not be made, nor the
        verdict of the old prober count. Whatever of it still holds is told again on their `Hello`.
        """
        for link, ends in self._links.items():
            for name, end in zip(link, ends, strict=True):
                if name in dead:
                    _drain(end)


def _close(ends: Pair) -> None:
    for end in ends:
        end.close()


def _drain(end: socket.socket) -> None:
    try:
        while end.recv(_DATAGRAM, socket.MSG_DONTWAIT):
            pass
    except OSError:
        return
