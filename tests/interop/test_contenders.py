"""What drills compare, on real kernels: keepalived made from our config file, ours beside it, and DNS round robin."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_lvs.drill.contenders import Contender, prepare
from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.hosts import group_members
from ha_lvs.drill.lab.pair_config import dump, pair_config
from ha_lvs.drill.lab.program import Program
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.drill.measure.events import Event, parse_event
from ha_lvs.errors import LabError
from ha_lvs.model import Forwarding

INTERVAL_MS = min(1000, int(200 * PACE) // 10 * 10)


def config_text(servers: int = 0) -> str:
    return dump(pair_config(Forwarding.DR, servers, INTERVAL_MS), "of a test")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("trial", tmp_path) as lab:
        yield lab


def holders(lab: Lab) -> list[str]:
    return [name for name in ("lb1", "lb2") if VIRTUAL_IP in lab.host(name).addresses()]


def wait_for_roles(contender: Contender, lb1: str, lb2: str) -> None:
    wanted = {"lb1": lb1, "lb2": lb2}
    wait_for(
        lambda: {name: director.role() for name, director in contender.directors.items()} == wanted,
        15,
        f"the roles of {contender.name} to be {wanted}",
        every_s=0.1,  # being asked is work for a director, which slows down one that starts
    )


@pytest.mark.netns
@pytest.mark.parametrize("name", ["ha-lvs", "keepalived"])
def test_a_pair_elects_is_frozen_thawed_killed_and_stopped(lab: Lab, name: str) -> None:
    contender = prepare(name, lab, config_text(), lab.directory / name, {})
    assert contender.name == name
    lb1 = contender.directors["lb1"]
    contender.start()
    wait_for_roles(contender, "active", "backup")
    wait_for(lambda: holders(lab) == ["lb1"], 5, "lb1 alone to hold the virtual IP")

    lb1.freeze()
    wait_for(lambda: "lb2" in holders(lab), 15, "lb2 to take over from a frozen active")
    wait_for_roles(contender, "no answer", "active")
    lb1.thaw()
    wait_for_roles(contender, "active", "backup")

    assert isinstance(lb1, Program)
    assert lb1.process is not None
    group = lb1.process.pid
    assert len(group_members(group)) >= 2
    lb1.kill()
    assert group_members(group) == []
    assert lb1.role() == "no answer"
    wait_for_roles(contender, "no answer", "active")

    lb1.start()
    with pytest.raises(LabError, match="runs already"):
        lb1.start()
    wait_for_roles(contender, "active", "backup")
    contender.directors["lb2"].freeze()
    contender.stop()  # a frozen one too
    assert not any(director.running for director in contender.directors.values())
    assert holders(lab) == []
    contender.stop()  # nothing to do
    assert "lb1" in lb1.log.name
    assert lb1.tail()


@pytest.mark.netns
def test_the_environment_reaches_our_directors(lab: Lab) -> None:
    contender = prepare("ha-lvs", lab, config_text(), lab.directory, {"A_DRILL_SAYS": "so"})
    director = contender.directors["lb1"]
    director.start()
    assert isinstance(director, Director)
    assert director.process is not None
    environment = Path(f"/proc/{director.process.pid}/environ")
    wait_for(lambda: b"A_DRILL_SAYS=so" in environment.read_bytes().split(b"\0"), 5, "the variable to be there")
    contender.stop()


@pytest.mark.netns
def test_an_unknown_contender_is_named_with_those_there_are(lab: Lab) -> None:
    with pytest.raises(LabError, match="no contender 'haproxy'; there are ha-lvs, keepalived, dns"):
        prepare("haproxy", lab, config_text(), lab.directory, {})


@pytest.mark.netns
def test_dns_without_servers_is_refused(lab: Lab) -> None:
    with pytest.raises(LabError, match="a TCP service"):
        prepare("dns", lab, config_text(), lab.directory, {})


def load(lab: Lab, contender: Contender, seconds: float) -> Event:
    """The summary of so many seconds of requests from the lab's client."""
    command = [sys.executable, "-m", "ha_lvs.drill.measure.load", *contender.target.arguments]
    command += ["--connections", "0", "--rate", "30", "--duration", str(seconds)]
    process = lab.host("c1").popen(command, stdout=subprocess.PIPE)
    output, _ = process.communicate(timeout=60 * PACE)
    events = [event for event in map(parse_event, output.splitlines()) if event]
    return next(event for event in events if event["event"] == "summary")


@pytest.mark.netns
def test_dns_shares_the_load_and_keeps_sending_it_to_a_dead_server(tmp_path: Path) -> None:
    with Lab("dns", tmp_path, servers=3) as lab:
        lab.start_servers()
        contender = prepare("dns", lab, config_text(3), lab.directory / "dns", {})
        assert contender.directors == {}
        contender.start()
        summary = load(lab, contender, 2)
        assert set(summary["servers"]) == {"s1", "s2", "s3"}
        assert summary["failed"] == {}
        lab.server("s2").stop()
        summary = load(lab, contender, 2)
        assert set(summary["servers"]) == {"s1", "s3"}
        assert summary["failed"]["refused"] >= 0.2 * summary["requests"]
        contender.stop()


# ------------------------------------------------------------------------------------------------ with IPVS


def ipvs(lab: Lab, director: str) -> tuple[list[str], str]:
    """What a director's kernel has been told: its services and servers, its sync daemon."""
    ipvsadm = ["env", f"PATH=/sbin:/usr/sbin:{os.environ['PATH']}", "ipvsadm"]
    host = lab.host(director)
    return sorted(host.run([*ipvsadm, "-Sn"]).stdout.splitlines()), host.run([*ipvsadm, "-L", "--daemon"]).stdout


@pytest.mark.ipvs
@pytest.mark.timeout(300)
def test_keepalived_programs_ipvs_as_we_do(tmp_path: Path) -> None:
    with Lab("same", tmp_path, servers=2) as lab:
        lab.forward(Forwarding.DR)
        lab.start_servers()
        seen: dict[str, dict[str, tuple[list[str], str]]] = {}
        for name in ("ha-lvs", "keepalived"):
            contender = prepare(name, lab, config_text(2), lab.directory / name, {})
            contender.start()
            wait_for_roles(contender, "active", "backup")
            for director in contender.directors:
                wait_for(
                    lambda director=director: len(ipvs(lab, director)[0]) == 3,  # type: ignore[misc]  # bound at once
                    30,
                    f"both servers to be in the IPVS of {director}",
                    every_s=0.3,
                )
            seen[name] = {director: ipvs(lab, director) for director in contender.directors}
            contender.stop()
            # Both leave their services behind: `on_stop: keep` is the default.
            assert len(ipvs(lab, "lb1")[0]) == 3
            for director in contender.directors:
                lab.host(director).run(["ipvsadm", "-C"])
        assert seen["keepalived"] == seen["ha-lvs"]
        assert "master sync daemon (mcast=e0, syncid=7" in seen["ha-lvs"]["lb1"][1]
