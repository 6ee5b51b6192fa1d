"""Asking a running director over one of its control sockets: the client's side of `control`.

Synchronous on purpose: the command line and the drills use it.

Rule that holds here: what is imported is what a question needs and no more. Some verbs are asked for one weight after
the other by programs, and a process that loads asyncio or dataclasses first takes twice as long.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping

TYPE_CHECKING = False  # typing takes its time to load
if TYPE_CHECKING:
    from typing import Any

SOCKET_NAME = "control.sock"
OPERATE_SOCKET_NAME = "operate.sock"
GUARDIAN_SOCKET_NAME = "guardian.sock"
RUNTIME_DIR = "/run/ha-lvs"
TIMEOUT_S = 10.0


def query(
    runtime_dir: str | os.PathLike[str],
    verb: str = "status",
    timeout_s: float = TIMEOUT_S,
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
    path = os.path.join(runtime_dir, name)  # noqa: PTH118  pathlib takes as long to load as all the rest
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout_s)
            sock.connect(path)
            sock.sendall(json.dumps({**(arguments or {}), "verb": verb}).encode() + b"\n")
            answer = b"".join(iter(lambda: sock.recv(1 << 16), b""))
        found: Any = json.loads(answer)
        if not isinstance(found, dict):
            raise ValueError(f"its answer is no object but {type(found).__name__}")
    except PermissionError as problem:
        from ha_lvs.daemon.permission import refused
        from ha_lvs.errors import PlatformError

        raise PlatformError(refused(path)) from problem
    except (OSError, ValueError) as problem:
        from ha_lvs.errors import PlatformError

        raise PlatformError(
            f"no director answers at {path} ({problem}); is `ha-lvs run` up, and is --runtime-dir the same as its own?"
        ) from problem
    if "error" in found:
        from ha_lvs.errors import PlatformError

        raise PlatformError(f"the director at {path} says: {found['error']}")
    return found
