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


def _idle_process() -> None:
    """No real-time priority but that of a process which runs when nobody else wants to; late looks are not forgiven.

    An ordinary priority alone is not enough of a loss: the kernel runs who has slept before those who never do.
    """
    from ha_lvs.daemon import realtime
    from ha_lvs.election.machine import Machine

    def go_idle() -> list[str]:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        return []

    def unforgiving(_machine: Machine, _now: float) -> None:
        pass

    realtime.go_realtime = go_idle
    Machine._allow_for_lateness = unforgiving  # type: ignore[method-assign,assignment]


MUTATIONS = {"silent stop": _silent_stop, "announce once": _announce_once, "idle process": _idle_process}

wanted = os.environ.get("HA_LVS_TEST_MUTATION")
if wanted is not None:
    MUTATIONS[wanted]()
