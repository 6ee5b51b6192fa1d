"""What the demo has seen so far, put together from its events.

The measuring side (`run`, inside the lab) writes one JSON object a line; the screen, the report and the picture
are all made from the `Story` that this module builds of them, so that a recorded file of events gives the same again.

The events. Each has ``event`` and ``t``, seconds of CLOCK_MONOTONIC of the machine under test:

* ``machine``: ``kernel``, ``lab`` (native or vm), ``accel``, ``cpus``
* ``run``: a run begins: ``forwarding``, ``directors``, ``servers``, ``interval_s``, ``expected_ms`` (by RFC 9568)
* ``step``: ``name`` (one of `STEPS`) and ``text`` for people
* ``note``: ``text`` for people, nothing else
* ``holders``: ``nodes`` that have the virtual IP in their kernel, on each change
* ``roles``: ``nodes``, role by node, on each change
* ``problem``: ``text``: something that should have held did not
* ``opened``, ``report``, ``verified``, ``summary``: of the load generator (`ha_lvs.drill.measure.load`)
* ``end``: of a run

Pure: no clock, no file.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ha_lvs.drill.measure.events import Event
from ha_lvs.drill.measure.tally import Gap, Request, biggest_gap

STEPS = {
    "ready": "the pair is ready",
    "cut": "active cut off",
    "taken-over": "standby holds the virtual IP",
    "healed": "old active connected again",
    "steady": "the pair is steady again",
    "answered": "every request is answered again",
    "server-stopped": "server stopped",
    "server-out": "server out of IPVS",
    "server-started": "server started",
    "server-in": "server back in IPVS",
}
"""The steps of a run in their order, with a label for pictures."""


@dataclass(slots=True)
class Run:
    """One run of the demo, as far as it has come.

    Arguments:
        forwarding: its forwarding method.
        begun_s: when it began.
        directors, servers: names of the nodes that take part.
        interval_s: between two advertisements.
        expected_ms: after which the standby must have noticed by RFC 9568: the Active_Down_Interval.

    The rest grows: `steps` by name, `holders` and `roles` as they changed, `requests` that are over, `verified` by
    name, the state of the long-lived `connections`, and `problems`.
    """

    forwarding: str
    begun_s: float
    directors: tuple[str, ...]
    servers: tuple[str, ...]
    interval_s: float
    expected_ms: float
    steps: dict[str, float] = field(default_factory=dict)
    holders: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    roles: dict[str, str] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    verified: dict[str, Event] = field(default_factory=dict)
    connections: Event = field(default_factory=dict)
    summary: Event = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    ended: bool = False
    ended_s: float = 0.0
    lateness_ms: float = 0.0

    @property
    def failed(self) -> list[Request]:
        """Requests that were not answered correctly in time."""
        return [request for request in self.requests if not request.ok]

    @property
    def cut_off(self) -> str:
        """Name of the director that is cut off at present, or an empty string."""
        if "cut" not in self.steps or "healed" in self.steps:
            return ""
        before = [nodes for at, nodes in self.holders if at <= self.steps["cut"]]
        return before[-1][0] if before and before[-1] else ""

    def outage(self, first: str, last: str) -> Gap | None:
        """The outage between two steps, or None when one of them never happened.

        Where it began with the first request or never ended, it counts from that or until the last request.
        """
        if first not in self.steps or last not in self.steps or not self.requests:
            return None
        sent_s = [request.sent_s for request in self.requests]
        answered = [request.sent_s for request in self.requests if request.ok]
        return biggest_gap([min(sent_s), *answered, max(sent_s)], self.steps[first], self.steps[last])

    def failed_between(self, first: str, last: str) -> int:
        """How many of the requests that were sent between two steps failed."""
        since, until = self.steps.get(first, float("inf")), self.steps.get(last, float("inf"))
        return sum(since <= request.sent_s < until for request in self.failed)

    def answered_between(self, first: str, last: str) -> int:
        """How many of the requests that were sent between two steps were answered."""
        since, until = self.steps.get(first, float("inf")), self.steps.get(last, float("inf"))
        return sum(since <= request.sent_s < until and request.ok for request in self.requests)

    def between_ms(self, first: str, last: str) -> float | None:
        """Milliseconds from one step to another, or None when one of them never happened."""
        if first not in self.steps or last not in self.steps:
            return None
        return round((self.steps[last] - self.steps[first]) * 1000, 1)

    def kept(self, name: str) -> int | None:
        """How many connections a verification found alive, or None when there was none of that name."""
        return self.verified[name]["kept"] if name in self.verified else None


class Story:
    """Everything so far. `feed` it each event in order."""

    def __init__(self) -> None:
        self.machine: Event = {}
        self.runs: list[Run] = []
        self.problems: list[str] = []
        self.started_s: float | None = None
        self.now_s = 0.0

    @property
    def run(self) -> Run | None:
        """The run under way, or the last one."""
        return self.runs[-1] if self.runs else None

    def feed(self, event: Event) -> None:
        """Takes in the next event. Unknown ones are left alone."""
        at = float(event.get("t", self.now_s))
        self.now_s = max(self.now_s, at)
        self.started_s = at if self.started_s is None else self.started_s
        kind = event["event"]
        if kind == "machine":
            self.machine = {key: value for key, value in event.items() if key not in ("event", "t")}
        elif kind == "run":
            directors, servers = tuple(event["directors"]), tuple(event["servers"])
            self.runs.append(
                Run(event["forwarding"], at, directors, servers, event["interval_s"], event["expected_ms"])
            )
        elif kind == "problem":
            self.problems.append(event["text"])
        if self.run:
            _feed_run(self.run, kind, at, event)


def _feed_run(run: Run, kind: str, at: float, event: Event) -> None:
    if kind == "step":
        run.steps[event["name"]] = at
    elif kind == "holders":
        run.holders.append((at, tuple(event["nodes"])))
    elif kind == "roles":
        run.roles = dict(event["nodes"])
    elif kind == "report":
        run.requests += [Request.from_row(row) for row in event["requests"]]
        run.connections = event["connections"]
        run.lateness_ms = max(run.lateness_ms, event["worst_lateness_ms"])
    elif kind == "verified":
        run.verified[event["name"]] = event
    elif kind == "summary":
        run.summary = event
    elif kind == "problem":
        run.problems.append(event["text"])
    elif kind == "end":
        run.ended, run.ended_s = True, at
