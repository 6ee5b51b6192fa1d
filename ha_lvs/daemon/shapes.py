"""Values of `ha_lvs.model` and frames as JSON, and back: what travels between our processes.

The shape of a dataclass is an object by its fields' names, that of an enumeration its value, that of an address its
text. How a type is turned is worked out once from its annotations and kept as a function: ten thousand real servers
are sixty thousand values.

A field that is missing takes its default, if it has one: an earlier release may not know it. What is at its default is
left out, which most fields of most servers are; so a default never changes, a field gets another name instead.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import socket
import types
import typing
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from ipaddress import ip_address as _ip_address
from typing import Any, TypeVar

from ha_lvs.errors import ChannelError

T = TypeVar("T")

Turn = Callable[[Any], Any]

_ADDRESSES = (IPv4Address, IPv6Address)
_NETWORKS = (IPv4Network, IPv6Network)
_WRITERS: dict[Any, Turn] = {}
_READERS: dict[Any, Turn] = {}
_PLAIN = (str, int, float, bool, type(None))


@functools.lru_cache(maxsize=65536)
def ip_address(text: str) -> IPv4Address | IPv6Address:
    """The address in a text; the same one comes up again and again.

    Errors: ValueError.
    """
    try:
        return IPv4Address(socket.inet_pton(socket.AF_INET, text))
    except OSError:
        return _ip_address(text)


def to_json(value: Any) -> Any:
    """The JSON shape of a value out of `ha_lvs.model` or the frames."""
    return _writer(type(value))(value)


def from_json(kind: type[T], data: Any) -> T:
    """The value of type `kind` whose JSON shape is `data`.

    Errors: ChannelError when the data does not fit the type.
    """
    try:
        return typing.cast("T", _reader(kind)(data))
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError) as problem:
        raise ChannelError(f"a frame does not fit {kind.__name__}: {problem}") from problem


# ----------------------------------------------------------------------------------------------- values to JSON


def _write_any(value: Any) -> Any:
    return _writer(type(value))(value)


def _write_all(values: Any) -> Any:
    return [_writer(type(value))(value) for value in values]


def _as_it_is(value: Any) -> Any:
    return value


def _writer(kind: Any) -> Turn:
    found = _WRITERS.get(kind)
    if found is None:
        found = _WRITERS[kind] = _make_writer(kind)
    return found


def _make_writer(kind: Any) -> Turn:
    if issubclass(kind, enum.Enum):
        return lambda value: value.value
    if kind in _PLAIN:
        return _as_it_is
    if issubclass(kind, (*_ADDRESSES, *_NETWORKS)):
        return str
    if issubclass(kind, (tuple, list)):
        return _write_all
    if issubclass(kind, dict):
        return lambda value: {key: _write_any(item) for key, item in value.items()}
    missing = dataclasses.MISSING
    needed = tuple(each.name for each in dataclasses.fields(kind) if each.default is missing)
    optional = tuple((each.name, each.default) for each in dataclasses.fields(kind) if each.default is not missing)

    def turned(item: Any) -> Any:
        turn = _WRITERS.get(type(item))
        return _write_any(item) if turn is None else item if turn is _as_it_is else turn(item)

    def write(value: Any) -> Any:
        found = {name: turned(getattr(value, name)) for name in needed}
        for name, default in optional:
            item = getattr(value, name)
            if item is not default and item != default:
                found[name] = turned(item)
        return found

    return write


# ----------------------------------------------------------------------------------------------- JSON to values


def _reader(kind: Any) -> Turn:
    found = _READERS.get(kind)
    if found is None:
        found = _READERS[kind] = _make_reader(kind)
    return found


def _make_reader(kind: Any) -> Turn:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _optional_reader(typing.get_args(kind))
    if origin is tuple:
        return _tuple_reader(typing.get_args(kind))
    if origin is dict or kind is Any:
        return _as_it_is
    if kind in _ADDRESSES:
        return typing.cast("Turn", kind)
    if issubclass(kind, enum.Enum):
        return {member.value: member for member in kind}.__getitem__
    if dataclasses.is_dataclass(kind):
        return _dataclass_reader(kind)
    return float if kind is float else _as_it_is


def _optional_reader(options: tuple[Any, ...]) -> Turn:
    """Of a union: of address families, or of None and one other type."""
    some = tuple(option for option in options if option is not type(None))
    if set(some) == set(_ADDRESSES):
        read: Turn = ip_address
    elif set(some) == set(_NETWORKS):
        read = ip_network
    else:
        read = _reader(some[0]) if len(some) == 1 else _as_it_is
    return lambda data: None if data is None else read(data)


def _tuple_reader(items: tuple[Any, ...]) -> Turn:
    """Of tuples of one type and any length, and of those of fixed length."""
    if len(items) == 2 and items[1] is Ellipsis:
        read = _reader(items[0])
        return lambda data: tuple(map(read, data))
    reads = tuple(map(_reader, items))
    return lambda data: tuple(read(each) for read, each in zip(reads, data, strict=True))


def _dataclass_reader(kind: Any) -> Turn:
    hints, missing = typing.get_type_hints(kind), dataclasses.MISSING
    needed: list[tuple[str, Turn]] = []
    optional: dict[str, Turn] = {}
    for each in dataclasses.fields(kind):
        turn = _reader(hints[each.name])
        if (each.default, each.default_factory) == (missing, missing):
            needed.append((each.name, turn))
        else:
            optional[each.name] = turn
    plain = tuple(name for name, turn in needed if turn is _as_it_is)
    turned = tuple((name, turn) for name, turn in needed if turn is not _as_it_is)

    def read(data: Any) -> Any:
        found = {name: data[name] for name in plain}
        for name, turn in turned:
            found[name] = turn(data[name])
        if len(data) > len(found):
            for name, value in data.items():
                if (optional_turn := optional.get(name)) is not None:
                    found[name] = optional_turn(value)
        return kind(**found)

    return read
