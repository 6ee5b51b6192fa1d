"""Asking a peer's director for its status, over the link; a status of many services takes many messages.

status        {request, service}             the question; of all services where `service` is missing or not understood
status part   {request, text, last}          pieces of the answer's JSON, in order
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Callable
from typing import Any

from ha_lvs.peer.hub import Hub
from ha_lvs.peer.link import Link

ASK, PART = "status", "status part"
ANSWER_S = 5.0
MOST_AT_ONCE = 8
PIECE = 32 * 1024
MOST = 16 * 1024 * 1024
"""An answer of more characters is not taken."""


class _Answer:
    """An answer as far as it has come."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.pieces: list[str] = []
        self.whole: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()


class StatusExchange:
    """Asks, and answers whoever asks.

    Arguments:
        hub: of the links.
        status: our own; given the name of a service, at least what concerns that.
    """

    def __init__(self, hub: Hub, status: Callable[[str], dict[str, Any]]) -> None:
        self._status = status
        self._numbers = itertools.count(1)
        self._open: dict[int, _Answer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        hub.handlers[ASK] = self._asked
        hub.handlers[PART] = self._part

    async def ask(self, link: Link, service: str = "") -> dict[str, Any]:
        """The status of the director at the other end.

        Arguments:
            service: the one that matters; the answer may leave the others out. Empty for everything.

        Errors: TimeoutError when it does not answer in time; ConnectionError when it is not linked, or not any more.
        """
        number = next(self._numbers)
        answer = self._open[number] = _Answer(link.node)
        try:
            if not link.send(ASK, {"request": number} | ({"service": service} if service else {})):
                raise ConnectionError(link.detail)
            async with asyncio.timeout(ANSWER_S):
                return await answer.whole
        finally:
            del self._open[number]

    def lost(self, link: Link) -> None:
        """The link to a peer is down: nobody waits for its answers any more."""
        for answer in self._open.values():
            if answer.node == link.node and not answer.whole.done():
                answer.whole.set_exception(ConnectionError(link.detail))

    def _asked(self, link: Link, body: dict[str, Any]) -> None:
        number = int(body["request"])
        if len(self._tasks) >= MOST_AT_ONCE:
            return  # whoever asks so often may ask again
        service = str(body.get("service", ""))
        task = asyncio.get_running_loop().create_task(self._answer(link, number, service))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, link: Link, number: int, service: str) -> None:
        try:
            status = self._status(service)
        except Exception as problem:  # whoever asked must hear of it, and the link goes on
            status = {"error": str(problem) or type(problem).__name__}
        text = json.dumps(status)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                for at in range(0, len(text), PIECE):
                    last = at + PIECE >= len(text)
                    if not link.send(PART, {"request": number, "text": text[at : at + PIECE], "last": last}):
                        return
                    await link.drain()

    def _part(self, link: Link, body: dict[str, Any]) -> None:
        answer = self._open.get(body["request"])
        if answer is None or answer.node != link.node or answer.whole.done():
            return  # it came too late
        answer.pieces.append(str(body["text"]))
        if sum(map(len, answer.pieces)) > MOST:
            answer.whole.set_exception(ConnectionError("its answer has no end"))
        elif body["last"]:
            found = json.loads("".join(answer.pieces))
            if not isinstance(found, dict):
                raise ValueError("a status that is no object")
            answer.whole.set_result(found)
