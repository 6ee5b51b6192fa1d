"""Waiting for sockets and for a moment, to the microsecond and for any number of sockets.

`select` has the resolution and no more than 1024 descriptors; `epoll` takes any number and rounds time up to whole
milliseconds. So the moment is a descriptor, too: a timerfd on CLOCK_MONOTONIC, which is what `monotonic` reads.
"""

from __future__ import annotations

import ctypes
import os
import select
from collections.abc import Iterable
from typing import Protocol

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_TFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC  # sys/timerfd.h: the same numbers
_AT_ONCE_NS = 1  # zero would disarm it


class HasFileno(Protocol):
    """Something that can be waited for."""

    def fileno(self) -> int:
        """Its file descriptor."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Waiting:
    """Waits for one of many sockets or for a moment.

    Errors: OSError when the kernel has no descriptors left.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._epoll = select.epoll()
        self._timer = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_FLAGS)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "no timer descriptor")
        self._epoll.register(self._timer, select.EPOLLIN)
        self._watched: tuple[int, ...] = ()
        self._spec = _Itimerspec()
        self._spec_at = ctypes.byref(self._spec)

    def until(self, deadline: float, sources: Iterable[HasFileno | int]) -> set[int]:
        """Waits until a source can be read, or the deadline has come.

        Arguments:
            deadline: monotonic seconds.
            sources: what to wait for; the same as the last time, as a rule.

        Returns: the descriptors that can be read.
        """
        fds = tuple(source if isinstance(source, int) else source.fileno() for source in sources)
        if fds != self._watched:
            self._watch(fds)
        seconds = int(deadline)
        value = self._spec.value
        value.seconds, value.nanoseconds = seconds, max(_AT_ONCE_NS, int((deadline - seconds) * 1e9))
        self._libc.timerfd_settime(self._timer, _TFD_TIMER_ABSTIME, self._spec_at, None)
        found = {fd for fd, _ in self._epoll.poll(-1, len(fds) + 1)}
        if self._timer in found:
            found.discard(self._timer)
            os.read(self._timer, 8)
        return found

    def _watch(self, fds: tuple[int, ...]) -> None:
        """Begins anew: a descriptor that was closed has left by itself, and its number may be another's by now."""
        self._epoll.close()
        self._epoll = select.epoll()
        for fd in {self._timer, *fds}:
            self._epoll.register(fd, select.EPOLLIN)
        self._watched = fds

    def close(self) -> None:
        """Closes its descriptors."""
        self._epoll.close()
        os.close(self._timer)
