"""A virtual router's own interface in real kernels: neighbours see one MAC address, whoever is active."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.errors import KernelError, PlatformError
from ha_lvs.kernel import macvlan
from ha_lvs.kernel.addresses import HeldAddresses
from ha_lvs.kernel.neighbours import Announcer
from tests.cables import asked, cabled, conf, instance, ip, virtual

pytestmark = pytest.mark.netns

NAME = "vrrp.51"
MAC = macvlan.virtual_mac(51, 4)
TEXT = "00:00:5e:00:01:33"
PORT = 7000
ETH_P_ALL = 0x0003
VIPS = (virtual("10.9.0.100/32", mac_vlan=NAME), virtual("fd00:9::100/64", mac_vlan=NAME))


@pytest.fixture
def machine() -> Iterator[None]:
    with cabled("e0", "e1"):
        yield


def test_virtual_macs() -> None:
    assert macvlan.virtual_mac(51, 4).hex(":") == TEXT
    assert macvlan.virtual_mac(255, 6).hex(":") == "00:00:5e:00:02:ff"


def test_it_is_made_as_it_has_to_be(machine: None) -> None:
    assert macvlan.ensure(NAME, "e0", MAC) == ()
    (link,) = asked(f"link show dev {NAME}")
    assert (link["link"], link["address"], link["inet6_addr_gen_mode"]) == ("e0", TEXT, "none")
    assert link["linkinfo"] == {"info_kind": "macvlan", "info_data": link["linkinfo"]["info_data"]}
    assert link["linkinfo"]["info_data"]["mode"] == "private"
    assert "UP" not in link["flags"], "it is silent until its addresses come"
    settings = {name: conf("ipv4", NAME, name) for name in ("arp_ignore", "arp_filter", "rp_filter")}
    assert settings == {"arp_ignore": "1", "arp_filter": "0", "rp_filter": "2"}
    assert (conf("ipv4", "e0", "arp_ignore"), conf("ipv4", "e0", "arp_announce")) == ("1", "2")
    assert (conf("ipv6", NAME, "accept_ra"), conf("ipv6", NAME, "autoconf")) == ("0", "0")
    (link,) = asked(f"addr show dev {NAME}")
    assert link["addr_info"] == [], "no address of its own"


def test_one_that_is_there_is_adopted_with_its_addresses(machine: None) -> None:
    macvlan.ensure(NAME, "e0", MAC)
    ip(f"addr add 10.9.0.100/32 dev {NAME}")
    ip(f"link set {NAME} up")
    conf("ipv4", NAME, "rp_filter", 1)
    before = asked(f"addr show dev {NAME}")[0]
    macvlan.ensure(NAME, "e0", MAC)
    after = asked(f"addr show dev {NAME}")[0]
    assert (after["ifindex"], after["addr_info"]) == (before["ifindex"], before["addr_info"])
    assert "UP" in after["flags"]
    assert conf("ipv4", NAME, "rp_filter") == "2"


@pytest.mark.parametrize(
    "other",
    [
        f"link add {NAME} type veth peer name x",
        f"link add link e0 name {NAME} address 00:00:5e:00:01:34 type macvlan mode private",
    ],
)
def test_somebody_elses_interface_of_that_name_is_neither_used_nor_removed(machine: None, other: str) -> None:
    ip(other)
    before = asked(f"link show dev {NAME}")[0]["ifindex"]
    with pytest.raises(PlatformError, match=rf"interface vrrp\.51 exists .*{TEXT}"):
        macvlan.ensure(NAME, "e0", MAC)
    assert macvlan.remove(NAME, MAC) is False
    assert asked(f"link show dev {NAME}")[0]["ifindex"] == before


def test_one_on_another_interface_is_moved(machine: None) -> None:
    macvlan.ensure(NAME, "e0", MAC)
    macvlan.ensure(NAME, "e1", MAC)
    assert asked(f"link show dev {NAME}")[0]["link"] == "e1"


def test_removing_takes_it_away_once(machine: None) -> None:
    macvlan.ensure(NAME, "e0", MAC)
    assert macvlan.remove(NAME, MAC) is True
    assert NAME not in {each["ifname"] for each in asked("link show")}
    assert macvlan.remove(NAME, MAC) is False


def test_removing_without_a_mac_takes_any_virtual_routers(machine: None) -> None:
    macvlan.ensure(NAME, "e0", MAC)
    assert macvlan.remove(NAME) is True
    ip(f"link add link e0 name {NAME} type macvlan mode private")
    assert macvlan.remove(NAME) is False


def test_what_cannot_be_made_says_why(machine: None) -> None:
    with pytest.raises(PlatformError, match="interface e7 does not exist"):
        macvlan.ensure(NAME, "e7", MAC)
    with pytest.raises(KernelError, match=r"make interface a-name-that-is-too-long on e0"):
        macvlan.ensure("a-name-that-is-too-long", "e0", MAC)


def test_two_virtual_routers_of_one_mac_address_are_told(machine: None) -> None:
    for name in (NAME, "vrrp.52"):
        macvlan.ensure(name, "e0", MAC)
    assert HeldAddresses(instance(virtual("10.9.0.100/32", mac_vlan=NAME))).hold() == []
    (failure,) = HeldAddresses(instance(virtual("10.9.0.101/32", mac_vlan="vrrp.52"))).hold()
    assert "10.9.0.101/32 on vrrp.52" in str(failure)
    assert "router id" in str(failure)


def test_an_arp_filter_for_all_interfaces_is_warned_of(machine: None) -> None:
    conf("ipv4", "all", "arp_filter", 1)
    (warning,) = macvlan.ensure(NAME, "e0", MAC)
    assert "net.ipv4.conf.all.arp_filter" in warning


def is_up() -> bool:
    return "UP" in asked(f"link show dev {NAME}")[0]["flags"]


def test_it_is_up_only_while_its_addresses_are_held(machine: None) -> None:
    macvlan.ensure(NAME, "e0", MAC)
    mine = HeldAddresses(instance(*VIPS, lease_s=60))
    assert mine.hold() == []
    assert is_up()
    assert len(mine.present()) == 2
    assert mine.drop() == []
    assert not is_up()
    assert mine.present() == []
    assert mine.drop() == []


def test_it_stays_up_for_what_else_is_on_it(machine: None) -> None:
    macvlan.ensure(NAME, "e0", MAC)
    first, second = (HeldAddresses(instance(vip, lease_s=60)) for vip in VIPS)
    assert first.hold() == second.hold() == []
    assert first.drop() == []
    assert is_up()
    assert len(second.present()) == 1
    assert second.drop() == []
    assert not is_up()


def test_a_standby_says_nothing_with_the_virtual_mac(machine: None) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind(("p-e0", ETH_P_ALL))
        macvlan.ensure(NAME, "e0", MAC)
        mine = HeldAddresses(instance(*VIPS, lease_s=60))
        assert mine.hold() == []
        assert mine.drop() == []
        while wire_is_readable(wire, 0):
            wire.recv(2048)  # as it was active it may have spoken
        ip("link set e0 down")  # the interface below asks the groups anew as it comes up
        ip("link set e0 up")
        while wire_is_readable(wire, 1.5):
            assert wire.recv(2048)[6:12] != MAC


def wire_is_readable(wire: socket.socket, timeout_s: float) -> bool:
    return bool(select.select([wire], [], [], timeout_s)[0])


# ----------------------------------------------------------------------------------- seen by neighbours


class Active:
    """The virtual router on one host of a lab, with an echo."""

    def __init__(self, host: Host) -> None:
        self.host = host
        # What some distributions have as their default.
        host.sysctl("net.ipv4.conf.all.rp_filter", 1)
        host.sysctl("net.ipv4.conf.e0.rp_filter", 1)
        config = instance(*VIPS, lease_s=60)
        with host.inside():
            assert macvlan.ensure(NAME, "e0", MAC) == ()
            self.addresses = HeldAddresses(config)
            assert self.addresses.hold() == []
            assert Announcer(config).announce() is None


def answers(client: Host, server: Host, address: str) -> bool:
    """Whether a datagram gets to an address of the server and back, both sides' real kernels in between."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with server.inside():
        ear = socket.socket(family, socket.SOCK_DGRAM)
        ear.bind((address, PORT))
    with client.inside():
        mouth = socket.socket(family, socket.SOCK_DGRAM)
    with ear, mouth:
        for sock in (ear, mouth):
            sock.settimeout(3 * PACE)
        try:
            mouth.sendto(b"?", (address, PORT))
            _, sender = ear.recvfrom(16)
            ear.sendto(b"!", sender)
            return mouth.recv(16) == b"!"
        except TimeoutError:
            return False


def entry(host: Host, address: str) -> str:
    """Where a host believes an address to be."""
    with host.inside():
        return next((each.get("lladdr", "") for each in asked(f"neigh show {address} dev e0")), "")


def forget(host: Host, address: str) -> None:
    host.ip("neigh flush dev e0")
    assert entry(host, address) == ""


@pytest.fixture
def lab(lab_directory: Path) -> Iterator[Lab]:
    with Lab("macvlan", lab_directory) as lab:
        yield lab


@pytest.mark.parametrize("address", ["10.9.0.100", "fd00:9::100"])
def test_neighbours_keep_the_virtual_mac_whoever_is_active(lab: Lab, address: str) -> None:
    client, lb1, lb2 = (lab.host(name) for name in ("c1", "lb1", "lb2"))
    first = Active(lb1)
    wait_for(lambda: answers(client, lb1, address), 20, f"{address} to answer on lb1")
    assert entry(client, address) == TEXT
    with lb1.inside():
        assert first.addresses.drop() == []
    Active(lb2)
    wait_for(lambda: answers(client, lb2, address), 20, f"{address} to answer on lb2")
    assert entry(client, address) == TEXT


def test_only_the_virtual_mac_answers_for_the_virtual_ip_and_only_the_own_for_the_node(lab: Lab) -> None:
    client, lb1 = lab.host("c1"), lab.host("lb1")
    Active(lb1)
    for _ in range(5):
        forget(client, "10.9.0.100")
        assert answers(client, lb1, "10.9.0.100")
        assert answers(client, lb1, lb1.address)
        assert entry(client, "10.9.0.100") == TEXT
        assert entry(client, lb1.address) not in ("", TEXT)


def test_what_is_sent_from_the_virtual_ip_does_not_give_the_nodes_own_mac_away(lab: Lab) -> None:
    client, lb1 = lab.host("c1"), lab.host("lb1")
    Active(lb1)
    assert answers(client, lb1, "10.9.0.100")
    forget(lb1, client.address)  # so that lb1 has to ask for the client, on behalf of the virtual IP
    with lb1.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("10.9.0.100", 0))
        sock.sendto(b"?", (client.address, PORT))
    wait_for(lambda: entry(lb1, client.address), 20, "lb1 to have found the client")
    assert entry(client, "10.9.0.100") == TEXT


def test_the_virtual_ips_are_no_source_of_the_nodes_own_traffic(lab: Lab) -> None:
    lb1 = lab.host("lb1")
    Active(lb1)
    with lb1.inside():
        for target, expected in (("10.9.0.31", lb1.address), ("fd00:9::31", lb1.address6)):
            (chosen,) = asked(f"route get {target}")
            assert (chosen["dev"], ip_address(chosen["prefsrc"])) == ("e0", ip_address(expected))
