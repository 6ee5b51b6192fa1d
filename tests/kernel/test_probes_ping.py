"""Ping checks over real raw sockets, answered by the kernel, or by a host that answers as it likes."""

from __future__ import annotations

import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.health.probes import Engine
from ha_lvs.health.verdict import Verdict
from ha_lvs.kernel.namespace import new_network_namespace
from ha_lvs.model import Check, CheckType, Endpoint, ServerState
from ha_lvs.wire import icmp
from ha_lvs.wire.vrrp import checksum
from tests.cables import ip, own, plug
from tests.descriptors import open_descriptors
from tests.unit.test_probes import Watch

pytestmark = pytest.mark.netns

UP, DOWN, UNKNOWN = ServerState.UP, ServerState.DOWN, ServerState.UNKNOWN
HOME = {4: "127.0.0.1", 6: "::1"}
SILENT = "timed out waiting for an echo reply"

Answer = Callable[[bytes], list[bytes]]
"""From an echo request, as an ICMP message, to what is sent back."""

both_families = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture(autouse=True)
def machine() -> Iterator[None]:
    with new_network_namespace():
        Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("0")
        ip("link set lo up")
        yield


@pytest.fixture
def watch(machine: None) -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.engine.close()


def ping(address: str, **changes: Any) -> Endpoint:
    check = Check(CheckType.PING, **({"interval_s": 0.05, "timeout_s": 10.0} | changes))
    return Endpoint(ip_address(address), 0, check)


def reply(version: int, request: bytes, **changes: Any) -> bytes:
    """The reply to a request, with other values where `changes` has some."""
    fields: dict[str, Any] = {
        "identifier": int.from_bytes(request[4:6], "big"),
        "sequence": int.from_bytes(request[6:8], "big"),
        "payload": request[8:],
    } | changes
    message = bytearray(icmp.request(version, icmp.Echo(**fields)))
    message[0] = 0 if version == 4 else 129
    if version == 4:
        message[2:4] = bytes(2)
        message[2:4] = checksum(bytes(message)).to_bytes(2, "big")
    return bytes(message)


@contextmanager
def answering(version: int, answer: Answer) -> Iterator[None]:
    """In place of the kernel, `answer` says what comes back to whoever pings this machine."""
    name = "ipv4/icmp_echo_ignore_all" if version == 4 else "ipv6/icmp/echo_ignore_all"
    Path("/proc/sys/net", name).write_text("1")
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    over = threading.Event()
    with socket.socket(family, socket.SOCK_RAW, 1 if version == 4 else 58) as sock:
        sock.settimeout(0.1)

        def serve() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    packet, sender = sock.recvfrom(2048)
                    message = icmp.strip_ipv4(packet) if version == 4 else packet
                    if message[0] == (8 if version == 4 else 128):
                        for each in answer(message):
                            sock.sendto(each, (sender[0], 0))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
    Path("/proc/sys/net", name).write_text("0")


# ------------------------------------------------------------------------------------------ who is there


@both_families
def test_a_host_that_answers_is_up(watch: Watch, version: int) -> None:
    assert watch.first_verdict(ping(HOME[version])) == Verdict(UP, 0, "answered")


@both_families
def test_a_host_that_is_silent_is_down_and_comes_back(watch: Watch, version: int) -> None:
    endpoint = ping(HOME[version], timeout_s=0.5)
    with answering(version, lambda _: []):
        assert watch.first_verdict(endpoint) == Verdict(DOWN, 0, SILENT)
    watch.run_until_state(endpoint, UP)


def test_where_no_way_leads_the_reason_is_told_at_once(watch: Watch) -> None:
    assert watch.first_verdict(ping("192.0.2.1", timeout_s=60.0)) == Verdict(DOWN, 0, "network unreachable")


@both_families
def test_half_of_the_replies_lost_does_not_take_a_host_out(watch: Watch, version: int) -> None:
    asked = [0]

    def every_second(request: bytes) -> list[bytes]:
        asked[0] += 1
        return [reply(version, request)] if asked[0] % 2 else []

    with answering(version, every_second):
        watch.first_verdict(ping(HOME[version], timeout_s=2.0))
        watch.run_until(lambda: asked[0] >= 8, "eight requests")
    assert [verdict.state for _, verdict in watch.reports] == [UP]


# -------------------------------------------------------------------------------------- what is no answer


def spoil_checksum(version: int, request: bytes) -> bytes:
    good = reply(version, request)
    return good[:2] + bytes([good[2] ^ 1]) + good[3:]


WRONG: dict[str, Callable[[int, bytes], bytes]] = {
    "identifier": lambda version, request: reply(version, request, identifier=1 + request[4] * 256 ^ request[5]),
    "sequence": lambda version, request: reply(version, request, sequence=65535 - int.from_bytes(request[6:8], "big")),
    "nonce": lambda version, request: reply(version, request, payload=bytes(8)),
    "no nonce": lambda version, request: reply(version, request, payload=b""),
    "more than the nonce": lambda version, request: reply(version, request, payload=request[8:] + b"x"),
    "cut short": lambda version, request: reply(version, request)[:6],
}


@both_families
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_passed_over(watch: Watch, version: int, wrong: Callable[[int, bytes], bytes]) -> None:
    with answering(version, lambda request: [wrong(version, request)]):
        assert watch.first_verdict(ping(HOME[version], timeout_s=1.0)) == Verdict(DOWN, 0, SILENT)


@both_families
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_answer_does_not_hide_the_right_one(
    watch: Watch, version: int, wrong: Callable[[int, bytes], bytes]
) -> None:
    with answering(version, lambda request: [wrong(version, request), reply(version, request)] * 2):
        assert watch.first_verdict(ping(HOME[version])) == Verdict(UP, 0, "answered")


def test_an_answer_whose_checksum_is_wrong_is_passed_over(watch: Watch) -> None:
    with answering(4, lambda request: [spoil_checksum(4, request)]):
        assert watch.first_verdict(ping(HOME[4], timeout_s=1.0)) == Verdict(DOWN, 0, SILENT)


def test_an_answer_from_elsewhere_is_passed_over(watch: Watch) -> None:
    """Whoever sees the request can answer it, but not for another."""
    ip("addr add 192.0.2.9/32 dev lo")
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 1) as elsewhere:
        elsewhere.bind(("192.0.2.9", 0))

        def answer(request: bytes) -> list[bytes]:
            elsewhere.sendto(reply(4, request), ("127.0.0.1", 0))
            return []

        with answering(4, answer):
            assert watch.first_verdict(ping(HOME[4], timeout_s=1.0)) == Verdict(DOWN, 0, SILENT)


# ------------------------------------------------------------------------------------------- one for many


def test_many_hosts_share_one_socket_and_each_has_its_own_answer(watch: Watch) -> None:
    before = open_descriptors()
    there, gone = ([ping(f"127.0.{net}.{n}", timeout_s=2.0) for n in range(1, 60)] for net in (0, 1))
    ip("route add blackhole 127.0.1.0/24 table local")
    for endpoint in (*there, *gone):
        watch.engine.add(endpoint)
    watch.run_until(lambda: len(watch.reports) == len(there) + len(gone), "a verdict on each")
    assert {watch.verdict(each).state for each in there} == {UP}
    assert {watch.verdict(each).state for each in gone} == {DOWN}
    assert open_descriptors() - before == 1
    for endpoint in (*there, *gone):
        watch.engine.remove(endpoint)
    assert watch.engine._schedule.running == 0


def test_a_prober_is_not_woken_by_other_icmp(watch: Watch) -> None:
    watch.first_verdict(ping(HOME[4], interval_s=600.0))
    (pinger,) = (each for each in watch.engine._shared.values() if hasattr(each, "asked"))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 1) as other:
        other.sendto(icmp.request(4, icmp.Echo(1, 1)), ("127.0.0.1", 0))  # a request, heard on loopback too
        other.sendto(bytes([3, 3]) + bytes(34), ("127.0.0.1", 0))
        other.settimeout(20)
        heard = {icmp.strip_ipv4(other.recv(2048))[0] for _ in range(3)}
    assert heard == {8, 3, 0}
    packets = []
    while select.select([pinger._sock], [], [], 0)[0]:
        packets.append(icmp.strip_ipv4(pinger._sock.recv(2048))[0])
    assert set(packets) <= {0}


# ------------------------------------------------------------------------------- from where, by what, marked


def test_it_comes_from_the_address_that_is_written(watch: Watch) -> None:
    own("192.0.2.9/32", "lo")
    own("2001:db8::9/128", "lo")
    for version, source in ((4, "192.0.2.9"), (6, "2001:db8::9")):
        senders: list[str] = []
        family, protocol = (socket.AF_INET, 1) if version == 4 else (socket.AF_INET6, 58)
        with socket.socket(family, socket.SOCK_RAW, protocol) as listener:
            listener.settimeout(20)
            assert watch.first_verdict(ping(HOME[version], source=ip_address(source))).state is UP
            while not senders:
                packet, sender = listener.recvfrom(2048)
                if (icmp.strip_ipv4(packet) if version == 4 else packet)[0] in (8, 128):
                    senders.append(sender[0])
        assert senders == [source]


def test_a_source_that_is_not_ours_is_our_fault(watch: Watch) -> None:
    verdict = watch.first_verdict(ping(HOME[4], source=ip_address("192.0.2.77")))
    assert verdict == Verdict(DOWN, 0, "cannot probe from here: cannot assign requested address")


def test_its_packets_have_the_mark(watch: Watch) -> None:
    ip("rule add fwmark 7 prohibit")
    own("192.0.2.9/24", "lo")
    plug("e0")
    own("198.51.100.1/24")
    assert watch.first_verdict(ping("127.0.0.1", mark=8)).state is UP
    assert watch.first_verdict(ping("198.51.100.2", mark=7)) == Verdict(
        DOWN, 0, "cannot probe from here: permission denied"
    )


@contextmanager
def neighbour() -> Iterator[Callable[[], None]]:
    """Another host; calling what it yields puts a cable to it: 192.0.2.1 is e0 here, 192.0.2.2 there."""
    host = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
    try:
        theirs, ours = Path(f"/proc/{host.pid}/ns/net"), Path("/proc/thread-self/ns/net")
        wait_for(lambda: theirs.readlink() != ours.readlink(), 20, "the other host's network")

        def plug_in() -> None:
            ip(f"link add e0 type veth peer name e0 netns {host.pid}")
            for command in ("ip addr add 192.0.2.2/24 dev e0", "ip link set e0 up"):
                subprocess.run(["nsenter", f"--target={host.pid}", "--net", *command.split()], check=True)
            own("192.0.2.1/24")
            ip("link set e0 up")

        yield plug_in
    finally:
        host.kill()
        host.wait()


def test_it_leaves_by_the_interface_also_when_that_was_made_anew(watch: Watch) -> None:
    endpoint = ping("192.0.2.2", interface="e0", timeout_s=2.0)
    with neighbour() as plug_in:
        assert watch.first_verdict(endpoint).reason == "cannot probe from here: no such device"
        for _ in range(2):
            plug_in()
            watch.run_until_state(endpoint, UP)
            ip("link del e0")
            watch.run_until_state(endpoint, DOWN)
            watch.run_until(lambda: "no such device" in watch.verdict(endpoint).reason, "it to be missed")


def test_it_leaves_by_no_other_interface(watch: Watch) -> None:
    with neighbour() as plug_in:
        plug_in()
        assert watch.first_verdict(ping("192.0.2.2")).state is UP
        assert watch.first_verdict(ping("192.0.2.2", interface="lo", timeout_s=1.0)).state is DOWN


# ---------------------------------------------------------------------------------------------- numbers


def test_sequence_numbers_wrap_and_pass_over_those_in_use() -> None:
    engine = Engine(lambda *_: None, lambda: 0.0)
    engine.add(ping(HOME[4], interval_s=1.0))
    engine.run_once(0.0)
    (pinger,) = (each for each in engine._shared.values() if hasattr(each, "asked"))
    (probe,) = engine._probes.values()
    pinger._sequence = 0xFFFE
    pinger.asked = {0xFFFF: probe, 0: probe, 1: probe}
    assert pinger._free() == 2
    pinger.asked = dict.fromkeys(range(1 << 16), probe)
    with pytest.raises(OSError, match="sequence numbers"):
        pinger._free()
    pinger.asked.clear()
    engine.close()
