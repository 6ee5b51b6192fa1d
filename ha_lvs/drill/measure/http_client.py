"""The smallest HTTP/1.1 client that can be driven by epoll: one connection, one request at a time.

Python in an emulated machine is some 16 times slower, so nothing is parsed that need not be: an answer is a status,
a Content-Length and a body. Chunked answers count as wrong, the lab's servers send none.

A `Connection` never blocks and reads no clock. Whoever drives it registers it in an epoll with `connection.events`,
calls `handle` when it is ready, and looks at what comes back.
"""

from __future__ import annotations

import enum
import errno
import select
import socket
from dataclasses import dataclass

Address = tuple[str, int]

_REASONS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ETIMEDOUT: "tcp timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EADDRNOTAVAIL: "no local port",
}

_MAX_ANSWER = 64 * 1024


def reason_of(number: int) -> str:
    """A countable word for an error number."""
    return _REASONS.get(number) or errno.errorcode.get(number, f"errno {number}").lower()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: its status and its body without surrounding blanks."""

    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Failure:
    """The connection is of no more use. `reason` is a countable word."""

    reason: str


def parse(data: bytes) -> Answer | Failure | None:
    """The answer at the start of `data`, None when it is not whole yet, or a failure when it is no answer."""
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator:
        return Failure("bad answer") if len(data) > _MAX_ANSWER else None
    lines = head.split(b"\r\n")
    try:
        status = int(lines[0].split(b" ", 2)[1])
        length = next(int(line[15:]) for line in lines[1:] if line[:15].lower() == b"content-length:")
    except (IndexError, ValueError, StopIteration):
        return Failure("bad answer")
    if len(rest) < length:
        return None
    return Answer(status, rest[:length].decode("latin-1").strip())


class _State(enum.Enum):
    CONNECTING = enum.auto()
    IDLE = enum.auto()
    WAITING = enum.auto()
    CLOSED = enum.auto()


class Connection:
    """A TCP connection that asks for one path.

    Arguments:
        target: address and port.
        request: the bytes of the request, the same each time; the first is sent as soon as the connection stands.

    After construction look at `failure`: a connection can fail at once. `port` is its local port.
    """

    __slots__ = ("_data", "_request", "_state", "events", "failure", "fd", "port", "sock")

    def __init__(self, target: Address, request: bytes) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.fd = self.sock.fileno()
        self.events = select.EPOLLOUT
        self.failure: Failure | None = None
        self.port = 0
        self._request = request
        self._state = _State.CONNECTING
        self._data = b""
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = self.sock.connect_ex(target)
        if number not in (0, errno.EINPROGRESS):
            self._fail(reason_of(number))
        else:
            self.port = self.sock.getsockname()[1]

    @property
    def idle(self) -> bool:
        """Whether a request can be sent now."""
        return self._state is _State.IDLE

    def ask(self) -> Failure | None:
        """Sends a request on an idle connection. What comes back is why that was impossible, or None."""
        try:
            self.sock.send(self._request, socket.MSG_NOSIGNAL)
        except OSError as problem:
            return self._fail(reason_of(problem.errno or 0))
        self._state = _State.WAITING
        return None

    def handle(self) -> Answer | Failure | None:
        """Does what can be done without waiting. Call when epoll reports the connection ready.

        None means that there is more to wait for; `events` may have changed then.
        """
        if self._state is _State.CONNECTING:
            number = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                return self._fail(reason_of(number))
            self.events = select.EPOLLIN
            return self.ask()
        return self._read()

    def close(self) -> None:
        """Closes the connection; epoll forgets it by itself."""
        if self._state is not _State.CLOSED:
            self._state = _State.CLOSED
            self.sock.close()

    def _read(self) -> Answer | Failure | None:
        try:
            chunk = self.sock.recv(_MAX_ANSWER)
        except BlockingIOError:
            return None
        except OSError as problem:
            return self._fail(reason_of(problem.errno or 0))
        if not chunk:
            return self._fail("closed")
        if self._state is not _State.WAITING:
            return self._fail("bad answer")
        self._data += chunk
        result = parse(self._data)
        if isinstance(result, Answer):
            self._data = b""
            self._state = _State.IDLE
        elif result is not None:
            return self._fail(result.reason)
        return result

    def _fail(self, reason: str) -> Failure:
        self.close()
        self.failure = Failure(reason)
        return self.failure
