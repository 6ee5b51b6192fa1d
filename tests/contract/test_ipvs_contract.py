"""One contract, two kernels: the simulated one that plans are tried on, and the real one.

Each test runs against both; what is marked `ipvs` needs a kernel with IPVS. With HA_LVS_REQUIRE set, a kernel
without it fails them instead of skipping.
"""

from __future__ import annotations

import errno
import random
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol as Interface

import pytest

from ha_lvs.kernel.ipvs import Ipvs
from ha_lvs.model import (
    Destination,
    DestinationKey,
    Forwarding,
    IPAddress,
    Protocol,
    Service,
    ServiceKey,
    SyncDaemon,
    SyncState,
)
from ha_lvs.plan.desired import KernelState, service_entry
from ha_lvs.plan.diff import diff
from ha_lvs.plan.simulate import apply
from ha_lvs.plan.steps import (
    AddDestination,
    AddService,
    DeleteDestination,
    DeleteService,
    SetDestination,
    SetService,
    StartSync,
    Step,
    StepFailure,
    StopSync,
)

WEB = ServiceKey(IPv4Address("192.0.2.10"), 80, Protocol.TCP)
DNS = ServiceKey(IPv4Address("192.0.2.10"), 53, Protocol.UDP)
WEB6 = ServiceKey(IPv6Address("2001:db8::10"), 80, Protocol.TCP)
SIGNAL = ServiceKey(IPv4Address("192.0.2.10"), 5060, Protocol.SCTP)
MASTER = SyncDaemon(SyncState.MASTER, "lo", 7)
BACKUP = SyncDaemon(SyncState.BACKUP, "lo", 9, IPv4Address("224.0.0.90"), 9000, 3)


def server(last: int, weight: int = 1, forwarding: Forwarding = Forwarding.DR) -> Destination:
    return Destination(DestinationKey(IPv4Address(f"10.0.0.{last}"), 80), forwarding, weight)


def server6(last: int, weight: int = 1, forwarding: Forwarding = Forwarding.DR) -> Destination:
    return Destination(DestinationKey(IPv6Address(f"2001:db8:1::{last:x}"), 80), forwarding, weight)


class Kernel(Interface):
    """What a director needs of a kernel."""

    def read(self) -> KernelState: ...

    def apply(self, steps: Sequence[Step]) -> list[StepFailure]: ...


class SimulatedKernel:
    def __init__(self) -> None:
        self._state = KernelState()

    def read(self) -> KernelState:
        return self._state

    def apply(self, steps: Sequence[Step]) -> list[StepFailure]:
        after = apply(steps, self._state)
        self._state = after.state
        return list(after.failures)


@pytest.fixture
def real(namespace: None) -> Iterator[Ipvs]:
    """The real kernel, in a network namespace of its own."""
    with Ipvs() as ipvs:
        yield ipvs


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.ipvs)])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    if request.param == "simulated":
        return SimulatedKernel()
    ipvs: Ipvs = request.getfixturevalue("real")
    return ipvs


def errors(failures: list[StepFailure]) -> list[tuple[Step, int]]:
    return [(failure.step, failure.errno) for failure in failures]


def test_a_new_kernel_is_empty(kernel: Kernel) -> None:
    assert kernel.read() == KernelState()


def test_what_is_made_is_found(kernel: Kernel) -> None:
    wanted = KernelState(
        {
            WEB: service_entry(
                Service(WEB, "wlc", 300),
                [server(1, 5), server(2, 0, Forwarding.NAT), server(3, 65535, Forwarding.TUN)],
            ),
            WEB6: service_entry(
                Service(WEB6, "rr", 60), [server6(1), server6(2, 2, Forwarding.NAT), server6(3, 3, Forwarding.TUN)]
            ),
            DNS: service_entry(Service(DNS, "sh"), [server(1)]),
            SIGNAL: service_entry(Service(SIGNAL, "wrr")),
        },
        frozenset({MASTER, BACKUP}),
    )
    assert kernel.apply(diff(wanted, kernel.read(), frozenset())) == []
    assert kernel.read() == wanted
    assert kernel.apply(diff(KernelState(), wanted, frozenset(wanted.services), sync_owned=True)) == []
    assert kernel.read() == KernelState()


def test_what_is_changed_is_found_changed(kernel: Kernel) -> None:
    kernel.apply([AddService(Service(WEB, "wlc", 300)), AddDestination(WEB, server(1)), AddDestination(WEB, server(2))])
    wanted = KernelState(
        {WEB: service_entry(Service(WEB, "rr"), [server(1, 0), server(2, 4, Forwarding.NAT), server(3)])}
    )
    assert kernel.apply(diff(wanted, kernel.read(), frozenset())) == []
    assert kernel.read() == wanted


def test_each_refusal_has_its_number_and_stops_nothing(kernel: Kernel) -> None:
    kernel.apply([AddService(Service(WEB, "rr")), AddDestination(WEB, server(1)), StartSync(MASTER)])
    refused: list[tuple[Step, int]] = [
        (AddService(Service(WEB, "wlc")), errno.EEXIST),
        (SetService(Service(DNS, "rr")), errno.ESRCH),
        (DeleteService(DNS), errno.ESRCH),
        (AddDestination(DNS, server(1)), errno.ESRCH),
        (SetDestination(DNS, server(1)), errno.ESRCH),
        (DeleteDestination(DNS, server(1).key), errno.ESRCH),
        (AddDestination(WEB, server(1, 9)), errno.EEXIST),
        (SetDestination(WEB, server(2)), errno.ENOENT),
        (DeleteDestination(WEB, server(2).key), errno.ENOENT),
        (StartSync(MASTER), errno.EEXIST),
        (StopSync(BACKUP), errno.ESRCH),
    ]
    steps = [step for step, _ in refused]
    assert errors(kernel.apply([*steps, AddDestination(WEB, server(3))])) == refused
    assert kernel.read() == KernelState(
        {WEB: service_entry(Service(WEB, "rr"), [server(1), server(3)])}, frozenset({MASTER})
    )


def test_a_service_goes_with_its_servers(kernel: Kernel) -> None:
    kernel.apply([AddService(Service(WEB, "rr")), AddDestination(WEB, server(1)), DeleteService(WEB)])
    assert kernel.apply([AddService(Service(WEB, "rr"))]) == []
    assert kernel.read() == KernelState({WEB: service_entry(Service(WEB, "rr"))})


def test_no_steps_are_no_failures(kernel: Kernel) -> None:
    assert kernel.apply([]) == []


@pytest.mark.ipvs
@pytest.mark.parametrize("seed", range(8))
def test_the_simulation_answers_as_the_kernel_does(real: Ipvs, seed: int) -> None:
    draw = random.Random(seed)
    simulated = SimulatedKernel()
    for _ in range(6):
        steps = [some_step(draw) for _ in range(40)]
        assert errors(real.apply(steps)) == errors(simulated.apply(steps))
        assert real.read() == simulated.read()


def some_step(draw: random.Random) -> Step:
    service = Service(draw.choice([WEB, DNS, SIGNAL]), draw.choice(["rr", "wlc", "sh"]), draw.choice([0, 60]))
    destination = server(draw.randint(1, 3), draw.randint(0, 3), draw.choice(list(Forwarding)))
    steps: list[Step] = [
        AddService(service),
        AddService(service),
        SetService(service),
        DeleteService(service.key),
        AddDestination(service.key, destination),
        AddDestination(service.key, destination),
        SetDestination(service.key, destination),
        DeleteDestination(service.key, destination.key),
    ]
    return draw.choice(steps)


# -------------------------------------------------------------------------------------- as ipvsadm sees it

FORWARDING_OPTIONS = {"-g": Forwarding.DR, "-i": Forwarding.TUN, "-m": Forwarding.NAT}
PROTOCOL_OPTIONS = {"-t": Protocol.TCP, "-u": Protocol.UDP, "--sctp-service": Protocol.SCTP}


def ipvsadm_state() -> KernelState:
    """What `ipvsadm -Sn` lists, in this network namespace."""
    listing = subprocess.run(["ipvsadm", "-Sn"], check=True, capture_output=True, text=True).stdout
    services: dict[ServiceKey, Service] = {}
    pools: dict[ServiceKey, list[Destination]] = {}
    for line in listing.splitlines():
        verb, protocol, listen, *rest = shlex.split(line)
        key = ServiceKey(*endpoint(listen), PROTOCOL_OPTIONS[protocol])
        if verb == "-A":
            timeout = int(rest[rest.index("-p") + 1]) if "-p" in rest else 0
            services[key] = Service(key, rest[rest.index("-s") + 1], timeout)
            pools[key] = []
        else:
            forwarding = next(value for option, value in FORWARDING_OPTIONS.items() if option in rest)
            weight = int(rest[rest.index("-w") + 1])
            real_server = DestinationKey(*endpoint(rest[rest.index("-r") + 1]))
            pools[key].append(Destination(real_server, forwarding, weight))
    return KernelState({key: service_entry(service, pools[key]) for key, service in services.items()})


def endpoint(text: str) -> tuple[IPAddress, int]:
    address, _, port = text.rpartition(":")
    return ip_address(address.strip("[]")), int(port)


@pytest.mark.ipvs
def test_ipvsadm_sees_what_we_see(real: Ipvs) -> None:
    steps: list[Step] = []
    for key, scheduler, timeout in ((WEB, "wlc", 300), (WEB6, "sh", 60), (DNS, "rr", 0), (SIGNAL, "mh", 0)):
        steps.append(AddService(Service(key, scheduler, timeout)))
        make = server6 if key is WEB6 else server
        steps += (
            AddDestination(key, make(number, number * 7, forwarding)) for number, forwarding in enumerate(Forwarding)
        )
    assert real.apply(steps) == []
    assert ipvsadm_state() == real.read()
    assert real.apply([SetDestination(WEB, server(1, 0)), DeleteDestination(WEB6, server6(2).key)]) == []
    assert ipvsadm_state() == real.read()
