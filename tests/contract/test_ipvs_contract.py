"""One contract, two kernels: the simulated one that plans are tried on, and the real one.

Each test runs against both; what is marked `ipvs` needs a kernel with IPVS. With HA_LVS_REQUIRE set, a kernel
without it fails them instead of skipping.
"""

from __future__ import annotations

import errno
import random
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import Protocol as Interface

import pytest

from ha_lvs.kernel.ipvs import Ipvs
from ha_lvs.model import (
    Destination,
    DestinationKey,
    Encapsulation,
    Forwarding,
    IPAddress,
    Protocol,
    Service,
    ServiceEntry,
    ServiceKey,
    SyncDaemon,
    SyncState,
    Timeouts,
    Tunnel,
    TunnelChecksum,
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
    SetSysctl,
    SetTimeouts,
    StartSync,
    Step,
    StepFailure,
    StopSync,
)

WEB = ServiceKey(IPv4Address("192.0.2.10"), 80, Protocol.TCP)
DNS = ServiceKey(IPv4Address("192.0.2.10"), 53, Protocol.UDP)
WEB6 = ServiceKey(IPv6Address("2001:db8::10"), 80, Protocol.TCP)
SIGNAL = ServiceKey(IPv4Address("192.0.2.10"), 5060, Protocol.SCTP)
MARK = ServiceKey.of_mark(7)
MARK6 = ServiceKey.of_mark(0xFFFFFFFF, 6)
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


FRESH = Timeouts(900, 120, 300)
SYSCTLS = {"conn_reuse_mode": 1, "expire_nodest_conn": 0}


def state(services: Mapping[ServiceKey, ServiceEntry] | None = None, *sync: SyncDaemon) -> KernelState:
    """A kernel that was new before it was given these."""
    return KernelState(services or {}, frozenset(sync), FRESH, SYSCTLS)


class SimulatedKernel:
    def __init__(self) -> None:
        self._state = state()

    def read(self) -> KernelState:
        return self._state

    def apply(self, steps: Sequence[Step]) -> list[StepFailure]:
        after = apply(steps, self._state)
        self._state = after.state
        return list(after.failures)


@pytest.fixture
def real(namespace: None) -> Iterator[Ipvs]:
    """The real kernel, in a network namespace of its own."""
    with Ipvs(tuple(SYSCTLS)) as ipvs:
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
    assert kernel.read() == state()


def test_what_is_made_is_found(kernel: Kernel) -> None:
    wanted = state(
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
        MASTER,
        BACKUP,
    )
    assert kernel.apply(diff(wanted, kernel.read(), frozenset())) == []
    assert kernel.read() == wanted
    assert kernel.apply(diff(KernelState(), wanted, frozenset(wanted.services), sync_owned=True)) == []
    assert kernel.read() == state()


def test_what_is_changed_is_found_changed(kernel: Kernel) -> None:
    kernel.apply([AddService(Service(WEB, "wlc", 300)), AddDestination(WEB, server(1)), AddDestination(WEB, server(2))])
    wanted = state({WEB: service_entry(Service(WEB, "rr"), [server(1, 0), server(2, 4, Forwarding.NAT), server(3)])})
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
    assert kernel.read() == state({WEB: service_entry(Service(WEB, "rr"), [server(1), server(3)])}, MASTER)


def test_a_service_goes_with_its_servers(kernel: Kernel) -> None:
    kernel.apply([AddService(Service(WEB, "rr")), AddDestination(WEB, server(1)), DeleteService(WEB)])
    assert kernel.apply([AddService(Service(WEB, "rr"))]) == []
    assert kernel.read() == state({WEB: service_entry(Service(WEB, "rr"))})


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
    key = draw.choice([WEB, DNS, SIGNAL, WEB6, MARK, MARK6])
    service = Service(
        key,
        draw.choice(["rr", "wlc", "sh", "mh"]),
        draw.choice([0, 60]),
        persistence_prefix=draw.choice([None, 24]),
        one_packet=draw.random() < 0.3,
        fallback=draw.random() < 0.3,
        hash_port=draw.random() < 0.3,
    )
    make = server6 if key.family == 6 else server
    destination = replace(
        make(draw.randint(1, 3), draw.randint(0, 3), draw.choice(list(Forwarding))),
        upper_threshold=draw.choice([0, 9]),
        lower_threshold=draw.choice([0, 0, 5]),
    )
    if destination.forwarding is Forwarding.TUN:
        tunnels = [
            None,
            Encapsulation(Tunnel.GUE, draw.choice([0, 6080]), draw.choice(list(TunnelChecksum))),
            Encapsulation(Tunnel.GRE, checksum=draw.choice([TunnelChecksum.NONE, TunnelChecksum.FULL])),
        ]
        destination = replace(destination, encapsulation=draw.choice(tunnels))
    steps: list[Step] = [
        AddService(service),
        AddService(service),
        SetService(service),
        DeleteService(service.key),
        AddDestination(service.key, destination),
        AddDestination(service.key, destination),
        SetDestination(service.key, destination),
        DeleteDestination(service.key, destination.key),
        SetTimeouts(Timeouts(draw.choice([0, 600]), draw.choice([0, 60]), draw.choice([0, 30]))),
        SetSysctl("conn_reuse_mode", draw.choice([0, 1])),
        SetSysctl("no_such_thing", 1),
    ]
    return draw.choice(steps)


# -------------------------------------------------------------------------------------- as ipvsadm sees it

FORWARDING_OPTIONS = {"-g": Forwarding.DR, "-i": Forwarding.TUN, "-m": Forwarding.NAT}
PROTOCOL_OPTIONS = {"-t": Protocol.TCP, "-u": Protocol.UDP, "--sctp-service": Protocol.SCTP}


def ipvsadm_entries() -> dict[ServiceKey, ServiceEntry]:
    """What `ipvsadm -Sn` lists, in this network namespace."""
    listing = subprocess.run(["ipvsadm", "-Sn"], check=True, capture_output=True, text=True).stdout
    services: dict[ServiceKey, Service] = {}
    pools: dict[ServiceKey, list[Destination]] = {}
    for line in listing.splitlines():
        verb, protocol, listen, *rest = shlex.split(line)
        options = options_of(rest)
        if protocol == "-f":
            key = ServiceKey.of_mark(int(listen) & 0xFFFFFFFF, 6 if "-6" in options else 4)
        else:
            key = ServiceKey(*endpoint(listen), PROTOCOL_OPTIONS[protocol])
        if verb == "-A":
            services[key] = service_of(key, options)
            pools[key] = []
        else:
            pools[key].append(destination_of(options))
    return {key: service_entry(service, pools[key]) for key, service in services.items()}


def options_of(words: list[str]) -> dict[str, str]:
    """Options with their values, or with nothing."""
    found: dict[str, str] = {}
    for word, following in zip(words, [*words[1:], "-"], strict=True):
        if word.startswith("-"):
            found[word] = "" if following.startswith("-") else following
    return found


def service_of(key: ServiceKey, options: dict[str, str]) -> Service:
    scheduler = options["-s"]
    flags = options.get("-b", "").split(",")
    prefix = None
    if "-M" in options:
        mask = options["-M"]
        prefix = int(mask) if key.family == 6 else IPv4Network(f"0.0.0.0/{mask}").prefixlen
    return Service(
        key,
        scheduler,
        int(options.get("-p", 0)),
        persistence_prefix=prefix,
        persistence_engine=options.get("--pe", ""),
        one_packet="-o" in options,
        fallback=f"{scheduler}-fallback" in flags or "flag-1" in flags,
        hash_port=f"{scheduler}-port" in flags or "flag-2" in flags,
    )


def destination_of(options: dict[str, str]) -> Destination:
    encapsulation = None
    kind = options.get("--tun-type", "ipip")
    if kind != "ipip":
        full, remote = "--tun-csum" in options, "--tun-remcsum" in options
        checksum = TunnelChecksum.FULL if full else TunnelChecksum.REMOTE if remote else TunnelChecksum.NONE
        encapsulation = Encapsulation(Tunnel(kind), int(options.get("--tun-port", 0)), checksum)
    return Destination(
        DestinationKey(*endpoint(options["-r"])),
        next(value for option, value in FORWARDING_OPTIONS.items() if option in options),
        int(options["-w"]),
        encapsulation=encapsulation,
    )


def endpoint(text: str) -> tuple[IPAddress, int]:
    address, _, port = text.rpartition(":")
    return ip_address(address.strip("[]")), int(port)


@pytest.mark.ipvs
def test_ipvsadm_sees_what_we_see(real: Ipvs) -> None:
    services = [
        Service(WEB, "wlc", 300, persistence_prefix=24),
        Service(WEB6, "sh", 60, persistence_prefix=64, fallback=True),
        Service(DNS, "rr", one_packet=True),
        Service(replace(DNS, port=5060), "rr", 300, persistence_engine="sip"),
        Service(SIGNAL, "mh", fallback=True, hash_port=True),
        Service(MARK, "wrr"),
        Service(MARK6, "lc", 60),
    ]
    steps: list[Step] = []
    for service in services:
        steps.append(AddService(service))
        make = server6 if service.key.family == 6 else server
        steps += (
            AddDestination(service.key, make(number, number * 7, forwarding))
            for number, forwarding in enumerate(Forwarding)
        )
        for number, tunnel in enumerate(TUNNELS, 10):
            steps.append(AddDestination(service.key, replace(make(number, 1, Forwarding.TUN), encapsulation=tunnel)))
    assert real.apply(steps) == []
    assert ipvsadm_entries() == real.read().services
    limited = replace(server(1, 7, Forwarding.TUN), upper_threshold=94, lower_threshold=49)
    assert real.apply([SetDestination(WEB, limited)]) == []  # which `ipvsadm -S` forgets
    thresholds = subprocess.run(["ipvsadm", "-Ln", "--thresholds"], check=True, capture_output=True, text=True).stdout
    assert re.search(rf"{re.escape(str(limited.key))}\s+94\s+49\s", thresholds), thresholds
    assert real.apply([SetDestination(WEB, server(1, 0)), DeleteDestination(WEB6, server6(2).key)]) == []
    assert ipvsadm_entries() == real.read().services


TUNNELS = (
    Encapsulation(Tunnel.GUE, 6080),
    Encapsulation(Tunnel.GUE, 6081, TunnelChecksum.FULL),
    Encapsulation(Tunnel.GUE, 6082, TunnelChecksum.REMOTE),
    Encapsulation(Tunnel.GRE),
    Encapsulation(Tunnel.GRE, checksum=TunnelChecksum.FULL),
)
