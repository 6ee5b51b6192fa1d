"""Tracked scripts: real programs, run by the real attendant, as real users."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ha_lvs.daemon.channel import Hello, TrackState
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.programs.privileges import RefusedError, check_program, identity
from tests.attendants import attendant, own_user, program, script

NO_CAPABILITIES = "0" * 16
OWNER = 60_001


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory to which every user finds the way; pytest's own let nobody else in."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def status(path: Path) -> dict[str, str]:
    """What /proc/self/status said to the script, once it is there whole."""
    text = wait_for(path.read_text, 60, "the script's status")
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


# ------------------------------------------------------------------------------------------------ verdicts


def test_the_exit_code_is_the_verdict_and_the_first_line_of_output_says_why(place: Path) -> None:
    good = place / "good"
    check = program(place / "chk", f"test -e {good} && exit 0", "echo", "echo no backend left; echo more", "exit 3")
    with attendant(place, scripts=(script(check, user=own_user()),)) as running:
        down = running.wait_for_track("script:chk", False)
        assert down.detail == "exit code 3: no backend left"
        good.touch()
        assert running.wait_for_track("script:chk", True).detail == "exit code 0"


def test_it_takes_rise_and_fall_runs_to_change_a_verdict_but_the_first_counts_at_once(place: Path) -> None:
    runs = place / "runs"
    check = program(place / "chk", f"echo >> {runs}", f"exit $(cat {place}/code)")
    (place / "code").write_text("0")

    def count() -> int:
        return len(runs.read_text())

    with attendant(place, scripts=(script(check, rise=4, fall=3, interval_s=0.2, user=own_user()),)) as running:
        running.wait_for_track("script:chk", True)
        assert count() <= 2
        before = count()
        (place / "code").write_text("1")
        running.wait_for_track("script:chk", False)
        assert count() - before >= 3
        before = count()
        (place / "code").write_text("0")
        running.wait_for_track("script:chk", True)
        assert count() - before >= 4


def test_the_elector_hears_changes_only_and_everything_when_it_asks(place: Path) -> None:
    runs = place / "runs"
    check = program(place / "chk", f"echo >> {runs}", "date +%N")
    with attendant(place, scripts=(script(check, interval_s=0.01, user=own_user()),)) as running:
        running.wait_for_track("script:chk", True)
        wait_for(lambda: len(runs.read_text()) > 20, 60, "many runs")
        assert [frame for frame in running.hear() if isinstance(frame, TrackState)] == []
        running.elector.send(Hello())
        assert running.wait_for_track("script:chk", True).detail.startswith("exit code 0: ")


def test_a_run_that_takes_too_long_is_killed_with_all_its_children(place: Path) -> None:
    check = program(place / "chk", f"sleep 1000 & echo $! > {place}/child; echo $$ > {place}/self; wait")
    with attendant(place, scripts=(script(check, timeout_s=1.0, interval_s=60, user=own_user()),)) as running:
        assert running.wait_for_track("script:chk", False).detail == "killed after 1 s"
        pids = [int((place / name).read_text()) for name in ("child", "self")]
        wait_for(lambda: not any(alive(pid) for pid in pids), 60, "the script and its child to be gone")


def test_never_two_runs_at_once(place: Path) -> None:
    lock = place / "lock"
    check = program(
        place / "chk", f"mkdir {lock} || {{ echo >> {place}/overlap; exit 1; }}", "sleep 0.1", f"rmdir {lock}",
        f"echo >> {place}/runs",
    )  # fmt: skip
    with attendant(place, scripts=(script(check, interval_s=0.01, user=own_user()),)):
        wait_for(lambda: len((place / "runs").read_text()) >= 8, 60, "several runs")
    assert not (place / "overlap").exists()


def test_what_a_script_leaves_running_ends_with_it_and_does_not_hold_its_verdict_up(place: Path) -> None:
    check = program(place / "chk", f"sleep 1000 & echo $! > {place}/child")
    with attendant(place, scripts=(script(check, interval_s=60, user=own_user()),)) as running:
        running.wait_for_track("script:chk", True)
        wait_for(lambda: not alive(int((place / "child").read_text())), 60, "the child to be gone")


def test_much_output_neither_blocks_a_script_nor_fills_our_memory(place: Path) -> None:
    check = program(place / "chk", "head -c 3000000 /dev/zero | tr '\\0' x; exit 4")
    with attendant(place, scripts=(script(check, interval_s=60, user=own_user()),)) as running:
        detail = running.wait_for_track("script:chk", False).detail
    assert detail == "exit code 4: " + "x" * 200


# ----------------------------------------------------------------------------------------- what a script is given


def test_a_script_gets_a_clean_place_and_none_of_our_descriptors(place: Path) -> None:
    check = program(
        place / "chk", f"ls -l /proc/$$/fd > {place}/fds", f"env > {place}/env", f"pwd > {place}/pwd",
        f"cat > {place}/stdin", f"cat /proc/self/status > {place}/status", "exit 1",
    )  # fmt: skip
    secret = {"HA_LVS_SECRET": "x", "LD_BIND_NOW": "1"}
    with attendant(place, scripts=(script(check, interval_s=60, user=own_user()),), environment=secret) as running:
        running.wait_for_track("script:chk", False)
    links = [line.rpartition(" -> ") for line in (place / "fds").read_text().splitlines() if " -> " in line]
    targets = {before.split()[-1]: target for before, _, target in links}
    # Beside the three there is what the shell itself has opened: the script, and what it keeps meanwhile.
    assert {target for fd, target in targets.items() if int(fd) > 2} <= {str(check), targets["2"], f"{place}/fds"}
    assert not any("socket:" in target or "anon_inode" in target for target in targets.values())
    names = {line.partition("=")[0] for line in (place / "env").read_text().splitlines()}
    assert names <= {"PATH", "LANG", "HOME", "USER", "LOGNAME", "PWD", "SHLVL", "_", "OLDPWD"}
    assert (place / "pwd").read_text() == "/\n"
    assert (place / "stdin").read_text() == ""
    found = status(place / "status")
    assert int(found["SigIgn"], 16) & 0b11 == 0, "SIGHUP and SIGINT mean to it what they usually mean"


@pytest.mark.netns
def test_a_script_of_nobody_has_no_right_at_all(place: Path) -> None:
    out = place / "out"
    out.mkdir()
    os.chown(out, 65534, 65534)
    check = program(place / "chk", f"cat /proc/self/status > {out}/.s && mv {out}/.s {out}/status")
    with attendant(place, scripts=(script(check, user="nobody"),)) as running:
        running.wait_for_track("script:chk", True)
    found = status(out / "status")
    assert found["Uid"].split() == ["65534"] * 4
    assert set(found["Gid"].split()) == {"65534"}
    assert set(found["Groups"].split()) <= {"65534"}
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert found[name] == NO_CAPABILITIES, name
    assert found["NoNewPrivs"] == "1"


@pytest.mark.netns
def test_root_runs_a_script_where_it_is_written_and_then_as_root(place: Path) -> None:
    check = program(place / "chk", f"cat /proc/self/status > {place}/.s && mv {place}/.s {place}/status")
    with attendant(place, scripts=(script(check, user="root"),)) as running:
        running.wait_for_track("script:chk", True)
    found = status(place / "status")
    assert found["Uid"].split() == ["0"] * 4
    assert found["CapEff"] != NO_CAPABILITIES


@pytest.mark.netns
@pytest.mark.parametrize("user", ["nobody", "root"])
def test_a_director_that_is_not_root_runs_scripts_as_itself_without_capabilities(place: Path, user: str) -> None:
    out = place / "out"
    out.mkdir()
    os.chown(out, OWNER, OWNER)
    (place / "run").mkdir()
    os.chown(place / "run", OWNER, OWNER)
    check = program(place / "chk", f"cat /proc/self/status > {out}/.s && mv {out}/.s {out}/status")
    capabilities = "+net_admin,+net_raw,+dac_read_search"  # the last one for this checkout and its Python
    as_owner = ["setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--clear-groups", f"--inh-caps={capabilities}"]
    prefix = [*as_owner, f"--ambient-caps={capabilities}"]
    with attendant(place, scripts=(script(check, user=user),), prefix=prefix) as running:
        running.wait_for_track("script:chk", True)
        ours = status(Path(f"/proc/{running.process.pid}/status"))
        assert ours["CapAmb"] != NO_CAPABILITIES, "else this test shows nothing"
        wait_for(lambda: len((out / "status").read_text()) > 100, 60, "a run")
        told = [line for line in running.log().splitlines() if "scripts run as the director's own user" in line]
        assert len(told) == 1
        assert f"user={user} uid={OWNER}" in told[0]
    found = status(out / "status")
    assert found["Uid"].split() == [str(OWNER)] * 4
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert found[name] == NO_CAPABILITIES, name
    assert found["NoNewPrivs"] == "1"


@pytest.mark.netns
def test_root_that_may_become_nobody_runs_no_script_rather_than_as_root(place: Path) -> None:
    check = program(place / "chk", f"touch {place}/ran")
    prefix = ["setpriv", "--bounding-set=-setuid", "--"]
    with attendant(place, scripts=(script(check, user="nobody"),), prefix=prefix) as running:
        detail = running.wait_for_track("script:chk", False).detail
        assert "may not become another user" in detail
        assert "script refused" in running.log()
    assert not (place / "ran").exists()


# ------------------------------------------------------------------------------------------------- refused


def make_missing(path: Path) -> None:
    path.unlink()


def make_unexecutable(path: Path) -> None:
    path.chmod(0o644)


def make_writable_by_all(path: Path) -> None:
    path.chmod(0o757)


def open_its_directory(path: Path) -> None:
    path.parent.chmod(0o777)


def make_a_link_through_an_open_directory(path: Path) -> None:
    real = path.with_name("real")
    real.mkdir()
    path.rename(real / "chk")
    real.chmod(0o777)
    path.symlink_to("real/chk")


def make_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (make_missing, ": No such file or directory"),
        (make_unexecutable, "chk is not executable; chmod +x it"),
        (make_writable_by_all, "chk is writable by everybody; chmod o-w it"),
        (open_its_directory, "bin is writable by everybody; chmod o-w it"),
        (make_a_link_through_an_open_directory, "real is writable by everybody; chmod o-w it"),
        (make_a_directory, "chk is no file that could be run"),
    ],
)
def test_a_script_that_is_not_safe_is_refused_and_counts_as_down(
    place: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    directory = place / "bin"
    directory.mkdir(mode=0o755)
    check = program(directory / "chk", "exit 0")
    track = script(check, fall=100, user=own_user())
    with attendant(place, scripts=(track,)) as running:
        running.wait_for_track("script:chk", True)
        spoil(check)
        detail = running.wait_for_track("script:chk", False).detail
        assert detail.endswith(reason)
        wait_for(lambda: "script refused" in running.log(), 60, "the refusal in the log")
        time.sleep(0.3)
        assert running.log().count("script refused") == 1, "told once, not at each run"


@pytest.mark.netns
def test_a_script_that_somebody_else_owns_or_whose_group_may_write_is_refused(place: Path) -> None:
    check = program(place / "chk", "exit 0")
    nobody = identity("nobody")
    check_program(str(check), nobody)
    os.chown(check, 0, OWNER)
    check.chmod(0o775)
    with pytest.raises(RefusedError, match=rf"is writable by group {OWNER}; chmod g-w it"):
        check_program(str(check), nobody)
    check.chmod(0o755)
    os.chown(check, OWNER, 0)
    with pytest.raises(RefusedError, match=rf"belongs to {OWNER}, who could change it"):
        check_program(str(check), nobody)
    os.chown(check, 65534, 0)
    check_program(str(check), nobody)  # whoever runs it anyway
    with pytest.raises(RefusedError, match="belongs to nobody"):
        check_program(str(check), identity("root"))


def test_a_way_through_a_loop_of_links_is_refused(place: Path) -> None:
    (place / "a").symlink_to("b")
    (place / "b").symlink_to("a")
    with pytest.raises(RefusedError, match="loop of links"):
        check_program(str(place / "a"), identity(own_user()))


def test_a_user_that_does_not_exist_is_named(place: Path) -> None:
    check = program(place / "chk", "exit 0")
    with attendant(place, scripts=(script(check, user="no-such-user"),)) as running:
        assert "user no-such-user does not exist" in running.wait_for_track("script:chk", False).detail


def test_a_script_that_is_put_right_is_run(place: Path) -> None:
    with attendant(place, scripts=(script(place / "chk", user=own_user()),)) as running:
        running.wait_for_track("script:chk", False)
        program(place / ".chk", "exit 0").rename(place / "chk")
        running.wait_for_track("script:chk", True)
