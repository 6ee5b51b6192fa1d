"""Files whose presence counts, told by inotify(7) at once; looked at every second only where that cannot be had.

Rules that hold here:
* All directories on the way to a file are watched, so that it is noticed when one of them is made, renamed or removed.
* Watches are set before the look, from / on downwards: what appears after the look is told.
* What lies in the directory under the name counts, be it a link that leads nowhere.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import structlog

from ha_lvs.daemon.attend.scripts import Report
from ha_lvs.model import FileTrack

log = structlog.get_logger()

LOOK_EVERY_S = 1.0

_EVENT = struct.Struct("=iIII")  # struct inotify_event of linux/inotify.h, without the name
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x40, 0x80, 0x100, 0x200, 0x400, 0x800
_OVERFLOW, _IGNORED, _ONLYDIR = 0x4000, 0x8000, 0x01000000
_MASK = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
_libc = ctypes.CDLL(None, use_errno=True)


class FileTracker:
    """All tracked files.

    Arguments:
        tracks: what to look for.
        report: told the state of each at the start, and when something happens in a directory on its way.
    """

    def __init__(self, tracks: Sequence[FileTrack], report: Report) -> None:
        self._tracks = tracks
        self._report = report
        self._inotify = -1
        self._watches: dict[int, Path] = {}
        self._names = {
            (place.parent, place.name) for track in tracks for place in (Path(track.path), *Path(track.path).parents)
        }
        self._polled: set[str] = set()

    async def run(self) -> None:
        """Watches until cancelled."""
        loop = asyncio.get_running_loop()
        self._inotify = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._inotify < 0:
            self._fall_back([track.name for track in self._tracks], ctypes.get_errno())
        else:
            loop.add_reader(self._inotify, self._read)
        try:
            self._look_at_all()
            while True:
                await asyncio.sleep(LOOK_EVERY_S if self._polled else 3600.0)
                for track in self._tracks:
                    if track.name in self._polled:
                        self._look(track)
        finally:
            if self._inotify >= 0:
                loop.remove_reader(self._inotify)
                os.close(self._inotify)

    def _read(self) -> None:
        try:
            data = os.read(self._inotify, 1 << 16)
        except BlockingIOError:
            return
        offset, matters = 0, False
        while offset < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, offset)
            name = os.fsdecode(data[offset + _EVENT.size :][:length].rstrip(b"\0"))
            offset += _EVENT.size + length
            directory = self._watches.get(watch)
            if mask & (_OVERFLOW | _IGNORED | _DELETE_SELF | _MOVE_SELF):
                matters = True
                if mask & _IGNORED:
                    self._watches.pop(watch, None)
            elif directory is not None and (directory, name) in self._names:
                matters = True
        if matters:
            self._look_at_all()

    def _look_at_all(self) -> None:
        for track in self._tracks:
            if self._inotify >= 0 and track.name not in self._polled:
                self._watch(track)
            self._look(track)

    def _watch(self, track: FileTrack) -> None:
        """Watches the directories on the way, as far as there are any."""
        for directory in reversed(Path(track.path).parents):
            watch = _libc.inotify_add_watch(self._inotify, os.fsencode(directory), _MASK)
            if watch >= 0:
                self._watches[watch] = directory
                continue
            number = ctypes.get_errno()
            if not isinstance(_error(number), FileNotFoundError | NotADirectoryError):
                self._fall_back([track.name], number)
            return

    def _look(self, track: FileTrack) -> None:
        there = os.path.lexists(track.path)
        self._report(track.name, there is not track.absent, f"{track.path} is {'there' if there else 'not there'}")

    def _fall_back(self, names: Sequence[str], number: int) -> None:
        self._polled.update(names)
        log.info("looking every second instead of being told", what=", ".join(names), detail=os.strerror(number))


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))  # of the subclass that fits the number
