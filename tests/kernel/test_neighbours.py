"""Announcements: the frames that leave, and that a real kernel on the other side believes them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.errors import WireError
from ha_lvs.kernel import links
from ha_lvs.kernel.neighbours import Announcer
from ha_lvs.wire import arp, ndp
from tests.cables import asked, cabled, conf, instance, ip, plug, virtual

pytestmark = pytest.mark.netns

ETH_P_ALL = 0x0003
ROUTER_FLAG_AT = 14 + 40 + 4
MANY = 500


@pytest.fixture
def machine() -> Iterator[None]:
    with cabled("e0", "e1"):
        yield


@contextmanager
def listening(interface: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        sock.bind((interface, ETH_P_ALL))
        sock.setblocking(False)
        yield sock


def announced(sock: socket.socket) -> list[tuple[str, bytes]]:
    """What was announced, with where, in order. On a cable without a queue it is there when it has been sent."""
    found: list[tuple[str, bytes]] = []
    while True:
        try:
            frame = sock.recv(2048)
        except BlockingIOError:
            return found
        try:
            said = arp.decode(frame)
            if said.sender == said.target:
                found.append((str(said.sender), said.sender_mac))
        except WireError:
            try:
                neighbour = ndp.decode(frame)
            except WireError:
                continue
            found.append((str(neighbour.address), neighbour.mac))


def mac_of(interface: str) -> bytes:
    mac = links.hardware_address(interface)
    assert mac is not None
    return mac


def test_every_address_is_announced_where_it_is(machine: None) -> None:
    mine = Announcer(instance(virtual("10.9.0.100/32"), virtual("fd00:9::100/128"), virtual("192.0.2.1/28", "e1")))
    with listening("p-e0") as inside, listening("p-e1") as outside:
        assert mine.announce() is None
        assert announced(inside) == [("10.9.0.100", mac_of("e0")), ("fd00:9::100", mac_of("e0"))]
        assert announced(outside) == [("192.0.2.1", mac_of("e1"))]


def test_a_virtual_routers_own_interface_announces_its_own_mac(machine: None) -> None:
    ip("link add link e0 name vrrp.51 address 00:00:5e:00:01:33 type macvlan mode private")
    ip("link set vrrp.51 up")
    mine = Announcer(instance(virtual("10.9.0.100/32", mac_vlan="vrrp.51")))
    with listening("p-e0") as wire:
        assert mine.announce() is None
        assert announced(wire) == [("10.9.0.100", bytes.fromhex("00005e000133"))]


def test_a_mac_address_that_changes_is_noticed(machine: None) -> None:
    mine = Announcer(instance(virtual("10.9.0.100/32"), virtual("fd00:9::100/128")))
    ip("link set e0 address 02:00:00:00:aa:01")
    with listening("p-e0") as wire:
        assert mine.announce() is None
        assert {mac for _, mac in announced(wire)} == {bytes.fromhex("02000000aa01")}


@pytest.mark.parametrize("forwarding", [0, 1])
def test_it_calls_itself_a_router_when_the_kernel_does(machine: None, forwarding: int) -> None:
    mine = Announcer(instance(virtual("fd00:9::100/128")))
    conf("ipv6", "e0", "forwarding", forwarding)
    with listening("p-e0") as wire:
        assert mine.announce() is None
        frames = [wire.recv(2048)]
        while (frame := _next(wire)) is not None:
            frames.append(frame)
    (flags,) = {frame[ROUTER_FLAG_AT] for frame in frames if _is_advertisement(frame)}
    assert flags == (0xA0 if forwarding else 0x20), "override, and router"


def _next(sock: socket.socket) -> bytes | None:
    try:
        return sock.recv(2048)
    except BlockingIOError:
        return None


def _is_advertisement(frame: bytes) -> bool:
    try:
        return ndp.decode(frame).address == ip_address("fd00:9::100")
    except WireError:
        return False


def test_an_interface_made_anew_is_spoken_on_at_once(machine: None) -> None:
    mine = Announcer(instance(virtual("10.9.0.100/32")))
    ip("link del e0")
    plug("e0")
    with listening("p-e0") as wire:
        assert mine.announce() is None
        assert announced(wire) == [("10.9.0.100", mac_of("e0"))]


def test_one_that_is_gone_or_down_is_a_failure_and_the_others_are_told(machine: None) -> None:
    mine = Announcer(instance(virtual("10.9.0.100/32"), virtual("192.0.2.1/28", "e1"), virtual("10.0.0.1/32", "e7")))
    ip("link set e0 down")
    with listening("p-e1") as wire:
        assert isinstance(mine.announce(), OSError)
        assert announced(wire) == [("192.0.2.1", mac_of("e1"))]


def test_what_is_no_ethernet_is_passed_over(machine: None) -> None:
    assert Announcer(instance(virtual("10.9.0.100/32", "lo"))).announce() is None


def test_500_addresses_are_all_announced(machine: None) -> None:
    numbers = range(MANY)
    mine = Announcer(
        instance(
            *(virtual(f"10.9.{n // 250 + 1}.{n % 250 + 1}/32") for n in numbers),
            *(virtual(f"fd00:9::{n + 0x1000:x}/128") for n in numbers),
        )
    )
    with listening("p-e0") as wire:
        assert mine.announce() is None
        assert len(set(announced(wire))) == 2 * MANY


def test_a_neighbour_believes_it(lab_directory: Path) -> None:
    with Lab("neighb", lab_directory) as lab:
        client = lab.host("c1")
        vips = (virtual("10.9.0.100/32"), virtual("fd00:9::100/128"))
        for ip_ in vips:
            client.ip(f"neigh add {ip_.address} lladdr 02:00:00:00:00:99 nud stale dev e0")
        for name in ("lb1", "lb2"):
            with lab.host(name).inside():
                assert Announcer(instance(*vips)).announce() is None
                mac = mac_of("e0").hex(":")
            for ip_ in vips:
                wait_for(lambda ip_=ip_, mac=mac: entry(client, str(ip_.address)) == mac, 20, f"{ip_} to be at {name}")  # type: ignore[misc]


def entry(host: Host, address: str) -> str:
    """Where a host believes an address to be."""
    with host.inside():
        return next((each.get("lladdr", "") for each in asked(f"neigh show {address} dev e0")), "")
