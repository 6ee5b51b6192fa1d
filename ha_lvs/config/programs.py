"""Single values of the config file that concern programs: commands, users, files, names of processes.

Rules that hold here, beside those of `values`:
* No shell: a command is a program and its arguments.
* A program is named by its whole path, so that it is the same whatever the daemon's PATH.
* A user is named; root is one that the operator must write.
"""

from __future__ import annotations

import re
import shlex

from ha_lvs.config import values

DEFAULT_USER = "nobody"
COMM_BYTES = 15
"""How much of a program's name the kernel keeps (linux/sched.h TASK_COMM_LEN, without the end mark)."""

_REMEDY = "write it like [/usr/local/bin/check-web, --fast], or as one string"
_LONGEST = 4096


def command(value: object) -> tuple[str, ...]:
    """A program with its arguments, as a list or as one string that is split like a shell's words."""
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as problem:
            reason = str(problem).lower().rstrip(".")
            raise ValueError(f"{values.shown(value)} cannot be split into words: {reason}; {_REMEDY}") from None
    elif isinstance(value, list):
        words = [_word(item) for item in value]
    else:
        raise ValueError(f"{values.shown(value)} is not a command; {_REMEDY}")
    if not words:
        raise ValueError(f"the command is empty; {_REMEDY}")
    if not words[0].startswith("/"):
        raise ValueError(f"{values.shown(words[0])} is not the whole path of a program; begin it with '/'")
    if any("\0" in word for word in words):
        raise ValueError("a NUL character cannot be in a command; remove it")
    return tuple(words)


def user(value: object) -> str:
    """The name of a user of this machine. Whether there is one is known only where the program runs."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"{value} is the number of a user; write the name, like {DEFAULT_USER}")
    word = values.text(value)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}\$?", word):
        raise ValueError(f"{values.shown(word)} cannot be the name of a user; write one like {DEFAULT_USER}")
    return word


def file_path(value: object) -> str:
    """The whole path of a file."""
    word = values.text(value)
    if not word.startswith("/") or "\0" in word or len(word) > _LONGEST:
        raise ValueError(f"{values.shown(word)} is not the whole path of a file; begin it with '/'")
    return word


def program(value: object) -> str:
    """The name of a process as the kernel has it in /proc/PID/comm."""
    word = values.text(value)
    if "/" in word or not word.isprintable():
        raise ValueError(f"{values.shown(word)} is not the name of a process; write it as `ps -o comm` shows it")
    encoded = word.encode(errors="replace")
    if len(encoded) > COMM_BYTES:
        kept = encoded[:COMM_BYTES].decode(errors="ignore")
        raise ValueError(f"the kernel keeps {COMM_BYTES} bytes of a process's name; write {values.shown(kept)}")
    return word


def weight(value: object) -> int:
    """What something tracked adds to a priority: from -253 to 253, not 0."""
    if value == 0 and not isinstance(value, bool):
        raise ValueError("0 changes nothing; leave weight out for a fault, or write one from -253 to 253")
    return values.whole_number(value, -253, 253)


def _word(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, bool)):
        raise ValueError(f"{values.shown(value)} is not text here; put it in quotes")
    raise ValueError(f"expected text, found {values.shown(value)}; {_REMEDY}")
