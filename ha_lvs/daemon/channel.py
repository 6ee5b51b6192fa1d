"""Typed frames between our own processes, over `SOCK_SEQPACKET` socket pairs.

Rules that hold here:
* One message is one frame: the kernel keeps the boundaries, so nothing has to be reassembled.
* A frame is a frozen dataclass out of `FRAMES`, sent as JSON `[name, {field: value}]`. Values nest.
* Sending never blocks and never raises for a slow or dead reader: `send` says whether the frame went out. Whoever must
  be told sends its state again when asked (`Hello`), so a lost frame costs time and never truth.
* No asyncio, no third party: the elector imports this.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import socket
import types
import typing
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, TypeVar

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
    """To the guardian, about once a second: the sender's loop turns."""


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


@dataclasses.dataclass(frozen=True, slots=True)
class WatchEndpoints:
    """Director to prober: probe these from now on too. Sent in chunks; known ones are left as they are.

    Arguments:
        endpoints: what to probe.
        serving: whether they get traffic already.
    """

    endpoints: tuple[Endpoint, ...]
    serving: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class ForgetEndpoints:
    """Director to prober: stop probing these."""

    endpoints: tuple[Endpoint, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class EndpointState:
    """Prober to director: a verdict, on each change and on `Hello`.

    Arguments:
        endpoint: what was probed.
        state: up or down; unknown is never sent.
        reason: of the last probe, for people: ``HTTP 503``, ``connection refused``.
        took_ms: how long the last probe took.
    """

    endpoint: Endpoint
    state: ServerState
    reason: str
    took_ms: float


FRAMES: dict[str, type] = {
    frame.__name__: frame
    for frame in (
        Hello, Stop, Alive, LogRecord, InstanceState, WatchEndpoints, ForgetEndpoints, EndpointState,
    )
}  # fmt: skip

# ---------------------------------------------------------------------------------- values <-> JSON


def to_json(value: Any) -> Any:
    """The JSON shape of a value out of `ha_lvs.model` or `FRAMES`."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (IPv4Address, IPv6Address)):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}


def from_json(kind: type[T], data: Any) -> T:
    """The value of type `kind` whose JSON shape is `data`.

    Errors: ChannelError when the data does not fit the type.
    """
    try:
        return typing.cast("T", _build(kind, data))
    except (TypeError, ValueError, KeyError, AttributeError) as problem:
        raise ChannelError(f"a frame does not fit {kind.__name__}: {problem}") from problem


@functools.cache
def _fields(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _build(kind: Any, data: Any) -> Any:
    origin = typing.get_origin(kind)
    if kind == IPAddress:
        return ip_address(data)
    if origin in (typing.Union, types.UnionType):
        if data is None:
            return None
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        return _build(options[0], data) if len(options) == 1 else data
    if origin is tuple:
        item = typing.get_args(kind)[0]
        return tuple(_build(item, each) for each in data)
    if origin is dict or kind is Any:
        return data
    if kind in (IPv4Address, IPv6Address) or issubclass(kind, enum.Enum):
        return kind(data)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return kind(**{name: _build(hint, data[name]) for name, hint in _fields(kind).items()})
    return float(data) if kind is float else data


# ------------------------------------------------------------------------------------------ the channel


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

    def send(self, frame: object) -> bool:
        """Sends a frame if it can be done at once; says whether it went out."""
        data = json.dumps([type(frame).__name__, to_json(frame)], separators=(",", ":")).encode()
        try:
            self.sock.send(data, socket.MSG_NOSIGNAL)
        except OSError:
            return False
        return True

    def receive(self) -> list[Any]:
        """Every frame that has arrived, oldest first. Sets `closed` when the other side is gone.

        Errors: ChannelError on a frame that is none of ours.
        """
        frames: list[Any] = []
        while True:
            try:
                data = self.sock.recv(MAX_FRAME)
            except BlockingIOError:
                return frames
            except OSError:
                data = b""
            if not data:
                self.closed = True
                return frames
            frames.append(decode(data))

    def close(self) -> None:
        """Closes this end."""
        self.sock.close()


def decode(data: bytes) -> Any:
    """The frame in a datagram.

    Errors: ChannelError when it is none of ours.
    """
    try:
        name, fields = json.loads(data)
        kind = FRAMES[name]
    except (ValueError, KeyError, TypeError) as problem:
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
