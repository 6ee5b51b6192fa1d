"""The channels between the processes, and how each process is started on them.

Rules that hold here:
* The guardian holds both ends of every channel for as long as it lives, so a process that is started again finds what
  its predecessor had, and its partners notice nothing but a `Hello`.
* Electors that follow one another share their channels. The one that is to come reads none of them before it has the
  estate of the other; what is sent meanwhile waits.
* Each elector has one more channel, the heritage, over which its successor will ask it for its estate. It belongs to
  that one elector: whoever comes after it gets a new one.
* Channels outlive the program of the guardian: their descriptors can be told to the next one (`ends`, `from_ends`).
* The channels of a further prober are made with the first orders that ask for it, and stay when there are fewer.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Mapping
from pathlib import Path

from ha_lvs.daemon.channel import Channel, pair
from ha_lvs.daemon.children import Spec
from ha_lvs.daemon.orders import Orders
from ha_lvs.daemon.patience import ATTENDANT_ALIVE_S, DIRECTOR_ALIVE_S, ELECTOR_ALIVE_S, PROBER_ALIVE_S
from ha_lvs.plan import sharding

_DATAGRAM = 1 << 17
_LINKS = (
    ("guardian", "elector"),
    ("guardian", "director"),
    ("guardian", "attendant"),
    ("guardian", sharding.FIRST),
    ("elector", "director"),
    ("elector", "attendant"),
    ("director", sharding.FIRST),
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
        self._links: dict[tuple[str, str], Pair] = {}
        self.channels: dict[str, Channel] = {}
        for link in (*_LINKS, *_of_further_probers(given)):
            self._join(link, given.get(" ".join(link)))
        self._heritage = given.get(_HERITAGE) or pair()
        self._next_heritage: Pair | None = None

    def _join(self, link: tuple[str, str], ends: Pair | None = None) -> None:
        """Makes the channel between two processes, unless there is one already, or these are its ends."""
        if link in self._links:
            return
        self._links[link] = ends or pair()
        if link[0] == "guardian":
            self.channels[link[1]] = Channel(self._links[link][0])

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
        """How to start the processes that these orders need, by name; the elector as one that succeeds nobody.

        There may be more `channels` afterwards.
        """
        probers = sharding.names(orders.director.probers)
        for name in probers:
            self._join(("guardian", name))
            self._join(("director", name))
        usual = ("--runtime-dir", str(runtime_dir), "--log-level", orders.log_level)
        found = [
            self._elector(orders, {"--bequeath-fd": self._heritage[0].fileno()}),
            Spec("director", self._fds("director", probers), usual, orders.director, DIRECTOR_ALIVE_S),
        ]
        if orders.attendant.instances:
            found.append(Spec("attendant", self._fds("attendant"), usual, orders.attendant, ATTENDANT_ALIVE_S))
        if orders.director.services:
            found += (Spec(name, self._fds(name), ("--name", name), alive_s=PROBER_ALIVE_S) for name in probers)
        return {spec.name: spec for spec in found}

    def _elector(self, orders: Orders, more: Mapping[str, int]) -> Spec:
        return Spec("elector", {**self._fds("elector"), **more}, (), orders.elector, ELECTOR_ALIVE_S)

    def _fds(self, name: str, probers: Collection[str] = ()) -> dict[str, int]:
        """The ends of a process, by the options that name the process at the other one.

        Arguments:
            probers: those of them that it talks to.
        """
        fds: dict[str, int] = {}
        for (left, right), ends in self._links.items():
            if name == right:
                fds[f"--{left}-fd"] = ends[1].fileno()
            elif name == left and (right in probers or not sharding.is_prober(right)):
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


def _of_further_probers(given: Mapping[str, Pair]) -> list[tuple[str, str]]:
    """The links of probers beyond the first that an earlier program had."""
    links = [(left, right) for left, _, right in (name.partition(" ") for name in given)]
    return [(left, right) for left, right in links if sharding.is_prober(right) and (left, right) not in _LINKS]


def _close(ends: Pair) -> None:
    for end in ends:
        end.close()


def _drain(end: socket.socket) -> None:
    try:
        while end.recv(_DATAGRAM, socket.MSG_DONTWAIT):
            pass
    except OSError:
        return
