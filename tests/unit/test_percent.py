"""A weight that a check gives, from the program or the file that says it to the destination in IPVS: the prober's
engine, its frame over a real channel, the director's balancer and a simulated kernel.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import cast

import pytest

from ha_lvs.daemon.balancer import Balancer
from ha_lvs.daemon.channel import Channel, EndpointState, WatchEndpoints, pair
from ha_lvs.daemon.prober import Prober
from ha_lvs.kernel.ipvs import Ipvs
from ha_lvs.model import (
    Check,
    CheckType,
    Destination,
    DestinationKey,
    DirectorPart,
    Endpoint,
    ExecCheck,
    Forwarding,
    OnStop,
    Protocol,
    RealServer,
    Service,
    ServiceKey,
    VirtualService,
)
from tests.attendants import own_user, program
from tests.unit.test_balancer_marks import FakeIpvs, FakeTable

ADDRESS = IPv4Address("10.0.0.1")
KEY = ServiceKey(IPv4Address("192.0.2.10"), 80, Protocol.TCP)
DEADLINE_S = 60.0


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory to which every user finds the way."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@dataclass
class Director:
    """A prober and a balancer, with a channel between them."""

    prober: Prober
    channel: Channel
    balancer: Balancer
    kernel: FakeIpvs

    def run_until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, f"{what}: {self.weights()}"
            self.prober._engine.run_once(0.05)
            self.prober._tell()
            for frame in self.channel.receive():
                if isinstance(frame, EndpointState):
                    self.balancer.verdict(frame)
            if self.balancer.touched:
                self.balancer.follow_up()

    def weights(self) -> list[int]:
        """Of the destinations in the kernel; nothing where there is none."""
        entry = self.kernel.state.services.get(KEY)
        return [] if entry is None else [each.weight for each in entry.destinations]


@pytest.fixture
def directing(tmp_path: Path) -> Iterator[Callable[[Check, int], Director]]:
    probers: list[Prober] = []

    def make(check: Check, weight: int) -> Director:
        destination = Destination(DestinationKey(ADDRESS, 80), Forwarding.DR, weight)
        server = RealServer(destination, (Endpoint(ADDRESS, 80, check),))
        service = VirtualService("web", Service(KEY, "wlc"), (server,))
        part = DirectorPart("test", "lb1", "", (), (service,), None, OnStop.REMOVE, 30.0)
        kernel = FakeIpvs()
        balancer = Balancer(part, cast("Ipvs", kernel), tmp_path, lambda: None, FakeTable())
        (guardian, _), (near, far) = pair(), pair()
        prober = Prober(Channel(guardian), Channel(near), time.monotonic)
        probers.append(prober)
        channel = Channel(far)
        channel.send(WatchEndpoints(tuple(balancer.endpoints()), False))
        balancer.reconcile()
        return Director(prober, channel, balancer, kernel)

    yield make
    for prober in probers:
        prober._engine.close()


def test_a_file_weighs_drains_and_takes_out(directing: Callable[[Check, int], Director], tmp_path: Path) -> None:
    path = tmp_path / "weight"
    path.write_text("50")
    director = directing(Check(CheckType.FILE, 0.05, 1.0, rise=1, fall=1, file=str(path)), 20)
    for text, weights in (("50", [10]), ("0", [0]), ("200", [40]), ("", [20]), ("nonsense", []), ("25%", [5])):
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").rename(path)
        director.run_until(lambda weights=weights: director.weights() == weights, f"{text!r} to be {weights}")  # type: ignore[misc]
    path.unlink()
    director.run_until(lambda: director.weights() == [], "it to be out")


def test_a_program_weighs_by_what_it_prints(directing: Callable[[Check, int], Director], place: Path) -> None:
    say = program(place / "say", f"cat {place}/weight")
    (place / "weight").write_text("30")
    what = ExecCheck((str(say),), own_user(), weight=True)
    director = directing(Check(CheckType.EXEC, 0.05, 30.0, rise=1, fall=1, exec=what), 10)
    director.run_until(lambda: director.weights() == [3], "3 of 10")
    (place / "weight").write_text("0\nmore")
    director.run_until(lambda: director.weights() == [0], "it to drain")
    (place / "weight").write_text("much")
    director.run_until(lambda: director.weights() == [], "it to be out")
