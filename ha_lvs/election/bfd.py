"""One BFD session with the other director: RFC 5880 in asynchronous mode, as a pure machine beside VRRP's.

The contract is that of `election.machine`: `handle` and `handle_timer` return what has to be done, `deadline` says when
`handle_timer` wants to be called next, time is monotonic seconds and comes in. The loop around it takes in every packet
that has arrived before it calls `handle_timer`. Section numbers are those of RFC 5880. Which silence counts, is judged
in `election.bfd_silence`.

How it differs from the letter of the RFC, each time towards the safe side: the detection time becomes shorter on the
first packet after a poll, not on the poll itself, since its sender may keep the old pace until it is answered; the echo
function, authentication and demand mode of our own are absent, which the RFC allows. A far end in demand mode gets what
section 6.8.7 says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ha_lvs.election.bfd_actions import BfdAction, Ending, SendControl, WentDown, WentUp
from ha_lvs.election.bfd_silence import Expired, Silence
from ha_lvs.model import BfdSession
from ha_lvs.wire.bfd import Control, Diagnostic, State, diagnostic_text

SLOW_US = 1_000_000
"""The least Desired Min TX Interval of a session that is not up (section 6.8.3)."""
MAX_MULTIPLIER = 255

_MICROSECOND = 1e-6
_BOTH_HEAR = ((State.DOWN, State.INIT), (State.INIT, State.INIT), (State.INIT, State.UP))
"""Our state and the far end's with which it follows that each end hears the other."""


class Bfd:
    """This end of a session.

    Arguments:
        session: its configuration.
        discriminator: ours; not 0, and no other session's on this machine.
        fraction: gives a random number from 0 to 1, for the jitter of what is sent (section 6.8.7).

    Attributes to read:
        state: where this end stands.
        diagnostic: why it last changed to a state that is not up, see `wire.bfd.Diagnostic`.
        remote_discriminator, remote_state, remote_multiplier: as the far end told them last; 0 and Down if it did not.
        ups, downs: how often the session came up and went down.
        silence: the judge of the far end's silence, for its counters.
    """

    __slots__ = (
        "_desired_us", "_far_interval_us", "_fraction", "_pace_us", "_poll_again", "_polling", "_remote_demand",
        "_remote_min_rx_us", "_required_us", "_rx_us", "_send_at", "_sent_at", "_tx_us", "diagnostic",
        "discriminator", "downs", "remote_discriminator", "remote_multiplier", "remote_state", "session", "silence",
        "state", "ups",
    )  # fmt: skip

    def __init__(self, session: BfdSession, discriminator: int, fraction: Callable[[], float]) -> None:
        self.session = session
        self.discriminator = discriminator
        self._fraction = fraction
        self.state = State.DOWN
        self.diagnostic = int(Diagnostic.NONE)
        self.ups = self.downs = 0
        self.silence = Silence()
        # What is advertised, and what is in force: they differ until a poll has been answered (section 6.8.3).
        self._desired_us = self._tx_us = max(SLOW_US, _microseconds(session))
        self._required_us = self._rx_us = _microseconds(session)
        self._polling = self._poll_again = False
        self._sent_at = 0.0
        self._send_at: float | None = None
        self._pace_us = 0
        self._forget_far_end()

    # ------------------------------------------------------------------------------------- the contract

    @property
    def deadline(self) -> float | None:
        """When `handle_timer` has something to do, in monotonic seconds; None for never."""
        look_at, send_at = self.silence.look_at, self._send_at
        if look_at is None or send_at is None:
            return look_at if send_at is None else send_at
        return min(look_at, send_at)

    def start(self, now: float) -> list[BfdAction]:
        """Begins to look for the far end.

        Arguments:
            now: monotonic seconds.
        """
        return [self._send(now)]

    def handle(self, packet: Control, now: float) -> list[BfdAction]:
        """What follows from a packet of this session (section 6.8.6).

        Arguments:
            packet: its discriminator is ours, or 0 and it comes from the far end's address.
            now: monotonic seconds.
        """
        if packet.your_discriminator not in (0, self.discriminator):
            return []
        self._note_far_end(packet)
        if packet.final and self._polling:
            self._poll_answered()
        if self.state is State.ADMIN_DOWN:
            return []
        before = self.state
        told = self._transition(packet)
        if packet.poll:
            told.append(SendControl(self._packet(final=True)))
            if self.state is not before:
                self._arm_send(now, self._sent_at)
        elif self.state is not before:
            told.append(self._send(now))
        self._listen(now)
        self._keep_pace(now)
        return told

    def handle_timer(self, now: float) -> list[BfdAction]:
        """What follows from the time. Nothing when `deadline` is still ahead.

        Arguments:
            now: monotonic seconds.
        """
        due_at = self.deadline
        if due_at is None or now < due_at:
            return []
        actions: list[BfdAction] = []
        for finding in self.silence.look(now, now - due_at):
            if isinstance(finding, Expired):
                actions += self._silent()
            else:
                actions.append(finding)
        if self._send_at is not None and now >= self._send_at:
            actions.append(self._send(now))
        return actions

    def processors_answered(self, at: float) -> None:
        """Every processor of this machine has run since `AskProcessors`.

        Arguments:
            at: when the last of them did, in monotonic seconds.
        """
        self.silence.processors_answered(at)

    def disable(self, now: float) -> list[BfdAction]:
        """Ends the session on purpose: the far end is told that nothing is wrong (section 6.8.16).

        Arguments:
            now: monotonic seconds.
        """
        self.state = State.ADMIN_DOWN
        self._leave_up(Diagnostic.ADMINISTRATIVELY_DOWN)
        self.silence.end()
        return [self._send(now)]

    def change(self, session: BfdSession, now: float) -> list[BfdAction]:
        """Takes up another interval or multiplier while the session goes on (sections 6.8.3 and 6.8.12).

        Arguments:
            session: the same ends, other numbers.
            now: monotonic seconds.
        """
        if session == self.session:
            return []
        self.session = session
        wanted_us = _microseconds(session)
        self._advertise(wanted_us if self.state is State.UP else max(SLOW_US, wanted_us), wanted_us)
        return [self._send(now)]

    # --------------------------------------------------------------------------------- one after another

    def announce_pause(self, pause_s: float) -> list[BfdAction]:
        """Makes the far end bear a longer silence of ours, once: the next packet ends it.

        A Detect Mult counts from the packet that carries it and needs no poll (section 6.8.12).

        Arguments:
            pause_s: for how long; as far as the greatest Detect Mult goes.
        """
        if self.state is not State.UP or self.transmit_interval_s == 0.0:
            return []
        enough = min(MAX_MULTIPLIER, math.ceil(pause_s / self.transmit_interval_s))
        return [SendControl(self._packet(multiplier=max(self.session.multiplier, enough)))]

    def snapshot(self) -> dict[str, Any]:
        """All that a successor needs to go on with the session, as JSON shapes."""
        return {
            "discriminator": self.discriminator,
            "state": self.state.value,
            "diagnostic": self.diagnostic,
            "desired_us": self._desired_us,
            "required_us": self._required_us,
            "tx_us": self._tx_us,
            "rx_us": self._rx_us,
            "polling": self._polling,
            "remote": [
                self.remote_discriminator, self.remote_state.value, self.remote_multiplier,
                self._remote_min_rx_us, self._far_interval_us, self._remote_demand,
            ],
            "counts": [self.ups, self.downs, self.silence.late_looks, self.silence.stalls],
        }  # fmt: skip

    def restore(self, snapshot: dict[str, Any], now: float) -> list[BfdAction]:
        """Goes on where a predecessor stopped, instead of `start`; changed numbers of the session are negotiated.

        What the far end sent meanwhile may be lost: it has a whole detection time from now.

        Arguments:
            snapshot: what the predecessor's `snapshot` gave; with its discriminator this end was made.
            now: monotonic seconds.

        Errors: LookupError, TypeError or ValueError when that is no snapshot; the session is then as if newly made.
        """
        state = State(snapshot["state"])
        remote = snapshot["remote"]
        counts = [int(count) for count in snapshot["counts"]]
        remote_state = State(remote[1])
        numbers = [int(number) for number in (remote[0], remote[2], remote[3], remote[4])]
        intervals = [int(snapshot[name]) for name in ("desired_us", "required_us", "tx_us", "rx_us")]
        diagnostic, polling, demand = int(snapshot["diagnostic"]), bool(snapshot["polling"]), bool(remote[5])
        self.ups, self.downs, self.silence.late_looks, self.silence.stalls = counts
        if state is State.ADMIN_DOWN:
            return self.start(now)  # our own stop is over
        self.state, self.diagnostic, self._polling = state, diagnostic, polling
        self.remote_discriminator, self.remote_multiplier, self._remote_min_rx_us, self._far_interval_us = numbers
        self.remote_state, self._remote_demand = remote_state, demand
        self._desired_us, self._required_us, self._tx_us, self._rx_us = intervals
        wanted_us = _microseconds(self.session)
        self._advertise(wanted_us if state is State.UP else max(SLOW_US, wanted_us), wanted_us)
        if self.remote_discriminator:
            self._listen(now)
        return [self._send(now)]

    # ------------------------------------------------------------------------------------------ numbers

    @property
    def detection_time_s(self) -> float:
        """After how long a silence the far end counts as down, in seconds (section 6.8.4); 0 before it was heard."""
        return self.remote_multiplier * max(self._rx_us, self._far_interval_us) * _MICROSECOND

    @property
    def transmit_interval_s(self) -> float:
        """The negotiated interval of what we send, without jitter, in seconds (section 6.8.7); 0 when it wants none."""
        if self._remote_min_rx_us == 0:
            return 0.0
        return max(self._tx_us, self._remote_min_rx_us) * _MICROSECOND

    # -------------------------------------------------------------------------------- what was received

    def _note_far_end(self, packet: Control) -> None:
        self.remote_discriminator = packet.my_discriminator
        self.remote_state = packet.state
        self.remote_multiplier = packet.multiplier
        self._remote_min_rx_us = packet.required_min_rx_us
        self._remote_demand = packet.demand
        if packet.desired_min_tx_us >= self._far_interval_us or not packet.poll:
            self._far_interval_us = packet.desired_min_tx_us

    def _forget_far_end(self) -> None:
        """What section 6.8.1 says of a far end that is not known."""
        self.remote_discriminator = 0
        self.remote_state = State.DOWN
        self.remote_multiplier = 0
        self._remote_min_rx_us = 1
        self._remote_demand = False
        self._far_interval_us = 0

    def _transition(self, packet: Control) -> list[BfdAction]:
        """The state machine of section 6.2, in the order of section 6.8.6."""
        if packet.state is State.ADMIN_DOWN:
            if self.state is State.DOWN:
                return []
            return self._signaled_down(Ending.ADMINISTRATIVE, "its session was ended on purpose")
        if self.state is State.DOWN and packet.state is State.DOWN:
            self.state = State.INIT
        elif (self.state, packet.state) in _BOTH_HEAR:
            return self._become_up()
        elif self.state is State.UP and packet.state is State.DOWN:
            words = diagnostic_text(packet.diagnostic) if packet.diagnostic else "it was started anew"
            return self._signaled_down(Ending.SIGNALED, f"it says that its end is down: {words}")
        return []

    def _become_up(self) -> list[BfdAction]:
        self.state = State.UP
        self.diagnostic = int(Diagnostic.NONE)
        self.ups += 1
        wanted_us = _microseconds(self.session)
        self._advertise(wanted_us, wanted_us)
        return [WentUp(self.session.peer)]

    def _signaled_down(self, ending: Ending, reason: str) -> list[BfdAction]:
        was_up = self.state is State.UP
        self.state = State.DOWN
        self._leave_up(Diagnostic.NEIGHBOR_SIGNALED_DOWN)
        if not was_up:
            return []
        self.downs += 1
        return [WentDown(self.session.peer, ending, self.diagnostic, reason)]

    def _leave_up(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = int(diagnostic)
        self._polling = self._poll_again = False
        wanted_us = _microseconds(self.session)
        self._advertise(max(SLOW_US, wanted_us), wanted_us)

    # ------------------------------------------------------------------------------------ our parameters

    def _advertise(self, desired_us: int, required_us: int) -> None:
        """Other parameters of ours; what they make worse for the far end waits for its answer (section 6.8.3)."""
        if (desired_us, required_us) == (self._desired_us, self._required_us):
            return
        up = self.state is State.UP
        if not up or desired_us < self._tx_us:
            self._tx_us = desired_us
        if not up or required_us > self._rx_us:
            self._rx_us = required_us
        self._desired_us, self._required_us = desired_us, required_us
        if up:
            self._poll_again = self._polling
            self._polling = True

    def _poll_answered(self) -> None:
        if self._poll_again:  # this answers what we said before: ask again
            self._poll_again = False
            return
        self._polling = False
        self._tx_us, self._rx_us = self._desired_us, self._required_us

    # ---------------------------------------------------------------------------------- what is to be sent

    def _packet(self, *, final: bool = False, multiplier: int | None = None) -> Control:
        return Control(
            state=self.state,
            diagnostic=self.diagnostic,
            multiplier=multiplier or self.session.multiplier,
            my_discriminator=self.discriminator,
            your_discriminator=self.remote_discriminator,
            desired_min_tx_us=self._desired_us,
            required_min_rx_us=self._required_us,
            poll=self._polling and not final,
            final=final,
        )

    def _send(self, now: float) -> SendControl:
        self._arm_send(now, now)
        return SendControl(self._packet())

    def _arm_send(self, now: float, sent_at: float) -> None:
        """Picks the time of the next periodic packet, if there is to be one (section 6.8.7)."""
        self._sent_at = sent_at
        self._pace_us = self._wanted_pace_us()
        if self._pace_us == 0:
            self._send_at = None
            return
        jitter = 0.10 + 0.15 * self._fraction() if self.session.multiplier == 1 else 0.25 * self._fraction()
        self._send_at = max(now, sent_at + self._pace_us * _MICROSECOND * (1.0 - jitter))

    def _keep_pace(self, now: float) -> None:
        """Times the next packet anew when something about its pace has changed."""
        if self._pace_us != self._wanted_pace_us():
            self._arm_send(now, self._sent_at)

    def _wanted_pace_us(self) -> int:
        """The interval of periodic packets; 0 when the far end wants none, as by demand mode (section 6.8.7)."""
        if self._remote_demand and not self._polling and self.state is State.UP and self.remote_state is State.UP:
            return 0
        return max(self._tx_us, self._remote_min_rx_us) if self._remote_min_rx_us else 0

    # ------------------------------------------------------------------------------------------- silence

    def _listen(self, now: float) -> None:
        """A silence begins. An end that is down loses nothing by it: it forgets the other one in time."""
        watchful = self.state in (State.INIT, State.UP)
        self.silence.begin(now, self.detection_time_s, self.remote_multiplier, lenient=watchful)

    def _silent(self) -> list[BfdAction]:
        """The detection time has expired (sections 6.8.1 and 6.8.4)."""
        reason = f"it was not heard for {self.detection_time_s * 1000:.1f} ms"
        self.silence.end()
        self._forget_far_end()
        before = self.state
        if before is State.DOWN:
            return []
        self.state = State.DOWN
        self._leave_up(Diagnostic.DETECTION_TIME_EXPIRED)
        self._send_at = self._sent_at  # the news go out at once
        if before is not State.UP:
            return []
        self.downs += 1
        return [WentDown(self.session.peer, Ending.SILENT, self.diagnostic, reason)]


def _microseconds(session: BfdSession) -> int:
    return round(session.interval_s / _MICROSECOND)
