"""What a config file says of servers that are found on the network: what it comes to, and what is wrong with it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from ha_lvs.model import Check, CheckPlan, CheckType, Encapsulation, Forwarding, ServerDiscovery, Tunnel
from tests.unit.configs import config_of, one, refused
from tests.unit.test_config_services import GROUP, part_of, wide

FOUND = {"type": "_http._tcp", "networks": ["10.9.0.0/24"]}
NETWORKS = (ip_network("10.9.0.0/24"),)
TCP = Check(CheckType.TCP)


def one_service(**changes: Any) -> dict[str, Any]:
    return wide({"listen": "10.9.0.100:80/tcp", "check": {"type": "tcp"}, "discover": FOUND} | changes)


def discovery(**changes: Any) -> ServerDiscovery:
    found = part_of(one_service(**changes)).services[0].discovery
    assert found is not None
    return found


def test_without_it_nobody_is_looked_for() -> None:
    assert part_of(wide({"listen": "10.9.0.100:80/tcp"})).services[0].discovery is None


def test_what_is_left_out() -> None:
    expected = ServerDiscovery("_http._tcp", NETWORKS, Forwarding.DR, None, 80, (CheckPlan(TCP),))
    assert discovery() == expected
    assert (expected.interfaces, expected.weight, expected.trust_weight) == ((), 1, False)
    assert (expected.most, expected.forget_after_s) == (64, 60.0)


def test_what_is_said() -> None:
    said = {"interfaces": ["e0", "e1"], "weight": 5, "trust_weight": True, "most": 3, "forget_after": "2m"}
    found = discovery(discover=FOUND | said)
    assert (found.interfaces, found.weight, found.trust_weight) == (("e0", "e1"), 5, True)
    assert (found.most, found.forget_after_s) == (3, 120.0)


def test_its_servers_are_reached_and_probed_like_the_others() -> None:
    assert discovery(forwarding="nat").port is None
    assert discovery(forwarding="tun", tunnel="gre").encapsulation == Encapsulation(Tunnel.GRE)
    checks = {"any": [{"type": "tcp", "port": 81}, {"type": "tcp-half-open", "via": "virtual"}]}
    found = discovery(check=checks)
    half_open = CheckPlan(Check(CheckType.HALF_OPEN), None, None, ip_address("10.9.0.100"))
    assert (found.any_of, found.checks) == (True, (CheckPlan(TCP, None, 81), half_open))
    assert discovery(listen=GROUP, check={"type": "tcp", "port": 80}).port == 0


def test_the_digest_of_a_file_without_it_is_what_it_was() -> None:
    services = config_of(wide({"listen": "10.9.0.100:80/tcp"})).services
    assert "discover" not in services[0].said
    assert "discover" in config_of(one_service()).services[0].said


def test_a_quorum_may_count_on_those_that_are_found() -> None:
    assert part_of(one_service(quorum=64))
    one(refused(one_service(quorum=65)), "quorum", "never")
    one(refused(one_service(quorum={"least": 65, "of": "weight"})), "quorum", "never")
    assert part_of(one_service(quorum={"least": 65, "of": "weight"}, discover=FOUND | {"trust_weight": True}))


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        ({"discover": {"type": "_http._tcp"}}, ["discover", "`networks`"]),
        ({"discover": FOUND | {"networks": []}}, ["discover.networks", "empty", "10.9.0.0/24"]),
        ({"discover": FOUND | {"networks": ["10.9.0.1/24"]}}, ["discover.networks", "10.9.0.0/24"]),
        ({"discover": FOUND | {"networks": ["fd00:9::/64"]}}, ["discover.networks", "IPv6", "only tun"]),
        ({"discover": FOUND | {"type": "http"}}, ["discover.type", "_http._tcp"]),
        ({"discover": FOUND | {"type": "_http._sctp"}}, ["discover.type", "_http._tcp"]),
        ({"discover": FOUND | {"interfaces": ["a/b"]}}, ["discover.interfaces", "interface"]),
        ({"discover": FOUND | {"weight": 65536}}, ["discover.weight", "65536"]),
        ({"discover": FOUND | {"most": 0}}, ["discover.most", "0"]),
        ({"discover": FOUND | {"forget_after": "0s"}}, ["discover.forget_after", "1s"]),
        ({"discover": FOUND | {"netwroks": []}}, ["discover.netwroks", "did you mean `networks`?"]),
        ({"check": {"type": "none"}}, ["discover", "good check"]),
        ({"listen": "10.9.0.100:53/udp", "check": {}}, ["discover", "good check"]),
        ({"listen": GROUP}, ["discover", "no single port", "port: 80"]),
        ({"listen": "mark 5"}, ["discover", "no single port"]),
        ({"listen": GROUP, "forwarding": "nat"}, ["discover", "by nat", "several"]),
        ({"check": {"type": "tcp", "source": "fd00:9::1"}}, ["discover", "comes from fd00:9::1"]),
        (
            {"forwarding": "nat", "check": {"type": "tcp-half-open", "via": "virtual"}},
            ["discover", "10.9.0.0/24 is reached by nat", "remove `via`"],
        ),
        ({"slow_start": "30s"}, ["discover", "weight of 1", "at least 10"]),
    ],
    ids=str,
)
def test_what_is_wrong(changes: dict[str, Any], fragments: list[str]) -> None:
    one(refused(one_service(**changes)), *fragments)


def test_another_family_is_carried_by_tun_and_not_beside_connection_sync() -> None:
    data = one_service(forwarding="tun", discover=FOUND | {"networks": ["fd00:9::/64"]})
    assert part_of(data)
    data["connection_sync"] = {"interface": "e0", "id": 7}
    one(refused(data), "discover.networks", "fd00:9::/64 is IPv6", "connection_sync")
