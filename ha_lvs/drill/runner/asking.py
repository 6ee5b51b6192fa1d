"""What a running director is asked for, as an operator would with `ha-lvs`, and which of its processes is the elector.

Rules that hold here:
* Ours is asked by its own command line, on its own host: what is tried is what operators use. The time that a command
  takes to start is part of it.
* What another contender cannot do is refused in words. What comes nearest to a restart in place is a restart.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from ha_lvs.drill.contenders import DirectorLike
from ha_lvs.drill.contenders.keepalived import Keepalived
from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.scenario.model import ASKED, OURS_ALONE
from ha_lvs.errors import LabError

ANSWER_WITHIN_S = 120.0
"""A restart in place tries the new program first and then replaces every process; the other verbs take milliseconds."""


def must_be_able(director: DirectorLike, name: str, verb: str) -> None:
    """Refuses what a director cannot be asked for.

    Arguments:
        director: of any contender.
        name: of its host.
        verb: out of `ASKED`.

    Errors: LabError when there is no such command.
    """
    if verb in OURS_ALONE and not isinstance(director, Director):
        raise LabError(f"{_maker(director)} on {name} cannot {ASKED[verb]}: it has no such command")


def ask(director: DirectorLike, name: str, verb: str) -> str:
    """Asks a director for something and waits until it is done.

    Arguments:
        director: that runs.
        name: of its host.
        verb: out of `ASKED`.

    Returns: what came of it, in a line.
    Errors: LabError when it was refused or failed, or when this director cannot do it.
    """
    must_be_able(director, name, verb)
    if isinstance(director, Director):
        return _by_command(director, verb)
    code = director.stop()
    director.start()
    return f"stopped with exit code {code} and started: {_maker(director)} cannot {ASKED[verb]}"


def kill_elector(director: DirectorLike, name: str) -> None:
    """Kills the process that takes part in the election, and no other.

    Arguments:
        director: that runs.
        name: of its host.

    Errors: LabError when there is no such process.
    """
    try:
        os.kill(elector(director, name), signal.SIGKILL)
    except ProcessLookupError as problem:
        raise LabError(f"the elector on {name} has just ended by itself") from problem


def elector(director: DirectorLike, name: str) -> int:
    """The process id of the elector; of keepalived's VRRP process, which notes it in a file.

    Arguments:
        director: that runs.
        name: of its host.

    Errors: LabError when there is no such process.
    """
    found: int | None = None
    if isinstance(director, Director):
        found = director.processes().get("elector")
    elif isinstance(director, Keepalived) and director.process is not None:
        note = _note_of(director, "--vrrp_pid=")
        try:
            found = int(note.read_text())
        except (OSError, ValueError) as problem:
            raise LabError(f"keepalived on {name} has not noted its VRRP process: {problem}") from problem
    if found is None:
        raise LabError(f"there is no elector on {name} that could be killed")
    return found


def _by_command(director: Director, verb: str) -> str:
    command = [sys.executable, "-m", "ha_lvs.cli.main", verb, "--runtime-dir", str(director.runtime_dir)]
    ran = director.host.run(command, check=False, timeout_s=ANSWER_WITHIN_S)
    told = "; ".join((ran.stdout if ran.returncode == 0 else ran.stderr or ran.stdout).strip().splitlines())
    if ran.returncode:
        raise LabError(f"`ha-lvs {verb}` on {director.host.name} ended with exit code {ran.returncode}: {told}")
    return told


def _note_of(director: Keepalived, option: str) -> Path:
    """The file that an option of the command names by which it was started."""
    assert director.process is not None
    words = director.process.args
    named = (str(word).removeprefix(option) for word in words if str(word).startswith(option))  # type: ignore[union-attr]
    return Path(next(named))


def _maker(director: DirectorLike) -> str:
    return "keepalived" if isinstance(director, Keepalived) else type(director).__name__
