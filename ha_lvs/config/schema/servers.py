"""What a config file says of a real server: where it is, how packets reach it, how it is probed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ha_lvs.config import endpoints, fields, values
from ha_lvs.config.fields import Address, FileModel, ForwardingMethod, Port, Shorthand
from ha_lvs.config.schema.checks import Check
from ha_lvs.model import Tunnel, TunnelChecksum

GUE_PORT = 6080
"""Where GUE is expected unless told otherwise (IANA; Linux has no default of its own)."""

_MOST_CONNECTIONS = 2**31 - 1


class TunnelEntry(FileModel):
    """What packets to a real server are wrapped in with `forwarding: tun`."""

    type: Annotated[Tunnel, fields.choice("tunnel type", fields.words(Tunnel), Tunnel)] = Field(
        description="ipip, gue (in UDP, Generic UDP Encapsulation) or gre.", examples=["gue"]
    )
    port: Port | None = Field(
        default=None, description=f"UDP port of the server's GUE; {GUE_PORT} by default.", examples=[GUE_PORT]
    )
    checksum: Annotated[TunnelChecksum, fields.choice("checksum", fields.words(TunnelChecksum), TunnelChecksum)] = (
        Field(
            default=TunnelChecksum.NONE,
            description="The checksum of the GUE or GRE header: none, full, or (GUE only) remote checksum offload.",
            examples=["none", "full"],
        )
    )


class Connections(FileModel):
    """How many connections a real server takes, active and inactive ones, before it gets no new ones."""

    most: Annotated[int, fields.number(1, _MOST_CONNECTIONS)] = Field(
        description="From so many on it gets no new ones (IPVS's upper threshold).", examples=[1000]
    )
    resume: Annotated[int, fields.number(1, _MOST_CONNECTIONS)] | None = Field(
        default=None,
        description="Below so many it gets new ones again (IPVS's lower threshold); three quarters by default.",
        examples=[800],
    )


def _expand_tunnel(value: object) -> object:
    if value is None or isinstance(value, dict):
        return value
    return {"type": values.choice(value, "tunnel type", fields.words(Tunnel))}


def _expand_connections(value: object) -> object:
    if value is None or isinstance(value, dict):
        return value
    return {"most": values.whole_number(value, 1, _MOST_CONNECTIONS)}


def expand_server(value: object) -> object:
    """``10.9.0.21`` and ``10.9.0.21:8080`` as the mapping of a server."""
    if isinstance(value, dict):
        return value
    address, port = endpoints.address_port(value)
    return {"address": str(address)} if port is None else {"address": str(address), "port": port}


TUNNEL = Shorthand(_expand_tunnel, {"enum": list(fields.words(Tunnel))})
CONNECTIONS = Shorthand(_expand_connections, {"type": "integer", "minimum": 1})
SERVER = Shorthand(expand_server, {"type": "string", "examples": ["10.9.0.21", "10.9.0.21:8080", "[fd00:9::21]:8080"]})


class Target(FileModel):
    """Where packets are sent, and how."""

    address: Address = Field(
        description="The server's address; of the service's address family, unless it is reached by tun.",
        examples=["10.9.0.21", "fd00:9::21"],
    )
    port: Port | None = Field(
        default=None,
        description="The server's port, the service's by default; dr and tun cannot change it.",
        examples=[8080],
    )
    forwarding: ForwardingMethod | None = Field(
        default=None, description="How packets reach it; the service's method by default.", examples=["dr"]
    )
    tunnel: Annotated[TunnelEntry | None, TUNNEL] = Field(
        default=None,
        description="What packets to it are wrapped in with tun, in place of the service's `tunnel`.",
        examples=["gre", {"type": "gue", "port": 6080}],
    )
    connections: Annotated[Connections | None, CONNECTIONS] = Field(
        default=None,
        description="How many connections it takes; any number by default.",
        examples=[1000, {"most": 1000, "resume": 800}],
    )


class Server(Target):
    """A real server of a service."""

    weight: Annotated[int, fields.number(0, 65535)] = Field(
        default=1, description="Its share of new connections; 0 for none.", examples=[1]
    )
    check: Check | None = Field(
        default=None,
        description="How it is probed, in place of the whole check of the service.",
        examples=[{"type": "tcp"}],
    )


class Sorry(Target):
    """Where clients are sent while a service has not got its quorum. It is never probed."""
