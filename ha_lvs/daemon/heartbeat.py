"""One BFD session at work in the elector: the pure machine, its sockets, and what the elector is told.

The elector's loop waits for `fileno` and `deadline`, calls `read` on every heartbeat at each turn, then `tick`. It may
look at the socket of one and find packets of another: sessions of one interface share it, see `kernel.bfd`.

Imports stay light, and failures of single packets are reported and never stop the rest.
"""

from __future__ import annotations

import errno
import functools
import os
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from ha_lvs.daemon.complaints import Complaints
from ha_lvs.daemon.process import monotonic
from ha_lvs.daemon.realtime import REALTIME_PRIORITY
from ha_lvs.election.bfd import Bfd
from ha_lvs.election.bfd_actions import BfdAction, Ending, SendControl, WentDown, WentUp
from ha_lvs.election.bfd_silence import AskProcessors, Postponed
from ha_lvs.errors import PlatformError, WireError
from ha_lvs.kernel.bfd import BfdSocket, new_discriminator
from ha_lvs.kernel.processors import Processors
from ha_lvs.model import BfdSession, IPAddress
from ha_lvs.wire import bfd

Log = Callable[..., None]
"""Called as log(level, event, **fields)."""

SUCCESSION_S = 0.25
"""For how long the far end is to bear our silence while one elector follows another."""
PACKETS_PER_TURN = 4096  # more than the receive buffer holds: a late loop must see the newest before its timers
COPIES = 3  # of a packet that nobody repeats: one may be lost, or overtaken by the packet before it
REOPEN_EVERY_S = 1.0


class Heartbeat:
    """A session, from its sockets to its end.

    Arguments:
        session: its configuration.
        log: where to report events.
        went_down: called as went_down(peer, reason, planned) when the session, which was up, is not any more. It is
            planned when the far end has said so itself: on purpose, or since it does not hear us. It lives then, and
            the role is VRRP's business. Not planned means silence: the far end is dead or cut off.
        went_up: called as went_up(peer) when both ends hear each other.
        inherited: what the `bequeath` of a predecessor gave, to go on where it stopped; None begins anew. What was
            inherited but does not fit is left aside.

    Errors: PlatformError when the interface is missing, the port is taken, or a socket is not allowed.
    """

    def __init__(
        self,
        session: BfdSession,
        log: Log,
        went_down: Callable[[IPAddress, str, bool], None],
        went_up: Callable[[IPAddress], None],
        inherited: dict[str, Any] | None = None,
    ) -> None:
        self.session = session
        self._log = log
        self._went_down = went_down
        self._went_up = went_up
        self._inherited = inherited if inherited and inherited.get("peer") == str(session.peer) else None
        estate = self._inherited or {}
        discriminator = estate.get("machine", {}).get("discriminator") or new_discriminator()
        self.machine = Bfd(session, discriminator, random.random)
        self._socket = BfdSocket(session, discriminator, estate.get("source_port"))
        self._processors = _the_processors()
        self._ticket: int | None = None
        self._made_at = monotonic()
        self._begun = False
        self._reopen_at = 0.0
        self._complaints = Complaints()
        self._drops: Counter[str] = Counter()
        self._sent = self._received = 0
        self._reason = ""
        self._last_payload = b""
        self._last_packet: bfd.Control | None = None

    # ----------------------------------------------------------------------------------------- the loop

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to do, in monotonic seconds; None for never."""
        return self.machine.deadline if self._begun else self._made_at

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def read(self) -> None:
        """Takes in every packet that has arrived."""
        self._begin()
        for _ in range(PACKETS_PER_TURN):
            try:
                payload = self._socket.receive()
                if payload is None:
                    return
                packet = self._decoded(payload)
            except WireError as problem:
                self._drops[problem.reason] += 1
                self._complain("warning", "BFD packet dropped", str(problem), key=problem.reason)
                continue
            except OSError as problem:
                self._complain("error", "BFD socket failed", os.strerror(problem.errno or 0), key="receive")
                return
            self._received += 1
            self._run(self.machine.handle(packet, monotonic()))

    def tick(self, now: float) -> None:
        """Lets the machine act when its deadline has come. Call `read` first."""
        self._begin()
        if self._socket.inbox:  # another session's turn has found packets of ours
            self.read()
        if self._ticket is not None:
            answered_at = self._processors.answered_at(self._ticket)
            if answered_at is not None:
                self._ticket = None
                self.machine.processors_answered(answered_at)
        deadline = self.machine.deadline
        if deadline is not None and deadline <= now:
            self._run(self.machine.handle_timer(now))

    def _begin(self) -> None:
        """The first turn of the loop: only from now on the far end can count on the next packet."""
        if self._begun:
            return
        self._begun = True
        now = monotonic()
        if self._inherited is not None:
            try:
                actions = self.machine.restore(self._inherited["machine"], now)
            except (LookupError, TypeError, ValueError):
                actions = self.machine.start(now)
            self._inherited = None
        else:
            actions = self.machine.start(now)
        self._run(actions)

    def _decoded(self, payload: bytes) -> bfd.Control:
        """The packet. One after another is the same, nearly always."""
        if payload != self._last_payload or self._last_packet is None:
            self._last_packet = bfd.decode(payload)
            self._last_payload = payload
        return self._last_packet

    # -------------------------------------------------------------------------------------- on request

    def brace(self, pause_s: float) -> None:
        """Tells the far end that our next packet may be late: before work that keeps the loop from its turn.

        Arguments:
            pause_s: for how long; the next packet ends it.
        """
        self._run(self.machine.announce_pause(pause_s) * COPIES)

    def change(self, session: BfdSession) -> None:
        """Takes up another interval or multiplier without a break; the ends and the interface are the same."""
        self.session = session
        self._run(self.machine.change(session, monotonic()))

    def stop(self) -> None:
        """Ends the session on purpose: no failure for the far end. It stays so; `tick` goes on to say it."""
        self._begun, self._inherited = True, None
        self._run(self.machine.disable(monotonic()) * COPIES)

    def bequeath(self) -> dict[str, Any]:
        """Closes the sockets and returns all that a successor needs; the far end bears silence for `SUCCESSION_S`."""
        if not self._begun and self._inherited is not None:
            estate = self._inherited
        else:
            self.brace(SUCCESSION_S)
            estate = {
                "peer": str(self.session.peer),
                "source_port": self._socket.source_port,
                "machine": self.machine.snapshot(),
            }
        self.close()
        return estate

    def close(self) -> None:
        """Closes the sockets; nothing is sent. Can be called again."""
        self._socket.close()

    def state(self) -> dict[str, Any]:
        """Where the session stands, as JSON shapes, for status."""
        machine = self.machine
        return {
            "peer": str(self.session.peer),
            "interface": self.session.interface,
            "state": machine.state.text,
            "remote_state": machine.remote_state.text,
            "diagnostic": bfd.diagnostic_text(machine.diagnostic),
            "reason": self._reason,
            "transmit_interval_ms": round(machine.transmit_interval_s * 1000, 3),
            "detection_time_ms": round(machine.detection_time_s * 1000, 3),
            "ups": machine.ups,
            "downs": machine.downs,
            "late_looks": machine.silence.late_looks,
            "processor_stalls": machine.silence.stalls,
            "packets_sent": self._sent,
            "packets_received": self._received,
            "packets_dropped": dict(self._drops),
        }

    # ---------------------------------------------------------------------------------------- actions

    def _run(self, actions: list[BfdAction]) -> None:
        for action in actions:
            match action:
                case SendControl():
                    self._send(bfd.encode(action.packet))
                case AskProcessors():
                    self._ticket = self._processors.ask()
                case WentUp():
                    self._reason = ""
                    self._went_up(action.peer)
                    self._log("notice", "BFD session is up", peer=str(action.peer), interface=self.session.interface)
                case WentDown():
                    self._reason = action.reason
                    self._went_down(action.peer, action.reason, action.planned)
                    self._tell_down(action)
                case Postponed():
                    excuse, detail = action.excuse.value, action.detail
                    self._complain("info", "BFD gives no verdict", f"{excuse}, {detail}", key=excuse)

    def _send(self, payload: bytes) -> None:
        try:
            self._socket.send(payload)
            self._sent += 1
        except OSError as problem:
            self._complain("error", "BFD socket failed", os.strerror(problem.errno or 0), key="send")
            if problem.errno in (errno.ENODEV, errno.ENXIO):
                self._reopen()

    def _reopen(self) -> None:
        """The interface was deleted, and perhaps made anew under its name: sockets for the new one."""
        now = monotonic()
        if now < self._reopen_at:
            return
        self._reopen_at = now + REOPEN_EVERY_S
        try:
            fresh = BfdSocket(self.session, self.machine.discriminator)
        except PlatformError:
            return
        self._socket.close()
        self._socket = fresh

    def _tell_down(self, change: WentDown) -> None:
        level = "notice" if change.ending is Ending.ADMINISTRATIVE else "warning"
        self._log(
            level,
            "BFD session is down",
            peer=str(change.peer),
            interface=self.session.interface,
            reason=change.reason,
        )

    def _complain(self, level: str, event: str, detail: str, key: str = "") -> None:
        """Reports what recurs, but not each time."""
        if self._complaints.due(event + key, monotonic()):
            self._log(level, event, peer=str(self.session.peer), interface=self.session.interface, detail=detail)


@functools.cache
def _the_processors() -> Processors:
    """One for all sessions of this process; a little less urgent than the elector."""
    return Processors(REALTIME_PRIORITY - 1)
