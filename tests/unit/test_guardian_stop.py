"""A planned stop in the middle of a reload: a guardian with real processes, without instances as that needs no root."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from ha_lvs.daemon.channel import InstanceState, Stop, decode
from ha_lvs.daemon.guardian import Guardian
from ha_lvs.daemon.orders import Orders
from ha_lvs.daemon.process import monotonic
from ha_lvs.daemon.withdrawal import Withdrawal
from ha_lvs.model import AttendantPart, DirectorPart, ElectorPart, OnStop, Role

DEADLINE_S = 60.0
ORDERS = Orders(
    ElectorPart("lb1", ()),
    DirectorPart("edge", "lb1", "", (), (), None, OnStop.KEEP, 30.0),
    AttendantPart("lb1", ()),
    "info",
)
ACTIVE = InstanceState("edge", Role.ACTIVE, 150, 0.0, 1, "", 0, "no other router was heard", True)


async def until(done: Callable[[], object], what: str) -> None:
    deadline = monotonic() + DEADLINE_S
    while not done():
        assert monotonic() < deadline, f"waited for {what}"
        await asyncio.sleep(0.01)


def test_the_director_of_a_reload_that_a_stop_overtakes_is_told_the_last_roles(tmp_path: Path) -> None:
    """The test holds up the reload and the director process, and drops what was told to that, as the reload does."""

    async def live() -> None:
        guardian = Guardian(ORDERS, Withdrawal(()), tmp_path, lambda: ORDERS)
        house = guardian.house
        running = asyncio.create_task(guardian.run())
        await until(lambda: house.ready, "all processes to answer")
        process = house.children["director"].process
        assert process is not None
        end = house.wiring._links["guardian", "director"][1]

        def unread() -> object:
            try:
                return decode(end.recv(1 << 17, socket.MSG_PEEK | socket.MSG_DONTWAIT))
            except BlockingIOError:
                return None

        try:
            os.kill(process.pid, signal.SIGSTOP)
            await guardian.reloading.lock.acquire()
            house.states["edge"] = ACTIVE
            house.stop_now()
            await until(unread, "the director to be told that the elector is gone")
            house.wiring.drop_unread(["director"])
            guardian.reloading.lock.release()
            await until(unread, "the stop to go on")
            told = unread()
            assert not isinstance(told, Stop), "the roles come first: it ends by what it knows"
            assert isinstance(told, InstanceState)
            assert (told.instance, told.role, told.holding) == ("edge", Role.INITIALIZE, False)
        finally:
            os.kill(process.pid, signal.SIGCONT)
        assert await asyncio.wait_for(running, DEADLINE_S) == 0

    asyncio.run(live())
