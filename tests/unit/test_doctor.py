"""What `ha-lvs doctor` makes of a machine: facts in, findings with remedies out."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.config.loader import load
from ha_lvs.config.parts import director_part
from ha_lvs.daemon.realtime import REALTIME_PRIORITY
from ha_lvs.kernel.facts import unit_of
from ha_lvs.model import (
    AddressRange,
    Destination,
    DirectorPart,
    Encapsulation,
    Forwarding,
    Protocol,
    Service,
    ServiceKey,
    Traffic,
    Tunnel,
    TunnelChecksum,
)
from ha_lvs.plan import doctor
from ha_lvs.plan.doctor import judge, overhead
from ha_lvs.plan.facts import Facts, Finding, Judgement, Module, Unit, needs

DATA = Path(__file__).parent / "data"
SERVERS = (IPv4Address("10.9.0.21"), IPv4Address("10.9.0.22"))
UNIT = Unit("ha-lvs", frozenset({"cap_net_admin", "cap_net_raw"}), 50, None)
SOUND = Facts(
    modules=dict.fromkeys(("ip_vs", "ip_vs_wlc", "nf_tables", "nft_fib_inet", "macvlan"), Module.LOADED),
    ipvs_version="1.2.1",
    nft="/usr/sbin/nft",
    masquerades=False,
    capable=frozenset({"cap_net_admin", "cap_net_raw"}),
    sysctls={"net/ipv4/ip_forward": 1, "net/ipv4/conf/all/rp_filter": 0, "net/ipv4/conf/e0/rp_filter": 0},
    interfaces={"e0": 1500},
    default_interfaces=frozenset({"e0"}),
    path_mtus=dict.fromkeys(SERVERS, 1500),
    clock_synchronised=True,
    unit=UNIT,
)


def pair(forwarding: Forwarding = Forwarding.DR, **changes: Any) -> DirectorPart:
    """The config of the examples, with its servers reached otherwise."""
    part = director_part(load(DATA / "pair.yml"), "lb1")

    def reached(destination: Destination) -> Destination:
        return replace(destination, forwarding=forwarding, **changes)

    (service,) = part.services
    servers = tuple(replace(each, destination=reached(each.destination)) for each in service.servers)
    return replace(part, services=(replace(service, servers=servers),))


def group() -> DirectorPart:
    part = pair()
    traffic = Traffic((Protocol.TCP,), (AddressRange(IPv4Address("10.9.0.100"), IPv4Address("10.9.0.103")),))
    service = replace(part.services[0], service=Service(ServiceKey.of_mark(1), "wlc"), traffic=traffic)
    return replace(part, services=(service,))


def amiss(part: DirectorPart, facts: Facts) -> dict[str, Finding]:
    return {each.check: each for each in judge(part, facts) if each.judgement is not Judgement.OK}


def test_a_sound_machine_has_nothing_amiss() -> None:
    assert amiss(pair(), SOUND) == {}


@pytest.mark.parametrize(
    ("changes", "check", "remedy"),
    [
        ({"interfaces": {}}, "interface e0", "make it"),
        ({"down": frozenset({"e0"})}, "interface e0", "ip link set e0 up"),
        ({"ipvs_version": None, "ipvs_problem": "load it"}, "IPVS", "load it"),
        ({"modules": {"ip_vs": Module.LOADED, "ip_vs_wlc": Module.MISSING}}, "module ip_vs_wlc", "linux-image-amd64"),
        ({"clock_synchronised": False}, "clock", "chrony"),
        ({"unit": replace(UNIT, capabilities=frozenset({"cap_net_raw"}))}, "capabilities of the unit", "CAP_NET_ADMIN"),
        ({"unit": replace(UNIT, realtime_priority=0)}, "LimitRTPRIO", "LimitRTPRIO=50"),
        ({"unit": replace(UNIT, locked_bytes=8 << 20)}, "LimitMEMLOCK", "LimitMEMLOCK=infinity"),
    ],
)
def test_what_is_broken_must_be_mended_and_how_is_told(changes: dict[str, Any], check: str, remedy: str) -> None:
    (finding,) = amiss(pair(), replace(SOUND, **changes)).values()
    assert (finding.check, finding.judgement) == (check, Judgement.MEND)
    assert remedy in finding.remedy


def test_a_unit_of_root_needs_no_capabilities_of_its_own() -> None:
    assert amiss(pair(), replace(SOUND, unit=Unit("", frozenset(), 50, None))) == {}


def test_a_scheduler_may_be_left_to_the_kernel_to_load_but_ip_vs_not() -> None:
    modules = {"ip_vs": Module.AVAILABLE, "ip_vs_wlc": Module.AVAILABLE}
    found = amiss(pair(), replace(SOUND, modules=modules, ipvs_version=None, ipvs_problem="load it"))
    assert found.keys() == {"IPVS", "module ip_vs"}
    assert "modprobe ip_vs" in found["module ip_vs"].remedy


def test_what_could_not_be_seen_is_a_note_and_not_fine() -> None:
    blind = Facts(interfaces={"e0": 1500})
    assert {
        each.check: each.judgement for each in amiss(group(), replace(blind, nft="nft", nft_problem="no")).values()
    } == {
        "IPVS": Judgement.NOTE,
        "module ip_vs": Judgement.NOTE,
        "module ip_vs_wlc": Judgement.NOTE,
        "nftables": Judgement.NOTE,
        "addresses of web": Judgement.NOTE,
        "clock": Judgement.NOTE,
        "unit ha-lvs.service": Judgement.NOTE,
    }


# ------------------------------------------------------------------------------------- forwarding, tunnels, groups


@pytest.mark.parametrize("forwarding", Forwarding)
def test_the_kernel_must_forward_for_nat_only(forwarding: Forwarding) -> None:
    facts = replace(SOUND, sysctls={"net/ipv4/ip_forward": 0}, path_mtus={})
    assert amiss(pair(forwarding), facts).keys() == ({"net.ipv4.ip_forward"} if forwarding is Forwarding.NAT else set())


def test_redirects_and_masquerading_are_noted_where_nat_is_used() -> None:
    sysctls = {"net/ipv4/ip_forward": 1, "net/ipv4/conf/e0/send_redirects": 1, "net/ipv4/vs/conntrack": 0}
    facts = replace(SOUND, sysctls=sysctls, masquerades=True)
    found = amiss(pair(Forwarding.NAT), facts)
    assert {each.check: each.judgement for each in found.values()} == {
        "send_redirects": Judgement.NOTE,
        "conntrack": Judgement.NOTE,
    }
    assert "net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.e0.send_redirects=0" in found["send_redirects"].remedy
    assert amiss(pair(), facts) == {}


@pytest.mark.parametrize(
    ("server", "encapsulation", "bytes_"),
    [
        ("10.9.0.21", None, 20),
        ("2001:db8::1", None, 40),
        ("10.9.0.21", Encapsulation(Tunnel.GRE), 24),
        ("10.9.0.21", Encapsulation(Tunnel.GRE, checksum=TunnelChecksum.FULL), 28),
        ("10.9.0.21", Encapsulation(Tunnel.GUE, 6080), 32),
        ("10.9.0.21", Encapsulation(Tunnel.GUE, 6080, TunnelChecksum.FULL), 32),
        ("10.9.0.21", Encapsulation(Tunnel.GUE, 6080, TunnelChecksum.REMOTE), 40),
    ],
)
def test_what_a_tunnel_adds(server: str, encapsulation: Encapsulation | None, bytes_: int) -> None:
    assert overhead(encapsulation, ip_address(server)) == bytes_


def test_a_tunnel_with_too_small_an_mtu_is_noted_with_figures() -> None:
    found = amiss(pair(Forwarding.TUN), SOUND)
    assert found.keys() == {"tunnel to 10.9.0.21", "tunnel to 10.9.0.22"}
    one = found["tunnel to 10.9.0.21"]
    assert one.found == "MTU 1500 leaves 1480 bytes; packets of clients may have 1500"
    assert one.remedy.startswith("an MTU of 1520 on the way to the server")
    assert "advmss 1440" in one.remedy
    assert amiss(pair(Forwarding.TUN), replace(SOUND, path_mtus=dict.fromkeys(SERVERS, 1520))) == {}


def test_a_group_needs_nftables_and_its_addresses_here() -> None:
    found = amiss(group(), SOUND)
    assert found.keys() == {"addresses of web"}, "one of four is a virtual IP"
    assert found["addresses of web"].found == "3 of 10.9.0.100-10.9.0.103 are no virtual IPs"
    assert "apt install nftables" in amiss(group(), replace(SOUND, nft=""))["nftables"].remedy
    assert amiss(group(), replace(SOUND, nft_problem="load it"))["nftables"].remedy == "load it"
    assert needs(group()).groups
    assert not needs(pair()).groups


@pytest.mark.parametrize(
    ("everywhere", "here", "default", "noted"),
    [
        (0, 1, "e1", True),
        (1, 0, "e1", True),
        (1, 1, "e0", False),
        (2, 1, "e1", False),
        (0, 0, "e1", False),
    ],
)
def test_a_strict_reverse_path_filter_matters_where_the_way_back_is_another(
    everywhere: int, here: int, default: str, noted: bool
) -> None:
    sysctls = {"net/ipv4/conf/all/rp_filter": everywhere, "net/ipv4/conf/e0/rp_filter": here}
    facts = replace(SOUND, sysctls=sysctls, default_interfaces=frozenset({default}))
    assert ("rp_filter of e0" in amiss(pair(), facts)) == noted


def test_a_sysctl_of_the_config_that_the_kernel_lacks_must_go() -> None:
    part = replace(pair(), sysctls=(("sloppy_tcp", 1), ("unheard_of", 1)))
    facts = replace(SOUND, sysctls={**SOUND.sysctls, "net/ipv4/vs/sloppy_tcp": 0})
    assert amiss(part, facts).keys() == {"net.ipv4.vs.unheard_of"}


def test_a_pure_vrrp_pair_is_not_asked_for_ipvs() -> None:
    part = replace(pair(), services=(), sync=None)
    assert needs(part).modules == ()
    assert amiss(part, replace(SOUND, ipvs_version=None, modules={})) == {}
    assert amiss(part, replace(SOUND, clock_synchronised=False))["clock"].judgement is Judgement.NOTE


def test_ipv6_servers_behind_nat_need_their_own_forwarding() -> None:
    part = pair(Forwarding.NAT)
    (service,) = part.services
    first = service.servers[0]
    key = replace(first.destination.key, address=IPv6Address("2001:db8::21"))
    servers = (replace(first, destination=replace(first.destination, key=key)),)
    part = replace(part, services=(replace(service, servers=servers),))
    assert amiss(part, replace(SOUND, sysctls={})).keys() == {"net.ipv6.conf.all.forwarding"}


# -------------------------------------------------------------------------------------------------- what systemd says


def test_the_unit_is_read() -> None:
    said = (
        "LimitMEMLOCK=infinity\nLimitRTPRIO=50\nAmbientCapabilities=cap_net_admin cap_net_raw\nUser=ha-lvs\n"
        "LoadState=loaded\n"
    )
    assert unit_of(said) == UNIT
    assert unit_of(said.replace("loaded", "not-found")) is None
    plain = unit_of("LoadState=loaded\nLimitMEMLOCK=8388608\nLimitRTPRIO=0\nUser=\nAmbientCapabilities=\n")
    assert plain == Unit("", frozenset(), 0, 8388608)


def test_the_priority_that_is_asked_for_is_the_electors() -> None:
    assert doctor.REALTIME_PRIORITY == REALTIME_PRIORITY
