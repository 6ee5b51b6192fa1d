"""Interfaces of a real kernel: who they are, and news of them."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator

import pytest

from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.errors import PlatformError
from ha_lvs.kernel import links
from ha_lvs.kernel.links import LinkMonitor
from tests.cables import asked, cabled, conf, ip, plug

pytestmark = pytest.mark.netns

DEADLINE_S = 20


@pytest.fixture(autouse=True)
def _machine() -> Iterator[None]:
    with cabled("e0", "e1"):
        wait_for(lambda: all(is_up(name) for name in ("e0", "e1")), DEADLINE_S, "the interfaces to be up")
        yield


@pytest.fixture
def monitor() -> Iterator[LinkMonitor]:
    found = LinkMonitor(["e0", "e1", "e7"])
    yield found
    found.close()


def is_up(interface: str) -> bool:
    return bool(asked(f"link show dev {interface}")[0]["operstate"] == "UP")


def news(monitor: LinkMonitor, count: int) -> list[tuple[str, bool]]:
    """So many changes, waited for at the socket: nothing else wakes whoever waits."""
    found: list[tuple[str, bool]] = []
    deadline = time.monotonic() + DEADLINE_S * PACE
    while len(found) < count and time.monotonic() < deadline:
        select.select([monitor], [], [], deadline - time.monotonic())
        found += monitor.read()
    return found


def test_the_states_at_the_start(monitor: LinkMonitor) -> None:
    assert monitor.states() == {"e0": True, "e1": True, "e7": False}
    assert monitor.read() == []


def test_a_carrier_is_lost_and_comes_back(monitor: LinkMonitor) -> None:
    ip("link set p-e0 down")
    assert news(monitor, 1) == [("e0", False)]
    ip("link set p-e0 up")
    assert news(monitor, 1) == [("e0", True)]
    assert monitor.states()["e0"] is True


def test_an_interface_is_switched_off_and_on(monitor: LinkMonitor) -> None:
    ip("link set e1 down")
    assert news(monitor, 1) == [("e1", False)]
    ip("link set e1 up")
    assert news(monitor, 1) == [("e1", True)]


def test_an_interface_is_deleted_and_made_anew(monitor: LinkMonitor) -> None:
    before = links.index_of("e0")
    ip("link del e0")
    assert news(monitor, 1) == [("e0", False)]
    plug("e0")
    assert news(monitor, 1) == [("e0", True)]
    assert links.index_of("e0") != before
    ip("link set p-e0 down")
    assert news(monitor, 1) == [("e0", False)], "the new one is watched"


def test_one_that_did_not_exist_is_made(monitor: LinkMonitor) -> None:
    plug("e7")
    assert news(monitor, 1) == [("e7", True)]


def test_a_renamed_interface_has_left_its_name(monitor: LinkMonitor) -> None:
    ip("link set e0 down")
    ip("link set e0 name e7")
    assert news(monitor, 1) == [("e0", False)]
    ip("link set e7 up")
    assert news(monitor, 1) == [("e7", True)]


def test_others_and_settings_and_bridge_ports_make_no_news(monitor: LinkMonitor) -> None:
    plug("e8")
    ip("link del e8")
    ip("link set e0 mtu 1400")
    ip("link add br0 type bridge")
    ip("link set e0 master br0")
    ip("link set e0 nomaster")
    ip("link set e1 down")  # the last one, so that all before has been read
    assert news(monitor, 1) == [("e1", False)]


def test_more_changes_than_the_buffer_holds_end_in_the_right_state(monitor: LinkMonitor) -> None:
    monitor._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel rounds up to its least
    for mtu in range(1300, 1340):
        ip(f"link set p-e1 mtu {mtu}")
    ip("link set e0 down")
    assert ("e0", False) in news(monitor, 1)
    assert monitor.states() == {"e0": False, "e1": True, "e7": False}


# ----------------------------------------------------------------------------------------- who they are


def test_a_missing_interface_is_named_with_those_that_are_there() -> None:
    with pytest.raises(PlatformError, match=r"interface e7 does not exist .*e0.*"):
        links.index_of("e7")


def test_hardware_addresses() -> None:
    mac = links.hardware_address("e0")
    assert mac is not None
    assert mac.hex(":") == asked("link show dev e0")[0]["address"]
    assert links.hardware_address("lo") is None
    with pytest.raises(OSError):
        links.hardware_address("e7")


def test_the_link_local_address_is_the_interfaces_own() -> None:
    ip("addr add fd00:9::11/64 dev e0")
    (link,) = asked("-6 addr show dev e0")
    expected = {each["local"] for each in link["addr_info"] if each["scope"] == "link"}
    assert {str(links.link_local("e0"))} == expected
    assert links.link_local("e0") != links.link_local("e1")


def test_there_is_no_link_local_address_while_the_kernel_looks_for_duplicates() -> None:
    for scope in ("all", "e1"):
        conf("ipv6", scope, "accept_dad", 1)
    conf("ipv6", "e1", "dad_transmits", 100)
    ip("link set e1 down")
    ip("link set e1 up")
    wait_for(lambda: asked("-6 addr show dev e1 tentative"), DEADLINE_S, "the address to be tentative")
    assert links.link_local("e1") is None


def test_there_is_none_without_ipv6() -> None:
    conf("ipv6", "e0", "disable_ipv6", 1)
    assert links.link_local("e0") is None
