"""Election: how long a client is without service, ours beside keepalived's, in the native lab.

active cut off                10 ms adverts, both; and ours with BFD of 3 ms x 3
planned stop, hand-over       1 s adverts
elector killed                1 s adverts
500 virtual IPs               from the first that is announced to the last
busy machine                  10 ms adverts and BFD of 3 ms x 3 beside 8 busy loops: no change of role
steady                        processor time and memory at 10 ms adverts
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from ha_lvs.drill.lab.busy import BusyLoops
from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.drill.runner.asking import ask
from tests.bench.announced import first_to_last_ms
from tests.bench.figures import Figure, absolute, ratio
from tests.bench.rig import OURS, THEIRS, Rig, Stream, config, rig, start_echoes
from tests.bench.usage import Usage, usage_of

GROUP = "election"
BFD = {"interval": "3ms", "multiplier": 3}
MANY = 500
BUSY_LOOPS, BUSY_S = 8, 60.0
STEADY_S = 20.0
LATE_MS = 2.0
"""A repetition in which the stream itself was held up for longer has measured the machine, and is taken again."""
ATTEMPTS = 3
"""For each repetition, at most."""

Measure = Callable[[Lab, Path, int, Console], Iterator[Figure]]


def figures(output: Path, repetitions: int, only: str, console: Console) -> Iterator[Figure]:
    """Measures one after the other.

    Arguments:
        output: directory for logs.
        repetitions: of each measurement.
        only: only measurements whose name contains this.
        console: for progress.
    """
    for name, measure in MEASURES.items():
        if only not in name:
            continue
        began = time.monotonic()
        console.print(f"election: {name} ...")
        with Lab("bench", output / "election" / name) as lab:
            start_echoes(lab)
            yield from measure(lab, lab.directory, repetitions, console)
        console.print(f"election: {name}: {time.monotonic() - began:.0f} s")


# ---------------------------------------------------------------------------------------------- the active cut off


def _cut_off(lab: Lab, directory: Path, repetitions: int, console: Console) -> Iterator[Figure]:
    """In blocks that take turns, so that what the machine does meanwhile befalls each of them."""
    outages: dict[str, list[float]] = {"ours": [], "ours, BFD": [], "theirs": []}
    plain, quick = config(10), config(10, bfd=BFD)
    blocks = [("ours", OURS, plain), ("theirs", THEIRS, plain), ("ours, BFD", OURS, quick)]
    for half in (repetitions - repetitions // 2, repetitions // 2):
        for what, name, text in blocks:
            with rig(lab, name, text, directory / name) as pair:
                stream = Stream(lab.host("c1"))
                outages[what] += [_cut_once(pair, stream) for _ in range(half)]
                stream.close()
            console.print(f"  {what}: {', '.join(f'{each:.1f}' for each in outages[what])} ms")
    yield ratio(GROUP, "active cut off, adverts 10 ms: outage", outages["ours"], outages["theirs"], 1.0, "ms")
    figure = "active cut off, BFD 3 ms x 3 against adverts 10 ms: outage"
    yield ratio(GROUP, figure, outages["ours, BFD"], outages["theirs"], 0.5, "ms")


def _cut_once(pair: Rig, stream: Stream) -> float:
    seen = pair.measured(stream, lambda: pair.lab.cut("lb1"), lambda: "lb2" in pair.holders())
    pair.lab.heal("lb1")
    pair.settle()
    return float(seen["outage_ms"])


# ------------------------------------------------------------------------------------------------- as planned


def _planned_stop(lab: Lab, directory: Path, repetitions: int, console: Console) -> Iterator[Figure]:
    seen = {OURS: Gaps(repetitions), THEIRS: Gaps(repetitions)}
    for name in (OURS, THEIRS):
        with rig(lab, name, config(1000), directory / name) as pair:
            lb1 = pair.contender.directors["lb1"]
            stream = Stream(lab.host("c1"))
            while seen[name].wanting:
                seen[name].add(pair.measured(stream, lb1.stop, lambda: pair.holders() == ["lb2"]))  # called at once
                lb1.start()
                pair.settle()
            stream.close()
        console.print(f"  {name}: {seen[name]}")
    yield from _gaps("planned stop, adverts 1 s", seen[OURS], seen[THEIRS])


def _hand_over(lab: Lab, directory: Path, repetitions: int, console: Console) -> Iterator[Figure]:
    seen = Gaps(repetitions)
    with rig(lab, OURS, config(1000), directory / OURS) as pair:
        stream = Stream(lab.host("c1"))
        giver, taker = "lb1", "lb2"
        while seen.wanting:
            director = pair.contender.directors[giver]
            told = pair.measured(
                stream,
                lambda: ask(director, giver, "handover"),  # noqa: B023  # called at once
                lambda: pair.holders() == [taker],  # noqa: B023
            )
            seen.add(told)
            giver, taker = taker, giver
            pair.settle(giver)
        stream.close()
    console.print(f"  {seen}")
    yield from _gaps("planned hand-over, adverts 1 s", seen, None)


class Gaps:
    """What clients saw of something planned, time after time.

    A gap is between the sending of two answered datagrams, so one in which nothing was lost is a pause of the sender:
    the machine took its processor away. Such repetitions are taken again; what they lost counts all the same.

    Arguments:
        repetitions: how many are wanted.
    """

    def __init__(self, repetitions: int) -> None:
        self._repetitions = repetitions
        self._all: list[float] = []
        self._undisturbed: list[float] = []
        self.lost: list[float] = []

    def add(self, told: Mapping[str, Any]) -> None:
        """Takes in what the stream tells of one repetition."""
        self.lost.append(float(told["lost"]))
        self._all.append(float(told["outage_ms"]))
        if told["worst_lateness_ms"] <= LATE_MS:
            self._undisturbed.append(float(told["outage_ms"]))

    @property
    def wanting(self) -> bool:
        """Whether to go on."""
        return len(self._undisturbed) < self._repetitions and len(self._all) < ATTEMPTS * self._repetitions

    @property
    def ms(self) -> list[float]:
        """The gaps; those of a machine that is never left alone are better than none."""
        return self._undisturbed or self._all

    def __str__(self) -> str:
        gaps = ", ".join(f"{gap:.1f}" for gap in self._undisturbed)
        disturbed = len(self._all) - len(self._undisturbed)
        return f"{gaps} ms, {sum(self.lost):.0f} lost; {disturbed} of {len(self._all)} held up by the machine"


def _gaps(what: str, ours: Gaps, theirs: Gaps | None) -> Iterator[Figure]:
    their_ms, their_lost = ([], []) if theirs is None else (theirs.ms, theirs.lost)
    yield absolute(GROUP, f"{what}: biggest gap", ours.ms, 3.0, "ms", their_ms)
    yield absolute(GROUP, f"{what}: datagrams lost", ours.lost, 0.0, "", their_lost, worst=True)


# ------------------------------------------------------------------------------------------------- a crash


def _elector_killed(lab: Lab, directory: Path, repetitions: int, console: Console) -> Iterator[Figure]:
    outages, shared = [], []
    with rig(lab, OURS, config(1000), directory / OURS) as pair:
        lb1 = pair.contender.directors["lb1"]
        assert isinstance(lb1, Director)
        stream = Stream(lab.host("c1"))
        for _ in range(repetitions):
            old = lb1.processes()["elector"]
            most = 0

            def again(old: int = old) -> bool:
                nonlocal most
                most = max(most, len(pair.holders()))
                return lb1.processes().get("elector", old) != old and len(pair.holders()) == 1

            told = pair.measured(stream, lambda old=old: os.kill(old, signal.SIGKILL), again)
            until = time.monotonic() + 4.5  # longer than a backup waits
            while time.monotonic() < until:
                most = max(most, len(pair.holders()))
                time.sleep(0.005)
            later = stream.take()
            outages.append(max(float(told["outage_ms"]), float(later["outage_ms"])))
            shared.append(float(most))
            pair.settle(timeout_s=40)
        stream.close()
    console.print(f"  {', '.join(f'{each:.1f}' for each in outages)} ms; most holders {max(shared):.0f}")
    yield absolute(GROUP, "elector killed, adverts 1 s: outage", outages, 20.0, "ms")
    yield absolute(GROUP, "elector killed, adverts 1 s: holders at most", shared, 1.0, "", worst=True)


# ------------------------------------------------------------------------------------------------- many addresses


def _many(lab: Lab, directory: Path, repetitions: int, console: Console) -> Iterator[Figure]:
    addresses = [f"10.9.{1 + number // 250}.{1 + number % 250}/32" for number in range(MANY)]
    virtual_ips = ["10.9.0.100/32", *addresses[1:]]
    text = config(100, virtual_ips, announce={"repeat": 0, "interval": "1s", "refresh": "24h"})
    took: dict[str, list[float]] = {OURS: [], THEIRS: []}
    for half in (repetitions - repetitions // 2, repetitions // 2):
        for name in (OURS, THEIRS):
            with rig(lab, name, text, directory / name) as pair:
                for _ in range(half):
                    took[name].append(
                        first_to_last_ms(
                            lab.host("c1"),
                            {address.partition("/")[0] for address in virtual_ips},
                            lambda: pair.lab.cut("lb1"),  # called at once
                        )
                    )
                    pair.lab.heal("lb1")
                    pair.settle()
            console.print(f"  {name}: {', '.join(f'{each:.1f}' for each in took[name])} ms")
    yield ratio(GROUP, f"{MANY} virtual IPs taken over: first to last announced", took[OURS], took[THEIRS], 1.0, "ms")


# ------------------------------------------------------------------------------------------------- a busy machine


def _busy(lab: Lab, directory: Path, _: int, console: Console) -> Iterator[Figure]:
    changes = 0
    with rig(lab, OURS, config(10, bfd=BFD), directory / OURS) as pair, BusyLoops() as loops:
        before = _transitions(pair)
        loops.start(BUSY_LOOPS, BUSY_S + 30)
        time.sleep(BUSY_S)
        changes = _transitions(pair) - before
        late = sum(_late(pair, name) for name in pair.contender.directors)
    console.print(f"  {changes} changes of role in {BUSY_S:.0f} s; {late} late looks gave no verdict")
    figure = f"adverts 10 ms and BFD 3 ms x 3, {BUSY_LOOPS} busy loops, {BUSY_S:.0f} s: changes of role"
    yield absolute(GROUP, figure, [float(changes)], 0.0, "")


def _transitions(pair: Rig) -> int:
    return sum(int(_instance(pair, name)["transitions"]) for name in pair.contender.directors)


def _late(pair: Rig, name: str) -> int:
    return int(_instance(pair, name).get("late", 0))


def _instance(pair: Rig, name: str) -> dict[str, Any]:
    director = pair.contender.directors[name]
    assert isinstance(director, Director)
    found: dict[str, Any] = director.status(30)["instances"]["edge"]
    return found


# ------------------------------------------------------------------------------------------------- steady


def _steady(lab: Lab, directory: Path, _: int, console: Console) -> Iterator[Figure]:
    seen: dict[str, Usage] = {}
    for name in (OURS, THEIRS):
        with rig(lab, name, config(10), directory / name) as pair:
            lb1 = pair.contender.directors["lb1"]
            wait_for(lambda lb1=lb1: lb1.running, 5, "lb1 to run")  # type: ignore[misc]  # called at once
            seen[name] = usage_of(lb1, STEADY_S)
        console.print(f"  {name}: {seen[name].cpu_percent:.2f} % of a processor, {seen[name].resident_mib:.1f} MiB")
    ours, theirs = seen[OURS], seen[THEIRS]
    figure = "active at adverts 10 ms: processor time of the elector"
    yield ratio(GROUP, figure, [ours.cpu_percent], [theirs.cpu_percent], None, "%")
    figure = "active at adverts 10 ms: resident memory of the elector"
    yield ratio(GROUP, figure, [ours.resident_mib], [theirs.resident_mib], None, "MiB")


MEASURES: dict[str, Measure] = {
    "cut-off": _cut_off,
    "planned-stop": _planned_stop,
    "hand-over": _hand_over,
    "elector-killed": _elector_killed,
    "many": _many,
    "busy": _busy,
    "steady": _steady,
}
