"""pydantic's errors in an operator's words.

Rules that hold here:
* A sentence says what is wrong, the value found and the remedy; nothing speaks of Python's types.
* A misspelt key hides the complaint that the right key is missing: it is one mistake.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ha_lvs.config import values
from ha_lvs.config.tree import Path

KEY = "[key]"
"""What pydantic appends to the path of a mapping's key that is itself wrong."""


def describe(
    problem: ValidationError, model: type[BaseModel], verb: str, later: Mapping[str, str]
) -> Iterator[tuple[Path, bool, str]]:
    """Path, whether its key (not its value) is meant, and the sentence, for every error.

    Arguments:
        model: what the file was checked against.
        verb: the command that prints its JSON Schema.
        later: what to say of keys that are known to be missing from it.
    """
    errors = problem.errors(include_url=False)
    unknown: dict[tuple[Path, str], str] = {}
    for error in errors:
        path = tuple(error["loc"])
        if error["type"] == "extra_forbidden":
            known = list(_fields(model, path[:-1]))
            remark = later.get(str(path[-1]))
            near = None if remark else values.suggestion(path[-1], known)
            if near:
                unknown[path[:-1], near] = str(path[-1])
            hint = remark or (f"did you mean `{near}`?" if near else f"known keys are {', '.join(known)}")
            yield path, True, f"unknown key `{path[-1]}`; {hint}"
    for error in errors:
        path = tuple(error["loc"])
        if error["type"] == "extra_forbidden":
            continue
        if error["type"] == "missing":
            if (path[:-1], path[-1]) not in unknown:
                yield path[:-1], False, _missing(_fields(model, path[:-1]), path)
        elif path and path[-1] == KEY:
            yield path[:-1], True, _sentence(error, verb)
        else:
            yield path, False, _sentence(error, verb)


def _sentence(error: ErrorDetails, verb: str) -> str:
    kind, found = error["type"], error["input"]
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if found is None:
        return "there is no value; give one, or remove the key"
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return f"expected a mapping (key: value), found {values.shown(found)}; see `{verb}`"
    if kind == "list_type":
        return f"expected a list, found {values.shown(found)}; put it in [brackets]"
    if kind == "too_short":
        return "is empty; give at least one"
    return f"{error['msg']}, found {values.shown(found)}; see `{verb}`"


def _missing(fields: dict[str, FieldInfo], path: Path) -> str:
    field = fields.get(str(path[-1]))
    key = path[-1]
    if field is None:
        return f"required key `{key}` is missing; add it"
    example = ""
    if field.examples and not isinstance(field.examples[0], (dict, list)):
        example = f", for example `{key}: {field.examples[0]}`"
    return f"required key `{key}` is missing; add it{example} ({(field.description or '').rstrip('.')})"


def _fields(model: type[BaseModel], path: Path) -> dict[str, FieldInfo]:
    """The fields of the model that stands at a path below `model`."""
    kind: Any = model
    for part in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = _by_key(kind).get(str(part))
            kind = _bare(field.annotation) if field else None
        else:
            # A mapping or a list: its items are of the last type argument.
            arguments = typing.get_args(kind)
            kind = _bare(arguments[-1]) if arguments else None
    return _by_key(kind) if isinstance(kind, type) and issubclass(kind, BaseModel) else {}


def _by_key(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Its fields by what they are called in the file: `from` cannot be the name of an attribute."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _bare(kind: Any) -> Any:
    """A type without its annotations and without None."""
    while True:
        if typing.get_origin(kind) is typing.Annotated:
            kind = typing.get_args(kind)[0]
        elif typing.get_origin(kind) in (typing.Union, types.UnionType):
            kind = next(option for option in typing.get_args(kind) if option is not type(None))
        else:
            return kind
