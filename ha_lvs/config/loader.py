"""Reads a config file and reports every problem at once, each with its place.

Rules that hold here:
* `load` raises ConfigError and nothing else, whatever the file holds.
* All kinds of check run, however much is wrong: YAML, then single values, then what concerns several of them.
  Only a file that is not YAML at all stops early, because there is nothing to check.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from ha_lvs.config import complaints, crosscheck, tree, values
from ha_lvs.config.schema import Config
from ha_lvs.errors import ConfigError, Problem

TOP = "(top level)"


def load(path: Path) -> Config:
    """The config in a file.

    Arguments:
        path: the file, as the operator gave it; problems quote it so.

    Errors: ConfigError with every problem, sorted by place.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        message = f"cannot be read: {reason}; check the path and its permissions"
        raise ConfigError([Problem(str(path), 1, 1, TOP, message)]) from None
    return loads(content, str(path))


def loads(content: bytes, source: str) -> Config:
    """The config in the bytes of a file.

    Arguments:
        content: what is in the file.
        source: what problems call the file.

    Errors: as for `load`.
    """
    found = tree.parse(content)
    problems = [_problem(source, fault.place, fault.path, fault.message) for fault in found.faults]
    if found.empty:
        message = "the file is empty; it needs at least cluster, nodes and instances"
        problems.append(Problem(source, 1, 1, TOP, message))
    elif found.data is None and problems:
        pass
    elif not isinstance(found.data, dict):
        message = f"expected a mapping (cluster: ...), found {values.shown(found.data)}; see `ha-lvs schema`"
        problems.append(Problem(source, *found.place_of(())[1], TOP, message))
    else:
        config = _checked(found, found.data, source, problems)
        if config is not None and not problems:
            return config
    raise ConfigError(list(dict.fromkeys(problems)))


def dotted(path: tree.Path) -> str:
    """A path for people: `instances.edge.virtual_ips[0]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".") or TOP


def _problem(source: str, place: tree.Place, path: tree.Path, message: str) -> Problem:
    """A problem on one line, without control characters: keys and values are quoted from the file."""
    return Problem(source, *place, values.printable(dotted(path)), values.printable(message))


def _checked(found: tree.Tree, data: dict[str, object], source: str, problems: list[Problem]) -> Config | None:
    config = None
    try:
        config = Config.model_validate(data)
        config._source = source
        config._nodes_at = found.place_of(("nodes",), key=True)[1]
    except ValidationError as problem:
        for path, key, message in complaints.describe(problem):
            where, place = found.place_of(path, key)
            problems.append(_problem(source, place, where, message))
    for path, message in crosscheck.problems(data):
        where, place = found.place_of(path)
        problems.append(_problem(source, place, where, message))
    return config
