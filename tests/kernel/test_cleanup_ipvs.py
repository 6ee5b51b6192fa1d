"""`ha-lvs cleanup` and a kernel with IPVS: services stay, or go when that is asked for; those of others always stay.

And what a planned stop and a long pass of the director need of its pool.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.config.loader import load
from ha_lvs.config.parts import director_part
from ha_lvs.daemon import balancer
from ha_lvs.daemon.balancer import OWNERSHIP_FILE, Balancer
from ha_lvs.daemon.channel import Alive, Channel, EndpointState, Stop
from ha_lvs.daemon.channel import pair as channel_pair
from ha_lvs.daemon.director import Director
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.kernel.ipvs import Ipvs
from ha_lvs.kernel.ownership import Ownership
from ha_lvs.model import DestinationKey, DirectorPart, Endpoint, Forwarding, Role, ServerState
from tests.kernel.test_cleanup import LEFT, cleanup
from tests.kernel.test_pair_ipvs import BOTH, daemons, expected_rules, pair_config, rules, start, wait_for_rules
from tests.pairs import Pair, write

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(600 * PACE)]

FOREIGN = ["-A -t 10.9.0.200:25 -s wlc", "-a -t 10.9.0.200:25 -r 10.9.0.22:25 -m -w 5"]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("cleanup", tmp_path, servers=2) as lab:
        lab.forward(Forwarding.DR)
        lab.start_servers()
        yield lab


def running(lab: Lab) -> Pair:
    """A pair whose active has programmed its services and sends its connections, beside a service of somebody else."""
    content = pair_config()
    content["instances"]["edge"]["lease"] = "off"
    pair = start(lab, content)
    wait_for_rules(lab, "lb1", expected_rules(Forwarding.DR, BOTH))
    wait_for(lambda: daemons(lab, "lb1") == {"master"}, 20, "lb1 to send")
    lab.host("lb1").run(["ipvsadm", "-R"], input="\n".join(FOREIGN) + "\n")
    return pair


def test_services_stay_until_it_is_asked_for_and_foreign_ones_always(lab: Lab) -> None:
    pair = running(lab)
    ours = expected_rules(Forwarding.DR, BOTH)

    refused = cleanup(pair, "--services")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"pid {pair['lb1'].processes()['guardian']}" in refused.stderr
    assert set(ours) <= set(rules(lab, "lb1"))

    pair["lb1"].kill()
    assert cleanup(pair).stdout == LEFT
    assert sorted(rules(lab, "lb1")) == sorted([*ours, *FOREIGN])
    assert daemons(lab, "lb1") == {"master"}

    ran = cleanup(pair, "--services")
    assert ran.returncode == 0, ran
    assert f"{VIRTUAL_IP}:80" in ran.stdout
    assert len(ran.stdout.splitlines()) == 2, "the service, and the sync daemon"
    assert "services removed by cleanup" in ran.stderr
    assert rules(lab, "lb1") == FOREIGN
    assert daemons(lab, "lb1") == set()
    ownership = Ownership(pair["lb1"].runtime_dir / OWNERSHIP_FILE)
    assert (ownership.services, ownership.sync) == (frozenset(), False)

    again = cleanup(pair, "--services")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")

    pair["lb1"].start()
    wait_for_rules(lab, "lb1", [*ours, *FOREIGN])


# ---------------------------------------------------------------------------------------------- the pool by itself


def part_of(path: Path, **changes: Any) -> DirectorPart:
    return replace(director_part(load(write(path, pair_config())), "lb1"), **changes)


@contextlib.contextmanager
def pool_on(lab: Lab, part: DirectorPart, alive: Any) -> Iterator[Balancer]:
    with lab.host("lb1").inside():
        ipvs = Ipvs()
        ipvs.__enter__()
    try:
        yield Balancer(part, ipvs, lab.directory, alive)
    finally:
        ipvs.close()


def test_a_planned_stop_leaves_a_backup_sync_daemon_even_if_the_elector_never_told_a_role(lab: Lab) -> None:
    part = part_of(lab.directory / "c.yml")
    with pool_on(lab, part, lambda: None) as pool:
        pool.roles["edge"] = Role.ACTIVE
        pool.reconcile()
    assert daemons(lab, "lb1") == {"master"}
    with pool_on(lab, part, lambda: None) as pool:  # the successor, which a stop overtakes
        pool.reconcile()
        assert daemons(lab, "lb1") == {"master"}, "who does not know the role leaves the daemons alone"
        pool.finish()
    assert daemons(lab, "lb1") == {"backup"}


def up(endpoint: Endpoint) -> EndpointState:
    return EndpointState(endpoint, ServerState.UP, "", 1.0)


def test_a_director_says_that_it_is_alive_before_its_first_pass_and_during_it(lab: Lab) -> None:
    part = part_of(lab.directory / "c.yml")
    service = part.services[0]
    count = 2 * balancer.STEPS_AT_ONCE
    servers = tuple(
        replace(each, destination=replace(each.destination, key=DestinationKey(IPv4Address(0x0A640000 + number), 80)))
        for number, each in enumerate(service.servers[:1] * count, start=1)
    )
    part = replace(part, services=(replace(service, servers=servers),), sync=None)
    (ours, guardian_end), (elector_end, _elector), (prober_end, _prober) = (channel_pair() for _ in range(3))
    guardian = Channel(ours)
    told = Channel(guardian_end)
    heard: list[bool] = []

    def alive() -> None:
        heard.append(any(isinstance(frame, Alive) for frame in guardian.receive()))
        told.send(Alive())

    with pool_on(lab, part, alive) as pool:
        for server in part.services[0].servers:
            pool.verdict(up(server.checks[0]))
        guardian.send(Stop())  # read after the first pass
        director = Director(part, told, Channel(elector_end), {"prober": Channel(prober_end)}, pool, lab.directory)
        asyncio.run(asyncio.wait_for(director.run(), 120 * PACE))
        assert len(pool.status()["services"]["web"]["servers"]) == count
    assert len(rules(lab, "lb1")) == count + 1
    assert len(heard) >= 3, "two slices of servers, and the service"
    assert all(heard), "each slice came after a sign of life, the first too"
