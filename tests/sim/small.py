"""A small model of two directors in coarse time, all of whose courses can be explored.

Time goes in quarters of an interval; priorities are such that every timer falls on one. In one instant each packet in
flight may be delivered or lost, each due timer may fire, and a fault may befall a director, in every order; time goes
on only when no running director has a timer that is due and no packet is older than a quarter. How many packets are
lost and faults happen is bounded, and so is time. What has been reached before is not explored again: a state is all
that the machines know, with times relative to now, what is in flight, and what the kernels hold.

In each state the rules of safety are checked; from a share of them everything heals, and one must be active in time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

from ha_lvs.election.events import (
    Action,
    Announce,
    DropAddresses,
    Enable,
    Event,
    HandOver,
    HandOverEnded,
    Heard,
    HoldAddresses,
    Noted,
    Offer,
    Offered,
    PathDown,
    PathUp,
    Refuse,
    Refused,
    RoleChanged,
    SendAdvertisement,
    Standing,
    Start,
    Stop,
    Witnessed,
)
from ha_lvs.election.machine import Machine
from ha_lvs.model import Role, VrrpInstance
from tests.sim import bounds
from tests.sim.referee import Violation
from tests.sim.small_state import Node, State, copy_state, key
from tests.sim.world import GATEWAY, instance

TICK_S = 0.25
HEAL_EVERY = 16
"""From every so many states the model heals and must come to one active."""


def small_pair(**more: Any) -> list[VrrpInstance]:
    """Priorities whose skew is one and two quarters of an interval; no announcement that comes by the clock."""
    configs = [instance(number, priority, refresh_s=1e6, **more) for number, priority in ((1, 192), (2, 128))]
    return [replace(config, announce_repeat=0) for config in configs]


class Small:
    """The model.

    Arguments:
        configs: of the two.
        kinds: names of the faults that may happen, see `_fault`.
        losses, faults: how many at most.
        quarters: for how long, from a steady pair on (or from the start, with `cold`).
        cold: whether to begin with two that start.
    """

    def __init__(
        self, configs: list[VrrpInstance], kinds: tuple[str, ...], losses: int, faults: int, quarters: int,
        *, cold: bool = False,
    ) -> None:  # fmt: skip
        self.configs = configs
        self.kinds = kinds
        self.quarters = quarters
        self.states = 0
        self.healed = 0
        self.together_bound = round(bounds.both_active_s(configs, TICK_S) / TICK_S)
        self.idle_bound = round((configs[0].lease_s or 0) / TICK_S)
        self.settle_quarters = round(
            bounds.settled_s([replace(c, announce_refresh_s=0.0) for c in configs], 0) / TICK_S
        )
        nodes = (Node(Machine(configs[0])), Node(Machine(configs[1])))
        self.first = State(100.0, nodes)
        for number in (0, 1):
            self._tell(self.first, number, Start())
            if configs[number].witnesses is not None:
                self._tell(self.first, number, Witnessed(enough=True))
            self._tell(self.first, number, PathUp(configs[1 - number].source))
        if not cold:
            for _ in range(40):
                self._let_pass(self.first)
        self.end = self.first.now + quarters * TICK_S
        self.first.losses, self.first.faults = losses, faults

    # ------------------------------------------------------------------------------------- exploring

    def explore(self) -> None:
        """Goes every way, breadth first.

        Errors: Violation with the course that led to it.
        """
        seen = {key(self.first)}
        frontier = deque([self.first])
        while frontier:
            state = frontier.popleft()
            self.states += 1
            if self.states % HEAL_EVERY == 0:
                self._heal(state)
            for following in self._steps(state):
                self._check(following)
                mark = key(following)
                if mark not in seen and following.now <= self.end:
                    seen.add(mark)
                    frontier.append(following)

    def _steps(self, state: State) -> list[State]:
        following = []
        addressed = set()
        for place, (receiver, event, _age) in enumerate(state.flying):
            if (receiver, event) in addressed:
                continue  # the same again: the other order is the same course
            addressed.add((receiver, event))
            following.append(self._deliver(state, place))
            if state.losses:
                following.append(self._lose(state, place))
        due = [number for number in (0, 1) if self._is_due(state, number)]
        for number in due:
            twin = copy_state(state, f"timer {number + 1}")
            self._fire(twin, number)
            following.append(twin)
        if not due and all(age == 0 for _, _, age in state.flying):
            twin = copy_state(state, "time")
            self._advance(twin)
            following.append(twin)
        if state.faults:
            for kind in self.kinds:
                for number in (0, 1):
                    happened = self._fault(state, kind, number)
                    if happened is not None:
                        following.append(happened)
        return following

    def _deliver(self, state: State, place: int) -> State:
        receiver, event, _ = state.flying[place]
        twin = copy_state(state, f"{type(event).__name__} reaches {receiver + 1}")
        twin.flying = state.flying[:place] + state.flying[place + 1 :]
        if twin.nodes[receiver].alive:
            self._tell(twin, receiver, event)
        return twin

    def _lose(self, state: State, place: int) -> State:
        receiver, event, _ = state.flying[place]
        twin = copy_state(state, f"{type(event).__name__} to {receiver + 1} is lost")
        twin.flying = state.flying[:place] + state.flying[place + 1 :]
        twin.losses -= 1
        twin.together = 0
        return twin

    def _fault(self, state: State, kind: str, number: int) -> State | None:
        """What `kind` makes of a state; None where it cannot happen."""
        node, other = state.nodes[number], state.nodes[1 - number]
        possible = {
            "crash": node.alive,
            "restart": not node.alive,
            "thaw": node.alive and node.frozen,
            "freeze all": node.runs and other.runs and number == 0,
            "thaw all": node.frozen and other.frozen and number == 0,
            "enable": node.runs and node.left,
            "clear": node.runs and node.fault,
            "witness back": node.runs and not node.witnessed,
        }
        if not possible.get(kind, node.runs):
            return None
        twin = copy_state(state, f"{kind} {number + 1}")
        twin.faults -= 1
        self._befall(twin, kind, number)
        return twin

    def _befall(self, state: State, kind: str, number: int) -> None:
        node = state.nodes[number]
        match kind:
            case "crash":
                node.alive, node.inbox = False, ()
            case "restart":
                self._restart(state, number)
            case "freeze":
                node.frozen = True
            case "thaw":
                self._thaw(state, number)
            case "freeze all":
                for each in state.nodes:
                    each.frozen = True
            case "thaw all":
                self._thaw(state, 0)
                self._thaw(state, 1)
            case "hand over":
                self._tell(state, number, HandOver(force=False))
            case "resign":
                self._tell(state, number, HandOver(force=True))
            case "leave":
                self._tell(state, number, HandOver(force=True, leave=True))
            case "enable":
                self._tell(state, number, Enable())
            case "stop":
                node.stopping = True
                self._tell(state, number, HandOver(force=True, leave=True))
            case "fault" | "clear":
                fault = "broken" if kind == "fault" else ""
                self._tell(state, number, Standing(self.configs[number].priority, fault))
            case "witness gone" | "witness back":
                self._tell(state, number, Witnessed(enough=kind == "witness back"))
            case "bfd lies":
                self._tell(state, number, PathDown(self.configs[1 - number].source))
            case _:
                raise ValueError(kind)

    # --------------------------------------------------------------------------------------- driving

    def _is_due(self, state: State, number: int) -> bool:
        node = state.nodes[number]
        deadline = node.machine.deadline if node.runs else None
        return deadline is not None and deadline <= state.now

    def _fire(self, state: State, number: int) -> None:
        self._do(state, number, state.nodes[number].machine.handle_timer(state.now))

    def _advance(self, state: State) -> None:
        state.now += TICK_S
        state.flying = tuple((receiver, event, age + 1) for receiver, event, age in state.flying)
        idle = []
        for number, node in enumerate(state.nodes):
            active = node.runs and node.machine.role is Role.ACTIVE
            idle.append(state.idle[number] + 1 if node.held_until > state.now and not active else 0)
        state.idle = (idle[0], idle[1])
        both = all(node.runs and node.machine.role is Role.ACTIVE for node in state.nodes)
        state.together = state.together + 1 if both else 0

    def _restart(self, state: State, number: int) -> None:
        node = state.nodes[number]
        node.machine = Machine(self.configs[number])
        node.alive, node.frozen, node.inbox = True, False, ()
        node.fault = node.left = node.leaving = node.stopping = False
        self._tell(state, number, Start(holding=node.held_until > state.now, leased=True))
        if self.configs[number].witnesses is not None:
            self._tell(state, number, Witnessed(node.witnessed))
        self._tell(state, number, PathUp(self.configs[1 - number].source))

    def _thaw(self, state: State, number: int) -> None:
        node = state.nodes[number]
        node.frozen = False
        inbox, node.inbox = node.inbox, ()
        for event in inbox:
            self._tell(state, number, event)
        if self._is_due(state, number):
            self._fire(state, number)

    def _tell(self, state: State, number: int, event: Event) -> None:
        node = state.nodes[number]
        if node.frozen:
            node.inbox = (*node.inbox, event)
            return
        match event:
            case Standing():
                node.fault = bool(event.fault)
            case Witnessed():
                node.witnessed = event.enough
            case HandOver():
                node.leaving |= event.leave
            case Enable():
                node.left = node.leaving = False
        self._do(state, number, node.machine.handle(event, state.now))

    def _do(self, state: State, number: int, actions: list[Action]) -> None:
        node, config = state.nodes[number], self.configs[number]
        for action in actions:
            match action:
                case SendAdvertisement():
                    priority = 0 if action.resign else node.machine.effective_priority
                    self._fly(state, 1 - number, Heard(config.source, priority, config.interval_s))
                case HoldAddresses():
                    node.held_until = state.now + (config.lease_s or 1e6)
                case DropAddresses():
                    node.held_until = -1.0
                case RoleChanged():
                    if action.role is Role.ACTIVE and self._is_barred(number, node):
                        raise Violation(f"{number + 1} became active although it is barred: {_tell_course(state)}")
                case Offer():
                    if state.nodes[1 - number].alive:
                        self._fly(state, 1 - number, Offered((config.source,), action.window_s))
                    else:
                        self._fly(state, number, Refused("no peer"))
                case Refuse():
                    self._fly(state, 1 - number, Refused(action.reason))
                case HandOverEnded():
                    node.left, node.leaving = node.left or (node.leaving and action.ok), False
                    if node.stopping:
                        node.stopping = False
                        self._do(state, number, node.machine.handle(Stop(), state.now))
                        node.alive = False
                        return
                case Announce() | Noted():
                    pass

    def _fly(self, state: State, receiver: int, event: Event) -> None:
        if state.nodes[receiver].alive:
            state.flying = (*state.flying, (receiver, event, 0))

    def _is_barred(self, number: int, node: Node) -> bool:
        blind = self.configs[number].witnesses is not None and not node.witnessed
        return node.left or node.fault or blind

    # --------------------------------------------------------------------------------------- judging

    def _check(self, state: State) -> None:
        if state.together > self.together_bound:
            raise Violation(f"two active for {state.together} quarters: {_tell_course(state)}")
        if max(state.idle) > self.idle_bound:
            raise Violation(f"an address outlives its lease: {_tell_course(state)}")

    def _let_pass(self, state: State) -> None:
        """A quarter of an interval in which nothing goes wrong."""
        while True:
            if state.flying:
                receiver, event, _ = state.flying[0]
                state.flying = state.flying[1:]
                if state.nodes[receiver].alive:
                    self._tell(state, receiver, event)
                continue
            due = [number for number in (0, 1) if self._is_due(state, number)]
            if not due:
                break
            self._fire(state, due[0])
        self._advance(state)

    def _heal(self, state: State) -> None:
        self.healed += 1
        twin = copy_state(state, "heal")
        for number, node in enumerate(twin.nodes):
            node.stopping = False
            if not node.alive:
                self._restart(twin, number)
            if node.frozen:
                self._thaw(twin, number)
            deferring = node.machine.deferring
            if node.left or node.leaving or not deferring:
                self._tell(twin, number, Enable())
            self._tell(twin, number, Standing(self.configs[number].priority, ""))
            if self.configs[number].witnesses is not None:
                self._tell(twin, number, Witnessed(enough=True))
        for _ in range(self.settle_quarters):
            self._let_pass(twin)
            self._check(twin)
        active = [n for n, node in enumerate(twin.nodes) if node.machine.role is Role.ACTIVE]
        holders = [n for n, node in enumerate(twin.nodes) if node.held_until > twin.now]
        if len(active) != 1 or holders != active:
            raise Violation(f"after healing active {active}, holding {holders}: {_tell_course(state)}")
        first = twin.nodes[0].machine
        if self.configs[0].preempt and not first.deferring and active != [0]:
            raise Violation(f"after healing the second is active: {_tell_course(state)}")


def _tell_course(state: State) -> str:
    return " · ".join(state.course)


def explored(
    kinds: tuple[str, ...], losses: int, faults: int, quarters: int, *, cold: bool = False, **more: Any
) -> Small:
    """A model that has been explored; arguments as for `Small`, `more` are fields of the configurations.

    Errors: Violation.
    """
    model = Small(small_pair(**more), kinds, losses, faults, quarters, cold=cold)
    model.explore()
    return model


WITH_WITNESS: dict[str, Any] = {"witnesses": GATEWAY}
