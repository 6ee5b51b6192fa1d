"""Exec checks: real programs, started and ended by the engine. Who runs them is shown in test_attendant_scripts."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from ha_lvs.daemon.channel import WatchEndpoints
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.health.probes.exec import AT_ONCE, MOST_OUTPUT
from ha_lvs.health.verdict import Verdict
from ha_lvs.model import Check, CheckType, Endpoint, ExecCheck, ServerState
from tests.attendants import own_user, program
from tests.descriptors import open_descriptors
from tests.unit.test_attendant_scripts import alive
from tests.unit.test_prober_process import Process
from tests.unit.test_probes import Watch

UP, DOWN, UNKNOWN = ServerState.UP, ServerState.DOWN, ServerState.UNKNOWN


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory to which every user finds the way."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


_before: set[int] = set()


@pytest.fixture(autouse=True)
def elders() -> None:
    """Notes what was started before the test."""
    _before.clear()
    _before.update(_children())


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.engine.close()


def endpoint(
    path: Path, *arguments: str, timeout_s: float = 60.0, interval_s: float = 0.05, user: str = "", weight: bool = False
) -> Endpoint:
    what = ExecCheck((str(path), *arguments), user or own_user(), weight)
    return Endpoint(ip_address("192.0.2.7"), 8080, Check(CheckType.EXEC, interval_s, timeout_s, exec=what))


def children() -> set[int]:
    """Processes that the test has started, zombies too."""
    return _children() - _before


def _children() -> set[int]:
    return {int(pid) for each in Path("/proc/self/task").iterdir() for pid in (each / "children").read_text().split()}


def test_exit_code_0_is_success_and_others_say_why(watch: Watch, place: Path) -> None:
    good = program(place / "good", "echo fine")
    bad = program(place / "bad", "echo", "echo no backend left >&2; echo more", "exit 3")
    killed = program(place / "killed", "kill -9 $$")
    assert watch.first_verdict(endpoint(good)) == Verdict(UP, 0, "exit code 0: fine")
    assert watch.first_verdict(endpoint(bad)) == Verdict(DOWN, 0, "exit code 3: no backend left")
    assert watch.first_verdict(endpoint(killed)) == Verdict(DOWN, 0, "killed by SIGKILL")


def test_it_is_told_what_is_probed_and_little_else(watch: Watch, place: Path) -> None:
    tell = program(place / "tell", f'echo "$1|$2" > {place}/arguments', f"env > {place}/env; pwd > {place}/pwd")
    watch.first_verdict(endpoint(tell, "a b;c", "$(date)"))
    variables = dict(line.split("=", 1) for line in (place / "env").read_text().splitlines())
    assert (variables["HA_LVS_ADDRESS"], variables["HA_LVS_PORT"]) == ("192.0.2.7", "8080")
    assert variables["PATH"] == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    usual = {"PATH", "LANG", "HOME", "USER", "LOGNAME", "PWD", "SHLVL", "_", "OLDPWD"}
    assert variables.keys() <= usual | {"HA_LVS_ADDRESS", "HA_LVS_PORT"}
    assert (place / "pwd").read_text() == "/\n"
    assert (place / "arguments").read_text() == "a b;c|$(date)\n", "no shell has looked at them"


def test_it_inherits_none_of_our_descriptors(watch: Watch, place: Path) -> None:
    look = program(place / "look", f"ls -l /proc/$$/fd > {place}/fds")
    watch.first_verdict(endpoint(look))
    assert "socket:" not in (place / "fds").read_text()
    assert "anon_inode" not in (place / "fds").read_text()


@pytest.mark.parametrize(("line", "percent"), [("50", 50), ("0%", 0), (" 120 %", 120)])
def test_it_gives_the_weight(watch: Watch, place: Path, line: str, percent: int) -> None:
    say = program(place / "say", "echo a warning >&2", f"echo '{line}'; echo more")
    assert watch.first_verdict(endpoint(say, weight=True)) == Verdict(UP, 0, f"weight {percent}%", percent=percent)


@pytest.mark.parametrize(("line", "shown"), [("high", "'high'"), ("", "nothing"), ("-3", "'-3'"), ("1001", "'1001'")])
def test_a_weight_that_is_none_is_down(watch: Watch, place: Path, line: str, shown: str) -> None:
    say = program(place / "say", f"echo '{line}'")
    reason = f"exit code 0, but {shown} is no weight; write a whole number of percent from 0 to 1000"
    assert watch.first_verdict(endpoint(say, weight=True)) == Verdict(DOWN, 0, reason)


def test_a_failure_has_no_weight_whatever_it_prints(watch: Watch, place: Path) -> None:
    say = program(place / "say", "echo 50; exit 1")
    assert watch.first_verdict(endpoint(say, weight=True)) == Verdict(DOWN, 0, "exit code 1: 50")


def test_at_the_timeout_it_is_killed_with_its_children(watch: Watch, place: Path) -> None:
    hang = program(place / "hang", f"sleep 1000 & echo $! > {place}/.c; mv {place}/.c {place}/child; wait")
    watched = endpoint(hang, timeout_s=2.0, interval_s=60.0)
    assert watch.first_verdict(watched) == Verdict(DOWN, 0, "killed after 2 s")
    if (place / "child").exists():  # a slow machine may not have come so far
        child = int((place / "child").read_text())
        wait_for(lambda: not alive(child), 60, "the child to be gone")
    watch.run_until(lambda: not children(), "it to be reaped")


def test_what_it_leaves_running_ends_with_it(watch: Watch, place: Path) -> None:
    leave = program(place / "leave", f"sleep 1000 & echo $! > {place}/child")
    assert watch.first_verdict(endpoint(leave, interval_s=60.0)).state is UP
    child = int((place / "child").read_text())
    wait_for(lambda: not alive(child), 60, "the child to be gone")


def test_one_that_closes_its_output_is_waited_for(watch: Watch, place: Path) -> None:
    close = program(place / "close", "exec >&- 2>&-", "sleep 0.3", "exit 4")
    assert watch.first_verdict(endpoint(close)) == Verdict(DOWN, 0, "exit code 4")


def test_much_output_does_not_hold_it_up_and_endless_output_ends_it(watch: Watch, place: Path) -> None:
    much = program(place / "much", f"head -c {MOST_OUTPUT // 2} /dev/zero | tr '\\0' x; exit 4")
    assert watch.first_verdict(endpoint(much, interval_s=60.0)).reason == "exit code 4: " + "x" * 200
    endless = program(place / "endless", "exec cat /dev/zero")
    assert watch.first_verdict(endpoint(endless, interval_s=60.0)) == Verdict(
        DOWN, 0, "killed: it wrote more than 1 MiB"
    )
    watch.run_until(lambda: not children(), "it to be reaped")


def test_one_that_is_missing_or_unsafe_is_down_with_the_remedy(watch: Watch, place: Path) -> None:
    missing = endpoint(place / "missing")
    assert watch.first_verdict(missing) == Verdict(DOWN, 0, f"{place}/missing: No such file or directory")
    unsafe = program(place / "unsafe", "exit 0")
    unsafe.chmod(0o757)
    assert "chmod o-w" in watch.first_verdict(endpoint(unsafe)).reason
    nobody = endpoint(program(place / "chk", "exit 0"), user="no-such-user")
    assert "user no-such-user does not exist" in watch.first_verdict(nobody).reason
    program(place / ".m", "exit 0").rename(place / "missing")
    watch.run_until_state(missing, UP)


@pytest.mark.netns
def test_by_default_nobody_runs_it_without_any_right(watch: Watch, place: Path) -> None:
    show = program(place / "show", "grep -E '^(Uid|Gid|Cap|NoNew)' /proc/self/status | tr '\\n\\t' '; '")
    what = ExecCheck((str(show),))
    nobody = Endpoint(ip_address("192.0.2.7"), 80, Check(CheckType.EXEC, 60.0, 60.0, exec=what))
    reason = watch.first_verdict(nobody).reason
    assert "Uid: 65534 65534 65534 65534" in reason
    assert "CapEff: 0000000000000000" in reason
    assert "NoNewPrivs: 1" in reason or len(reason) >= 200


def test_so_many_run_at_once_and_the_others_wait_for_their_turn(watch: Watch, place: Path) -> None:
    count, go = AT_ONCE + 20, place / "go"
    wait = program(place / "wait", f"echo > {place}/run.$1", f"while ! test -e {go}; do sleep 0.5; done")
    for number in range(count):
        watch.engine.add(endpoint(wait, str(number), timeout_s=100.0, interval_s=200.0))
    watch.run_until(lambda: len(list(place.glob("run.*"))) >= AT_ONCE, "as many as may")
    end = time.monotonic() + 0.5
    watch.run_until(lambda: time.monotonic() > end)
    assert len(list(place.glob("run.*"))) == AT_ONCE
    assert watch.reports == []
    go.touch()
    watch.run_until(lambda: len(watch.reports) == count, "all of them")
    assert {verdict.state for _, verdict in watch.reports} == {UP}


def test_the_time_of_one_that_waits_begins_with_its_turn(watch: Watch, place: Path) -> None:
    hang, quick = program(place / "hang", "exec sleep 1000"), program(place / "quick", "exit 0")
    holding = [endpoint(hang, str(number), timeout_s=900.0, interval_s=900.0) for number in range(AT_ONCE)]
    for each in holding:
        watch.engine.add(each)
    watch.run_until(lambda: len(children()) == AT_ONCE, "all turns to be taken")
    last = endpoint(quick, timeout_s=4.0, interval_s=5.0)
    watch.engine.add(last)
    end = time.monotonic() + 6.0  # the time-out, and the next start
    watch.run_until(lambda: time.monotonic() > end)
    assert watch.reports == []
    watch.engine.remove(holding[0])
    watch.run_until_state(last, UP)
    assert watch.reports == [(last, Verdict(UP, 0, "exit code 0"))]


def test_one_that_is_removed_while_it_waits_or_runs_leaves_its_turn(watch: Watch, place: Path) -> None:
    hang = program(place / "hang", f"echo > {place}/run.$1; exec sleep 1000")
    watched = [endpoint(hang, str(number), timeout_s=900.0, interval_s=900.0) for number in range(AT_ONCE + 3)]
    before = open_descriptors()
    for each in watched[:AT_ONCE]:
        watch.engine.add(each)
    watch.run_until(lambda: len(list(place.glob("run.*"))) == AT_ONCE, "all turns to be taken")
    for each in watched[AT_ONCE:]:
        watch.engine.add(each)
    watch.run_until(lambda: watch.engine._schedule.running == len(watched), "the others to wait")
    for each in (watched[-1], *watched[:2]):
        watch.engine.remove(each)
    watch.run_until(lambda: len(list(place.glob("run.*"))) == AT_ONCE + 2, "those that waited to run")
    for each in watched:
        watch.engine.remove(each)
    watch.run_until(lambda: not children(), "all to be gone")
    assert not (place / f"run.{AT_ONCE + 2}").exists()
    assert watch.reports == []
    assert open_descriptors() <= before + 1, "all but the bell of the turns"


def test_closing_the_engine_kills_what_runs(place: Path) -> None:
    watch = Watch()
    hang = program(place / "hang", f"echo $$ > {place}/.p; mv {place}/.p {place}/pid; exec sleep 1000")
    before = open_descriptors()
    watch.engine.add(endpoint(hang, timeout_s=900.0, interval_s=900.0))
    watch.run_until((place / "pid").exists, "it to run")
    pid = int((place / "pid").read_text())
    watch.engine.close()
    wait_for(lambda: not alive(pid), 60, "it to be gone")
    assert open_descriptors() < before, "the engine's own is closed, too"
    os.waitpid(pid, 0) if pid in children() else None


def test_many_runs_leave_no_zombie_and_no_descriptor(watch: Watch, place: Path) -> None:
    runs = place / "runs"
    count = program(place / "count", f"echo >> {runs}")
    watched = endpoint(count, interval_s=0.01)
    before = open_descriptors()
    watch.engine.add(watched)
    watch.run_until(lambda: runs.exists() and len(runs.read_text()) >= 15, "fifteen runs")
    watch.engine.remove(watched)
    watch.run_until(lambda: not children(), "the last to be reaped")
    assert open_descriptors() <= before + 1


# ----------------------------------------------------------------------------------------- by the real process


@pytest.fixture
def prober() -> Iterator[Process]:
    process = Process()
    yield process
    process.close()


def test_the_prober_runs_it_with_signals_that_mean_what_they_usually_mean(prober: Process, place: Path) -> None:
    show = program(place / "show", "grep SigIgn /proc/self/status; ls -l /proc/$$/fd > " + f"{place}/fds")
    watched = endpoint(show, interval_s=60.0)
    prober.director.send(WatchEndpoints((watched,)))
    reason = prober.state_of(watched, UP).reason
    assert int(reason.rpartition(":")[2], 16) & 0b11 == 0, "SIGHUP and SIGINT"
    assert "socket:" not in (place / "fds").read_text(), "none of its channels"


def test_what_runs_ends_with_the_prober_however_that_ends(prober: Process, place: Path) -> None:
    hang = program(place / "hang", f"echo $$ > {place}/.p; mv {place}/.p {place}/pid; exec sleep 1000")
    prober.director.send(WatchEndpoints((endpoint(hang, timeout_s=900.0, interval_s=900.0),)))
    pid = int(wait_for((place / "pid").read_text, 60, "it to run"))
    prober.child.kill()
    wait_for(lambda: not alive(pid), 60, "it to be gone")
