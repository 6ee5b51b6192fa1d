"""Typed frames between our own processes, over `SOCK_SEQPACKET` socket pairs.

Rules that hold here:
* One message is one frame: the kernel keeps the boundaries, so nothing has to be reassembled.
* A frame is a frozen dataclass out of `FRAMES`, sent as JSON `[name, {field: value}]`. Values nest.
* Sending never blocks and never raises for a slow or dead reader: `send` says whether the frame went out. Whoever must
  be told sends its state again when asked (`Hello`), so a lost frame costs time and never truth.
* A field that is missing takes its default, and one too many is ignored: an elector of one release may be succeeded by
  one of another. A new field of an old frame therefore has a default.
* No asyncio, no third party: the elector imports this.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from typing import Any, TypeVar

from ha_lvs.daemon.shapes import from_json, to_json
from ha_lvs.errors import ChannelError
from ha_lvs.model import Endpoint, IPAddress, Role, ServerState

T = TypeVar("T")

MAX_FRAME = 128 * 1024

# -------------------------------------------------------------------------------------------- the frames


@dataclasses.dataclass(frozen=True, slots=True)
class Hello:
    """Either direction: "I have just started; tell me your whole state"."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stop:
    """Guardian to the others: end cleanly (the elector resigns and withdraws first)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Alive:
    """To the guardian, and from a prober to the director too, about once a second: the sender's loop turns."""


@dataclasses.dataclass(frozen=True, slots=True)
class LogRecord:
    """Elector or prober to a process that may log: an event and its fields. Level is structlog's name."""

    level: str
    event: str
    fields: dict[str, str | int | float | bool | None]


@dataclasses.dataclass(frozen=True, slots=True)
class InstanceState:
    """Elector to guardian and director: where an instance stands, on each change and on `Hello`.

    Arguments:
        instance: its name.
        role: where it stands now.
        priority: of this node.
        since_s: wall clock (seconds since the epoch) of the last change of role.
        transitions: changes of role since the elector's start.
        peer: address of the router whose advertisement was heard last, or empty.
        peer_priority: its priority.
        reason: why the role changed.
        holding: whether the virtual IPs are held here.
        effective_priority: the priority with the weights of what is tracked.
        barred: why it may not become active, in words; empty when it may.
        late: how often a timer that came too late gave no verdict, since the elector's start.
        deferring: whether it has handed over and therefore does not preempt.
        dropped: advertisements that were not believed, by cause, since the elector's start.
        bfd: state of the session with each peer, in words.
        witnesses: whether each answers; those that have not been probed yet are missing.
    """

    instance: str
    role: Role
    priority: int
    since_s: float
    transitions: int
    peer: str
    peer_priority: int
    reason: str
    holding: bool
    effective_priority: int = 0
    barred: str = ""
    late: int = 0
    deferring: bool = False
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)
    bfd: dict[str, str] = dataclasses.field(default_factory=dict)
    witnesses: dict[str, bool] = dataclasses.field(default_factory=dict)


# ---- what operators want of the election: guardian to elector, and its answer


@dataclasses.dataclass(frozen=True, slots=True)
class HandOver:
    """Guardian to elector: give the role to the peer, make before break; answered by `Done`.

    Arguments:
        request: number of the request, for the answer.
        instance: its name; empty for all that are active here.
        force: resign with priority 0 where no peer of ours takes it.
    """

    request: int
    instance: str = ""
    force: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class StandBy:
    """Guardian to elector: hand over where active, then leave the election until `Enable`; answered by `Done`."""

    request: int
    instance: str = ""
    force: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Enable:
    """Guardian to elector: take part in the election again, and preempt again; answered by `Done`."""

    request: int
    instance: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Done:
    """Elector to guardian: the outcome of a request, in words for whoever asked."""

    request: int
    ok: bool
    detail: str


# ---- the hand-over itself: elector to director, peer link, director to elector


@dataclasses.dataclass(frozen=True, slots=True)
class OfferRole:
    """Elector to director, director to elector of the other node: please become active, I am still here.

    Arguments:
        instance: its name.
        sources: addresses of the offering router on the instance's paths: whose advertisements to bear meanwhile.
        window_s: for how long.
    """

    instance: str
    sources: tuple[IPAddress, ...]
    window_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class RefuseRole:
    """The way back of an `OfferRole` that is not taken: from the other director, or our own where no peer is linked.

    Whoever takes the role says nothing here: its advertisements do.

    Arguments:
        unreachable: whether no director of ours could be asked: there is none, or it is not linked.
    """

    instance: str
    reason: str
    unreachable: bool = False


# ---- what the eligibility of this node depends on: attendant and director to elector


@dataclasses.dataclass(frozen=True, slots=True)
class TrackState:
    """Whether something tracked is up; on each change and on `Hello`. `name` is as in `ha_lvs.model.Track`."""

    name: str
    up: bool
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class WitnessState:
    """Whether a witness of an instance answers; on each change and on `Hello`."""

    instance: str
    witness: IPAddress
    seen: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Duplicate:
    """Attendant to elector: another machine answers for a virtual IP. While we hold it, it is announced again."""

    instance: str
    address: IPAddress
    mac: str


@dataclasses.dataclass(frozen=True, slots=True)
class SyncState:
    """Director to elector: whether this node holds the peer's connection table (`preempt: {in_sync: true}`)."""

    in_sync: bool


@dataclasses.dataclass(frozen=True, slots=True)
class PeersFound:
    """Director to elector: the addresses of directors that discovery has found and that have authenticated."""

    peers: tuple[IPAddress, ...]


# ---- one elector after another, without a gap: over the succession socket


@dataclasses.dataclass(frozen=True, slots=True)
class Ready:
    """New elector to its predecessor: all is prepared; stop, and tell me where you stand."""


@dataclasses.dataclass(frozen=True, slots=True)
class InstanceEstate:
    """Elector to guardian, with every change and about once a second: what a successor would have to know, if we died.

    Arguments:
        instance: its name; empty for what is no instance's.
        estate: as in `Estate`.
    """

    instance: str
    estate: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Estate:
    """Old elector to its successor, its last act: all that it knows, as JSON shapes keyed by instance.

    It goes in memory, not as a frame, since there is no telling how much it is.

    Arguments:
        instances: by name, what `Instance.bequeath` gives.
        shared: what is no instance's: states of tracks, counters of authentication, BFD sessions.
    """

    instances: dict[str, Any]
    shared: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class WatchEndpoints:
    """Director to prober: probe these from now on too. Sent in chunks; known ones are left as they are,
    but for those that have come to serve before their first probe had an outcome.

    Arguments:
        endpoints: what to probe.
        serving: whether they get traffic already.
        down: whether they were down by the last that was known of them.
    """

    endpoints: tuple[Endpoint, ...]
    serving: bool = False
    down: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class ForgetEndpoints:
    """Director to prober: stop probing these."""

    endpoints: tuple[Endpoint, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Suspect:
    """Director to prober: probe these now, as far as they are known; connections to them do not come about."""

    endpoints: tuple[Endpoint, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class EndpointState:
    """Prober to director: a verdict, on each change and on `Hello`.

    Arguments:
        endpoint: what was probed.
        state: up or down; unknown is never sent.
        reason: of the last probe, for people: ``HTTP 503``, ``connection refused``.
        took_ms: how long the last probe took.
        percent: the weight that the check gives, in percent of the configured one; None where it gives none.
        warning: what is wrong although the server is up (a certificate that expires soon); empty for nothing.
    """

    endpoint: Endpoint
    state: ServerState
    reason: str
    took_ms: float
    percent: int | None = None
    warning: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ProberState:
    """Prober to director, about once a second: its loop turns, and how well it keeps its times.

    Arguments:
        probes: begun since its start.
        late_p50_ms, late_p99_ms: how late the probes of the last while began, each measured from the one before.
    """

    probes: int
    late_p50_ms: float
    late_p99_ms: float


@dataclasses.dataclass(frozen=True, slots=True)
class Follow:
    """Guardian to director: follow another config file, as far as it differs in services.

    Arguments:
        fd: of a `ServicesChange` in memory; it travels beside the frame.
    """

    fd: int = -1


@dataclasses.dataclass(frozen=True, slots=True)
class Followed:
    """Director to guardian: the kernel shows what another config file says.

    Arguments:
        config_digest: of that file.
        problems: steps that the kernel refused, and are tried again.
    """

    config_digest: str
    problems: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class QuorumState:
    """Where a service stands.

    Arguments:
        service: its name.
        quorum: whether it has its quorum.
        strength: what its servers that are up amount to.
        sorry: whether the sorry server takes its place.
    """

    service: str
    quorum: bool
    strength: int
    sorry: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Quorums:
    """Director to guardian, guardian to attendant: on each change, and all that are lost once in a while.

    Arguments:
        states: of some services.
        others: whether all other services have their quorum.
    """

    states: tuple[QuorumState, ...]
    others: bool = False


FRAMES: dict[str, type] = {
    frame.__name__: frame
    for frame in (
        Hello, Stop, Alive, LogRecord, InstanceState, WatchEndpoints, ForgetEndpoints, Suspect,
        EndpointState, ProberState,
        HandOver, StandBy, Enable, Done, OfferRole, RefuseRole,
        TrackState, WitnessState, Duplicate, SyncState, PeersFound, Ready, Follow, Followed, Quorums, InstanceEstate,
    )
}  # fmt: skip

# ------------------------------------------------------------------------------------------ the channel


@dataclasses.dataclass(frozen=True, slots=True)
class Unreadable:
    """In place of a frame that could not be read, and never sent."""

    detail: str


class Channel:
    """One end of a socket pair, in frames.

    Arguments:
        sock: a connected `SOCK_SEQPACKET` socket; the channel owns it.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.closed = False

    @classmethod
    def from_fd(cls, fd: int) -> Channel:
        """The channel on an inherited file descriptor."""
        return cls(socket.socket(fileno=fd))

    def fileno(self) -> int:
        """For select, epoll and asyncio."""
        return self.sock.fileno()

    def send(self, frame: object, fd: int | None = None) -> bool:
        """Sends a frame if it can be done at once; says whether it went out.

        Arguments:
            fd: a descriptor that goes with it, into the frame's `fd` at the other end; it stays the caller's here.
        """
        data = json.dumps([type(frame).__name__, to_json(frame)], separators=(",", ":")).encode()
        try:
            if fd is None:
                self.sock.send(data, socket.MSG_NOSIGNAL)
            else:
                socket.send_fds(self.sock, [data], [fd], socket.MSG_NOSIGNAL)
        except OSError:
            return False
        return True

    def receive(self) -> list[Any]:
        """Every frame that has arrived, oldest first. Sets `closed` when the other side is gone.

        One that is none of ours, or too long, comes as `Unreadable` in its place: the others count all the same.
        """
        frames: list[Any] = []
        while True:
            flags = 0
            fds: list[int] = []
            try:
                data, fds, flags, _ = socket.recv_fds(self.sock, MAX_FRAME, 1)
            except BlockingIOError:
                return frames
            except OSError:
                data = b""
            if not data:
                self.closed = True
                return frames
            if flags & socket.MSG_TRUNC:
                frames.append(Unreadable(f"a frame of more than {MAX_FRAME} bytes: {data[:80]!r}"))
                continue
            try:
                frames.append(_with_fds(decode(data), fds))
            except ChannelError as problem:
                frames.append(Unreadable(str(problem)))

    def close(self) -> None:
        """Closes this end."""
        self.sock.close()


def _with_fds(frame: Any, fds: list[int]) -> Any:
    """The frame with the descriptor that came beside it; others are closed."""
    if isinstance(frame, Follow) and fds:
        return dataclasses.replace(frame, fd=fds[0])
    for fd in fds:
        os.close(fd)
    return frame


def decode(data: bytes) -> Any:
    """The frame in a datagram.

    Errors: ChannelError when it is none of ours.
    """
    try:
        name, fields = json.loads(data)
        kind = FRAMES[name]
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise ChannelError(f"not a frame: {data[:80]!r}") from problem
    return from_json(kind, fields)


def pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a new channel, as sockets that can be inherited.

    Send buffers are as large as the kernel allows without privilege, so that a burst of verdicts is not lost.
    """
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (left, right):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    return left, right
