"""Whether a tracked service is up, seen beside the peer's pool; whether tables are in sync; how late messages are."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from ha_lvs.model import (
    Check,
    CheckType,
    Destination,
    DestinationKey,
    Endpoint,
    Forwarding,
    Protocol,
    RealServer,
    ServerState,
    Service,
    ServiceKey,
    Track,
    VirtualService,
)
from ha_lvs.peer.acquaintances import FILE, Acquaintances
from ha_lvs.peer.insync import InSync
from ha_lvs.peer.link import Transit
from ha_lvs.peer.pools import Pools

UP, DOWN = ServerState.UP, ServerState.DOWN


def server(number: int, kind: CheckType = CheckType.TCP) -> RealServer:
    address = ip_address(f"10.9.0.{20 + number}")
    checks = () if kind is CheckType.NONE else (Endpoint(address, 80, Check(kind)),)
    return RealServer(Destination(DestinationKey(address, 80), Forwarding.DR), checks)


def service(*servers: RealServer, name: str = "web") -> VirtualService:
    return VirtualService(name, Service(ServiceKey(ip_address("10.9.0.100"), 80, Protocol.TCP), "wlc"), servers)


S1, S2 = server(1), server(2)
LATER = 100.0


def pools(*servers: RealServer) -> Pools:
    return Pools([service(*(servers or (S1, S2)))], [Track("service:web"), Track("interface:e0")], now=0.0)


def told(of: Pools, *states: ServerState) -> Pools:
    for each, state in zip((S1, S2), states, strict=False):
        of.verdict(each.checks[0], state)
    return of


def is_up(of: Pools, now: float = LATER) -> bool | None:
    return of.judge(now).get("web", (None, ""))[0]


def test_nothing_is_said_before_the_probes_have_told() -> None:
    assert is_up(pools()) is None
    assert is_up(told(pools(), DOWN)) is None
    assert is_up(told(pools(), UP)) is True
    assert is_up(told(pools(), DOWN, UP)) is True


def test_the_rule() -> None:
    empty = told(pools(), DOWN, DOWN)
    assert is_up(empty) is True  # nobody is linked, nobody is better
    empty.peer_linked("lb2", LATER)
    assert is_up(empty) is None  # it will say so soon
    empty.peer_told("lb2", {"web": 2})
    assert empty.judge(LATER)["web"] == (False, "no server is up here, 2 at lb2")
    empty.peer_told("lb2", {"web": 0})
    assert is_up(empty) is True  # both are empty
    empty.peer_told("lb2", {"web": 2})
    assert is_up(told(empty, UP)) is True  # ours is not


def test_at_the_start_a_peer_is_waited_for() -> None:
    empty = told(pools(), DOWN, DOWN)
    assert is_up(empty, 1.0) is None
    assert is_up(empty, 6.0) is True


def test_a_peer_whose_director_starts_anew_is_still_better() -> None:
    empty = told(pools(), DOWN, DOWN)
    empty.peer_linked("lb2", LATER)
    empty.peer_told("lb2", {"web": 2})
    empty.peer_lost("lb2", LATER)
    assert is_up(empty, LATER + 2) is False
    empty.peer_linked("lb2", LATER + 3)
    empty.peer_told("lb2", {})  # its probes have not told yet
    assert is_up(empty, LATER + 3.1) is None
    empty.peer_told("lb2", {"web": 1})
    assert is_up(empty, LATER + 4) is False
    empty.peer_lost("lb2", LATER + 5)
    assert is_up(empty, LATER + 20) is True  # it is gone


def test_a_service_without_servers_is_empty_and_one_without_checks_is_not() -> None:
    nothing = Pools([service()], [Track("service:web")], now=0.0)
    assert nothing.own() == {"web": 0}
    assert is_up(pools(server(1, CheckType.NONE))) is True


def test_only_what_is_up_or_down_is_a_change() -> None:
    some = told(pools(), UP, UP)
    assert set(some.changes(LATER)) == {"web"}
    told(some, UP, DOWN)
    assert some.changes(LATER) == {}
    told(some, DOWN, DOWN)
    some.peer_told("lb2", {"web": 1})
    assert some.changes(LATER) == {"web": (False, "no server is up here, 1 at lb2")}


def test_servers_that_no_probe_has_told_of() -> None:
    some = pools()
    assert some.unprobed() == 2
    assert some.unprobed(S1.checks) == 1
    assert told(some, UP, DOWN).unprobed() == 0


def test_in_sync() -> None:
    assert InSync(False, 0.0).value(0.0) is True
    sync = InSync(True, 0.0)
    assert sync.value(9.0) is None
    assert sync.value(10.0) is True
    sync.linked(20.0)
    assert sync.value(22.0) is False  # after a long time alone the peer may have what we have not
    assert sync.value(23.0) is True
    sync.lost(30.0)
    assert sync.value(30.5) is True
    sync.linked(31.0)  # its director was only started anew
    assert sync.value(31.0) is True


def test_how_much_later_than_usual_a_message_is() -> None:
    transit = Transit()
    assert transit.excess_s(5.0, 100.0) == 0.0
    for second in range(100):  # two clocks 1000 s apart, 1 to 3 ms on the way
        transit.learn(second, 1000.001 + second + second % 3 / 1000)
    assert transit.excess_s(100.0, 1100.001) == pytest.approx(0.0, abs=0.003)
    assert transit.excess_s(100.0, 1102.001) == pytest.approx(2.0, abs=0.003)


def test_acquaintances_outlive_the_process_and_not_the_cluster(tmp_path: Path) -> None:
    met = Acquaintances(tmp_path, "edge")
    assert met.meet("lb2", ip_address("10.9.0.12"))
    assert not met.meet("lb2", ip_address("10.9.0.12"))
    assert met.meet("lb2", ip_address("10.9.0.13"))
    assert met.meet("lb3", ip_address("fd00::3"))
    assert Acquaintances(tmp_path, "edge").addresses == met.addresses
    assert Acquaintances(tmp_path, "other").addresses == {}
    (tmp_path / FILE).write_text("{")
    assert Acquaintances(tmp_path, "edge").addresses == {}
