"""`ha-lvs restart`: another program under the same process id, and nobody on the network sees anything of it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.daemon.control import GUARDIAN_SOCKET_NAME, query
from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from tests.adverts import listening
from tests.kernel.test_watchdog import Systemd
from tests.pairs import LB1, LB2, Pair, config, started_pair, write

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("restart", tmp_path) as lab:
        yield lab


@contextmanager
def settled(lab: Lab, content: dict[str, Any] | None = None) -> Iterator[Pair]:
    """A pair whose directors are ready and know their roles."""
    with started_pair(lab, content) as pair:
        wait_for(lambda: (pair.role("lb1"), pair.role("lb2")) == ("active", "backup"), 15, "both to know their roles")
        wait_for(lambda: all("ready: node" in pair.log(name) for name in pair.directors), 30, "both to be ready")
        yield pair


@pytest.fixture
def pair(lab: Lab) -> Iterator[Pair]:
    with settled(lab) as pair:
        yield pair


def verb(pair: Pair, *arguments: str, name: str = "lb1") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ha_lvs.cli.main", *arguments, "--runtime-dir", str(pair[name].runtime_dir)]
    return pair.lab.host(name).run(command, check=False, timeout_s=150)


def restarted(pair: Pair, name: str = "lb1") -> None:
    ran = verb(pair, "restart", name=name)
    assert ran.returncode == 0, (ran, pair.log(name))
    assert "roles and addresses were kept" in ran.stdout


@contextmanager
def deletions(pair: Pair, name: str) -> Iterator[Path]:
    """The file that has the kernel's word for each address that comes and goes on a director."""
    path = pair.lab.directory / f"addresses-{name}.log"
    with path.open("wb") as out:
        watcher = pair.lab.host(name).popen(["ip", "monitor", "address"], stdout=out)
    yield path
    watcher.kill()
    watcher.wait()


# ------------------------------------------------------------------------------------------ without a trace


@pytest.mark.parametrize("interval", ["1s", "100ms"])
def test_the_active_is_replaced_between_two_advertisements(lab: Lab, interval: str) -> None:
    interval_s = {"1s": 1.0, "100ms": 0.1}[interval]
    with (
        settled(lab, config(interval=interval)) as pair,
        listening(lab.host("c1")) as adverts,
        deletions(pair, "lb1") as gone,
    ):
        wait_for(lambda: len(adverts.of(LB1)) >= 3, 15, "the active's advertisements")
        before = pair["lb1"].processes()
        roles = [pair[name].status()["instances"]["edge"]["transitions"] for name in ("lb1", "lb2")]
        restarted(pair)
        count = len(adverts.of(LB1))
        wait_for(lambda: len(adverts.of(LB1)) >= count + 5, 20, "the advertisements to go on")
        assert adverts.longest_gap_s(LB1) < 3 * interval_s
        assert adverts.of(LB2) == [], "the standby has never thought of taking over"
        assert {each.priority for each in adverts.of(LB1)} == {150}, "nobody has resigned"
        wait_for(lambda: (pair.role("lb1"), pair.role("lb2")) == ("active", "backup"), 15, "both to tell their roles")
        after = pair["lb1"].processes()
        assert after["guardian"] == before["guardian"]
        assert not set(after.values()) & {pid for name, pid in before.items() if name != "guardian"}
        assert [pair[name].status()["instances"]["edge"]["transitions"] for name in ("lb1", "lb2")] == roles
        assert pair.holders() == ["lb1"]
        told = gone.read_text()
        assert VIRTUAL_IP in told, "the watcher saw how its lease was renewed"
        assert "Deleted" not in told


def test_the_standby_is_replaced_too_and_takes_over_afterwards(pair: Pair) -> None:
    restarted(pair, "lb2")
    wait_for(lambda: pair.role("lb2") == "backup", 15, "lb2 to tell its role")
    pair["lb1"].kill()
    pair.wait_for_holder("lb2")


def test_it_can_be_done_again_and_again_and_the_last_one_stops_as_planned(pair: Pair) -> None:
    for generation in (2, 3):
        restarted(pair)
        life = query(pair["lb1"].runtime_dir, "life", name=GUARDIAN_SOCKET_NAME)
        assert life["generation"] == generation
        assert life["outcome"]["applied"] is True
    assert pair.holders() == ["lb1"]
    assert pair["lb1"].stop() == 0
    pair.wait_for_holder("lb2")
    assert pair["lb1"].processes() == {}


def test_the_new_guardian_acts_when_the_elector_dies(pair: Pair) -> None:
    restarted(pair)
    elector = pair["lb1"].processes()["elector"]
    os.kill(elector, signal.SIGKILL)
    wait_for(lambda: "withdrawn in the elector's place" in pair.log("lb1"), 10, "the guardian to act")
    wait_for(lambda: f"{LB1} resigned" in pair.log("lb2"), 10, "lb2 to hear the resignation")
    wait_for(lambda: pair["lb1"].processes().get("elector") not in (None, elector), 10, "a new elector")
    pair.wait_for_holder("lb1")


def test_a_second_daemon_is_kept_out_after_it_as_before(pair: Pair) -> None:
    restarted(pair)
    command = [sys.executable, "-m", "ha_lvs.cli.main", "run", "-c", str(pair.config), "--node", "lb1"]
    ran = pair.lab.host("lb1").run([*command, "--runtime-dir", str(pair["lb1"].runtime_dir)], check=False)
    assert "another ha-lvs" in ran.stderr


def test_what_the_file_says_by_then_is_followed(pair: Pair) -> None:
    write(pair.config, {**config(), "log": {"level": "debug"}})
    ran = verb(pair, "restart")
    assert ran.returncode == 0
    assert "log.level: info -> debug" in ran.stdout.splitlines()
    assert verb(pair, "reload").stdout == "nothing changed\n"


# -------------------------------------------------------------------------------------------------- refused


def test_a_file_with_problems_refuses_it_and_nothing_is_touched(pair: Pair) -> None:
    processes = pair["lb1"].processes()
    pair.config.write_text("cluster: edge\nnodes: 7\n")
    ran = verb(pair, "restart")
    assert ran.returncode == 1
    assert "nodes" in ran.stderr
    assert "nothing was touched" in ran.stderr
    assert pair["lb1"].processes() == processes
    assert "restart refused" in pair.log("lb1")
    assert pair.holders() == ["lb1"]


def test_a_new_elector_that_cannot_start_leaves_the_old_one_at_work(pair: Pair) -> None:
    """The file names an interface that is not there: only who opens its sockets can find out."""
    elector = pair["lb1"].processes()["elector"]
    write(pair.config, config(interface="eth7"))
    ran = verb(pair, "restart")
    assert ran.returncode == 1
    assert "interface eth7 does not exist" in ran.stderr
    assert pair["lb1"].processes()["elector"] == elector
    assert pair.holders() == ["lb1"]
    write(pair.config, config())
    restarted(pair)
    assert pair["lb1"].processes()["elector"] != elector
    assert pair.holders() == ["lb1"]


# ---------------------------------------------------------------------------------------------- releases


class Released(Director):
    """A director that is started by a script of a release, to which a link leads."""

    program = Path()

    def _command(self) -> list[str]:
        options = ["-c", str(self.config), "--node", self.node, "--runtime-dir", str(self.runtime_dir)]
        return [str(self.program), "run", *options]


def release(directory: Path, name: str, first: str) -> None:
    """Installs one: a script as pip would write it, which does something first."""
    (directory / name).mkdir()
    script = directory / name / "ha-lvs"
    script.write_text(f"#!{sys.executable}\n{first}\nfrom ha_lvs.cli.main import main\nmain()\n")
    script.chmod(0o755)


def point(directory: Path, name: str) -> None:
    """Makes a release the current one, at once."""
    (directory / "next").symlink_to(name)
    (directory / "next").rename(directory / "current")


def test_the_release_to_which_the_link_leads_by_now_is_the_one_that_runs(lab: Lab, tmp_path: Path) -> None:
    release(tmp_path, "old", "")
    release(tmp_path, "new", "import ha_lvs; ha_lvs.__version__ = '9.9.9'")
    release(tmp_path, "broken", "raise SystemExit('this release is broken')")
    point(tmp_path, "old")
    director = Released(lab.host("lb1"), write(tmp_path / "c.yml", config()), tmp_path)
    director.program = tmp_path / "current" / "ha-lvs"
    director.start()
    wait_for(lambda: "ready: node" in director.log.read_text(), 30, "the director to be ready")
    wait_for(lambda: director.role() == "active", 15, "it to be active")
    ask = [str(director.program), "restart", "--json", "--runtime-dir", str(director.runtime_dir)]

    point(tmp_path, "broken")
    working = [str(tmp_path / "old" / "ha-lvs"), *ask[1:]]
    ran = lab.host("lb1").run(working, check=False, timeout_s=100)
    assert ran.returncode == 1
    assert "this release is broken" in json.loads(ran.stdout)["problems"][0]
    assert director.running
    assert director.role() == "active"

    point(tmp_path, "new")
    ran = lab.host("lb1").run(ask, check=False, timeout_s=150)
    assert ran.returncode == 0, ran
    life = json.loads(ran.stdout)
    assert life["version"] == "9.9.9"
    assert life["before"] != "9.9.9"
    assert director.process is not None
    assert life["pid"] == director.process.pid
    wait_for(lambda: director.role() == "active", 15, "it to be active still")
    assert "role is initialize" not in director.log.read_text()
    assert director.stop() == 0


# ----------------------------------------------------------------------------------------------- systemd


def test_systemd_is_told_and_its_watchdog_never_goes_hungry(lab: Lab, tmp_path: Path) -> None:
    limit_s = 15.0 * PACE
    systemd = Systemd(tmp_path / "notify.sock")
    environment = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": str(int(limit_s * 1e6))}
    director = Director(lab.host("lb1"), write(tmp_path / "c.yml", config()), tmp_path, environment=environment)
    director.start()
    wait_for(lambda: systemd.times("READY=1"), 30, "the director to be ready")
    wait_for(lambda: director.role() == "active", 15, "it to be active")
    command = [sys.executable, "-m", "ha_lvs.cli.main", "restart", "--runtime-dir", str(director.runtime_dir)]
    assert lab.host("lb1").run(command, check=False, timeout_s=150).returncode == 0
    words = systemd.words()
    assert words.count("RELOADING=1") == 1
    assert words.count("READY=1") == 2
    assert words.index("RELOADING=1") < len(words) - words[::-1].index("READY=1")
    fed = len(systemd.times("WATCHDOG=1"))
    wait_for(lambda: len(systemd.times("WATCHDOG=1")) >= fed + 2, 60, "it to be fed on")
    times = systemd.times("WATCHDOG=1")
    assert max(after - before for before, after in itertools.pairwise(times)) < limit_s
    assert not any(word.startswith("MAINPID") for word in words)
    assert director.stop() == 0
    systemd.close()


def test_a_stop_in_the_middle_of_a_restart_is_a_stop(pair: Pair) -> None:
    """SIGTERM comes while one program gives way to the next; it waits for whoever can take it."""
    answer = query(pair["lb1"].runtime_dir, "restart", 100, name=GUARDIAN_SOCKET_NAME)
    assert answer["accepted"], answer
    wait_for(lambda: "restarting in place" in pair.log("lb1"), 15, "it to begin")
    assert pair["lb1"].stop(40) == 0
    pair.wait_for_holder("lb2")
    assert pair["lb1"].processes() == {}
