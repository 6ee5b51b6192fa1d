"""Making a process hard to delay: real-time scheduling, locked memory, a quiet garbage collector.

Each step is tried on its own; what this machine does not allow is named in words and the process goes on without it.
"""

from __future__ import annotations

import ctypes
import gc
import os

REALTIME_PRIORITY = 50
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4  # bits/mman-linux.h


def go_realtime() -> list[str]:
    """Applies all of it; returns what could not be had, as phrases for the log.

    Memory is locked as it is touched (`MCL_ONFAULT`), so that the process stays small: whoever calls this has
    exercised beforehand what it will need in a hurry.
    """
    missing = []
    try:
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(REALTIME_PRIORITY))
    except OSError as problem:
        missing.append(f"real-time scheduling ({problem.strerror}; grant CAP_SYS_NICE or LimitRTPRIO)")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT):
        reason = os.strerror(ctypes.get_errno())
        missing.append(f"locked memory ({reason}; grant CAP_IPC_LOCK or LimitMEMLOCK=infinity)")
    gc.collect()
    gc.freeze()
    gc.disable()
    return missing
