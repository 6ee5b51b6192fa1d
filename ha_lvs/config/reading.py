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
    problems = faults(found, source, schema)
    data = mapping_of(found)
    if data is not None:
        checked, wrong = validated(found, data, source, schema)
        problems += wrong
        problems += (located(found, source, *each) for each in schema.crosscheck(data))
        if checked is not None and not problems:
            return checked, found
    raise ConfigError(list(dict.fromkeys(problems)))


def mapping_of(found: tree.Tree) -> dict[str, Any] | None:
    """The mapping that a file should be, or None."""
    return found.data if isinstance(found.data, dict) else None


def faults(found: tree.Tree, source: str, schema: Schema[Any]) -> list[Problem]:
    """What is wrong with a file as YAML, or with its being no mapping."""
    problems = [_problem(source, fault.place, fault.path, fault.message) for fault in found.faults]
    if found.empty:
        problems.append(Problem(source, 1, 1, tree.TOP, f"the file is empty; it needs at least {schema.needs}"))
    elif not (found.data is None and problems) and not isinstance(found.data, dict):
        message = f"expected a mapping ({schema.example}), found {values.shown(found.data)}; see `{schema.verb}`"
        problems.append(Problem(source, *found.place_of(())[1], tree.TOP, message))
    return problems


def validated(found: tree.Tree, data: dict[str, Any], source: str, schema: Schema[M]) -> tuple[M | None, list[Problem]]:
    """What a file says by the schema, or every single value that is wrong.

    Arguments:
        found: has the places.
        data: the file's, in which models may stand for what was understood before.
    """
    try:
        return schema.model.model_validate(data), []
    except ValidationError as problem:
        wrong = complaints.describe(problem, schema.model, schema.verb, schema.later)
        return None, [located(found, source, path, message, key=key) for path, key, message in wrong]


def located(found: tree.Tree, source: str, path: tree.Path, message: str, *, key: bool = False) -> Problem:
    """A problem at a path of a file."""
    where, place = found.place_of(path, key)
    return _problem(source, place, where, message)


def _problem(source: str, place: tree.Place, path: tree.Path, message: str) -> Problem:
    """A problem on one line, without control characters: keys and values are quoted from the file."""
    return Problem(source, *place, values.printable(tree.dotted(path)), values.printable(message))
