"""Users and groups by name, for people: a number that has no name on this machine is shown as it is."""

from __future__ import annotations

import grp
import pwd


def user_name(uid: int) -> str:
    """The name of a user."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """The name of a group."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
