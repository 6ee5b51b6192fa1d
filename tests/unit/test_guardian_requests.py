"""What operators ask of the election: a guardian with a real elector process, or with the test at its other end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.daemon import succession
from ha_lvs.daemon.channel import Alive, Channel, Done, Enable, HandOver, InstanceState
from ha_lvs.daemon.children import Child
from ha_lvs.daemon.household import Household
from ha_lvs.daemon.orders import Orders
from ha_lvs.daemon.patience import REQUEST_S
from ha_lvs.daemon.requests import Requests
from ha_lvs.daemon.runtime import read_standby, write_standby
from ha_lvs.daemon.wiring import Wiring
from ha_lvs.daemon.withdrawal import Withdrawal
from ha_lvs.model import AttendantPart, DirectorPart, ElectorPart, OnStop, Role, VirtualIp, VrrpInstance
from ha_lvs.observe import logs

DEADLINE_S = 30.0


@pytest.fixture(autouse=True)
def _our_logs() -> None:
    logs.configure("info")


def instance(name: str, *members: str) -> VrrpInstance:
    return VrrpInstance(
        name, "e0", 51, 150, 0.25, True, IPv4Address("10.9.0.11"), (), IPv4Address("224.0.0.18"),
        (VirtualIp(IPv4Address("10.9.0.100"), 32, "e0"),), None, 5, 1.0, members=members,
    )  # fmt: skip


INSTANCES = (instance("edge"), instance("rim", "inside", "outside"))
ORDERS = Orders(
    ElectorPart("lb1", INSTANCES),
    DirectorPart("edge", "lb1", "", INSTANCES, (), None, OnStop.KEEP, 30.0),
    AttendantPart("lb1", INSTANCES),
    "info",
)


def state(name: str, role: Role) -> InstanceState:
    return InstanceState(name, role, 150, 0.0, 1, "10.9.0.12", 100, "", role is Role.ACTIVE)


@dataclass
class Talk:
    """The guardian's side, and the elector's end of the channel, at which the test sits."""

    house: Household
    requests: Requests
    elector: Channel

    async def heard(self, count: int) -> list[Any]:
        """What the elector is asked."""
        frames: list[Any] = []
        async with asyncio.timeout(DEADLINE_S):
            while len(frames) < count:
                frames += self.elector.receive()
                await asyncio.sleep(0.005)
        return frames

    def ask(self, verb: str, **more: Any) -> asyncio.Task[dict[str, Any]]:
        return asyncio.create_task(self.requests.answer({"verb": verb, **more}))


@contextlib.asynccontextmanager
async def talk(tmp_path: Path, roles: tuple[Role, Role] = (Role.ACTIVE, Role.BACKUP)) -> AsyncIterator[Talk]:
    """A household whose elector is a process that only waits; the test speaks in its place."""
    house = Household(ORDERS, Withdrawal(()), tmp_path, Wiring())
    asked = Requests(house, succession.Succession(house).lock)
    elector = Channel(house.wiring._links["guardian", "elector"][1].dup())
    house.open()
    sleeper = await asyncio.create_subprocess_exec("sleep", "600")
    child: Child = house.elector
    child.process = _Given(sleeper.pid)
    elector.send(Alive())
    for each, role in zip(INSTANCES, roles, strict=True):
        elector.send(state(each.name, role))
    assert await house.until(lambda: child.spoke and len(house.states) == 2, DEADLINE_S)
    try:
        yield Talk(house, asked, elector)
    finally:
        child.process = None
        sleeper.kill()
        await sleeper.wait()
        for name in house.wiring.channels:
            asyncio.get_running_loop().remove_reader(house.wiring.channels[name].fileno())


@dataclass(frozen=True)
class _Given:
    """A process that the test ends itself."""

    pid: int

    def send_signal(self, sig: int) -> None:
        raise AssertionError(f"nobody asked for signal {sig}")

    def wait(self) -> int:
        raise AssertionError("nobody waits for it")


def test_a_hand_over_is_asked_for_what_is_active_and_answered_with_who_is_now(tmp_path: Path) -> None:
    async def live() -> dict[str, Any]:
        async with talk(tmp_path) as t:
            answer = t.ask("handover")
            [asked] = await t.heard(1)
            assert asked == HandOver(asked.request, "edge", force=False)
            t.elector.send(state("edge", Role.BACKUP))
            t.elector.send(Done(asked.request, True, "edge: 10.9.0.12 has taken over"))
            return await answer

    answer = asyncio.run(live())
    assert (answer["ok"], answer["exit_code"], answer["detail"]) == (True, 0, "edge: 10.9.0.12 has taken over")
    assert answer["instances"]["edge"] == {"role": "backup", "peer": "10.9.0.12", "standby": False, "barred": ""}


def test_where_nothing_is_active_nothing_is_handed_over(tmp_path: Path) -> None:
    async def live() -> None:
        async with talk(tmp_path, (Role.BACKUP, Role.BACKUP)) as t:
            answer = await t.ask("handover")
            assert (answer["ok"], answer["exit_code"]) == (True, 0)
            assert "nothing is active" in answer["detail"]
            assert t.elector.receive() == []

    asyncio.run(live())


def test_a_group_goes_by_the_name_of_any_member(tmp_path: Path) -> None:
    async def live() -> None:
        async with talk(tmp_path) as t:
            answer = t.ask("handover", instance="outside", force=True)
            [asked] = await t.heard(1)
            assert asked == HandOver(asked.request, "rim", force=True)
            t.elector.send(Done(asked.request, False, "rim: not active here"))
            assert (await answer)["exit_code"] == 1

    asyncio.run(live())


def test_an_instance_that_is_not_there_is_an_error_of_who_asks(tmp_path: Path) -> None:
    async def live() -> None:
        async with talk(tmp_path) as t:
            answer = await t.ask("standby", instance="egde")
            assert (answer["ok"], answer["exit_code"]) == (False, 2)
            assert answer["detail"] == "there is no instance 'egde'; there are edge, rim"

    asyncio.run(live())


def test_a_standby_is_noted_for_each_instance_that_left_and_enable_takes_it_back(tmp_path: Path) -> None:
    async def live() -> None:
        async with talk(tmp_path) as t:
            answer = t.ask("standby")
            first, second = await t.heard(2)
            assert [first.instance, second.instance] == ["edge", "rim"]
            t.elector.send(Done(second.request, True, "rim: on standby"))
            t.elector.send(Done(first.request, False, "edge: no peer takes it"))
            assert (await answer)["exit_code"] == 1
            assert t.requests.standby == read_standby(tmp_path) == {"rim"}
            assert (await t.ask("handover", instance="nobody"))["exit_code"] == 2
            answer = t.ask("enable")
            asked = await t.heard(2)
            assert all(isinstance(each, Enable) for each in asked)
            for each in asked:
                t.elector.send(Done(each.request, True, f"{each.instance}: takes part"))
            assert (await answer)["instances"]["rim"]["standby"] is False
            assert read_standby(tmp_path) == frozenset()

    asyncio.run(live())


def test_who_is_on_standby_is_known_to_whoever_starts_an_elector(tmp_path: Path) -> None:
    async def live() -> None:
        write_standby(tmp_path, {"rim", "gone"})
        async with talk(tmp_path) as t:
            t.requests.recall()
            assert t.requests.standby == {"rim"}, "the config has no other any more"
            assert t.house.standby() == {"rim"}, "whoever is started next is told by its part"

    asyncio.run(live())


def test_a_damaged_note_of_the_standby_keeps_nobody_from_starting(tmp_path: Path) -> None:
    async def live() -> None:
        (tmp_path / "standby.json").write_text("{")
        async with talk(tmp_path) as t:
            t.requests.recall()
            assert t.requests.standby == frozenset()

    asyncio.run(live())


def test_an_elector_that_does_not_answer_is_not_waited_for_and_its_late_answer_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ha_lvs.daemon.requests.REQUEST_S", 0.2)

    async def live() -> None:
        async with talk(tmp_path) as t:
            answer = await t.ask("standby", instance="rim")
            assert answer["exit_code"] == 1
            assert "rim: no answer within" in answer["detail"]
            [asked] = await t.heard(1)
            t.elector.send(Done(asked.request, True, "rim: on standby"))
            assert await t.house.until(lambda: bool(t.requests.standby), DEADLINE_S)

    asyncio.run(live())


def test_the_death_of_the_elector_is_an_answer(tmp_path: Path) -> None:
    async def live() -> None:
        async with talk(tmp_path) as t:
            answer = t.ask("handover")
            await t.heard(1)
            t.house.elector.process = None
            t.house.wake()
            told = await asyncio.wait_for(answer, REQUEST_S)
            assert (told["ok"], told["exit_code"]) == (False, 1)
            assert "the elector died" in told["detail"]
            assert "try again" in (await t.ask("enable"))["detail"]

    asyncio.run(live())


def test_a_stop_is_an_answer_too(tmp_path: Path) -> None:
    async def live() -> None:
        async with talk(tmp_path) as t:
            answer = t.ask("handover")
            await t.heard(1)
            t.house.stop_now()
            assert "being stopped" in (await asyncio.wait_for(answer, REQUEST_S))["detail"]

    asyncio.run(live())


def test_nothing_is_asked_while_an_elector_succeeds_another(tmp_path: Path) -> None:
    async def live() -> None:
        async with talk(tmp_path) as t:
            async with t.requests.lock:
                answer = t.ask("handover")
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert t.elector.receive() == []
            [asked] = await t.heard(1)
            t.elector.send(Done(asked.request, True, "edge: done"))
            assert (await answer)["ok"]

    asyncio.run(live())
