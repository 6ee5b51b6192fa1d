"""What the process that does the election costs: its processor time and its memory, from /proc."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from ha_lvs.drill.contenders.contender import DirectorLike
from ha_lvs.drill.contenders.keepalived import Keepalived
from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.hosts import group_members
from ha_lvs.errors import LabError

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one process over a while: percent of one processor, resident memory in MiB."""

    cpu_percent: float
    resident_mib: float


def usage_of(director: DirectorLike, seconds: float) -> Usage:
    """The usage of the process that speaks VRRP."""
    pid = _vrrp_process(director)
    before_s, began = cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    used_s, took_s = cpu_s(pid) - before_s, time.monotonic() - began
    return Usage(100 * used_s / took_s, _resident_mib(pid))


def _vrrp_process(director: DirectorLike) -> int:
    if isinstance(director, Director):
        return director.processes()["elector"]
    assert isinstance(director, Keepalived)
    assert director.process is not None
    # Its parent waits, and its child, which was started later, speaks VRRP.
    children = [pid for pid in group_members(director.process.pid) if pid != director.process.pid]
    if len(children) != 1:
        raise LabError(f"which process of keepalived speaks VRRP? There are {children}")
    return children[0]


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise LabError(f"process {pid} has ended")
