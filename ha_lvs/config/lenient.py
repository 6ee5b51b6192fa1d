"""Reading plain data of a file that may be wrong anywhere, for checks between fields.

Rules that hold here:
* Nothing is raised. What cannot be understood is None or left out: the schema has complained about it.
* What the schema has understood already may stand in the data as its model, and is not read again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, TypeAdapter

from ha_lvs.config.tree import Path, dotted

T = TypeVar("T")
Found = tuple[Path, str]
"""A problem: the path of the value that should change, and a sentence."""


def tried(parse: Callable[[object], T], value: object) -> T | None:
    """What `parse` makes of a value, or None where it refuses it."""
    try:
        return parse(value)
    except ValueError:
        return None


def children(value: object, *path: str | int) -> Iterator[tuple[Path, Any]]:
    """The items of a mapping or list with their paths; nothing for anything else."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key), item
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield (*path, index), item


def get(value: object, key: str, default: Any = None) -> Any:
    """A mapping's value; the default for anything else."""
    if isinstance(value, BaseModel):
        return getattr(value, key, default)
    return value.get(key, default) if isinstance(value, dict) else default


def says(value: object, key: str) -> bool:
    """Whether a key of a mapping is written."""
    return key in (value.model_fields_set if isinstance(value, BaseModel) else value if isinstance(value, dict) else ())


def twice(found: list[tuple[Path, T]], message: str, where: Callable[[Path], str] = dotted) -> Iterator[Found]:
    """A problem for every value that came before; the message takes the value and the first path by `where`."""
    first: dict[T, Path] = {}
    for path, value in found:
        if value in first:
            yield path, message.format(value, where(first[value]))
        else:
            first[value] = path


def field(model: type[BaseModel], value: object, name: str) -> Any:
    """One field of a mapping that may be wrong elsewhere, as the schema understands it.

    Arguments:
        model: what the mapping should be.
        value: the mapping as it is in the file.
        name: of the field in `model`.

    Gives its default where the mapping does not have it, and None where it has something wrong.
    """
    if isinstance(value, model):
        return getattr(value, name)
    known = model.model_fields[name]
    key = known.alias or name
    if not isinstance(value, dict) or (key not in value and known.is_required()):
        return None
    return tried(_adapter(model, name).validate_python, value[key]) if key in value else known.get_default()


@functools.cache
def _adapter(model: type[BaseModel], name: str) -> TypeAdapter[Any]:
    known = model.model_fields[name]
    kind: Any = known.annotation
    return TypeAdapter(Annotated[(kind, *known.metadata)] if known.metadata else kind)
