"""`ha-lvs plan`: the real console script against a real kernel, which it must leave as it is."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.cli.observe import known_health
from ha_lvs.config.loader import load
from ha_lvs.config.parts import director_part
from ha_lvs.daemon.balancer import OVERRIDES_FILE, OWNERSHIP_FILE
from ha_lvs.daemon.control import serve
from ha_lvs.daemon.overrides import Overrides
from ha_lvs.kernel.ownership import Ownership
from ha_lvs.model import Override, Protocol, ServerState, ServiceKey, VirtualService
from tests.kernels import why_no_ipvs

DATA = Path(__file__).parent.parent / "unit" / "data"
PAIR = DATA / "pair.yml"
SCRIPT = Path(sys.executable).parent / "ha-lvs"
DEADLINE_S = 100.0

WEB = "10.9.0.100:80"
PROGRAMMED = [f"-A -t {WEB} -s wlc", f"-a -t {WEB} -r 10.9.0.21:80 -g -w 1", f"-a -t {WEB} -r 10.9.0.22:80 -g -w 2"]
"""What the file asks for, with both servers up, in ipvsadm's words."""
UNKNOWN = "health is not known for 2 of 2 checked servers, taken as up"


def ipvsadm(*arguments: str) -> str:
    return subprocess.run(["ipvsadm", *arguments], check=True, capture_output=True, text=True).stdout


def made(*lines: str) -> None:
    for line in lines:
        ipvsadm(*line.split())


def ha_lvs(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def planned(runtime_dir: Path) -> list[str]:
    """What the verb says; the kernel and the runtime directory are the same afterwards."""
    before = ipvsadm("-Sn"), ipvsadm("--list", "--daemon"), _contents(runtime_dir)
    ran = ha_lvs("plan", "-c", PAIR, "--runtime-dir", runtime_dir)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (ipvsadm("-Sn"), ipvsadm("--list", "--daemon"), _contents(runtime_dir)) == before
    return ran.stdout.splitlines()


def _contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


@contextlib.contextmanager
def director(runtime_dir: Path, services: dict[str, Any]) -> Iterator[None]:
    """A control socket that tells of these services."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        serving = serve(runtime_dir, lambda _request: {"services": services})
        server = asyncio.run_coroutine_threadsafe(serving, loop).result(DEADLINE_S)
        yield
        loop.call_soon_threadsafe(server.close)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DEADLINE_S)
        loop.close()


def told(**states: str) -> dict[str, Any]:
    servers = {f"10.9.0.{name.removeprefix('s')}:80": {"state": state} for name, state in states.items()}
    return {"web": {"listen": f"{WEB}/tcp", "servers": servers}}


# ------------------------------------------------------------------------------------------- without IPVS


def web() -> tuple[VirtualService, ...]:
    return director_part(load(PAIR), "lb1").services


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        ({}, [ServerState.UNKNOWN, ServerState.UNKNOWN]),
        (told(s21="down"), [ServerState.DOWN, ServerState.UNKNOWN]),
        (told(s21="unknown", s22="up", s23="up"), [ServerState.UNKNOWN, ServerState.UP]),
        ({"web": told(s21="up")["web"] | {"listen": "10.9.0.100:81/tcp"}}, [ServerState.UNKNOWN] * 2),
    ],
)
def test_the_health_that_a_director_knows(services: dict[str, Any], expected: list[ServerState]) -> None:
    assert list(known_health(web(), services).values()) == expected


def test_a_file_without_services_needs_no_ipvs(tmp_path: Path) -> None:
    ran = ha_lvs("plan", "-c", DATA / "vip-only.yml", "--runtime-dir", tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("nothing to do")


def test_a_bad_file_is_reported_as_by_check(tmp_path: Path) -> None:
    ran = ha_lvs("plan", "-c", DATA / "broken.yml", "--runtime-dir", tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.endswith("7 problems\n")


def test_a_kernel_without_ipvs_is_told_what_to_load(tmp_path: Path) -> None:
    reason = why_no_ipvs()
    if "modprobe ip_vs" not in reason:
        pytest.skip(reason or "this kernel has IPVS")
    ran = ha_lvs("plan", "-c", PAIR, "--runtime-dir", tmp_path)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"ha-lvs: {reason}\n"


# ---------------------------------------------------------------------------------------------- with IPVS


@pytest.mark.ipvs
def test_an_empty_kernel_gets_everything(namespace: None, tmp_path: Path) -> None:
    known, *steps, count = planned(tmp_path)
    assert known.startswith(UNKNOWN)
    assert f"no director answers in {tmp_path}" in known
    assert steps == [
        f"+ service {WEB}/tcp wlc",
        f"+ server 10.9.0.21:80 dr weight 1 of {WEB}/tcp",
        f"+ server 10.9.0.22:80 dr weight 2 of {WEB}/tcp",
    ]
    assert count == "3 changes"


@pytest.mark.ipvs
def test_nothing_is_to_be_done_where_all_is_done(namespace: None, tmp_path: Path) -> None:
    made(*PROGRAMMED)
    assert planned(tmp_path)[1:] == ["nothing to do"]


@pytest.mark.ipvs
def test_what_was_changed_by_hand_is_told_with_before_and_after(namespace: None, tmp_path: Path) -> None:
    made(*PROGRAMMED, f"-e -t {WEB} -r 10.9.0.22:80 -g -w 9", f"-a -t {WEB} -r 10.9.0.29:80 -m -w 1")
    assert planned(tmp_path)[1:] == [
        f"~ server 10.9.0.22:80 dr weight 9 -> dr weight 2 of {WEB}/tcp",
        f"- server 10.9.0.29:80 of {WEB}/tcp",
        "2 changes",
    ]


@pytest.mark.ipvs
def test_our_leftovers_go_and_foreign_services_stay(namespace: None, tmp_path: Path) -> None:
    made(*PROGRAMMED, "-A -t 10.9.0.100:81 -s rr", "-A -t 10.9.0.100:82 -s rr")
    leftover = ServiceKey(web()[0].service.key.address, 81, Protocol.TCP)
    Ownership(tmp_path / OWNERSHIP_FILE).claim([leftover])
    assert planned(tmp_path)[1:] == ["- service 10.9.0.100:81/tcp", "1 change"]


@pytest.mark.ipvs
def test_sync_daemons_are_left_out(namespace: None, tmp_path: Path) -> None:
    made(*PROGRAMMED, "--start-daemon backup --mcast-interface lo --syncid 99")
    assert planned(tmp_path)[1:] == ["nothing to do"]


@pytest.mark.ipvs
def test_servers_that_the_director_knows_to_be_down_are_out(namespace: None, tmp_path: Path) -> None:
    made(*PROGRAMMED)
    with director(tmp_path, told(s21="up", s22="down")):
        assert planned(tmp_path) == [f"- server 10.9.0.22:80 of {WEB}/tcp", "1 change"]
    with director(tmp_path, told(s21="up", s22="unknown")):
        assert planned(tmp_path) == ["health is not known for 1 of 2 checked servers, taken as up", "nothing to do"]


@pytest.mark.ipvs
def test_what_operators_have_said_is_no_change(namespace: None, tmp_path: Path) -> None:
    made(*(line.replace("-w 2", "-w 0") for line in PROGRAMMED))
    [service] = web()
    drained = Override(service.name, service.servers[1].destination.key, 0, 1e9, "lb1")
    Overrides(tmp_path / OVERRIDES_FILE).take([drained])
    assert planned(tmp_path)[1:] == ["nothing to do"]


@pytest.mark.ipvs
def test_a_damaged_memory_of_what_is_ours_is_told(namespace: None, tmp_path: Path) -> None:
    (tmp_path / OWNERSHIP_FILE).write_text("{")
    ran = ha_lvs("plan", "-c", PAIR, "--runtime-dir", tmp_path)
    assert ran.returncode == 0
    assert "is damaged" in ran.stderr
    assert ran.stdout.splitlines()[-1] == "3 changes"
