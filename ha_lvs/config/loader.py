"""Reads the config file and those that it includes; `reading` has the rules that hold.

Rules that hold here, beside those:
* An included file holds services and nothing else. They follow those of the config file, in the order of `include` and
  of the files' names; it is the same config as if they stood in one file.
* A problem names the file that it is in, and its path there.
* The collector of cyclic garbage rests meanwhile: a large file makes many objects and no garbage, and would be gone
  through again and again.
"""

from __future__ import annotations

import bisect
import gc
import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ha_lvs.config import crosscheck, reading, tree, values
from ha_lvs.config.lenient import Found, tried
from ha_lvs.config.schema import Config
from ha_lvs.config.schema.services import ServicesFile
from ha_lvs.config.sources import Sources
from ha_lvs.errors import ConfigError, Problem

_SCHEMA = reading.Schema(
    model=Config,
    crosscheck=crosscheck.problems,
    needs="cluster, nodes and instances",
    example="cluster: ...",
    verb="ha-lvs schema",
)
_INCLUDED = reading.Schema(
    model=ServicesFile,
    crosscheck=lambda _: iter(()),
    needs="services",
    example="services: ...",
    verb="ha-lvs schema",
    later=dict.fromkeys(Config.model_fields, "it belongs into the config file: an included one has `services` only"),
)


@dataclass(frozen=True, slots=True)
class _Part:
    """A file that has services.

    Arguments:
        source: what problems call it.
        tree: has its places.
        services: as models where they are right, else as they are in the file; None where that cannot be told.
        problems: of the file on its own.
    """

    source: str
    tree: tree.Tree
    services: list[Any] | None
    problems: tuple[Problem, ...] = ()


def load(path: Path, sources: Sources | None = None) -> Config:
    """The config in a file and those that it includes.

    Arguments:
        path: the file, as the operator gave it; problems quote it so.
        sources: what is known of the files from the last time; without it everything is read.

    Errors: ConfigError with every problem, sorted by place.
    """
    with _without_collector():
        known = Sources() if sources is None else sources
        return _assembled(known.get(path, tree.parse), str(path), known)


def loads(content: bytes, source: str) -> Config:
    """The config in the bytes of a file, and in those files that it includes.

    Arguments:
        content: what is in the file.
        source: what problems call the file; what it includes is looked for beside it.

    Errors: as for `load`.
    """
    with _without_collector():
        return _assembled(tree.parse(content), source, Sources())


def _assembled(found: tree.Tree, source: str, sources: Sources) -> Config:
    problems = reading.faults(found, source, _SCHEMA)
    data = reading.mapping_of(found)
    if data is None:
        raise ConfigError(list(dict.fromkeys(problems)))
    parts: list[_Part] = []
    whole = True
    for each in _included(data.get("include"), source, sources):
        if isinstance(each, _Part):
            parts.append(each)
            problems += each.problems
            whole = whole and each.services is not None
        else:
            whole = False
            problems.append(reading.located(found, source, *each))
    good = [service for part in parts if not part.problems for service in part.services or ()]
    own = data.get("services", [])
    config, wrong = reading.validated(
        found, data | {"services": [*own, *good]} if isinstance(own, list) else data, source, _SCHEMA
    )
    problems += wrong
    mine = own if config is None else config.services[: len(own)]
    parts.insert(0, _Part(source, found, mine if isinstance(mine, list) else []))
    places = _Places(parts)
    for path, message in crosscheck.problems(data | {"services": places.services}, places.told, whole=whole):
        part, inner = places.part_of(path)
        problems.append(reading.located(part.tree, part.source, inner, message))
    for part in parts:
        part.tree.forget_places()
    sources.forget_unused()
    if config is None or problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    config._source = source
    config._tree = found
    return config


class _Places:
    """Which file a service of the whole config stands in."""

    def __init__(self, parts: list[_Part]) -> None:
        self._parts = parts
        self.services: list[Any] = []
        self._starts: list[int] = []
        for part in parts:
            self._starts.append(len(self.services))
            self.services += part.services or ()

    def part_of(self, path: tree.Path) -> tuple[_Part, tree.Path]:
        """The file of a path, and the path there."""
        if len(path) < 2 or path[0] != "services" or not isinstance(path[1], int):
            return self._parts[0], path
        index = bisect.bisect_right(self._starts, path[1]) - 1
        return self._parts[index], ("services", path[1] - self._starts[index], *path[2:])

    def told(self, path: tree.Path) -> str:
        """A path for people, with the file and line where it is another one."""
        part, inner = self.part_of(path)
        if part is self._parts[0]:
            return tree.dotted(inner)
        where, (line, _) = part.tree.place_of(inner)
        return f"{tree.dotted(where)} ({part.source}:{line})"


def _included(value: object, source: str, sources: Sources) -> Iterator[_Part | Found]:
    """The included files, and what is wrong with how they are named."""
    seen = {os.path.realpath(source)}
    for index, entry in enumerate(value if isinstance(value, list) else ()):
        pattern = tried(values.pattern, entry)
        if pattern is None:
            continue
        at, base = ("include", index), Path(source).parent
        many = glob.has_magic(pattern)
        for name in sources.match(pattern, base) if many else [pattern]:
            file = base / name
            real = os.path.realpath(file)
            if real == os.path.realpath(source):
                yield at, f"{name} is this file itself; put the files with services into a directory of their own"
            elif real not in seen:
                seen.add(real)
                try:
                    yield sources.get(file, lambda content, name=str(file): _part(content, name))  # type: ignore[misc]
                except ConfigError as problem:
                    [unread] = problem.problems
                    if many:
                        yield _Part(str(file), tree.Tree(), None, (unread,))
                    else:
                        yield at, f"{file} {unread.message}, or write a pattern, which may match nothing"


def _part(content: bytes, source: str) -> _Part:
    found = tree.parse(content)
    if found.empty:
        return _Part(source, found, [])
    problems = reading.faults(found, source, _INCLUDED)
    data = reading.mapping_of(found)
    if data is None:
        return _Part(source, found, None, tuple(problems))
    checked, wrong = reading.validated(found, data, source, _INCLUDED)
    raw = data.get("services", [])
    found.forget_places()
    services = checked.services if checked is not None else raw if isinstance(raw, list) else None
    return _Part(source, found, services, tuple(dict.fromkeys([*problems, *wrong])))


@contextmanager
def _without_collector() -> Iterator[None]:
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
