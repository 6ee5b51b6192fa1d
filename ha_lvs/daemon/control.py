"""The control sockets of a running director: one JSON line in, one JSON document out.

There are three in the runtime directory: one of the director process, which tells the status, for owner and group; its
other one, by which operators change weights; and the guardian's, which changes what runs and who is active. These two
are for the owner alone. Root may use all, whoever the owner is. Clients use `asking`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ha_lvs.daemon.asking import (
    GUARDIAN_SOCKET_NAME,
    OPERATE_SOCKET_NAME,
    RUNTIME_DIR,
    SOCKET_NAME,
    TIMEOUT_S,
    query,
)

__all__ = [
    "DEFAULT_RUNTIME_DIR", "GUARDIAN_SOCKET_NAME", "OPERATE_SOCKET_NAME", "SOCKET_NAME", "Handler", "query", "serve",
]  # fmt: skip

DEFAULT_RUNTIME_DIR = Path(RUNTIME_DIR)
_REQUEST_BYTES = 64 * 1024

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
            request = json.loads(await asyncio.wait_for(reader.readline(), TIMEOUT_S))
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
