"""The guardian's children together: started, heard, watched, replaced, and what follows when one of them ends.

Rules that hold here:
* The elector's death is acted upon at once: resignation and withdrawal first, then the log, then a new elector. Only
  where the leases guard the addresses meanwhile, the next one may go on in the role (`recovery`).
* An elector that ends because another one succeeds it has not died. While a successor is there that has nothing yet,
  the death of the old one is a death: it is withdrawn for before the successor learns that there is no estate.
* Whoever waits for something here is woken by any news, and looks for itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from ha_lvs.daemon import memory, systemd
from ha_lvs.daemon.channel import (
    Alive,
    Done,
    Follow,
    Followed,
    InstanceEstate,
    InstanceState,
    LogRecord,
    Quorums,
    Stop,
    Unreadable,
)
from ha_lvs.daemon.children import Child, Spec, describe_exit
from ha_lvs.daemon.orders import Orders
from ha_lvs.daemon.process import monotonic
from ha_lvs.daemon.recovery import Recovery
from ha_lvs.daemon.wiring import Wiring
from ha_lvs.daemon.withdrawal import Withdrawal
from ha_lvs.model import Role, ServicesChange
from ha_lvs.observe import logs

log = structlog.get_logger()


class End(enum.Enum):
    """What the end of the elector means."""

    BEQUEATHED = "its successor has its estate"
    LEFT_NOTHING = "it died; a successor is there and has nothing"
    DIED = "it died, and there is no successor"


def end_of_elector(code: int, *, successor_lives: bool) -> End:
    """What the end of the elector means.

    Arguments:
        code: its exit code.
        successor_lives: whether another one has been started to succeed it, and runs.
    """
    if not successor_lives:
        return End.DIED
    return End.BEQUEATHED if code == 0 else End.LEFT_NOTHING


@dataclass(frozen=True, slots=True)
class Heir:
    """An elector that is to succeed the running one, its orders, and what to do once it is the elector and dies."""

    child: Child
    orders: Orders
    withdrawal: Withdrawal


class Household:
    """The children and what is known of them.

    Arguments:
        given: the orders in force.
        withdrawal: what to do when the elector dies.
        runtime_dir: for the sockets and notes of all.
        wiring: the channels.

    Attributes:
        states: of the instances, as the elector told them last; empty while there is none.
        ready: whether all have answered once.
        heir: the elector that is to succeed the running one, while it gets ready.
        last_trouble: why an elector could not run, in its own words.
        standby: gives the names of the instances that stay out of the election.
        answered: called with each answer of the elector to a request.
        followed: what the director answered last when it was told to follow other services.
        spoke: called when a child has shown its first sign of life.
    """

    def __init__(self, given: Orders, withdrawal: Withdrawal, runtime_dir: Path, wiring: Wiring) -> None:
        self.orders = given
        self.withdrawal = withdrawal
        self.runtime_dir = runtime_dir
        self.wiring = wiring
        self.children = {name: Child(spec, self._died) for name, spec in self.specs(given).items()}
        self.states: dict[str, InstanceState] = {}
        self._last_states: dict[str, InstanceState] = {}  # as they were told in the elector's place
        self.stopping = asyncio.Event()
        self.ready = False
        self.heir: Heir | None = None
        self.followed: Followed | None = None
        self.last_trouble = ""
        self.standby: Callable[[], frozenset[str]] = frozenset
        self.answered: Callable[[Done], None] = lambda _: None
        self.spoke: Callable[[], None] = lambda: None
        self._recovery = Recovery()
        self._news = asyncio.Event()  # a child spoke or ended, or we are to stop
        self._tasks: set[asyncio.Task[Any]] = set()
        self._restarts: dict[str, asyncio.TimerHandle] = {}
        self._heard: set[str] = set()  # whose channels are listened to

    @property
    def elector(self) -> Child:
        """The elector: the one that has the role."""
        return self.children["elector"]

    def specs(self, orders: Orders) -> dict[str, Spec]:
        """How to start the processes that these orders need, by name."""
        return self.wiring.specs(orders, self.runtime_dir)

    def open(self) -> None:
        """Listens to all children from now on, and to those whose channels are new."""
        for name, channel in self.wiring.channels.items():
            if name not in self._heard:
                self._heard.add(name)
                asyncio.get_running_loop().add_reader(channel.fileno(), self.read, name)

    # ------------------------------------------------------------------------------------------- waiting

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Runs something beside everything else."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self._tasks.discard)

    def stop_now(self) -> None:
        """Has whoever waits learn that we stop."""
        self.stopping.set()
        self.wake()

    def wake(self) -> None:
        """There is news."""
        self._news.set()

    async def until(self, done: Callable[[], bool], limit_s: float) -> bool:
        """Waits for news until something holds; says whether it does."""
        until = monotonic() + limit_s
        while not done():
            left_s = until - monotonic()
            if left_s <= 0:
                return False
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), left_s)
        return True

    # ------------------------------------------------------------------------------------ lives and deaths

    def start(self, child: Child) -> None:
        """Starts a child that succeeds nobody; when the system does not start it, tries again later."""
        if child.spec.name == "elector":
            self.wiring.afresh()
            usual = self._with_standby(self.specs(self.orders)["elector"], self.orders)
            child.spec = replace(usual, estate=self._recovery.estate())
        try:
            child.start()
        except OSError as problem:
            log.error("process cannot be started; trying again", process=child.spec.name, detail=str(problem))
            self._restart_in(child.next_delay_s(), child)

    def start_heir(self, orders: Orders, withdrawal: Withdrawal) -> Heir:
        """Starts an elector that is to succeed the running one, which goes on meanwhile.

        Errors: OSError when the system does not start it.
        """
        spec = self._with_standby(self.wiring.successor(orders), orders)
        heir = Heir(Child(spec, self._died), orders, withdrawal)
        heir.child.start()
        self.heir = heir
        return heir

    def _with_standby(self, spec: Spec, orders: Orders) -> Spec:
        """Has an elector know from its first moment which instances stay out of the election."""
        return replace(spec, part=replace(orders.elector, standby=tuple(sorted(self.standby()))))

    async def end(self, children: Sequence[Child], limit_s: float) -> None:
        """Waits until these children have ended, and kills them each time the limit has passed."""
        while not await self.until(lambda: not any(child.running for child in children), limit_s):
            for child in children:
                if child.running:
                    log.error("process did not stop; killing it", process=child.spec.name)
                    child.kill()

    async def stop(self, names: Iterable[str], limit_s: float) -> None:
        """Tells children to end cleanly, and kills those that do not in time."""
        children = [self.children[name] for name in names if name in self.children]
        for child in children:
            self.wiring.channels[child.spec.name].send(Stop())
        await self.end(children, limit_s)
        for child in children:
            self.read(child.spec.name)

    def tell_director(self, change: ServicesChange, after: Orders) -> bool:
        """Has the running director follow other orders that differ in services only; says whether it was told."""
        director = self.children["director"]
        if not director.running or not director.spoke:
            return False
        fd = memory.write("services", change)
        try:
            told = self.wiring.channels["director"].send(Follow(), fd)
        finally:
            os.close(fd)
        if told:
            director.spec = self.specs(after)["director"]  # for the next one, should this one die
        return told

    async def replace(self, names: Sequence[str], after: Orders, limit_s: float) -> None:
        """Kills these children and starts those of other orders in their place, where those need them."""
        specs = self.specs(after)
        self.open()
        going = [self.children[name] for name in names if name in self.children]
        for child in going:
            if timer := self._restarts.pop(child.spec.name, None):
                timer.cancel()
            child.dismiss(specs.get(child.spec.name, child.spec))
        # There must never be two writers of IPVS. SIGKILL leaves no choice, so this takes no time worth a limit.
        await self.end(going, limit_s)
        self.wiring.drop_unread(names)
        for name in names:
            if name not in specs:
                self.children.pop(name, None)
                continue
            self.start(self.children.setdefault(name, Child(specs[name], self._died)))

    def _died(self, child: Child, code: int) -> None:
        name = child.spec.name
        stopping = self.stopping.is_set()
        self.wake()
        self.read(name)  # what it could still say, such as whether the elector was active
        if child.dismissed or (self.heir is not None and child is self.heir.child):
            return  # whoever has dismissed or started it waits for this
        if stopping:
            if code:
                log.warning("process ended uncleanly", process=name, exit=describe_exit(code))
            return
        if name == "elector" and not self._elector_ended(child, code):
            return
        delay_s = child.next_delay_s()
        log.error("process died; starting it again", process=name, exit=describe_exit(code), delay_s=delay_s)
        self._restart_in(delay_s, child)

    def _elector_ended(self, child: Child, code: int) -> bool:
        """Does what the end of the elector asks for; says whether another one has to be started."""
        end = end_of_elector(code, successor_lives=self.heir is not None and self.heir.child.running)
        if end is End.DIED and self._recovers(child, code):
            return False
        if end is not End.BEQUEATHED:
            self.withdraw()
        if end is End.DIED:
            return True
        if end is End.LEFT_NOTHING:
            log.error("process died; starting it again", process="elector", exit=describe_exit(code), delay_s=0.0)
        self._succeed(bequeathed=end is End.BEQUEATHED)
        return False

    def _recovers(self, child: Child, code: int) -> bool:
        """Lets another elector go on where this one has died, if it may; says whether it does."""
        now = monotonic()
        lived_s = now - child.started_at
        patience_s = self._recovery.patience_s(self.orders.elector.instances, self.states, lived_s, now)
        if patience_s is None:
            self._recovery.under_way = False
            return False
        self._recovery.under_way = True
        self.start(child)
        asyncio.get_running_loop().call_later(patience_s, self._lose_patience, child)
        log.error("elector died; another one goes on in its role", exit=describe_exit(code))
        return True

    def _lose_patience(self, child: Child) -> None:
        """Ends a recovery that takes too long; what follows is an elector's death."""
        if not self._recovery.under_way or child.spoke or child is not self.elector:
            return
        if child.running:
            child.kill()
        else:  # the system has not even started it
            self._recovery.under_way = False
            self.withdraw()

    def _succeed(self, *, bequeathed: bool) -> None:
        heir, self.heir = self.heir, None
        if heir is None:
            return
        heir.child.answered_at = self.elector.answered_at
        if bequeathed:
            heir.child.alive()  # it has said that it is ready
        self.children["elector"] = heir.child
        self.orders = heir.orders
        before, self.withdrawal = self.withdrawal, heir.withdrawal
        self.wiring.succeeded()
        before.close()

    def _restart_in(self, delay_s: float, child: Child) -> None:
        timer = asyncio.get_running_loop().call_later(delay_s, self._restart, child)
        self._restarts[child.spec.name] = timer

    def _restart(self, child: Child) -> None:
        self._restarts.pop(child.spec.name, None)
        if not self.stopping.is_set():
            self.start(child)

    def withdraw(self) -> None:
        """Acts in the place of an elector that is gone: resigns, takes the virtual IPs away, tells the others."""
        active = {name for name, state in self.states.items() if state.role is Role.ACTIVE}
        for problem in self.withdrawal.execute(active):
            log.error("virtual IP not withdrawn", detail=problem)
        if active:
            log.warning("virtual IPs withdrawn in the elector's place", instances=", ".join(sorted(active)))
        for name, state in self.states.items():
            reason = state.reason if state.role is Role.INITIALIZE else "the elector died"
            self._last_states[name] = replace(state, role=Role.INITIALIZE, holding=False, reason=reason, bfd={})
        self.states.clear()
        self.tell_last_states()

    def tell_last_states(self) -> None:
        """Tells whoever follows the roles what became of those of the last elector."""
        for state in self._last_states.values():
            for name in ("director", "attendant"):
                self.wiring.channels[name].send(state)

    # ------------------------------------------------------------------------------------------- hearing

    def read(self, name: str) -> None:
        """Takes in what a child has said."""
        for frame in self.wiring.channels[name].receive():
            match frame:
                case Alive():
                    self._alive(name)
                case LogRecord():
                    if frame.event == "elector cannot run":
                        self.last_trouble = str(frame.fields.get("detail", ""))
                    logs.from_record(frame, by=name)
                case InstanceState():
                    self.states[frame.instance] = frame
                    self.say_status()
                case InstanceEstate():
                    self._recovery.told(frame, monotonic())
                case Unreadable():
                    log.error("frame ignored", process=name, detail=frame.detail)
                case Done():
                    self.answered(frame)
                    self.wake()
                case Quorums():
                    self.wiring.channels["attendant"].send(frame)
                case Followed():
                    self.followed = frame
                    self.wake()

    def _alive(self, name: str) -> None:
        child = self.children.get(name)
        if child is None or not child.running or child.dismissed:  # the last words of the dead
            return
        first = not child.spoke
        child.alive()
        if name == "elector":
            self._recovery.under_way = False
        if first:
            self.wake()
            self.spoke()

    def say_status(self, *more: str) -> None:
        """Tells systemd the roles, and more."""
        roles = ", ".join(f"{name} {state.role.value}" for name, state in self.states.items())
        systemd.notify(*more, f"STATUS={roles or 'starting'}")
