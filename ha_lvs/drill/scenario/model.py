"""A scenario as frozen values: what the runner does and the report tells.

Rules that hold here:
* Times are seconds. A step's time counts from the moment the drill is armed: the load has settled.
* A target is as the operator wrote it. `active` and `standby` become nodes only when the drill is armed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ha_lvs.model import Forwarding

ROLES = ("active", "standby")
"""Targets that stand for a director: who holds the virtual IP when the drill is armed, and the other."""

DIRECTORS = ("lb1", "lb2")
"""The directors of every drill."""

MOST_HOSTS = 9
"""How many clients, and how many real servers, a lab can have."""

BLOCKED = ("sends", "receives")
"""What a node with a one-way cable no longer does."""

CONTENDERS = ("keepalived", "dns")
"""What can be on trial beside ha-lvs."""

VERBS: Mapping[str, str] = MappingProxyType(
    {
        "cut": "cut {target}",
        "heal": "heal {target}",
        "freeze": "freeze {target}",
        "thaw": "thaw {target}",
        "kill": "kill {target}",
        "stop": "stop {target}",
        "start": "start {target}",
        "handover": "{target} hands over",
        "standby": "put {target} on standby",
        "enable": "enable {target}",
        "restart": "restart {target} in place",
        "kill_elector": "kill the elector of {target}",
        "loss": "loss: {target} loses {percent:g}% each way",
        "delay": "delay: {target} is {time_s} late each way{jitter}",
        "one_way": "one-way: {target} no longer {blocked}",
        "busy_cpu": "{loops:g} busy loops for {duration_s}",
        "stop_server": "stop server {target}",
        "start_server": "start server {target}",
        "hang_server": "hang server {target}",
    }
)
"""Every verb of a step, and how it is told."""


ASKED: Mapping[str, str] = MappingProxyType(
    {
        "handover": "hand over",
        "standby": "be put on standby",
        "enable": "be enabled",
        "restart": "restart in place",
    }
)
"""The verbs that ask a running director for something, as an operator does with `ha-lvs`, and what that is."""

OURS_ALONE = ("handover", "standby", "enable")
"""Those of them that no other contender can do; what comes nearest to `restart` everybody can."""


def shown_s(seconds: float) -> str:
    """A length of time for people: `250 ms`, `1.5 s`."""
    return f"{seconds:g} s" if seconds >= 1 or seconds == 0 else f"{seconds * 1000:g} ms"


@dataclass(frozen=True, slots=True)
class Step:
    """Something done at a time.

    Arguments:
        at_s: seconds after the drill is armed.
        verb: one of `VERBS`.
        target: `active`, `standby`, a director or a real server; empty for busy_cpu, which concerns the machine.
        options: of the verb: percent; time_s, jitter_s; blocked ("sends" or "receives"); loops, duration_s.
    """

    at_s: float
    verb: str
    target: str = ""
    options: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What is done, for people: `cut active`."""
        spelt = {
            key: shown_s(value) if key.endswith("_s") and isinstance(value, (int, float)) else value
            for key, value in self.options.items()
        }
        jitter = f" (± {spelt['jitter_s']})" if self.options.get("jitter_s") else ""
        return VERBS[self.verb].format_map({"target": self.target, **spelt, "jitter": jitter})


@dataclass(frozen=True, slots=True)
class Scenario:
    """A drill: a topology under load, what is done to it, and what must hold.

    Arguments:
        name: the file's name without `.yml`.
        title, teaches: for the operator, a line and a paragraph.
        forwarding: how packets reach the real servers.
        servers: how many; with none the pair has no services and needs no IPVS.
        clients: how many hosts the load may come from.
        config: terms of the config file, merged over the generated pair's (`merge`).
        connections: how many long-lived connections.
        rate: requests a second.
        udp_interval_s: time between two datagrams; None for no such stream.
        against: other contenders in the same report.
        steps: sorted by time.
        end_s: when measuring stops.
        expect: bounds by name (`BOUNDS`): seconds, counts, percent.
    """

    name: str
    title: str
    teaches: str
    forwarding: Forwarding
    servers: int
    clients: int
    config: Mapping[str, Any]
    connections: int
    rate: float
    udp_interval_s: float | None
    against: tuple[str, ...]
    steps: tuple[Step, ...]
    end_s: float
    expect: Mapping[str, float]

    @property
    def needs_ipvs(self) -> bool:
        """Whether the lab's kernel must have IPVS."""
        return self.servers > 0
