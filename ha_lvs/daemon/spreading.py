"""What operators have said travels between directors, over the peer link.

    overrides          {overrides: [...]}    what is known, taken back or not: all when a link comes up, then news
    overrides digest   {digest}              of everything that is known: whoever knows something else tells all of it

Rules that hold here:
* It does not matter in which order the messages come, nor how often: what is later holds (`overrides`).
* What is news from one director is told to the others: not every two of them need to be linked.
* A message has at most `PIECE` bytes and `AT_ONCE` overrides, and whoever has many waits until the peer has read.
* A message may be lost, where a link changes its connection or is too slow; so digests are told every now and then.
* A peer of an earlier version does not know the messages and leaves them. It is told no digests.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ha_lvs.daemon.operating import Told
from ha_lvs.daemon.overrides import Overrides, checked
from ha_lvs.daemon.shapes import to_json
from ha_lvs.errors import ChannelError
from ha_lvs.model import Override
from ha_lvs.peer.hub import Hub
from ha_lvs.peer.link import Link

KIND, DIGEST = "overrides", "overrides digest"
DIGEST_EVERY_S = 10.0
PIECE = 32 * 1024
AT_ONCE = 200
"""So many are taken in at a time: the loop does nothing else meanwhile."""


class Spreading:
    """Tells the peers, and hears them.

    Arguments:
        hub: of the links; None when there are none.
        known: everything that is known; None where there are no services, and nothing is told.
        heard: takes in what a peer has told, and returns what was news.
    """

    def __init__(
        self,
        hub: Hub | None,
        known: Overrides | None,
        heard: Callable[[list[Override]], list[Override]],
    ) -> None:
        self._hub = hub
        self._known = known
        self._heard = heard
        self._understood: set[str] = set()  # by these nodes
        self._digests_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        if hub is not None:
            hub.handlers[KIND] = self._received
            hub.handlers[DIGEST] = self._compare

    def linked(self, link: Link) -> None:
        """A director is there that may know nothing of what we do."""
        self._understood.discard(link.node)
        self._tell_all(link)

    def tell(self, news: list[Override]) -> Told:
        """Tells every director that is linked what was said here."""
        now: list[str] = []
        later: list[str] = []
        for link in self._links():
            (now if link.linked else later).append(link.node)
            if link.linked:
                self._send(link, news)
        return Told(tuple(now), tuple(later))

    def look(self, now: float) -> None:
        """Lets the peers compare, when it is time.

        Arguments:
            now: monotonic seconds.
        """
        if self._known is None or now < self._digests_at:
            return
        self._digests_at = now + DIGEST_EVERY_S
        linked = [link for link in self._links() if link.linked and link.node in self._understood]
        if linked:
            digest = self._known.digest()
            for link in linked:
                link.send(DIGEST, {"digest": digest})

    def _compare(self, link: Link, body: dict[str, Any]) -> None:
        if self._known is not None and body["digest"] != self._known.digest():
            self._tell_all(link)

    def _received(self, link: Link, body: dict[str, Any]) -> None:
        said = body["overrides"]
        if not isinstance(said, list) or len(said) > AT_ONCE:
            raise ValueError("no list of overrides, or too long a one")
        try:
            overrides = [checked(each) for each in said]
        except ChannelError as problem:
            raise ValueError(str(problem)) from problem
        self._understood.add(link.node)
        news = self._heard(overrides)
        for other in self._links() if news else ():
            if other is not link and other.linked:
                self._send(other, news)

    def _links(self) -> list[Link]:
        return [] if self._hub is None else self._hub.links

    def _tell_all(self, link: Link) -> None:
        if self._known is not None:
            self._send(link, self._known.all)

    def _send(self, link: Link, overrides: Iterable[Override]) -> None:
        pieces = list(in_pieces(overrides)) or [[]]  # an empty one says that we understand
        if len(pieces) == 1 and link.send(KIND, {"overrides": pieces[0]}):
            return
        task = asyncio.get_running_loop().create_task(_send_all(link, pieces))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _send_all(link: Link, pieces: list[list[Any]]) -> None:
    for piece in pieces:
        await link.drain()
        if not link.send(KIND, {"overrides": piece}):
            return  # it is gone, and is told everything when it comes back


def in_pieces(overrides: Iterable[Override]) -> Iterator[list[Any]]:
    """The JSON shapes of overrides, so many at a time as go into a message."""
    piece: list[Any] = []
    size = 0
    for each in overrides:
        shape = to_json(each)
        length = len(json.dumps(shape)) + 1
        if piece and (size + length > PIECE or len(piece) == AT_ONCE):
            yield piece
            piece, size = [], 0
        piece.append(shape)
        size += length
    if piece:
        yield piece
