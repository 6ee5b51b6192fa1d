"""The elector process: VRRP timers and sockets, virtual IPs, announcements, and nothing else.

It shares its life with nothing that can be slow: no YAML, no log files, no asyncio, no netlink library. What it has to
say goes to the guardian and to the director in frames that are dropped rather than waited for.

The loop waits with `select`, whose time-out has microseconds (epoll's is rounded up to milliseconds in Python), and
looks at the sockets before the timers, so that a late loop never declares dead whoever has spoken meanwhile.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import select
import signal
import sys
from typing import Any

from ha_lvs.daemon.channel import Alive, Channel, Hello, InstanceState, LogRecord, Stop, from_json
from ha_lvs.daemon.instance import Instance
from ha_lvs.daemon.process import monotonic, set_process_name, signals_as_readable
from ha_lvs.daemon.realtime import go_realtime
from ha_lvs.errors import ChannelError, HaLvsError
from ha_lvs.model import ElectorPart

REPORT_EVERY_S = 1.0
COLLECT_EVERY_S = 60.0


class Elector:
    """All instances of this node and the channels to the guardian and the director.

    Arguments:
        part: the elector's part of the config.
        guardian, director: channels to them.

    Errors: PlatformError when an interface is missing or a socket is not allowed.
    """

    def __init__(self, part: ElectorPart, guardian: Channel, director: Channel) -> None:
        self._guardian = guardian
        self._director = director
        self._reported: dict[str, InstanceState] = {}
        self._stopping = False
        self.instances = [Instance(config, self.log, self._report) for config in part.instances]

    def log(self, level: str, event: str, **fields: Any) -> None:
        """Hands an event to the guardian, which writes it down."""
        self._guardian.send(LogRecord(level, event, fields))

    def run(self) -> None:
        """Takes part in the election until told to stop, or until the guardian is gone; then resigns."""
        terminated = signals_as_readable([signal.SIGTERM])
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # they reach the whole group; the guardian decides
        for missing in go_realtime():
            self.log("warning", "less than real time", missing=missing)
        for instance in self.instances:
            instance.start()
        report_at = collect_at = monotonic()
        while not self._stopping:
            readable = self._wait(terminated, report_at)
            for instance in self.instances:
                instance.read()
            now = monotonic()
            for instance in self.instances:
                instance.tick(now)
            if terminated in readable:
                os.read(terminated, 64)
                self._stopping = True
            self._read_channels(readable)
            if now >= report_at:
                self._report_all()
                report_at = now + REPORT_EVERY_S
            if now >= collect_at:
                gc.collect()
                collect_at = now + COLLECT_EVERY_S
        for instance in self.instances:
            instance.stop()

    def _wait(self, terminated: int, report_at: float) -> list[Any]:
        watched: list[Any] = [terminated, self._guardian, *(instance.adverts for instance in self.instances)]
        if not self._director.closed:
            watched.append(self._director)
        deadlines = [each.machine.deadline for each in self.instances]
        until = min([report_at, *(at for at in deadlines if at is not None)])
        return select.select(watched, [], [], max(0.0, until - monotonic()))[0]

    def _read_channels(self, readable: list[Any]) -> None:
        if self._guardian in readable:
            for frame in _frames(self._guardian):
                if isinstance(frame, Stop):
                    self._stopping = True
                elif isinstance(frame, Hello):
                    self._tell_all(self._guardian)
            if self._guardian.closed:  # nobody is left to withdraw the addresses if we die: let the peer have them
                self._stopping = True
        if self._director in readable:
            for frame in _frames(self._director):
                if isinstance(frame, Hello):
                    self._tell_all(self._director)

    def _tell_all(self, channel: Channel) -> None:
        for instance in self.instances:
            channel.send(instance.state())

    def _report(self, instance: Instance) -> None:
        state = instance.state()
        told = [self._guardian.send(state), self._director.send(state)]
        if all(told):
            self._reported[state.instance] = state

    def _report_all(self) -> None:
        self._guardian.send(Alive())
        for instance in self.instances:
            if self._reported.get(instance.config.name) != instance.state():
                self._report(instance)


def _frames(channel: Channel) -> list[Any]:
    try:
        return channel.receive()
    except ChannelError:
        return []  # an unknown frame is nothing to die of here


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `python -m ha_lvs.daemon.elector`; returns the exit code."""
    parser = argparse.ArgumentParser(description="the elector process of ha-lvs run; started by the guardian")
    for option in ("--part-fd", "--guardian-fd", "--director-fd"):
        parser.add_argument(option, type=int, required=True)
    options = parser.parse_args(arguments)
    set_process_name("ha-lvs-elector")
    with os.fdopen(options.part_fd, "rb") as stream:
        part = from_json(ElectorPart, json.load(stream))
    guardian = Channel.from_fd(options.guardian_fd)
    try:
        Elector(part, guardian, Channel.from_fd(options.director_fd)).run()
    except HaLvsError as problem:
        guardian.send(LogRecord("error", "elector cannot run", {"detail": str(problem)}))
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
