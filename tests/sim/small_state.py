"""A state of the small model: what there is at one instant, and what tells one from another. See `small`."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from ha_lvs.election.core import Core
from ha_lvs.election.events import Event
from ha_lvs.election.machine import Machine
from ha_lvs.model import Role

LONG_AGO_S = -6.0
FAR_S = 20.0


@dataclass(slots=True)
class Node:
    """A director: its machine, its kernel, and what it has been told."""

    machine: Machine
    alive: bool = True
    frozen: bool = False
    held_until: float = -1.0
    inbox: tuple[Event, ...] = ()
    fault: bool = False
    witnessed: bool = True
    left: bool = False
    leaving: bool = False
    stopping: bool = False

    @property
    def runs(self) -> bool:
        """Whether it gets its turns."""
        return self.alive and not self.frozen


@dataclass(slots=True)
class State:
    """The whole of it at one instant.

    Arguments:
        now: seconds.
        nodes: two.
        flying: packets and words of the peer link, oldest first: (receiver, event, age in quarters).
        losses, faults: how many of them there may still be.
        together: quarters for which both have been active, running, and undisturbed.
        idle: for each, quarters for which it has held the address without being an active that runs.
        course: what led here.
    """

    now: float
    nodes: tuple[Node, Node]
    flying: tuple[tuple[int, Event, int], ...] = ()
    losses: int = 0
    faults: int = 0
    together: int = 0
    idle: tuple[int, int] = (0, 0)
    course: tuple[str, ...] = ()


def copy_machine(machine: Machine) -> Machine:
    twin = Machine.__new__(Machine)
    for name in Core.__slots__:
        setattr(twin, name, getattr(machine, name))
    for name in ("eligibility", "watch", "speech", "offer", "bearing"):
        part = getattr(machine, name)
        setattr(twin, name, None if part is None else copy.copy(part))
    return twin


def copy_state(state: State, step: str) -> State:
    nodes = []
    for node in state.nodes:
        twin = copy.copy(node)
        twin.machine = copy_machine(node.machine)
        nodes.append(twin)
    return State(
        state.now, (nodes[0], nodes[1]), state.flying, state.losses, state.faults, state.together, state.idle,
        (*state.course, step),
    )  # fmt: skip


def _since(at: float | None, now: float) -> float | None:
    if at is None:
        return None
    return max(LONG_AGO_S, min(FAR_S, at - now))


def _ahead(at: float | None, now: float) -> float | None:
    return None if at is None or at <= now else at - now


def _node_key(node: Node, now: float) -> tuple[Any, ...]:
    """All that matters of a director, with times relative to now."""
    held = _ahead(node.held_until, now)
    if not node.alive:
        return (held,)
    m = node.machine
    e, w, s = m.eligibility, m.watch, m.speech
    common = (
        node.frozen, held, node.inbox, node.fault, node.witnessed, node.left, node.leaving, node.stopping,
        m.role, m.holding, e.priority, e.fault, e.standby, e.deferring, e.witnessed, _since(e.alone_since, now),
        e.paths_up, w.peer, w.peer_priority, w.sources, _ahead(w.alive_until, now), w.interval_s,
        _since(m.ran_at, now) if node.frozen else None,
    )  # fmt: skip
    if m.role is Role.ACTIVE:
        offer = None if m.offer is None else (m.offer.until - now, m.offer.force, m.offer.leave)
        bearing = None if m.bearing is None else m.bearing.until - now
        times = (s.advertise_at, s.sent_at, s.held_at, m.listen_until)
        return (*common, offer, bearing, *(_since(at, now) for at in times))
    timers = (w.down_at, w.inferior_since, w.silent_at, w.look_at)
    return (*common, w.patience_s, _ahead(m.suspect_until, now), *(_since(at, now) for at in timers))


def key(state: State) -> tuple[Any, ...]:
    """What tells one state from another."""
    return (
        _node_key(state.nodes[0], state.now), _node_key(state.nodes[1], state.now),
        state.flying, state.losses, state.faults, state.together, state.idle,
    )  # fmt: skip
