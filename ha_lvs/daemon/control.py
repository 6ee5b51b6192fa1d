"""The control sockets of a running director: one JSON line in, one JSON document out.

There are two in the runtime directory: the director process's, which tells the status, for owner and group; and the
guardian's, which changes what runs and who is active, for the owner alone. Root may use both, whoever the owner is.
Clients are synchronous on purpose: the command line and the drills use them.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from ha_lvs.daemon.accounts import group_name, user_name
from ha_lvs.errors import PlatformError

SOCKET_NAME = "control.sock"
GUARDIAN_SOCKET_NAME = "guardian.sock"
DEFAULT_RUNTIME_DIR = Path("/run/ha-lvs")
_REQUEST_BYTES = 64 * 1024
_TIMEOUT_S = 10.0

Handler = Callable[[dict[str, Any]], dict[str, Any] | Awaitable[dict[str, Any]]]


async def serve(
    runtime_dir: Path, handle: Handler, *, name: str = SOCKET_NAME, mode: int = 0o660
) -> asyncio.AbstractServer:
    """Listens on a control socket; `handle` answers each request.

    Arguments:
        runtime_dir: where the socket is made; a stale one is replaced.
        handle: takes the request, returns the answer, now or later; its exceptions reach the client as text.
        name: of the socket.
        mode: its permissions: whoever may write to it may ask.
    """
    path = runtime_dir / name
    path.unlink(missing_ok=True)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await asyncio.wait_for(reader.readline(), _TIMEOUT_S))
            given = handle(request)
            answer = await given if inspect.isawaitable(given) else given
        except (ValueError, TypeError, AttributeError, TimeoutError) as problem:
            answer = {"error": f"not a request: {problem}"}
        except Exception as problem:  # whatever is wrong here must reach the person who asked, and harm nobody else
            answer = {"error": str(problem) or type(problem).__name__}
        try:
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        except OSError:
            pass  # the client has gone

    server = await asyncio.start_unix_server(talk, path, limit=_REQUEST_BYTES)
    path.chmod(mode)
    return server


def query(
    runtime_dir: Path,
    verb: str = "status",
    timeout_s: float = _TIMEOUT_S,
    *,
    name: str = SOCKET_NAME,
    arguments: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Asks the director that runs with this runtime directory.

    Arguments:
        runtime_dir: as given to `ha-lvs run`.
        verb: what to ask for.
        timeout_s: how long an answer may take.
        name: of the socket: who is asked.
        arguments: what else the request says, beside its verb.

    Errors: PlatformError when no director answers there, or not to us.
    """
    path = runtime_dir / name
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout_s)
            sock.connect(str(path))
            sock.sendall(json.dumps({**(arguments or {}), "verb": verb}).encode() + b"\n")
            answer = b"".join(iter(lambda: sock.recv(1 << 16), b""))
        found: Any = json.loads(answer)
        if not isinstance(found, dict):
            raise ValueError(f"its answer is no object but {type(found).__name__}")
    except PermissionError as problem:
        raise PlatformError(_refused(path)) from problem
    except (OSError, ValueError) as problem:
        raise PlatformError(
            f"no director answers at {path} ({problem}); is `ha-lvs run` up, and is --runtime-dir the same as its own?"
        ) from problem
    if "error" in found:
        raise PlatformError(f"the director at {path} says: {found['error']}")
    return found


def _refused(path: Path) -> str:
    """Who may use a socket that we may not."""
    lock = path
    try:
        found = path.stat()
    except OSError:  # its directory is closed to us, too
        lock = path.parent
        try:
            found = lock.stat()
        except OSError:
            return f"permission denied at {lock} for user {user_name(os.geteuid())}: use sudo"
    shared = bool(found.st_gid and found.st_mode & (stat.S_IWGRP if lock == path else stat.S_IXGRP))
    may = [*dict.fromkeys(["root", f"user {user_name(found.st_uid)}" if found.st_uid else "root"])]
    if shared:
        may.append(f"members of group {group_name(found.st_gid)}")
    remedy = f"use sudo, or join the group {group_name(found.st_gid)}" if shared else "use sudo"
    return f"permission denied at {lock} for user {user_name(os.geteuid())}: it is for {', '.join(may)} only; {remedy}"
