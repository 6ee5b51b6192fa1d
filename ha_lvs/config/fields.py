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
from ipaddress import IPv4Address, IPv4Interface
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema, core_schema

from ha_lvs.config import durations, values
from ha_lvs.config.durations import Duration
from ha_lvs.model import Forwarding, ServiceKey


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
    values.ipv4_prefix(value)
    return {"address": value}


def expand_server(value: object) -> object:
    if isinstance(value, dict):
        return value
    address, port = values.address_port(value)
    return {"address": str(address)} if port is None else {"address": str(address), "port": port}


STRING = {"type": "string"}
Name = Annotated[str, Checked(values.name, {"type": "string", "pattern": values.NAME_PATTERN})]
InterfaceName = Annotated[str, Checked(values.interface, {"type": "string", "pattern": values.INTERFACE_PATTERN})]
Host = Annotated[IPv4Address, Checked(values.ipv4, {"type": "string", "format": "ipv4"})]
Group = Annotated[IPv4Address, Checked(values.multicast_group, {"type": "string", "format": "ipv4"})]
Prefix = Annotated[IPv4Interface, Checked(values.ipv4_prefix, STRING)]
Listen = Annotated[ServiceKey, Checked(values.listen, {"type": "string", "pattern": r"^.+:[0-9]+/(tcp|udp|sctp)$"})]
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
Status = Annotated[
    values.StatusRange,
    Checked(
        values.status_range,
        {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^[0-9]{3}( *- *[0-9]{3})?$"}]},
    ),
]
