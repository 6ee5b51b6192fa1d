"""What a config file says of the kernel's IPVS as a whole: its upkeep, time-outs, sysctls, connection sync."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated

from pydantic import Field

from ha_lvs.config import fields, values
from ha_lvs.config.durations import Duration
from ha_lvs.config.fields import Checked, FileModel, Flag, Group, InterfaceName, Port
from ha_lvs.config.schema.sysctls import Sysctls
from ha_lvs.model import OnStop

_LONGEST = "596h"
"""The kernel counts time-outs in ticks of a signed 32-bit number, of which 1000 may make a second."""

Timeout = Annotated[Duration, fields.duration("1s", _LONGEST, 1000)]


PROBERS_AUTO = "auto"
MOST_PROBERS = 64


def _probers(value: object) -> str | int:
    if isinstance(value, str):
        return values.choice(value, "number of probers", (PROBERS_AUTO, f"a number from 1 to {MOST_PROBERS}"))
    return values.whole_number(value, 1, MOST_PROBERS)


Probers = Annotated[
    str | int,
    Checked(
        _probers, {"anyOf": [{"enum": [PROBERS_AUTO]}, {"type": "integer", "minimum": 1, "maximum": MOST_PROBERS}]}
    ),
]


class ConnectionSync(FileModel):
    """The kernel's connection sync between the directors, so that connections survive a take-over."""

    interface: InterfaceName = Field(description="The interface that carries the sync datagrams.", examples=["e0"])
    id: Annotated[int, fields.number(0, 255)] = Field(
        description="Sync id, the same on both directors; datagrams with another are dropped.", examples=[7]
    )
    group: Group = Field(default=IPv4Address("224.0.0.81"), description="Multicast group.", examples=["224.0.0.81"])
    port: Port = Field(default=8848, description="UDP port.", examples=[8848])
    ttl: Annotated[int, fields.number(1, 255)] = Field(default=1, description="TTL of the datagrams.", examples=[1])


class TimeoutsEntry(FileModel):
    """How long IPVS remembers a silent connection; what is left out stays as the kernel has it."""

    tcp: Timeout | None = Field(default=None, description="An established one of TCP.", examples=["15m"])
    tcpfin: Timeout | None = Field(default=None, description="One of TCP after a FIN.", examples=["2m"])
    udp: Timeout | None = Field(default=None, description="One of UDP.", examples=["5m"])


class Ipvs(FileModel):
    """How the kernel's IPVS tables are kept."""

    on_stop: Annotated[OnStop, fields.choice("value of on_stop", fields.words(OnStop), OnStop)] = Field(
        default=OnStop.KEEP,
        description="What a planned stop does to our services.",
        examples=["keep", "remove"],
    )
    reconcile: Annotated[Duration, fields.duration("1s", "24h")] = Field(
        default=Duration(30_000),
        description="Time between two looks at the kernel for drift.",
        examples=["30s"],
    )
    drain: Annotated[Duration, fields.duration("0s", "24h")] = Field(
        default=Duration(60_000),
        description="How long a server that is taken out of the file may go on serving the connections that it has.",
        examples=["60s"],
    )
    probers: Probers = Field(
        default=PROBERS_AUTO,
        description="How many processes probe the servers; auto: one for up to 2000 endpoints, else one for each "
        "processor, at most 8.",
        examples=["auto", 4],
    )
    passive: Flag = Field(
        default=False,
        description="Whether the connection table is watched for servers whose handshakes (TCP) remain unfinished; "
        "they are probed at once. A service may say otherwise. Reading a table of many connections takes time.",
        examples=[True],
    )
    timeouts: TimeoutsEntry = Field(
        default=TimeoutsEntry(),
        description="How long IPVS remembers a silent connection.",
        examples=[{"tcp": "15m", "tcpfin": "2m", "udp": "5m"}],
    )
    sysctls: Sysctls = Field(
        default=Sysctls(),
        description="Sysctls under net.ipv4.vs with the values that they are to have; others stay as they are.",
        examples=[{"conn_reuse_mode": 1, "sloppy_tcp": 1}],
    )
