"""What this director and the others think of each endpoint, and what of it counts here. Pure.

Rules that hold here:
* An endpoint travels as a digest (`news`); which one is the caller's to say, and the same on all directors. Digests of
  what we do not probe ourselves are not kept, so a peer cannot fill our memory.
* Messages to a peer are numbered. One that begins starts the whole table; what the peer has said before and does not
  say again until `ends` is dropped then, and not before. After a gap in the numbers nothing is taken until it begins
  again, which has to be asked for.
* What a peer said counts while its link stands and for `KEEP_S` after: its director may only be starting anew.
* Of several peers, one that says down is believed: only what is known good serves.
* Where we have a verdict of our own, that of the peers is for comparison only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from ha_lvs.model import Endpoint, ServerState
from ha_lvs.peer.disagreements import Disagreements
from ha_lvs.peer.news import AT_ONCE, Digest, News

KEEP_S = 5.0


@dataclass(slots=True)
class _Table:
    """What a peer has said.

    Arguments:
        states: by digest; unknown ones are left out.
        number: of its last message; None when the next one has to begin.
        mentioned: what it has said since it began; None while no whole table is under way.
        until: when this counts no longer, in monotonic seconds; None while it is linked.
    """

    states: dict[Digest, ServerState] = field(default_factory=dict)
    number: int | None = None
    mentioned: set[Digest] | None = None
    until: float | None = None


@dataclass(slots=True)
class _Outgoing:
    """What a peer has been told: how many messages, whether a whole table has begun, and what changed since."""

    number: int = 0
    begun: bool = False
    changed: dict[Digest, None] = field(default_factory=dict)


class Verdicts:
    """The verdicts of this director and of its peers.

    Arguments:
        identify: the digest of an endpoint.

    Attributes:
        disagreements: where we and a peer differ.
    """

    def __init__(self, identify: Callable[[Endpoint], Digest]) -> None:
        self._identify = identify
        self._digests: dict[Endpoint, Digest] = {}
        self._endpoints: dict[Digest, list[Endpoint]] = {}
        self._own: dict[Digest, ServerState] = {}
        self._tables: dict[str, _Table] = {}
        self._outgoing: dict[str, _Outgoing] = {}
        self._strange: set[str] = set()  # nodes that have told of what was not probed here
        self.disagreements = Disagreements(self._interval_s)

    def _interval_s(self, digest: Digest) -> float:
        return max((each.check.interval_s for each in self._endpoints.get(digest, ())), default=0.0)

    # ------------------------------------------------------------------------------------------- ours

    def watch(self, endpoints: Iterable[Endpoint]) -> None:
        """These are probed here from now on; what peers have said of them before is not known (`to_ask`)."""
        for each in endpoints:
            self._digest(each)

    def forget(self, endpoints: Iterable[Endpoint]) -> None:
        """These are not probed any more."""
        for each in endpoints:
            digest = self._digests.pop(each, None)
            if digest is None:
                continue
            self._endpoints[digest].remove(each)
            if self._endpoints[digest]:
                continue
            del self._endpoints[digest]
            if self._own.pop(digest, None) is not None:
                self._note(digest)
            for node, table in self._tables.items():
                table.states.pop(digest, None)
                self.disagreements.drop(node, digest)

    def verdict(self, endpoint: Endpoint, state: ServerState, now: float) -> None:
        """A probe of ours has come to a verdict.

        Arguments:
            now: monotonic seconds.
        """
        digest = self._digest(endpoint)
        if self._own.get(digest) is state:
            return
        self._own[digest] = state
        self._note(digest)
        for node in self._tables:
            self._compare(node, digest, now)

    def _digest(self, endpoint: Endpoint) -> Digest:
        digest = self._digests.get(endpoint)
        if digest is None:
            digest = self._digests[endpoint] = self._identify(endpoint)
            self._endpoints.setdefault(digest, []).append(endpoint)
        return digest

    def _note(self, digest: Digest) -> None:
        for each in self._outgoing.values():
            each.changed[digest] = None

    def _compare(self, node: str, digest: Digest, now: float) -> None:
        theirs = self._tables[node].states.get(digest)
        self.disagreements.compare(node, digest, self._own.get(digest), theirs, now)

    # ------------------------------------------------------------------------------------ what they hear

    def linked(self, node: str) -> None:
        """A peer is there that knows nothing of what we think, and begins again."""
        self._outgoing[node] = _Outgoing()
        table = self._tables.setdefault(node, _Table())
        table.number, table.mentioned, table.until = None, None, None

    def whole(self, node: str) -> list[Sequence[Digest]]:
        """Pieces of the whole table for a peer, each to be told by `piece`, in their order; one at least."""
        outgoing = self._outgoing[node]
        outgoing.changed.clear()
        outgoing.begun = True
        every = list(self._own)
        return [every[at : at + AT_ONCE] for at in range(0, len(every), AT_ONCE)] or [()]

    def piece(self, node: str, digests: Collection[Digest], *, begins: bool, ends: bool) -> News:
        """The message for a piece, as things are now."""
        outgoing = self._outgoing[node]
        outgoing.number += 1
        states = {each: self._own.get(each, ServerState.UNKNOWN) for each in digests}
        return News(outgoing.number, states, begins, ends)

    def changes(self, node: str, *, beat: bool = False) -> News | None:
        """What a peer has not been told of what has changed; None when there is nothing, or it has yet to begin.

        Arguments:
            beat: whether it is told even of nothing, by which it notices that it has missed something.
        """
        outgoing = self._outgoing.get(node)
        if outgoing is None or not outgoing.begun or not (outgoing.changed or beat):
            return None
        digests = [each for each, _ in zip(outgoing.changed, range(AT_ONCE), strict=False)]
        for each in digests:
            del outgoing.changed[each]
        return self.piece(node, digests, begins=False, ends=False)

    # ------------------------------------------------------------------------------------ what they say

    def hear(self, node: str, told: News, now: float) -> tuple[dict[Endpoint, ServerState], bool]:
        """Takes in what a peer has said.

        Returns what the peers say now of each endpoint of which that changed and of which we have no verdict, unknown
        for nothing; and whether the peer has to be asked to begin again.
        """
        table = self._tables.setdefault(node, _Table())
        if told.begins:
            table.mentioned = set()
        elif table.number is None or told.number != table.number + 1:
            table.number = table.mentioned = None
            return {}, True
        table.number = told.number
        changed: dict[Endpoint, ServerState] = {}
        for digest, state in told.states.items():
            if digest not in self._endpoints:
                self._strange.add(node)
                continue
            if table.mentioned is not None:
                table.mentioned.add(digest)
            self._set(node, table, digest, state, now, changed)
        if told.ends and table.mentioned is not None:
            for digest in table.states.keys() - table.mentioned:
                self._set(node, table, digest, ServerState.UNKNOWN, now, changed)
            table.mentioned = None
        return changed, False

    def to_ask(self) -> set[str]:
        """Peers that may have told of what is watched only since; whoever asks them may forget that."""
        nodes, self._strange = self._strange, set()
        return nodes

    def _set(
        self,
        node: str,
        table: _Table,
        digest: Digest,
        state: ServerState,
        now: float,
        changed: dict[Endpoint, ServerState],
    ) -> None:
        before = self._of_peers(digest)
        if state is ServerState.UNKNOWN:
            table.states.pop(digest, None)
        else:
            table.states[digest] = state
        self._compare(node, digest, now)
        after = self._of_peers(digest)
        if after is not before and digest not in self._own:
            changed.update(dict.fromkeys(self._endpoints[digest], after))

    def lost(self, node: str, now: float) -> None:
        """The link to a peer is down."""
        self._outgoing.pop(node, None)
        if node in self._tables:
            self._tables[node].until = now + KEEP_S

    def look(self, now: float) -> dict[Endpoint, ServerState]:
        """Drops what counts no longer; returns as `hear` does.

        Arguments:
            now: monotonic seconds.
        """
        changed: dict[Endpoint, ServerState] = {}
        gone = [node for node, table in self._tables.items() if table.until is not None and table.until <= now]
        for node in gone:
            table = self._tables[node]
            for digest in list(table.states):
                self._set(node, table, digest, ServerState.UNKNOWN, now, changed)
            del self._tables[node]
            self.disagreements.forget(node)
        return changed

    # --------------------------------------------------------------------------------------- what is known

    def of_peers(self, endpoint: Endpoint) -> ServerState:
        """What the peers say of an endpoint: down where one of them does; unknown where none says anything."""
        digest = self._digests.get(endpoint)
        return ServerState.UNKNOWN if digest is None else self._of_peers(digest)

    def _of_peers(self, digest: Digest) -> ServerState:
        found = ServerState.UNKNOWN
        for table in self._tables.values():
            state = table.states.get(digest)
            if state is ServerState.DOWN:
                return state
            found = state or found
        return found

    def disagreeing(self, endpoint: Endpoint) -> ServerState | None:
        """What a peer says of an endpoint where it has differed from us for long; None where none does."""
        digest = self._digests.get(endpoint)
        if digest is None or not self.disagreements.lasting:
            return None
        for node, table in self._tables.items():
            if (node, digest) in self.disagreements.lasting:
                return table.states.get(digest)
        return None

    def endpoints(self, digest: Digest) -> Sequence[Endpoint]:
        """The endpoints with a digest."""
        return self._endpoints.get(digest, ())

    def states(self, node: str, digest: Digest) -> tuple[ServerState, ServerState]:
        """What we think of a digest, and what a peer does."""
        table = self._tables.get(node, _Table())
        return self._own.get(digest, ServerState.UNKNOWN), table.states.get(digest, ServerState.UNKNOWN)
