"""The scripts: one function a transcript, named like its file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ha_lvs.election.events import (
    Enable,
    HandOver,
    PathDown,
    PathUp,
    Standing,
    Start,
    Witnessed,
)
from ha_lvs.model import VrrpInstance
from tests.sim.world import GATEWAY, Router, World, instance
from tests.transcripts.play import Play


def _pair(**more: Any) -> list[VrrpInstance]:
    return [instance(1, 150, refresh_s=30.0, **more), instance(2, 100, refresh_s=30.0, **more)]


def _steady(title: str, **more: Any) -> Play:
    """Two that have settled; the first is active."""
    play = Play(title, _pair(**more))
    for number in (1, 2):
        play.told(number, Start())
    play.wait(6.0)
    return play


def _set(**values: bool) -> Callable[[World, Router], None]:
    def act(_world: World, router: Router) -> None:
        for name, value in values.items():
            setattr(router, name, value)

    return act


def start() -> Play:
    """Two start together. Neither hears anybody; the higher priority waits the shorter time."""
    return _steady(start.__doc__ or "")


def planned_stop() -> Play:
    """The active one is stopped. It offers its role; the other takes the addresses first, then it lets go."""
    play = _steady(planned_stop.__doc__ or "")
    play.does("is to stop", 1, lambda world, router: world.stop_gently(router))
    play.wait(3.0)
    play.does("starts again", 1, lambda world, router: world.restart(router))
    play.wait(6.0)
    return play


def hand_over() -> Play:
    """An operator hands over. The giver defers: it does not preempt, until it is enabled."""
    play = _steady(hand_over.__doc__ or "")
    play.told(1, HandOver(force=False))
    play.wait(8.0)
    play.told(1, Enable())
    play.wait(5.0)
    return play


def refused_hand_over() -> Play:
    """The peer has a fault and refuses; with force the active resigns all the same, and nobody takes its place."""
    play = _steady(refused_hand_over.__doc__ or "")
    play.told(2, Standing(100, "interface e1 is down"))
    play.told(1, HandOver(force=False))
    play.wait(2.0)
    play.told(1, HandOver(force=True))
    play.wait(6.0)
    return play


def cut_and_heal() -> Play:
    """The active is cut off, and both are active; when the cut heals the inferior yields and the survivor announces."""
    play = _steady(cut_and_heal.__doc__ or "")
    play.does("is cut off", 1, _set(cut=True))
    play.wait(6.0)
    play.does("is connected again", 1, _set(cut=False))
    play.wait(3.0)
    return play


def frozen_active() -> Play:
    """The active freezes; its lease ends and the other takes over. On waking it yields, then preempts as usual."""
    play = _steady(frozen_active.__doc__ or "")
    play.does("freezes", 1, _set(frozen=True))
    play.wait(8.0)
    play.does("wakes", 1, _set(frozen=False))
    play.wait(6.0)
    return play


def paused_machine() -> Play:
    """Both are stopped for ten seconds. The active listens before it speaks, the other waits: nothing changes."""
    play = _steady(paused_machine.__doc__ or "")

    def freeze(world: World, _router: Router, *, frozen: bool) -> None:
        for each in world.routers:
            each.frozen = frozen

    play.does("both are stopped", 0, lambda world, router: freeze(world, router, frozen=True))
    play.wait(10.0)
    play.does("both run again", 0, lambda world, router: freeze(world, router, frozen=False))
    play.wait(6.0)
    return play


def bfd_down() -> Play:
    """BFD notices in milliseconds that the active is dead. A second end of the same session counts for nothing."""
    play = _steady(bfd_down.__doc__ or "")
    first = play.stage.routers[0].config.source
    play.told(2, PathUp(first))
    play.does("crashes", 1, lambda world, router: world.crash(router))
    play.wait(0.009)
    play.told(2, PathDown(first))
    play.wait(3.0)
    play.does("starts again", 1, lambda world, router: world.restart(router))
    play.wait(6.0)
    play.told(2, PathDown(first))
    play.wait(2.0)
    return play


def fault_and_weight() -> Play:
    """A weight lowers the active below its peer, which preempts; a fault takes the role at once."""
    play = _steady(fault_and_weight.__doc__ or "")
    play.told(1, Standing(90))
    play.wait(5.0)
    play.told(1, Standing(150))
    play.wait(5.0)
    play.told(1, Standing(150, "script check failed"))
    play.wait(5.0)
    play.told(1, Standing(150))
    play.wait(3.0)
    return play


def no_witness() -> Play:
    """Who sees no witness does not promote itself, and listens when it sees one again; told so, an active yields."""
    play = Play(no_witness.__doc__ or "", _pair(witnesses=replace(GATEWAY, yield_alone=True)))
    for number in (1, 2):
        play.told(number, Start())
        play.told(number, Witnessed(enough=True))
    play.wait(6.0)
    play.told(2, Witnessed(enough=False))
    play.does("is cut off", 1, _set(cut=True))
    play.told(1, Witnessed(enough=False))
    play.wait(6.0)
    play.told(2, Witnessed(enough=True))
    play.wait(3.0)
    play.does("is connected again", 1, _set(cut=False))
    play.told(1, Witnessed(enough=True))
    play.wait(5.0)
    return play


def startup_delay() -> Play:
    """For ten seconds from its start no timer promotes a director; an offer does."""
    play = Play(startup_delay.__doc__ or "", _pair(startup_delay_s=10.0))
    play.told(1, Start())
    play.wait(12.0)
    play.told(2, Start())
    play.wait(2.0)
    play.told(1, HandOver(force=False))
    play.wait(2.0)
    return play


def preempt_delay() -> Play:
    """A higher priority comes back and waits for twenty seconds, but not when the active falls silent meanwhile."""
    play = _steady(preempt_delay.__doc__ or "", preempt_delay_s=20.0)
    for pause_s in (25.0, 8.0):
        play.does("crashes", 1, lambda world, router: world.crash(router))
        play.wait(5.0)
        play.does("starts again", 1, lambda world, router: world.restart(router))
        play.wait(pause_s)
    play.does("crashes", 2, lambda world, router: world.crash(router))
    play.wait(5.0)
    return play


def restart_in_place() -> Play:
    """Another elector succeeds the one at work on each director: same roles, no gap."""
    play = _steady(restart_in_place.__doc__ or "")
    for number in (1, 2):
        play.does("gets a new elector", number, lambda world, router: world.succeed(router))
        play.wait(4.0)
    return play


def three_directors() -> Play:
    """The first of three hands over to the second; the third hears the resignation and knows who is active."""
    configs = [instance(number, priority, refresh_s=30.0) for number, priority in ((1, 200), (2, 150), (3, 100))]
    play = Play(three_directors.__doc__ or "", configs)
    for number in (1, 2, 3):
        play.told(number, Start())
    play.wait(6.0)
    play.told(1, HandOver(force=False))
    play.wait(3.0)
    play.does("crashes", 2, lambda world, router: world.crash(router))
    play.wait(6.0)
    return play


SCRIPTS: dict[str, Callable[[], Play]] = {
    script.__name__.replace("_", "-"): script
    for script in (
        start, planned_stop, hand_over, refused_hand_over, cut_and_heal, frozen_active, paused_machine, bfd_down,
        fault_and_weight, no_witness, startup_delay, preempt_delay, restart_in_place, three_directors,
    )
}  # fmt: skip
