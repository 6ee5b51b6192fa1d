"""The balancer and the table of marks: looked at only where it is needed, never in the way of IPVS, gone in the end."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.daemon.balancer import Balancer
from ha_lvs.kernel.marks import Marks, MarksError
from ha_lvs.model import (
    AddressRange,
    DirectorPart,
    OnStop,
    Protocol,
    Service,
    ServiceEntry,
    ServiceKey,
    Traffic,
    VirtualService,
)
from ha_lvs.plan.desired import KernelState
from ha_lvs.plan.simulate import apply
from ha_lvs.plan.steps import Step, StepFailure
from ha_lvs.wire.nft import MarkTable

GROUP = ServiceKey.of_mark(7)
WEB = ServiceKey(IPv4Address("192.0.2.10"), 80, Protocol.TCP)
TRAFFIC = Traffic((Protocol.TCP,), (AddressRange(IPv4Address("192.0.2.20"), IPv4Address("192.0.2.29")),))
GROUP_SERVICE = VirtualService("group", Service(GROUP, "wlc"), (), traffic=TRAFFIC)
WEB_SERVICE = VirtualService("web", Service(WEB, "wlc"), ())


class FakeIpvs:
    """The simulated kernel behind the methods of `Ipvs` that the balancer uses."""

    def __init__(self) -> None:
        self.state = KernelState()
        self.sysctls: tuple[str, ...] = ()

    def read(self) -> KernelState:
        return self.state

    def read_services(self, keys: Iterable[ServiceKey]) -> dict[ServiceKey, ServiceEntry]:
        return {key: self.state.services[key] for key in keys if key in self.state.services}

    def apply(self, steps: Sequence[Step]) -> list[StepFailure]:
        done = apply(steps, self.state)
        self.state = done.state
        return list(done.failures)


@dataclass
class FakeTable(Marks):
    """The table without nft."""

    table: MarkTable = field(default_factory=MarkTable)
    calls: list[str] = field(default_factory=list)
    broken: str = ""

    def read(self) -> MarkTable:
        self.calls.append("read")
        if self.broken:
            raise MarksError(errno.ENOENT, self.broken)
        return self.table

    def replace(self, traffic: Mapping[ServiceKey, Traffic]) -> None:
        self.calls.append("replace")
        if self.broken:
            raise MarksError(errno.ENOENT, self.broken)
        self.table = MarkTable(dict(traffic))


class World:
    """A kernel, and the balancers that come and go."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ipvs = FakeIpvs()
        self.marks = FakeTable()

    def balancer(self, *services: VirtualService, on_stop: OnStop = OnStop.KEEP) -> Balancer:
        part = DirectorPart("test", "lb1", "", (), services, None, on_stop, 30.0)
        ipvs: Any = self.ipvs
        return Balancer(part, ipvs, self.directory, lambda: None, self.marks)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def texts(steps: Iterable[Step]) -> list[str]:
    return [str(step) for step in steps]


def test_nothing_runs_nft_where_no_service_is_a_group(world: World) -> None:
    balancer = world.balancer(WEB_SERVICE)
    balancer.reconcile()
    balancer.finish()
    assert world.marks.calls == []


def test_a_group_has_its_traffic_marked_and_only_whole_looks_see_to_that(world: World) -> None:
    balancer = world.balancer(GROUP_SERVICE, WEB_SERVICE)
    assert texts(balancer.reconcile().steps)[-1] == "+ mark 7 on tcp to 192.0.2.20-192.0.2.29"
    assert world.marks.table.traffic == {GROUP: TRAFFIC}
    assert balancer.reconcile().steps == ()
    world.marks.calls.clear()
    assert balancer.follow_up().steps == ()
    assert world.marks.calls == []


def test_what_was_flushed_or_added_is_put_right(world: World) -> None:
    balancer = world.balancer(GROUP_SERVICE)
    balancer.reconcile()
    world.marks.table = MarkTable()
    assert texts(balancer.reconcile().steps) == ["+ mark 7 on tcp to 192.0.2.20-192.0.2.29"]
    world.marks.table = replace(world.marks.table, strays="another rule")
    assert texts(balancer.reconcile().steps) == ["~ table of marks made anew: another rule"]
    assert balancer.reconcile().steps == ()


def test_a_missing_nft_does_not_keep_services_from_being_programmed(world: World) -> None:
    world.marks.broken = "nft is missing"
    balancer = world.balancer(GROUP_SERVICE, WEB_SERVICE)
    outcome = balancer.reconcile()
    assert world.ipvs.state.services.keys() == {GROUP, WEB}
    assert [failure.message for failure in outcome.failures] == ["nft is missing"] * 2
    world.marks.broken = ""
    assert balancer.reconcile().failures == []
    assert world.marks.table.traffic == {GROUP: TRAFFIC}


def test_a_group_that_left_the_config_takes_its_marks_along(world: World) -> None:
    world.balancer(GROUP_SERVICE).reconcile()
    successor = world.balancer(WEB_SERVICE)
    assert texts(successor.reconcile().steps) == [
        "+ service 192.0.2.10:80/tcp wlc",
        "- mark 7 on tcp to 192.0.2.20-192.0.2.29",
        "- service mark 7",
    ]
    world.marks.calls.clear()
    successor.reconcile()
    assert world.marks.calls == []


def test_marks_that_cannot_be_removed_stay_ours(world: World) -> None:
    world.balancer(GROUP_SERVICE).reconcile()
    world.marks.broken = "nft is missing"
    successor = world.balancer(WEB_SERVICE)
    assert [failure.message for failure in successor.reconcile().failures] == ["nft is missing"]
    assert successor.ownership.marks
    world.marks.broken = ""
    assert texts(successor.reconcile().steps) == ["- mark 7 on tcp to 192.0.2.20-192.0.2.29"]
    assert not successor.ownership.marks


@pytest.mark.parametrize("on_stop", OnStop)
def test_a_planned_stop_does_with_marks_what_it_does_with_services(world: World, on_stop: OnStop) -> None:
    balancer = world.balancer(GROUP_SERVICE, on_stop=on_stop)
    balancer.reconcile()
    balancer.finish()
    kept = on_stop is OnStop.KEEP
    assert bool(world.marks.table.traffic) == bool(world.ipvs.state.services) == balancer.ownership.anything == kept
