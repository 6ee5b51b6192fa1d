"""One VRRP instance at work in the elector: the pure machine, and the sockets that carry out what it wants.

Failures of single actions are reported and never stop the rest: a director that cannot send must still be able to drop
its addresses.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from ipaddress import IPv4Address

from ha_lvs.daemon.channel import InstanceState
from ha_lvs.daemon.process import monotonic
from ha_lvs.election.events import (
    Action,
    Announce,
    DropAddresses,
    Heard,
    HoldAddresses,
    RoleChanged,
    SendAdvertisement,
    Start,
    Stop,
)
from ha_lvs.election.machine import Machine
from ha_lvs.errors import PlatformError, WireError
from ha_lvs.kernel.addresses import HeldAddresses
from ha_lvs.kernel.adverts import AdvertSocket
from ha_lvs.kernel.neighbours import Announcer
from ha_lvs.model import Role, VrrpInstance
from ha_lvs.wire import vrrp

Log = Callable[..., None]
"""Called as log(level, event, **fields)."""

SAME_COMPLAINT_EVERY_S = 10.0
DROP_AGAIN_S = 1.0
PACKETS_PER_TURN = 4096  # more than the receive buffer holds: a late loop must see the newest before its timers


class Instance:
    """An instance of this node, from its sockets to its role.

    Arguments:
        config: its configuration.
        log: where to report events.
        changed: called after each change of role.

    Errors: PlatformError when an interface is missing or a socket is not allowed.
    """

    def __init__(self, config: VrrpInstance, log: Log, changed: Callable[[Instance], None]) -> None:
        self.config = config
        self.machine = Machine(config)
        self.adverts = AdvertSocket(config)
        self.addresses = HeldAddresses(config)
        self.announcer = Announcer(config)
        self.transitions = 0
        self._log = log
        self._changed = changed
        self._reason = ""
        self._since_s = time.time()
        self._complained: dict[str, float] = {}
        self._drop_again_at: float | None = None
        self._expected = frozenset(ip.address for ip in config.virtual_ips)

    # ----------------------------------------------------------------------------------------- events

    def start(self) -> None:
        """Starts the machine, adopting what an earlier life left on the interfaces."""
        found = self.addresses.present()
        if found:
            self._log(
                "info",
                "virtual IPs found at start",
                instance=self.config.name,
                addresses=_words({each.address for each in found}),
            )
        leased = all(each.valid_lft_s is not None for each in found)
        self._run(self.machine.handle(Start(holding=bool(found), leased=leased), monotonic()))

    def stop(self) -> None:
        """Resigns and lets go of the addresses."""
        self._run(self.machine.handle(Stop(), monotonic()))

    def read(self) -> None:
        """Takes in every advertisement that has arrived."""
        for _ in range(PACKETS_PER_TURN):
            try:
                packet = self.adverts.receive()
            except OSError as problem:
                self._complain("error", "cannot receive advertisements", os.strerror(problem.errno or 0))
                return
            if packet is None:
                return
            self._packet(packet)

    def tick(self, now: float) -> None:
        """Lets the machine act when its deadline has come."""
        deadline = self.machine.deadline
        if deadline is not None and deadline <= now:
            self._run(self.machine.handle_timer(now))
        if self._drop_again_at is not None and now >= self._drop_again_at and not self.machine.holding:
            self._drop()

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
        )

    def _packet(self, packet: bytes) -> None:
        if vrrp.router_id_of(packet) != self.config.router_id:
            return  # another virtual router's, perhaps of another version: none of our business
        try:
            received = vrrp.decode(packet)
        except WireError as problem:
            self._complain("warning", "advertisement dropped", str(problem), key=problem.reason)
            return
        advertisement, source = received.advertisement, received.source
        if source == self.config.source:
            return
        if self.config.peers and source not in self.config.peers:
            self._complain("warning", "advertisement dropped", f"{source} is none of the unicast peers", key="stranger")
            return
        if frozenset(advertisement.addresses) != self._expected:
            theirs = _words(set(advertisement.addresses))
            self._complain("warning", "virtual IPs differ", f"{source} advertises {theirs}", key="addresses")
        interval_s = advertisement.interval_cs / 100
        if interval_s != self.config.interval_s:
            self._complain("warning", "advertisement intervals differ", f"{source} sends every {interval_s} s")
        self._run(self.machine.handle(Heard(source, advertisement.priority, interval_s), monotonic()))

    # ---------------------------------------------------------------------------------------- actions

    def _run(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case SendAdvertisement():
                    self._send(action.resign)
                case HoldAddresses():
                    for failure in self.addresses.hold():
                        self._complain("error", "virtual IP not held", str(failure))
                case DropAddresses():
                    self._drop()
                case Announce():
                    problem = self.announcer.announce()
                    if problem is not None:
                        self._complain("warning", "virtual IPs not announced", str(problem))
                case RoleChanged():
                    self._role_changed(action)

    def _drop(self) -> None:
        failures = self.addresses.drop()
        self._drop_again_at = monotonic() + DROP_AGAIN_S if failures else None
        for failure in failures:
            self._complain("error", "virtual IP not removed", str(failure))

    def _send(self, resign: bool) -> None:
        try:
            self.adverts.send(resign)
        except OSError as problem:
            self._complain("error", "advertisement not sent", os.strerror(problem.errno or 0))
            if problem.errno in (errno.ENODEV, errno.ENXIO):
                self._reopen()

    def _reopen(self) -> None:
        """The interface was deleted, and perhaps made anew under its name: sockets for the new one."""
        try:
            adverts, announcer = AdvertSocket(self.config), Announcer(self.config)
        except (PlatformError, OSError):
            return
        for old in (self.adverts, self.announcer):
            old.close()
        self.adverts, self.announcer = adverts, announcer

    def _role_changed(self, change: RoleChanged) -> None:
        self.transitions += 1
        self._reason = change.reason
        self._since_s = time.time()
        name, reason, priority = self.config.name, change.reason, self.config.priority
        level = "notice" if change.planned else "warning"
        match change.role:
            case Role.ACTIVE:
                self._log(level, "role is active", instance=name, reason=reason, priority=priority)
            case Role.BACKUP:
                self._log(level, "role is backup", instance=name, reason=reason, priority=priority)
            case Role.INITIALIZE:
                self._log("notice", "role is initialize", instance=name, reason=reason, priority=priority)
        self._changed(self)

    def _complain(self, level: str, event: str, detail: str, key: str = "") -> None:
        """Reports a recurring trouble at once, then at most every `SAME_COMPLAINT_EVERY_S`."""
        now = monotonic()
        key = event + key
        if now - self._complained.get(key, -SAME_COMPLAINT_EVERY_S) >= SAME_COMPLAINT_EVERY_S:
            self._complained[key] = now
            self._log(level, event, instance=self.config.name, detail=detail)


def _words(addresses: set[IPv4Address]) -> str:
    return ", ".join(str(address) for address in sorted(addresses))
