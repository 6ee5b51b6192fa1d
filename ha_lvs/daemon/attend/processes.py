"""Processes by name: whether enough of them live.

Rules that hold here:
* A death is told by the process's pidfd, at once. A zombie is dead.
* A birth is told by the kernel's proc connector where we may listen to it (CAP_NET_ADMIN, in the first network, user
  and process namespace); until the kernel has confirmed that it tells us, and elsewhere, /proc is looked through every
  second. What the connector lost is found in /proc, too.
* The connector tells of every fork of the machine. It is listened to with a pause after each reading, so that a machine
  that starts thousands of processes costs us little.

Source: linux/connector.h, linux/cn_proc.h, proc_pid_stat(5), pidfd_open(2).
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from ha_lvs.daemon.attend.scripts import Report
from ha_lvs.model import ProcessTrack

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
LOOK_ANYWAY_S = 30.0
PAUSE_S = 0.02
NAME_BYTES = 15  # TASK_COMM_LEN without its NUL
DEAD = frozenset("ZXx")

_PROC = Path("/proc")
_NETLINK_CONNECTOR = 11
_CN_IDX_PROC = _CN_VAL_PROC = 1
_LISTEN = 1
_NONE, _FORK, _EXEC, _COMM = 0, 1, 2, 0x200
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_CONNECTOR = struct.Struct("=IIIIHH")  # cn_msg
_EVENT = struct.Struct("=IIQ")  # what, cpu, timestamp
_TWO, _FOUR, _WORD = struct.Struct("=II"), struct.Struct("=IIII"), struct.Struct("=I")
_BODY = _HEADER.size + _CONNECTOR.size


class ProcessTracker:
    """All tracked names of processes.

    Arguments:
        tracks: names, and how many of each must live.
        report: told how each is at the start and whenever one is born or dies.
    """

    def __init__(self, tracks: Sequence[ProcessTrack], report: Report) -> None:
        self._tracks = tracks
        self._report = report
        self._wanted = {_short(track.program) for track in tracks}
        self._living: dict[int, str] = {}
        self._pidfds: dict[int, int] = {}
        self._connector: socket.socket | None = None
        self._told = False  # the kernel has confirmed that it tells us of births

    async def run(self) -> None:
        """Watches until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            try:
                self._connector = _listen()
                loop.add_reader(self._connector.fileno(), self._hear)
            except OSError as problem:
                names = ", ".join(track.name for track in self._tracks)
                log.info("looking every second instead of being told", what=names, detail=str(problem))
            while True:
                self._look()
                await asyncio.sleep(LOOK_ANYWAY_S if self._told else LOOK_EVERY_S)
        finally:
            for pid in list(self._living):
                self._forget(pid)
            if self._connector is not None:
                loop.remove_reader(self._connector.fileno())
                self._connector.close()
                self._connector = None

    # ------------------------------------------------------------------------------------------ who lives

    def _look(self) -> None:
        """Compares what is known with what is in /proc."""
        found = {int(entry.name) for entry in os.scandir(_PROC) if entry.name.isdigit()}
        for pid in [*found, *(self._living.keys() - found)]:
            self._examine(pid)
        self._judge()

    def _examine(self, pid: int) -> None:
        name = _living_name(pid)
        known = self._living.get(pid)
        if name == known:
            return
        if known is not None:
            self._forget(pid)
        if name not in self._wanted or name is None:
            return
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        except OSError:
            self._living[pid] = name  # no descriptor left for it: the next look will tell
            return
        if _living_name(pid) != name:  # the number may have been another's when the descriptor was made
            os.close(pidfd)
            return
        self._living[pid], self._pidfds[pid] = name, pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._died, pid)

    def _died(self, pid: int) -> None:
        self._forget(pid)
        self._judge()

    def _forget(self, pid: int) -> None:
        self._living.pop(pid, None)
        pidfd = self._pidfds.pop(pid, -1)
        if pidfd >= 0:
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)

    def _judge(self) -> None:
        names = list(self._living.values())
        for track in self._tracks:
            count = names.count(_short(track.program))
            living = f"{count} of {track.program} live" if count != 1 else f"1 of {track.program} lives"
            self._report(track.name, count >= track.quorum, f"{living}, at least {track.quorum} must")

    # ------------------------------------------------------------------------------------- the connector

    def _hear(self) -> None:
        connector = self._connector
        if connector is None:
            return
        loop = asyncio.get_running_loop()
        suspects: dict[int, None] = {}
        lost = False
        while True:
            try:
                data = connector.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: more has happened than was kept for us
                lost = True
                break
            for what, pid in _events(data):
                if what == _NONE:
                    self._told = pid == 0
                else:
                    suspects[pid] = None
        if lost:
            self._look()
        else:
            known = len(self._living), tuple(self._living)
            for pid in suspects:
                self._examine(pid)
            if (len(self._living), tuple(self._living)) != known:
                self._judge()
        loop.remove_reader(connector.fileno())
        loop.call_later(PAUSE_S, self._listen_again)

    def _listen_again(self) -> None:
        if self._connector is not None:
            asyncio.get_running_loop().add_reader(self._connector.fileno(), self._hear)


def _short(program: str) -> str:
    """A name as the kernel keeps it."""
    return os.fsdecode(os.fsencode(program)[:NAME_BYTES])


def _living_name(pid: int) -> str | None:
    """The name of a process that lives, else None."""
    try:
        data = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    before, _, after = data.rpartition(b")")
    state = after.split(maxsplit=1)[0].decode() if after.split() else "X"
    return None if state in DEAD else os.fsdecode(before.partition(b"(")[2])


def _listen() -> socket.socket:
    """A socket on which the kernel is asked to tell of births.

    Errors: OSError where it is not for us.
    """
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_NETLINK, kind, _NETLINK_CONNECTOR)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind((0, _CN_IDX_PROC))
        body = _CONNECTOR.pack(_CN_IDX_PROC, _CN_VAL_PROC, 0, 0, _WORD.size, 0) + _WORD.pack(_LISTEN)
        done = 3  # NLMSG_DONE
        sock.send(_HEADER.pack(_HEADER.size + len(body), done, 0, 0, 0) + body)
    except BaseException:
        sock.close()
        raise
    return sock


def _events(data: bytes) -> Iterator[tuple[int, int]]:
    """Pairs of what has happened and to whom; for the confirmation (`_NONE`), its error number instead."""
    if len(data) < _BODY + _EVENT.size + _FOUR.size:
        return
    what = _EVENT.unpack_from(data, _BODY)[0]
    at = _BODY + _EVENT.size
    if what == _NONE:
        yield what, _WORD.unpack_from(data, at)[0]
    elif what == _FORK:
        pid, group = _FOUR.unpack_from(data, at)[2:]
        if pid == group:  # else it is a thread
            yield what, pid
    elif what in (_EXEC, _COMM):
        pid, group = _TWO.unpack_from(data, at)
        if pid == group:
            yield what, pid
