"""The paths of one VRRP instance at work: what goes out on all of them, and what of the incoming may be believed.

Rules that hold here:
* A packet is looked at from the outside in: router id, wire format, authentication, sender. What fails is counted by
  its cause and complained of now and then; it reaches no decision.
* Our own packets, which another elector of this machine may have sent a moment ago, are passed over in silence.
* A path that fails, or whose interface is gone, does not keep the others from working.
"""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from ha_lvs.election.events import Heard
from ha_lvs.errors import PlatformError, WireError
from ha_lvs.kernel.adverts import AdvertSocket
from ha_lvs.model import IPAddress, VrrpInstance, VrrpPath
from ha_lvs.wire import vrrp
from ha_lvs.wire.auth import Signer, Verdict, Verifier

Complain = Callable[..., None]
"""Called as complain(level, event, detail, key=...)."""

PACKETS_PER_TURN = 4096  # more than the receive buffer holds: a late loop must see the newest before its timers
_REFUSED = {
    Verdict.MISSING: "carries no authentication; is `authentication` in the other director's config?",
    Verdict.UNKNOWN_KEY: "is signed with a key that is not in our config",
    Verdict.WRONG: "is signed with another secret under the same key id",
    Verdict.REPLAYED: "is a replay, or its sender's clock was set back or is more than ten minutes behind ours",
}


class Paths:
    """Every path of an instance, with its socket.

    Arguments:
        config: whose.
        signer: signs what is sent, or None.
        verifier: judges what is heard, or None; shared by all instances, since a counter is good for once anywhere.
        counter: gives the counter of the next signature.
        complain: where to report what recurs.

    Errors: PlatformError when an interface is missing or a socket is not allowed.
    """

    def __init__(
        self,
        config: VrrpInstance,
        signer: Signer | None,
        verifier: Verifier | None,
        counter: Callable[[], int],
        complain: Complain,
    ) -> None:
        self._config = config
        self._signer = signer
        self._verifier = verifier
        self._counter = counter
        self._complain = complain
        self._discovered: tuple[IPAddress, ...] = ()
        self.dropped: Counter[str] = Counter()
        self.sockets = open_paths(config, signer, counter)
        for sock in self.sockets:
            sock.prepare(config.priority)

    @property
    def sources(self) -> tuple[IPAddress, ...]:
        """Our addresses on the paths, its own path's first."""
        return tuple(sock.source for sock in self.sockets)

    def send(self, priority: int) -> None:
        """Advertises on every path; what fails is complained of."""
        for at, sock in enumerate(self.sockets):
            try:
                sock.send(priority)
            except OSError as problem:
                where = sock.path.interface
                self._complain("error", "advertisement not sent", f"{where}: {_reason(problem)}", key=where)
                if problem.errno in (errno.ENODEV, errno.ENXIO):
                    self._reopen(at)

    def read(self, *, quietly: bool = False) -> Iterator[Heard]:
        """What has arrived and may be believed, path by path, oldest first.

        Arguments:
            quietly: pass over replays without a word: another elector of this machine has read them before.
        """
        for sock in tuple(self.sockets):
            for _ in range(PACKETS_PER_TURN):
                try:
                    datagram = sock.receive()
                except OSError as problem:
                    where = sock.path.interface
                    self._complain("error", "cannot receive advertisements", f"{where}: {_reason(problem)}", key=where)
                    break
                if datagram is None:
                    break
                heard = self._judge(sock, datagram, quietly)
                if heard is not None:
                    yield heard

    def set_peers(self, peers: tuple[IPAddress, ...]) -> None:
        """Lets discovered directors be unicast peers of the paths that want them."""
        self._discovered = peers
        for sock in self.sockets:
            if sock.path.discover:
                sock.set_peers(self._peers_of(sock.path))

    def renew(self, interface: str) -> None:
        """Takes new sockets where an interface was deleted and made anew: the old ones hear nothing any more."""
        for at, sock in enumerate(tuple(self.sockets)):
            if sock.path.interface == interface and sock.is_stale():
                self._reopen(at)

    def close(self) -> None:
        """Closes the sockets; nothing is sent."""
        for sock in self.sockets:
            sock.close()

    def _judge(self, sock: AdvertSocket, datagram: vrrp.Datagram, quietly: bool) -> Heard | None:
        path = sock.path
        if vrrp.router_id_of(datagram.payload) != path.router_id or datagram.source == sock.source:
            return None  # another virtual router's, perhaps of another version, or our own
        try:
            advertisement = vrrp.decode(datagram, path.min_ttl)
        except WireError as problem:
            self._drop(problem.reason, str(problem))
            return None
        if advertisement.version != path.version:
            detail = f"version {advertisement.version} from {datagram.source}, configured is {path.version}"
            self._drop("version", detail)
            return None
        if self._verifier is not None and self._config.authentication is not None:
            verdict = self._verifier.check(datagram, advertisement.trailer, time.time_ns())
            if verdict is Verdict.REPLAYED and quietly:
                return None
            if verdict is not Verdict.VALID:
                self.dropped["authentication " + verdict.name.lower()] += 1
                detail = f"the one from {datagram.source} {_REFUSED[verdict]}"
                if self._config.authentication.enforce:
                    self._complain("warning", "advertisement not authentic", detail, key=verdict.name)
                    return None
                self._complain("notice", "advertisement obeyed without authentication", detail, key=verdict.name)
        known = (*path.peers, *self._peers_of(path))
        if (path.peers or path.discover) and datagram.source not in known:
            self._drop("stranger", f"{datagram.source} is none of the unicast peers")
            return None
        self._compare(path, datagram.source, advertisement)
        return Heard(datagram.source, advertisement.priority, advertisement.interval_cs / 100, sock.source)

    def _compare(self, path: VrrpPath, source: IPAddress, advertisement: vrrp.Advertisement) -> None:
        """Complains of what the two ends should have in common."""
        if set(advertisement.addresses) != set(path.addresses):
            theirs = words(advertisement.addresses)
            self._complain("warning", "virtual IPs differ", f"{source} advertises {theirs}", key="addresses")
        interval_s = advertisement.interval_cs / 100
        if interval_s != self._config.interval_s:
            self._complain("warning", "advertisement intervals differ", f"{source} sends every {interval_s} s")

    def _drop(self, cause: str, detail: str) -> None:
        self.dropped[cause] += 1
        self._complain("warning", "advertisement dropped", detail, key=cause)

    def _peers_of(self, path: VrrpPath) -> tuple[IPAddress, ...]:
        family = path.group.version
        return tuple(peer for peer in self._discovered if path.discover and peer.version == family)

    def _reopen(self, at: int) -> None:
        """The interface was deleted, and perhaps made anew under its name: a socket for the new one."""
        old = self.sockets[at]
        try:
            fresh = AdvertSocket(old.path, self._config.interval_s, self._signer, self._counter)
        except (PlatformError, OSError):
            return
        if old.path.discover:
            fresh.set_peers(self._peers_of(old.path))
        old.close()
        self.sockets[at] = fresh


def open_paths(
    config: VrrpInstance, signer: Signer | None, counter: Callable[[], int], *, listen: bool = True
) -> list[AdvertSocket]:
    """A socket for each path of an instance, its own path's first.

    Arguments:
        listen: False for sockets that only ever send.

    Errors: PlatformError when an interface is missing or a socket is not allowed.
    """
    opened: list[AdvertSocket] = []
    try:
        for path in config.paths:
            opened.append(AdvertSocket(path, config.interval_s, signer, counter, listen=listen))  # noqa: PERF401  # closed below when one fails
    except BaseException:
        for sock in opened:
            sock.close()
        raise
    return opened


def words(addresses: Sequence[IPAddress]) -> str:
    """Addresses for people, sorted."""
    ordered = sorted(set(addresses), key=lambda address: (address.version, int(address)))
    return ", ".join(map(str, ordered))


def _reason(problem: OSError) -> str:
    return os.strerror(problem.errno) if problem.errno else str(problem)
