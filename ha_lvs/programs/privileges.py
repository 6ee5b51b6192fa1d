"""Who runs an operator's script, and what it may: as little as it takes, and never root by accident.

Rules that hold here:
* Root runs a script only where the operator wrote so. A director that runs as root and cannot become the user that was
  asked for runs the script not at all.
* A director that is not root, and cannot become another user either, runs scripts as itself, without any capability.
* A script that somebody else can change is not run: neither the file nor a directory on the way to it may be writable
  by anybody but root, ourselves and the user that runs it. (Whoever can write to a script of ours is us.) Directories
  with the sticky bit may be written to by all, as long as what lies in them on our way is owned by one of those.
* What `Become` does happens in the child between fork and exec. Whatever of it fails ends the child there, but for what
  only the kernel's kindness adds.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import resource
import signal
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ha_lvs.errors import PlatformError
from ha_lvs.programs.accounts import group_name, user_name

ROOT = 0
SOFT_FILE_LIMIT = 1024
"""What programs that use select(2) can live with; ours is far higher."""
MOST_LINKS = 40  # MAXSYMLINKS of the kernel

_CAP_KILL, _CAP_SETGID, _CAP_SETUID = 5, 6, 7  # linux/capability.h
_NEEDED_TO_SWITCH = 1 << _CAP_KILL | 1 << _CAP_SETGID | 1 << _CAP_SETUID
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


class RefusedError(PlatformError):
    """A script that is not run, and why, in words for the operator."""


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom a script is run.

    Arguments:
        name: of the user that was asked for.
        uid, gid, groups: of the user that it is.
        home: its home directory, for the environment.
        switch: whether the child has to become that user first.
        privileged: whether it is root and stays root.
        makeshift: whether it is ourselves in place of a user that we cannot become.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    switch: bool
    privileged: bool = False
    makeshift: bool = False


def identity(user: str) -> Identity:
    """As whom a script of `user` is run by a process like this one.

    Errors: RefusedError when there is no such user, or when it would have to run as root though it must not.
    """
    try:
        wanted = pwd.getpwnam(user)
    except KeyError:
        raise RefusedError(f"user {user} does not exist on this machine; create it or name another one") from None
    own = os.geteuid()
    if wanted.pw_uid == own:
        groups = tuple(os.getgroups())
        return Identity(user, own, os.getegid(), groups, wanted.pw_dir, switch=False, privileged=own == ROOT)
    if _effective_capabilities() & _NEEDED_TO_SWITCH == _NEEDED_TO_SWITCH:
        groups = tuple(os.getgrouplist(user, wanted.pw_gid))
        privileged = wanted.pw_uid == ROOT
        return Identity(user, wanted.pw_uid, wanted.pw_gid, groups, wanted.pw_dir, switch=True, privileged=privileged)
    if own == ROOT:
        raise RefusedError(
            f"it is to run as user {user}, and this process is root but may not become another user (CAP_SETUID, "
            "CAP_SETGID, CAP_KILL); give it these, or write user: root"
        )
    return Identity(user, own, os.getegid(), tuple(os.getgroups()), "/", switch=False, makeshift=True)


def _effective_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


# ------------------------------------------------------------------------------------------- the file itself


def check_program(program: str, who: Identity) -> None:
    """Makes sure that a program is one, and that nobody can have changed it who must not.

    Arguments:
        program: its absolute path; links are followed, and the way through them is looked at too.
        who: runs it.

    Errors: RefusedError with what is wrong and what to do about it.
    """
    if not program.startswith("/"):
        raise RefusedError(f"{program} is no absolute path; write it out, from / on")
    trusted = {ROOT, os.geteuid(), who.uid}
    if who.privileged:
        trusted = {ROOT}
    place = Path("/")
    left = list(Path(program).parts[1:])
    links = 0
    found = _look(place)
    while True:
        _check_owner(place, found, trusted)
        if not left:
            break
        if not stat.S_ISDIR(found.st_mode):
            raise RefusedError(f"{place} is no directory; correct the path {program}")
        name = left.pop(0)
        if name == "..":
            place = place.parent
            found = _look(place)
            continue
        found = _look(place / name)
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > MOST_LINKS:
                raise RefusedError(f"{program} leads through a loop of links; write where it really is")
            _check_owner(place / name, found, trusted)
            target = (place / name).readlink()
            left[:0] = target.parts[1:] if target.is_absolute() else target.parts
            place = Path("/") if target.is_absolute() else place
            found = _look(place)
            continue
        place = place / name
    if not stat.S_ISREG(found.st_mode):
        raise RefusedError(f"{place} is no file that could be run")
    if not found.st_mode & 0o111:
        raise RefusedError(f"{place} is not executable; chmod +x it")


def _look(place: Path) -> os.stat_result:
    try:
        return place.lstat()
    except OSError as problem:
        raise RefusedError(f"{place}: {os.strerror(problem.errno or 0)}") from problem


def _check_owner(place: Path, found: os.stat_result, trusted: Iterable[int]) -> None:
    if found.st_uid not in trusted:
        names = " or ".join(sorted({user_name(uid) for uid in trusted}))
        raise RefusedError(
            f"{place} belongs to {user_name(found.st_uid)}, who could change it: it must belong to {names}"
        )
    if stat.S_ISLNK(found.st_mode) or (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
        return
    if found.st_mode & stat.S_IWOTH:
        raise RefusedError(f"{place} is writable by everybody; chmod o-w it")
    if found.st_mode & stat.S_IWGRP and found.st_gid != 0:
        raise RefusedError(f"{place} is writable by group {group_name(found.st_gid)}; chmod g-w it")


# ------------------------------------------------------------------------------- in the child, before the exec


class Become:
    """Called in the child between fork and exec: turns it into what the script is to be.

    Made in the parent, since nothing should be looked up or allocated without need in the child.

    Arguments:
        who: as whom it runs.
    """

    def __init__(self, who: Identity) -> None:
        self._who = who
        self._parent = os.getpid()
        try:
            self._last_capability = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
        except (OSError, ValueError):
            self._last_capability = 63

    def __call__(self) -> None:
        """Errors: OSError; the program is then not started."""
        who = self._who
        _be_ordinary()
        if not who.privileged:
            for number in range(self._last_capability + 1):
                _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)  # only with CAP_SETPCAP; no_new_privs does as much
            _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
        if who.switch:
            os.setgroups(who.groups)
            os.setresgid(who.gid, who.gid, who.gid)
            os.setresuid(who.uid, who.uid, who.uid)
        if not who.privileged:
            _drop_capabilities()
            _prctl(_PR_SET_NO_NEW_PRIVS, 1)
            if ROOT in os.getresuid():
                raise PermissionError(errno.EPERM, "still root")
        # After the change of user, which clears it. It ends with us: a successor of ours starts a script of its own.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._parent:
            os._exit(1)


def _be_ordinary() -> None:
    """Gives back what only a director has: its place before all others, its limits, the signals that it ignores."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    for kind in (resource.RLIMIT_RTPRIO, resource.RLIMIT_MEMLOCK):
        resource.setrlimit(kind, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    soft = SOFT_FILE_LIMIT if hard == resource.RLIM_INFINITY else min(SOFT_FILE_LIMIT, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        if os.getpriority(os.PRIO_PROCESS, 0) < 0:
            os.setpriority(os.PRIO_PROCESS, 0, 0)
        fd = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        if int(os.read(fd, 16)) < 0:
            os.pwrite(fd, b"0", 0)
        os.close(fd)
    except OSError:
        pass  # it is as important as we are, then


def _drop_capabilities() -> None:
    """Empties the effective, permitted and inheritable set.

    A system call filter may forbid capset(2). Then the exec empties what matters: without ambient ones, a user that is
    not root keeps none over it, and what is inheritable means nothing to any file that is not marked for it.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if _libc.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        number = ctypes.get_errno()
        if number != errno.EPERM or ROOT in os.getresuid():
            raise OSError(number, os.strerror(number))


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
