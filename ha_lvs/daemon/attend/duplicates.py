"""Looking for other machines that use our virtual IPs; what counts as one is in `claims`.

Rules that hold here:
* While active, we listen, and ask only for an address to which a claim was heard: whether somebody else uses an address
  is mostly told by themselves (announcements, requests of theirs), and each question is one to the whole link.
* While backup, we ask for every address in turn, and hear who answers.
* All questions together are at most one every `PACE_S`, so that 500 addresses make 10 packets a second. Suspects that
  have not been reported come first.
* A claim with a MAC address of this machine is ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from ha_lvs.daemon.attend.claims import ASK_SUSPECT_EVERY_S, Claims, settle_s
from ha_lvs.daemon.channel import InstanceState
from ha_lvs.errors import PlatformError
from ha_lvs.kernel import links
from ha_lvs.kernel.probing import NeighbourSocket, own_macs
from ha_lvs.model import IPAddress, Role, VirtualIp, VrrpInstance

log = structlog.get_logger()

Report = Callable[[str, IPAddress, bytes], None]
"""Called as report(instance, address, mac of the other machine)."""

PACE_S = 0.1
ASK_EVERY_S = 2.0
"""How often an address is asked for while backup, at most."""
REOPEN_EVERY_S = 1.0
OWN_MACS_FOR_S = 1.0
OWN_LINK_LOCAL_FOR_S = 5.0
_VIRTUAL_MAC = {4: bytes.fromhex("00005e0001"), 6: bytes.fromhex("00005e0002")}  # RFC 9568 section 7.3

Link = tuple[str, int]  # interface and address family


@dataclass(slots=True)
class _Watched:
    """A virtual IP of an instance."""

    instance: str
    ip: VirtualIp
    claims: Claims
    own_virtual_macs: frozenset[bytes]
    ask_at: float = 0.0


@dataclass(slots=True)
class _Listener:
    """What is open on a link."""

    watched: dict[IPAddress, list[_Watched]] = field(default_factory=dict)
    sock: NeighbourSocket | None = None
    troubles: set[str] = field(default_factory=set)  # that have been logged since a question last went out


class DuplicateDetector:
    """All virtual IPs of this node.

    Arguments:
        instances: whose.
        report: told of each duplicate.
    """

    def __init__(self, instances: Sequence[VrrpInstance], report: Report) -> None:
        self._report = report
        self._states: dict[str, InstanceState] = {}
        self._links: dict[Link, _Listener] = {}
        self._watched: list[_Watched] = []
        for instance in instances:
            virtual_macs = _virtual_macs(instance)
            for ip in instance.virtual_ips:
                watched = _Watched(instance.name, ip, Claims(settle_s(instance.interval_s)), virtual_macs)
                link = self._links.setdefault((ip.interface, ip.address.version), _Listener())
                link.watched.setdefault(ip.address, []).append(watched)
                self._watched.append(watched)
        self._macs: tuple[float, frozenset[bytes]] = (0.0, frozenset())
        self._link_locals: dict[str, tuple[float, IPAddress | None]] = {}
        self._ask_every_s = max(ASK_EVERY_S, PACE_S * len(self._watched))
        self._wake = asyncio.Event()

    def heard(self, state: InstanceState) -> None:
        """Takes in where an instance stands."""
        before = self._states.get(state.instance)
        self._states[state.instance] = state
        if before is None or before.role is not state.role:
            for watched in self._watched:
                if watched.instance == state.instance:
                    watched.claims.forget()
                    watched.ask_at = 0.0
            self._wake.set()

    async def run(self) -> None:
        """Listens and asks until cancelled."""
        loop = asyncio.get_running_loop()
        opening = loop.create_task(self._keep_open())
        try:
            while True:
                now = loop.time()
                next_one = self._next(now)
                if next_one is not None and next_one.ask_at <= now:
                    self._ask(next_one, now)
                    await asyncio.sleep(PACE_S)
                    continue
                self._wake.clear()
                wait_s = None if next_one is None else next_one.ask_at - now
                await _wait(self._wake, wait_s)
        finally:
            opening.cancel()
            for key in self._links:
                self._close(key)

    # ------------------------------------------------------------------------------------------- asking

    def _next(self, now: float) -> _Watched | None:
        """Whom to ask for next, maybe later; None when there is nobody."""
        best: _Watched | None = None
        best_key: tuple[bool, float] | None = None
        # Among suspects the longest suspected one: a few that are asked again and again come to a verdict, whereas many
        # that are asked in turn never would.
        for watched in self._watched:
            suspected = watched.claims.suspected(now)
            if not suspected and self._role(watched) is not Role.BACKUP:
                continue
            urgent = suspected and not watched.claims.reported(now) and watched.ask_at <= now
            key = not urgent, (watched.claims.since or 0.0) if urgent else watched.ask_at
            if best_key is None or key < best_key:
                best, best_key = watched, key
        return best

    def _ask(self, watched: _Watched, now: float) -> None:
        suspected = watched.claims.suspected(now) and not watched.claims.reported(now)
        watched.ask_at = now + (ASK_SUSPECT_EVERY_S if suspected else self._ask_every_s)
        key = watched.ip.interface, watched.ip.address.version
        sock = self._links[key].sock
        if sock is None:
            return
        try:
            source = self._link_local(watched.ip.interface, now) if watched.ip.address.version == 6 else None
            sock.ask(watched.ip.address, source)
            self._links[key].troubles.clear()
        except (PlatformError, OSError) as problem:
            self._failed(key, str(problem))

    def _link_local(self, interface: str, now: float) -> IPAddress | None:
        until, found = self._link_locals.get(interface, (now, None))
        if until <= now:
            found = links.link_local(interface)
            self._link_locals[interface] = now + OWN_LINK_LOCAL_FOR_S, found
        return found

    def _role(self, watched: _Watched) -> Role:
        state = self._states.get(watched.instance)
        return Role.INITIALIZE if state is None else state.role

    # ---------------------------------------------------------------------------------------- listening

    async def _keep_open(self) -> None:
        """Opens what is not open: an interface may come later, or be made anew."""
        while True:
            for (interface, family), link in self._links.items():
                try:
                    if link.sock is not None and link.sock.index != links.index_of(interface):
                        self._close((interface, family))
                    if link.sock is None:
                        link.sock = NeighbourSocket(interface, family, link.watched)
                        loop = asyncio.get_running_loop()
                        loop.add_reader(link.sock.fileno(), self._read, (interface, family))
                except (PlatformError, OSError) as problem:
                    self._failed((interface, family), str(problem))
            await asyncio.sleep(REOPEN_EVERY_S)

    def _read(self, key: Link) -> None:
        link = self._links[key]
        if link.sock is None:
            return
        now = asyncio.get_running_loop().time()
        try:
            claims = link.sock.receive()
        except OSError as problem:
            self._failed(key, str(problem))
            return
        for claim in claims:
            if not self._is_ours(claim.mac, now):
                for watched in link.watched.get(claim.address, ()):
                    self._claimed(watched, claim.mac, now)

    def _claimed(self, watched: _Watched, mac: bytes, now: float) -> None:
        role, state = self._role(watched), self._states.get(watched.instance)
        if state is None or role is Role.INITIALIZE or mac in watched.own_virtual_macs:
            return
        alone = role is Role.ACTIVE or not state.peer
        was_suspected = watched.claims.suspected(now)
        found = watched.claims.heard(mac, now, 1 if alone else 2)
        if found is not None:
            self._report(watched.instance, watched.ip.address, found)
        if watched.claims.suspected(now) and not was_suspected:
            watched.ask_at = min(watched.ask_at, now + ASK_SUSPECT_EVERY_S) if watched.ask_at > now else now
            self._wake.set()

    def _is_ours(self, mac: bytes, now: float) -> bool:
        until, known = self._macs
        if mac in known:
            return True
        if until > now:
            return False
        self._macs = now + OWN_MACS_FOR_S, own_macs()
        return mac in self._macs[1]

    def _failed(self, key: Link, detail: str) -> None:
        self._close(key)
        if detail not in self._links[key].troubles:
            self._links[key].troubles.add(detail)
            log.error("link cannot be probed", interface=key[0], detail=detail)

    def _close(self, key: Link) -> None:
        link = self._links[key]
        if link.sock is not None:
            asyncio.get_running_loop().remove_reader(link.sock.fileno())
            link.sock.close()
            link.sock = None


def _virtual_macs(instance: VrrpInstance) -> frozenset[bytes]:
    """The MAC addresses that move with the virtual router, where it uses them: the peer's are the same."""
    if not any(ip.mac_vlan for ip in instance.virtual_ips):
        return frozenset()
    return frozenset(prefix + bytes((path.router_id,)) for path in instance.paths for prefix in _VIRTUAL_MAC.values())


async def _wait(event: asyncio.Event, limit_s: float | None) -> None:
    try:
        await asyncio.wait_for(event.wait(), limit_s)
    except TimeoutError:
        return
