"""Who may use a control socket, in words, for somebody who may not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ha_lvs.programs.accounts import group_name, user_name


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
            return f"permission denied at {lock} for user {user_name(os.geteuid())}: use sudo"
    shared = bool(found.st_gid and found.st_mode & (stat.S_IWGRP if lock == path else stat.S_IXGRP))
    may = [*dict.fromkeys(["root", f"user {user_name(found.st_uid)}" if found.st_uid else "root"])]
    if shared:
        may.append(f"members of group {group_name(found.st_gid)}")
    remedy = f"use sudo, or join the group {group_name(found.st_gid)}" if shared else "use sudo"
    return f"permission denied at {lock} for user {user_name(os.geteuid())}: it is for {', '.join(may)} only; {remedy}"
