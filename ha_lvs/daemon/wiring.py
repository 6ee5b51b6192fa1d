"""The channels between the processes, and how each process is started on them.

The guardian holds both ends of every channel for as long as it lives, so a process that is started again finds what its
predecessor had, and its partners notice nothing but a `Hello`.
"""

from __future__ import annotations

import socket
from pathlib import Path

from ha_lvs.daemon.channel import Channel, pair
from ha_lvs.daemon.children import Spec
from ha_lvs.daemon.orders import Orders
from ha_lvs.daemon.patience import DIRECTOR_ALIVE_S, ELECTOR_ALIVE_S

_DATAGRAM = 1 << 17


class Wiring:
    """All channels of one `ha-lvs run`.

    Attributes:
        channels: the guardian's ends, by the process at the other one.
    """

    def __init__(self) -> None:
        self._guardian_elector = pair()
        self._guardian_director = pair()
        self._guardian_prober = pair()
        self._elector_director = pair()
        self._director_prober = pair()
        self.channels = {
            "elector": Channel(self._guardian_elector[0]),
            "director": Channel(self._guardian_director[0]),
            "prober": Channel(self._guardian_prober[0]),
        }

    def specs(self, orders: Orders, runtime_dir: Path) -> dict[str, Spec]:
        """How to start the processes that these orders need, by name."""
        elector = Spec(
            "elector",
            {
                "--guardian-fd": self._guardian_elector[1].fileno(),
                "--director-fd": self._elector_director[0].fileno(),
            },
            part=orders.elector,
            alive_s=ELECTOR_ALIVE_S,
        )
        director = Spec(
            "director",
            {
                "--guardian-fd": self._guardian_director[1].fileno(),
                "--elector-fd": self._elector_director[1].fileno(),
                "--prober-fd": self._director_prober[0].fileno(),
            },
            options=("--runtime-dir", str(runtime_dir), "--log-level", orders.log_level),
            part=orders.director,
            alive_s=DIRECTOR_ALIVE_S,
        )
        prober = Spec(
            "prober",
            {
                "--guardian-fd": self._guardian_prober[1].fileno(),
                "--director-fd": self._director_prober[1].fileno(),
            },
        )
        specs = (elector, director, prober) if orders.director.services else (elector, director)
        return {spec.name: spec for spec in specs}

    def drop_unread(self) -> None:
        """Empties what was sent to a director and a prober that are both dead and have not read it.

        Their successors follow other orders: a probe that the old director asked for must not be made, nor the
        verdict of the old prober count. Whatever of it still holds is told again on their `Hello`.
        """
        for end in (
            self._guardian_director[1],
            self._guardian_prober[1],
            self._elector_director[1],
            *self._director_prober,
        ):
            _drain(end)


def _drain(end: socket.socket) -> None:
    try:
        while end.recv(_DATAGRAM, socket.MSG_DONTWAIT):
            pass
    except OSError:
        return
