"""Who may use a control socket, in words, for somebody who may not."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path


def refused(socket_path: str) -> str:
    """Why we may not use a socket, who may, and what to do."""
    lock = path = Path(socket_path)
    try:
        found = path.stat()
    except OSError:  # its directory is closed to us, too
        lock = path.parent
        try:
            found = lock.stat()
        except OSError:
            return f"permission denied at {lock} for user {_user(os.geteuid())}: use sudo"
    shared = bool(found.st_gid and found.st_mode & (stat.S_IWGRP if lock == path else stat.S_IXGRP))
    may = [*dict.fromkeys(["root", f"user {_user(found.st_uid)}" if found.st_uid else "root"])]
    if shared:
        may.append(f"members of group {_group(found.st_gid)}")
    remedy = f"use sudo, or join the group {_group(found.st_gid)}" if shared else "use sudo"
    return f"permission denied at {lock} for user {_user(os.geteuid())}: it is for {', '.join(may)} only; {remedy}"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
