"""tshark, which knows VRRP, IPv6 and ARP from their specifications, reads what we send."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from tests.interop.keepalived import VIRTUAL_IP6, wait_for_holder
from tests.pairs import authentication, config, key, write

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

Layers = dict[str, Any]
GOOD = "1"
VRRP, VRRP6 = "ip proto 112", "ip6 proto 112"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("tshark", tmp_path) as lab:
        yield lab


def start(lab: Lab, **changes: Any) -> Director:
    """A director of its own on lb1."""
    content = config(**changes)
    content["nodes"]["lb1"]["address6"] = "fd00:9::11"
    content["nodes"]["lb2"]["address6"] = "fd00:9::12"
    director = Director(lab.host("lb1"), write(lab.directory / "c.yml", content), lab.directory / "lb1")
    director.start()
    return director


def dissect(
    host: Host, what: str, count: int, meanwhile: Callable[[], object] = lambda: None, at_most_s: int = 20
) -> list[Layers]:
    """What tshark makes of the next packets that a host sees.

    Arguments:
        what: a capture filter.
        count: how many.
        meanwhile: done once it listens.
    """
    file = f"/tmp/{host.namespace}.pcap"  # where tshark, which gives up root, may write
    limits = ["-c", str(count), "-a", f"duration:{round(at_most_s * PACE)}"]
    capture = host.popen(["tshark", "-q", "-i", "e0", "-f", what, *limits, "-w", file], stderr=-3)
    try:
        wait_for(lambda: Path(file).exists() and Path(file).stat().st_size, 20, "tshark to listen")
        meanwhile()
        capture.wait(3 * at_most_s * PACE)
        output = host.run(["tshark", "-r", file, "-T", "json", "--no-duplicate-keys"], timeout_s=60)
    finally:
        Path(file).unlink(missing_ok=True)
    packets: list[dict[str, Any]] = json.loads(output.stdout)
    assert len(packets) == count
    return [packet["_source"]["layers"] for packet in packets]


def advertisements(lab: Lab, what: str = VRRP) -> list[Layers]:
    """Three of ours."""
    return dissect(lab.host("lb1"), what, 3)


def test_version_3(lab: Lab) -> None:
    start(lab)
    wait_for_holder(lab, "lb1")
    for layers in advertisements(lab):
        ip, vrrp = layers["ip"], layers["vrrp"]
        assert (ip["ip.ttl"], ip["ip.src"], ip["ip.dst"]) == ("255", "10.9.0.11", "224.0.0.18")
        assert vrrp["vrrp.virt_rtr_id"] == "51"
        assert vrrp["vrrp.prio"] == "150"
        assert vrrp["vrrp.short_adver_int"] == "20"
        assert vrrp["vrrp.checksum.status"] == GOOD, vrrp
        assert VIRTUAL_IP in json.dumps(vrrp)


def test_version_2(lab: Lab) -> None:
    start(lab, version=2, interval="1s")
    wait_for_holder(lab, "lb1")
    for layers in advertisements(lab):
        vrrp = layers["vrrp"]
        assert '"vrrp.version": "2"' in json.dumps(vrrp)
        assert (vrrp["vrrp.auth_type"], vrrp["vrrp.adver_int"]) == ("0", "1")
        assert vrrp["vrrp.checksum.status"] == GOOD, vrrp
        assert VIRTUAL_IP in json.dumps(vrrp)


def test_version_3_over_ipv6(lab: Lab) -> None:
    start(lab, virtual_ips=[f"{VIRTUAL_IP6}/64", "fe80::100/64"])
    wait_for_holder(lab, "lb1", VIRTUAL_IP6)
    for layers in advertisements(lab, VRRP6):
        ip, vrrp = layers["ipv6"], layers["vrrp"]
        assert (ip["ipv6.hlim"], ip["ipv6.dst"]) == ("255", "ff02::12")
        assert ip["ipv6.src"].startswith("fe80::")
        assert vrrp["vrrp.checksum.status"] == GOOD, vrrp
        text = json.dumps(vrrp)
        assert text.index("fe80::100") < text.index(VIRTUAL_IP6), "the link-local one comes first (RFC 9568 5.2.9)"


@pytest.mark.parametrize("what", [VRRP, VRRP6], ids=["ipv4", "ipv6"])
def test_signed(lab: Lab, what: str) -> None:
    """The trailer belongs to the checksum, and hides nothing of the rest."""
    address = VIRTUAL_IP if what == VRRP else VIRTUAL_IP6
    content = config(virtual_ips=[address]) | authentication(key(lab, "one", "a" * 64))
    director = Director(lab.host("lb1"), write(lab.directory / "c.yml", content), lab.directory / "lb1")
    director.start()
    wait_for_holder(lab, "lb1", address)
    for layers in advertisements(lab, what):
        vrrp = layers["vrrp"]
        assert vrrp["vrrp.addr_count"] == "1"
        assert vrrp["vrrp.checksum.status"] == GOOD, vrrp
        assert address in json.dumps(vrrp)


def test_the_resignation(lab: Lab) -> None:
    director = start(lab)
    wait_for_holder(lab, "lb1")
    [layers] = dissect(lab.host("c1"), f"{VRRP} and ip[21+1] = 0", 1, director.stop)
    assert layers["vrrp"]["vrrp.prio"] == "0"
    assert layers["vrrp"]["vrrp.checksum.status"] == GOOD


def test_the_gratuitous_arp(lab: Lab) -> None:
    [layers] = dissect(lab.host("c1"), f"arp src host {VIRTUAL_IP}", 1, lambda: start(lab))
    arp = layers["arp"]
    assert arp["arp.isgratuitous"] == "1"
    assert (arp["arp.src.proto_ipv4"], arp["arp.dst.proto_ipv4"]) == (VIRTUAL_IP, VIRTUAL_IP)
    assert layers["eth"]["eth.dst"] == "ff:ff:ff:ff:ff:ff"


def test_the_unsolicited_neighbour_advertisement(lab: Lab) -> None:
    what = "icmp6 and ip6[40] = 136 and dst host ff02::1"
    ips = [f"{VIRTUAL_IP6}/64"]
    [layers] = dissect(lab.host("c1"), what, 1, lambda: start(lab, virtual_ips=ips))
    ip, icmp = layers["ipv6"], layers["icmpv6"]
    assert ip["ipv6.hlim"] == "255"
    assert icmp["icmpv6.checksum.status"] == GOOD, icmp
    assert icmp["icmpv6.nd.na.target_address"] == VIRTUAL_IP6
    text = json.dumps(icmp)
    assert '"icmpv6.nd.na.flag.o": "1"' in text, "it overrides what neighbours know"
    assert '"icmpv6.nd.na.flag.s": "0"' in text, "nobody asked"
    assert mac_of(lab) in text


def mac_of(lab: Lab) -> str:
    """The hardware address of lb1's interface."""
    found = json.loads(lab.host("lb1").run(["ip", "-j", "link", "show", "dev", "e0"]).stdout)
    return str(found[0]["address"])
