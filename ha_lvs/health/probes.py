"""The probe engine: many TCP and HTTP checks in one thread, on bare sockets.

Rules that hold here:
* One probe is socket, connect, one epoll registration (edge-triggered, both directions), at most one request
  and the start of its answer, close. No stream objects, no tasks: at scale the cost of a check is the
  director's load.
* Sockets are looked at before timers. A process that was stopped or starved finds the answers that came
  meanwhile, and a timeout is judged by the time of the last look (`Schedule.due`), so nobody is down because
  we were late.
* A connection ends with a reset (SO_LINGER 0): no TIME_WAIT piles up on the director.
* Whatever goes wrong is the outcome of a probe, with a reason for people; only a bug raises.
* All calls come from one thread. `report` and watchers may call `add` and `remove`.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from ha_lvs.health import http
from ha_lvs.health.schedule import LATE_S, Schedule, Slot
from ha_lvs.health.verdict import SERVING, UNKNOWN, Verdict, judge
from ha_lvs.model import CheckType, Endpoint, ServerState

Report = Callable[[Endpoint, Verdict, float], None]
"""Told of each change of state: the endpoint, its verdict, and how long the last probe took, in seconds."""

_MAX_EVENTS = 1024
_LOOK_S = 0.1
"""While probes run, the loop turns so often, so that it can tell when it was kept from looking."""

_READ = 4096
_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_REASONS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network unreachable",
    errno.ETIMEDOUT: "timed out while connecting",
    errno.EHOSTDOWN: "host down",
}


class _Probe(Slot):
    """An endpoint with what its probes need; made once, used for all of them."""

    __slots__ = (
        "answer",
        "family",
        "fd",
        "request",
        "sent",
        "sock",
        "sockaddr",
        "started",
        "took_s",
        "verdict",
    )

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.verdict = UNKNOWN
        self.took_s = 0.0
        self.family = socket.AF_INET6 if endpoint.address.version == 6 else socket.AF_INET
        self.sockaddr = (str(endpoint.address), endpoint.port)
        self.request = http.request(endpoint) if endpoint.check.type is CheckType.HTTP else b""
        self.sock: socket.SocketType | None = None
        self.fd = -1
        self.started = 0.0
        self.sent = 0
        self.answer = b""


class Engine:
    """Probes endpoints and reports each change of their state.

    Arguments:
        report: called on each change of state, from within `run_once` (and `add`, for a check of type none).
        clock: monotonic seconds.
    """

    def __init__(self, report: Report, clock: Callable[[], float]) -> None:
        self._report = report
        self._clock = clock
        self._schedule: Schedule[_Probe] = Schedule()
        self._probes: dict[Endpoint, _Probe] = {}
        self._by_fd: dict[int, _Probe] = {}
        self._watchers: dict[int, Callable[[], None]] = {}
        self._epoll = select.epoll()
        self._ephemeral = _ephemeral_ports()
        self._turned = clock()  # when the last look ended
        self._looked = self._turned  # what had arrived by then has been handled

    def __len__(self) -> int:
        return len(self._probes)

    def __contains__(self, endpoint: Endpoint) -> bool:
        return endpoint in self._probes

    def add(self, endpoint: Endpoint, serving: bool = False) -> None:
        """Probes `endpoint` from now on; one that is known is left as it is.

        Arguments:
            endpoint: what to probe.
            serving: whether it gets traffic already, so that a single failure must not take it away.
        """
        if endpoint in self._probes:
            return
        probe = self._probes[endpoint] = _Probe(endpoint)
        probe.verdict = SERVING if serving else UNKNOWN
        if endpoint.check.type is CheckType.NONE:
            probe.verdict = Verdict(ServerState.UP, 0, "not checked")
            self._report(endpoint, probe.verdict, 0.0)
        else:
            self._schedule.add(probe, self._clock())

    def remove(self, endpoint: Endpoint) -> None:
        """Stops probing `endpoint` and forgets its verdict; one that is not known is ignored."""
        probe = self._probes.pop(endpoint, None)
        if probe is not None:
            self._schedule.remove(probe)
            self._close(probe)

    def standing(self, endpoint: Endpoint) -> tuple[Verdict, float] | None:
        """The verdict on `endpoint` and the seconds that its last probe took; None when it is not known."""
        probe = self._probes.get(endpoint)
        return None if probe is None else (probe.verdict, probe.took_s)

    def endpoints(self) -> Iterator[Endpoint]:
        """All that are probed."""
        return iter(self._probes)

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """Calls `readable` in `run_once` as long as `fd` has something to read or its other side is gone."""
        self._watchers[fd] = readable
        self._epoll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        """Ends `watch`; to be called before `fd` is closed."""
        del self._watchers[fd]
        self._epoll.unregister(fd)

    def close(self) -> None:
        """Ends all running probes without a verdict."""
        for probe in self._probes.values():
            self._close(probe)
        self._epoll.close()

    def run_once(self, max_wait_s: float) -> None:
        """Waits for sockets and timers, `max_wait_s` at most, and deals with what has come."""
        before = self._clock()
        deadline = self._schedule.deadline
        wait_s = max_wait_s if deadline is None else max(0.0, min(max_wait_s, deadline - before))
        if self._by_fd:
            wait_s = min(wait_s, _LOOK_S)
        events = self._epoll.poll(wait_s, _MAX_EVENTS)
        now = self._clock()
        if now - self._turned > wait_s + LATE_S:
            self._schedule.stalled(now)
        self._turned = now
        for fd, event in events:
            probe = self._by_fd.get(fd)
            if probe is not None:
                self._advance(probe, event, now)
            elif fd in self._watchers:
                self._watchers[fd]()
        if len(events) < _MAX_EVENTS:
            self._looked = before
        deadline = self._schedule.deadline
        if deadline is not None and deadline <= now:
            due = self._schedule.due(now, self._looked)
            # A report on the way may remove any of them.
            for probe in due.give_up:
                if probe.entry:
                    self._settle(probe, False, self._overdue(probe), now)
            for probe in due.start:
                if probe.entry:
                    self._start(probe)

    def _start(self, probe: _Probe) -> None:
        probe.started = now = self._clock()
        probe.sent = 0
        probe.answer = b""
        try:
            sock = probe.sock = socket.SocketType(probe.family, _STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            code = sock.connect_ex(probe.sockaddr)
            if code in (0, errno.EINPROGRESS):
                probe.fd = fd = sock.fileno()
                self._by_fd[fd] = probe
                self._epoll.register(fd, _EDGES)
                return
        except OSError as problem:
            code = problem.errno or errno.EIO
        self._end(probe, False, _local_reason(code), now)

    def _advance(self, probe: _Probe, event: int, now: float) -> None:
        """Goes on with a running probe whose socket has news."""
        sock = probe.sock
        assert sock is not None
        if not probe.request:
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._end(probe, False, _reason(code), now)
            elif probe.endpoint.port in self._ephemeral and is_own_mirror(sock):
                self._end(probe, False, "connection refused", now)  # nobody listens: we met ourselves
            else:
                self._end(probe, True, "connected", now)
            return
        try:
            # A connection that failed says so in send or recv; recv first hands out what came before a reset.
            if probe.sent < len(probe.request):
                probe.sent += sock.send(probe.request[probe.sent :], socket.MSG_NOSIGNAL)
            if event & ~select.EPOLLOUT:
                self._read(probe, sock, now)
        except BlockingIOError:
            return
        except OSError as problem:
            self._end(probe, False, _reason(problem.errno or errno.EIO), now)

    def _read(self, probe: _Probe, sock: socket.SocketType, now: float) -> None:
        """Reads until there is an outcome or nothing more to read (then recv raises BlockingIOError)."""
        check = probe.endpoint.check
        while True:
            part = sock.recv(_READ)
            if not part:
                self._end(probe, False, "connection closed before the status line", now)
                return
            probe.answer += part
            try:
                code = http.status(probe.answer)
            except http.NotHttp as problem:
                self._end(probe, False, str(problem), now)
                return
            if code is not None:
                self._end(probe, check.status_min <= code <= check.status_max, f"HTTP {code}", now)
                return

    def _end(self, probe: _Probe, success: bool, reason: str, now: float) -> None:
        self._schedule.finished(probe, now)
        self._settle(probe, success, reason, now)

    def _settle(self, probe: _Probe, success: bool, reason: str, now: float) -> None:
        """Closes a probe that has an outcome, and reports it where it changes anything."""
        self._close(probe)
        probe.took_s = max(0.0, now - probe.started)
        probe.verdict, changed = judge(probe.verdict, probe.endpoint.check, success, reason)
        if changed:
            self._report(probe.endpoint, probe.verdict, probe.took_s)

    def _close(self, probe: _Probe) -> None:
        if probe.sock is not None:
            self._by_fd.pop(probe.fd, None)
            probe.sock.close()  # which ends its registration, too
            probe.sock = None
            probe.fd = -1
            probe.answer = b""

    @staticmethod
    def _overdue(probe: _Probe) -> str:
        if probe.request and probe.sent:
            return "timed out waiting for the status line"
        return "timed out while connecting"


def _reason(code: int) -> str:
    return _REASONS.get(code) or os.strerror(code).lower()


def _local_reason(code: int) -> str:
    """The reason for a probe that could not even start: often this director's fault, not the server's."""
    return _REASONS.get(code) or f"cannot probe from here: {os.strerror(code).lower()}"


def is_own_mirror(sock: socket.SocketType) -> bool:
    """Whether a socket is connected to itself.

    On a local address, a free port out of the ephemeral range can be chosen as the source of the connection to it,
    and TCP then opens simultaneously from both ends, which are one (RFC 9293 section 3.5).
    """
    return bool(sock.getsockname() == sock.getpeername())


def _ephemeral_ports() -> range:
    """The ports that the kernel takes as sources of connections (ip-sysctl, ip_local_port_range)."""
    try:
        first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except (OSError, ValueError):
        return range(1, 65536)
    return range(int(first), int(last) + 1)
