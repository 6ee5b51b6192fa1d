"""Half-open probes between hosts: what they say of a server, and what they leave behind there and here."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from ha_lvs.drill.lab.topology import Blocked, Lab
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.health.probes import half_open
from ha_lvs.model import Check, CheckType, Endpoint, ServerState
from ha_lvs.wire import tcp
from tests.descriptors import open_descriptors
from tests.kernel.probed import Sniffer, Watch, half_open_entries, listening

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

UP, DOWN = ServerState.UP, ServerState.DOWN
HALF_OPEN = Check(CheckType.HALF_OPEN, interval_s=0.1, timeout_s=5.0)
PORT = 80


def endpoint(address: str, port: int = PORT, check: Check = HALF_OPEN) -> Endpoint:
    return Endpoint(ip_address(address), port, check)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab("half", tmp_path_factory.mktemp("half"), clients=0, servers=1) as lab:
        yield lab


@pytest.fixture
def watch(lab: Lab) -> Iterator[Watch]:
    watch = Watch(lab.host("lb1"))
    yield watch
    watch.close()


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def address(lab: Lab, request: pytest.FixtureRequest) -> str:
    """The server's address in each family."""
    server = lab.host("s1")
    return server.address if request.param == 4 else server.address6


def test_a_server_that_answers_is_up(lab: Lab, watch: Watch, address: str) -> None:
    with listening(lab.host("s1"), address) as server:
        verdict = watch.first(endpoint(address))
        watch.run_for(5)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()  # no connection ever came about
    assert (verdict.state, verdict.reason) == (UP, "half-open: answered")


def test_a_closed_port_is_down(watch: Watch, address: str) -> None:
    verdict = watch.first(endpoint(address))
    assert (verdict.state, verdict.reason) == (DOWN, "connection refused")


def test_a_server_that_is_cut_off_is_down_and_comes_back(lab: Lab, watch: Watch, address: str) -> None:
    server = endpoint(address, check=replace(HALF_OPEN, timeout_s=1.0))
    with listening(lab.host("s1"), address):
        assert watch.first(server).state is UP
        lab.cut("s1")
        try:
            assert watch.until_state(server, DOWN) == "timed out"
        finally:
            lab.heal("s1")
        watch.until_state(server, UP)


def test_a_server_without_a_way_to_it_is_down(watch: Watch) -> None:
    for address in ("192.0.2.1", "2001:db8::1"):
        verdict = watch.first(endpoint(address))
        assert (verdict.state, verdict.reason) == (DOWN, "network unreachable")


def test_this_host_itself_can_be_probed(lab: Lab, watch: Watch) -> None:
    director = lab.host("lb1")
    for address in ("127.0.0.1", "::1", director.address, director.address6):
        with listening(director, address):
            assert watch.first(endpoint(address)).state is UP


def test_nothing_stays_half_open_and_the_only_reset_is_ours(lab: Lab, watch: Watch, address: str) -> None:
    director, server = lab.host("lb1"), lab.host("s1")
    with listening(server, address), contextlib.closing(Sniffer(director)) as sniffer:
        watch.add(endpoint(address))
        watch.run_for(10)
        watch.run_until(lambda: half_open_entries(server) == 0, "nothing left half open at the server")
        seen = sniffer.seen()
    answers = [each.answer for each in seen if not each.outgoing and each.answer.flags & tcp.SYN]
    resets = [each.answer for each in seen if each.outgoing and each.answer.flags & tcp.RST]
    assert len(answers) >= 10
    # One for each answer: a second would be the kernel's.
    assert [each.sequence for each in resets] == [each.acknowledgement for each in answers]
    numbers = {each.answer.sequence for each in seen if each.outgoing and each.answer.flags & tcp.SYN}
    assert len(numbers) >= 10, "each probe has a number of its own"


def test_a_late_answer_is_reset_although_nobody_waits_for_it(lab: Lab, watch: Watch, address: str) -> None:
    server = lab.host("s1")
    hasty = endpoint(address, check=replace(HALF_OPEN, timeout_s=0.3, interval_s=20.0))
    with listening(server, address), contextlib.closing(Sniffer(server)) as sniffer:
        lab.one_way("s1", Blocked.SENDS)
        try:
            watch.first(hasty)
            assert watch.standing(hasty).state is DOWN
            wait_for(lambda: half_open_entries(server) == 1, 10, "the server to be left half open")
        finally:
            lab.heal("s1")
        # It says its SYN/ACK again a second later, and again.
        watch.run_until(lambda: half_open_entries(server) == 0, "the half-open connection to be closed")
        assert any(each.answer.flags & tcp.RST for each in sniffer.seen() if not each.outgoing)


def test_checks_of_one_target_do_not_disturb_each_other(lab: Lab, watch: Watch, address: str) -> None:
    """Equal but for what is none of the packets' business, and started together: one connection to the server."""
    alike = [endpoint(address, check=replace(HALF_OPEN, rise=1 + each, fall=1)) for each in range(8)]
    with listening(lab.host("s1"), address):
        watch.add(*alike)
        watch.run_for(10)
    assert {watch.standing(each).state for each in alike} == {UP}
    assert [verdict for _, verdict in watch.reports if verdict.state is DOWN] == []


def test_many_endpoints_share_a_few_descriptors(lab: Lab, watch: Watch) -> None:
    server, check = lab.host("s1"), replace(HALF_OPEN, interval_s=1.0)
    many = [endpoint(address, 8000 + at, check) for at in range(100) for address in (server.address, server.address6)]
    with contextlib.ExitStack() as stack:
        for each in many:
            stack.enter_context(listening(server, str(each.address), each.port))
        before = open_descriptors()
        watch.add(*many)
        most = before

        def all_up() -> bool:
            nonlocal most
            most = max(most, len(list(Path("/proc/self/fd").iterdir())))
            return all(watch.standing(each).state is UP for each in many)

        watch.run_until(all_up, "all to be up")
    # For each family a port and what hears; for both together two to ask for routes; one for counting.
    assert most - before <= 8


def test_a_source_of_the_checks_own_is_used(lab: Lab, watch: Watch, address: str) -> None:
    director, server = lab.host("lb1"), lab.host("s1")
    other = ip_address("10.9.0.201") if ip_address(address).version == 4 else ip_address("fd00:9::201")
    director.ip(f"addr add {other}/{other.max_prefixlen} dev e0" + (" nodad" if other.version == 6 else ""))
    check = replace(HALF_OPEN, source=other, interface="e0", mark=7)
    try:
        with listening(server, address), contextlib.closing(Sniffer(server)) as sniffer:
            assert watch.first(endpoint(address, check=check)).state is UP
            asked = [each.answer for each in sniffer.seen() if not each.outgoing and each.answer.flags == tcp.SYN]
            assert {each.source for each in asked} == {other.packed}
    finally:
        director.ip(f"addr del {other}/{other.max_prefixlen} dev e0")


def test_a_mark_chooses_the_route(lab: Lab, watch: Watch) -> None:
    """Without the mark the server is reached, with it a rule leads nowhere."""
    director, server = lab.host("lb1"), lab.host("s1")
    director.ip("rule add fwmark 9 unreachable")
    try:
        with listening(server, server.address):
            assert watch.first(endpoint(server.address)).state is UP
            verdict = watch.first(endpoint(server.address, check=replace(HALF_OPEN, mark=9)))
            assert (verdict.state, verdict.reason) == (DOWN, "network unreachable")
    finally:
        director.ip("rule del fwmark 9 unreachable")


def test_the_source_follows_a_new_route(lab: Lab, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The director's address is replaced: probes without answer have the kernel asked again."""
    monkeypatch.setattr(half_open, "FRESH_S", 1e6)  # only for want of an answer
    director, server = lab.host("lb1"), lab.host("s1")
    with listening(server, server.address):
        probed = endpoint(server.address, check=replace(HALF_OPEN, timeout_s=1.0))
        assert watch.first(probed).state is UP
        director.ip("addr add 10.9.0.41/24 dev e0", "addr del 10.9.0.11/24 dev e0")
        with contextlib.suppress(Exception):
            director.ip("addr add 10.9.0.41/24 dev e0")  # gone with the first of its network
        try:
            with contextlib.closing(Sniffer(server)) as sniffer:

                def comes_from_the_new_one() -> bool:
                    source = socket.inet_aton("10.9.0.41")
                    return any(each.answer.source == source for each in sniffer.seen() if not each.outgoing)

                watch.run_until(comes_from_the_new_one, "a probe from the new address")
                watch.until_state(probed, UP)
        finally:
            director.ip("addr flush dev e0 scope global", "addr add 10.9.0.11/24 dev e0")
            director.ip(f"addr add {director.address6}/64 dev e0 nodad")


def test_closing_leaves_no_descriptor(lab: Lab) -> None:
    server = lab.host("s1")
    before = open_descriptors()
    watch = Watch(lab.host("lb1"))
    with listening(server, server.address):
        watch.first(endpoint(server.address))
        watch.add(endpoint("10.9.0.99"))  # nobody there: it is closed while it runs
        watch.run_for(1)
    watch.close()
    assert open_descriptors() <= before
