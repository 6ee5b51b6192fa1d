"""What tests of probes in the lab share: an engine on a host, servers that listen, and a look at what was sent."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.health.probes import Engine
from ha_lvs.health.verdict import Verdict
from ha_lvs.model import Endpoint, ServerState
from ha_lvs.wire import tcp

DEADLINE_S = 30.0
ETH_P_ALL = 3
SYN_RECV = "03"


class Watch:
    """An engine on a host, with a record of what it reported."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.reports: list[tuple[Endpoint, Verdict]] = []
        with host.inside():
            self.engine = Engine(lambda endpoint, verdict, _: self.reports.append((endpoint, verdict)), time.monotonic)

    def run_until(self, condition: Callable[[], object], what: str) -> None:
        """Probes until something holds."""
        deadline = time.monotonic() + DEADLINE_S * PACE
        with self._host.inside():
            while not condition():
                assert time.monotonic() < deadline, f"{what} did not come about; {list(map(self.standing, self.all()))}"
                self.engine.run_once(0.1)

    def run_for(self, probes: int) -> None:
        """Probes until so many probes more have been begun of every endpoint."""
        before = {endpoint: self.began(endpoint) for endpoint in self.all()}
        seen: dict[Endpoint, set[float]] = {endpoint: set() for endpoint in before}

        def enough() -> bool:
            for endpoint, found in seen.items():
                found.add(self.began(endpoint))
            return all(len(found - {before[endpoint]}) >= probes for endpoint, found in seen.items())

        self.run_until(enough, f"{probes} probes")

    def all(self) -> list[Endpoint]:
        return list(self.engine.endpoints())

    def began(self, endpoint: Endpoint) -> float:
        return self.engine._probes[endpoint].started

    def standing(self, endpoint: Endpoint) -> Verdict:
        standing = self.engine.standing(endpoint)
        assert standing is not None
        return standing[0]

    def add(self, *endpoints: Endpoint) -> None:
        for endpoint in endpoints:
            self.engine.add(endpoint)

    def until_state(self, endpoint: Endpoint, state: ServerState) -> str:
        """Probes until an endpoint is in a state; the reason of that."""
        self.run_until(lambda: self.standing(endpoint).state is state, f"{endpoint.address} {state}")
        return self.standing(endpoint).reason

    def first(self, endpoint: Endpoint) -> Verdict:
        """Adds an endpoint and gives the first verdict on it."""
        self.add(endpoint)
        self.run_until(lambda: self.standing(endpoint).state is not ServerState.UNKNOWN, "a verdict")
        return self.standing(endpoint)

    def close(self) -> None:
        self.engine.close()


@contextlib.contextmanager
def listening(host: Host, address: str, port: int = 80) -> Iterator[socket.socket]:
    """A server that listens and never accepts: its kernel answers."""
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    with host.inside():
        sock = socket.create_server((address, port), family=family, backlog=512)
    with sock:
        yield sock


@contextlib.contextmanager
def holding(host: Host, address: str, interface: str = "e0") -> Iterator[None]:
    """A host has a virtual IP, as a director has it or, on its loopback, a real server."""
    what = f"{address}/{ip_address(address).max_prefixlen} dev {interface}"
    six = ip_address(address).version == 6
    host.ip(f"addr add {what}" + (" nodad preferred_lft 0" if six else ""))  # never the source of what it sends
    try:
        if six:  # the kernel takes its packets a moment later
            wait_for(lambda: "local" in host.run(["ip", "-6", "route", "get", address]).stdout, 10, f"{address}")
        yield
    finally:
        host.ip(f"addr del {what}")


def half_open_entries(host: Host) -> int:
    """How many connections are half open on a host."""
    count = 0
    for name in ("tcp", "tcp6"):
        with host.inside(), contextlib.suppress(FileNotFoundError):
            rows = Path(f"/proc/thread-self/net/{name}").read_text().splitlines()[1:]
            count += sum(row.split()[3] == SYN_RECV for row in rows)
    return count


class Seen(NamedTuple):
    """A segment on the cable, and whether this host sent it."""

    outgoing: bool
    answer: tcp.Answer


class Sniffer:
    """Sees every TCP segment on a host's cable."""

    def __init__(self, host: Host, interface: str = "e0") -> None:
        with host.inside():
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
            self._sock.bind((interface, ETH_P_ALL))

    def seen(self) -> list[Seen]:
        """What has passed since the last time."""
        found: list[Seen] = []
        while True:
            try:
                packet, (_, _, kind, _, _) = self._sock.recvfrom(2048)
            except BlockingIOError:
                return found
            with contextlib.suppress(Exception):
                found.append(Seen(kind == socket.PACKET_OUTGOING, tcp.decode(packet)))

    def close(self) -> None:
        self._sock.close()
