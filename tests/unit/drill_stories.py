"""Events of drills as the runner writes them, made by hand: a story told in a few words becomes whole streams."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ha_lvs.drill.measure.events import Event
from ha_lvs.drill.measure.tally import Request
from ha_lvs.drill.report.collect import Done, Trial

ARMED_S = 1000.0
"""When trials made here are armed."""

MACHINE: Event = {
    "event": "machine",
    "t": 990.0,
    "kernel": "6.1.0-test",
    "lab": "uml",
    "cpus": 1,
    "pace": 8.0,
    "versions": {"ha-lvs": "0.1.0", "keepalived": "2.2.7"},
}


def requests(sent: Sequence[float], failed: Callable[[float], bool] = lambda _: False) -> list[Request]:
    """Requests sent at these times after arming; those for which `failed` says so have timed out."""
    return [
        Request(ARMED_S + at, 1000.0, "", "timeout") if failed(at) else Request(ARMED_S + at, 2.5, "s1", "")
        for at in sent
    ]


def beats(since: float, until: float, rate: float = 50) -> list[float]:
    """Times after arming, `rate` of them a second."""
    return [since + number / rate for number in range(round((until - since) * rate))]


def trial(**changed: Any) -> Trial:
    """A trial of 10 s in which nothing happened: lb1 holds, three servers are in service, nothing fails."""
    fields: dict[str, Any] = {
        "contender": "ha-lvs",
        "begun_s": ARMED_S - 8,
        "length_s": 10.0,
        "directors": ("lb1", "lb2"),
        "servers": ("s1", "s2", "s3"),
        "interval_s": 0.25,
        "armed_s": ARMED_S,
        "holders": [(ARMED_S - 5, ("lb1",))],
        "in_service": [(ARMED_S - 4, "lb1", ("s1", "s2", "s3"))],
        "requests": requests(beats(-3, 11)),
        "ended_s": ARMED_S + 12,
    }
    return Trial(**(fields | changed))


def holders(*changes: tuple[float, str]) -> list[tuple[float, tuple[str, ...]]]:
    """(seconds after arming, names with spaces between) as a trial has them."""
    return [(ARMED_S + at, tuple(names.split())) for at, names in changes]


def step(at: float, verb: str, target: str = "lb1") -> Done:
    """A step so many seconds after arming."""
    return Done(ARMED_S + at, verb, target, f"{verb.replace('_', ' ')} {target}")


@dataclass
class Tale:
    """What a run's events tell. Times count from arming.

    Arguments:
        steps: (when, verb, target, text).
        holders, in_service: (when, names with spaces between).
        dead: between which times no request is answered; `sick`: between which every third fails at once.
    """

    contender: str = "ha-lvs"
    length: float = 10.0
    steps: Sequence[tuple[float, str, str, str]] = (
        (2.0, "cut", "lb1", "cut active"),
        (6.0, "heal", "lb1", "heal active"),
    )
    holders: Sequence[tuple[float, str]] = ((-5.0, "lb1"), (2.92, "lb1 lb2"), (3.4, "lb2"), (6.4, "lb1"))
    in_service: Sequence[tuple[float, str]] = ((-4.0, "s1 s2 s3"),)
    dead: Sequence[tuple[float, float]] = ((2.0, 2.9),)
    sick: Sequence[tuple[float, float]] = ()
    kept: int = 100
    directors: Sequence[str] = ("lb1", "lb2")
    active: str = "lb1"
    udp: bool = True
    settled: float | None = 1.4
    logs: dict[str, str] = field(default_factory=dict)
    problems: Sequence[str] = ()
    begin: float = ARMED_S


def events(tale: Tale) -> list[Event]:
    """The events of one contender's run, from ``run`` to ``end``."""
    found: list[Event] = []

    def tell(at: float, event: str, **fields: Any) -> None:
        found.append({"event": event, "t": round(tale.begin + at, 4), **fields})

    def dead(at: float) -> bool:
        return any(since <= at < until for since, until in tale.dead)

    def sick(at: float) -> bool:
        return any(since <= at < until for since, until in tale.sick) and round(at * 50) % 3 == 0

    tell(
        -8,
        "run",
        contender=tale.contender,
        scenario="power-loss",
        directors=list(tale.directors),
        servers=["s1", "s2", "s3"],
        interval_s=0.25 if tale.directors else 0.0,
        udp_interval_s=0.001 if tale.udp else None,
    )
    tell(-7.5, "note", text="started")
    tell(-3, "started", pid=1, realtime=True)
    tell(-1, "opened", connections=100, lost={}, servers={"s1": 34, "s2": 33, "s3": 33}, ports=[])
    tell(0, "armed", active=tale.active, standby="lb2" if tale.active else "")
    for index, (at, verb, target, text) in enumerate(tale.steps):
        tell(at, "step", index=index, verb=verb, target=target, text=text)
    for at, names in tale.holders:
        tell(at, "holders", nodes=names.split())
        roles = {node: "active" if node in names.split() else "backup" for node in tale.directors}
        tell(at + 0.1, "roles", nodes=roles)
    for at, names in tale.in_service:
        tell(at, "in_service", node=tale.active, servers=names.split())
    rows: list[list[Any]] = []
    for number, at in enumerate(beats(-3, tale.length + 0.5)):
        took = 2.5 + math.sin(number) + (30 if number % 97 == 0 else 0)
        failure = "timeout" if dead(at) else "refused" if sick(at) else ""
        took = {"timeout": 1000.0, "refused": 0.6}.get(failure, took)
        rows.append(Request(tale.begin + at, took, "" if failure else f"s{number % 3 + 1}", failure, 4000).to_row())
    for second in range(-2, int(tale.length) + 3):
        part = [row for row in rows if second - 1 <= row[0] - tale.begin < second]
        state = {"open": 100, "waiting": 0, "lost": {}, "least_answers": 4}
        tell(second, "report", requests=part, sent=0, under_way=0, connections=state, worst_lateness_ms=1.5)
    for text in tale.problems:
        tell(tale.length, "problem", text=text)
    lost = {"no answer": 100 - tale.kept} if tale.kept < 100 else {}
    tell(tale.length + 0.5, "verified", name="end", kept=tale.kept, of=100, lost=lost, servers={}, took_ms=80.0)
    if tale.udp:
        gaps = [[tale.begin + since, (until - since) * 1000] for since, until in tale.dead]
        gaps += [[tale.begin + 0.5, 4.1], [tale.begin + 8.2, 12.0]]
        longest = max(gaps, key=lambda gap: gap[1])
        lost_count = int(sum(gap[1] for gap in gaps))
        tell(
            tale.length + 0.9,
            "udp",
            sent=13000,
            lost=lost_count,
            outage_ms=longest[1],
            outage_from=longest[0],
            refused=0,
            worst_lateness_ms=2.1,
            gaps=gaps,
        )
    tell(tale.length + 1, "settled", after_s=tale.settled)
    tell(tale.length + 1.1, "logs", **tale.logs)
    tell(tale.length + 1.2, "end")
    return sorted(found, key=lambda event: float(event["t"]))
