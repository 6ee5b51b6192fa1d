"""Reads the files of the keys that the directors share.

Rules that hold here:
* A key that others on this machine can read is no secret, and one that they can write is theirs: both are refused.
* What is checked is the open file, not its name, so that nobody exchanges it in between.
* Every problem of every key is reported at once, at the `file:` that names it. No message shows a secret.
"""

from __future__ import annotations

import os
import stat

from ha_lvs.config import tree, values
from ha_lvs.config.schema import Config
from ha_lvs.config.schema.cluster import ENFORCE
from ha_lvs.errors import ConfigError, Problem
from ha_lvs.model import Authentication, Key

LEAST_BYTES = 16
MOST_BYTES = 4096
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAKE = "make one with `openssl rand -hex 32`"


def read_keys(config: Config) -> Authentication | None:
    """The keys of the cluster, or None where the file has no `authentication`.

    Reads the files that the config names; their whole content without surrounding white space is the key.

    Errors: ConfigError with every key that is missing, unreadable, no regular file, not of root or this user, open to
    others, or too short.
    """
    found = config.authentication
    if found is None:
        return None
    keys, problems = [], []
    for index, entry in enumerate(found.keys):
        try:
            keys.append(Key(entry.id, _secret(entry.file).hex()))
        except ValueError as problem:
            path: tree.Path = ("authentication", "keys", index, "file")
            message = values.printable(f"{entry.file}: {problem}")
            problems.append(Problem(config._source, *config.place_of(path), tree.dotted(path), message))
    if problems:
        raise ConfigError(problems)
    return Authentication(keys=tuple(keys), send=found.send, enforce=found.mode == ENFORCE)


def _secret(path: str) -> bytes:
    """The key in a file.

    Errors: ValueError with what is wrong and the remedy.
    """
    try:
        # Not to wait for the other end of a pipe, nor to take over a terminal.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        raise ValueError(f"there is no such file; {_MAKE}, and copy it to every director") from None
    except OSError as problem:
        raise ValueError(f"cannot be read: {problem.strerror}; check its owner, and run ha-lvs as root") from None
    try:
        _refuse_unsafe(path, os.fstat(handle))
        with os.fdopen(os.dup(handle), "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as problem:
        raise ValueError(f"cannot be read: {problem.strerror}; put the key into a plain file") from None
    finally:
        os.close(handle)
    if len(content) > MOST_BYTES:
        raise ValueError(f"has more than {MOST_BYTES} bytes, so it is hardly a key; {_MAKE}")
    secret = content.strip()
    if not secret:
        raise ValueError(f"is empty; {_MAKE}")
    if len(secret) < LEAST_BYTES:
        raise ValueError(f"has {len(secret)} bytes, and a key needs at least {LEAST_BYTES}; {_MAKE}")
    return secret


def _refuse_unsafe(path: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("is not a regular file; put the key into a plain file")
    if found.st_uid not in (0, os.geteuid()):
        raise ValueError(f"belongs to user {found.st_uid}, who can change it; `chown root {path}`")
    if found.st_mode & _OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        raise ValueError(f"is open to others (mode {mode:04o}); `chmod 600 {path}`, and make a new key if it was read")
