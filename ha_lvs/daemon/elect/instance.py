"""One VRRP instance at work in the elector: the pure machine, and what carries out what it wants.

Rules that hold here:
* Failures of single actions are reported and never stop the rest: a director that cannot send must still be able to
  drop its addresses.
* Addresses come before routes, which need them, and go after them.
* Nothing here decides. What the eligibility of this node depends on is worked out by `election.standing`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ha_lvs.daemon.channel import InstanceState
from ha_lvs.daemon.complaints import Complaints
from ha_lvs.daemon.elect.paths import Paths, words
from ha_lvs.daemon.process import monotonic
from ha_lvs.election.events import (
    Action,
    Announce,
    DropAddresses,
    Event,
    HandOverEnded,
    HoldAddresses,
    Noted,
    Offer,
    Refuse,
    Remark,
    RoleChanged,
    SendAdvertisement,
    Start,
    Stop,
    Witnessed,
)
from ha_lvs.election.machine import Machine
from ha_lvs.election.standing import standing, tracks_of
from ha_lvs.kernel.addresses import HeldAddresses
from ha_lvs.kernel.neighbours import Announcer
from ha_lvs.kernel.routes import HeldRoutes
from ha_lvs.model import IPAddress, Role, VrrpInstance
from ha_lvs.wire.auth import Signer, Verifier

Log = Callable[..., None]
"""Called as log(level, event, **fields)."""

DROP_AGAIN_S = 1.0
MANY = 100
PER_ADDRESS_S = 0.0003  # to add one, on a slow machine


class Surroundings(Protocol):
    """What an instance needs of the elector."""

    def log(self, level: str, event: str, **fields: Any) -> None:
        """Reports an event."""

    def changed(self, instance: Instance) -> None:
        """The role or what is told of it has changed."""

    def offer(self, instance: Instance, window_s: float) -> None:
        """Offers the role to the peer."""

    def refuse(self, instance: Instance, reason: str) -> None:
        """Tells the peer that its offer is not taken."""

    def handed_over(self, instance: Instance, ok: bool, detail: str) -> None:
        """A hand-over that was asked for has ended."""

    def brace(self, instance: Instance, pause_s: float) -> None:
        """The loop will not get its turn for so long."""


class Instance:
    """An instance of this node, from its sockets to its role.

    Arguments:
        config: its configuration.
        elector: what is around it.
        verifier: judges the authentication of what is heard, for all instances; None where none is configured.
        counter: gives the counter of the next signature.

    Errors: PlatformError when an interface is missing or a socket is not allowed.
    """

    def __init__(
        self, config: VrrpInstance, elector: Surroundings, verifier: Verifier | None, counter: Callable[[], int]
    ) -> None:
        self.config = config
        self.machine = Machine(config)
        signer = None if config.authentication is None else Signer(config.authentication)
        self.paths = Paths(config, signer, verifier, counter, self._complain)
        self.addresses = HeldAddresses(config)
        self.routes = HeldRoutes(config)
        self.announcer = Announcer(config)
        self.transitions = 0
        self.bfd: dict[str, str] = {}
        self._elector = elector
        self._log = elector.log
        self._tracks = frozenset(track.name for track in tracks_of(config))
        self._witnesses: dict[str, bool] = {}
        self._reason = ""
        self._since_s = time.time()
        self._complaints = Complaints()
        self._drop_again_at: float | None = None

    # ----------------------------------------------------------------------------------------- events

    def start(self) -> None:
        """Starts the machine, adopting what an earlier life left on the interfaces."""
        found = self.addresses.present()
        if found:
            self._log(
                "info",
                "virtual IPs found at start",
                instance=self.config.name,
                addresses=words([each.address for each in found]),
            )
        leased = all(each.valid_lft_s is not None for each in found)
        self.handle(Start(holding=bool(found), leased=leased))

    def stop(self) -> None:
        """Resigns and lets go of the addresses."""
        self.handle(Stop())

    def handle(self, event: Event) -> None:
        """Lets the machine act upon an event."""
        self._run(self.machine.handle(event, monotonic()))

    def read(self, *, quietly: bool = False) -> None:
        """Takes in every advertisement that has arrived; `quietly` as for `Paths.read`."""
        for heard in self.paths.read(quietly=quietly):
            self._run(self.machine.handle(heard, monotonic()))

    def interface_came(self, interface: str) -> None:
        """An interface is up (again), and may be another one under its name."""
        self.paths.renew(interface)

    def tick(self, now: float) -> None:
        """Lets the machine act when its deadline has come."""
        deadline = self.machine.deadline
        if deadline is not None and deadline <= now:
            self._run(self.machine.handle_timer(now))
        if self._drop_again_at is not None and now >= self._drop_again_at and not self.machine.holding:
            self._drop()

    def tracked(self, name: str, up: Mapping[str, bool]) -> None:
        """Something tracked is up or down now; `up` has all that is known."""
        if name in self._tracks:
            self.judge(up)

    def judge(self, up: Mapping[str, bool]) -> None:
        """Gives the machine the standing that follows from what is known."""
        self.handle(standing(self.config, up))

    def witnessed(self, witness: IPAddress, seen: bool) -> None:
        """A witness answers, or not any more."""
        wanted = self.config.witnesses
        if wanted is None or witness not in wanted.addresses:
            return
        self._witnesses[str(witness)] = seen
        enough = sum(self._witnesses.values()) >= wanted.required
        if enough or len(self._witnesses) == len(wanted.addresses):  # else some have not been probed yet
            self.handle(Witnessed(enough))

    # ------------------------------------------------------------------------------------- succession

    def bequeath(self, *, alive: bool) -> dict[str, Any]:
        """All that a successor has to know, in JSON's terms.

        Arguments:
            alive: whether it goes on at once, with our BFD sessions; after a crash those begin anew.
        """
        machine = self.machine.snapshot()
        if not alive:
            machine["eligibility"]["paths_up"] = []
        return {
            "machine": machine,
            "transitions": self.transitions,
            "reason": self._reason,
            "since_s": self._since_s,
            "witnesses": dict(self._witnesses),
            "dropped": dict(self.paths.dropped),
        }

    def inherit(self, estate: Mapping[str, Any], up: Mapping[str, bool]) -> None:
        """Goes on where the predecessor has stopped.

        Arguments:
            estate: what its `bequeath` gave.
            up: what is known of what is tracked.
        """
        self.machine = Machine.restore(self.config, estate["machine"], monotonic())
        self.transitions = int(estate["transitions"])
        self._reason = str(estate["reason"])
        self._since_s = float(estate["since_s"])
        self.paths.dropped.update(estate["dropped"])
        wanted = () if self.config.witnesses is None else self.config.witnesses.addresses
        known = estate["witnesses"]
        for witness in wanted:
            if str(witness) in known:
                self.witnessed(witness, bool(known[str(witness)]))
        self.judge(up)
        self.read(quietly=True)

    def state(self) -> InstanceState:
        """Where the instance stands, for the other processes."""
        machine = self.machine
        return InstanceState(
            instance=self.config.name,
            role=machine.role,
            priority=self.config.priority,
            since_s=round(self._since_s, 3),
            transitions=self.transitions,
            peer=str(machine.peer or ""),
            peer_priority=machine.peer_priority,
            reason=self._reason,
            holding=machine.holding,
            effective_priority=machine.effective_priority,
            barred=machine.barred,
            late=machine.late,
            deferring=machine.deferring,
            dropped=dict(self.paths.dropped),
            bfd=dict(self.bfd),
            witnesses=dict(self._witnesses),
        )

    # ---------------------------------------------------------------------------------------- actions

    def _run(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case SendAdvertisement():
                    self.paths.send(0 if action.resign else self.machine.effective_priority)
                case HoldAddresses():
                    self._brace()
                    self._hold()
                case DropAddresses():
                    self._drop()
                case Announce():
                    self._brace()
                    problem = self.announcer.announce()
                    if problem is not None:
                        self._complain("warning", "virtual IPs not announced", str(problem))
                case RoleChanged():
                    self._role_changed(action)
                case Offer():
                    self._elector.offer(self, action.window_s)
                case Refuse():
                    self._elector.refuse(self, action.reason)
                case HandOverEnded():
                    self._elector.handed_over(self, action.ok, action.detail)
                case Noted():
                    self._noted(action)

    def _brace(self) -> None:
        """Says beforehand that many addresses take their time, so that BFD's far end does not take it for silence."""
        if len(self.config.virtual_ips) > MANY:
            self._elector.brace(self, len(self.config.virtual_ips) * PER_ADDRESS_S)

    def _hold(self) -> None:
        for failure in self.addresses.hold():
            self._complain("error", "virtual IP not held", str(failure))
        for failed in self.routes.hold():
            self._complain("error", "virtual route not held", str(failed))

    def _drop(self) -> None:
        # Routes first. Those that need an address which goes would go with it, and be reported as missing.
        stuck = self.routes.drop()
        failures = self.addresses.drop()
        self._drop_again_at = monotonic() + DROP_AGAIN_S if failures or stuck else None
        for failed in stuck:
            self._complain("error", "virtual route not removed", str(failed))
        for failure in failures:
            self._complain("error", "virtual IP not removed", str(failure))

    def _role_changed(self, change: RoleChanged) -> None:
        self.transitions += 1
        self._reason = change.reason
        self._since_s = time.time()
        name, reason, priority = self.config.name, change.reason, self.machine.effective_priority
        level = "notice" if change.planned else "warning"
        match change.role:
            case Role.ACTIVE:
                self._log(level, "role is active", instance=name, reason=reason, priority=priority)
            case Role.BACKUP:
                self._log(level, "role is backup", instance=name, reason=reason, priority=priority)
            case Role.INITIALIZE:
                self._log("notice", "role is initialize", instance=name, reason=reason, priority=priority)
        self._elector.changed(self)

    def _noted(self, noted: Noted) -> None:
        name, detail = self.config.name, noted.detail
        match noted.remark:
            case Remark.LATE:
                self._complain("notice", "late timer gives no verdict", detail)
            case Remark.OVERSLEPT:
                self._log("warning", "did not run; listening before speaking", instance=name, detail=detail)
            case Remark.BARRED:
                self._log("warning", "not eligible", instance=name, detail=detail)
            case Remark.CLEARED:
                self._log("notice", "eligible again", instance=name, detail=detail)
            case Remark.TOOK_OFFER:
                self._log("notice", "taking the role over from a live active", instance=name, detail=detail)
            case Remark.DUPLICATE:
                self._complain("error", "virtual IP is answered by another machine", detail, key=detail)
        self._elector.changed(self)

    def _complain(self, level: str, event: str, detail: str, key: str = "") -> None:
        """Reports what recurs, but not each time."""
        if self._complaints.due(event + key, monotonic()):
            self._log(level, event, instance=self.config.name, detail=detail)
