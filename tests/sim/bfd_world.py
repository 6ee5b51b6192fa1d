"""Two ends of a BFD session in a simulated world: a clock, a lossy cable, processors that a hypervisor takes away.

Everything follows from a seed. Each end runs on a processor of a machine; both may share one machine, as in the lab. An
end does nothing while its processor is taken away: packets wait for it, timers are late, and so are the answers of that
processor to whoever asks for it.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from ha_lvs.election.bfd import Bfd
from ha_lvs.election.bfd_actions import BfdAction, SendControl, WentDown, WentUp
from ha_lvs.election.bfd_silence import AskProcessors, Postponed
from ha_lvs.model import BfdSession
from ha_lvs.wire import bfd

WAKE_S = 0.0001
"""From the end of a stall, or an arrival, until a process has had its turn."""


@dataclass
class Processor:
    """A processor: until when it is taken away."""

    gone_until: float = 0.0


@dataclass
class End:
    """One end: its machine, where it runs, what it has told.

    Arguments:
        processor: where it runs.
        fellows: all processors of its machine.
        drift: how much faster its clock runs: 0.001 is a second in 1000.
    """

    machine: Bfd
    processor: Processor
    fellows: list[Processor]
    drift: float = 0.0
    alive: bool = True
    deaf: bool = False
    mute: bool = False
    inbox: list[bytes] = field(default_factory=list)
    asked_at: float | None = None
    changes: list[tuple[float, WentUp | WentDown]] = field(default_factory=list)
    postponed: list[Postponed] = field(default_factory=list)

    def clock(self, now: float) -> float:
        """What this end takes the time for."""
        return now * (1 + self.drift)

    def world_time(self, clock: float) -> float:
        """The other way round."""
        return clock / (1 + self.drift)

    @property
    def downs(self) -> list[WentDown]:
        """How its session went down, in order."""
        return [change for _, change in self.changes if isinstance(change, WentDown)]

    @property
    def silent(self) -> list[float]:
        """When it took the far end for dead."""
        return [at for at, change in self.changes if isinstance(change, WentDown) and not change.planned]


class BfdWorld:
    """Two ends and what lies between them.

    Arguments:
        seed: of everything random.
        interval_s, multiplier: of both sessions.
        together: whether both ends run on one machine of two processors, instead of two machines of two each.
        loss, duplication: probability for each packet.
        delay_s: the most that a packet takes; a random part of it, so packets overtake each other.
    """

    def __init__(
        self,
        seed: int,
        *,
        interval_s: float = 0.003,
        multiplier: int = 3,
        together: bool = True,
        loss: float = 0.0,
        duplication: float = 0.0,
        delay_s: float = 0.0003,
    ) -> None:
        self.now = 50.0
        self.random = random.Random(seed)
        self.loss, self.duplication, self.delay_s = loss, duplication, delay_s
        self.cut = False
        self._order = itertools.count()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        machines = [[Processor(), Processor()] for _ in range(1 if together else 2)]
        addresses = [IPv4Address("10.9.0.11"), IPv4Address("10.9.0.12")]
        self.ends: list[End] = []
        for number in range(2):
            session = BfdSession("e0", addresses[number], addresses[1 - number], interval_s, multiplier)
            fellows = machines[0] if together else machines[number]
            machine = Bfd(session, 100 + number, self.random.random)
            self.ends.append(End(machine, fellows[number], fellows))
        self.processors = [processor for machine in machines for processor in machine]

    @property
    def left(self) -> End:
        """The first end."""
        return self.ends[0]

    @property
    def right(self) -> End:
        """The second end."""
        return self.ends[1]

    # ----------------------------------------------------------------------------------------- driving

    def start(self) -> None:
        """Starts both ends, a moment apart."""
        for end in self.ends:
            self.at(self.random.random() * 0.5, functools.partial(self._begin, end))

    def _begin(self, end: End) -> None:
        self._do(end, end.machine.start(end.clock(self.now)))

    def at(self, delay_s: float, what: Callable[[], None]) -> None:
        """Lets something happen later."""
        heapq.heappush(self._queue, (self.now + delay_s, next(self._order), what))

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        end_at = self.now + seconds
        while True:
            turns = [self._turn_at(end) for end in self.ends]
            upcoming = [end_at, *(at for at in turns if at is not None)]
            if self._queue:
                upcoming.append(self._queue[0][0])
            self.now = max(self.now, min(upcoming))
            if self.now >= end_at:
                return
            while self._queue and self._queue[0][0] <= self.now:
                heapq.heappop(self._queue)[2]()
            for end in self.ends:
                turn_at = self._turn_at(end)
                if turn_at is not None and turn_at <= self.now:
                    self._turn(end)

    def _turn_at(self, end: End) -> float | None:
        """When the loop of an end has its next turn, as far as is known."""
        if not end.alive:
            return None
        deadline = end.machine.deadline
        wanted = [end.world_time(deadline)] if deadline is not None else []
        wanted += [self.now] if end.inbox else []
        if not wanted:
            return None
        at = min(wanted)
        gone_until = end.processor.gone_until
        return gone_until + WAKE_S if at < gone_until else at

    def _turn(self, end: End) -> None:
        """As the elector does it: packets before timers."""
        now = end.clock(self.now)
        payloads, end.inbox = end.inbox, []
        for payload in payloads:
            self._do(end, end.machine.handle(bfd.decode(payload), now))
        if end.asked_at is not None:
            missing = [each for each in end.fellows if each.gone_until > self.now]
            if not missing:
                back_at = max(end.asked_at, *(each.gone_until for each in end.fellows))
                end.asked_at = None
                end.machine.processors_answered(end.clock(back_at))
        deadline = end.machine.deadline
        if deadline is not None and deadline <= now + 1e-12:
            self._do(end, end.machine.handle_timer(max(now, deadline)))

    # ----------------------------------------------------------------------------------------- effects

    def _do(self, end: End, actions: list[BfdAction]) -> None:
        for action in actions:
            match action:
                case SendControl():
                    self._send(end, bfd.encode(action.packet))
                case AskProcessors():
                    end.asked_at = self.now
                case WentUp() | WentDown():
                    end.changes.append((self.now, action))
                case Postponed():
                    end.postponed.append(action)

    def _send(self, sender: End, payload: bytes) -> None:
        receiver = self.right if sender is self.left else self.left
        for _ in range(2 if self.random.random() < self.duplication else 1):
            if self.cut or sender.mute or self.random.random() < self.loss:
                continue
            delay_s = (0.1 + 0.9 * self.random.random()) * self.delay_s
            self.at(delay_s, functools.partial(self._arrive, receiver, payload))

    def _arrive(self, receiver: End, payload: bytes) -> None:
        if receiver.alive and not receiver.deaf and not self.cut:
            receiver.inbox.append(payload)

    # ------------------------------------------------------------------------------------------ faults

    def stall(self, processor: Processor, seconds: float) -> None:
        """The hypervisor takes a processor away."""
        processor.gone_until = max(processor.gone_until, self.now + seconds)

    def stop(self, end: End) -> None:
        """A planned stop: the end says so and is gone."""
        self._do(end, end.machine.disable(end.clock(self.now)))
        end.alive = False

    def crash(self, end: End) -> None:
        """The end is gone without a word."""
        end.alive = False
        end.inbox = []

    def restart(self, end: End) -> None:
        """A new life that knows nothing of the earlier one."""
        end.machine = Bfd(end.machine.session, self.random.randrange(1, 2**32), self.random.random)
        end.alive, end.asked_at = True, None
        self._begin(end)

    def succeed(self, end: End, gap_s: float) -> None:
        """Another process goes on with the session after a gap, in which nothing is heard."""
        self._do(end, end.machine.announce_pause(0.25))
        estate = end.machine.snapshot()
        self.crash(end)
        self.at(gap_s, functools.partial(self._inherit, end, estate))

    def _inherit(self, end: End, estate: dict[str, Any]) -> None:
        end.machine = Bfd(end.machine.session, estate["discriminator"], self.random.random)
        end.alive, end.asked_at = True, None
        self._do(end, end.machine.restore(estate, end.clock(self.now)))

    def heal(self) -> None:
        """Every fault ends, and the cable is a short one."""
        self.loss = self.duplication = 0.0
        self.delay_s = min(self.delay_s, 0.0001)
        self.cut = False
        for end in self.ends:
            end.deaf = end.mute = False
            if not end.alive:
                self.restart(end)

    @property
    def up(self) -> bool:
        """Whether both ends say that the session is up."""
        return all(end.alive and end.machine.state is bfd.State.UP for end in self.ends)


def settled(seed: int, **arguments: Any) -> BfdWorld:
    """A world whose session is up and at its pace."""
    world = BfdWorld(seed, **arguments)
    world.start()
    world.run(2.5)
    assert world.up
    for end in world.ends:
        end.changes.clear()
        end.postponed.clear()
    return world
