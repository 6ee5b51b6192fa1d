"""A mixed pair: our director beside Debian's keepalived. Each takes over from the other, in each way there is.

Version 2 and 3, IPv4 and IPv6, multicast and unicast: the same story each time. An active is found, preempted, resigns
as planned, falls silent; once it is ours and once it is theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import wait_for
from tests.interop.keepalived import VIRTUAL_IP6, Keepalived, Router, holders, unicast, wait_for_holder
from tests.pairs import config, write

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

OURS6, THEIRS6 = "fd00:9::11", "fd00:9::12"


@dataclass(frozen=True)
class Way:
    """How the two speak.

    Arguments:
        address: the virtual IP.
        ours: what our config says of it.
        theirs: lines of keepalived's instance.
        version: of VRRP.
        interval_s: between advertisements.
    """

    address: str = VIRTUAL_IP
    ours: dict[str, Any] = field(default_factory=dict)
    theirs: str = ""
    version: int = 3
    interval_s: float = 0.2
    also: tuple[str, ...] = ()

    @property
    def virtual_ips(self) -> list[str]:
        """What both are to hold."""
        return [f"{each}/{64 if ':' in each else 32}" for each in (*self.also, self.address)]

    def config(self) -> dict[str, Any]:
        """Our config file."""
        interval = f"{self.interval_s * 1000:g}ms"
        content = config(virtual_ips=self.virtual_ips, version=self.version, interval=interval, **self.ours)
        for name, address in (("lb1", OURS6), ("lb2", THEIRS6)):
            content["nodes"][name]["address6"] = address
        return content

    def router(self, priority: int) -> Router:
        """Their instance."""
        return Router(priority, interval_s=self.interval_s, virtual_ips=self.virtual_ips, more=self.theirs)


UNICAST: dict[str, Any] = {"ours": {"unicast": True}, "theirs": unicast("10.9.0.12", "10.9.0.11")}
# Without unicast_ttl keepalived 2.2 leaves the hop limit of IPv6 unicast to the kernel, which says 64.
THEIRS_UNICAST6 = unicast(THEIRS6, OURS6) + "\n    unicast_ttl 255"
UNICAST6: dict[str, Any] = {"ours": {"unicast": True}, "theirs": THEIRS_UNICAST6}
# RFC 9568 5.2.9 has a link-local virtual IP come first.
IPV6: dict[str, Any] = {"address": VIRTUAL_IP6, "also": ("fe80::100",)}
V2: dict[str, Any] = {"version": 2, "interval_s": 1.0}
WAYS = {
    "v3-multicast": Way(),
    "v3-unicast": Way(**UNICAST),
    "v3-ipv6-multicast": Way(**IPV6, theirs="native_ipv6"),
    "v3-ipv6-unicast": Way(**IPV6, **UNICAST6),
    "v3-other-group": Way(ours={"group": "224.0.0.200"}),
    "v2-multicast": Way(**V2),
    "v2-unicast": Way(**V2, **UNICAST),
}
THEIR_GROUP = {"v3-other-group": "vrrp_mcast_group4 224.0.0.200"}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("mixed", tmp_path) as lab:
        yield lab


def mixed(lab: Lab, name: str, priority: int) -> tuple[Way, Director, Keepalived]:
    """Our director on lb1 and keepalived on lb2 with this priority; ours has 150."""
    way = WAYS[name]
    ours = Director(lab.host("lb1"), write(lab.directory / "c.yml", way.config()), lab.directory / "lb1")
    more = THEIR_GROUP.get(name, "")
    theirs = Keepalived(lab.host("lb2"), lab.directory, way.router(priority), version=way.version, more=more)
    return way, ours, theirs


def understood(ours: Director) -> None:
    """Nothing of what keepalived sent was strange to us."""
    log = ours.log.read_text()
    for words in ("advertisement dropped", "virtual IPs differ", "intervals differ", "not sent"):
        assert words not in log, log


@pytest.mark.parametrize("name", WAYS)
def test_our_active_and_their_backup(lab: Lab, name: str) -> None:
    way, ours, theirs = mixed(lab, name, 120)
    theirs.start()
    wait_for_holder(lab, "lb2", way.address)
    ours.start()
    wait_for_holder(lab, "lb1", way.address)  # we preempt; they accept our advertisements
    theirs.heard("higher priority 150")
    ours.stop()
    wait_for_holder(lab, "lb2", way.address)  # they accept our resignation
    ours.start()
    wait_for_holder(lab, "lb1", way.address)
    ours.kill()
    wait_for_holder(lab, "lb2", way.address)  # they notice our silence, and our lease ends
    theirs.stop()
    understood(ours)


@pytest.mark.parametrize("name", [name for name in WAYS if name != "v2-unicast"])  # slow, and said by the others
def test_their_active_and_our_backup(lab: Lab, name: str) -> None:
    way, ours, theirs = mixed(lab, name, 200)
    ours.start()
    wait_for_holder(lab, "lb1", way.address)
    theirs.start()
    wait_for_holder(lab, "lb2", way.address)
    wait_for(lambda: "has priority 200" in ours.log.read_text(), 10, "us to say why we yielded")
    theirs.stop()
    wait_for_holder(lab, "lb1", way.address)
    assert "resigned" in ours.log.read_text()
    theirs.start()
    wait_for_holder(lab, "lb2", way.address)
    lab.cut("lb2")
    wait_for(lambda: "lb1" in holders(lab, way.address), 15, "lb1 to take over")
    lab.heal("lb2")
    wait_for_holder(lab, "lb2", way.address)
    theirs.stop()
    understood(ours)
