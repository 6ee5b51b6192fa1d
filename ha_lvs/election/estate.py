"""What a machine leaves to its successor, as JSON shapes. Monotonic times stay as they are: it is the same clock."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_address
from typing import Any, TypeVar

T = TypeVar("T")

VERSION = 1
_ADDRESS = "peer"
_ADDRESSES = "sources"


def freeze(part: Any) -> dict[str, Any] | None:
    """The JSON shape of a part of a machine, a slotted dataclass of plain values and addresses; None for None."""
    if part is None:
        return None
    shape: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.name == _ADDRESS:
            value = None if value is None else str(value)
        elif isinstance(value, tuple):
            value = [str(each) for each in value]
        shape[field.name] = value
    return shape


def thaw(kind: type[T], shape: dict[str, Any]) -> T:
    """The part whose shape it is.

    Errors: ValueError, TypeError, KeyError when it is another's.
    """
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in shape.items()}
    if values.get(_ADDRESS) is not None:
        values[_ADDRESS] = ip_address(str(values[_ADDRESS]))
    if _ADDRESSES in values:
        values[_ADDRESSES] = tuple(ip_address(each) for each in values[_ADDRESSES])
    return kind(**values)
