"""Heartbeats at work in a test: the loop that an elector gives them, in a thread of its own."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from ha_lvs.daemon.heartbeat import Heartbeat
from ha_lvs.drill.lab.hosts import Host
from ha_lvs.model import BfdSession, IPAddress

PRIORITY = 50
MOST_S = 0.2
"""Between two turns of the loop, so that it notices what it is asked to do."""


def session(
    source: str, peer: str, interval_s: float = 0.020, multiplier: int = 3, interface: str = "e0"
) -> BfdSession:
    """A session between two addresses."""
    return BfdSession(interface, ip_address(source), ip_address(peer), interval_s, multiplier)


@dataclass
class Story:
    """What a heartbeat has told, in order: (when, "up" or the reason, planned)."""

    changes: list[tuple[float, str, bool]] = field(default_factory=list)
    logged: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def went_up(self, _peer: IPAddress) -> None:
        """As a heartbeat calls it."""
        self.changes.append((time.monotonic(), "up", True))

    def went_down(self, _peer: IPAddress, reason: str, planned: bool) -> None:
        """As a heartbeat calls it."""
        self.changes.append((time.monotonic(), reason, planned))

    def log(self, level: str, event: str, **fields: Any) -> None:
        """As a heartbeat calls it."""
        self.logged.append((level, event, fields))

    @property
    def ends(self) -> list[tuple[str, bool]]:
        """Each end of the session: why, and whether it was planned."""
        return [(reason, planned) for _, reason, planned in self.changes if reason != "up"]

    @property
    def events(self) -> set[str]:
        """The phrases that were logged."""
        return {event for _, event, _ in self.logged}


class Loop:
    """A loop as the elector's: waits for sockets and deadlines, reads all, then ticks all.

    Arguments:
        host: where it runs; otherwise only the sockets of its heartbeats are on their hosts.
    """

    def __init__(self, host: Host | None = None) -> None:
        self._host = host
        self.heartbeats: list[Heartbeat] = []
        self._asked: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake_reader, self._wake_writer = os.pipe()
        self._ending = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Loop:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        os.write(self._wake_writer, b".")
        self._thread.join(10)
        for heartbeat in self.heartbeats:
            heartbeat.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def do(self, what: Callable[[], Any]) -> Any:
        """Has something done between two turns, and returns what it gives."""
        done: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def work() -> None:
            try:
                done.put((what(), None))
            except BaseException as problem:
                done.put((None, problem))

        self._asked.put(work)
        os.write(self._wake_writer, b".")
        result, problem = done.get(timeout=20)
        if problem is not None:
            raise problem
        return result

    def add(self, host: Host, config: BfdSession, inherited: dict[str, Any] | None = None) -> tuple[Heartbeat, Story]:
        """A new heartbeat on a host, and what it tells."""
        story = Story()

        def make() -> Heartbeat:
            with host.inside():
                heartbeat = Heartbeat(config, story.log, story.went_down, story.went_up, inherited)
            self.heartbeats.append(heartbeat)
            return heartbeat

        heartbeat: Heartbeat = self.do(make)
        return heartbeat, story

    def remove(self, heartbeat: Heartbeat) -> None:
        """Gives a heartbeat no turn any more and closes it: as sudden as the death of its process."""

        def end() -> None:
            self.heartbeats.remove(heartbeat)
            heartbeat.close()

        self.do(end)

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # as the elector, where it is allowed
            os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
        with self._host.inside() if self._host is not None else contextlib.nullcontext():
            self._turns()

    def _turns(self) -> None:
        while not self._ending:
            now = time.monotonic()
            deadlines = [each.deadline for each in self.heartbeats]
            until = min([now + MOST_S, *(at for at in deadlines if at is not None)])
            watched: list[Any] = [self._wake_reader, *self.heartbeats]
            ready = select.select(watched, [], [], max(0.0, until - now))[0]
            if self._wake_reader in ready:
                os.read(self._wake_reader, 4096)
            for heartbeat in self.heartbeats:
                heartbeat.read()
            now = time.monotonic()
            for heartbeat in self.heartbeats:
                heartbeat.tick(now)
            with contextlib.suppress(queue.Empty):
                while True:
                    self._asked.get_nowait()()


@contextlib.contextmanager
def loops(count: int) -> Iterator[list[Loop]]:
    """Several loops, each in its thread."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Loop()) for _ in range(count)]
