"""What `ha-lvs doctor` looks at, in this network namespace and on this machine. Changes nothing, judges nothing.

What cannot be seen is left out of the facts: that is for `plan.doctor` to put into words.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import platform
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from ha_lvs.errors import PlatformError
from ha_lvs.kernel import marks
from ha_lvs.kernel.ipvs import Ipvs
from ha_lvs.model import IPAddress
from ha_lvs.plan.facts import Facts, Module, Needs, Unit

UNIT = "ha-lvs.service"
ANSWER_TIMEOUT_S = 20.0

_CAPABILITY_BITS = {"cap_net_admin": 12, "cap_net_raw": 13}
_SIOCGIFFLAGS = 0x8913
_SIOCGIFMTU = 0x8921
_IFF_UP = 0x1
_IFF_RUNNING = 0x40
_IP_MTU = 14
_IPV6_MTU = 24
_STA_UNSYNC = 0x40


def gather(needs: Needs) -> Facts:
    """Looks at what these needs are about."""
    version, why_not = _ipvs() if needs.ipvs else (None, "")
    interfaces = dict(_interfaces(needs.interfaces))
    nft = (marks.program() or "") if needs.groups else ""
    return Facts(
        modules=dict(_modules(needs.modules)),
        ipvs_version=version,
        ipvs_problem=why_not,
        nft=nft,
        nft_problem=marks.why_not() if nft else "",
        masquerades=marks.masquerades(),
        capable=_capable(),
        sysctls=dict(_sysctls(needs.sysctls)),
        interfaces={name: mtu for name, (mtu, _) in interfaces.items()},
        down=frozenset(name for name, (_, up) in interfaces.items() if not up),
        default_interfaces=frozenset(_default_interfaces()),
        path_mtus=dict(_path_mtus(needs.servers)),
        clock_synchronised=_clock_synchronised(),
        unit=_unit(),
    )


def _ipvs() -> tuple[str | None, str]:
    try:
        with Ipvs() as ipvs:
            return ".".join(map(str, ipvs.version)), ""
    except PlatformError as problem:
        return None, str(problem)


def _modules(names: Iterable[str]) -> Iterator[tuple[str, Module]]:
    loaded = {line.split(maxsplit=1)[0] for line in _lines(Path("/proc/modules"))}
    directory = Path("/lib/modules") / platform.release()
    built_in = {_name(line) for line in _lines(directory / "modules.builtin")}
    available = {_name(line.partition(":")[0]) for line in _lines(directory / "modules.dep")}
    for name in names:
        if name in loaded:
            yield name, Module.LOADED
        elif name in built_in or Path("/sys/module", name).exists():
            yield name, Module.BUILT_IN
        elif name in available:
            yield name, Module.AVAILABLE
        elif available or built_in:
            yield name, Module.MISSING


def _name(path: str) -> str:
    return Path(path.strip()).name.partition(".")[0].replace("-", "_")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _capable() -> frozenset[str]:
    effective = next((int(line.split()[1], 16) for line in _lines(Path("/proc/self/status")) if "CapEff" in line), 0)
    return frozenset(name for name, bit in _CAPABILITY_BITS.items() if effective >> bit & 1)


def _sysctls(names: Iterable[str]) -> Iterator[tuple[str, int]]:
    for name in names:
        with contextlib.suppress(OSError, ValueError):
            yield name, int((Path("/proc/sys") / name).read_text())


def _interfaces(names: Iterable[str]) -> Iterator[tuple[str, tuple[int, bool]]]:
    """By ioctl: /sys/class/net is that of the network namespace in which it was mounted."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for name in names:
            request = struct.pack("16s24x", name.encode()[:15])
            with contextlib.suppress(OSError):
                (mtu,) = struct.unpack_from("i", fcntl.ioctl(asking, _SIOCGIFMTU, request), 16)
                (flags,) = struct.unpack_from("H", fcntl.ioctl(asking, _SIOCGIFFLAGS, request), 16)
                yield name, (mtu, flags & _IFF_UP != 0 and flags & _IFF_RUNNING != 0)


def _default_interfaces() -> Iterator[str]:
    for line in _lines(Path("/proc/self/net/route"))[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] == fields[7] == "00000000":
            yield fields[0]


def _path_mtus(servers: Iterable[IPAddress]) -> Iterator[tuple[IPAddress, int]]:
    for server in servers:
        family, level, option = (
            (socket.AF_INET, socket.IPPROTO_IP, _IP_MTU)
            if server.version == 4
            else (socket.AF_INET6, socket.IPPROTO_IPV6, _IPV6_MTU)
        )
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((str(server), 9))  # sends nothing
            yield server, asking.getsockopt(level, option)


class _Timex(ctypes.Structure):
    """The beginning of struct timex (linux/timex.h), with room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("max_error", ctypes.c_long),
        ("estimated_error", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def _clock_synchronised() -> bool | None:
    """Whatever disciplines it (chrony, timesyncd, ntpd) tells the kernel (adjtimex(2))."""
    asked = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(asked)) < 0:
        return None
    return not asked.status & _STA_UNSYNC


def _unit() -> Unit | None:
    properties = "LoadState,User,AmbientCapabilities,LimitRTPRIO,LimitMEMLOCK"
    try:
        said = subprocess.run(
            ["systemctl", "show", UNIT, f"--property={properties}"],
            capture_output=True,
            text=True,
            timeout=ANSWER_TIMEOUT_S,
            check=True,
            env={**os.environ, "LC_ALL": "C"},
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return unit_of(said)


def unit_of(said: str) -> Unit | None:
    """The unit out of what `systemctl show` says; None when there is none."""
    values = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    if values.get("LoadState") != "loaded":
        return None
    locked = values.get("LimitMEMLOCK", "0")
    priority = values.get("LimitRTPRIO", "0")
    return Unit(
        user=values.get("User", ""),
        capabilities=frozenset(values.get("AmbientCapabilities", "").split()),
        realtime_priority=int(priority) if priority.isdigit() else 99,
        locked_bytes=int(locked) if locked.isdigit() and int(locked) < 1 << 63 else None,
    )
