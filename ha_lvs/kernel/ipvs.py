"""The IPVS of this network namespace: reads its state, takes steps on it.

Rules that hold here:
* The socket belongs to the network namespace of the thread that opens it and stays there.
* Requests go out about a hundred in one `send`. The kernel works through all of them, in order and whatever
  becomes of each, before `send` returns; each one's answer is found by its sequence number.
* A batch is bounded in bytes by the send buffer and in number by the receive buffer, where its answers wait
  for us.
* A step that the kernel refuses comes back as a `StepFailure` and stops no other.
* Nothing here decides: no flush, no clean-up, only the steps that were given.

pyroute2 is used for the look-up of the family, which needs its attribute trees once. Its sockets are asyncio
transports since 0.9: each reply is parsed into a tree of objects on an event loop of its own, which cannot
run inside the director's. So the messages of the look-up and all batches travel on a plain netlink socket.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType

from ha_lvs.errors import KernelError, PlatformError, WireError
from ha_lvs.model import DestinationKey, ServiceEntry, ServiceKey, SyncDaemon, Timeouts
from ha_lvs.plan.desired import KernelState, service_entry
from ha_lvs.plan.steps import (
    AddDestination,
    AddService,
    DeleteDestination,
    DeleteService,
    MarkTraffic,
    MendMarks,
    SetDestination,
    SetService,
    SetSysctl,
    SetTimeouts,
    StartSync,
    Step,
    StepFailure,
    StopSync,
)
from ha_lvs.wire import ipvs_netlink as requests
from ha_lvs.wire.ipvs_constants import IPVS_GENL_NAME, NLM_F_REQUEST
from ha_lvs.wire.ipvs_rows import (
    Body,
    DaemonRow,
    DestinationRow,
    InfoRow,
    Message,
    Reply,
    ServiceRow,
    TimeoutsRow,
    decode,
)

BATCH_MESSAGES = 100
BATCH_BYTES = 32 * 1024
RECEIVE_BUFFER = 4 * 1024 * 1024
ANSWER_TIMEOUT_S = 10.0
DUMP_ATTEMPTS = 10

_DATAGRAM = 64 * 1024
_SO_RCVBUFFORCE = 33
_SOL_NETLINK = 270
_NETLINK_GENERIC = 16
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_SEQUENCES = 0x7FFFFFFF
_SYSCTLS = Path("/proc/sys/net/ipv4/vs")

_NO_FAMILY = (
    "this kernel has no IPVS: load it with `modprobe ip_vs` and name it in /etc/modules-load.d/; "
    "where the module is missing, install the distribution's full kernel package "
    "(Debian: linux-image-amd64, Ubuntu: linux-modules-extra)"
)
_NO_PERMISSION = (
    "this process may not use IPVS: it needs CAP_NET_ADMIN in its network namespace; "
    "run it as root or give its unit `AmbientCapabilities=CAP_NET_ADMIN`"
)


@dataclass(frozen=True, slots=True)
class Counts:
    """Connections of a destination: established ones, others that are still remembered, and clients held to
    it."""

    active: int
    inactive: int
    persistent: int


class Ipvs:
    """The IPVS of the network namespace of whoever enters the context.

    Arguments:
        sysctls: names under net.ipv4.vs that belong to the state that is read.

    Errors of every method: KernelError when a dump is refused or unreadable; PlatformError on entry when the
    kernel has no IPVS or does not let us use it.
    """

    def __init__(self, sysctls: Collection[str] = ()) -> None:
        self.sysctls = sysctls
        self._socket: socket.socket | None = None
        self._family = 0
        self._sequence = 0
        self.version = (0, 0, 0)

    def __enter__(self) -> Ipvs:
        try:
            self._socket = _open()
            self._family = self._look_up_family()
            self.version = self._look_up_version()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the socket. The state of the kernel stays as it is."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # ------------------------------------------------------------------------------------------- reading

    def read(self) -> KernelState:
        """All services with their destinations, foreign ones too, the sync daemons, time-outs and sysctls."""
        return self.read_with_counts()[0]

    def read_counts(self) -> dict[tuple[ServiceKey, DestinationKey], Counts]:
        """The connections of every destination of every service, foreign ones too."""
        return self.read_with_counts()[1]

    def read_with_counts(self) -> tuple[KernelState, dict[tuple[ServiceKey, DestinationKey], Counts]]:
        """What `read` and `read_counts` give, of one and the same look at the kernel."""
        entries, counts = self._entries(self._services())
        return self.with_settings(KernelState(entries, self._daemons())), counts

    def with_settings(self, state: KernelState) -> KernelState:
        """A state with the time-outs and sysctls that the kernel has."""
        return replace(state, timeouts=self._timeouts(), sysctls=self._sysctls())

    def _entries(
        self, services: Iterable[ServiceRow]
    ) -> tuple[dict[ServiceKey, ServiceEntry], dict[tuple[ServiceKey, DestinationKey], Counts]]:
        entries: dict[ServiceKey, ServiceEntry] = {}
        counts: dict[tuple[ServiceKey, DestinationKey], Counts] = {}
        for row in services:
            service = row.service()
            if service is None:
                continue
            rows = self._destinations(service.key)
            entries[service.key] = service_entry(service, (each.destination() for each in rows))
            for each in rows:
                counts[service.key, each.key] = Counts(
                    each.active_connections, each.inactive_connections, each.persistent_connections
                )
        return entries, counts

    def read_services(self, keys: Iterable[ServiceKey]) -> dict[ServiceKey, ServiceEntry]:
        """Those of these services that there are, with their destinations; a look at few of many."""
        return self.read_services_with_counts(keys)[0]

    def read_services_with_counts(
        self, keys: Iterable[ServiceKey]
    ) -> tuple[dict[ServiceKey, ServiceEntry], dict[tuple[ServiceKey, DestinationKey], Counts]]:
        """The same with the connections of their destinations."""
        rows = (row for key in keys for row in self._ask(f"look at {key}", partial(_get_service, key)))
        return self._entries(row for row in rows if isinstance(row, ServiceRow))

    def _timeouts(self) -> Timeouts:
        rows = self._ask("read the time-outs", requests.get_timeouts)
        return next((row.timeouts for row in rows if isinstance(row, TimeoutsRow)), Timeouts())

    def sysctl(self, name: str) -> int | None:
        """The value of a sysctl under net.ipv4.vs; None for one that this kernel does not have."""
        try:
            return int((_SYSCTLS / name).read_text())
        except (OSError, ValueError):
            return None

    def _sysctls(self) -> dict[str, int]:
        found = {name: self.sysctl(name) for name in self.sysctls}
        return {name: value for name, value in found.items() if value is not None}

    def _services(self) -> list[ServiceRow]:
        rows = self._dump("list the virtual services", requests.list_services)
        return [row for row in rows if isinstance(row, ServiceRow)]

    def _destinations(self, key: ServiceKey) -> list[DestinationRow]:
        rows = self._dump(
            f"list the servers of {key}",
            lambda family, sequence: requests.list_destinations(family, sequence, key),
        )
        return [row for row in rows if isinstance(row, DestinationRow)]

    def _daemons(self) -> frozenset[SyncDaemon]:
        rows = self._dump("list the sync daemons", requests.list_daemons)
        return frozenset(row.daemon for row in rows if isinstance(row, DaemonRow))

    def _ask(self, what: str, request: Callable[[int, int], bytes]) -> list[Body]:
        """What the kernel says of one thing; empty when there is none."""
        return self._dump(what, request, may_be_missing=True)

    def _dump(self, what: str, request: Callable[[int, int], bytes], *, may_be_missing: bool = False) -> list[Body]:
        for _ in range(DUMP_ATTEMPTS):
            sequence = self._next_sequence()
            rows: list[Body] = []
            interrupted = False
            try:
                self._opened.send(request(self._family, sequence))
                for message in self._answers({sequence}):
                    interrupted = interrupted or message.interrupted
                    if not isinstance(message.body, Reply):
                        rows.append(message.body)
                    elif message.body.errno == errno.ESRCH and may_be_missing:
                        return []
                    elif message.body.errno:
                        raise _refused(what, message.body)
            except OSError as problem:
                self._leftovers()
                if problem.errno != errno.ENOBUFS:
                    raise KernelError(what, problem.errno or errno.ETIMEDOUT) from problem
                continue
            except WireError as problem:
                self._leftovers()
                raise KernelError(what, errno.EPROTO, str(problem)) from problem
            if not interrupted:
                return rows
        raise KernelError(what, errno.EAGAIN, "it changed under every attempt; something else rewrites it")

    # ------------------------------------------------------------------------------------------ changing

    def apply(self, steps: Sequence[Step]) -> list[StepFailure]:
        """Takes the steps in their order, going on after one that fails.

        What comes back: the steps that were refused or whose answer was lost (errno ENOBUFS or ETIMEDOUT:
        they may have been taken), in the order of the steps. Look at the kernel again and plan anew.
        """
        failures: list[StepFailure] = []
        for is_sysctl, alike in itertools.groupby(steps, lambda step: isinstance(step, SetSysctl)):
            if is_sysctl:
                failures += (failure for step in alike for failure in _write_sysctl(step))
                continue
            for batch in self._batches(alike):
                failures += self._send(batch)
        return failures

    def _batches(self, steps: Iterable[Step]) -> Iterator[list[tuple[int, Step, bytes]]]:
        batch: list[tuple[int, Step, bytes]] = []
        size = 0
        for step in steps:
            sequence = self._next_sequence()
            message = _encode(step, self._family, sequence)
            if batch and (len(batch) == BATCH_MESSAGES or size + len(message) > BATCH_BYTES):
                yield batch
                batch, size = [], 0
            batch.append((sequence, step, message))
            size += len(message)
        if batch:
            yield batch

    def _send(self, batch: list[tuple[int, Step, bytes]]) -> list[StepFailure]:
        replies: dict[int, Reply] = {}
        missing = Reply(0)
        try:
            barrier = self._next_sequence()
            last = requests.get_info(self._family, barrier)
            self._opened.send(b"".join([*(message for _, _, message in batch), last]))
            for message in self._answers({sequence for sequence, _, _ in batch}, barrier):
                if isinstance(message.body, Reply) and message.sequence != barrier:
                    replies[message.sequence] = message.body
        except (OSError, WireError) as problem:
            number = errno.EPROTO if isinstance(problem, WireError) else problem.errno or errno.ETIMEDOUT
            missing = Reply(number, "the kernel's answer was lost, the step may have been taken")
            for message in self._leftovers():
                if isinstance(message.body, Reply):
                    replies[message.sequence] = message.body
        failures: list[StepFailure] = []
        for sequence, step, _ in batch:
            reply = replies.get(sequence, missing)
            if reply.errno:
                failures.append(StepFailure(step, reply.errno, _explain(step, reply)))
        return failures

    # ---------------------------------------------------------------------------------------- the socket

    @property
    def _opened(self) -> socket.socket:
        if self._socket is None:
            raise RuntimeError("Ipvs is used outside of its context")
        return self._socket

    def _leftovers(self) -> list[Message]:
        """Empties the socket of whatever has arrived, after an error; what cannot be read is dropped.

        The socket is kept: a new one would belong to the network namespace that the thread is in by now.
        """
        messages: list[Message] = []
        while True:
            try:
                messages += decode(self._opened.recv(_DATAGRAM, socket.MSG_DONTWAIT), self._family)
            except BlockingIOError:
                return messages
            except WireError:
                continue
            except OSError as problem:
                if problem.errno != errno.ENOBUFS:
                    return messages

    def _next_sequence(self) -> int:
        self._sequence = self._sequence % _SEQUENCES + 1
        return self._sequence

    def _answers(self, sequences: set[int], barrier: int | None = None) -> Iterator[Message]:
        """The messages that answer these requests, until each has had its last; others are stale and skipped.

        Arguments:
            barrier: a request sent after all of them. The kernel answers in order, so what has no answer by then never
                gets one: it leaves a request that ends with EINTR unanswered (netlink_rcv_skb), as the stop of a sync
                daemon does whose thread has not run yet (kthread_stop), though that daemon is gone.
        """
        waiting = set(sequences) if barrier is None else {*sequences, barrier}
        while waiting:
            for message in decode(self._opened.recv(_DATAGRAM), self._family):
                if message.sequence in waiting:
                    if message.last:
                        waiting.remove(message.sequence)
                        if message.sequence == barrier:
                            waiting.clear()
                    yield message

    def _look_up_family(self) -> int:
        # Here, since it takes a quarter of a second, and a pure VRRP pair never comes here.
        from pyroute2.netlink import CTRL_CMD_GETFAMILY, GENL_ID_CTRL, ctrlmsg

        request = ctrlmsg()
        request["cmd"] = CTRL_CMD_GETFAMILY
        request["version"] = 1
        request["attrs"].append(["CTRL_ATTR_FAMILY_NAME", IPVS_GENL_NAME])
        request["header"]["type"] = GENL_ID_CTRL
        request["header"]["flags"] = NLM_F_REQUEST
        request["header"]["sequence_number"] = self._next_sequence()
        request.encode()
        self._opened.send(bytes(request.data))
        data = self._opened.recv(_DATAGRAM)
        for message in decode(data, 0):  # an answer that is an error; the family itself is pyroute2's to read
            if isinstance(message.body, Reply) and message.body.errno:
                raise PlatformError(_NO_FAMILY)
        answer = ctrlmsg(data)
        answer.decode()
        return int(answer.get_attr("CTRL_ATTR_FAMILY_ID"))

    def _look_up_version(self) -> tuple[int, int, int]:
        """The version of IPVS; asked for at once because the answer also tells whether we may use it."""
        sequence = self._next_sequence()
        self._opened.send(requests.get_info(self._family, sequence))
        version = (0, 0, 0)
        for message in self._answers({sequence}):
            if isinstance(message.body, InfoRow):
                version = message.body.version
            elif isinstance(message.body, Reply) and message.body.errno in (errno.EPERM, errno.EACCES):
                raise PlatformError(_NO_PERMISSION)
            elif isinstance(message.body, Reply) and message.body.errno:
                raise _refused("tell the version of IPVS", message.body)
        return version


def _open() -> socket.socket:
    try:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC)
    except OSError as problem:
        raise PlatformError(f"this kernel has no generic netlink: {problem}") from problem
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:  # root of a container only: the system's limit has to do, and does for a batch
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    opened.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
    opened.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
    opened.bind((0, 0))
    opened.connect((0, 0))  # from now on only the kernel is heard
    opened.settimeout(ANSWER_TIMEOUT_S)
    return opened


def _get_service(key: ServiceKey, family: int, sequence: int) -> bytes:
    return requests.get_service(family, sequence, key)


def _write_sysctl(step: Step) -> Iterator[StepFailure]:
    if not isinstance(step, SetSysctl):
        return
    try:
        (_SYSCTLS / step.name).write_text(f"{step.value}\n")
    except FileNotFoundError as problem:
        yield StepFailure(step, problem.errno or errno.ENOENT, f"this kernel has no net.ipv4.vs.{step.name}")
    except OSError as problem:
        number = problem.errno or errno.EIO
        remedies = {
            errno.EINVAL: "the kernel does not take this value",
            errno.EROFS: "the unit must let us write there: ReadWritePaths=/proc/sys/net/ipv4/vs",
            errno.EACCES: "root or CAP_NET_ADMIN is needed, and a /proc/sys that can be written",
        }
        remedy = remedies.get(number, "")
        yield StepFailure(step, number, "; ".join(filter(None, (os.strerror(number), remedy))))


def _encode(step: Step, family: int, sequence: int) -> bytes:
    match step:
        case AddService(service):
            return requests.new_service(family, sequence, service)
        case SetService(service):
            return requests.set_service(family, sequence, service)
        case DeleteService(key):
            return requests.delete_service(family, sequence, key)
        case AddDestination(key, destination):
            return requests.new_destination(family, sequence, key, destination)
        case SetDestination(key, destination):
            return requests.set_destination(family, sequence, key, destination)
        case DeleteDestination(key, gone):
            return requests.delete_destination(family, sequence, key, gone)
        case StartSync(daemon):
            return requests.new_daemon(family, sequence, daemon)
        case StopSync(daemon):
            return requests.delete_daemon(family, sequence, daemon.state)
        case SetTimeouts(timeouts):
            return requests.set_timeouts(family, sequence, timeouts)
        case SetSysctl() | MarkTraffic() | MendMarks():
            raise TypeError(f"{step} is not for netlink")


def _explain(step: Step, reply: Reply) -> str:
    said = f"{os.strerror(reply.errno)} ({reply.text})" if reply.text else os.strerror(reply.errno)
    hint = _hint(step, reply.errno)
    return f"{said}; {hint}" if hint else said


def _hint(step: Step, number: int) -> str:
    match step:
        case AddService(service) | SetService(service) if number == errno.ENOENT:
            if service.persistence_engine:  # the kernel says the same of both
                modules = f"ip_vs_{service.scheduler} ip_vs_pe_{service.persistence_engine}"
                return f"this kernel lacks one of them: `modprobe -a {modules}`, or choose another"
            name = f"ip_vs_{service.scheduler}"
            return f"this kernel has no scheduler {service.scheduler}: `modprobe {name}`, or choose another"
        case StartSync(daemon) if number == errno.ENODEV:
            return f"there is no interface {daemon.interface} here"
        case StartSync(daemon) if number in (errno.EADDRNOTAVAIL, errno.ENETDOWN):
            return f"{daemon.interface} must be up and have an address of the family of {daemon.group}"
        case StartSync() if number == errno.EINVAL:
            return "the kernel syncs no service that mixes IPv4 and IPv6, and its group must be multicast"
        case AddDestination(_, destination) | SetDestination(_, destination) if number == errno.EINVAL:
            # ip_vs_new_dest asks the routing tables, and a namespace without any address has none
            return f"{destination.key.address} must be unicast, and this machine must have an address of its own"
        case AddService() | AddDestination() | StartSync() if number == errno.EEXIST:
            return "something else made it in the meantime"
        case _ if number in (errno.ESRCH, errno.ENOENT):
            return "something else removed it in the meantime"
        case _ if number == errno.EPERM:
            return "CAP_NET_ADMIN is needed"
    return ""


def _refused(what: str, reply: Reply) -> KernelError:
    return KernelError(what, reply.errno, reply.text)
