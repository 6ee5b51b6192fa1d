"""Tracked files and processes: real ones, watched by the real attendant."""

from __future__ import annotations

import asyncio
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ha_lvs.daemon.attend.files import FileTracker
from ha_lvs.daemon.channel import TrackState
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.kernel.namespace import new_network_namespace
from ha_lvs.model import FileTrack, ProcessTrack
from tests.attendants import attendant

LOOKS = "looking every second instead of being told"
PROGRAM = "hlv-attend-test"  # 15 bytes, as many as the kernel keeps


# -------------------------------------------------------------------------------------------------- files


def test_a_file_counts_while_it_is_there_or_while_it_is_not(tmp_path: Path) -> None:
    path = tmp_path / "maintenance"
    tracks = (FileTrack("file:there", str(path), False), FileTrack("file:absent", str(path), True))
    with attendant(tmp_path, files=tracks) as running:
        assert running.wait_for_track("file:there", False).detail == f"{path} is not there"
        running.wait_for_track("file:absent", True)
        path.touch()
        running.wait_for_track("file:there", True)
        running.wait_for_track("file:absent", False)
        path.rename(tmp_path / "elsewhere")
        running.wait_for_track("file:there", False)
        (tmp_path / "elsewhere").rename(path)
        running.wait_for_track("file:there", True)
        path.unlink()
        running.wait_for_track("file:there", False)
        assert LOOKS not in running.log(), "told by the kernel, not looked for"


def test_a_file_is_found_in_a_directory_that_is_made_later_and_moved(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    with attendant(tmp_path, files=(FileTrack("file:x", str(path), False),)) as running:
        running.wait_for_track("file:x", False)
        path.parent.mkdir(parents=True)
        path.touch()
        running.wait_for_track("file:x", True)
        (tmp_path / "a").rename(tmp_path / "c")
        running.wait_for_track("file:x", False)
        (tmp_path / "c").rename(tmp_path / "a")
        running.wait_for_track("file:x", True)
        shutil.rmtree(tmp_path / "a")
        running.wait_for_track("file:x", False)
        path.parent.mkdir(parents=True)
        path.write_text("again")
        running.wait_for_track("file:x", True)
        assert LOOKS not in running.log()


def test_what_else_happens_in_its_directory_tells_the_elector_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with attendant(tmp_path, files=(FileTrack("file:x", str(path), False),)) as running:
        running.wait_for_track("file:x", False)
        for number in range(50):
            (tmp_path / f"other{number}").touch()
        path.touch()
        running.wait_for_track("file:x", True)
        assert not any(isinstance(frame, TrackState) for frame in running.hear())


async def seen_without_inotify(path: Path) -> list[bool]:
    """A tracker that gets no inotify descriptor, as none is left; what it reports until the file is seen."""
    found: list[bool] = []
    seen = asyncio.Event()

    def report(_name: str, up: bool, _detail: str) -> None:
        found.append(up)
        if up:
            seen.set()

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # all of these are taken
    task = asyncio.create_task(FileTracker([FileTrack("file:x", str(path), False)], report).run())
    try:
        await asyncio.sleep(0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    path.touch()
    await asyncio.wait_for(seen.wait(), 20)
    task.cancel()
    return found


def test_without_inotify_it_is_looked_for_every_second(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asyncio.run(seen_without_inotify(tmp_path / "file")) == [False, True]


# ---------------------------------------------------------------------------------------------- processes


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a process of a name that no other has. It is not waited for before the end: dead ones are zombies."""
    copy = tmp_path / PROGRAM
    shutil.copy(shutil.which("sleep") or "/bin/sleep", copy)
    started: list[subprocess.Popen[bytes]] = []

    def start_one() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([copy, "1000"]))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.wait()


TRACKS = (ProcessTrack("process:one", PROGRAM, 1), ProcessTrack("process:two", PROGRAM, 2))


def test_enough_processes_of_a_name_must_live(tmp_path: Path, start: Callable[[], subprocess.Popen[bytes]]) -> None:
    first = start()
    with attendant(tmp_path, processes=TRACKS) as running:
        assert running.wait_for_track("process:one", True).detail == f"1 of {PROGRAM} lives, at least 1 must"
        running.wait_for_track("process:two", False)
        second = start()
        running.wait_for_track("process:two", True)
        second.kill()  # a zombie now
        running.wait_for_track("process:two", False)
        first.send_signal(signal.SIGTERM)
        assert running.wait_for_track("process:one", False).detail == f"0 of {PROGRAM} live, at least 1 must"
        start()
        running.wait_for_track("process:one", True)


@pytest.mark.netns
def test_in_another_namespace_births_are_looked_for_every_second(
    tmp_path: Path, start: Callable[[], subprocess.Popen[bytes]]
) -> None:
    """The connector speaks in the first network namespace only."""
    with attendant(tmp_path, processes=TRACKS, inside=new_network_namespace()) as running:
        running.wait_for_track("process:one", False)
        first = start()
        running.wait_for_track("process:one", True)
        assert LOOKS in running.log()
        first.kill()
        running.wait_for_track("process:one", False)


def test_a_process_that_becomes_another_program_does_not_count_any_more(tmp_path: Path) -> None:
    copy = tmp_path / PROGRAM
    shutil.copy("/bin/sh", copy)
    process = subprocess.Popen([copy, "-c", f"while ! test -e {tmp_path}/go; do sleep 0.05; done; exec sleep 1000"])
    try:
        with attendant(tmp_path, processes=TRACKS[:1]) as running:
            running.wait_for_track("process:one", True)
            (tmp_path / "go").touch()
            running.wait_for_track("process:one", False)
            assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_thousand_births_of_others_tell_the_elector_nothing(
    tmp_path: Path, start: Callable[[], subprocess.Popen[bytes]]
) -> None:
    with attendant(tmp_path, processes=TRACKS[:1]) as running:
        running.wait_for_track("process:one", False)
        subprocess.run(["/bin/sh", "-c", "for i in $(seq 1000); do /bin/true; done"], check=True)
        start()
        running.wait_for_track("process:one", True)
        assert not any(isinstance(frame, TrackState) for frame in running.hear())
        wait_for(lambda: running.process.poll() is None, 1, "the attendant to live")
