"""What a config file says of how a real server is probed."""

from __future__ import annotations

import enum
from typing import Annotated

from pydantic import Field

from ha_lvs.config import fields, probing, programs, values
from ha_lvs.config.durations import Duration
from ha_lvs.config.fields import (
    Checked,
    Command,
    FileModel,
    FilePath,
    Flag,
    InterfaceName,
    Mark,
    NodeAddress,
    Port,
    User,
)
from ha_lvs.model import CheckType


class Via(enum.Enum):
    """Whose address a probe goes to; the value is the name in config files."""

    SERVER = "server"
    VIRTUAL = "virtual"


_PAYLOAD_JSON = {
    "anyOf": [
        fields.STRING,
        {"type": "object", "properties": {"hex": fields.STRING}, "required": ["hex"], "additionalProperties": False},
    ]
}
_CODE_JSON = {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^[0-9]{3}( *- *[0-9]{3})?$"}]}
_TEXTS_JSON = {"anyOf": [fields.STRING, {"type": "array", "items": fields.STRING}]}


class Body(FileModel):
    """What must be in the body of an HTTP answer; each that is given must hold."""

    contains: Annotated[str, Checked(values.text, fields.STRING)] | None = Field(
        default=None, description="Text that must occur in it.", examples=["ready"]
    )
    matches: Annotated[str, Checked(probing.regular_expression, fields.STRING)] | None = Field(
        default=None, description="A regular expression (Python's) that must match somewhere in it.", examples=["^ok$"]
    )
    sha256: Annotated[str, Checked(probing.sha256, {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"})] | None = Field(
        default=None, description="Its SHA-256 digest in hexadecimal.", examples=["ba7816bf" + "0" * 56]
    )


class TlsEntry(FileModel):
    """How the certificate of a server is judged."""

    name: Annotated[str, Checked(probing.host_name, fields.STRING)] | None = Field(
        default=None,
        description="The server's name for SNI and in its certificate; by default that of `host`, or its address.",
        examples=["www.example.org"],
    )
    verify: Flag = Field(
        default=True, description="Whether the certificate must be valid and trusted.", examples=[False]
    )
    ca: FilePath | None = Field(
        default=None,
        description="File with the authorities to trust, in place of the system's.",
        examples=["/etc/ha-lvs/ca.pem"],
    )
    warn_before: Annotated[Duration, fields.duration("0s", "8760h")] = Field(
        default=Duration(14 * 86_400_000),
        description="How long before it expires a certificate is warned of; 0s for never.",
        examples=["336h"],
    )


class Query(FileModel):
    """What a DNS server is asked, and what it must answer."""

    name: Annotated[str, Checked(probing.domain_name, fields.STRING)] = Field(
        description="The name that is looked up.", examples=["www.example.org"]
    )
    type: Annotated[str, fields.choice("record type", probing.RECORD_TYPES)] = Field(
        default="A", description="The type of the record.", examples=["AAAA"]
    )
    expect: Annotated[tuple[str, ...], Checked(probing.answers, _TEXTS_JSON)] = Field(
        default=(),
        description="What must be among the answers, as zone files write it; by default any answer without an error.",
        examples=["192.0.2.1", ["192.0.2.1", "192.0.2.2"]],
    )


def _expand_query(value: object) -> object:
    return value if value is None or isinstance(value, dict) else {"name": value}


def _expand_tls(value: object) -> object:
    return {} if value is True else None if value is False else value


class Check(FileModel):
    """How a real server is probed."""

    type: Annotated[CheckType, fields.choice("check type", fields.words(CheckType), CheckType)] | None = Field(
        default=None,
        description="What is tried; by default tcp for a tcp service and none for udp and sctp.",
        examples=["tcp", "http", "none"],
    )
    interval: Annotated[Duration, fields.duration("10ms", "24h")] = Field(
        default=Duration(2000), description="Time between the starts of two probes.", examples=["1s"]
    )
    fast_interval: Annotated[Duration, fields.duration("10ms", "24h")] | None = Field(
        default=None,
        description="The interval while successes or failures are being counted; by default the usual one.",
        examples=["200ms"],
    )
    timeout: Annotated[Duration, fields.duration("1ms", "24h")] | None = Field(
        default=None,
        description="A slower probe has failed; at most the interval, by default 1s or the shorter interval.",
        examples=["500ms"],
    )
    rise: Annotated[int, fields.number(1, 1000)] = Field(
        default=2, description="Successes in a row that bring a server back.", examples=[2]
    )
    fall: Annotated[int, fields.number(1, 1000)] = Field(
        default=2, description="Failures in a row that take a server out.", examples=[2]
    )
    address: NodeAddress | None = Field(
        default=None, description="The address to probe; by default the server's.", examples=["10.9.1.21"]
    )
    port: Port | None = Field(
        default=None,
        description="The port to probe; by default the server's. Needed where a service has several ports.",
        examples=[8080],
    )
    via: Annotated[Via, fields.choice("value of via", fields.words(Via), Via)] = Field(
        default=Via.SERVER,
        description="server: to the server's own address. virtual: as clients' packets go, to the virtual IP by the "
        "forwarding method, which finds a server out that lacks the virtual IP or the tunnel; tcp-half-open only.",
        examples=["virtual"],
    )
    source: NodeAddress | None = Field(
        default=None,
        description="The address that probes come from; by default the kernel's choice.",
        examples=["10.9.1.11"],
    )
    interface: InterfaceName | None = Field(
        default=None,
        description="The interface that probes leave by; by default the kernel's choice.",
        examples=["eth1"],
    )
    mark: Mark | None = Field(
        default=None, description="A firewall mark for the probes' packets; none by default.", examples=[5]
    )
    method: Annotated[str, fields.choice("method", probing.METHODS)] = Field(
        default="GET", description="The method of an http check.", examples=["HEAD"]
    )
    path: Annotated[str, Checked(values.http_path, {"type": "string", "pattern": "^/"})] = Field(
        default="/", description="What an http check requests.", examples=["/healthz"]
    )
    host: Annotated[str, Checked(values.http_host, fields.STRING)] | None = Field(
        default=None,
        description="The Host header of an http check; by default the server's address.",
        examples=["www.example.org"],
    )
    headers: Annotated[
        tuple[tuple[str, str], ...],
        Checked(probing.headers, {"type": "object", "additionalProperties": fields.STRING}),
    ] = Field(default=(), description="More header fields of an http check.", examples=[{"X-Probe": "ha-lvs"}])
    status: Annotated[
        tuple[values.StatusRange, ...],
        Checked(probing.statuses, {"anyOf": [*_CODE_JSON["anyOf"], {"type": "array", "items": _CODE_JSON}]}),
    ] = Field(
        default=(values.StatusRange(200, 399),),
        description="HTTP status codes that count as success.",
        examples=["200-399", 204, ["200-299", 304]],
    )
    body: Body | None = Field(
        default=None,
        description="What must be in the body of an http answer; anything by default.",
        examples=[{"contains": "ready"}],
    )
    tls: Annotated[TlsEntry | None, fields.Shorthand(_expand_tls, {"type": "boolean"})] = Field(
        default=None,
        description="How the certificate is judged by https; with smtp and grpc: that they are spoken in TLS.",
        examples=[{"name": "www.example.org"}, {"verify": False}],
    )
    query: Annotated[Query | None, fields.Shorthand(_expand_query, fields.STRING)] = Field(
        default=None,
        description="What a dns check asks for.",
        examples=["www.example.org", {"name": "example.org", "type": "MX"}],
    )
    send: Annotated[str, Checked(probing.payload, _PAYLOAD_JSON)] | None = Field(
        default=None,
        description="What a udp check sends: text or bytes; nothing by default.",
        examples=["ping", {"hex": "0a0b"}],
    )
    expect: Annotated[str, Checked(probing.payload, _PAYLOAD_JSON)] | None = Field(
        default=None,
        description="What the answer to a udp check must begin with; by default no answer is needed, and only an ICMP "
        "error (port unreachable) is a failure; a host that is off sends none, so ping it besides.",
        examples=["pong"],
    )
    hello: Annotated[str, Checked(probing.host_name, fields.STRING)] | None = Field(
        default=None,
        description="The name that an smtp check gives in EHLO; this host's by default.",
        examples=["lb.example.org"],
    )
    service: Annotated[str, Checked(probing.grpc_service, fields.STRING)] | None = Field(
        default=None,
        description="Whose health a grpc check asks for (grpc.health.v1); by default the server's as a whole.",
        examples=["my.package.Service"],
    )
    command: Command | None = Field(
        default=None,
        description="What an exec check runs; exit code 0 is success. HA_LVS_ADDRESS and HA_LVS_PORT tell it of which "
        "server.",
        examples=[["/usr/local/bin/check-web"]],
    )
    user: User = Field(
        default=programs.DEFAULT_USER, description="As whom an exec check runs its command.", examples=["nobody"]
    )
    weight: Flag = Field(
        default=False,
        description="Whether the command of an exec check prints the server's weight as its first line: in percent of "
        "the configured one, from 0 to 1000; 0 drains.",
        examples=[True],
    )
    file: FilePath | None = Field(
        default=None,
        description="The file of a file check: it holds the server's weight in percent of the configured one, from 0 "
        "to 1000; 0 drains, empty means 100, and without the file the server is down.",
        examples=["/run/ha-lvs/web1.weight"],
    )
    all: list[Check] | None = Field(
        default=None,
        description="Several checks, which must all be good; in place of a type.",
        examples=[[{"type": "tcp-half-open", "via": "virtual"}, {"type": "http", "path": "/healthz"}]],
    )
    any: list[Check] | None = Field(
        default=None,
        description="Several checks, of which one must be good; in place of a type.",
        examples=[[{"type": "tcp"}, {"type": "ping"}]],
    )
