"""What a scenario file may hold, as pydantic models. `ha-lvs schema --scenario` prints their JSON Schema.

The rules are those of the config file's schema: unknown keys are refused, nothing is coerced, a single value is
checked by a function that raises a sentence with a remedy. What concerns several fields is in `crosscheck`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from ha_lvs.config import fields, values
from ha_lvs.config.durations import Duration
from ha_lvs.config.fields import STRING, Checked, FileModel, ForwardingMethod
from ha_lvs.drill.scenario.bounds import BOUNDS
from ha_lvs.drill.scenario.model import BLOCKED, CONTENDERS, DIRECTORS, MOST_HOSTS, ROLES, VERBS
from ha_lvs.model import Forwarding

_SERVER = re.compile(r"s[1-9][0-9]?")
_DECIMAL = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")


def server(value: object) -> str:
    """The name of a real server of the lab."""
    if isinstance(value, str) and _SERVER.fullmatch(value):
        return value
    raise ValueError(f"{values.shown(value)} is no real server; they are called s1, s2 and so on")


def director(value: object) -> str:
    """A director: by role, or by name."""
    if isinstance(value, str) and _SERVER.fullmatch(value):
        raise ValueError(f"{value} is a real server; for those there are stop_server, start_server and hang_server")
    return values.choice(value, "director", (*ROLES, *DIRECTORS))


def host(value: object) -> str:
    """A host of the lab with a cable that may fail: a director or a real server."""
    if isinstance(value, str) and _SERVER.fullmatch(value):
        return value
    return values.choice(value, "host", (*ROLES, *DIRECTORS, "s1, s2 and so on"))


def decimal(value: object, low: float, high: float) -> float:
    """A number from `low` to `high`, both included, whole or not."""
    # Only whole numbers come as such: the file's reader leaves what has a point as it is written.
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number and not (isinstance(value, str) and _DECIMAL.fullmatch(value)):
        raise ValueError(f"{values.shown(value)} is not a number; write one from {low:g} to {high:g}, without a unit")
    found = float(str(value))
    if not low <= found <= high:
        raise ValueError(f"{value} is out of range; write a number from {low:g} to {high:g}")
    return found


def _decimal(low: float, high: float) -> Checked:
    return Checked(lambda value: decimal(value, low, high), {"type": "number", "minimum": low, "maximum": high})


Text = Annotated[str, Checked(values.text, STRING)]
Server = Annotated[str, Checked(server, {"type": "string", "pattern": f"^{_SERVER.pattern}$"})]
Director = Annotated[str, Checked(director, {"enum": [*ROLES, *DIRECTORS]})]
Host = Annotated[
    str, Checked(host, {"type": "string", "pattern": f"^({'|'.join((*ROLES, *DIRECTORS, _SERVER.pattern))})$"})
]
Moment = Annotated[Duration, fields.duration("0ms", "1h")]
Count = Annotated[int, fields.number(0, 1_000_000)]


class Topology(FileModel):
    """The lab: two directors on a switch with clients and real servers."""

    forwarding: ForwardingMethod = Field(
        default=Forwarding.DR, description="How packets reach the real servers: dr, tun or nat.", examples=["dr"]
    )
    servers: Annotated[int, fields.number(0, MOST_HOSTS)] = Field(
        default=3,
        description="How many real servers, called s1, s2 and so on; with 0 the pair has no services and the "
        "drill needs no IPVS.",
        examples=[3],
    )
    clients: Annotated[int, fields.number(1, MOST_HOSTS)] = Field(
        default=1, description="How many clients.", examples=[1]
    )


class Load(FileModel):
    """What clients do from before the drill is armed until its end."""

    connections: Annotated[int, fields.number(0, 10_000)] = Field(
        default=0, description="How many long-lived connections.", examples=[100]
    )
    rate: Annotated[float, _decimal(0, 10_000)] = Field(default=0.0, description="Requests a second.", examples=[50])
    udp: Annotated[Duration, fields.duration("1ms", "1s")] | None = Field(
        default=None,
        description="Time between two datagrams of a stream; no such stream when left out.",
        examples=["1ms"],
    )


class Loss(FileModel):
    """A cable that loses packets, in each direction."""

    node: Host = Field(description="Whose cable.", examples=["active"])
    percent: Annotated[float, _decimal(0, 100)] = Field(
        description="How many of 100 packets are lost, each way.", examples=[20]
    )


class Delay(FileModel):
    """A slow cable, in each direction."""

    node: Host = Field(description="Whose cable.", examples=["active"])
    time: Annotated[Duration, fields.duration("0ms", "1m")] = Field(
        description="How much longer a packet takes, each way.", examples=["20ms"]
    )
    jitter: Annotated[Duration, fields.duration("0ms", "1m")] = Field(
        default=Duration(0), description="How much that varies.", examples=["5ms"]
    )


class OneWay(FileModel):
    """A cable with one dead direction."""

    node: Host = Field(description="Whose cable.", examples=["active"])
    blocked: Annotated[str, fields.choice("direction", BLOCKED)] = Field(
        description="What the node no longer does: sends or receives.", examples=["sends"]
    )


class BusyCpu(FileModel):
    """Processes that compete for the processors of the whole machine."""

    loops: Annotated[int, fields.number(1, 256)] = Field(description="How many endless loops.", examples=[8])
    duration: Annotated[Duration, fields.duration("1ms", "1h")] = Field(
        description="How long they last.", examples=["10s"]
    )


class StepEntry(FileModel):
    """Something done at a time: exactly one verb a step."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [verb]} for verb in VERBS]})

    at: Moment = Field(description="When, counted from the moment that the load has settled.", examples=["2s"])
    cut: Host | None = Field(
        default=None, description="Takes a host off the network; it sees no change at its link.", examples=["active"]
    )
    heal: Host | None = Field(
        default=None,
        description="Undoes every fault of a host's cable: cut, loss, delay, one_way.",
        examples=["active"],
    )
    freeze: Director | None = Field(
        default=None,
        description="SIGSTOP for every process of a director; its kernel goes on.",
        examples=["active"],
    )
    thaw: Director | None = Field(default=None, description="SIGCONT after freeze.", examples=["active"])
    kill: Director | None = Field(
        default=None, description="SIGKILL for every process of a director at once.", examples=["active"]
    )
    stop: Director | None = Field(default=None, description="SIGTERM: a planned stop.", examples=["active"])
    start: Director | None = Field(
        default=None, description="Starts a director that was stopped or killed.", examples=["active"]
    )
    handover: Director | None = Field(
        default=None,
        description="`ha-lvs handover`: the other director takes the role before this one lets go.",
        examples=["active"],
    )
    standby: Director | None = Field(
        default=None,
        description="`ha-lvs standby`: hands over, and stays out of the election until enable.",
        examples=["active"],
    )
    enable: Director | None = Field(
        default=None, description="`ha-lvs enable` after handover or standby.", examples=["active"]
    )
    restart: Director | None = Field(
        default=None,
        description="`ha-lvs restart`: every process is replaced in place, as for an upgrade. What cannot do that "
        "(keepalived) is stopped and started.",
        examples=["standby"],
    )
    kill_elector: Director | None = Field(
        default=None,
        description="SIGKILL for the one process of a director that takes part in the election (keepalived: its VRRP "
        "process); the others find out.",
        examples=["active"],
    )
    loss: Loss | None = Field(
        default=None, description="A cable that loses packets.", examples=[{"node": "active", "percent": 20}]
    )
    delay: Delay | None = Field(
        default=None, description="A slow cable.", examples=[{"node": "active", "time": "20ms", "jitter": "5ms"}]
    )
    one_way: OneWay | None = Field(
        default=None,
        description="A cable with one dead direction.",
        examples=[{"node": "active", "blocked": "sends"}],
    )
    busy_cpu: BusyCpu | None = Field(
        default=None, description="Starves the machine of processors.", examples=[{"loops": 8, "duration": "10s"}]
    )
    stop_server: Server | None = Field(default=None, description="Stops a real server.", examples=["s1"])
    start_server: Server | None = Field(
        default=None, description="Brings a real server back that was stopped or hung.", examples=["s1"]
    )
    hang_server: Server | None = Field(
        default=None,
        description="SIGSTOP for a real server: its kernel still accepts connections, nobody answers.",
        examples=["s1"],
    )


def _bound(name: str, example: object) -> Any:
    bound = BOUNDS[name]
    return Field(default=None, description=f"{bound.direction.capitalize()}: {bound.label}.", examples=[example])


class Expect(FileModel):
    """What must hold for ha-lvs; the other contenders are only shown beside it."""

    outage: Moment | None = _bound("outage", "1.5s")
    udp_outage: Moment | None = _bound("udp_outage", "1.2s")
    datagrams_lost: Count | None = _bound("datagrams_lost", 0)
    requests_failed: Count | None = _bound("requests_failed", 80)
    connections_kept: Annotated[float, _decimal(0, 100)] | None = _bound("connections_kept", 100)
    holders_at_end: Annotated[int, fields.number(0, len(DIRECTORS))] | None = _bound("holders_at_end", 1)
    dual_active: Moment | None = _bound("dual_active", "0s")
    no_holder: Moment | None = _bound("no_holder", "1.5s")
    role_changes: Count | None = _bound("role_changes", 2)
    recovery: Moment | None = _bound("recovery", "6s")
    server_out: Moment | None = _bound("server_out", "3s")
    server_in: Moment | None = _bound("server_in", "4s")


class ScenarioFile(FileModel):
    """A drill of ha-lvs: a topology under load, what is done to it and when, and what must hold."""

    title: Text = Field(description="One line that names the drill.", examples=["Power loss of the active director"])
    teaches: Text = Field(
        description="One paragraph for the operator: what happens, what to watch, what it proves.",
        examples=["The active director loses its network and the other takes over."],
    )
    topology: Topology = Field(
        default=Topology(), description="The lab.", examples=[{"forwarding": "dr", "servers": 3, "clients": 1}]
    )
    config: dict[str, Any] = Field(
        default={},
        description="Terms of the config file, merged over the generated pair's: mappings key by key, null deletes, "
        "anything else replaces.",
        examples=[{"instances": {"edge": {"interval": "250ms"}}}],
    )
    load: Load = Field(
        default=Load(), description="What clients do.", examples=[{"connections": 100, "rate": 50, "udp": "1ms"}]
    )
    against: list[Annotated[str, fields.choice("contender", CONTENDERS)]] = Field(
        default=[], description="Other contenders in the same report.", examples=[["keepalived"]]
    )
    steps: list[StepEntry] = Field(
        min_length=1, description="What is done and when.", examples=[[{"at": "2s", "cut": "active"}]]
    )
    end: Annotated[Duration, fields.duration("1s", "1h")] = Field(
        description="When measuring stops, counted from the moment that the load has settled.", examples=["14s"]
    )
    expect: Expect = Field(
        default=Expect(), description="What must hold.", examples=[{"outage": "1.5s", "holders_at_end": 1}]
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a scenario file."""
    return fields.json_schema(ScenarioFile, "ha-lvs drill scenario")
