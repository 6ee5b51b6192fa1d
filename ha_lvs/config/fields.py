"""The types of the config file's fields: how a single value is checked, and its JSON Schema.

Rules that hold here:
* A field's check is a function of `values`, which raises a sentence that an operator can act on. pydantic's
  own types are not used for single values: their messages speak of types, not of remedies.
* A shorter spelling (`10.9.0.21` for a server) is expanded before the mapping is checked.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema, core_schema

from ha_lvs.config import durations, networks, programs, values
from ha_lvs.config.durations import Duration
from ha_lvs.model import Forwarding, IPAddress, IPNetwork


class FileModel(BaseModel):
    """A mapping of a file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def plain(value: object) -> Any:
    """A checked value in JSON's terms, as the file could spell it."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return str(value)


class _JsonSchema(GenerateJsonSchema):
    """Defaults as the file would spell them."""

    def encode_default(self, dft: Any) -> Any:
        return plain(dft)


def json_schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a kind of file.

    Arguments:
        model: what the whole file holds.
        title: what the file is called.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **model.model_json_schema(schema_generator=_JsonSchema),
        "title": title,
    }


@dataclass(frozen=True, eq=False)
class Checked:
    """How a single value is checked: a function that gives it or raises ValueError, and its JSON Schema."""

    check: Callable[[object], Any]
    json: dict[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.check, serialization=core_schema.plain_serializer_function_ser_schema(plain)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.json)


@dataclass(frozen=True, eq=False)
class Shorthand:
    """A shorter spelling of a mapping: a function from what the file has to it, and its JSON Schema."""

    expand: Callable[[object], object]
    json: dict[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.expand, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [dict(self.json), handler(schema)]}


def number(low: int, high: int) -> Checked:
    check = functools.partial(values.whole_number, low=low, high=high)
    return Checked(check, {"type": "integer", "minimum": low, "maximum": high})


def duration(low: str, high: str, multiple_ms: int = 1) -> Checked:
    check = functools.partial(
        values.duration, low=durations.parse(low), high=durations.parse(high), multiple_ms=multiple_ms
    )
    return Checked(check, {"type": "string", "pattern": durations.PATTERN})


def choice(what: str, known: tuple[str, ...], kind: Callable[[str], Any] = str) -> Checked:
    def check(value: object) -> Any:
        return kind(values.choice(value, what, known))

    return Checked(check, {"enum": list(known)})


def words(kind: type[enum.Enum]) -> tuple[str, ...]:
    return tuple(str(member.value) for member in kind)


LEASE_AUTO, LEASE_OFF = "auto", "off"


def _lease(value: object) -> str | Duration:
    if value in (LEASE_AUTO, LEASE_OFF):
        return str(value)
    if value is False:
        return LEASE_OFF
    if isinstance(value, str) and not value[:1].isdigit():
        return values.choice(value, "lease", (LEASE_AUTO, LEASE_OFF, "a duration in whole seconds"))
    return values.duration(value, Duration(1000), Duration(24 * 3_600_000), 1000)


EVERY_NODE = "*"
"""The key of `Instance.priority` that stands for every node, where the file gives one number."""


def expand_priority(value: object) -> object:
    if isinstance(value, dict):
        return value
    return {EVERY_NODE: values.whole_number(value, 1, 255)}


def expand_virtual_ip(value: object) -> object:
    if isinstance(value, dict):
        return value
    networks.prefix(value)
    return {"address": value}


def expand_switch(value: object) -> object:
    """``true`` and ``false`` for a mapping with `enabled`."""
    if value is None or isinstance(value, dict):
        return value
    return {"enabled": values.flag(value)}


def expand_interface(key: str) -> Callable[[object], object]:
    """The name of an interface for a mapping that has it under a key."""

    def expand(value: object) -> object:
        return value if value is None or isinstance(value, dict) else {key: values.interface(value)}

    return expand


def expand_names(value: object) -> object:
    """A list of names for a mapping whose keys they are."""
    if not isinstance(value, list):
        return value
    found: dict[str, object] = {}
    for item in value:
        name = values.name(item)
        if name in found:
            raise ValueError(f"{name} is listed twice; remove one")
        found[name] = {}
    return found


def expand_addresses(value: object) -> object:
    return {"addresses": value} if isinstance(value, list) else value


def expand_command(value: object) -> object:
    return {"command": value} if isinstance(value, (str, list)) else value


STRING = {"type": "string"}
ADDRESS_JSON = {"anyOf": [{"type": "string", "format": "ipv4"}, {"type": "string", "format": "ipv6"}]}
COMMAND_JSON = {"anyOf": [{"type": "array", "items": STRING, "minItems": 1}, STRING]}

Name = Annotated[str, Checked(values.name, {"type": "string", "pattern": values.NAME_PATTERN})]
InterfaceName = Annotated[str, Checked(values.interface, {"type": "string", "pattern": values.INTERFACE_PATTERN})]
Group = Annotated[IPv4Address, Checked(values.multicast_group, {"type": "string", "format": "ipv4"})]
Address = Annotated[IPAddress, Checked(networks.address, ADDRESS_JSON)]
NodeAddress = Annotated[IPAddress, Checked(networks.node_address, ADDRESS_JSON)]
NodeAddress6 = Annotated[IPv6Address, Checked(networks.node_ipv6, {"type": "string", "format": "ipv6"})]
AnyGroup = Annotated[IPAddress, Checked(networks.multicast_group, ADDRESS_JSON)]
Prefix = Annotated[networks.IPInterface, Checked(networks.prefix, STRING)]
Destination = Annotated[IPNetwork | None, Checked(networks.destination, STRING)]
Selector = Annotated[IPNetwork | None, Checked(networks.selector, STRING)]
Family = Annotated[int, Checked(networks.family, {"enum": list(networks.FAMILIES)})]
Scope = Annotated[
    int,
    Checked(networks.scope, {"anyOf": [{"enum": list(networks.SCOPES)}, {"type": "integer", "minimum": 0}]}),
]
Table = Annotated[
    int,
    Checked(networks.table, {"anyOf": [{"enum": list(networks.TABLES)}, {"type": "integer", "minimum": 1}]}),
]
MARK_JSON = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^0[xX][0-9a-fA-F]+$"}]}
Mark = Annotated[int, Checked(networks.mark, MARK_JSON)]
Label = Annotated[str, Checked(networks.label, {"type": "string", "maxLength": 15})]
Command = Annotated[tuple[str, ...], Checked(programs.command, COMMAND_JSON)]
User = Annotated[str, Checked(programs.user, STRING)]
FilePath = Annotated[str, Checked(programs.file_path, {"type": "string", "pattern": "^/"})]
Program = Annotated[str, Checked(programs.program, {"type": "string", "maxLength": programs.COMM_BYTES})]
Weight = Annotated[int, Checked(programs.weight, {"type": "integer", "minimum": -253, "maximum": 253})]
Flag = Annotated[bool, Checked(values.flag, {"type": "boolean"})]
Port = Annotated[int, number(1, 65535)]
Priority = Annotated[int, number(1, 255)]
Lease = Annotated[
    str | Duration,
    Checked(
        _lease,
        {"anyOf": [{"enum": [LEASE_AUTO, LEASE_OFF]}, {"type": "string", "pattern": durations.PATTERN}]},
    ),
]
ForwardingMethod = Annotated[Forwarding, choice("forwarding method", words(Forwarding), Forwarding)]

SWITCH = Shorthand(expand_switch, {"type": "boolean"})


class Switch(FileModel):
    """What may also be written as ``true`` or ``false``; with ``enabled: false`` its values are kept for later."""

    enabled: Flag = Field(default=True, description="Whether it is on; false keeps the values.", examples=[True])

    @model_serializer(mode="wrap")
    def _short(self, handler: SerializerFunctionWrapHandler) -> Any:
        """The short spelling where it says all: old files keep their digest."""
        if not self.enabled and self == type(self)(enabled=False):
            return False
        return handler(self) or True
