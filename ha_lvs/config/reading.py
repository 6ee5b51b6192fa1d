"""Reads a YAML file of ours against its schema and reports every problem at once, each with its place.

The config file and the drills' scenario files are read by the same code; a `Schema` says in what they differ.

Rules that hold here:
* `reads` raises ConfigError and nothing else, whatever the file holds.
* All kinds of check run, however much is wrong: YAML, then single values, then what concerns several of them.
  Only a file that is not YAML at all stops early, because there is nothing to check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from ha_lvs.config import complaints, tree, values
from ha_lvs.errors import ConfigError, Problem

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Schema(Generic[M]):
    """A kind of file.

    Arguments:
        model: what the file holds.
        crosscheck: every problem between fields of a file's plain data, with the path of what should change.
        needs: what is needed at least, for the message about an empty file.
        example: how the file begins, for the message about a file that is no mapping.
        verb: the command that prints the JSON Schema.
        later: keys that will be understood one day, with the remark that takes the place of "did you mean".
    """

    model: type[M]
    crosscheck: Callable[[dict[str, Any]], Iterator[tuple[tree.Path, str]]]
    needs: str
    example: str
    verb: str
    later: Mapping[str, str] = field(default_factory=dict)


def content_of(path: Path) -> bytes:
    """What is in a file.

    Arguments:
        path: the file, as the operator gave it; problems quote it so.

    Errors: ConfigError when it cannot be read.
    """
    try:
        return path.read_bytes()
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        message = f"cannot be read: {reason}; check the path and its permissions"
        raise ConfigError([Problem(str(path), 1, 1, tree.TOP, message)]) from None


def reads(content: bytes, source: str, schema: Schema[M]) -> tuple[M, tree.Tree]:
    """The checked content of a file, and the tree that has its places.

    Arguments:
        content: what is in the file.
        source: what problems call the file.
        schema: what kind of file it is.

    Errors: ConfigError with every problem, sorted by place.
    """
    found = tree.parse(content)
    problems = [_problem(source, fault.place, fault.path, fault.message) for fault in found.faults]
    if found.empty:
        problems.append(Problem(source, 1, 1, tree.TOP, f"the file is empty; it needs at least {schema.needs}"))
    elif found.data is None and problems:
        pass
    elif not isinstance(found.data, dict):
        message = f"expected a mapping ({schema.example}), found {values.shown(found.data)}; see `{schema.verb}`"
        problems.append(Problem(source, *found.place_of(())[1], tree.TOP, message))
    else:
        checked = _checked(found, found.data, source, schema, problems)
        if checked is not None and not problems:
            return checked, found
    raise ConfigError(list(dict.fromkeys(problems)))


def _problem(source: str, place: tree.Place, path: tree.Path, message: str) -> Problem:
    """A problem on one line, without control characters: keys and values are quoted from the file."""
    return Problem(source, *place, values.printable(tree.dotted(path)), values.printable(message))


def _checked(
    found: tree.Tree, data: dict[str, object], source: str, schema: Schema[M], problems: list[Problem]
) -> M | None:
    checked = None
    try:
        checked = schema.model.model_validate(data)
    except ValidationError as problem:
        for path, key, message in complaints.describe(problem, schema.model, schema.verb, schema.later):
            where, place = found.place_of(path, key)
            problems.append(_problem(source, place, where, message))
    for path, message in schema.crosscheck(data):
        where, place = found.place_of(path)
        problems.append(_problem(source, place, where, message))
    return checked
