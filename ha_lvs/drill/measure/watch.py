"""The eyes of demo and drills: the kernels of both directors and the load generator, seen from outside the pair.

Rules that hold here:
* Who holds the virtual IP and what IPVS contains is read from the kernel, not asked from the daemons that are on trial.
* The kernel says itself when an address changes; nothing is polled for that, so the time is exact and costs nothing.
* A file of `/proc/thread-self/net` belongs to the namespace in which it was opened, and can be read again from its
  beginning: no process is started for a look.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.drill.measure.events import Emit, Emitter, Event
from ha_lvs.errors import HaLvsError, LabError

_RTMGRP_IPV4_IFADDR = 0x10  # linux/rtnetlink.h
ROLES_EVERY_S = 0.5


class KernelTable:
    """A file of `/proc/net` in a host's namespace, to be read again and again.

    Arguments:
        host: whose.
        name: of the file, for example ``ip_vs``.
    """

    def __init__(self, host: Host, name: str) -> None:
        with host.inside():
            self._fd = os.open(f"/proc/thread-self/net/{name}", os.O_RDONLY)

    def read(self) -> str:
        """What it contains now."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        return b"".join(iter(lambda: os.read(self._fd, 1 << 16), b"")).decode()

    def close(self) -> None:
        """Gives the descriptor back."""
        os.close(self._fd)


class Watch:
    """Tells who holds the virtual IP and which roles the directors claim, each time it changes. A context manager.

    Arguments:
        directors: by name.
        virtual_ip: the address that moves.
        emit: where ``holders`` and ``roles`` go.
    """

    def __init__(self, directors: dict[str, tuple[Host, Director]], virtual_ip: str, emit: Emit) -> None:
        self._directors = directors
        self._virtual_ip = virtual_ip
        self._emit = emit
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch_holders, daemon=True),
            threading.Thread(target=self._watch_roles, daemon=True),
        ]
        self._sockets: dict[str, socket.socket] = {}
        self.holders: tuple[str, ...] = ()
        self.roles: dict[str, str] = {}
        self.held_since: dict[str, float] = {}

    def __enter__(self) -> Watch:
        for name, (host, _) in self._directors.items():
            with host.inside():
                sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            sock.bind((0, _RTMGRP_IPV4_IFADDR))
            sock.setblocking(False)
            self._sockets[name] = sock
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        for sock in self._sockets.values():
            sock.close()

    def _watch_holders(self) -> None:
        with selectors.DefaultSelector() as selector:
            for sock in self._sockets.values():
                selector.register(sock, selectors.EVENT_READ)
            self._look()
            while not self._over.is_set():
                ready = selector.select(0.2)
                at_s = time.monotonic()
                for key, _ in ready:
                    _drain(key.fileobj)
                if ready:
                    self._look(at_s)

    def _look(self, at_s: float = 0.0) -> None:
        holders = tuple(name for name, (host, _) in self._directors.items() if self._virtual_ip in host.addresses())
        if holders == self.holders:
            return
        at_s = at_s or time.monotonic()
        for name in holders:
            self.held_since.setdefault(name, at_s)
        for name in set(self.held_since) - set(holders):
            del self.held_since[name]
        self.holders = holders
        self._emit("holders", nodes=list(holders), t=round(at_s, 4))

    def _watch_roles(self) -> None:
        while not self._over.wait(ROLES_EVERY_S * min(PACE, 2)):
            roles = {name: role_of(director) for name, (_, director) in self._directors.items()}
            if roles != self.roles:
                self.roles = roles
                self._emit("roles", nodes=roles)


def role_of(director: Director) -> str:
    """The role that a director claims, or ``no answer``."""
    try:
        instances = director.status()["instances"]
    except (HaLvsError, OSError, KeyError, ValueError):
        return "no answer"
    return str(next(iter(instances.values()))["role"])


def _drain(sock: Any) -> None:
    try:
        while sock.recv(1 << 16):
            pass
    except BlockingIOError:
        pass
    except OSError:
        pass  # ENOBUFS: notices were lost, the look that follows sees what they were about


class LoadProcess:
    """The running load generator: passes its events on and remembers what is waited for. A context manager.

    Arguments:
        start: starts it with pipes for standard input and output.
        emitter: where its events go.
    """

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]], emitter: Emitter) -> None:
        self._start = start
        self._emitter = emitter
        self._seen: dict[str, Event] = {}

    def __enter__(self) -> LoadProcess:
        self._process = self._start()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()

    def wait(self, event: str, timeout_s: float, what: str, condition: Callable[[Event], bool]) -> Event:
        """The latest event of its kind as soon as it meets the condition.

        Errors: LabError when that takes longer, or the load generator has ended before.
        """

        def look() -> Event | None:
            told = self._seen.get(event)
            if told is not None and condition(told):
                return told
            if event != "summary" and self._process.poll() is not None:
                raise LabError(f"the load generator ended with exit code {self._process.returncode}")
            return None

        found = wait_for(look, timeout_s, what, every_s=0.05)
        assert found is not None
        return found

    def verify(self, name: str, deadline_s: float) -> Event:
        """Has every connection answer once more.

        Arguments:
            name: under which the result is known.
            deadline_s: within how many seconds; a slow lab gets only a little more, as TCP's timers are not slower.
        """
        self._tell(f"verify {name} {deadline_s * min(PACE, 3):.1f}")
        return self.wait(
            "verified",
            2 * deadline_s + 5,
            f"the connections to be verified ({name})",
            lambda told: bool(told["name"] == name),
        )

    def stop(self) -> None:
        """Ends it and waits for its summary."""
        self._tell("stop")
        self.wait("summary", 10, "the load generator's summary", lambda _: True)

    def _tell(self, command: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            event: Event = json.loads(line)
            self._seen[event["event"]] = event
            self._emitter.pass_on(line)
