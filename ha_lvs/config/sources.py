"""The files that a config comes from, read again only when they have changed.

Rules that hold here:
* A file is known by its path, times, size and inode: who replaces it, or writes it, changes one of them.
* A file that was changed a moment before it was read is read again the next time: the clock of a file system has
  ticks, and within one of them it could be changed once more without a trace.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ha_lvs.config import tree
from ha_lvs.errors import ConfigError, Problem

T = TypeVar("T")

SETTLED_NS = 50_000_000
"""How old a change must be to be told from the next one; ticks are of 10 ms at most."""


@dataclass(frozen=True, slots=True)
class Look:
    """The files of a config at some moment; two are equal if nothing has changed.

    Arguments:
        files: what tells each from another state of itself, None for one that is not there.
        matched: which names match each pattern, by its directory.
    """

    files: Mapping[str, tuple[int, ...] | None] = field(default_factory=dict)
    matched: Mapping[tuple[Path, str], tuple[str, ...]] = field(default_factory=dict)


class Sources:
    """What the files of a config were made into when they were read last. Keep one between two loads of the same
    config, and the files that are as they were are neither read nor parsed nor checked on their own again."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, ...], Any]] = {}
        self._used: dict[str, tuple[int, ...] | None] = {}
        self._matched: dict[tuple[Path, str], tuple[str, ...]] = {}
        self._last = Look()

    def get(self, path: Path, make: Callable[[bytes], T]) -> T:
        """What is made of a file's content; the same object as before if the file is as it was.

        Arguments:
            path: the file, as the operator gave it; problems quote it so.
            make: the same for a path each time.

        Errors: ConfigError when it cannot be read.
        """
        name = str(path)
        self._used[name] = None
        try:
            with path.open("rb") as file:
                stamp = self._used[name] = _stamp(os.fstat(file.fileno()))
                known = self._known.get(name)
                if known is not None and known[0] == stamp:
                    found: T = known[1]
                    return found
                content = file.read()
        except (OSError, ValueError) as problem:
            reason = getattr(problem, "strerror", None) or str(problem)
            message = f"cannot be read: {reason}; check the path and its permissions"
            raise ConfigError([Problem(name, 1, 1, tree.TOP, message)]) from None
        self._known.pop(name, None)
        made = make(content)
        if time.time_ns() - max(stamp[:2]) > SETTLED_NS:
            self._known[name] = (stamp, made)
        return made

    def match(self, pattern: str, base: Path) -> tuple[str, ...]:
        """The names that match a pattern in a directory, sorted."""
        found = self._matched[base, pattern] = _matching(base, pattern)
        return found

    def forget_unused(self) -> None:
        """Forgets the files that were not asked for since the last call, which ends a load."""
        self._known = {name: each for name, each in self._known.items() if name in self._used}
        self._last = Look(self._used, self._matched)
        self._used, self._matched = {}, {}

    @property
    def as_read(self) -> Look:
        """How the files were when they were loaded last."""
        return self._last

    def as_they_are(self) -> Look:
        """How those files are now."""
        last = self._last
        return Look(
            {name: _stamp_of(name) for name in last.files},
            {(base, pattern): _matching(base, pattern) for base, pattern in last.matched},
        )


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


def _stamp_of(name: str) -> tuple[int, ...] | None:
    try:
        return _stamp(Path(name).stat())
    except (OSError, ValueError):
        return None


def _matching(base: Path, pattern: str) -> tuple[str, ...]:
    # Path.glob takes hidden files too, such as those that editors leave.
    return tuple(sorted(glob.glob(pattern, root_dir=base)))  # noqa: PTH207
