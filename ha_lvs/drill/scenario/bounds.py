"""What a drill can promise, and whether a measured figure keeps the promise.

Rules that hold here:
* A bound's direction belongs to its name: an operator cannot write an outage that must be at least 2 s.
* A figure that could not be measured keeps no promise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Direction = Literal["at most", "at least", "exactly"]
Unit = Literal["s", "", "%"]


@dataclass(frozen=True, slots=True)
class Bound:
    """A key of `expect`.

    Arguments:
        name: the key.
        unit: of the figure: "s", "%" or "" for a count.
        direction: how the figure must stand to the bound.
        label: for people, with a small first letter.
    """

    name: str
    unit: Unit
    direction: Direction
    label: str

    def holds(self, bound: float, measured: float | None) -> bool:
        """Whether a measured figure keeps to a bound of this kind."""
        if measured is None:
            return False
        if self.direction == "at most":
            return measured <= bound
        return measured >= bound if self.direction == "at least" else measured == bound


BOUNDS: Mapping[str, Bound] = MappingProxyType(
    {
        bound.name: bound
        for bound in (
            Bound("outage", "s", "at most", "longest gap between answered requests"),
            Bound("udp_outage", "s", "at most", "longest gap between answered datagrams"),
            Bound("datagrams_lost", "", "at most", "datagrams that were lost"),
            Bound("requests_failed", "", "at most", "requests that failed"),
            Bound("connections_kept", "%", "at least", "long-lived connections that answer at the end"),
            Bound("holders_at_end", "", "exactly", "holders of the virtual IP at the end"),
            Bound("dual_active", "s", "at most", "time with more than one holder, in all"),
            Bound("no_holder", "s", "at most", "longest time without a holder"),
            Bound("role_changes", "", "at most", "times that a node began to hold the virtual IP"),
            Bound("recovery", "s", "at most", "from the last step until all is well again"),
            Bound("server_out", "s", "at most", "from a server's failure until IPVS leaves it out"),
            Bound("server_in", "s", "at most", "from a server's return until IPVS lists it"),
        )
    }
)
"""Every key of `expect`, in the order of reports."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bound, the figure and whether it holds.

    Arguments:
        name, label, unit, direction: as in `Bound`.
        bound: what the scenario promises.
        measured: the figure, None when it could not be measured.
        ok: whether the figure keeps to the bound.
    """

    name: str
    label: str
    unit: Unit
    direction: Direction
    bound: float
    measured: float | None
    ok: bool


def judge(expect: Mapping[str, float], measured: Mapping[str, float | None]) -> list[Verdict]:
    """A verdict for each bound, in the order of `BOUNDS`.

    Arguments:
        expect: bounds by name, as in `Scenario`.
        measured: figures by name; one that is missing could not be measured. Figures without a bound are not judged.

    Errors: KeyError for a bound that does not exist; the loader lets none through.
    """
    for name in expect:
        if name not in BOUNDS:
            raise KeyError(name)
    verdicts = []
    for name, kind in BOUNDS.items():
        if name in expect:
            bound, figure = expect[name], measured.get(name)
            ok = kind.holds(bound, figure)
            verdicts.append(Verdict(name, kind.label, kind.unit, kind.direction, bound, figure, ok))
    return verdicts
