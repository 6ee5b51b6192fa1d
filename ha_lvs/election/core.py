"""What a virtual router consists of, how it changes its role, and the times that follow from its standing.

The rules are elsewhere: `machine` has them in prose, `backup` and `active` what each role makes of what happens. The
order of effects is here: who becomes active speaks, holds and announces; who steps back drops and then resigns.
"""

from __future__ import annotations

from ha_lvs.election.eligibility import Eligibility, is_owner
from ha_lvs.election.events import (
    Action,
    Announce,
    DropAddresses,
    HandOverEnded,
    Heard,
    HoldAddresses,
    RoleChanged,
    SendAdvertisement,
)
from ha_lvs.election.handover import Bearing, Offering
from ha_lvs.election.speaking import Speech
from ha_lvs.election.timing import active_down_interval_s, listening_s, skew_time_s
from ha_lvs.election.watching import Watch
from ha_lvs.model import IPAddress, Role, VrrpInstance


class Core:
    """The state of a virtual router.

    Arguments:
        instance: its configuration; never changes in the life of a machine.

    Attributes:
        role: where it stands.
        holding: whether it wants the virtual IPs on their interfaces.
        late: how often a timer that came too late gave no verdict.
        eligibility: whether it may become active.
        watch: what it knows of the active; its timers run in a backup.
        speech: what it says as an active, and when.
        offer: a hand-over under way, or None.
        bearing: from whom it has just taken the role, or None.
        listen_until: until when it listens before it speaks, having slept; None when it need not.
        ran_at: when it had its last turn.
        suspect_until: until when an offer may be older than it looks, since we were late; None for never.
    """

    __slots__ = (
        "bearing",
        "eligibility",
        "holding",
        "instance",
        "late",
        "listen_until",
        "offer",
        "ran_at",
        "role",
        "speech",
        "suspect_until",
        "watch",
    )

    def __init__(self, instance: VrrpInstance) -> None:
        self.instance = instance
        self.role = Role.INITIALIZE
        self.holding = False
        self.late = 0
        self.eligibility = Eligibility(instance.priority)
        self.watch = Watch(instance.interval_s)
        self.speech = Speech()
        self.offer: Offering | None = None
        self.bearing: Bearing | None = None
        self.listen_until: float | None = None
        self.ran_at = 0.0
        self.suspect_until: float | None = None

    # ------------------------------------------------------------------------------------ where it stands

    @property
    def peer(self) -> IPAddress | None:
        """Who advertised last; None before the first."""
        return self.watch.peer

    @property
    def peer_priority(self) -> int:
        """With which priority: 0 for who has resigned, or nobody."""
        return self.watch.peer_priority

    @property
    def effective_priority(self) -> int:
        """Our own priority as it is advertised."""
        return self.eligibility.priority

    @property
    def barred(self) -> str:
        """Why this node may not become active, in words; empty when it may."""
        return self.eligibility.barred(self.instance)

    @property
    def deferring(self) -> bool:
        """Whether it has handed over and therefore does not preempt."""
        return self.eligibility.deferring

    @property
    def offering(self) -> bool:
        """Whether a hand-over is under way."""
        return self.offer is not None

    # ------------------------------------------------------------------------------------------ transitions

    def become_active(self, now: float, reason: str, planned: bool) -> list[Action]:
        """The usual way to become active: speaks, holds, announces."""
        self.enter_active(now)
        self.speech.begin(self.instance, self.cadence_s(), now)
        return [SendAdvertisement(), HoldAddresses(), Announce(), RoleChanged(Role.ACTIVE, reason, planned)]

    def enter_active(self, now: float) -> None:
        """What becomes of the state; the effects are the caller's."""
        self.disarm()
        self.role = Role.ACTIVE
        self.holding = True
        self.eligibility.deferring = False
        if self.eligibility.alone_since is not None:
            self.eligibility.alone_since = now

    def become_backup(self, now: float, reason: str, planned: bool) -> list[Action]:
        """Steps back, or starts: drops and resigns where it was active, and waits for another one."""
        yielding: list[Action] = []
        if self.role is Role.ACTIVE:
            yielding = [*self.drop(), SendAdvertisement(resign=True)]
        concluded = self.conclude(ok=True, detail=reason)
        self.disarm()
        self.role = Role.BACKUP
        if is_owner(self.instance) and self.watch.peer is None and not yielding:
            self.expect_by(now, now)  # the owner waits for nobody; it is barred
        else:
            self.await_active(now)
        return [*yielding, RoleChanged(Role.BACKUP, reason, planned), *concluded]

    def conclude(self, ok: bool, detail: str) -> list[Action]:
        """Ends an offer without letting go."""
        if self.offer is None:
            return []
        self.offer = None
        return [HandOverEnded(ok, detail)]

    def drop(self) -> list[Action]:
        """Lets go of the addresses."""
        if not self.holding:
            return []
        self.holding = False
        return [DropAddresses()]

    def disarm(self) -> None:
        """Stops the timers of whichever role."""
        self.watch.disarm()
        self.speech.fall_silent()
        self.bearing = self.listen_until = None

    # ------------------------------------------------------------------------------------------- judgements

    def remarks(self) -> list[Action]:
        """What observers must be told of the eligibility."""
        return self.eligibility.remarks(self.instance)

    def is_preemptible(self) -> bool:
        """Whether the active heard last is one that we take the role from while it lives."""
        return self.eligibility.preempts(self.instance) and self.watch.peer_priority < self.effective_priority

    def is_superior(self, event: Heard) -> bool:
        """Whether who is heard, and not we, should be active; addresses break ties."""
        own = event.own_source if event.own_source is not None else self.instance.source
        theirs = (event.priority, event.source.version, int(event.source))
        return theirs > (self.effective_priority, own.version, int(own))

    def verdict_at(self) -> float | None:
        """When we become active, if nothing more happens; None for not at all."""
        eligibility = self.eligibility
        if eligibility.barred(self.instance):
            return None
        may_preempt = eligibility.in_sync or not self.instance.preempt_in_sync
        at = self.watch.verdict_at(self.instance.preempt_delay_s, may_preempt)
        return None if at is None else max(at, eligibility.starting_until(self.instance))

    # ------------------------------------------------------------------------------------------------ times

    def down_interval_s(self, interval_s: float | None = None) -> float:
        """Active_Down_Interval, for an active with that interval or for the one heard last."""
        own = self.instance
        active_s = self.watch.interval_s if interval_s is None else interval_s
        return active_down_interval_s(self.effective_priority, active_s, own.down_after, own.version)

    def skew_s(self) -> float:
        """Skew_Time."""
        return skew_time_s(self.effective_priority, self.watch.interval_s, self.instance.version)

    def listening_s(self) -> float:
        """For how long to listen for an active; what one that slept listens is by its own interval only."""
        own = self.instance
        return listening_s(self.effective_priority, max(own.interval_s, self.watch.interval_s), own.version)

    def yields_at(self) -> float | None:
        """When an active without witness and peer steps back; None for not at all."""
        return self.eligibility.yields_at(self.instance, self.watch.heard_at, self.down_interval_s())

    def cadence_s(self) -> float:
        """How often to advertise now."""
        usual_s = self.instance.interval_s
        return usual_s if self.bearing is None else self.bearing.interval_s(usual_s)

    def advertise(self, now: float) -> list[Action]:
        """Speaks now, out of turn."""
        return self.speech.advertise(self.instance, self.cadence_s(), now)

    def await_active(self, now: float) -> None:
        """Gives whoever is active an Active_Down_Interval."""
        self.expect_by(now + self.down_interval_s(), now)

    def expect_by(self, at: float, now: float) -> None:
        """Gives whoever is active until `at`."""
        self.watch.expect_by(at, self.down_interval_s(), now)
