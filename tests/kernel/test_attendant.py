"""The attendant on a link: witnesses and duplicates, with real neighbours in namespaces."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest

from ha_lvs.daemon.channel import Duplicate, Hello, WitnessState
from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.errors import WireError
from ha_lvs.kernel.links import hardware_address
from ha_lvs.kernel.probing import NeighbourSocket
from ha_lvs.model import VirtualIp, Witnesses
from ha_lvs.wire import arp, ndp
from tests.attendants import ACTIVE, STATE, Attendant, attendant, instance

pytestmark = pytest.mark.netns

VIRTUAL_IP, VIRTUAL_IP6 = "10.9.0.100", "fd09::100"
WITNESS, WITNESS6 = "10.9.0.31", "fd09::31"
QUIET_S = 6.0
"""Longer than a claim has to last at the interval of these tests."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("attend", tmp_path / "lab") as lab:
        for number, name in ((11, "lb1"), (12, "lb2"), (31, "c1")):
            lab.host(name).ip(f"addr add fd09::{number}/64 dev e0 nodad")
        yield lab


@contextmanager
def attended(lab: Lab, tmp_path: Path, *addresses: str, witnesses: Witnesses | None = None) -> Iterator[Attendant]:
    """An attendant on lb1 whose instance has these virtual IPs."""
    instances = (instance("edge", *addresses, witnesses=witnesses),)
    with attendant(tmp_path, inside=lab.host("lb1").inside(), instances=instances) as running:
        yield running.greeted()


def mac_of(host: Host) -> str:
    with host.inside():
        mac = hardware_address("e0")
    assert mac is not None
    return mac.hex(":")


def announce(host: Host, address: str) -> None:
    """Says once that an address is here, as a director that takes over does."""
    parsed, mac = ip_address(address), bytes.fromhex(mac_of(host).replace(":", ""))
    frame = arp.announcement(parsed, mac) if isinstance(parsed, IPv4Address) else ndp.announcement(parsed, mac)
    with host.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("e0", 0))
        sock.send(frame)


def hold(host: Host, address: str) -> None:
    """Puts a virtual IP on a host, which answers for it from now on."""
    host.ip(f"addr add {address}/128 dev e0 nodad" if ":" in address else f"addr add {address}/32 dev e0")


def release(host: Host, address: str) -> None:
    host.ip(f"addr del {address}/{128 if ':' in address else 32} dev e0")


@contextmanager
def arp_heard(host: Host) -> Iterator[Callable[[], list[arp.ArpPacket]]]:
    """What ARP comes to a host from now on."""
    with host.inside():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind(("e0", arp.ETHERTYPE_ARP))
    found: list[arp.ArpPacket] = []

    def hear() -> list[arp.ArpPacket]:
        while True:
            try:
                frame, sender = sock.recvfrom(2048)
            except BlockingIOError:
                return found
            if sender[2] != socket.PACKET_OUTGOING:
                try:
                    found.append(arp.decode(frame))
                except WireError:
                    continue

    try:
        yield hear
    finally:
        sock.close()


# ---------------------------------------------------------------------------------------------- witnesses


def witnesses(method: str, *addresses: str) -> Witnesses:
    return Witnesses(tuple(ip_address(each) for each in addresses), 1, "e0", 0.1, 3, method, yield_alone=False)


@pytest.mark.parametrize("method", ["arp", "icmp"])
@pytest.mark.parametrize("address", [WITNESS, WITNESS6])
def test_a_witness_is_seen_while_it_answers(lab: Lab, tmp_path: Path, method: str, address: str) -> None:
    witness = ip_address(address)
    with attended(lab, tmp_path, VIRTUAL_IP, witnesses=witnesses(method, address)) as running:
        running.wait_for(WitnessState, lambda state: state == WitnessState("edge", witness, True))
        time.sleep(1)
        assert running.hear() == [], "told once"
        running.elector.send(Hello())
        assert running.wait_for(WitnessState).seen
        lab.cut("c1")
        running.wait_for(WitnessState, lambda state: state == WitnessState("edge", witness, False))
        assert "witness not seen" in running.log()
        lab.heal("c1")
        running.wait_for(WitnessState, lambda state: state == WitnessState("edge", witness, True))


@pytest.mark.parametrize("method", ["arp", "icmp"])
def test_another_s_answer_does_not_count(lab: Lab, tmp_path: Path, method: str) -> None:
    with attended(lab, tmp_path, witnesses=witnesses(method, WITNESS, "10.9.0.77")) as running:
        told = {running.wait_for(WitnessState).witness: None for _ in range(2)}
        assert set(told) == {ip_address(WITNESS), ip_address("10.9.0.77")}
        running.elector.send(Hello())
        again = [running.wait_for(WitnessState) for _ in range(2)]
        assert {str(each.witness): each.seen for each in again} == {WITNESS: True, "10.9.0.77": False}


def test_a_witness_is_asked_from_our_own_address_and_never_from_a_virtual_ip(lab: Lab, tmp_path: Path) -> None:
    lb1 = lab.host("lb1")
    # The virtual IP is the interface's first address, in the witness's network: what the kernel would choose.
    lb1.ip("addr del 10.9.0.11/24 dev e0", f"addr add {VIRTUAL_IP}/24 dev e0", "addr add 10.9.0.11/24 dev e0")
    with arp_heard(lab.host("c1")) as heard:
        with attended(lab, tmp_path, VIRTUAL_IP, witnesses=witnesses("arp", WITNESS)) as running:
            running.wait_for(WitnessState, lambda state: state.seen)
            asked = wait_for(lambda: [each for each in heard() if str(each.target) == WITNESS][3:], 60, "questions")
        assert {str(each.sender) for each in asked} == {"10.9.0.11"}


def cable(lab: Lab) -> None:
    """A second cable between lb1 and c1: d0 here, d1 there."""
    peer = lab.host("c1")
    lab.host("lb1").ip(
        f"link add d0 type veth peer name d1 netns {peer.namespace}", "addr add 10.99.0.2/24 dev d0", "link set d0 up"
    )
    peer.ip("addr add 10.99.0.1/24 dev d1", "link set d1 up")


@pytest.mark.parametrize("method", ["arp", "icmp"])
def test_an_interface_that_is_made_anew_is_used(lab: Lab, tmp_path: Path, method: str) -> None:
    cable(lab)
    asked = replace(witnesses(method, "10.99.0.1"), interface="d0")
    with attended(lab, tmp_path, witnesses=asked) as running:
        running.wait_for(WitnessState, lambda state: state.seen)
        lab.host("lb1").ip("link del d0")
        running.wait_for(WitnessState, lambda state: not state.seen)
        assert 1 <= running.log().count("link cannot be probed") <= 3, "told, but not with each question"
        cable(lab)
        running.wait_for(WitnessState, lambda state: state.seen)


def test_duplicates_are_noticed_on_an_interface_that_is_made_anew(lab: Lab, tmp_path: Path) -> None:
    cable(lab)
    moving = replace(instance("edge", "10.99.0.1"), virtual_ips=(VirtualIp(ip_address("10.99.0.1"), 32, "d0"),))
    with attendant(tmp_path, inside=lab.host("lb1").inside(), instances=(moving,)) as running:
        running.greeted().tell(replace(STATE, peer=""))
        running.wait_for(Duplicate)
        lab.host("lb1").ip("link del d0")
        wait_for(lambda: "link cannot be probed" in running.log(), 60, "the trouble to be told")
        cable(lab)
        running.wait_for(Duplicate)


# --------------------------------------------------------------------------------------------- duplicates


@pytest.mark.parametrize("address", [VIRTUAL_IP, VIRTUAL_IP6])
def test_an_active_notices_who_announces_and_goes_on_answering(lab: Lab, tmp_path: Path, address: str) -> None:
    hold(lab.host("lb1"), address)
    with attended(lab, tmp_path, address) as running:
        running.tell(ACTIVE)
        hold(lab.host("c1"), address)

        def announced_and_reported() -> bool:
            announce(lab.host("c1"), address)
            return bool(running.hear())

        wait_for(announced_and_reported, 60, "a report", every_s=1.0)
        found = running.wait_for(Duplicate)
        assert found == Duplicate("edge", ip_address(address), mac_of(lab.host("c1")))
        reported_at = time.monotonic()
        running.wait_for(Duplicate)
        assert time.monotonic() - reported_at > 8, "at most every 10 s"


def test_an_active_takes_a_hand_over_for_what_it_is(lab: Lab, tmp_path: Path) -> None:
    """The old active still holds the address and announces it for a moment after we have become active."""
    lb1, lb2 = lab.host("lb1"), lab.host("lb2")
    hold(lb1, VIRTUAL_IP)
    hold(lb2, VIRTUAL_IP)
    with attended(lab, tmp_path, VIRTUAL_IP) as running, arp_heard(lb2) as heard:
        running.tell(ACTIVE)
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            announce(lb2, VIRTUAL_IP)
            time.sleep(0.2)
        release(lb2, VIRTUAL_IP)
        wait_for(lambda: [each for each in heard() if str(each.target) == VIRTUAL_IP], 60, "a question")
        time.sleep(QUIET_S)
        assert not any(isinstance(frame, Duplicate) for frame in running.hear())


def test_what_an_active_announces_itself_is_no_duplicate_and_it_asks_nobody(lab: Lab, tmp_path: Path) -> None:
    hold(lab.host("lb1"), VIRTUAL_IP)
    with attended(lab, tmp_path, VIRTUAL_IP) as running, arp_heard(lab.host("c1")) as heard:
        running.tell(ACTIVE)
        for _ in range(8):
            announce(lab.host("lb1"), VIRTUAL_IP)
            time.sleep(0.5)
        assert not any(isinstance(frame, Duplicate) for frame in running.hear())
        assert {str(each.sender) for each in heard()} == {VIRTUAL_IP}, "announcements alone, no question"


@pytest.mark.parametrize("address", [VIRTUAL_IP, VIRTUAL_IP6])
def test_a_backup_bears_with_the_active_peer_and_notices_a_second_one(lab: Lab, tmp_path: Path, address: str) -> None:
    hold(lab.host("lb2"), address)
    with attended(lab, tmp_path, address) as running:
        running.tell(STATE)
        time.sleep(QUIET_S)
        assert not any(isinstance(frame, Duplicate) for frame in running.hear()), "it is the active's"
        hold(lab.host("c1"), address)
        found = running.wait_for(Duplicate)
        assert found.address == ip_address(address)
        assert found.mac in (mac_of(lab.host("lb2")), mac_of(lab.host("c1")))


def test_a_backup_that_has_heard_no_router_notices_whoever_answers(lab: Lab, tmp_path: Path) -> None:
    hold(lab.host("c1"), VIRTUAL_IP)
    with attended(lab, tmp_path, VIRTUAL_IP) as running:
        running.tell(replace(STATE, peer="", peer_priority=0))
        assert running.wait_for(Duplicate).mac == mac_of(lab.host("c1"))


def test_a_backup_asks_for_five_hundred_addresses_slowly_and_as_nobody(lab: Lab, tmp_path: Path) -> None:
    addresses = [f"10.9.{number // 250 + 1}.{number % 250 + 1}" for number in range(500)]
    with attended(lab, tmp_path, *addresses) as running, arp_heard(lab.host("c1")) as heard:
        running.tell(STATE)
        start = time.monotonic()
        wait_for(lambda: len(heard()) >= 40, 60, "40 questions")
        took_s = time.monotonic() - start
        asked = list(heard())
    assert took_s > 3.5, "ten a second at most"
    assert {str(each.sender) for each in asked} == {"0.0.0.0"}, "ARP probes, which nobody remembers"
    assert len({each.target for each in asked}) == len(asked), "one address after another"


# --------------------------------------------------------------------------------------------- the filter


def test_the_filter_lets_pass_what_claims_an_address_of_interest_and_nothing_else(lab: Lab) -> None:
    """Nearly as many addresses as fit, so that the filter's portions are jumped between."""
    addresses = [ip_address(f"10.{8 + number // 250}.7.{number % 250 + 1}") for number in range(600)]
    with lab.host("lb1").inside():
        sock = NeighbourSocket("e0", 4, addresses)
    try:
        wanted = [addresses[index] for index in (0, 199, 200, 399, 400, 599)]
        for address in wanted:
            announce(lab.host("c1"), "10.9.9.9")
            announce(lab.host("c1"), str(address))
        heard: list[str] = []

        def all_heard() -> bool:
            heard.extend(str(claim.address) for claim in sock.receive())
            return len(heard) >= len(wanted)

        wait_for(all_heard, 60, "claims")
        assert heard == [str(address) for address in wanted]
        announce(lab.host("c1"), "10.9.9.9")
        time.sleep(0.2)
        with pytest.raises(BlockingIOError):  # it was not even put into the socket
            sock._sock.recv(2048)
    finally:
        sock.close()


def test_advertisements_are_filtered_by_the_address_they_are_about(lab: Lab) -> None:
    with lab.host("lb1").inside():
        sock = NeighbourSocket("e0", 6, [ip_address(VIRTUAL_IP6)])
    try:
        for address in ("fd09::200", VIRTUAL_IP6):
            announce(lab.host("c1"), address)
        claims = wait_for(sock.receive, 60, "a claim")
        assert [(str(claim.address), claim.mac.hex(":"), claim.answer) for claim in claims] == [
            (VIRTUAL_IP6, mac_of(lab.host("c1")), False)
        ]
        announce(lab.host("c1"), "fd09::200")
        time.sleep(0.2)
        with pytest.raises(BlockingIOError):
            sock._sock.recv(2048)
    finally:
        sock.close()
