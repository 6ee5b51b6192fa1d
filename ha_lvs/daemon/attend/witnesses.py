"""Witnesses: third parties that are asked all the time whether they see us.

Rules that hold here:
* Each is asked every `interval_s`, whatever the role, so that a promotion waits for nothing. `fall` questions in a row
  without an answer, and it is not seen; the first answer, and it is.
* Only an answer of that very address counts, and of ARP only one that was given to us.
* The question comes from an address of the interface's own, never from a virtual IP.
* Time in which we did not run is no silence of theirs: a look that comes late reads what has arrived, and judges
  nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable

import structlog

from ha_lvs.errors import PlatformError
from ha_lvs.health.verdict import UNKNOWN, Verdict, judge
from ha_lvs.kernel import links
from ha_lvs.kernel.probing import EchoSocket, NeighbourSocket, source_for
from ha_lvs.model import Check, CheckType, IPAddress, ServerState, Witnesses

log = structlog.get_logger()

Tell = Callable[[str, IPAddress, bool], None]
"""Called as tell(instance, witness, seen) after each judgement."""

OWN_ADDRESS_FOR_S = 5.0
"""For how long an address of our own is believed to be there."""
LATE_SHARE = 0.5
"""A look that is late by more than this share of the interval judges nothing."""


class WitnessProber:
    """The witnesses of one instance.

    Arguments:
        instance: its name.
        witnesses: whom to ask, where, how.
        never: addresses that are no source for a question: virtual IPs.
        tell: told whether a witness is seen.
    """

    def __init__(self, instance: str, witnesses: Witnesses, never: Collection[IPAddress], tell: Tell) -> None:
        self._instance = instance
        self._witnesses = witnesses
        self._never = frozenset(never)
        self._tell = tell
        self._check = Check(CheckType.NONE, rise=1, fall=witnesses.fall)
        self._verdicts: dict[IPAddress, Verdict] = dict.fromkeys(witnesses.addresses, UNKNOWN)
        self._answered: set[IPAddress] = set()
        self._sockets: dict[int, NeighbourSocket | EchoSocket] = {}
        self._sources: dict[IPAddress, tuple[float, IPAddress | None]] = {}
        self._troubles: dict[IPAddress | int, str] = {}  # by witness, or by family of a socket

    async def run(self) -> None:
        """Asks until cancelled."""
        addresses = self._witnesses.addresses
        try:
            async with asyncio.TaskGroup() as group:
                for index, address in enumerate(addresses):
                    offset_s = self._witnesses.interval_s * index / len(addresses)
                    group.create_task(self._ask_again_and_again(address, offset_s))
        finally:
            for family in list(self._sockets):
                self._close(family)

    async def _ask_again_and_again(self, address: IPAddress, offset_s: float) -> None:
        loop = asyncio.get_running_loop()
        interval_s = self._witnesses.interval_s
        due = loop.time() + offset_s
        asked = False
        while True:
            await asyncio.sleep(due - loop.time())
            late = loop.time() - due > interval_s * LATE_SHARE
            if asked:
                self._read(address.version)  # what has come is heard before silence is judged
                if address not in self._answered and not late:
                    self._judge(address, seen=False)
            self._answered.discard(address)
            self._ask(address)
            asked = True
            due = loop.time() + interval_s if late else due + interval_s

    def _ask(self, address: IPAddress) -> None:
        family = address.version
        try:
            sock = self._sockets.get(family)
            if sock is None or sock.index != links.index_of(self._witnesses.interface):  # it was made anew
                sock = self._open(family)
            sock.ask(address, self._source(address))
        except (PlatformError, OSError) as problem:
            self._sources.pop(address, None)
            self._close(family)
            self._in_trouble(address, str(problem))
        else:
            self._troubles.pop(address, None)
            self._troubles.pop(family, None)

    def _open(self, family: int) -> NeighbourSocket | EchoSocket:
        self._close(family)
        interface = self._witnesses.interface
        sock: NeighbourSocket | EchoSocket
        if self._witnesses.method == "icmp":
            sock = EchoSocket(interface, family)
        else:
            of_family = [each for each in self._witnesses.addresses if each.version == family]
            sock = NeighbourSocket(interface, family, of_family)
        self._sockets[family] = sock
        asyncio.get_running_loop().add_reader(sock.fileno(), self._read, family)
        return sock

    def _close(self, family: int) -> None:
        sock = self._sockets.pop(family, None)
        if sock is not None:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()

    def _source(self, address: IPAddress) -> IPAddress | None:
        now = asyncio.get_running_loop().time()
        until, source = self._sources.get(address, (now, None))
        if until <= now:
            if address.version == 6 and self._witnesses.method != "icmp":
                source = links.link_local(self._witnesses.interface)
            else:
                source = source_for(address, self._witnesses.interface, self._never)
            self._sources[address] = now + OWN_ADDRESS_FOR_S, source
        return source

    def _read(self, family: int) -> None:
        sock = self._sockets.get(family)
        if sock is None:
            return
        try:
            answers: Iterable[IPAddress] = [claim.address for claim in sock.receive() if claim.answer]
        except OSError as problem:
            self._close(family)
            self._in_trouble(family, str(problem))
            return
        for address in answers:
            if address in self._verdicts:
                self._answered.add(address)
                self._judge(address, seen=True)

    def _judge(self, address: IPAddress, *, seen: bool) -> None:
        self._verdicts[address], _ = judge(self._verdicts[address], self._check, seen, "")
        self._tell(self._instance, address, self._verdicts[address].state is ServerState.UP)

    def _in_trouble(self, what: IPAddress | int, detail: str) -> None:
        """Logs why somebody cannot be asked, when the reason is a new one."""
        if detail not in self._troubles.values():
            log.error("link cannot be probed", interface=self._witnesses.interface, detail=detail)
        self._troubles[what] = detail
