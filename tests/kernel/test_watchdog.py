"""What the guardian tells systemd: the test plays systemd, with a socket of its own and a real director."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_lvs.daemon.patience import (
    DIRECTOR_ALIVE_S,
    ELECTOR_ALIVE_S,
    RESTART_MAX_S,
    STARTING_S,
    SUCCESSORS_S,
    until_starved_s,
)
from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from tests.pairs import config, write

pytestmark = pytest.mark.netns

LIMIT_S = 0.3 * PACE
PERIOD_S = LIMIT_S / 3


class Systemd:
    """The other end of NOTIFY_SOCKET: what it has been told, and when. It listens in a thread of its own, at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(path))
        self._said: list[tuple[float, list[str]]] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while data := self._sock.recv(1 << 16):
            self._said.append((time.monotonic(), data.decode().split("\n")))

    def times(self, word: str) -> list[float]:
        """When this was said."""
        return [at for at, words in self._said.copy() if word in words]

    def words(self) -> list[str]:
        """All assignments in their order."""
        return [word for _, words in self._said.copy() for word in words]

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self.path))
        self._thread.join()
        self._sock.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("watchdog", tmp_path) as lab:
        yield lab


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    ours = Systemd(tmp_path / "notify.sock")
    yield ours
    ours.close()


def started(lab: Lab, systemd: Systemd, **environment: str) -> Director:
    path = write(lab.directory / "ha-lvs.yml", config())
    told = {"NOTIFY_SOCKET": str(systemd.path), **environment}
    director = Director(lab.host("lb1"), path, lab.directory, environment=told)
    director.start()
    wait_for(lambda: systemd.times("READY=1"), 20, "the director to be ready")
    return director


def watched(lab: Lab, systemd: Systemd) -> Director:
    return started(lab, systemd, WATCHDOG_USEC=str(int(LIMIT_S * 1e6)))


def test_the_watchdog_is_fed_from_the_start_again_and_again(lab: Lab, systemd: Systemd) -> None:
    watched(lab, systemd)
    wait_for(lambda: len(systemd.times("WATCHDOG=1")) >= 10, 60, "ten feedings")
    times = systemd.times("WATCHDOG=1")
    assert times[0] - systemd.times("READY=1")[0] < LIMIT_S
    assert max(after - before for before, after in itertools.pairwise(times)) < LIMIT_S
    assert (times[-1] - times[0]) / (len(times) - 1) > PERIOD_S * 0.8, "no more often than a third of the limit"


def test_nobody_is_fed_who_does_not_ask(lab: Lab, systemd: Systemd) -> None:
    director = started(lab, systemd)
    wait_for(lambda: director.role() == "active", 20, "the director to become active")
    wait_for(lambda: "STATUS=edge active" in systemd.words(), 10, "the status line")
    assert director.stop() == 0
    wait_for(lambda: "STOPPING=1" in systemd.words(), 10, "the farewell")
    assert "WATCHDOG=1" not in systemd.words()


def test_another_process_is_meant_by_another_pid(lab: Lab, systemd: Systemd) -> None:
    director = started(lab, systemd, WATCHDOG_USEC="100000", WATCHDOG_PID="1")
    wait_for(lambda: director.role() == "active", 20, "the director to become active")
    assert director.stop() == 0
    assert "WATCHDOG=1" not in systemd.words()


def longest_hunger_s(systemd: Systemd) -> float:
    times = systemd.times("WATCHDOG=1")
    return max(after - before for before, after in itertools.pairwise(times))


def test_a_stopped_elector_is_replaced_before_the_watchdog_starves(lab: Lab, systemd: Systemd) -> None:
    director = watched(lab, systemd)
    wait_for(lambda: director.role() == "active", 20, "the director to become active")
    pid = director.processes()["elector"]
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: "process is stuck; killing it: process=elector" in director.log.read_text(), 30, "it to be killed")
    wait_for(lambda: director.processes().get("elector") not in (None, pid), 10, "a new elector")
    fed = len(systemd.times("WATCHDOG=1"))
    wait_for(lambda: len(systemd.times("WATCHDOG=1")) >= fed + 5, 60, "it to be fed on")
    assert "watchdog starved" not in director.log.read_text()
    assert longest_hunger_s(systemd) < 10 * LIMIT_S


@pytest.mark.timeout(180)
def test_a_director_that_is_stuck_at_its_start_is_replaced_before_the_watchdog_starves(
    lab: Lab, systemd: Systemd
) -> None:
    """The first dies; the second is stopped before it has ever spoken; the third does the work."""
    director = watched(lab, systemd)
    wait_for(lambda: director.role() == "active", 20, "the director to become active")
    first = director.processes()["director"]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: director.processes().get("director") not in (None, first), 20, "the second director process")
    second = director.processes()["director"]
    os.kill(second, signal.SIGSTOP)
    wait_for(
        lambda: "process is stuck; killing it: process=director" in director.log.read_text(),
        STARTING_S + 30,
        "the second to be killed",
        every_s=0.5,
    )
    wait_for(lambda: director.role() == "active", 20, "the third to know the role")
    assert director.processes()["director"] not in (first, second)
    assert "watchdog starved" not in director.log.read_text()
    assert "withdrawn" not in director.log.read_text(), "the elector had no part in it"
    assert longest_hunger_s(systemd) < 10 * LIMIT_S


@pytest.mark.timeout(240)
def test_an_elector_that_never_comes_back_starves_it_and_one_that_does_ends_that(lab: Lab, systemd: Systemd) -> None:
    director = watched(lab, systemd)
    wait_for(lambda: systemd.times("WATCHDOG=1"), 10, "the first feeding")
    since = time.monotonic()

    def log() -> str:
        return director.log.read_text()

    def starved() -> bool:
        if pid := director.processes().get("elector"):
            os.kill(pid, signal.SIGKILL)
        return "watchdog starved" in log()

    wait_for(starved, until_starved_s(ELECTOR_ALIVE_S) + 30, "the guardian to withhold", every_s=0.05)
    assert time.monotonic() - since > until_starved_s(ELECTOR_ALIVE_S) - 2.0, "not while there was hope"
    fed = len(systemd.times("WATCHDOG=1"))
    line = next(line for line in log().splitlines() if "watchdog starved" in line)
    assert "process=elector" in line
    wait_for(lambda: "watchdog fed again" in log(), 60, "the guardian to feed again")
    wait_for(lambda: len(systemd.times("WATCHDOG=1")) >= fed + 5, 60, "it to be fed regularly again")
    assert longest_hunger_s(systemd) > PERIOD_S * 1.2
    assert log().count("watchdog starved") == 1, "said once"


@pytest.mark.timeout(240)
def test_a_reload_whose_new_director_cannot_be_started_says_so_and_storms_nobody(lab: Lab, systemd: Systemd) -> None:
    """The guardian runs out of file descriptors: the system starts no process for it until it has some again."""
    director = watched(lab, systemd)
    wait_for(lambda: director.role() == "active", 20, "the director to become active")
    guardian = director.processes()["guardian"]
    elector = director.processes()["elector"]
    content = config()
    write(director.config, {**content, "cluster": "renamed"})  # what only the director follows
    taken = {int(each.name) for each in Path(f"/proc/{guardian}/fd").iterdir()}
    limit = next(number for number in itertools.count(1) if len(set(range(number)) - taken) == 3)  # the file fits in
    usual = resource.prlimit(guardian, resource.RLIMIT_NOFILE)
    resource.prlimit(guardian, resource.RLIMIT_NOFILE, (limit, usual[1]))
    asked_at = time.monotonic()
    command = [sys.executable, "-m", "ha_lvs.cli.main", "reload", "--runtime-dir", str(director.runtime_dir)]
    ran = lab.host("lb1").run(command, check=False, timeout_s=SUCCESSORS_S + 60)
    took_s = time.monotonic() - asked_at
    assert ran.returncode == 1, ran
    assert "no answer yet from the new director" in ran.stderr
    assert took_s < until_starved_s(DIRECTOR_ALIVE_S)
    attempts = director.log.read_text().count("process cannot be started; trying again: process=director")
    assert 5 <= attempts <= 20, "ever less often"
    resource.prlimit(guardian, resource.RLIMIT_NOFILE, usual)
    wait_for(lambda: director.role() == "active", RESTART_MAX_S + 20, "the new director process to know the role")
    assert director.processes()["elector"] == elector
    assert "watchdog starved" not in director.log.read_text()
    assert longest_hunger_s(systemd) < 10 * LIMIT_S


def test_a_frozen_guardian_feeds_nobody_and_makes_up_for_it(lab: Lab, systemd: Systemd) -> None:
    director = watched(lab, systemd)
    wait_for(lambda: systemd.times("WATCHDOG=1"), 10, "the first feeding")
    director.freeze()
    wait_for(lambda: time.monotonic() - systemd.times("WATCHDOG=1")[-1] > 8 * PACE, 30, "a long silence", every_s=0.1)
    frozen = len(systemd.times("WATCHDOG=1"))
    director.thaw()
    wait_for(lambda: len(systemd.times("WATCHDOG=1")) >= frozen + 3, 20, "it to be fed again")
    assert "starved" not in director.log.read_text(), "the others were not at fault"


def test_a_systemd_that_does_not_read_delays_nobody(lab: Lab, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "deaf.sock"))
        told = {"NOTIFY_SOCKET": str(tmp_path / "deaf.sock"), "WATCHDOG_USEC": "3000"}  # it is full in no time
        path = write(lab.directory / "ha-lvs.yml", config())
        director = Director(lab.host("lb1"), path, lab.directory, environment=told)
        director.start()
        wait_for(lambda: director.role() == "active", 20, "the director to become active")
        wait_for(lambda: "ready" in director.log.read_text(), 20, "the director to be ready")
        elector = director.processes()["elector"]
        os.kill(elector, signal.SIGKILL)
        wait_for(lambda: director.processes().get("elector") not in (None, elector), 10, "a new elector")
        assert director.stop() == 0
