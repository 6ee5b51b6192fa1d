"""All links of this director: listening, dialing, signs of life, and who is let in.

Rules that hold here:
* A connection is dropped before a byte is read when its address is not in the config file and we have no keys by which
  it could prove itself.
* A link exists for each node of the config file, and for each other that has authenticated. What discovery says is a
  hint where to dial, and nothing more.
* Each node that is not linked is dialed again and again, 0.2 s after it was lost and then ever later, up to 2 s.
* A sign of life is sent each second; a connection on which nothing came for 3 s is dead. A loop that was late itself
  judges nobody: what came meanwhile is to be read first.
* Whatever is refused is counted, by its reason, and told once until something else is wrong with that address. However
  many there are, no more than a few are told at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ha_lvs.errors import WireError
from ha_lvs.model import IPAddress, PeerLink
from ha_lvs.peer import session
from ha_lvs.peer.connection import DEAD_AFTER_S, STOPPING, Connection, without_scope
from ha_lvs.peer.frames import MALFORMED, MISSING, Message
from ha_lvs.peer.link import Link
from ha_lvs.peer.session import Identity, Session

BEAT_S = 1.0
LATE_S = 0.5
DIAL_S = 2.0
BACKOFF_FIRST_S = 0.2
BACKOFF_MOST_S = 2.0
LISTEN_AGAIN_S = 1.0
MOST_HANDSHAKES = 16
MOST_CANDIDATES = 32
MOST_REMEMBERED = 64
TELL_MOST, TELL_EVERY_S = 5, 10.0

Handler = Callable[[Link, dict[str, Any]], None]


class Observer(Protocol):
    """Who is told of what becomes of the links."""

    def linked(self, link: Link) -> None:
        """A director is there that knows nothing of us yet: it has just come, or was started anew."""

    def lost(self, link: Link, silent: bool) -> None:
        """A director is gone: it closed the link, or, when `silent`, nothing came from it any more."""

    def changed(self, link: Link) -> None:
        """Something else of its state is different."""

    def refused(self, address: str, node: str, detail: str) -> None:
        """A connection was refused, or refused us. `node` is what the other end calls itself, or empty."""

    def cannot_listen(self, detail: str) -> None:
        """The port cannot be had (yet); it is tried again."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Where a node may be, as discovery says."""

    addresses: tuple[str, ...]
    port: int


class Hub:
    """The links of this director.

    Arguments:
        config: of the link.
        identity: who we are; its `address` is filled in here.
        observer: is told.

    Attributes:
        handlers: what to do with a message, by its kind. It gets the link and the body, and must not take long: while
            it works, nothing more is read. KeyError, TypeError and ValueError mean that the body is none of ours.
        refusals: how many connections and messages were refused, by reason.
        listening: whether others can reach us.
    """

    def __init__(self, config: PeerLink, cluster: str, version: str, config_digest: str, observer: Observer) -> None:
        address = "" if config.address is None else str(config.address)
        life = os.urandom(8).hex()
        self.identity = Identity(cluster, config.node, version, config_digest, life, address)
        self.handlers: dict[str, Handler] = {}
        self.refusals: Counter[str] = Counter()
        self.listening = False
        self._config = config
        self._observer = observer
        self._links = {peer.node: Link(peer.node, config.node, str(peer.address)) for peer in config.peers}
        self._nodes = {without_scope(str(peer.address)): peer.node for peer in config.peers}
        self._candidates: dict[str, Candidate] = {}
        self._handshakes: set[Connection] = set()
        self._established: set[Connection] = set()
        self._servers: list[asyncio.Server] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._dialers: dict[str, asyncio.Task[None]] = {}
        self._lost: dict[str, asyncio.Event] = {}
        self._told: dict[tuple[str, bool], str] = {}
        self._tell_window = (0.0, 0)

    # --------------------------------------------------------------------------------------- for the caller

    @property
    def links(self) -> list[Link]:
        """Every link, those of the config file first."""
        return list(self._links.values())

    def start(self) -> None:
        """Begins to listen and to dial, in the running loop."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._beat())]
        for node in self._links:
            self._dial_on(node)

    async def close(self) -> None:
        """Says goodbye on every link and lets go of everything."""
        for task in (*self._tasks, *self._dialers.values()):
            task.cancel()
        for server in self._servers:
            server.close()
        for connection in (*self._established, *self._handshakes):
            connection.close(STOPPING)
        await asyncio.gather(*self._tasks, *self._dialers.values(), return_exceptions=True)
        await asyncio.sleep(0)

    def found(self, candidates: dict[str, Candidate]) -> None:
        """What discovery knows now: where to dial nodes that the config file does not have, or has elsewhere."""
        usable = {node: each for node, each in candidates.items() if node != self._config.node}
        if self._config.authentication is None:  # nobody could prove who it is
            usable = {node: each for node, each in usable.items() if node in self._links}
        self._candidates = dict(list(usable.items())[:MOST_CANDIDATES])
        for node in list(self._dialers):
            if node not in self._links and node not in self._candidates:
                self._dialers.pop(node).cancel()
        for node in self._candidates:
            self._dial_on(node)

    def beat_now(self) -> None:
        """A sign of life amid work that keeps the loop from turning."""
        for link in self._links.values():
            link.beat()

    # --------------------------------------------------------------------------------------- for connections

    def session_for(self, connection: Connection) -> Session:
        """The session for a connection that is up now. Errors: WireError when it is not wanted."""
        assert connection.address is not None
        known_as = self._nodes.get(connection.address, "")
        if not known_as and self._config.authentication is None:
            raise WireError(MISSING, "its address is not in the config file, and there are no keys")
        if len(self._handshakes) >= MOST_HANDSHAKES and not known_as and not connection.dialed:
            raise WireError("too many", f"{MOST_HANDSHAKES} connections have yet to say who they are")
        self._handshakes.add(connection)
        return Session(
            self.identity,
            os.urandom(session.NONCE_BYTES),
            dialed=connection.dialed,
            authentication=self._config.authentication,
            known_as=known_as,
            expected=connection.expected,
        )

    def established(self, connection: Connection) -> None:
        """It is linked."""
        self._handshakes.discard(connection)
        self._established.add(connection)
        peer = connection.session.peer
        assert peer is not None
        for dialed in (True, False):
            self._told.pop((str(connection.address), dialed), None)
        link = self._links.get(peer.node)
        if link is None:
            link = self._links[peer.node] = Link(peer.node, self._config.node)
            self._dial_on(peer.node)
        if connection.session.doubt:
            self.refusals[connection.session.doubt.partition(":")[0]] += 1
        if link.would_degrade(connection):
            connection.close("there is an authenticated connection to this node")
            return
        if link.admit(connection):
            self._observer.linked(link)
        self._observer.changed(link)

    def received(self, connection: Connection, message: Message) -> None:
        """A message has come."""
        assert connection.session.peer is not None
        link = self._links[connection.session.peer.node]
        link.heard(connection)
        if message.kind == session.ALIVE:
            link.alive(message.body.get("at"))
            return
        handler = self.handlers.get(message.kind)
        if handler is None:  # of a later version; whoever sends it can do without an answer
            self.refusals["unknown kind"] += 1
            return
        try:
            handler(link, message.body)
        except (KeyError, TypeError, ValueError) as problem:
            self.refused(connection, WireError(MALFORMED, f"a message {message.kind} that is none: {problem!r:.100}"))

    def refused(self, connection: Connection, problem: WireError) -> None:
        """The other end has broken a rule, or says that we have."""
        self._handshakes.discard(connection)
        self.refusals[problem.reason] += 1
        peer = getattr(connection, "session", None) and connection.session.peer
        address, detail = str(connection.address), str(problem)
        node = peer.node if peer else connection.expected
        if node in self._links and not self._links[node].linked:
            self._note(self._links[node], detail)
        who = (address, connection.dialed)
        if self._told.get(who) == detail or not self._may_tell():
            return
        self._told.pop(who, None)
        self._told[who] = detail
        if len(self._told) > MOST_REMEMBERED:
            self._told.pop(next(iter(self._told)))
        self._observer.refused(address, node, detail)

    def closed(self, connection: Connection) -> None:
        """It is gone."""
        self._handshakes.discard(connection)
        if connection not in self._established:
            return
        self._established.discard(connection)
        assert connection.session.peer is not None
        link = self._links[connection.session.peer.node]
        down = link.gone(connection)
        if down:
            self._observer.lost(link, connection.silent)
            if event := self._lost.get(link.node):
                event.set()
        self._observer.changed(link)

    def _may_tell(self) -> bool:
        began, count = self._tell_window
        now = time.monotonic()
        if now - began > TELL_EVERY_S:
            began, count = now, 0
        self._tell_window = (began, count + 1)
        return count < TELL_MOST

    def _note(self, link: Link, detail: str) -> None:
        if link.detail != detail:
            link.detail = detail
            self._observer.changed(link)

    # ------------------------------------------------------------------------------------ listening and dialing

    async def _listen(self) -> None:
        told = ""
        hosts = ["0.0.0.0", "::"] if self._config.address is None else [str(self._config.address)]
        while hosts:
            for host in list(hosts):
                try:
                    server = await asyncio.get_running_loop().create_server(
                        lambda: Connection(self, dialed=False), host, self._config.port, backlog=MOST_HANDSHAKES
                    )
                except OSError as problem:
                    if host == "::" and problem.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                        hosts.remove(host)  # a machine without IPv6
                    elif told != (told := f"{host} port {self._config.port}: {_words(problem)}"):
                        self._observer.cannot_listen(told)
                else:
                    self._servers.append(server)
                    self.listening = True
                    hosts.remove(host)
            if hosts:
                await asyncio.sleep(LISTEN_AGAIN_S)

    def _dial_on(self, node: str) -> None:
        if node not in self._dialers:
            self._dialers[node] = asyncio.create_task(self._keep_dialing(node))

    async def _keep_dialing(self, node: str) -> None:
        lost = self._lost.setdefault(node, asyncio.Event())
        delay_s = 0.0
        while True:
            await asyncio.sleep(delay_s)
            lost.clear()
            if self._is_linked(node) or await self._dial(node):
                await lost.wait()
                delay_s = BACKOFF_FIRST_S
            else:
                delay_s = min(BACKOFF_MOST_S, max(BACKOFF_FIRST_S, 2 * delay_s))

    def _is_linked(self, node: str) -> bool:
        return node in self._links and self._links[node].linked

    async def _dial(self, node: str) -> bool:
        """Tries every address of a node; says whether it is linked now."""
        for address, port in self._places(node):
            why = await self._try(node, address, port)
            if self._is_linked(node):
                return True
            if why and node in self._links:
                self._note(self._links[node], why)
        return False

    async def _try(self, node: str, address: str, port: int) -> str:
        """Dials; returns why it was in vain, or nothing."""
        own = self._config.address
        same_family = own is not None and (":" in address) == (own.version == 6)
        connection = Connection(self, dialed=True, expected=node)
        try:
            async with asyncio.timeout(DIAL_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection, address, port, local_addr=(str(own), 0) if same_family else None
                )
        except TimeoutError:
            return f"{address} port {port} does not answer"
        except OSError as problem:
            return f"{address} port {port}: {_words(problem)}"
        return await connection.settled

    def _places(self, node: str) -> list[tuple[str, int]]:
        places = [(str(peer.address), self._config.port) for peer in self._config.peers if peer.node == node]
        if candidate := self._candidates.get(node):
            places += [(address, candidate.port) for address in candidate.addresses]
        if not places and node in self._links:  # it came to us; discovery may never have seen it
            places.append((self._links[node].address, self._config.port))
        return list(dict.fromkeys(places))

    async def _beat(self) -> None:
        due = time.monotonic() + BEAT_S
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            for link in self.links:
                link.beat()
                if now - due < LATE_S:
                    link.end_silent(DEAD_AFTER_S)
            due = now + BEAT_S


def _words(problem: OSError) -> str:
    number = problem.errno
    known = number is not None and number in errno.errorcode
    with contextlib.suppress(ValueError):
        return os.strerror(number).lower() if known and number is not None else str(problem)
    return str(problem)


def address_of(link: Link) -> IPAddress | None:
    """The address by which a link's node is known, or None while none is."""
    return without_scope(link.address) if link.address else None
