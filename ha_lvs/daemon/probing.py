"""The probers, as the director process uses them: who probes what, and whose verdicts are stale.

Rules that hold here:
* Each endpoint is one prober's (`plan.sharding`). One that was started anew is told of its share again, with what is
  known of it: what serves, and what was down.
* A prober says `Alive` each second. One of which nothing was heard for `SILENT_S` is silent: its verdicts stay, and are
  stale, until it is heard again. To kill it is the guardian's business, who has more patience.
* What the predecessor of a new prober has said is stale until the new one has said something of the endpoint.
* A loop that was late itself finds nobody silent: what came meanwhile is to be read first.
* What a full channel does not take waits for `catch_up`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from ha_lvs.daemon.channel import Channel, ForgetEndpoints, Hello, ProberState, Suspect, WatchEndpoints
from ha_lvs.model import Endpoint, ServerState
from ha_lvs.plan.sharding import shard

log = structlog.get_logger()

ENDPOINTS_PER_FRAME = 50
SILENT_S = 5.0
LOOK_EVERY_S = 1.0
LATE_S = 1.0
NO_FIGURES = ProberState(0, 0.0, 0.0)

Known = Mapping[Endpoint, ServerState]
"""What is to be probed, with what is known of it: up for what serves, unknown for what does not and may be brought in
by the first success."""


@dataclass(slots=True)
class _Prober:
    """One of them, as far as the director knows.

    Arguments:
        heard_at: when something came from it last, in monotonic seconds; None before the first.
        silent: whether it is.
        since_s: wall clock (seconds since the epoch) of the last time that it fell silent, or spoke again.
        inherited: endpoints of which only its predecessor has said something.
        unsent: what the channel did not take.
        endpoints: how many it has to probe.
        figures: what it said last of itself.
    """

    name: str
    channel: Channel
    heard_at: float | None = None
    silent: bool = False
    since_s: float = field(default_factory=time.time)
    inherited: set[Endpoint] = field(default_factory=set)
    unsent: list[WatchEndpoints | ForgetEndpoints] = field(default_factory=list)
    endpoints: int = 0
    figures: ProberState = NO_FIGURES

    def catch_up(self) -> None:
        sent = 0
        for frame in self.unsent:
            if not self.channel.send(frame):
                break
            sent += 1
        del self.unsent[:sent]


class Probing:
    """The probers.

    Arguments:
        channels: to them by their names, in the order in which endpoints are numbered.
        known: everything that is to be probed.
        verdicts: the endpoints of which a prober has told.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        channels: Mapping[str, Channel],
        known: Callable[[], Known],
        verdicts: Callable[[], Mapping[Endpoint, Any]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._probers = [_Prober(name, channel) for name, channel in channels.items()]
        self._by_name = {each.name: each for each in self._probers}
        self._known = known
        self._verdicts = verdicts
        self._clock = clock
        self._looked_at = clock()

    def start(self) -> None:
        """Asks for what they know, and tells them what to probe."""
        for each in self._probers:
            each.channel.send(Hello())
            each.endpoints = 0  # one that was heard already has been told of its share
        self.watch(self._known())

    # ------------------------------------------------------------------------------------- what they do

    def watch(self, known: Known) -> None:
        """Has more probed; what is probed already goes on as it is."""
        for prober, share in zip(self._probers, self._shares(known), strict=True):
            prober.endpoints += len(share)
            self._tell(prober, {each: known[each] for each in share})

    def serves(self, endpoints: Sequence[Endpoint]) -> None:
        """These get traffic by now, though their probers have told nothing yet."""
        for prober, share in zip(self._probers, self._shares(endpoints), strict=True):
            self._tell(prober, dict.fromkeys(share, ServerState.UP))

    def forget(self, endpoints: Sequence[Endpoint]) -> None:
        """Has less probed."""
        for prober, share in zip(self._probers, self._shares(endpoints), strict=True):
            prober.endpoints -= len(share)
            prober.inherited.difference_update(share)
            prober.unsent += (ForgetEndpoints(tuple(some)) for some in _in_frames(share))
            prober.catch_up()

    def hurry(self, endpoints: Sequence[Endpoint]) -> None:
        """Has these probed now. What is lost of it is made good by whoever asks again, or by the interval."""
        for prober, share in zip(self._probers, self._shares(endpoints), strict=True):
            for some in _in_frames(share):
                prober.channel.send(Suspect(tuple(some)))

    def catch_up(self) -> None:
        """Sends what a channel did not take before."""
        for each in self._probers:
            each.catch_up()

    def _tell(self, prober: _Prober, known: Known) -> None:
        for state in (ServerState.UP, ServerState.UNKNOWN, ServerState.DOWN):
            alike = [endpoint for endpoint, found in known.items() if found is state]
            serving, down = state is ServerState.UP, state is ServerState.DOWN
            prober.unsent += (WatchEndpoints(tuple(some), serving, down) for some in _in_frames(alike))
        prober.catch_up()

    def _shares(self, endpoints: Iterable[Endpoint]) -> list[list[Endpoint]]:
        count = len(self._probers)
        shares: list[list[Endpoint]] = [[] for _ in self._probers]
        for each in endpoints:
            shares[shard(each, count)].append(each)
        return shares

    # --------------------------------------------------------------------------------- what they have said

    def heard(self, name: str, figures: ProberState | None = None) -> None:
        """Something has come from a prober, perhaps its figures."""
        prober = self._by_name[name]
        prober.figures = figures or prober.figures
        if prober.heard_at is None:
            prober.since_s = time.time()
        prober.heard_at = self._clock()
        if prober.silent:
            prober.silent, prober.since_s = False, time.time()
            log.notice("prober is back", process=name)

    def started(self, name: str) -> None:
        """A prober was started anew: tells it what to probe."""
        prober = self._by_name[name]
        known = self._known()
        share = self._shares(known)[self._probers.index(prober)]
        verdicts = self._verdicts()
        prober.inherited = {each for each in share if each in verdicts}
        prober.unsent.clear()
        prober.endpoints = len(share)
        self._tell(prober, {each: known[each] for each in share})

    def told(self, name: str, endpoint: Endpoint) -> None:
        """A prober has told of an endpoint."""
        self._by_name[name].inherited.discard(endpoint)

    def look(self) -> None:
        """Finds out who is silent; to be called every `LOOK_EVERY_S`."""
        now = self._clock()
        late = now - self._looked_at > LOOK_EVERY_S + LATE_S
        self._looked_at = now
        for each in self._probers:
            if each.heard_at is None or each.silent:
                continue
            if late:
                each.heard_at = now
            elif now - each.heard_at > SILENT_S:
                each.silent, each.since_s = True, time.time()
                silent_s = round(now - each.heard_at, 1)
                log.warning(
                    "prober is silent; verdicts are stale",
                    process=each.name,
                    silent_s=silent_s,
                    endpoints=each.endpoints,
                )

    def is_stale(self, endpoint: Endpoint) -> bool:
        """Whether what is known of an endpoint may have changed without anybody noticing."""
        if not any(each.silent or each.inherited for each in self._probers):
            return False
        prober = self._probers[shard(endpoint, len(self._probers))]
        return prober.silent or endpoint in prober.inherited

    def status(self) -> list[dict[str, Any]]:
        """The `probers` of `ha-lvs status --json`."""
        return [
            {
                "name": each.name,
                "alive": each.heard_at is not None and not each.silent,
                "stale": each.silent or bool(each.inherited),
                "since": datetime.fromtimestamp(each.since_s, UTC).isoformat(),
                "endpoints": each.endpoints,
                "probes": each.figures.probes,
                "late_p50_ms": each.figures.late_p50_ms,
                "late_p99_ms": each.figures.late_p99_ms,
            }
            for each in self._probers
        ]


def _in_frames(endpoints: Sequence[Endpoint]) -> Iterator[Sequence[Endpoint]]:
    """Some at a time, as they fit into a frame."""
    return (endpoints[at : at + ENDPOINTS_PER_FRAME] for at in range(0, len(endpoints), ENDPOINTS_PER_FRAME))
