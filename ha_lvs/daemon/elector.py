"""The elector process: VRRP timers and sockets, virtual IPs, announcements, BFD, and nothing else.

It shares its life with nothing that can be slow: no YAML, no log files, no asyncio, no netlink library. What it has to
say goes to the others in frames that are dropped rather than waited for.

The loop waits with `select`, whose time-out has microseconds (epoll's is rounded up to milliseconds in Python), and
looks at the sockets before the timers, so that a late loop never declares dead whoever has spoken meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import signal
import sys
from typing import Any

from ha_lvs.daemon import channel, memory
from ha_lvs.daemon.channel import Alive, Channel, Hello, InstanceState, LogRecord
from ha_lvs.daemon.elect import succession
from ha_lvs.daemon.elect.instance import Instance
from ha_lvs.daemon.elect.lastwords import LastWords
from ha_lvs.daemon.elect.requests import Requests
from ha_lvs.daemon.elect.signing import increasing, verifier_for
from ha_lvs.daemon.elect.waiting import Waiting
from ha_lvs.daemon.heartbeat import Heartbeat
from ha_lvs.daemon.process import monotonic, raise_file_limit, set_process_name, signals_as_readable
from ha_lvs.daemon.realtime import go_realtime
from ha_lvs.election import events
from ha_lvs.election.standing import INTERFACE, tracks_of
from ha_lvs.errors import ChannelError, HaLvsError
from ha_lvs.kernel.links import LinkMonitor
from ha_lvs.model import BfdSession, ElectorPart, IPAddress, Role

REPORT_EVERY_S = 1.0
COLLECT_EVERY_S = 60.0
UNFIT = (LookupError, TypeError, ValueError)
"""What reading an estate raises that does not fit."""
LAST_OFFER_S = 1.5
"""How long a planned stop waits for the peer to take what is active here, before it resigns."""


class Elector:
    """All instances of this node, and the channels to the other processes.

    Arguments:
        part: the elector's part of the config.
        guardian, director, attendant: channels to them.

    Errors: PlatformError when an interface is missing or a socket is not allowed.
    """

    def __init__(self, part: ElectorPart, guardian: Channel, director: Channel, attendant: Channel) -> None:
        self._part = part
        self._guardian = guardian
        self._director = director
        self._attendant = attendant
        self._reported: dict[str, InstanceState] = {}
        self._stop_by: float | None = None
        self._stopping = False
        self._last_words = LastWords(guardian, self._shared_estate)
        self._waiting = Waiting()
        self._verifier = verifier_for(part)
        counter = increasing()
        self.instances = [Instance(config, self, self._verifier, counter) for config in part.instances]
        self._by_name = {instance.config.name: instance for instance in self.instances}
        self._requests = Requests(self.instances, guardian)
        tracked = {track.name for instance in self.instances for track in tracks_of(instance.config)}
        self._links = LinkMonitor(name.removeprefix(INTERFACE) for name in tracked if name.startswith(INTERFACE))
        self._up: dict[str, bool] = {INTERFACE + name: up for name, up in self._links.states().items()}
        self._heartbeats: dict[BfdSession, Heartbeat] = {}

    # ------------------------------------------------------------------------------- for the instances

    def log(self, level: str, event: str, **fields: Any) -> None:
        """Hands an event to the guardian, which writes it down."""
        self._guardian.send(LogRecord(level, event, fields))

    def changed(self, instance: Instance) -> None:
        """Tells the others where an instance stands now."""
        self._report(instance, instance.state())

    def _report(self, instance: Instance, state: InstanceState) -> None:
        self._last_words.changed(instance)
        told = [each.send(state) for each in (self._guardian, self._director, self._attendant)]
        if all(told):
            self._reported[state.instance] = state

    def offer(self, instance: Instance, window_s: float) -> None:
        """Lets the director offer the role to the peer's."""
        if not self._director.send(channel.OfferRole(instance.config.name, instance.paths.sources, window_s)):
            instance.handle(events.Refused("the director process does not answer"))

    def refuse(self, instance: Instance, reason: str) -> None:
        """Lets the director tell the peer's that its offer is not taken."""
        self._director.send(channel.RefuseRole(instance.config.name, reason))

    def handed_over(self, instance: Instance, ok: bool, detail: str) -> None:
        """Notes the end of a hand-over for whoever asked for it."""
        self._requests.ended(instance, ok, detail)

    def brace(self, instance: Instance, pause_s: float) -> None:
        """Tells the far ends of BFD sessions that the next packet may be late."""
        for session in instance.config.bfd:
            if session in self._heartbeats:
                self._heartbeats[session].brace(pause_s)

    # ----------------------------------------------------------------------------------------- running

    def prepare(self) -> None:
        """Makes this process hard to delay; what cannot be had is logged."""
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # they reach the whole group; the guardian decides
        for missing in go_realtime():
            self.log("warning", "less than real time", missing=missing)

    def run(self, predecessor: Channel | None, successor: Channel | None, estate: channel.Estate | None = None) -> None:
        """Takes part in the election until told to stop, or until the guardian is gone; then resigns.

        Arguments:
            predecessor: the elector that is to be succeeded, or None where there is none.
            successor: where another one may ask to succeed this one; it then ends without letting go of anything.
            estate: what a predecessor that has died was last known to know, or None.
        """
        terminated = signals_as_readable([signal.SIGTERM])
        self.prepare()
        if predecessor is not None:
            estate = succession.take_over(predecessor)
        self._begin(estate)
        report_at = collect_at = monotonic()
        while not self._stopping:
            readable = self._wait(terminated, successor, report_at)
            # All that has arrived comes before any timer: a late loop must not judge by what it has not read.
            self._read_packets()
            self._read_channels(readable)
            now = monotonic()
            if terminated in readable:
                os.read(terminated, 64)
                self._stop_soon(now)
            self._tick(now)
            if self._succeeded(successor, readable):
                return
            if self._stop_by is not None and (now >= self._stop_by or not self._any_active()):
                self._stopping = True
            if now >= report_at:
                self._report_all()
                report_at = now + REPORT_EVERY_S
            self._last_words.say_one()
            if now >= collect_at:
                gc.collect()
                collect_at = now + COLLECT_EVERY_S
        for heartbeat in self._heartbeats.values():
            heartbeat.stop()
        for instance in self.instances:
            instance.stop()

    def _begin(self, estate: channel.Estate | None) -> None:
        shared = {} if estate is None else estate.shared
        self._up = {**shared.get("up", {}), **self._up}
        if self._verifier is not None and "seen" in shared:
            with contextlib.suppress(*UNFIT):
                self._verifier.restore(shared["seen"])
        sessions = {session for instance in self.instances for session in instance.config.bfd}
        inherited = shared.get("heartbeats", {})
        for session in sessions:
            own = inherited.get(_name(session))
            self._heartbeats[session] = Heartbeat(session, self.log, self._peer_down, self._peer_up, inherited=own)
        for instance in self.instances:
            left = None if estate is None else estate.instances.get(instance.config.name)
            if instance.config.name in self._part.standby:
                instance.handle(events.HandOver(force=False, leave=True))
            if left is not None:
                try:
                    instance.inherit(left, self._up)
                    continue
                except UNFIT as problem:  # of another release: begin as after a crash, with what is on the interfaces
                    detail = f"{instance.config.name}: {problem}"
                    self.log("warning", "what the last elector knew does not fit", detail=detail)
            instance.judge(self._up)
            instance.start()
        self._director.send(Hello())
        self._attendant.send(Hello())
        self._tell_all(self._guardian, self._director, self._attendant)

    def _shared_estate(self) -> dict[str, Any]:
        """What a successor has to know and is no instance's."""
        seen = {} if self._verifier is None else {"seen": self._verifier.seen()}
        return {"up": self._up, **seen}

    def _succeeded(self, successor: Channel | None, readable: set[int]) -> bool:
        """Whether another elector has taken over from this one, which must then end without another word.

        Errors: ChannelError when it is gone by now. The BFD sockets are closed then, and there is no way back.
        """
        if successor is None or successor.fileno() not in readable or not succession.is_asked_for(successor):
            return False
        heartbeats = {_name(session): each.bequeath() for session, each in self._heartbeats.items()}
        instances = {each.config.name: each.bequeath(alive=True) for each in self.instances}
        if not succession.bequeath(
            successor, channel.Estate(instances, {**self._shared_estate(), "heartbeats": heartbeats})
        ):
            raise ChannelError("the elector that was to succeed this one is gone")
        return True

    def _wait(self, terminated: int, successor: Channel | None, report_at: float) -> set[int]:
        watched: list[Any] = [terminated, self._guardian, self._links, *self._heartbeats.values()]
        watched += (sock for instance in self.instances for sock in instance.paths.sockets)
        others = (self._director, self._attendant, successor)
        watched += (each for each in others if each is not None and not each.closed)
        deadlines = [each.machine.deadline for each in self.instances]
        deadlines += (each.deadline for each in self._heartbeats.values())
        until = min([report_at, *(at for at in deadlines if at is not None)])
        if self._stop_by is not None:
            until = min(until, self._stop_by)
        return self._waiting.until(until, watched)

    def _read_packets(self) -> None:
        for heartbeat in self._heartbeats.values():
            heartbeat.read()
        for instance in self.instances:
            instance.read()
        for interface, up in self._links.read():
            if up:
                for instance in self.instances:
                    instance.interface_came(interface)
            self._tracked(INTERFACE + interface, up)

    def _tick(self, now: float) -> None:
        for heartbeat in self._heartbeats.values():
            heartbeat.tick(now)
        for instance in self.instances:
            instance.tick(now)

    def _stop_soon(self, now: float) -> None:
        """Offers what is active here to the peer, and stops as soon as nothing is, or the time is up."""
        if self._stop_by is not None:
            return
        self._stop_by = now + LAST_OFFER_S
        for instance in self.instances:
            instance.handle(events.HandOver(force=True))

    def _any_active(self) -> bool:
        return any(instance.machine.role is Role.ACTIVE for instance in self.instances)

    # ---------------------------------------------------------------------------------------- channels

    def _read_channels(self, readable: set[int]) -> None:
        if self._guardian.fileno() in readable:
            for frame in self._guardian.receive():
                self._from_guardian(frame)
            if self._guardian.closed:  # nobody is left to withdraw the addresses if we die: let the peer have them
                self._stopping = True
        for other in (self._director, self._attendant):
            if other.fileno() in readable:
                for frame in other.receive():
                    self._from_others(frame, other)

    def _from_guardian(self, frame: object) -> None:
        match frame:
            case channel.Stop():
                self._stop_soon(monotonic())
            case Hello():
                self._tell_all(self._guardian)
            case channel.HandOver():
                self._requests.hand_over(frame.request, frame.instance, force=frame.force, leave=False)
            case channel.StandBy():
                self._requests.hand_over(frame.request, frame.instance, force=frame.force, leave=True)
            case channel.Enable():
                self._requests.enable(frame.request, frame.instance)

    def _from_others(self, frame: object, sender: Channel) -> None:
        match frame:
            case Hello():
                self._tell_all(sender)
            case channel.TrackState():
                self._tracked(frame.name, frame.up)
            case channel.WitnessState():
                if frame.instance in self._by_name:
                    self._by_name[frame.instance].witnessed(frame.witness, frame.seen)
            case channel.Duplicate():
                self._tell(frame.instance, events.Duplicate(frame.address, frame.mac))
            case channel.OfferRole():
                if frame.instance not in self._by_name:
                    self._director.send(channel.RefuseRole(frame.instance, "there is no instance of that name"))
                self._tell(frame.instance, events.Offered(frame.sources, frame.window_s))
            case channel.RefuseRole():
                self._tell(frame.instance, events.Refused(frame.reason, frame.unreachable))
            case channel.SyncState():
                for instance in self.instances:
                    instance.handle(events.Synced(frame.in_sync))
            case channel.PeersFound():
                for instance in self.instances:
                    instance.paths.set_peers(frame.peers)

    def _tell(self, name: str, event: events.Event) -> None:
        if name in self._by_name:
            self._by_name[name].handle(event)

    def _tracked(self, name: str, up: bool) -> None:
        if self._up.get(name) != up:
            self._up[name] = up
            for instance in self.instances:
                instance.tracked(name, self._up)

    def _peer_down(self, peer: IPAddress, _reason: str, planned: bool) -> None:
        if planned:  # it says so itself, and its VRRP will
            return
        for instance in self.instances:
            if any(session.peer == peer for session in instance.config.bfd):
                instance.handle(events.PathDown(peer))

    def _peer_up(self, peer: IPAddress) -> None:
        for instance in self.instances:
            if any(session.peer == peer for session in instance.config.bfd):
                instance.handle(events.PathUp(peer))

    def _tell_all(self, *channels: Channel) -> None:
        for instance in self.instances:
            state = instance.state()
            for each in channels:
                each.send(state)

    def _report_all(self) -> None:
        self._guardian.send(Alive())
        self._last_words.all_anew(self.instances)
        for instance in self.instances:
            instance.bfd = {
                str(session.peer): self._heartbeats[session].machine.state.text for session in instance.config.bfd
            }
            state = instance.state()
            if self._reported.get(instance.config.name) != state:
                self._report(instance, state)


def _name(session: BfdSession) -> str:
    return f"{session.interface} {session.source} {session.peer}"


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `python -m ha_lvs.daemon.elector`; returns the exit code."""
    parser = argparse.ArgumentParser(description="the elector process of ha-lvs run; started by the guardian")
    for option in ("--part-fd", "--guardian-fd", "--director-fd", "--attendant-fd"):
        parser.add_argument(option, type=int, required=True)
    for option in ("--succeed-fd", "--bequeath-fd", "--estate-fd"):
        parser.add_argument(option, type=int)
    options = parser.parse_args(arguments)
    set_process_name("ha-lvs-elector")
    raise_file_limit()  # four sockets and more for each instance
    part = memory.read(ElectorPart, options.part_fd)
    estate = None if options.estate_fd is None else memory.read(channel.Estate, options.estate_fd)
    guardian, director, attendant = (
        Channel.from_fd(fd) for fd in (options.guardian_fd, options.director_fd, options.attendant_fd)
    )
    predecessor, successor = (
        None if fd is None else Channel.from_fd(fd) for fd in (options.succeed_fd, options.bequeath_fd)
    )
    try:
        Elector(part, guardian, director, attendant).run(predecessor, successor, estate)
    except HaLvsError as problem:
        guardian.send(LogRecord("error", "elector cannot run", {"detail": str(problem)}))
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
