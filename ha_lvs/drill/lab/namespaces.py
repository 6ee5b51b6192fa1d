"""Network namespaces without a process for every look: entering them, and route netlink inside.

A process costs 100 ms where the lab is emulated, so what tests poll is asked of the kernel directly. Rules:
* A thread is in a namespace only within `inside`, and children started there stay there.
* A netlink socket belongs to the namespace in which it was made, for good.
* Names say whose they are: ``hlv.LAB.PID.RANDOM.HOST``; what a dead PID left behind can be swept away.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ha_lvs.errors import LabError
from ha_lvs.wire import rtnetlink

DIRECTORY = Path("/run/netns")
CLONE_NEWNET = 0x40000000
RTM_NEWLINK = 16
IFLA_MASTER = 10
NETLINK_ROUTE = 0
_OWNED = re.compile(r"hlv\.[^.]+\.(?P<pid>\d+)\.[0-9a-f]+\.[^.]+")
_LINK_REQUEST = struct.Struct("=IHHII BxHiII HHI")
_libc = ctypes.CDLL(None, use_errno=True)


def unique_prefix(lab: str) -> str:
    """The beginning of every namespace name of a new lab."""
    return f"hlv.{lab.replace('.', '-')[:12]}.{os.getpid()}.{os.urandom(3).hex()}."


def batch(commands: Iterable[str], program: str = "ip") -> None:
    """Runs commands of iproute2 in one process, in the namespace of the calling thread.

    Errors: LabError with what `ip` said about the line that failed.
    """
    finish_batch(start_batch(commands, program))


def ask(command: str) -> list[dict[str, Any]]:
    """What `ip` shows, in all detail, in the calling thread's namespace.

    Errors: LabError.
    """
    ran = subprocess.run(["ip", "-d", "-j", *command.split()], check=False, capture_output=True, text=True)
    if ran.returncode:
        raise LabError(f"ip {command}: {ran.stderr.strip()}")
    found: list[dict[str, Any]] = json.loads(ran.stdout or "[]")
    return [each for each in found if each]


def start_batch(commands: Iterable[str], program: str = "ip") -> subprocess.Popen[str]:
    """The same, not waited for: several namespaces are set up side by side."""
    process = subprocess.Popen(
        [program, "-batch", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdin is not None
    process.stdin.write("".join(f"{command}\n" for command in commands))
    process.stdin.close()
    process.stdin = None
    return process


def finish_batch(process: subprocess.Popen[str]) -> None:
    """Waits for `start_batch`.

    Errors: LabError with what was said about the line that failed.
    """
    output, _ = process.communicate()
    if process.returncode != 0:
        raise LabError(f"the lab's network refused a request: {output.strip()}")


class Namespace:
    """A network namespace that exists, held open.

    Arguments:
        name: as `ip netns` lists it.

    Errors: LabError when there is none of that name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            self._fd = os.open(DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as problem:
            raise LabError(f"network namespace {name} cannot be opened: {problem}") from problem
        self._route: socket.socket | None = None
        self._indices: dict[str, int] = {}
        self._sequence = 0

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread is in the namespace; sockets made and processes started here belong there.

        ``/proc/self/net`` shows the main thread's namespace; other threads look at ``/proc/thread-self/net``.
        """
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(self._fd)
            try:
                yield
            finally:
                _enter(before)
        finally:
            os.close(before)

    def index(self, interface: str) -> int:
        """The index of an interface.

        Errors: LabError when there is no such interface.
        """
        if interface not in self._indices:
            try:
                with self.inside():
                    self._indices[interface] = socket.if_nametoindex(interface)
            except OSError as problem:
                raise LabError(f"namespace {self.name} has no interface {interface}") from problem
        return self._indices[interface]

    def addresses(self, interface: str, version: int = 4) -> set[str]:
        """The addresses on an interface at this moment, of IP version 4, or 6 without the link-local ones."""
        index = self.index(interface)
        self._sequence += 1
        found: set[str] = set()
        route = self._socket()
        family = rtnetlink.AF_INET if version == 4 else rtnetlink.AF_INET6
        route.send(rtnetlink.list_addresses(self._sequence, family))
        while True:
            for part in rtnetlink.decode(route.recv(65536)):
                if isinstance(part, rtnetlink.Address):
                    if part.index == index and part.address.version == version and not _is_link_local(part):
                        found.add(str(part.address))
                elif isinstance(part, rtnetlink.Reply) and part.sequence == self._sequence:
                    return found

    def set_master(self, port: str, bridge: str | None) -> None:
        """Puts a port into a bridge, or takes it out.

        Errors: LabError when the kernel refuses.
        """
        self._sequence += 1
        master = self.index(bridge) if bridge else 0
        flags = rtnetlink.NLM_F_REQUEST | rtnetlink.NLM_F_ACK
        route = self._socket()
        route.send(
            _LINK_REQUEST.pack(
                _LINK_REQUEST.size, RTM_NEWLINK, flags, self._sequence, 0,
                socket.AF_UNSPEC, 0, self.index(port), 0, 0, 8, IFLA_MASTER, master,
            )
        )  # fmt: skip
        for part in rtnetlink.decode(route.recv(65536)):
            if isinstance(part, rtnetlink.Reply) and part.errno != 0:
                raise LabError(f"switch port {port}: {os.strerror(part.errno)}")

    def close(self) -> None:
        """Lets go of the namespace; it stays until its name is deleted."""
        if self._route is not None:
            self._route.close()
            self._route = None
        os.close(self._fd)

    def _socket(self) -> socket.socket:
        if self._route is None:
            with self.inside():
                self._route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
        return self._route


def _is_link_local(found: rtnetlink.Address) -> bool:
    return found.address.version == 6 and found.address.is_link_local


def remove(names: Iterable[str]) -> None:
    """Kills what still runs in these namespaces and deletes them."""
    names = [name for name in names if (DIRECTORY / name).exists()]
    if not names:
        return
    inodes = {(DIRECTORY / name).stat().st_ino for name in names}
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):
                if (process / "ns" / "net").stat().st_ino in inodes:
                    os.kill(int(process.name), signal.SIGKILL)
    batch(f"netns del {name}" for name in names)


def remove_leftovers() -> None:
    """Deletes the namespaces of labs whose process is gone."""
    if not DIRECTORY.is_dir():
        return
    owned = [match for match in (_OWNED.fullmatch(entry.name) for entry in DIRECTORY.iterdir()) if match]
    # Another lab may be sweeping at the same moment; whoever comes second finds nothing to do.
    with contextlib.suppress(LabError, OSError):
        remove(match[0] for match in owned if not Path("/proc", match["pid"]).exists())


def _enter(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise LabError(f"cannot enter a network namespace: {os.strerror(number)}; the lab needs root")
