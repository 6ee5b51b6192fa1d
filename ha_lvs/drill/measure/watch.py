"""The eyes of demo and drills: the kernels of both directors, seen from outside the pair.

Rules that hold here:
* Who holds the virtual IP and what IPVS contains is read from the kernel, not asked from the daemons that are on trial.
* The kernel says itself when an address changes; nothing is polled for that, so the time is exact and costs nothing.
* A file of `/proc/thread-self/net` belongs to the namespace in which it was opened, and can be read again from its
  beginning: no process is started for a look.
* Every director is asked for its role by a thread of its own: a frozen one takes its time to not answer.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol

from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.waiting import PACE
from ha_lvs.drill.measure.events import Emit
from ha_lvs.drill.measure.proc_tables import destinations

_RTMGRP_IPV4_IFADDR = 0x10  # linux/rtnetlink.h
ROLES_EVERY_S = 0.5
ROLES_JOINED_S = 2.0
SERVICES_EVERY_S = 0.05
REALTIME_PRIORITY = 1
"""Of who takes the times, as of the load generator; far below that of the directors."""


class TellsRole(Protocol):
    """A director, of whatever make, that can be asked which role it claims."""

    def role(self) -> str:
        """``active``, ``backup``, ``initialize``, or ``no answer``."""


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

    `holders` has the directors with the address now, `held` has them as they changed (time, directors), and
    `held_since` when each of the present ones began.
    """

    def __init__(self, directors: Mapping[str, tuple[Host, TellsRole]], virtual_ip: str, emit: Emit) -> None:
        self._directors = directors
        self._virtual_ip = virtual_ip
        self._emit = emit
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._holders_thread = threading.Thread(target=self._watch_holders, daemon=True)
        self._role_threads = [
            threading.Thread(target=self._watch_role, args=(name,), daemon=True) for name in directors
        ]
        self._sockets: dict[str, socket.socket] = {}
        self.holders: tuple[str, ...] = ()
        self.held: list[tuple[float, tuple[str, ...]]] = []
        self.roles: dict[str, str] = {}
        self.held_since: dict[str, float] = {}

    def __enter__(self) -> Watch:
        for name, (host, _) in self._directors.items():
            with host.inside():
                sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            sock.bind((0, _RTMGRP_IPV4_IFADDR))
            sock.setblocking(False)
            self._sockets[name] = sock
        for thread in (self._holders_thread, *self._role_threads):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._over.set()
        self._holders_thread.join()
        # Who asks a frozen director is not waited for forever; it has nothing to say any more.
        for thread in self._role_threads:
            thread.join(ROLES_JOINED_S * PACE)
        for sock in self._sockets.values():
            sock.close()

    def _watch_holders(self) -> None:
        be_prompt_alone()
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
        self.held.append((at_s, holders))
        self._emit("holders", nodes=list(holders), t=round(at_s, 4))

    def _watch_role(self, name: str) -> None:
        _, director = self._directors[name]
        while not self._over.wait(ROLES_EVERY_S * min(PACE, 2)):
            role = director.role()
            with self._lock:
                if not self._over.is_set() and role != self.roles.get(name):
                    self.roles = {**self.roles, name: role}
                    self._emit("roles", nodes=self.roles)


class ServiceWatch:
    """Tells which real servers the holder of the virtual IP sends to, each time it changes. A context manager.

    Its kernel is looked at 20 times a second, less often in a slow lab: IPVS tells nobody when it changes.

    Arguments:
        directors: their hosts by name.
        servers: names of the real servers by address.
        listen: address and port of the service.
        watch: knows the holders.
        emit: where ``in_service`` goes.

    `seen` has what was told: (time, node, servers). While several hold the address it is about the one that has it
    for the shortest time; while nobody does, nothing is told.
    """

    def __init__(
        self,
        directors: Mapping[str, Host],
        servers: Mapping[str, str],
        listen: tuple[str, int],
        watch: Watch,
        emit: Emit,
    ) -> None:
        self._directors = directors
        self._servers = servers
        self._listen = listen
        self._watch = watch
        self._emit = emit
        self._tables: dict[str, KernelTable] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seen: list[tuple[float, str, frozenset[str]]] = []

    def __enter__(self) -> ServiceWatch:
        self._tables = {name: KernelTable(host, "ip_vs") for name, host in self._directors.items()}
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for table in self._tables.values():
            table.close()

    def _run(self) -> None:
        be_prompt_alone()
        while not self._over.wait(SERVICES_EVERY_S * min(PACE, 3)):
            since = dict(self._watch.held_since)
            holders = [name for name in self._watch.holders if name in since]
            if not holders:
                continue
            node = max(holders, key=since.__getitem__)
            found = destinations(self._tables[node].read(), *self._listen)
            servers = frozenset(self._servers.get(address, address) for address in found)
            if not self.seen or self.seen[-1][1:] != (node, servers):
                at_s = time.monotonic()
                self.seen.append((at_s, node, servers))
                self._emit("in_service", node=node, servers=sorted(servers), t=round(at_s, 4))


def be_prompt_alone() -> None:
    """Real-time priority, where allowed, for the calling thread alone: what it starts does not inherit it."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(REALTIME_PRIORITY))


def be_as_others() -> None:
    """Undoes `be_prompt_alone`."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _drain(sock: Any) -> None:
    try:
        while sock.recv(1 << 16):
            pass
    except BlockingIOError:
        pass
    except OSError:
        pass  # ENOBUFS: notices were lost, the look that follows sees what they were about
