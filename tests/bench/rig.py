"""The rig of the election's benchmarks: a pair in the native lab, a stream of datagrams through the virtual IP.

Rules that hold here:
* Ours and theirs stand on the same hosts, one after the other, measured by the same stream.
* Before each measurement the pair is settled: lb1 is active and alone holds the address, and has for a while.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ha_lvs.drill.contenders import Contender, prepare
from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.pair_config import INSTANCE, dump, pair_config
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import lasting, wait_for
from ha_lvs.model import Forwarding

ECHO_PORT = 7000
SETTLED_S = 0.5
OURS, THEIRS = "ha-lvs", "keepalived"


def config(interval_ms: int, virtual_ips: list[Any] | None = None, **instance: Any) -> str:
    """The pair's config file.

    Arguments:
        interval_ms: between two advertisements.
        virtual_ips: the usual one by default.
        instance: further keys of the instance.
    """
    content = pair_config(Forwarding.DR, 0, interval_ms)
    if virtual_ips:
        instance["virtual_ips"] = virtual_ips
    content["instances"][INSTANCE].update(instance)
    return dump(content, "of a benchmark")


class Stream:
    """The stream of one datagram a millisecond, which says on request what it has seen since the last time."""

    def __init__(self, client: Host) -> None:
        command = [sys.executable, "-m", "ha_lvs.drill.measure.udp_stream", "--target", f"{VIRTUAL_IP}:{ECHO_PORT}"]
        self._process = client.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def take(self) -> dict[str, Any]:
        """The figures since the last call; counts from nothing again."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()


class Rig:
    """A pair of one contender on a lab, with echoes and a stream.

    Arguments:
        lab: entered already.
        contender: prepared; started and stopped here.
    """

    def __init__(self, lab: Lab, contender: Contender) -> None:
        self.lab = lab
        self.contender = contender

    def holders(self) -> list[str]:
        """Directors that hold the virtual IP now."""
        return [name for name in ("lb1", "lb2") if VIRTUAL_IP in self.lab.host(name).addresses()]

    def settle(self, active: str = "lb1", timeout_s: float = 30.0) -> None:
        """Waits until a director alone is active, and has been for a while."""
        backup = "lb2" if active == "lb1" else "lb1"
        wanted = {active: "active", backup: "backup"}
        directors = self.contender.directors
        wait_for(
            lambda: (
                self.holders() == [active] and {name: director.role() for name, director in directors.items()} == wanted
            ),
            timeout_s,
            f"{active} alone to be active ({self.contender.name})",
            every_s=0.05,
        )
        wait_for(lasting(lambda: self.holders() == [active], SETTLED_S), timeout_s, f"{active} to stay active")

    def measured(self, stream: Stream, what: Any, until: Any, timeout_s: float = 20.0) -> dict[str, Any]:
        """What the stream sees of an event.

        Arguments:
            what: causes it.
            until: a condition that says that it is over; the stream goes on for a moment afterwards.
        """
        stream.take()
        time.sleep(0.1)
        what()
        wait_for(until, timeout_s, "the event to be over")
        time.sleep(0.4)
        return stream.take()


@contextmanager
def rig(lab: Lab, name: str, text: str, directory: Path, environment: Mapping[str, str] | None = None) -> Iterator[Rig]:
    """A started and settled pair; stopped at the end."""
    contender = prepare(name, lab, text, directory, environment or {})
    contender.start()
    try:
        made = Rig(lab, contender)
        made.settle()
        yield made
    finally:
        for director in ("lb1", "lb2"):
            lab.heal(director)
        contender.stop()


def start_echoes(lab: Lab) -> None:
    """An echo at the virtual IP on both directors."""
    for name in ("lb1", "lb2"):
        command = [sys.executable, "-m", "ha_lvs.drill.measure.echo"]
        lab.host(name).popen([*command, "--address", VIRTUAL_IP, "--port", str(ECHO_PORT)])
