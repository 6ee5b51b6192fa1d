"""Traffic really flows: every forwarding method and tunnel, every scheduler, TCP and UDP, IPv4 and IPv6.

One director without daemons: what is programmed here is programmed by the steps that the director takes.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest

from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.topology import INSIDE_GATEWAY, VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.kernel.ipvs import Ipvs
from ha_lvs.model import (
    HASHING_SCHEDULERS,
    SCHEDULERS,
    Destination,
    DestinationKey,
    Encapsulation,
    Forwarding,
    IPAddress,
    Protocol,
    Service,
    ServiceKey,
    Tunnel,
    TunnelChecksum,
)
from ha_lvs.plan.desired import KernelState, service_entry
from ha_lvs.plan.diff import diff

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(120 * PACE)]

VIRTUAL_IP6 = "fd00:9::100"
BOTH = {"s1", "s2"}
GUE_PORT = 6080
ECHO_PORT = 7007


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab("traffic", tmp_path_factory.mktemp("traffic"), clients=1, servers=2) as lab:
        lab.start_servers()
        director = lab.host("lb1")
        director.ip(f"addr add {VIRTUAL_IP}/32 dev e0", f"addr add {INSIDE_GATEWAY}/32 dev e0")
        director.ip(f"addr add {VIRTUAL_IP6}/128 dev e0 nodad")
        director.sysctl("net.ipv6.conf.all.forwarding", 1)
        yield lab


@contextmanager
def programmed(lab: Lab, service: Service, destinations: Sequence[Destination]) -> Iterator[None]:
    """The kernel of lb1 has this service and nothing else meanwhile."""
    wanted = KernelState({service.key: service_entry(service, destinations)})
    with lab.host("lb1").inside(), Ipvs() as ipvs:
        try:
            assert ipvs.apply(diff(wanted, ipvs.read(), frozenset())) == []
            assert ipvs.read().services == wanted.services
            yield
        finally:
            ipvs.apply(diff(KernelState(), ipvs.read(), frozenset({service.key})))


def web(address: str = VIRTUAL_IP, port: int = 80) -> ServiceKey:
    return ServiceKey(ip_address(address), port, Protocol.TCP)


def destinations(
    lab: Lab, forwarding: Forwarding, *, port: int = 80, v6: bool = False, tunnel: Encapsulation | None = None
) -> list[Destination]:
    def address(host: Host) -> IPAddress:
        return ip_address(host.address6 if v6 else host.address)

    keys = [DestinationKey(address(server.host), port) for server in lab.servers]
    return [Destination(key, forwarding, 1, encapsulation=tunnel) for key in keys]


def asked(client: Host, address: str = VIRTUAL_IP, port: int = 80) -> str:
    with client.inside():
        connection = http.client.HTTPConnection(address, port, timeout=2 * PACE)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        finally:
            connection.close()


def reaches(lab: Lab, wanted: set[str], address: str = VIRTUAL_IP) -> None:
    """Requests of the client are answered by these servers and no others."""
    answers: set[str] = set()

    def all_answered() -> bool:
        answers.add(asked(lab.host("c1"), address))
        return answers == wanted

    wait_for(all_answered, 15, f"{', '.join(sorted(wanted))} to answer")


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_requests_are_answered_by_every_scheduler(lab: Lab, scheduler: str) -> None:
    lab.forward(Forwarding.DR)
    hashing = scheduler in HASHING_SCHEDULERS
    service = Service(web(), scheduler, fallback=hashing, hash_port=hashing)
    with lab.host("lb1").inside(), Ipvs() as ipvs:
        refused = ipvs.apply(diff(KernelState({service.key: service_entry(service)}), ipvs.read(), frozenset()))
        ipvs.apply(diff(KernelState(), ipvs.read(), frozenset({service.key})))
    if refused:
        assert refused[0].errno == errno.ENOENT
        assert f"modprobe ip_vs_{scheduler}" in refused[0].message
        assert scheduler == "twos", "only kernels from 6.? have it"
        return
    servers = [replace(each, weight=20) for each in destinations(lab, Forwarding.DR)]  # ovf refuses beyond the weights
    with programmed(lab, service, servers):
        found = answers_at_once(lab.host("c1"), 16)
    assert found <= BOTH
    assert found == BOTH or scheduler in ("lblc", "lblcr", "dh", "fo", "ovf"), "these may send one client to one server"


def answers_at_once(client: Host, count: int) -> set[str]:
    """Who answers on this many connections that are open together."""
    with client.inside(), ExitStack() as stack:
        connections = [http.client.HTTPConnection(VIRTUAL_IP, 80, timeout=2 * PACE) for _ in range(count)]
        found = set()
        for connection in connections:
            stack.callback(connection.close)
            connection.request("GET", "/")
            found.add(connection.getresponse().read().decode())
        return found


@contextmanager
def decapsulating(lab: Lab, encapsulation: Encapsulation) -> Iterator[None]:
    """The servers unpack this kind of tunnel and have the virtual IP on its interface."""
    kind = encapsulation.tunnel.value
    checked = "" if encapsulation.checksum is TunnelChecksum.NONE else " icsum"  # it drops what is otherwise
    made = {
        "gue": ["fou add port 6080 gue", "link set tunl0 up", f"addr add {VIRTUAL_IP}/32 dev tunl0"],
        "gre": [
            f"link add ours type gre local {{own}} remote any{checked}",
            "link set ours up",
            f"addr add {VIRTUAL_IP}/32 dev ours",
        ],
    }[kind]
    undone = {
        "gue": [f"addr del {VIRTUAL_IP}/32 dev tunl0", "link set tunl0 down", "fou del port 6080"],
        "gre": ["link del ours"],
    }[kind]
    lab.forward(Forwarding.TUN)
    for server in lab.servers:
        server.host.ip(f"addr del {VIRTUAL_IP}/32 dev tunl0", *(each.format(own=server.address) for each in made))
        for interface in ("all", "tunl0", *(["ours"] if kind == "gre" else [])):
            server.host.sysctl(f"net.ipv4.conf.{interface}.rp_filter", 0)
    try:
        yield
    finally:
        for server in lab.servers:
            server.host.ip(*undone, "link set tunl0 up", f"addr add {VIRTUAL_IP}/32 dev tunl0")


@pytest.mark.parametrize(
    "encapsulation",
    [
        Encapsulation(Tunnel.GUE, GUE_PORT),
        Encapsulation(Tunnel.GUE, GUE_PORT, TunnelChecksum.FULL),
        Encapsulation(Tunnel.GUE, GUE_PORT, TunnelChecksum.REMOTE),
        Encapsulation(Tunnel.GRE),
        Encapsulation(Tunnel.GRE, checksum=TunnelChecksum.FULL),
    ],
    ids=str,
)
def test_requests_go_through_every_tunnel(lab: Lab, encapsulation: Encapsulation) -> None:
    servers = destinations(lab, Forwarding.TUN, tunnel=encapsulation)
    with decapsulating(lab, encapsulation), programmed(lab, Service(web(), "rr"), servers):
        reaches(lab, BOTH)


@pytest.mark.parametrize("forwarding", list(Forwarding), ids=lambda each: each.value)
def test_a_firewall_mark_takes_any_port(lab: Lab, forwarding: Forwarding) -> None:
    lab.forward(forwarding)
    director = lab.host("lb1")
    # By tc, which marks before IPVS looks, too: not every kernel with IPVS has nf_tables. `test_marks` is about those.
    director.run(["tc", "qdisc", "add", "dev", "e0", "clsact"])
    match = ["flower", "dst_ip", VIRTUAL_IP, "ip_proto", "tcp", "dst_port", "80"]
    mark = ["action", "skbedit", "mark", "7"]
    director.run(["tc", "filter", "add", "dev", "e0", "ingress", "protocol", "ip", "pref", "1", *match, *mark])
    try:
        with programmed(lab, Service(ServiceKey.of_mark(7), "rr"), destinations(lab, forwarding)):
            reaches(lab, BOTH)
    finally:
        director.run(["tc", "qdisc", "del", "dev", "e0", "clsact"])


# ------------------------------------------------------------------------------------------------------- IPv6


@pytest.mark.parametrize("forwarding", [Forwarding.DR, Forwarding.NAT], ids=lambda each: each.value)
def test_requests_flow_over_ipv6(lab: Lab, forwarding: Forwarding) -> None:
    servers = destinations(lab, forwarding, v6=True)
    with serving6(lab, forwarding), programmed(lab, Service(web(VIRTUAL_IP6), "rr"), servers):
        reaches(lab, BOTH, VIRTUAL_IP6)


@contextmanager
def serving6(lab: Lab, forwarding: Forwarding) -> Iterator[None]:
    """The servers answer over IPv6, and take what is forwarded by this method."""
    gateway, client = lab.host("lb1").address6, lab.host("c1").address6
    match forwarding:
        case Forwarding.DR:
            made = [f"addr add {VIRTUAL_IP6}/128 dev lo nodad"]
            undone = [f"addr del {VIRTUAL_IP6}/128 dev lo"]
        case _:
            made = [f"route add {client}/128 via {gateway}"]
            undone = [f"route del {client}/128 via {gateway}"]
    servers = [Web6(server.host, server.name) for server in lab.servers]
    for server in lab.servers:  # the director would tell them that the client is on their own network
        server.host.sysctl("net.ipv6.conf.all.accept_redirects", 0)
        server.host.sysctl("net.ipv6.conf.e0.accept_redirects", 0)
    try:
        for server in lab.servers:
            server.host.ip(*(each.format(own=server.host.address6) for each in made))
        yield
    finally:
        for server in lab.servers:
            server.host.ip(*undone)
        for each in servers:
            each.close()


class Web6:
    """Answers each connection to port 80 over IPv6 with the server's name."""

    def __init__(self, host: Host, name: str) -> None:
        with host.inside():
            self._socket = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("::", 80))
        self._socket.listen(64)
        self._answer = f"HTTP/1.0 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(self._answer)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


# -------------------------------------------------------------------------------------------------------- UDP


class Echo:
    """Answers each datagram with the server's name, from the address that it came to."""

    def __init__(self, host: Host, name: str, address: str) -> None:
        with host.inside():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, ECHO_PORT))
        self._socket.settimeout(0.1)
        self._name = name.encode()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                _, sender = self._socket.recvfrom(2048)
                self._socket.sendto(self._name, sender)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()


@pytest.mark.parametrize("one_packet", [False, True], ids=["connection", "one-packet"])
def test_datagrams_of_one_client_port_stay_or_are_spread(lab: Lab, one_packet: bool) -> None:
    lab.forward(Forwarding.DR)
    echoes = [Echo(server.host, server.name, VIRTUAL_IP) for server in lab.servers]
    service = Service(ServiceKey(ip_address(VIRTUAL_IP), ECHO_PORT, Protocol.UDP), "rr", one_packet=one_packet)
    try:
        with programmed(lab, service, destinations(lab, Forwarding.DR, port=ECHO_PORT)):
            with lab.host("c1").inside():
                client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with client:
                client.settimeout(2 * PACE)
                client.connect((VIRTUAL_IP, ECHO_PORT))
                answers = set()
                for _ in range(10):
                    client.send(b"hello")
                    answers.add(client.recv(100).decode())
        assert len(answers) == (2 if one_packet else 1)
        assert answers <= BOTH
    finally:
        for echo in echoes:
            echo.close()


# ----------------------------------------------------------------------------------------------- persistence


def test_a_client_network_stays_with_its_server(lab: Lab) -> None:
    lab.forward(Forwarding.DR)
    client = lab.host("c1")
    client.ip(*(f"addr add 10.9.0.{last}/24 dev e0" for last in (202, 203)))
    service = Service(web(), "rr", 60, persistence_prefix=24)
    try:
        with programmed(lab, service, destinations(lab, Forwarding.DR)):
            answers = {_asked_from(client, source) for source in ("10.9.0.202", "10.9.0.203") for _ in range(3)}
        assert len(answers) == 1
        with programmed(lab, Service(web(), "rr", 60), destinations(lab, Forwarding.DR)):
            answers = {_asked_from(client, source) for source in ("10.9.0.202", "10.9.0.203")}
        assert answers == BOTH
    finally:
        client.ip(*(f"addr del 10.9.0.{last}/24 dev e0" for last in (202, 203)))


def _asked_from(client: Host, source: str) -> str:
    with client.inside():
        connection = http.client.HTTPConnection(VIRTUAL_IP, 80, timeout=2 * PACE, source_address=(source, 0))
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        finally:
            connection.close()


def test_a_full_server_gets_no_more_connections(lab: Lab) -> None:
    lab.forward(Forwarding.DR)
    first, second = destinations(lab, Forwarding.DR)
    full = Destination(first.key, Forwarding.DR, 1000, upper_threshold=2, lower_threshold=1)
    held = []

    def active() -> list[int]:
        with lab.host("lb1").inside(), Ipvs() as ipvs:
            counts = ipvs.read_counts()
        return [counts[web(), each.key].active for each in (full, second)]

    try:
        with programmed(lab, Service(web(), "wlc"), [full, second]):
            # A server that was there before comes back with the connections that it still has in the table.
            before = active()
            for _ in range(6):
                with lab.host("c1").inside():
                    held.append(socket.create_connection((VIRTUAL_IP, 80), 2 * PACE))
            to_full, to_second = (now - then for now, then in zip(active(), before, strict=True))
            assert to_full <= 2
            assert to_second >= 4
    finally:
        for connection in held:
            connection.close()
