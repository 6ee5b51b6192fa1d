"""The runtime directory: one daemon at a time, and a note of what that daemon may hold.

The note (`instances.json`) is for whoever tidies up after a daemon that was killed: by then the config file may be
broken, or another one. It is written before the first virtual IP can be held, whole and atomically, for root only, and
stays there after the end: an address that is not there costs nothing to look for. The next run replaces it, after what
only the old one knows has been withdrawn (`cleanup.succeed`). It may hold keys, for the resignation of the dead.

Beside it stands which instances an operator has taken out of the election (`standby.json`): that outlives every
process, until `ha-lvs enable` or the end of the machine's run.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

from ha_lvs import files
from ha_lvs.daemon.shapes import from_json, to_json
from ha_lvs.errors import ChannelError, PlatformError
from ha_lvs.model import ElectorPart

LOCK = "lock"
NOTE = "instances.json"
STANDBY = "standby.json"


@contextlib.contextmanager
def locked(runtime_dir: Path, held_fd: int | None = None) -> Iterator[int]:
    """Makes the runtime directory where it is missing and keeps a second daemon out of it meanwhile.

    systemd may have made it, with the mode that its unit says; that is left alone.

    Arguments:
        held_fd: the lock as an earlier program of this process has taken it; it was never let go.

    Gives the descriptor that holds the lock.
    Errors: PlatformError when it cannot be used, or is used by another daemon.
    """
    try:
        if held_fd is not None:
            os.set_inheritable(held_fd, False)
            stream = os.fdopen(held_fd, "a+")
        else:
            runtime_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
            stream = (runtime_dir / LOCK).open("a+")
    except OSError as problem:
        raise _unusable(runtime_dir, problem) from problem
    with stream:
        if not _take(stream):
            raise PlatformError(
                f"another ha-lvs (pid {_holder(stream)}) runs with {runtime_dir}; "
                "stop it, or give another --runtime-dir"
            )
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        yield stream.fileno()


@contextlib.contextmanager
def vacant(runtime_dir: Path) -> Iterator[None]:
    """Makes sure that no daemon runs with a runtime directory meanwhile; a missing one is not made.

    Errors: PlatformError when one does.
    """
    try:
        stream = (runtime_dir / LOCK).open("r+")
    except FileNotFoundError:
        yield
        return
    except OSError as problem:
        raise _unusable(runtime_dir, problem) from problem
    with stream:
        if not _take(stream):
            raise PlatformError(
                f"a director (pid {_holder(stream)}) runs with {runtime_dir} and holds what it should; "
                "to withdraw its virtual IPs stop it (systemctl stop ha-lvs, or SIGTERM to that pid)"
            )
        yield


def write_note(runtime_dir: Path, part: ElectorPart) -> None:
    """Notes what this run may hold.

    Errors: PlatformError when it cannot be written.
    """
    _write(runtime_dir, NOTE, to_json(part))


def read_note(runtime_dir: Path) -> ElectorPart | None:
    """What the last run with this runtime directory may have held; None when there was none.

    Errors: PlatformError when the note cannot be read.
    """
    path = runtime_dir / NOTE
    try:
        return from_json(ElectorPart, json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise PlatformError(f"{path} cannot be read ({problem.strerror})") from problem
    except (ValueError, ChannelError) as problem:
        raise PlatformError(f"{path} is damaged ({problem})") from problem


def write_standby(runtime_dir: Path, instances: Collection[str]) -> None:
    """Notes which instances an operator has taken out of the election.

    Errors: PlatformError when it cannot be written.
    """
    _write(runtime_dir, STANDBY, sorted(instances))


def read_standby(runtime_dir: Path) -> frozenset[str]:
    """The instances that an operator has taken out of the election.

    Errors: PlatformError when that cannot be read.
    """
    path = runtime_dir / STANDBY
    try:
        found = json.loads(path.read_bytes())
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            raise ValueError("not a list of names")
    except FileNotFoundError:
        return frozenset()
    except OSError as problem:
        raise PlatformError(f"{path} cannot be read ({problem.strerror})") from problem
    except ValueError as problem:
        raise PlatformError(f"{path} is damaged ({problem})") from problem
    return frozenset(found)


def _write(runtime_dir: Path, name: str, content: Any) -> None:
    """Replaces a file as a whole, for root only."""
    try:
        files.replace(runtime_dir / name, json.dumps(content), mode=0o600)
    except OSError as problem:
        raise _unusable(runtime_dir, problem) from problem


def _take(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _holder(lock: IO[str]) -> str:
    lock.seek(0)
    return lock.read().strip() or "unknown"


def _unusable(runtime_dir: Path, problem: OSError) -> PlatformError:
    return PlatformError(
        f"runtime directory {runtime_dir} cannot be used ({problem.strerror}); give another one by --runtime-dir"
    )
