"""Passive evidence: the connection table as the kernel writes it, and who is suspect by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.daemon.balancer import Balancer
from ha_lvs.daemon.evidence import QUIET_S, Evidence
from ha_lvs.kernel.connections import Reading, read
from ha_lvs.model import (
    Check,
    CheckType,
    Destination,
    DestinationKey,
    DirectorPart,
    Endpoint,
    Forwarding,
    OnStop,
    Protocol,
    RealServer,
    Service,
    ServiceKey,
    VirtualService,
)
from ha_lvs.observe import logs
from ha_lvs.plan.suspicion import Suspicion
from ha_lvs.wire.conn_table import LEAST_WAITING, MOST_WAITING, Handshakes, TableReader
from tests.unit.test_balancer_marks import FakeIpvs

HEADER = b"Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n"
ONE = DestinationKey(ip_address("10.9.0.21"), 80)
TWO = DestinationKey(ip_address("10.9.0.22"), 80)
SIX = DestinationKey(ip_address("fd00:9::21"), 80)


def row(client_port: int, state: str = "SYN_RECV", server: str = "0A090015", client: str = "0A09001F") -> bytes:
    """As `ip_vs_conn_seq_show` prints it."""
    return f"TCP {client} {client_port:04X} 0A090064 0050 {server} 0050 {state:<11} {58:7}\n".encode()


def row6(client_port: int, state: str = "SYN_RECV") -> bytes:
    client, virtual, server = (f"fd00:0009:0000:0000:0000:0000:0000:{last}" for last in ("0031", "0100", "0021"))
    return f"TCP {client} {client_port:04X} {virtual} 0050 {server} 0050 {state:<11} {58:7}\n".encode()


def handshakes(*rows: bytes, piece: int = 1 << 20) -> dict[DestinationKey, Handshakes]:
    reader = TableReader()
    text = HEADER + b"".join(rows)
    for at in range(0, len(text), piece):
        reader.feed(text[at : at + piece])
    assert reader.rows == len(rows) + 1
    return reader.handshakes()


# ------------------------------------------------------------------------------------------------------- the table


def test_unfinished_handshakes_are_counted_by_server() -> None:
    rows = [row(port) for port in range(1000, 1007)] + [row(2000, "ESTABLISHED"), row(2001, "TIME_WAIT")]
    found = handshakes(*rows, row(3000, "ESTABLISHED", "0A090016"))
    assert found.keys() == {ONE}
    assert (found[ONE].entries, found[ONE].waiting, len(found[ONE].names)) == (9, 7, 7)


def test_servers_of_ipv6() -> None:
    found = handshakes(*(row6(port) for port in range(1000, 1005)), row6(2000, "FIN_WAIT"))
    assert [(key, each.entries, each.waiting) for key, each in found.items()] == [(SIX, 6, 5)]


def test_templates_other_protocols_and_persistence_data_mean_nothing() -> None:
    few = [row(port) for port in range(1000, 1000 + LEAST_WAITING)]
    udp = [b"UDP" + each[3:] for each in few] * 3
    templates = [row(0, "NONE"), row(0, "SYN_RECV")]
    with_data = few[0].replace(b"\n", b" sip call-1\n")
    found = handshakes(*udp, *templates, with_data, *few[1:])
    assert [(each.entries, each.waiting) for each in found.values()] == [(LEAST_WAITING, LEAST_WAITING)]


def test_few_are_not_worth_a_word_and_of_many_some_are_known_by_name() -> None:
    assert handshakes(*(row(port) for port in range(1000, 1000 + LEAST_WAITING - 1))) == {}
    [each] = handshakes(*(row(port) for port in range(1000, 2000))).values()
    assert (each.waiting, len(each.names)) == (1000, MOST_WAITING)


@given(st.integers(1, 300))
def test_pieces_may_end_anywhere(piece: int) -> None:
    rows = [row(port) for port in range(1000, 1008)] + [row6(port) for port in range(1000, 1008)]
    assert handshakes(*rows, piece=piece) == handshakes(*rows)


@given(
    st.lists(
        st.one_of(st.binary(max_size=80), st.sampled_from([HEADER, row(1), row6(2), b"TCP ", b" SYN_RECV ", b"\n"])),
        max_size=40,
    )
)
def test_anything_is_read(pieces: list[bytes]) -> None:
    reader = TableReader()
    for each in pieces:
        reader.feed(each)
    for found in reader.handshakes().values():
        assert found.waiting >= LEAST_WAITING
        assert len(found.names) <= MOST_WAITING


def test_a_row_without_an_end_is_not_kept() -> None:
    reader = TableReader()
    for _ in range(100):
        reader.feed(b"x" * 10_000)
    assert len(reader._rest) < 10_000


def test_the_file_is_read_as_far_as_the_bounds_allow(tmp_path: Path) -> None:
    table = tmp_path / "ip_vs_conn"
    table.write_bytes(HEADER + b"".join(row(port % 60_000 + 1) for port in range(20_000)))
    whole = read(100_000, time.monotonic, within_s=600.0, table=str(table))
    assert (whole.rows, whole.whole, whole.late) == (20_001, True, False)
    assert whole.servers[ONE].waiting == 20_000
    some = read(5_000, time.monotonic, within_s=600.0, table=str(table))
    assert (some.whole, some.late) == (False, False)
    assert 5_000 <= some.rows < 20_000
    ticks = iter(range(1_000_000))
    hasty = read(100_000, lambda: float(next(ticks)), within_s=2.0, table=str(table))
    assert (hasty.whole, hasty.late) == (False, True)
    assert 0 < hasty.rows < 20_000
    with pytest.raises(OSError):
        read(1, time.monotonic, table=str(tmp_path / "nothing"))


# ---------------------------------------------------------------------------------------------------- who is suspect


def waits(*ports: int, entries: int = 0) -> Handshakes:
    return Handshakes(max(entries, len(ports)), len(ports), frozenset(b"%d" % port for port in ports))


def suspects(*readings: dict[DestinationKey, Handshakes]) -> list[set[DestinationKey]]:
    suspicion = Suspicion()
    return [set(suspicion.note(each)) for each in readings]


def growing(*counts: int, entries: int = 0) -> list[dict[DestinationKey, Handshakes]]:
    return [{ONE: waits(*range(count), entries=entries)} for count in counts]


def test_handshakes_that_remain_and_grow_twice_make_suspect() -> None:
    assert suspects(*growing(6, 8, 10, 12)) == [set(), set(), {ONE}, {ONE}]


def test_a_server_without_any_before_is_suspect_after_two_more_readings() -> None:
    assert suspects({}, *growing(6, 8)) == [set(), set(), {ONE}]


def test_what_does_not_grow_any_more_is_no_evidence() -> None:
    assert suspects(*growing(6, 8, 8, 10, 12)) == [set(), set(), set(), set(), {ONE}]


def test_handshakes_that_come_and_go_are_no_evidence() -> None:
    """A server that takes ever more connections: those that wait are always others."""
    readings = [{ONE: waits(*range(1000 * n, 1000 * n + 10 * n))} for n in range(1, 8)]
    assert not any(suspects(*readings))


def test_half_of_the_connections_are_not_enough() -> None:
    assert not any(suspects(*growing(6, 8, 10, 12, entries=24)))
    assert suspects(*growing(6, 8, 10, 12, entries=23))[-1] == {ONE}


def test_too_few_old_ones_are_not_enough() -> None:
    readings = [{ONE: waits(1, 2, 3, 4, *range(100 * n, 100 * n + 10 * n))} for n in range(1, 5)]
    assert not any(suspects(*readings))


def test_each_server_is_judged_for_itself() -> None:
    readings = [{**one, TWO: waits(*range(50), entries=50)} for one in growing(6, 8, 10)]
    assert suspects(*readings)[-1] == {ONE}


def test_after_a_pause_nothing_is_compared() -> None:
    suspicion = Suspicion()
    first, second, third = growing(6, 8, 10)
    suspicion.note(first), suspicion.note(second)
    suspicion.forget()
    assert not suspicion.note(third)


# ------------------------------------------------------------------------------------------- in the director process

TCP = Check(CheckType.TCP)


def web(name: str, port: int, **changes: Any) -> VirtualService:
    servers = tuple(
        RealServer(
            Destination(DestinationKey(key.address, port), Forwarding.DR), (Endpoint(key.address, port or 80, TCP),)
        )
        for key in (ONE, TWO)
    )
    service = Service(ServiceKey(ip_address("10.9.0.100"), port, Protocol.TCP), "wlc")
    return replace(VirtualService(name, service, servers, passive=True), **changes)


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What has been logged since it was last asked."""
    logs.configure("info", by="director")  # as the process does; its loggers have a level of their own
    return lambda: "".join(capfd.readouterr())


@pytest.fixture
def balancer(tmp_path: Path) -> Balancer:
    services = (web("web", 80), web("other", 81), web("all", 0), web("deaf", 80, passive=False))
    part = DirectorPart("edge", "lb1", "d", (), services, None, OnStop.KEEP, 30.0)
    return Balancer(part, FakeIpvs(), tmp_path, lambda: None)  # type: ignore[arg-type]


def test_only_services_that_want_it_have_suspects(balancer: Balancer) -> None:
    assert balancer.wants_evidence
    found = [(service, str(server.destination.key)) for service, server in balancer.suspect({ONE})]
    assert found == [("web", "10.9.0.21:80"), ("all", "10.9.0.21:0")]
    assert balancer.suspect(()) == []


def test_suspects_are_probed_with_each_reading_and_told_of_once(balancer: Balancer, said: Callable[[], str]) -> None:
    hurried: list[Sequence[Endpoint]] = []
    evidence = Evidence(balancer, hurried.append)
    for n, each in enumerate(growing(6, 8, 10, 12)):
        evidence.note(Reading(each, 100, True, False, 0.0), float(n))
    assert hurried == [[Endpoint(ONE.address, 80, TCP)]] * 2
    assert said().count("server suspect") == 2, "of each service once"
    for n, each in enumerate(growing(6, 8, 10)):
        evidence.note(Reading(each, 100, True, False, 0.0), 10.0 + QUIET_S + n)
    assert said().count("server suspect") == 2


def test_of_a_table_that_takes_too_long_fewer_rows_are_read(balancer: Balancer, said: Callable[[], str]) -> None:
    asked: list[int] = []
    hurried: list[Sequence[Endpoint]] = []

    def read_some(most: int) -> Reading:
        asked.append(most)
        return Reading({}, most, False, False, 0.1)

    evidence = Evidence(balancer, hurried.append, read_some)
    for each in growing(6, 8, 10, 12):
        evidence.note(Reading(each, 50_000, False, True, 0.5), 0.0)
    assert not hurried, "what was read is not of the same rows"
    evidence._read(evidence._most_rows)
    assert asked[0] < 50_000
    for each in growing(6, 8, 10):
        evidence.note(Reading(each, asked[0], False, False, 0.1), 1.0)
    assert hurried
    assert said().count("connection table not read whole") == 1
