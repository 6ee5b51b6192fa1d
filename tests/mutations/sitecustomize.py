"""Breaks a director on purpose: Python imports this at start when this directory is on PYTHONPATH.

`HA_LVS_TEST_MUTATION` names what is taken away. Drills must notice (tests/kernel/test_drill_guards.py); the product has
no switches for it, since nobody should be able to turn such things off.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ha_lvs.election.events import Action, Event


def _silent_stop() -> None:
    """No hand-over and no resignation: a stopped director just stops talking."""
    from ha_lvs.election.events import HandOver
    from ha_lvs.election.machine import Machine
    from ha_lvs.kernel.adverts import AdvertSocket

    send, handle = AdvertSocket.send, Machine.handle

    def only_usual(self: AdvertSocket, priority: int) -> None:
        if priority:
            send(self, priority)

    def deaf_to_hand_over(self: Machine, event: Event, now: float) -> list[Action]:
        return [] if isinstance(event, HandOver) else handle(self, event, now)

    AdvertSocket.send = only_usual  # type: ignore[method-assign]
    Machine.handle = deaf_to_hand_over  # type: ignore[method-assign]


def _let_go_first() -> None:
    """A hand-over is a resignation: nobody is asked whether he takes the role, the addresses go at once."""
    from ha_lvs.election.events import HandOver, Offer, Refused
    from ha_lvs.election.machine import Machine

    handle = Machine.handle

    def resigning(self: Machine, event: Event, now: float) -> list[Action]:
        if not isinstance(event, HandOver):
            return handle(self, event, now)
        asked = handle(self, replace(event, force=True), now)
        left = handle(self, Refused("nobody was asked"), now)
        return [*(action for action in asked if not isinstance(action, Offer)), *left]

    Machine.handle = resigning  # type: ignore[method-assign]


def _restart_by_stopping() -> None:
    """The elector that is to be succeeded stops as for a planned end without a hand-over, and leaves nothing."""
    from ha_lvs.daemon.elect.instance import Instance

    bequeath = Instance.bequeath

    def nothing(self: Instance, *, alive: bool) -> dict[str, Any]:
        if not alive:
            return bequeath(self, alive=alive)  # what the guardian is told each second
        self.stop()
        return {}

    Instance.bequeath = nothing  # type: ignore[method-assign]


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
    from ha_lvs.election.watching import Watch

    def go_idle() -> list[str]:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        return []

    def unforgiving(_watch: Watch, _late_s: float, _benefit_s: float, _now: float) -> bool:
        return False

    realtime.go_realtime = go_idle
    Watch.forgive = unforgiving  # type: ignore[method-assign,assignment]


MUTATIONS = {
    "silent stop": _silent_stop,
    "let go first": _let_go_first,
    "restart by stopping": _restart_by_stopping,
    "announce once": _announce_once,
    "idle process": _idle_process,
}

wanted = os.environ.get("HA_LVS_TEST_MUTATION")
if wanted is not None:
    MUTATIONS[wanted]()
