"""Advertisements between two machines: what arrives, from where, and what does not."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from ipaddress import ip_address
from itertools import count
from typing import Any

import pytest

from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import PACE
from ha_lvs.errors import PlatformError, WireError
from ha_lvs.kernel import links
from ha_lvs.kernel.adverts import AdvertSocket
from ha_lvs.model import Authentication, Key, VrrpPath
from ha_lvs.wire import vrrp
from ha_lvs.wire.auth import Signer, Verdict, Verifier

pytestmark = pytest.mark.netns

GROUPS = {4: "224.0.0.18", 6: "ff02::12"}
OWN = {("lb1", 4): "10.9.0.11", ("lb2", 4): "10.9.0.12", ("lb1", 6): "fd00:9::11", ("lb2", 6): "fd00:9::12"}
ADVERTISED = {4: ("10.9.0.100", "10.9.0.101"), 6: ("fe80::100", "fd00:9::100")}
ETH_P_ALL = 0x0003


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab("adverts", tmp_path_factory.mktemp("lab")) as lab:
        yield lab


class Room:
    """Opens sockets on hosts of the lab and closes them at the end."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self.lab = lab
        self.stack = stack

    def open(self, host: str, path: VrrpPath, interval_s: float = 0.1, *rest: Any, listen: bool = True) -> AdvertSocket:
        with self.lab.host(host).inside():
            found = AdvertSocket(path, interval_s, *rest, listen=listen)
        self.stack.callback(found.close)
        return found

    def capture(self, host: str) -> socket.socket:
        with self.lab.host(host).inside():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            sock.bind(("e0", ETH_P_ALL))
        self.stack.callback(sock.close)
        return sock


@pytest.fixture
def room(lab: Lab) -> Iterator[Room]:
    with ExitStack() as stack:
        yield Room(lab, stack)


def path(host: str, family: int, *peers: str, **changes: Any) -> VrrpPath:
    usual = VrrpPath(
        member="edge",
        interface="e0",
        router_id=51,
        source=ip_address(OWN[host, family]),
        peers=tuple(ip_address(peer) for peer in peers),
        group=ip_address(GROUPS[family]),
        addresses=tuple(ip_address(address) for address in ADVERTISED[family]),
    )
    return replace(usual, **changes)


def heard(sock: AdvertSocket, timeout_s: float = 10.0) -> vrrp.Datagram:
    """The next datagram, waited for as the elector does."""
    assert select.select([sock], [], [], timeout_s * PACE)[0], "nothing was heard"
    datagram = sock.receive()
    assert datagram is not None
    return datagram


def priorities(sock: AdvertSocket, until: int) -> list[int]:
    """What was heard up to an advertisement of this priority."""
    found: list[int] = []
    while until not in found:
        found.append(vrrp.decode(heard(sock)).priority)
    return found


families = pytest.mark.parametrize("family", [4, 6])
ways = pytest.mark.parametrize("unicast", [False, True], ids=["multicast", "unicast"])


def pair_of_paths(family: int, unicast: bool, **changes: Any) -> tuple[VrrpPath, VrrpPath]:
    first = path("lb1", family, *([OWN["lb2", family]] if unicast else []), **changes)
    second = path("lb2", family, *([OWN["lb1", family]] if unicast else []), **changes)
    return first, second


@families
@ways
def test_what_is_sent_arrives_whole(room: Room, family: int, unicast: bool) -> None:
    first, second = pair_of_paths(family, unicast)
    speaker, listener = room.open("lb1", first), room.open("lb2", second)
    speaker.send(150)
    datagram = heard(listener)
    assert datagram.source == first.source == speaker.source
    assert datagram.destination == (second.source if unicast else first.group)
    assert datagram.hop_limit == 255
    assert vrrp.decode(datagram) == vrrp.Advertisement(51, 150, 10, first.addresses)
    assert listener.receive() is None
    speaker.send(0)
    assert vrrp.decode(heard(listener)).priority == 0


@families
@ways
def test_nobody_hears_himself(room: Room, family: int, unicast: bool) -> None:
    first, second = pair_of_paths(family, unicast)
    speaker, also, listener = room.open("lb1", first), room.open("lb1", first), room.open("lb2", second)
    speaker.send(150)
    assert vrrp.decode(heard(listener)).priority == 150
    assert speaker.receive() is None
    assert also.receive() is None


@families
@ways
def test_other_virtual_routers_do_not_wake_us(room: Room, family: int, unicast: bool) -> None:
    first, second = pair_of_paths(family, unicast)
    listener = room.open("lb2", second)
    for router_id in (1, 50, 52, 255):
        room.open("lb1", replace(first, router_id=router_id)).send(99)
    room.open("lb1", first).send(150)
    assert priorities(listener, until=150) == [150]


@families
def test_the_group_can_be_another_one_and_then_only_that_is_heard(room: Room, family: int) -> None:
    own = ip_address("239.1.2.3" if family == 4 else "ff02::1:112")
    first, second = pair_of_paths(family, False, group=own)
    listener = room.open("lb2", second)
    usual = room.open("lb2", pair_of_paths(family, False)[1])
    room.open("lb1", path("lb1", family)).send(99)
    room.open("lb1", first).send(150)
    assert priorities(listener, until=150) == [150]
    assert priorities(usual, until=99) == [99]


@families
@ways
def test_the_packet_goes_out_with_hop_limit_255_and_network_control(room: Room, family: int, unicast: bool) -> None:
    wire = room.capture("lb2")
    first, _ = pair_of_paths(family, unicast, min_ttl=250)
    speaker = room.open("lb1", first)
    speaker.send(150)
    wire.settimeout(10 * PACE)
    while True:
        frame = wire.recv(2048)
        packet = frame[14:]
        if frame[12:14] == b"\x08\x00" and family == 4 and packet[9] == 112:
            assert (packet[1], packet[8]) == (0xC0, 255)
            return
        if frame[12:14] == b"\x86\xdd" and family == 6 and packet[6] == 112:
            assert ((packet[0] << 8 | packet[1]) >> 4 & 0xFF, packet[7]) == (0xC0, 255)
            return


@families
def test_who_does_not_listen_is_given_nothing(room: Room, family: int) -> None:
    first, second = pair_of_paths(family, False)
    deaf, listener = room.open("lb2", second, listen=False), room.open("lb2", second)
    room.open("lb1", first).send(150)
    assert vrrp.decode(heard(listener)).priority == 150
    assert not select.select([deaf], [], [], 0)[0]
    assert deaf.receive() is None
    deaf.send(0)


@families
def test_a_unicast_socket_does_not_hear_the_group(room: Room, family: int) -> None:
    listener = room.open("lb2", path("lb2", family, OWN["lb1", family]))
    room.open("lb2", path("lb2", family, router_id=52))  # somebody else on this machine is in the group
    room.open("lb1", path("lb1", family)).send(99)
    room.open("lb1", path("lb1", family, OWN["lb2", family])).send(150)
    assert priorities(listener, until=150) == [150]


def test_ipv6_speaks_from_the_link_local_address_when_no_other_is_given(room: Room) -> None:
    source = ip_address("::")
    speaker, listener = room.open("lb1", path("lb1", 6, source=source)), room.open("lb2", path("lb2", 6, source=source))
    with room.lab.host("lb1").inside():
        assert speaker.source == links.link_local("e0")
    speaker.send(150)
    datagram = heard(listener)
    assert datagram.source == speaker.source
    assert vrrp.decode(datagram).priority == 150


def test_unicast_between_link_local_addresses(room: Room) -> None:
    with room.lab.host("lb2").inside():
        peer = links.link_local("e0")
    listener = room.open("lb2", path("lb2", 6, OWN["lb1", 6], source=ip_address("::")))
    room.open("lb1", path("lb1", 6, str(peer), source=ip_address("::"))).send(150)
    assert heard(listener).destination == peer


def test_without_a_link_local_address_it_says_what_to_do(room: Room) -> None:
    client = room.lab.host("c1")
    client.ip("link add e5 type veth peer name p-e5")  # down, so it has none yet
    with pytest.raises(PlatformError, match=r"link-local .*disable_ipv6"):
        room.open("c1", path("lb1", 6, interface="e5", source=ip_address("::")))


def test_version_2(room: Room) -> None:
    first, second = pair_of_paths(4, False, version=2)
    listener = room.open("lb2", second, 1.0)
    room.open("lb1", first, 1.0).send(100)
    assert vrrp.decode(heard(listener)) == vrrp.Advertisement(51, 100, 100, first.addresses, version=2)


# ------------------------------------------------------------------------------------------------ peers


@families
def test_discovered_peers_are_told_in_the_place_of_the_group(room: Room, family: int) -> None:
    speaker = room.open("lb1", path("lb1", family, discover=True))
    member, peer = room.open("lb2", path("lb2", family)), room.open("lb2", path("lb2", family, OWN["lb1", family]))
    speaker.prepare(150)
    speaker.send(150)
    assert vrrp.decode(heard(member)).priority == 150
    speaker.set_peers((ip_address(OWN["lb2", family]),))
    speaker.send(150)
    assert heard(peer).destination == ip_address(OWN["lb2", family])
    speaker.set_peers(())
    speaker.send(151)
    assert 151 in priorities(member, until=151)


def test_discovered_peers_come_beside_configured_ones(room: Room) -> None:
    speaker = room.open("lb1", path("lb1", 4, "10.9.0.12", discover=True))
    speaker.set_peers((ip_address("10.9.0.31"), ip_address("10.9.0.12")))
    first = room.open("lb2", path("lb2", 4, "10.9.0.11"))
    second = room.open("c1", path("lb2", 4, "10.9.0.11", source=ip_address("10.9.0.31")))
    speaker.send(150)
    for listener in (first, second):
        assert vrrp.decode(heard(listener)).priority == 150
        assert listener.receive() is None


def test_a_peer_that_cannot_be_reached_does_not_keep_the_others_uninformed(room: Room) -> None:
    speaker = room.open("lb1", path("lb1", 6, "2001:db8::1", "fd00:9::12"))
    listener = room.open("lb2", path("lb2", 6, "fd00:9::11"))
    speaker.send(150)
    assert vrrp.decode(heard(listener)).priority == 150


def test_when_none_can_be_told_it_is_an_error(room: Room) -> None:
    speaker = room.open("lb1", path("lb1", 6, "2001:db8::1", "2001:db8::2"))
    with pytest.raises(OSError) as problem:
        speaker.send(150)
    assert problem.value.errno == errno.ENETUNREACH


# -------------------------------------------------------------------------------------------- signatures


@families
def test_each_destination_gets_a_signature_of_its_own(room: Room, family: int) -> None:
    keys = Authentication((Key(7, "00ff" * 16),), send=7, enforce=True)
    counter = count(1)
    third = {4: "10.9.0.31", 6: "fd00:9::31"}[family]
    sender = path("lb1", family, OWN["lb2", family], third)
    speaker = room.open("lb1", sender, 0.1, Signer(keys), lambda: next(counter))
    one = room.open("lb2", path("lb2", family, OWN["lb1", family]))
    two = room.open("c1", path("lb2", family, OWN["lb1", family], source=ip_address(third)))
    speaker.prepare(150)
    for _ in range(2):
        speaker.send(150)
    verifier = Verifier(keys)
    for datagram in (heard(one), heard(two), heard(one), heard(two)):
        advertisement = vrrp.decode(datagram)
        assert advertisement.priority == 150
        assert verifier.check(datagram, advertisement.trailer) is Verdict.VALID
        assert verifier.check(datagram, advertisement.trailer) is Verdict.REPLAYED
    assert next(counter) == 5


def test_a_signer_without_a_counter_is_a_mistake(room: Room) -> None:
    keys = Authentication((Key(7, "00ff" * 16),), send=7, enforce=True)
    with pytest.raises(ValueError, match="counter"):
        room.open("lb1", path("lb1", 4), 0.1, Signer(keys))


# ------------------------------------------------------------------------------------------- interfaces


def test_an_interface_that_is_missing_is_named(room: Room) -> None:
    with pytest.raises(PlatformError, match="interface e7 does not exist"):
        room.open("lb1", path("lb1", 4, interface="e7"))


def test_where_there_is_no_ipv6_it_says_so(room: Room) -> None:
    client = room.lab.host("c1")
    client.ip("link add e6 type veth peer name p-e6", "link set e6 mtu 1200")  # less than IPv6 can live with
    with pytest.raises(PlatformError, match="link-local"):
        room.open("c1", path("lb1", 6, interface="e6", source=ip_address("::")))
    with pytest.raises(PlatformError, match="VRRP over IPv6 on e6"):
        room.open("c1", path("lb1", 6, interface="e6"))


def test_an_address_that_is_on_its_way_is_spoken_from_once_it_is_there(room: Room) -> None:
    client = room.lab.host("c1")
    late = path("lb1", 6, "fd00:9::12", source=ip_address("fd00:9::77"))
    speaker = room.open("c1", late)
    with pytest.raises(OSError):
        speaker.send(150)
    client.ip("addr add fd00:9::77/64 dev e0 nodad")
    speaker.send(150)
    client.ip("addr del fd00:9::77/64 dev e0")


@families
def test_after_the_interface_was_deleted_sending_fails_and_receiving_does_not_hang(room: Room, family: int) -> None:
    client = room.lab.host("c1")
    client.ip("link add e9 type veth peer name p-e9", "link set p-e9 up", "link set e9 up")
    address = "192.0.2.1/24" if family == 4 else "fd00:2::1/64"
    client.ip(f"addr add {address} dev e9" + (" nodad" if family == 6 else ""))
    mine = room.open("c1", path("lb1", family, interface="e9", source=ip_address(address.partition("/")[0])))
    mine.send(150)
    client.ip("link del e9")
    with pytest.raises(OSError):
        mine.send(150)
    with suppress(OSError):  # told once, as the interface went
        assert mine.receive() is None


def test_noise_of_the_right_router_id_is_handed_on_to_whoever_decodes(room: Room) -> None:
    listener = room.open("lb2", path("lb2", 4, "10.9.0.11"))
    with room.lab.host("lb1").inside(), socket.socket(socket.AF_INET, socket.SOCK_RAW, 112) as raw:
        raw.sendto(b"\x31", ("10.9.0.12", 0))
        raw.sendto(b"\x31\x33noise", ("10.9.0.12", 0))
    datagram = heard(listener)
    assert datagram.payload == b"\x31\x33noise"
    with pytest.raises(WireError):
        vrrp.decode(datagram)


def test_many_packets_are_taken_in_in_order(room: Room) -> None:
    first, second = pair_of_paths(4, False)
    speaker, listener = room.open("lb1", first), room.open("lb2", second)
    for _ in range(100):
        speaker.send(150)
    speaker.send(151)
    assert priorities(listener, until=151) == [150] * 100 + [151]
