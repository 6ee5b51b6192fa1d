"""What the elector is told, and what it has been told: changes only, and everything again when it asks.

What cannot be sent at once (the elector is being restarted) waits, newest state only, and is sent a moment later: late,
never wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

import structlog

from ha_lvs.daemon.channel import Channel, Duplicate, Hello, TrackState, WitnessState
from ha_lvs.model import IPAddress

log = structlog.get_logger()

RESEND_S = 0.1


class States:
    """The states of all that is tracked and of all witnesses.

    Arguments:
        elector: the channel to it.
    """

    def __init__(self, elector: Channel) -> None:
        self._elector = elector
        self._tracks: dict[str, TrackState] = {}
        self._witnesses: dict[tuple[str, IPAddress], WitnessState] = {}
        self._unsent: dict[Hashable, object] = {}
        self._again: asyncio.TimerHandle | None = None

    def track(self, name: str, up: bool, detail: str) -> None:
        """Notes how something tracked is; told if that is new."""
        before = self._tracks.get(name)
        state = self._tracks[name] = TrackState(name, up, detail)
        if before is not None and before.up == up:
            return
        if not up:
            log.warning("tracked thing is down", track=name, detail=detail)
        elif before is not None:
            log.notice("tracked thing is up again", track=name, detail=detail)
        self._send(("track", name), state)

    def witness(self, instance: str, witness: IPAddress, seen: bool) -> None:
        """Notes whether a witness answers; told if that is new."""
        key = instance, witness
        before = self._witnesses.get(key)
        if before is not None and before.seen == seen:
            return
        state = self._witnesses[key] = WitnessState(instance, witness, seen)
        if not seen:
            log.warning("witness not seen", instance=instance, witness=str(witness))
        elif before is not None:
            log.notice("witness seen again", instance=instance, witness=str(witness))
        self._send(("witness", *key), state)

    def duplicate(self, instance: str, address: IPAddress, mac: bytes) -> None:
        """Tells that another machine answers for a virtual IP."""
        self._send(("duplicate", instance, address), Duplicate(instance, address, mac.hex(":")))

    def hello(self) -> None:
        """Asks the elector for its states: we have just started."""
        self._send("hello", Hello())

    def tell_all(self) -> None:
        """Tells everything known: the elector has just started."""
        for track in self._tracks.values():
            self._unsent["track", track.name] = track
        for witness in self._witnesses.values():
            self._unsent["witness", witness.instance, witness.witness] = witness
        self._flush()

    def close(self) -> None:
        """Sends nothing any more."""
        if self._again is not None:
            self._again.cancel()
        self._unsent.clear()

    def _send(self, key: Hashable, frame: object) -> None:
        self._unsent.pop(key, None)  # the newer one stands behind those that came before it
        self._unsent[key] = frame
        self._flush()

    def _flush(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        while self._unsent and not self._elector.closed:
            key = next(iter(self._unsent))
            if not self._elector.send(self._unsent[key]):
                self._again = asyncio.get_running_loop().call_later(RESEND_S, self._flush)
                return
            del self._unsent[key]
