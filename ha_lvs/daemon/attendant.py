"""The attendant process: it knows what surrounds the election, and decides nothing.

It tracks scripts, files and processes, asks witnesses, looks for duplicates of the virtual IPs, and tells others of
changes of role and of quorum. Rules that hold here:
* What it finds goes to the elector: changes only, everything on the elector's `Hello`. What the elector makes of it is
  the elector's affair.
* It never blocks anybody: frames are dropped into channels, subscribers are dropped, scripts are killed.
* One thread. Scripts are started by a fork in which some Python runs before the exec, which is safe only so.
* It outlives an elector, whose end of the channel the guardian keeps, but not the guardian.
* When one of its parts fails in a way that nobody thought of, the process ends, and the guardian starts another.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import structlog

from ha_lvs.daemon import memory
from ha_lvs.daemon.attend.duplicates import DuplicateDetector
from ha_lvs.daemon.attend.files import FileTracker
from ha_lvs.daemon.attend.notify import Notifier
from ha_lvs.daemon.attend.processes import ProcessTracker
from ha_lvs.daemon.attend.scripts import ScriptTracker
from ha_lvs.daemon.attend.states import States
from ha_lvs.daemon.attend.subscribers import Subscribers
from ha_lvs.daemon.attend.witnesses import WitnessProber
from ha_lvs.daemon.channel import Alive, Channel, Hello, InstanceState, Quorums, Stop, Unreadable
from ha_lvs.daemon.process import raise_file_limit, set_process_name
from ha_lvs.model import AttendantPart
from ha_lvs.observe import logs

log = structlog.get_logger()

ALIVE_EVERY_S = 1.0
NOTIFY_AT_STOP_S = 7.0
"""For so long the last notifications may take at a planned stop; the guardian waits for 10 s."""
CANCELLED_WITHIN_S = 3.0


class Attendant:
    """The process, apart from its command line.

    Arguments:
        part: the attendant's part of the config.
        guardian, elector: the channels to them.
        runtime_dir: where the socket of events is, and the note of what has been notified.
    """

    def __init__(self, part: AttendantPart, guardian: Channel, elector: Channel, runtime_dir: Path) -> None:
        self._guardian, self._elector = guardian, elector
        self._runtime_dir = runtime_dir
        self._instances = {instance.name for instance in part.instances}
        self._states = States(elector)
        self._notifier = Notifier(part.node, part.notify, runtime_dir)
        self._duplicates = DuplicateDetector(part.instances, self._states.duplicate)
        self._stopping = asyncio.Event()
        self._planned = False
        self._work = self._parts(part)

    def _parts(self, part: AttendantPart) -> list[Coroutine[Any, Any, None]]:
        """Everything that goes on beside each other."""
        work = [self._beat(), self._duplicates.run()]
        work += [ScriptTracker(track, self._states.track).run() for track in part.scripts]
        if part.files:
            work.append(FileTracker(part.files, self._states.track).run())
        if part.processes:
            work.append(ProcessTracker(part.processes, self._states.track).run())
        moving = {ip.address for instance in part.instances for ip in instance.virtual_ips}
        for instance in part.instances:
            if instance.witnesses is not None:
                prober = WitnessProber(instance.name, instance.witnesses, moving, self._states.witness)
                work.append(prober.run())
        return work

    async def run(self) -> None:
        """Works until told to stop or until the guardian is gone."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, lambda: None)  # they reach the whole group; the guardian decides
        loop.add_signal_handler(signal.SIGTERM, self._stop, False)
        subscribers: Subscribers | None = None
        try:
            subscribers = Subscribers(self._runtime_dir, self._notifier.snapshot)
        except OSError as problem:
            log.error("events not served", detail=str(problem))
        self._notifier.subscribers = subscribers
        for channel in (self._guardian, self._elector):
            loop.add_reader(channel.fileno(), self._read, channel)
        self._states.hello()
        tasks = [loop.create_task(each) for each in self._work]
        stopping = loop.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises what has ended a part that should not end
        finally:
            for task in (stopping, *tasks[1:]):  # the first one is the sign of life
                task.cancel()
            await asyncio.wait({stopping, *tasks[1:]}, timeout=CANCELLED_WITHIN_S)
            self._read(self._elector)  # the elector's last words come before the order to stop
            await self._notifier.drain(NOTIFY_AT_STOP_S if self._planned else 0.0)
            tasks[0].cancel()
            self._states.close()
            if subscribers is not None:
                subscribers.close()

    def _stop(self, planned: bool) -> None:
        self._planned = planned
        self._stopping.set()

    async def _beat(self) -> None:
        while True:
            self._guardian.send(Alive())
            await asyncio.sleep(ALIVE_EVERY_S)

    def _read(self, channel: Channel) -> None:
        if channel.closed:
            return
        for frame in channel.receive():
            if isinstance(frame, Unreadable):
                log.error("frame ignored", detail=frame.detail)
            self._handle(frame, channel)
        self._look_for_the_end(channel)

    def _look_for_the_end(self, channel: Channel) -> None:
        if channel.closed:
            asyncio.get_running_loop().remove_reader(channel.fileno())
            if channel is self._guardian:
                self._stop(self._planned)

    def _handle(self, frame: object, channel: Channel) -> None:
        match frame:
            case InstanceState():  # the guardian tells it in the place of an elector that has died
                if frame.instance in self._instances:
                    self._duplicates.heard(frame)
                    self._notifier.heard(frame)
            case Quorums() if channel is self._guardian:
                self._notifier.heard_quorums(frame)
            case Hello() if channel is self._elector:
                self._states.tell_all()
            case Hello():
                self._guardian.send(Alive())
            case Stop() if channel is self._guardian:
                self._stop(True)
            case _:
                log.error("frame ignored", detail=f"{type(frame).__name__} is not for the attendant")


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `python -m ha_lvs.daemon.attendant`; returns the exit code."""
    parser = argparse.ArgumentParser(description="the attendant process of ha-lvs run; started by the guardian")
    for option in ("--part-fd", "--guardian-fd", "--elector-fd"):
        parser.add_argument(option, type=int, required=True)
    parser.add_argument("--runtime-dir", type=Path, required=True)
    parser.add_argument("--log-level", default="info")
    options = parser.parse_args(arguments)
    set_process_name("ha-lvs-attend")
    raise_file_limit()
    logs.configure(options.log_level, by="attendant")
    part = memory.read(AttendantPart, options.part_fd)
    guardian, elector = Channel.from_fd(options.guardian_fd), Channel.from_fd(options.elector_fd)
    for channel in (guardian, elector):
        os.set_inheritable(channel.fileno(), False)
    try:
        asyncio.run(_run(part, guardian, elector, options.runtime_dir))
    except Exception as problem:
        log.error("attendant failed", detail=f"{type(problem).__name__}: {problem}", exc_info=True)
        return 1
    return 0


async def _run(part: AttendantPart, guardian: Channel, elector: Channel, runtime_dir: Path) -> None:
    with contextlib.closing(guardian), contextlib.closing(elector):
        await Attendant(part, guardian, elector, runtime_dir).run()


if __name__ == "__main__":
    sys.exit(main())
