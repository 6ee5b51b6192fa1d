"""Several probers under a guardian, as real processes; the test plays the director, which would need IPVS."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from ha_lvs.daemon import wiring
from ha_lvs.daemon.channel import Channel, Hello, ProberState
from ha_lvs.daemon.guardian import Guardian
from ha_lvs.daemon.orders import Orders, needs_restart, services_only
from ha_lvs.daemon.process import monotonic
from ha_lvs.daemon.reloading import _replaced
from ha_lvs.daemon.runtime import write_note
from ha_lvs.daemon.withdrawal import Withdrawal
from ha_lvs.model import (
    AttendantPart,
    DirectorPart,
    ElectorPart,
    OnStop,
    Protocol,
    Service,
    ServiceKey,
    VirtualService,
)
from ha_lvs.observe import logs
from ha_lvs.plan.sharding import names

DEADLINE_S = 120.0
WEB = VirtualService("web", Service(ServiceKey(ip_address("192.0.2.10"), 80, Protocol.TCP), "wlc"), ())


def orders(probers: int) -> Orders:
    director = DirectorPart("edge", "lb1", "", (), (WEB,), None, OnStop.KEEP, 30.0, probers=probers)
    return Orders(ElectorPart("lb1", ()), director, AttendantPart("lb1", ()), "info")


async def until(done: Callable[[], object], what: str) -> None:
    deadline = monotonic() + DEADLINE_S
    while not done():
        assert monotonic() < deadline, f"waited for {what}"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def running(tmp_path: Path, probers: int) -> AsyncIterator[Guardian]:
    """A guardian without a director process that is ready; it must end as planned."""
    logs.configure("info")
    given = orders(probers)
    write_note(tmp_path, given.elector)
    guardian = Guardian(given, Withdrawal(()), tmp_path, lambda: given)
    del guardian.house.children["director"]
    ended = asyncio.create_task(guardian.run())
    await until(lambda: guardian.house.ready, "all processes to answer")
    yield guardian
    guardian.house.stop_now()
    assert await asyncio.wait_for(ended, DEADLINE_S) == 0


def pids(guardian: Guardian) -> dict[str, int]:
    children = guardian.house.children.items()
    return {name: child.process.pid for name, child in children if child.process is not None}


def directors_end(guardian: Guardian, prober: str) -> Channel:
    return Channel(guardian.house.wiring._links["director", prober][0].dup())


def test_each_is_a_process_of_its_own_name_on_channels_of_its_own(tmp_path: Path) -> None:
    async def live() -> None:
        async with running(tmp_path, 3) as guardian:
            found = pids(guardian)
            assert found.keys() == {"elector", *names(3)}
            for name, expected in zip(names(3), ("ha-lvs-prober", "ha-lvs-prober-2", "ha-lvs-prober-3"), strict=True):
                assert Path(f"/proc/{found[name]}/comm").read_text() == f"{expected}\n"
                director = directors_end(guardian, name)
                heard: list[object] = []

                def greeted(director: Channel = director, heard: list[object] = heard) -> bool:
                    heard += director.receive()
                    return bool(heard)

                await until(greeted, f"{name} to greet the director")
                assert heard[0] == Hello()
                director.close()

    asyncio.run(live())


def test_one_that_is_stopped_is_replaced_and_the_others_go_on(tmp_path: Path) -> None:
    async def live() -> None:
        async with running(tmp_path, 3) as guardian:
            before = pids(guardian)
            director = directors_end(guardian, "prober-2")
            director.receive()
            os.kill(before["prober-2"], signal.SIGSTOP)
            child = guardian.house.children["prober-2"]
            await until(lambda: pids(guardian).get("prober-2") not in (None, before["prober-2"]), "another one")
            await until(lambda: child.spoke, "the other one to answer")
            after = pids(guardian)
            assert {name for name in before if after[name] != before[name]} == {"prober-2"}
            heard = director.receive()
            assert Hello() in heard, "the director is told that the new one knows nothing"
            assert set(map(type, heard)) <= {ProberState, Hello}
            director.close()

    asyncio.run(live())


def test_one_that_is_killed_is_replaced_and_the_others_go_on(tmp_path: Path) -> None:
    async def live() -> None:
        async with running(tmp_path, 2) as guardian:
            before = pids(guardian)
            os.kill(before["prober"], signal.SIGKILL)
            await until(lambda: pids(guardian).get("prober") not in (None, before["prober"]), "another one")
            assert pids(guardian) | {"prober": 0} == before | {"prober": 0}

    asyncio.run(live())


def test_more_and_fewer_come_and_go_while_everything_runs(tmp_path: Path) -> None:
    async def live() -> None:
        async with running(tmp_path, 1) as guardian:
            house = guardian.house
            for number in (3, 2):
                after = orders(number)
                replaced = [name for name in _replaced(house.orders, after, anew=False) if name != "director"]
                house.orders = after
                await house.replace(replaced, after, DEADLINE_S)
                await until(lambda: all(child.spoke for child in house.children.values()), "the new ones to answer")
                assert pids(guardian).keys() == {"elector", *names(number)}
                assert house.specs(after)["director"].fds.keys() == {
                    "--guardian-fd", "--elector-fd", *(f"--{name}-fd" for name in names(number))
                }  # fmt: skip

    asyncio.run(live())


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (3, 2)])
def test_another_number_replaces_the_director_and_all_probers_and_needs_no_restart(before: int, after: int) -> None:
    assert services_only(orders(before), orders(after)) is None
    assert needs_restart(orders(before), orders(after)) == ()
    assert _replaced(orders(before), orders(after), anew=False) == ("director", *names(max(before, after)))


def test_the_same_number_replaces_nobody() -> None:
    other = replace(orders(3), director=replace(orders(3).director, config_digest="other"))
    assert services_only(orders(3), other) is not None


def test_channels_of_further_probers_outlive_a_program() -> None:
    before = wiring.Wiring()
    fds = before.specs(orders(3), Path())["prober-3"].fds
    prober = Channel.from_fd(os.dup(fds["--director-fd"]))
    prober.send(Hello())
    left = {name: (os.dup(one), os.dup(other)) for name, (one, other) in before.ends().items()}
    after = wiring.Wiring.from_ends(left)
    assert {"prober", "prober-2", "prober-3"} <= after.channels.keys()
    director = Channel.from_fd(os.dup(after.specs(orders(3), Path())["director"].fds["--prober-3-fd"]))
    assert director.receive() == [Hello()]
