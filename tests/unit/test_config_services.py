"""All that a config file says of services, servers and IPVS: what it comes to, and what is wrong with it."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.config.derived import MARKS, made_marks
from ha_lvs.config.parts import director_part
from ha_lvs.daemon.shapes import from_json, to_json
from ha_lvs.model import (
    SCHEDULERS,
    AddressRange,
    Destination,
    DestinationKey,
    DirectorPart,
    Encapsulation,
    Forwarding,
    PortRange,
    Protocol,
    Quorum,
    ServiceKey,
    Timeouts,
    Traffic,
    Tunnel,
    TunnelChecksum,
    VirtualPath,
    VirtualService,
)
from tests.unit.configs import PAIR, changed, config_of, one, refused, service

TWO_FAMILIES = {"edge": PAIR["instances"]["edge"] | {"virtual_ips": ["10.9.0.100", "10.9.0.101", "fd00:9::100"]}}
GROUP = {"addresses": ["10.9.0.100-10.9.0.101"], "ports": [80, "8000-8100"], "protocol": "tcp"}
PROBED = {"type": "tcp", "port": 80}


def wide(*services: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A pair with virtual IPs of both families, without connection sync."""
    named = [{"name": f"s{n}", "forwarding": "dr", "check": PROBED} | each for n, each in enumerate(services)]
    data = changed(instances=TWO_FAMILIES, services=named, **changes)
    del data["connection_sync"]
    return data


def part_of(data: dict[str, Any]) -> DirectorPart:
    part = director_part(config_of(data), "lb1")
    assert from_json(DirectorPart, json.loads(json.dumps(to_json(part)))) == part
    return part


def service_of(**changes: Any) -> VirtualService:
    return part_of(wide({"listen": "10.9.0.100:80/tcp"} | changes)).services[0]


# -------------------------------------------------------------------------------------------------------- listen


@pytest.mark.parametrize(
    ("listen", "key"),
    [
        ("10.9.0.100:80/udp", ServiceKey(ip_address("10.9.0.100"), 80, Protocol.UDP)),
        ("[fd00:9::100]:443/sctp", ServiceKey(ip_address("fd00:9::100"), 443, Protocol.SCTP)),
        ("mark 5", ServiceKey.of_mark(5)),
        ("mark 0x10 ipv6", ServiceKey.of_mark(16, 6)),
        ({"mark": 5}, ServiceKey.of_mark(5)),
        ({"mark": 5, "family": "ipv6"}, ServiceKey.of_mark(5, 6)),
        (
            {"addresses": ["10.9.0.100"], "ports": [80], "protocol": ["tcp"]},
            ServiceKey(ip_address("10.9.0.100"), 80, Protocol.TCP),
        ),
    ],
)
def test_what_a_service_listens_on(listen: Any, key: ServiceKey) -> None:
    found = service_of(listen=listen)
    assert (found.service.key, found.traffic) == (key, None)


def test_two_spellings_of_one_listen_have_one_digest() -> None:
    long = {"addresses": ["10.9.0.100"], "ports": [80], "protocol": "tcp"}
    assert config_of(wide({"listen": long})).digest == config_of(wide({"listen": "10.9.0.100:80/tcp"})).digest


def test_a_group_gets_a_mark() -> None:
    found = service_of(listen=GROUP | {"protocol": ["udp", "tcp"]})
    addresses = (AddressRange(ip_address("10.9.0.100"), ip_address("10.9.0.101")),)
    assert found.traffic == Traffic((Protocol.TCP, Protocol.UDP), addresses, (PortRange(80, 80), PortRange(8000, 8100)))
    assert found.service.key == ServiceKey.of_mark(made_marks(["s0"], ())["s0"])
    assert service_of(listen=GROUP | {"mark": 9}).service.key == ServiceKey.of_mark(9)
    assert service_of(listen={"addresses": ["10.20.0.0/24"], "protocol": "tcp", "routed": True}).traffic == Traffic(
        (Protocol.TCP,), (AddressRange(ip_address("10.20.0.0"), ip_address("10.20.0.255")),)
    )


def test_a_server_of_several_ports_keeps_the_clients_port() -> None:
    found = service_of(listen=GROUP, servers=["10.9.0.21"])
    assert str(found.servers[0].destination.key) == "10.9.0.21:0"
    assert found.servers[0].checks[0].port == 80


@given(st.sets(st.text(min_size=1, max_size=8), max_size=40), st.sets(st.integers(1, 2**32 - 1), max_size=5))
def test_marks_are_ours_and_unique_and_the_same_in_any_order(names: set[str], taken: set[int]) -> None:
    marks = made_marks(names, taken)
    assert marks == made_marks(sorted(names, reverse=True), taken)
    assert len(set(marks.values())) == len(names)
    assert not taken & set(marks.values())
    assert all(mark & 0xFFFF0000 == MARKS for mark in marks.values())


def test_another_service_renumbers_none_and_a_collision_takes_the_next() -> None:
    names = [f"web{n}" for n in range(50)]
    few = made_marks(names, ())
    assert {name: mark for name, mark in made_marks([*names, "another"], ()).items() if name in few} == few
    assert made_marks(["web1"], [few["web1"]])["web1"] == few["web1"] + 1


# --------------------------------------------------------------------------------------- scheduling, servers, pools


def test_scheduling() -> None:
    found = service_of(
        scheduler={"name": "mh", "fallback": True, "hash_port": True}, persistence={"timeout": "1m", "prefix": 24}
    ).service
    assert (found.scheduler, found.fallback, found.hash_port) == ("mh", True, True)
    assert (found.persistence_timeout_s, found.persistence_prefix) == (60, 24)
    assert service_of(persistence={"timeout": "1m", "prefix": 32}).service.persistence_prefix is None
    calls = service_of(listen="10.9.0.100:5060/udp", persistence={"timeout": "1m", "engine": "sip"}, one_packet=True)
    assert (calls.service.persistence_engine, calls.service.one_packet) == ("sip", True)
    assert service_of(listen="10.9.0.100:0/tcp", persistence="1m").service.key.port == 0


@pytest.mark.parametrize(
    ("tunnel", "expected"),
    [
        (None, None),
        ("ipip", None),
        ("gue", Encapsulation(Tunnel.GUE, 6080)),
        (
            {"type": "gue", "port": 7000, "checksum": "remote"},
            Encapsulation(Tunnel.GUE, 7000, TunnelChecksum.REMOTE),
        ),
        ({"type": "gre", "checksum": "full"}, Encapsulation(Tunnel.GRE, 0, TunnelChecksum.FULL)),
    ],
)
def test_tunnels(tunnel: Any, expected: Encapsulation | None) -> None:
    own = {"address": "fd00:9::21"} | ({} if tunnel is None else {"tunnel": tunnel})
    for_all = {} if tunnel is None else {"tunnel": tunnel}
    first = service_of(forwarding="tun", servers=[own]).servers[0].destination
    second = service_of(forwarding="tun", servers=["fd00:9::21"], **for_all).servers[0].destination
    assert (
        first
        == second
        == Destination(DestinationKey(ip_address("fd00:9::21"), 80), Forwarding.TUN, encapsulation=expected)
    )


def test_limits() -> None:
    servers = [
        {"address": "10.9.0.21", "connections": 100},
        {"address": "10.9.0.22", "connections": {"most": 100, "resume": 80}},
    ]
    found = [each.destination for each in service_of(servers=servers).servers]
    assert [(each.upper_threshold, each.lower_threshold) for each in found] == [(100, 0), (100, 80)]


def test_pools() -> None:
    servers = [{"address": f"10.9.0.2{n}", "weight": 10} for n in range(4)]
    found = service_of(
        servers=servers, quorum={"least": 30, "of": "weight", "hysteresis": 10}, sorry="10.9.0.99", alpha=False,
        slow_start="30s", inhibit=True,
    )  # fmt: skip
    assert found.quorum == Quorum(30, True, 10)
    assert found.sorry == Destination(DestinationKey(ip_address("10.9.0.99"), 80), Forwarding.DR)
    assert (found.alpha, found.slow_start_s, found.inhibit, found.expire) == (False, 30.0, True, False)
    assert service_of(servers=servers, quorum=2).quorum == Quorum(2)
    usual = service_of()
    assert (usual.quorum, usual.sorry, usual.inhibit, usual.expire, usual.alpha) == (Quorum(), None, False, False, True)


@pytest.mark.parametrize(
    ("switch", "says", "expected"),
    [
        (None, (None, "keep"), [(False, False), (False, False)]),
        (None, ("expire", None), [(True, False), (False, True)]),
        (1, (None, "keep"), [(True, False), (False, True)]),
        (0, (None, "keep"), [(False, False), (False, False)]),
    ],
)
def test_one_switch_of_the_kernel_for_what_each_service_says(
    switch: int | None, says: tuple[str | None, str | None], expected: list[tuple[bool, bool]]
) -> None:
    services = [
        {"listen": f"10.9.0.100:{port}/tcp"} | ({} if each is None else {"on_down": each})
        for port, each in enumerate(says, 80)
    ]
    ipvs = {} if switch is None else {"sysctls": {"expire_nodest_conn": switch}}
    part = part_of(wide(*services, ipvs=ipvs))
    assert [(each.expire, each.inhibit) for each in part.services] == expected
    written = () if switch is None else (("expire_nodest_conn", switch),)
    assert part.sysctls == (written or ((("expire_nodest_conn", 1),) if "expire" in says else ()))


def test_timeouts_and_sysctls() -> None:
    ipvs = {"timeouts": {"tcp": "15m", "udp": "5m"}, "sysctls": {"est_nice": -5, "sloppy_tcp": 1}}
    part = part_of(wide(ipvs=ipvs))
    assert part.timeouts == Timeouts(900, 0, 300)
    assert dict(part.sysctls) == {"est_nice": -5, "sloppy_tcp": 1}


@pytest.mark.parametrize(
    ("whole", "own", "expected"),
    [(None, None, False), (None, True, True), (True, None, True), (True, False, False)],
)
def test_a_service_may_say_otherwise_of_passive_evidence(whole: bool | None, own: bool | None, expected: bool) -> None:
    said = {} if own is None else {"passive": own}
    part = part_of(wide({"listen": "10.9.0.100:80/tcp"} | said, ipvs={} if whole is None else {"passive": whole}))
    assert part.services[0].passive is expected


# ------------------------------------------------------------------------------------------------------- problems

WEIGHTED = [{"address": "10.9.0.21", "weight": 10}]


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        ({"listen": "10.9.0.100:0/tcp", "check": {"type": "none"}}, ["listen", "port 0", "persistence"]),
        ({"listen": "mark 0"}, ["listen", "0 is out of range"]),
        ({"listen": "mark five"}, ["listen", "'five' is not a whole number"]),
        ({"listen": "[10.9.0.100]:80/tcp"}, ["brackets"]),
        ({"listen": "fd00:9::100/tcp"}, ["no port", "[fd00:9::100]:80/tcp"]),
        ({"listen": {"ports": [80]}}, ["neither `addresses` nor a `mark`"]),
        ({"listen": {"mark": 5, "ports": [80]}}, ["listen.ports", "goes with `addresses`"]),
        ({"listen": GROUP | {"family": "ipv4"}}, ["listen.family", "remove it"]),
        ({"listen": {"addresses": ["10.9.0.100"]}}, ["`protocol` is missing"]),
        ({"listen": GROUP | {"addresses": ["10.9.0.100", "fd00:9::100"]}}, ["addresses", "for each family"]),
        ({"listen": GROUP | {"addresses": ["10.9.0.101-10.9.0.100"]}}, ["runs backwards", "10.9.0.100-10.9.0.101"]),
        ({"listen": GROUP | {"addresses": ["10.9.0.100", "10.9.0.100"]}}, ["addresses[1]", "already"]),
        ({"listen": GROUP | {"ports": [0]}}, ["ports[0]", "every port"]),
        ({"listen": GROUP | {"ports": ["90-80"]}}, ["ports[0]", "80-90"]),
        ({"listen": GROUP | {"ports": [80, "70-90"]}}, ["ports[1]", "already"]),
        ({"listen": GROUP | {"protocol": ["tcp", "tcp"]}}, ["protocol", "twice"]),
        ({"listen": GROUP | {"protcol": "tcp"}}, ["listen.protcol", "did you mean `protocol`?"]),
        (
            {"listen": GROUP | {"addresses": ["10.9.0.100-10.9.0.110"]}},
            ["listen.addresses[0]", "10.9.0.102, 10.9.0.103, 10.9.0.104 and 6 more", "routed: true"],
        ),
        ({"scheduler": {"name": "wlc", "fallback": True}}, ["scheduler.fallback", "sh or mh"]),
        ({"one_packet": True}, ["one_packet", "UDP"]),
        ({"listen": "10.9.0.100:53/udp", "passive": True}, ["passive", "only TCP"]),
        ({"persistence": {"timeout": "1m", "engine": "sip"}}, ["persistence.engine", "UDP"]),
        ({"persistence": {"timeout": "1m", "prefix": 64}}, ["persistence.prefix", "32"]),
        ({"persistence": {"prefix": 24}}, ["persistence: required key `timeout`"]),
        ({"servers": ["fd00:9::21"]}, ["servers[0]", "only tun"]),
        ({"listen": "[fd00:9::100]:80/tcp", "servers": ["10.9.0.21"]}, ["servers[0]", "only tun"]),
        ({"listen": GROUP, "servers": ["10.9.0.21:80"]}, ["servers[0]", "cannot change the ports"]),
        ({"listen": GROUP, "check": {}, "servers": ["10.9.0.21"]}, ["servers[0]", "no single port", "type: none"]),
        ({"servers": [{"address": "10.9.0.21", "connections": {"most": 5, "resume": 6}}]}, ["connections.resume", "5"]),
        ({"servers": [{"address": "10.9.0.21", "tunnel": "gue"}]}, ["servers[0].tunnel", "only tun"]),
        ({"tunnel": "gue"}, ["tunnel", "no server is reached by tun"]),
        ({"forwarding": "tun", "tunnel": {"type": "gre", "port": 5}}, ["tunnel.port", "gre has no port"]),
        ({"forwarding": "tun", "tunnel": {"type": "gre", "checksum": "remote"}}, ["tunnel.checksum", "GUE's"]),
        ({"forwarding": "tun", "tunnel": {"type": "ipip", "checksum": "full"}}, ["tunnel.checksum", "ipip"]),
        ({"forwarding": "tun", "tunnel": "geu"}, ["tunnel", "did you mean 'gue'"]),
        ({"servers": WEIGHTED, "quorum": 2}, ["quorum", "2 can never be reached", "1 server"]),
        ({"servers": WEIGHTED, "quorum": {"least": 8, "of": "weight", "hysteresis": 3}}, ["quorum", "8 + 3"]),
        ({"servers": WEIGHTED, "quorum": {"least": 1, "hysteresis": 1}}, ["quorum.hysteresis", "not less"]),
        ({"servers": ["10.9.0.21"], "sorry": "10.9.0.21"}, ["sorry", "one of the servers"]),
        ({"sorry": "10.9.0.99:81"}, ["sorry", "cannot change the port"]),
        ({"servers": WEIGHTED, "sorry": {"address": "10.9.0.99", "weight": 1}}, ["sorry.weight", "unknown key"]),
        ({"inhibit": True, "on_down": "expire"}, ["on_down", "inhibit"]),
        ({"on_down": "kepe"}, ["on_down", "did you mean 'keep'"]),
        ({"slow_start": "30s", "servers": ["10.9.0.21"]}, ["servers[0]", "weight of 1", "at least 10"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_service(changes: dict[str, Any], fragments: list[str]) -> None:
    one(refused(wide({"listen": "10.9.0.100:80/tcp"} | changes)), "services[0]", *fragments)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_slow_start_needs_a_scheduler_that_shares_by_weight(scheduler: str) -> None:
    data = wide({"listen": "10.9.0.100:80/tcp", "scheduler": scheduler, "slow_start": "30s", "servers": WEIGHTED})
    if scheduler in ("wrr", "wlc", "lblc", "lblcr", "sed", "nq", "twos"):
        assert part_of(data).services[0].slow_start_s == 30.0
    else:
        one(refused(data), "slow_start", scheduler)


def test_mixed_families_do_not_go_with_connection_sync() -> None:
    one(refused(service(forwarding="tun", servers=["fd00:9::21"])), "servers[0]", "connection_sync")


@pytest.mark.parametrize(
    ("other", "fine"),
    [
        ({"listen": "10.9.0.101:80/tcp"}, False),
        ({"listen": "10.9.0.101:80/udp"}, True),
        ({"listen": "10.9.0.101:81/tcp"}, True),
        ({"listen": "10.9.0.101:0/tcp", "persistence": "1m"}, False),
        ({"listen": {"addresses": ["10.9.0.101"], "protocol": "tcp"}}, False),
        ({"listen": {"addresses": ["10.9.0.100"], "ports": ["8100-8200"], "protocol": ["tcp", "udp"]}}, False),
        ({"listen": {"addresses": ["10.9.0.100"], "ports": ["8101-8200"], "protocol": "tcp"}}, True),
        ({"listen": "mark 9"}, True),
    ],
)
def test_no_packet_belongs_to_a_group_and_to_something_else(other: dict[str, Any], fine: bool) -> None:
    for services in ([{"listen": GROUP}, other], [other, {"listen": GROUP}]):
        if fine:
            assert len(part_of(wide(*services)).services) == 2
        else:
            one(refused(wide(*services)), "services[1].listen", "in common with services[0].listen")


@pytest.mark.parametrize(
    ("ipvs", "fragments"),
    [
        ({"sysctls": {"conn_reuse": 1}}, ["ipvs.sysctls.conn_reuse", "did you mean `conn_reuse_mode`?"]),
        ({"sysctls": {"drop_entry": 4}}, ["ipvs.sysctls.drop_entry", "0 to 3"]),
        ({"sysctls": {"sync_ports": 3}}, ["ipvs.sysctls.sync_ports", "power of two"]),
        ({"timeouts": {"tcp": "597h"}}, ["ipvs.timeouts.tcp", "596h"]),
        ({"timeouts": {"tcpfin": "500ms"}}, ["ipvs.timeouts.tcpfin"]),
    ],
)
def test_what_is_wrong_with_ipvs(ipvs: dict[str, Any], fragments: list[str]) -> None:
    one(refused(wide(ipvs=ipvs)), *fragments)


def test_expire_against_the_switch() -> None:
    data = wide({"listen": "10.9.0.100:80/tcp", "on_down": "expire"}, ipvs={"sysctls": {"expire_nodest_conn": 0}})
    one(refused(data), "services[0].on_down", "sets to 0")


# ------------------------------------------------------------------------------------------- checks via virtual

THROUGH = {"type": "tcp-half-open", "via": "virtual"}


def test_a_check_by_the_way_of_clients_is_for_servers_that_have_another_way() -> None:
    nat = {"listen": "10.9.0.100:80/tcp", "forwarding": "nat", "check": THROUGH, "servers": ["10.9.1.21"]}
    one(refused(wide(nat)), "10.9.1.21 is reached by nat", "remove `via`")


def test_a_check_by_the_way_of_clients_is_of_one_family() -> None:
    mixed = {"listen": "[fd00:9::100]:80/tcp", "forwarding": "tun", "check": THROUGH, "servers": ["10.9.1.21"]}
    one(refused(wide(mixed)), "10.9.1.21 is IPv4 and the service is IPv6", "one family")


def test_a_check_by_the_way_of_clients_knows_the_way() -> None:
    tunnelled = {"listen": "10.9.0.100:80/tcp", "forwarding": "tun", "check": THROUGH, "servers": ["10.9.1.21"]}
    (server,) = part_of(wide(tunnelled)).services[0].servers
    (endpoint,) = server.checks
    assert endpoint.check.via == VirtualPath(ip_address("10.9.0.100"), 80, Forwarding.TUN)
    assert (endpoint.address, endpoint.port) == (ip_address("10.9.1.21"), 80)
