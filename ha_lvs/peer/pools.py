"""Whether services that an election depends on are up here, seen beside the peer's pools. Pure.

The rule: a director whose pool is empty while a peer's is not lets the peer serve. Where nobody has a server, nobody is
better, and what is tracked counts as up: a service without servers must not take the addresses of the others away.

Rules that hold here:
* Nothing is said of a service before its servers have been probed, nor before the peers had time to tell of theirs:
  what the elector was told before, perhaps by the process that we replace, holds until then.
* What a peer said holds for a while after its link was lost: its director may only be starting anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ha_lvs.model import Endpoint, ServerState, Track, VirtualService
from ha_lvs.plan.pool import state_of

SERVICE = "service:"
PATIENCE_S = 5.0
"""For how long a peer that is not linked, or has said nothing, is waited for, and what it said still holds."""


@dataclass(slots=True)
class _Told:
    """What a peer has told of its pools: servers up by service; `until` is set while its link is down."""

    pools: dict[str, int]
    until: float | None = None


Judgement = tuple[bool, str]
"""Whether a tracked service counts as up, and why."""


class Pools:
    """Our pools and the peers'.

    Arguments:
        services: of the config.
        tracks: of the instances; those of other kinds are left out.
        now: monotonic seconds of the start.
    """

    def __init__(self, services: Iterable[VirtualService], tracks: Iterable[Track], now: float) -> None:
        self.tracked = tuple(
            dict.fromkeys(each.name.removeprefix(SERVICE) for each in tracks if each.name.startswith(SERVICE))
        )
        self._servers = {each.name: each.servers for each in services}
        self._states: dict[Endpoint, ServerState] = {}
        self._told: dict[str, _Told] = {}
        self._waiting: dict[str, float] = {}  # peers that are linked and have told nothing yet, and since when
        self._said: dict[str, bool] = {}
        self._started = now

    def follow(self, services: Iterable[VirtualService]) -> None:
        """Judges other services from now on; which ones an election depends on stays."""
        self._servers = {each.name: each.servers for each in services}
        needed = self._needed()
        self._states = {endpoint: state for endpoint, state in self._states.items() if endpoint in needed}

    # -------------------------------------------------------------------------------------------- ours

    def verdict(self, endpoint: Endpoint, state: ServerState) -> None:
        """Takes in what a probe has shown."""
        self._states[endpoint] = state

    def unprobed(self, serving: Iterable[Endpoint] = ()) -> int:
        """How many endpoints no probe has told of yet, without those that serve already."""
        return len(self._needed() - self._states.keys() - frozenset(serving))

    def _needed(self) -> set[Endpoint]:
        return {each for servers in self._servers.values() for server in servers for each in server.checks}

    def own(self) -> dict[str, int]:
        """Servers up by tracked service, as far as known."""
        counts = {name: self._up(name) for name in self.tracked}
        return {name: count for name, count in counts.items() if count is not None}

    def _up(self, name: str) -> int | None:
        states = [state_of(each, self._states) for each in self._servers.get(name, ())]
        up = states.count(ServerState.UP)
        return None if not up and ServerState.UNKNOWN in states else up

    # ------------------------------------------------------------------------------------------ theirs

    def peer_linked(self, node: str, now: float) -> None:
        """A peer is there; it will tell soon."""
        self._waiting[node] = now

    def peer_told(self, node: str, pools: Mapping[str, object]) -> None:
        """A peer has told of its pools."""
        counts = {name: count for name, count in pools.items() if isinstance(count, int)}
        self._told[node] = _Told(counts)
        if all(name in counts for name in self.tracked):
            self._waiting.pop(node, None)

    def peer_lost(self, node: str, now: float) -> None:
        """The link to a peer is down."""
        self._waiting.pop(node, None)
        if node in self._told:
            self._told[node].until = now + PATIENCE_S

    # --------------------------------------------------------------------------------------- judgement

    def judge(self, now: float) -> dict[str, Judgement]:
        """What can be said of each tracked service, by name; nothing of those that are not known yet.

        Arguments:
            now: monotonic seconds.
        """
        for node in [node for node, told in self._told.items() if told.until is not None and told.until <= now]:
            del self._told[node]
        found = {name: self._judge(name, now) for name in self.tracked}
        return {name: judgement for name, judgement in found.items() if judgement is not None}

    def changes(self, now: float) -> dict[str, Judgement]:
        """What has come to be up or down since it was asked last. How many servers there are is no change."""
        news = {name: each for name, each in self.judge(now).items() if self._said.get(name) != each[0]}
        self._said |= {name: up for name, (up, _) in news.items()}
        return news

    def _judge(self, name: str, now: float) -> Judgement | None:
        up, total = self._up(name), len(self._servers.get(name, ()))
        if up is None:
            return None
        if up:
            return (True, f"{up} of {total} servers up")
        better = {node: told.pools[name] for node, told in self._told.items() if told.pools.get(name)}
        if better:
            node = max(better, key=lambda each: (better[each], each))
            return (False, f"no server is up here, {better[node]} at {node}")
        if now - self._started < PATIENCE_S and not any(name in told.pools for told in self._told.values()):
            return None
        if any(now - since < PATIENCE_S for since in self._waiting.values()):
            return None
        return (True, "no server is up here, and none is known to be up at a peer")
