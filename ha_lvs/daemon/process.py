"""What every process of `ha-lvs run` does to itself: its name, its limits, its clock, its signals.

Rules that hold here: no asyncio, no third party, nothing imported that the elector does not need (ctypes is
loaded when it is first used). Nothing here decides anything.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Iterable
from types import FrameType

monotonic = time.monotonic
"""The clock of every deadline: seconds, never set back; it goes on while the process is stopped."""

_PR_SET_NAME = 15  # linux/prctl.h
_NAME_BYTES = 15  # TASK_COMM_LEN without its NUL


def set_process_name(name: str) -> None:
    """Sets the name that `ps`, `top` and `/proc/PID/comm` show; the kernel keeps 15 bytes of it.

    A kernel that refuses is ignored: a name is a courtesy. Source: prctl(2), PR_SET_NAME.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:_NAME_BYTES]), 0, 0, 0)


def raise_file_limit() -> int:
    """Raises the soft limit of open files to the hard one; returns what holds from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return soft
    return hard


def signals_as_readable(numbers: Iterable[int]) -> int:
    """Turns signals into bytes that a select or epoll loop can wait for.

    A plain handler cannot end a wait: the interpreter takes the interrupted call up again (PEP 475).

    Arguments:
        numbers: the signals; from now on they do nothing else.

    Returns a non-blocking file descriptor from which one byte, the signal's number, can be read for each.
    Call it once, in the main thread.
    """
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, _noted)
    return reader


def _noted(_number: int, _frame: FrameType | None) -> None:
    """The byte that the interpreter has written to the wake-up descriptor is all that is wanted."""
