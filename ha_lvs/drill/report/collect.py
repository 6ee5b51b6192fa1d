"""What a drill has seen so far, put together from its events.

The measuring side (`ha_lvs.drill.runner`) writes one JSON object a line (`ha_lvs.drill.measure.events`); screen,
figures, pictures and page are all made from the `Story` that this module builds of them, so that a recorded file of
events gives the same again. Beside the runner's events there is one of this side's own: ``clock`` {wall_s}, the wall
clock's time at `t` as far as it can be seen from outside, which places the lines of log files on the time axis where
``run`` has no ``wall_s``.

Pure: no clock, no file. Times ending in ``_s`` are seconds of CLOCK_MONOTONIC of the machine under test, unless they
are said to count from arming.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ha_lvs.drill.measure.events import Event
from ha_lvs.drill.measure.tally import Request

OURS = "ha-lvs"
"""The contender that bounds apply to."""

Changes = list[tuple[float, tuple[str, ...]]]
"""Names as they changed: (since when, which), in order of time."""


@dataclass(frozen=True, slots=True)
class Done:
    """A step that was done.

    Arguments:
        at_s: when.
        verb, target: as in the scenario; the target is the name of a node, or empty.
        text: for people.
    """

    at_s: float
    verb: str
    target: str
    text: str


@dataclass(slots=True)
class Trial:
    """One contender's run, as far as it has come.

    Arguments:
        contender: ``ha-lvs``, ``keepalived`` or ``dns``.
        begun_s: when it began.
        length_s: for how long it is measured, from arming.
        directors, servers: names of the nodes that take part.
        interval_s: between two advertisements.
        udp_interval_s: between two datagrams, or None where none are sent.

    The rest grows. `in_service` has for each change the node whose IPVS it is and the servers in it. `wall_offset_s` is
    what has to be added to the events' clock to get the wall clock of the machine under test, None when unknown.
    """

    contender: str
    begun_s: float
    length_s: float
    directors: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    interval_s: float = 0.0
    udp_interval_s: float | None = None
    armed_s: float | None = None
    active: str = ""
    standby: str = ""
    steps: list[Done] = field(default_factory=list)
    holders: Changes = field(default_factory=list)
    roles: list[tuple[float, dict[str, str]]] = field(default_factory=list)
    in_service: list[tuple[float, str, tuple[str, ...]]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    connections: Event = field(default_factory=dict)
    verified: dict[str, Event] = field(default_factory=dict)
    udp: Event | None = None
    settled: Event | None = None
    summary: Event = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    lateness_ms: float = 0.0
    ended_s: float | None = None
    wall_offset_s: float | None = None

    @property
    def measured_until_s(self) -> float | None:
        """When measuring stops by the scenario, or None before arming."""
        return None if self.armed_s is None else self.armed_s + self.length_s

    def since_arming(self, at_s: float) -> float:
        """A time on the axis of pictures and tables: seconds from arming, or from the beginning if that never came."""
        return at_s - (self.begun_s if self.armed_s is None else self.armed_s)

    def holding(self, at_s: float = float("inf")) -> tuple[str, ...]:
        """Who had the virtual IP at a time as far as is known; without a time, who has it now."""
        known = [nodes for since, nodes in self.holders if since <= at_s]
        return known[-1] if known else ()


class Story:
    """Everything so far. `feed` it each event in order.

    Arguments:
        length_s: for how long a contender is measured, from arming: the scenario's ``end``.
    """

    def __init__(self, length_s: float) -> None:
        self.length_s = length_s
        self.machine: dict[str, Any] = {}
        self.trials: list[Trial] = []
        self.problems: list[str] = []
        self.started_s: float | None = None
        self.now_s = 0.0

    @property
    def trial(self) -> Trial | None:
        """The one under way, or None between two."""
        return self.trials[-1] if self.trials and self.trials[-1].ended_s is None else None

    def of(self, contender: str) -> Trial | None:
        """The trial of a contender, if there was one."""
        return next((trial for trial in self.trials if trial.contender == contender), None)

    def feed(self, event: Event) -> None:
        """Takes in the next event. Unknown ones are left alone."""
        at = float(event["t"])
        self.now_s = max(self.now_s, at)
        self.started_s = at if self.started_s is None else self.started_s
        kind = event["event"]
        if kind == "machine":
            self.machine = {key: value for key, value in event.items() if key not in ("event", "t")}
        elif kind == "clock":
            for trial in self.trials:
                if trial.wall_offset_s is None:
                    trial.wall_offset_s = float(event["wall_s"]) - at
        elif kind == "run":
            self.trials.append(
                Trial(
                    contender=event["contender"],
                    begun_s=at,
                    length_s=self.length_s,
                    directors=tuple(event["directors"]),
                    servers=tuple(event["servers"]),
                    interval_s=float(event["interval_s"]),
                    udp_interval_s=event["udp_interval_s"],
                    wall_offset_s=float(event["wall_s"]) - at if "wall_s" in event else None,
                )
            )
        elif self.trial is not None:
            _feed_trial(self.trial, kind, at, event)
        elif kind == "problem":
            self.problems.append(event["text"])


def _feed_trial(trial: Trial, kind: str, at: float, event: Event) -> None:
    match kind:
        case "armed":
            trial.armed_s, trial.active, trial.standby = at, event["active"], event["standby"]
        case "step":
            trial.steps.append(Done(at, event["verb"], event["target"] or "", event["text"]))
        case "holders":
            trial.holders.append((at, tuple(event["nodes"])))
        case "roles":
            trial.roles.append((at, dict(event["nodes"])))
        case "in_service":
            trial.in_service.append((at, event["node"], tuple(event["servers"])))
        case "report":
            trial.requests += [Request.from_row(row) for row in event["requests"]]
            trial.connections = event["connections"]
            trial.lateness_ms = max(trial.lateness_ms, event["worst_lateness_ms"])
        case "verified":
            trial.verified[event["name"]] = event
        case "summary":
            trial.summary = event
        case "udp":
            trial.udp = event
        case "settled":
            trial.settled = event
        case "logs":
            trial.logs |= {name: path for name, path in event.items() if name not in ("event", "t")}
        case "problem":
            trial.problems.append(event["text"])
        case "end":
            trial.ended_s = at
        case _:
            pass
