"""The verdicts of this director and of its peers, over the peer link; `peer.verdicts` decides what of it counts.

Rules that hold here:
* Nothing here takes long at a time: tables go in pieces, and whoever has many waits until the peer has read.
* What is to be told waits for the next look, so that many changes at once are one message.
* A peer of an earlier version does not know the messages and leaves them. It is told no changes.
* A peer is asked to begin again no more often than every `ASK_EVERY_S`.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import structlog

from ha_lvs.daemon.shapes import to_json
from ha_lvs.model import Check, Endpoint, ServerState
from ha_lvs.peer.disagreements import Case
from ha_lvs.peer.hub import Hub
from ha_lvs.peer.link import Link
from ha_lvs.peer.news import DIGEST_BYTES, KIND, WANTED, Digest, news
from ha_lvs.peer.verdicts import Verdicts

log = structlog.get_logger()

BEAT_S = 5.0
ASK_EVERY_S = 2.0
SLICE = 500
"""So many endpoints are taken in before the loop turns."""

Borrow = Callable[[Mapping[Endpoint, ServerState]], None]


@functools.lru_cache(maxsize=4096)
def _said_of(check: Check) -> bytes:
    return json.dumps(to_json(replace(check, source=None)), sort_keys=True, separators=(",", ":")).encode()


def identify(endpoint: Endpoint) -> Digest:
    """What stands for an endpoint among directors: the same on all that probe the same in the same way.

    From where they probe is each one's own affair.
    """
    place = b"%b %d " % (str(endpoint.address).encode(), endpoint.port)
    return hashlib.blake2b(place + _said_of(endpoint.check), digest_size=DIGEST_BYTES).digest()


class Sharing:
    """Tells the peers, and hears them.

    Arguments:
        hub: of the links; None when there are none, and nothing is told.
        borrow: takes in what the peers say of some endpoints now; unknown where they say nothing any more.
    """

    def __init__(self, hub: Hub | None, borrow: Borrow) -> None:
        self._hub = hub
        self._borrow = borrow
        self._verdicts = Verdicts(identify)
        self._understood: set[str] = set()  # by these nodes
        self._wanting: set[str] = set()  # nodes that are to be asked to begin again
        self._asked: dict[str, float] = {}  # when a node was asked last
        self._again: set[str] = set()  # nodes that have asked while they were being told
        self._beat_at = 0.0
        self._tellers: dict[str, asyncio.Task[None]] = {}  # whole tables on their way, by node
        self._watching: set[asyncio.Task[None]] = set()
        if hub is not None:
            hub.handlers[KIND] = self._received
            hub.handlers[WANTED] = self._asked_for

    # ---------------------------------------------------------------------------------- for the director

    def watch(self, endpoints: Iterable[Endpoint]) -> None:
        """These are probed here from now on; some at a time, in the running loop."""
        if self._hub is not None and (every := list(endpoints)):
            task = asyncio.get_running_loop().create_task(self._watch(every))
            self._watching.add(task)
            task.add_done_callback(self._watching.discard)

    def forget(self, endpoints: Iterable[Endpoint]) -> None:
        """These are not probed any more."""
        if self._hub is not None:
            self._verdicts.forget(endpoints)

    def verdict(self, endpoint: Endpoint, state: ServerState) -> None:
        """A prober has told of a server."""
        if self._hub is not None:
            self._verdicts.verdict(endpoint, state, time.monotonic())

    def disagreeing(self, endpoint: Endpoint) -> ServerState | None:
        """What a peer says of an endpoint where it has differed from us for long; None where none does."""
        return self._verdicts.disagreeing(endpoint)

    @property
    def disagreements(self) -> int:
        """Of how many endpoints that is so."""
        return self._verdicts.disagreements.count

    def close(self) -> None:
        """Stops telling."""
        for task in (*self._tellers.values(), *self._watching):
            task.cancel()

    async def _watch(self, endpoints: list[Endpoint]) -> None:
        for at in range(0, len(endpoints), SLICE):
            self._verdicts.watch(endpoints[at : at + SLICE])
            await asyncio.sleep(0)
        asking = self._verdicts.to_ask()
        for link in self._links():
            if link.node in asking:
                self._ask(link)

    # ---------------------------------------------------------------------------------------- for the links

    def linked(self, link: Link) -> None:
        """A director is there that knows nothing of ours yet."""
        for each in (self._understood, self._wanting, self._again):
            each.discard(link.node)
        self._verdicts.linked(link.node)
        self._tell_all(link)

    def lost(self, link: Link) -> None:
        """A director is gone."""
        self._stop_telling(link)
        self._verdicts.lost(link.node, time.monotonic())

    def look(self, now: float) -> None:
        """Tells what has changed, drops what counts no longer, and logs who disagrees.

        Arguments:
            now: monotonic seconds.
        """
        if self._hub is None:
            return
        if lapsed := self._verdicts.look(now):
            self._borrow(lapsed)
        beat = now >= self._beat_at
        if beat:
            self._beat_at = now + BEAT_S
        for link in self._links():
            self._ask_if_wanted(link)
            if link.linked and link.node in self._understood and link.node not in self._tellers:
                self._tell_changes(link, beat=beat)
        self._report(now)

    def _links(self) -> list[Link]:
        return [] if self._hub is None else self._hub.links

    # -------------------------------------------------------------------------------------------- telling

    def _tell_changes(self, link: Link, *, beat: bool) -> None:
        told = self._verdicts.changes(link.node, beat=beat)
        if told is not None:
            link.send(KIND, told.body())  # where it is not taken, the peer notices the gap, and asks

    def _tell_all(self, link: Link) -> None:
        self._stop_telling(link)
        task = asyncio.get_running_loop().create_task(self._tell_whole(link))
        self._tellers[link.node] = task

        def done(ended: asyncio.Task[None]) -> None:
            if self._tellers.get(link.node) is ended:
                del self._tellers[link.node]
                if link.node in self._again and link.linked:
                    self._again.discard(link.node)
                    self._tell_all(link)

        task.add_done_callback(done)

    def _stop_telling(self, link: Link) -> None:
        if task := self._tellers.pop(link.node, None):
            task.cancel()

    async def _tell_whole(self, link: Link) -> None:
        pieces = self._verdicts.whole(link.node)
        for at, piece in enumerate(pieces):
            await link.drain()
            told = self._verdicts.piece(link.node, piece, begins=at == 0, ends=at == len(pieces) - 1)
            if not link.send(KIND, told.body()):
                return  # it is gone, or will ask again
            await asyncio.sleep(0)

    def _asked_for(self, link: Link, _body: dict[str, Any]) -> None:
        self._understood.add(link.node)
        if link.node in self._tellers:
            self._again.add(link.node)
        else:
            self._tell_all(link)

    # -------------------------------------------------------------------------------------------- hearing

    def _received(self, link: Link, body: dict[str, Any]) -> None:
        told = news(body)
        self._understood.add(link.node)
        changed, again = self._verdicts.hear(link.node, told, time.monotonic())
        if changed:
            self._borrow(changed)
        if again:
            self._ask(link)

    def _ask(self, link: Link) -> None:
        self._wanting.add(link.node)
        self._ask_if_wanted(link)

    def _ask_if_wanted(self, link: Link) -> None:
        now = time.monotonic()
        lately = now - self._asked.get(link.node, float("-inf")) < ASK_EVERY_S
        if link.node in self._wanting and not lately and link.send(WANTED, {}):
            self._asked[link.node] = now
            self._wanting.discard(link.node)

    # -------------------------------------------------------------------------------------------- logging

    def _report(self, now: float) -> None:
        report = self._verdicts.disagreements.look(now)
        for case in report.begun:
            ours, theirs = self._verdicts.states(*case)
            log.warning(
                "directors disagree about a server",
                server=self._server(case),
                node=case[0],
                here=ours.value,
                there=theirs.value,
            )
        if report.many:
            log.warning("directors disagree about many servers", servers=report.many)
        for case in report.ended:
            log.notice("directors agree again", server=self._server(case), node=case[0])
        if report.over:
            log.notice("directors agree about all servers again")

    def _server(self, case: Case) -> str:
        for each in self._verdicts.endpoints(case[1]):
            address = f"[{each.address}]" if each.address.version == 6 else str(each.address)
            return f"{address}:{each.port} {each.check.type.value}"
        return "none"
