"""A director that runs as a user of its own, as its unit has it: who may ask it what, and what the others are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_lvs.daemon.control import GUARDIAN_SOCKET_NAME, SOCKET_NAME, query
from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.errors import PlatformError
from tests.pairs import config, write

pytestmark = pytest.mark.netns

ANSWER_S = 120.0
OWNER, MEMBER, STRANGER = 60_001, 60_002, 60_003
CAPABILITIES = "+net_admin,+net_raw,+dac_read_search"
"""Those of the unit; and this checkout and its Python may be where only root may read."""


class Unprivileged(Director):
    """A director of user and group OWNER."""

    def _command(self) -> list[str]:
        as_owner = ["setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--clear-groups", f"--inh-caps={CAPABILITIES}"]
        return [*as_owner, f"--ambient-caps={CAPABILITIES}", *super()._command()]


@pytest.fixture
def director() -> Iterator[Director]:
    with tempfile.TemporaryDirectory() as name:  # pytest's own directories let nobody else in
        directory = Path(name)
        directory.chmod(0o755)
        with Lab("unprivileged", directory) as lab:
            director = Unprivileged(lab.host("lb1"), write(directory / "ha-lvs.yml", config()), directory)
            director.runtime_dir.mkdir()
            os.chown(director.runtime_dir, OWNER, OWNER)
            director.runtime_dir.chmod(0o750)
            director.start()
            wait_for(lambda: director.role() == "active", 20, "the director to become active")
            yield director


def ask_as_root(director: Director, *verb: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ha_lvs.cli.main", *verb, "--runtime-dir", str(director.runtime_dir)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def ask(director: Director, verb: str, uid: int, gid: int) -> str:
    """What another user is told: `answered`, or the error. It asks in a fork, as it may not be able to start Python."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = "nothing"
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            name = SOCKET_NAME if verb == "status" else GUARDIAN_SOCKET_NAME
            query(director.runtime_dir, verb, ANSWER_S, name=name)
            said = "answered"
        except PlatformError as problem:
            said = str(problem)
        finally:
            os.write(writer, said.encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        said = stream.read()
    os.waitpid(pid, 0)
    return said


def change_config(director: Director, level: str) -> None:
    write(director.config, {**config(), "log": {"level": level}})


def test_root_may_ask_for_the_status_and_for_a_reload(director: Director) -> None:
    ran = ask_as_root(director, "status", "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    found = json.loads(ran.stdout)
    assert found["node"] == "lb1"
    assert found["program"] == sys.prefix
    change_config(director, "notice")
    ran = ask_as_root(director, "reload")
    assert (ran.returncode, ran.stdout) == (0, "log.level: info -> notice\napplied\n"), ran.stderr


def test_the_owner_may_too_the_group_may_look_and_others_are_told_who_may(director: Director) -> None:
    assert ask(director, "status", OWNER, OWNER) == "answered"
    change_config(director, "debug")
    assert ask(director, "reload", OWNER, OWNER) == "answered"
    wait_for(lambda: director.role() == "active", 20, "the new director process to know the role")

    assert ask(director, "status", MEMBER, OWNER) == "answered"
    place = director.runtime_dir / GUARDIAN_SOCKET_NAME
    refusal = f"permission denied at {place} for user {MEMBER}: it is for root, user {OWNER} only; use sudo"
    assert ask(director, "reload", MEMBER, OWNER) == refusal

    refusal = (
        f"permission denied at {director.runtime_dir} for user {STRANGER}: "
        f"it is for root, user {OWNER}, members of group {OWNER} only; use sudo, or join the group {OWNER}"
    )
    for verb in ("status", "reload"):
        assert ask(director, verb, STRANGER, STRANGER) == refusal

    place = director.runtime_dir / SOCKET_NAME
    director.runtime_dir.chmod(0o755)
    os.chown(place, 0, 0)
    refusal = f"permission denied at {place} for user {OWNER}: it is for root only; use sudo"
    assert ask(director, "status", OWNER, OWNER) == refusal, "as of a director that root has started"
