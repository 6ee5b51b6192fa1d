"""Ten thousand servers: whether their probes start on time, and what that costs. On the running kernel, without IPVS.

The processes are the real probers, one for each processor; this side stands in for their director and guardian.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path

from rich.console import Console

from ha_lvs.daemon.channel import Channel, Hello, ProberState, Stop, WatchEndpoints, pair
from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.servers import PORT
from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.model import Check, CheckType, Endpoint
from tests.bench.figures import Figure, absolute
from tests.bench.usage import cpu_s

GROUP = "health"
SERVERS = 10_000
NETWORK = "10.30"
SETTLE_S, WINDOW_S = 5.0, 20.0
CHUNK = 200


def stand_for_many(lab: Lab) -> None:
    """Has the one real server answer for a whole network, so that thousands of servers need no neighbour each."""
    server = lab.host("s1")
    server.ip(f"route add local {NETWORK}.0.0/16 dev lo")
    lab.host("lb1").ip(f"route add {NETWORK}.0.0/16 via {server.address}")
    lab.server("s1").start()


def address(number: int) -> str:
    """Of one of those."""
    return f"{NETWORK}.{number // 200}.{number % 200 + 1}"


def figures(repetitions: int, console: Console) -> Iterator[Figure]:
    """How late probes start with one prober for each processor, and what they take of the processors."""
    p50: list[float] = []
    p99: list[float] = []
    cpu: list[float] = []
    shards = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as directory, Lab("bscale", Path(directory), clients=0, servers=1) as lab:
        stand_for_many(lab)
        for number in range(repetitions):
            with probing(lab.host("lb1"), shards) as probers:
                time.sleep(SETTLE_S)
                probers.take()
                used = probers.cpu_s()
                time.sleep(WINDOW_S)
                states = probers.take()
                p50.append(max(each.late_p50_ms for each in states))
                p99.append(max(each.late_p99_ms for each in states))
                cpu.append(100 * (probers.cpu_s() - used) / WINDOW_S)
            console.print(
                f"  {number + 1}: late p50 {p50[-1]:.1f} ms, p99 {p99[-1]:.1f} ms, processors {cpu[-1]:.0f} %"
            )
    what = f"{SERVERS} servers, TCP at 1 s, {shards} probers"
    yield absolute(GROUP, f"{what}: lateness of a probe, p50", p50, None, "ms")
    yield absolute(GROUP, f"{what}: lateness of a probe, p99", p99, 100.0, "ms")
    yield absolute(GROUP, f"{what}: processor time of all of them", cpu, None, "% of one")


class Probers:
    """Started probers, seen from their director's side."""

    def __init__(self, processes: list[subprocess.Popen[bytes]], channels: list[Channel]) -> None:
        self._processes = processes
        self._channels = channels

    def take(self) -> list[ProberState]:
        """The last word of each about itself; waits until each has said something new."""
        for channel in self._channels:
            channel.receive()
        found: dict[int, ProberState] = {}

        def told() -> bool:
            for number, channel in enumerate(self._channels):
                for frame in channel.receive():
                    if isinstance(frame, ProberState):
                        found[number] = frame
            return len(found) == len(self._channels)

        wait_for(told, 30, "each prober to tell how it is", every_s=0.1)
        return list(found.values())

    def cpu_s(self) -> float:
        """Processor time of all of them so far."""
        return sum(cpu_s(process.pid) for process in self._processes)


@contextmanager
def probing(host: Host, shards: int) -> Iterator[Probers]:
    """Probers that share the servers among them."""
    check = Check(CheckType.TCP, 1.0, 0.9, rise=1, fall=2)
    endpoints = [Endpoint(IPv4Address(address(number)), PORT, check) for number in range(SERVERS)]
    with ExitStack() as stack:
        processes: list[subprocess.Popen[bytes]] = []
        directors: list[Channel] = []
        guardians: list[Channel] = []
        for shard in range(shards):
            guardian, director = pair(), pair()
            fds = (guardian[1].fileno(), director[1].fileno())
            command = [sys.executable, "-m", "ha_lvs.daemon.prober", "--guardian-fd", str(fds[0])]
            process = host.popen([*command, "--director-fd", str(fds[1])], pass_fds=fds)
            stack.callback(process.wait)
            for ours, theirs in (guardian, director):
                theirs.close()
                stack.callback(ours.close)
            processes.append(process)
            guardians.append(Channel(guardian[0]))
            directors.append(Channel(director[0]))
            _watch(directors[-1], endpoints[shard::shards])
        try:
            yield Probers(processes, directors)
        finally:
            for channel in guardians:
                channel.send(Stop())


def _watch(channel: Channel, endpoints: list[Endpoint]) -> None:
    wait_for(lambda: any(isinstance(frame, Hello) for frame in channel.receive()), 30, "a prober to say hello")
    for at in range(0, len(endpoints), CHUNK):
        frame = WatchEndpoints(tuple(endpoints[at : at + CHUNK]))
        wait_for(lambda frame=frame: channel.send(frame), 30, "a prober to read")  # type: ignore[misc]
