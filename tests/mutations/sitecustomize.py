"""Breaks a director on purpose: Python imports this at start when this directory is on PYTHONPATH.

`HA_LVS_TEST_MUTATION` names what is taken away. Drills must notice (tests/kernel/test_drill_guards.py); the product has
no switches for it, since nobody should be able to turn such things off.
"""

from __future__ import annotations

import os


def _silent_stop() -> None:
    """No resignation: a stopped director just stops talking."""
    from ha_lvs.kernel.adverts import AdvertSocket

    send = AdvertSocket.send

    def only_usual(self: AdvertSocket, resign: bool) -> None:
        if not resign:
            send(self, resign)

    AdvertSocket.send = only_usual  # type: ignore[method-assign]


def _announce_once() -> None:
    """The first gratuitous ARP after taking the addresses, and none ever after."""
    from ha_lvs.kernel.neighbours import Announcer

    announce, told = Announcer.announce, set[int]()

    def once(self: Announcer) -> OSError | None:
        if id(self) in told:
            return None
        told.add(id(self))
        return announce(self)

    Announcer.announce = once  # type: ignore[method-assign]


def _ordinary_process() -> None:
    """No real-time priority, and the least of the ordinary ones."""
    from ha_lvs.daemon import realtime

    def go_ordinary() -> list[str]:
        os.nice(19)
        return []

    realtime.go_realtime = go_ordinary


MUTATIONS = {"silent stop": _silent_stop, "announce once": _announce_once, "ordinary process": _ordinary_process}

wanted = os.environ.get("HA_LVS_TEST_MUTATION")
if wanted is not None:
    MUTATIONS[wanted]()
