"""DNS and UDP checks against real sockets and a real DNS server on the loopback; what DNS answers mean."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha_lvs.drill.contenders.dns import dnsmasq
from ha_lvs.health.probes import Engine
from ha_lvs.health.probes.udp import ERROR_HOLDS_S
from ha_lvs.health.speech import datagram
from ha_lvs.health.speech.dialogue import Outcome
from ha_lvs.health.speech.dns import DnsQuestion
from ha_lvs.health.verdict import Verdict
from ha_lvs.model import Check, CheckType, DnsCheck, Endpoint, ServerState, UdpCheck
from tests.unit.test_load_dns import free_port
from tests.unit.test_probes import Watch

UP, DOWN, UNKNOWN = ServerState.UP, ServerState.DOWN, ServerState.UNKNOWN
NAME = "www.example.org"

Answer = Callable[[bytes], list[bytes]]
"""What a server sends for a datagram."""


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.engine.close()


@contextmanager
def server(answer: Answer, address: str = "127.0.0.1") -> Iterator[int]:
    """A UDP server; yields its port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        sock.settimeout(0.1)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                with suppress(TimeoutError, ConnectionError):
                    query, client = sock.recvfrom(4096)
                    for each in answer(query):
                        sock.sendto(each, client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            over.set()
            thread.join()


@contextmanager
def silent() -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@contextmanager
def refusing(address: str = "127.0.0.1") -> Iterator[int]:
    """A port that is closed to us, and that nobody else can get meanwhile: its socket talks to somebody else only."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((address, 0))
        held.connect((address, 1))
        yield held.getsockname()[1]


def udp(port: int, send: bytes = b"ping", expect: bytes | None = None, **more: float) -> Endpoint:
    what = UdpCheck(send.hex(), None if expect is None else expect.hex())
    address = ip_address("127.0.0.1")
    return Endpoint(address, port, Check(CheckType.UDP, **({"interval_s": 0.05, "timeout_s": 0.3} | more), udp=what))  # type: ignore[arg-type]


def query(port: int, *expect: str, kind: str = "A", address: str = "127.0.0.1", timeout_s: float = 5.0) -> Endpoint:
    check = Check(CheckType.DNS, interval_s=0.05, timeout_s=timeout_s, dns=DnsCheck(NAME, kind, expect))
    return Endpoint(ip_address(address), port, check)


def response(query: bytes, *values: str, kind: str = "A", name: str = NAME + ".") -> dns.message.Message:
    """What a good server makes of a query."""
    message = dns.message.make_response(dns.message.from_wire(query))
    if values:
        message.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *values))
    return message


def answering(*values: str, kind: str = "A") -> Answer:
    return lambda query: [response(query, *values, kind=kind).to_wire()]


# ---------------------------------------------------------------------------------------------------- UDP


def test_udp_answer_that_begins_as_expected(watch: Watch) -> None:
    with server(lambda query: [query + b", pong"]) as port:
        assert watch.first_verdict(udp(port, b"ping", b"ping, p")) == Verdict(UP, 0, "answered")


def test_udp_wrong_answer_is_shown(watch: Watch) -> None:
    with server(lambda _: [b"go away, whoever you are"]) as port:
        assert watch.first_verdict(udp(port, b"", b"hello")) == Verdict(DOWN, 0, "wrong answer: 'go away, whoever'...")


def test_udp_silence_is_a_failure_where_an_answer_is_expected(watch: Watch) -> None:
    with silent() as port:
        verdict = watch.first_verdict(udp(port, b"x", b"y"))
        assert verdict == Verdict(DOWN, 0, "timed out waiting for an answer")


def test_udp_silence_is_success_where_none_is_and_counts_at_the_timeout(watch: Watch) -> None:
    with silent() as port:
        endpoint = udp(port)
        assert watch.first_verdict(endpoint) == Verdict(UP, 0, "no ICMP error")
        standing = watch.engine.standing(endpoint)
        assert standing is not None
        assert standing[1] >= 0.29


def test_udp_any_answer_is_success_where_none_is_needed(watch: Watch) -> None:
    with server(lambda _: [b""]) as port:
        assert watch.first_verdict(udp(port, timeout_s=20.0)) == Verdict(UP, 0, "answered")


@pytest.mark.parametrize("expect", [None, b"pong"])
def test_udp_closed_port_fails_at_once(watch: Watch, expect: bytes | None) -> None:
    with refusing() as port:
        verdict = watch.first_verdict(udp(port, expect=expect, timeout_s=60.0))
    assert verdict == Verdict(DOWN, 0, "port unreachable")


def test_udp_closed_port_over_ipv6(watch: Watch) -> None:
    with refusing("::1") as port:
        endpoint = Endpoint(ip_address("::1"), port, Check(CheckType.UDP, 0.05, 60.0, udp=UdpCheck()))
        assert watch.first_verdict(endpoint) == Verdict(DOWN, 0, "port unreachable")


def test_udp_answers_from_elsewhere_do_not_arrive(watch: Watch) -> None:
    with (
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock,
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as stranger,
    ):
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        endpoint = udp(sock.getsockname()[1], expect=b"pong", interval_s=1.0, timeout_s=1.0)
        watch.engine.add(endpoint)
        watch.engine.run_once(0.0)
        _, client = sock.recvfrom(100)
        stranger.sendto(b"pong", client)
        watch.run_until(lambda: watch.verdict(endpoint).state is not UNKNOWN)
        assert watch.verdict(endpoint).state is DOWN


def test_udp_half_of_the_answers_lost_does_not_take_a_server_out(watch: Watch) -> None:
    asked = [0]

    def every_second(query: bytes) -> list[bytes]:
        asked[0] += 1
        return [b"pong"] if asked[0] % 2 else []

    with server(every_second) as port:
        endpoint = udp(port, expect=b"pong", timeout_s=2.0)
        watch.first_verdict(endpoint)
        watch.run_until(lambda: asked[0] >= 8, "eight questions")
    assert [verdict.state for _, verdict in watch.reports] == [UP]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_udp_silence_soon_after_an_error_is_no_sign_of_life() -> None:
    """A host sends an ICMP error a second: in between it looks as if the port were open."""
    clock, reports = Clock(), list[Verdict]()
    engine = Engine(lambda _endpoint, verdict, _took: reports.append(verdict), clock)
    with refusing() as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        endpoint = udp(port, interval_s=0.5, timeout_s=0.5)
        engine.add(endpoint)
        deadline = time.monotonic() + 20
        while not reports:
            assert time.monotonic() < deadline
            engine.run_once(0.01)
        mute.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        mute.bind(("127.0.0.1", port))  # as one whose errors are held back
        refused_at = clock.now
        while len(reports) == 1:
            assert clock.now < refused_at + 60
            clock.now += 0.02
            engine.run_once(0.0)
            standing = engine.standing(endpoint)
            assert standing is not None
            if clock.now < refused_at + ERROR_HOLDS_S:
                assert standing[0].reason in ("port unreachable", "silent, soon after an ICMP error")
    assert [(verdict.state, verdict.reason) for verdict in reports] == [
        (DOWN, "port unreachable"),
        (UP, "no ICMP error"),
    ]
    engine.close()


@pytest.mark.parametrize(
    ("answer", "shown"),
    [(b"", "empty"), (b"no", "'no'"), (b"\x00\xff", "00 ff"), (b"a" * 17, "'aaaaaaaaaaaaaaaa'..."), (b"\n", "0a")],
)
def test_answers_are_shown_as_text_where_they_are_text(answer: bytes, shown: str) -> None:
    assert datagram.judge(answer, b"yes") == Outcome(False, f"wrong answer: {shown}")


# ---------------------------------------------------------------------------------------------------- DNS


def test_dns_any_answer_without_an_error(watch: Watch) -> None:
    with server(answering()) as port:
        assert watch.first_verdict(query(port)) == Verdict(UP, 0, "NOERROR, 0 records")


def test_dns_expected_among_the_answers(watch: Watch) -> None:
    with server(answering("192.0.2.7", "192.0.2.1")) as port:
        assert watch.first_verdict(query(port, "192.0.2.1")) == Verdict(UP, 0, "NOERROR, 2 records")


def test_dns_over_ipv6(watch: Watch) -> None:
    with server(answering("192.0.2.7"), "::1") as port:
        assert watch.first_verdict(query(port, "192.0.2.7", address="::1")).state is UP


def test_dns_missing_value_is_named_with_what_was_found(watch: Watch) -> None:
    with server(answering("192.0.2.7")) as port:
        verdict = watch.first_verdict(query(port, "192.0.2.7", "192.0.2.1"))
    assert verdict == Verdict(DOWN, 0, "192.0.2.1 is not among the answers: found 192.0.2.7")


def test_dns_closed_port(watch: Watch) -> None:
    with refusing() as port:
        assert watch.first_verdict(query(port)) == Verdict(DOWN, 0, "port unreachable")


def test_dns_silence(watch: Watch) -> None:
    with silent() as port:
        verdict = watch.first_verdict(query(port, timeout_s=0.3))
    assert verdict == Verdict(DOWN, 0, "timed out waiting for an answer")


def test_dns_answers_to_other_queries_are_passed_over(watch: Watch) -> None:
    def other_first(query: bytes) -> list[bytes]:
        good = response(query, "192.0.2.1")
        wrong_id = dns.message.from_wire(good.to_wire())
        wrong_id.id ^= 1
        other = dns.message.make_response(dns.message.make_query("other.example.org", "A", id=good.id))
        return [wrong_id.to_wire(), other.to_wire(), query, b"", b"x", good.to_wire()]

    with server(other_first) as port:
        assert watch.first_verdict(query(port, "192.0.2.1")) == Verdict(UP, 0, "NOERROR, 1 record")


def test_dns_only_answers_to_other_queries(watch: Watch) -> None:
    def wrong_id(query: bytes) -> list[bytes]:
        return [bytes([query[0] ^ 1]) + response(query, "192.0.2.1").to_wire()[1:]]

    with server(wrong_id) as port:
        verdict = watch.first_verdict(query(port, timeout_s=0.5))
    assert verdict == Verdict(DOWN, 0, "timed out: what came was no answer to the query")


def test_dns_half_of_the_answers_lost_does_not_take_a_server_out(watch: Watch) -> None:
    asked = [0]

    def every_second(query: bytes) -> list[bytes]:
        asked[0] += 1
        return answering("192.0.2.1")(query) if asked[0] % 2 else []

    with server(every_second) as port:
        watch.first_verdict(query(port, timeout_s=2.0))
        watch.run_until(lambda: asked[0] >= 8, "eight queries")
    assert [verdict.state for _, verdict in watch.reports] == [UP]


def test_each_query_has_an_identity_of_its_own(watch: Watch) -> None:
    seen: list[bytes] = []

    def note(query: bytes) -> list[bytes]:
        seen.append(query)
        return answering()(query)

    with server(note) as port:
        watch.first_verdict(query(port))
        watch.run_until(lambda: len(seen) >= 12, "twelve queries")
    assert len({each[:2] for each in seen}) >= 8
    assert len({each[2:] for each in seen}) == 1
    message = dns.message.from_wire(seen[0])
    assert (message.opcode(), message.flags, message.edns) == (dns.opcode.QUERY, dns.flags.RD, -1)


@pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="needs dnsmasq")
def test_a_real_dns_server(watch: Watch, tmp_path: Path) -> None:
    records = tmp_path / "records"
    records.write_text(f"192.0.2.1 {NAME}\n2001:db8::1 {NAME}\n")
    port = free_port()
    good, missing = query(port, "192.0.2.1"), query(port, "192.0.2.2")
    six = query(port, "2001:DB8:0::0001", kind="AAAA")
    # Nobody is asked beyond this machine: what the server does not know it refuses.
    unknown = Endpoint(good.address, port, Check(CheckType.DNS, 0.05, 5.0, dns=DnsCheck("nobody.example.net")))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(dnsmasq("127.0.0.1", port, records, 60), stdout=log, stderr=log)
        try:
            watch.engine.add(good)
            watch.run_until_state(good, UP)
            assert watch.verdict(good) == Verdict(UP, 0, "NOERROR, 1 record")
            assert watch.first_verdict(six) == Verdict(UP, 0, "NOERROR, 1 record")
            expected = "192.0.2.2 is not among the answers: found 192.0.2.1"
            assert watch.first_verdict(missing) == Verdict(DOWN, 0, expected)
            assert watch.first_verdict(unknown) == Verdict(DOWN, 0, "REFUSED")
        finally:
            process.terminate()
            process.wait(10)
    watch.run_until_state(good, DOWN)


def test_dnspython_is_loaded_by_a_dns_check_and_by_nothing_else() -> None:
    code = """
import sys, time
from ipaddress import ip_address
import ha_lvs.daemon.prober
from ha_lvs.health.probes import Engine
from ha_lvs.model import Check, CheckType, DnsCheck, Endpoint
engine = Engine(print, time.monotonic)
for kind in (CheckType.TCP, CheckType.UDP, CheckType.EXEC, CheckType.FILE):
    engine.add(Endpoint(ip_address("127.0.0.1"), 9, Check(kind)))
print("dns" in sys.modules)
engine.add(Endpoint(ip_address("127.0.0.1"), 9, Check(CheckType.DNS, dns=DnsCheck("example.org"))))
print("dns" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


# --------------------------------------------------------------------------------------- what answers mean


def judged(check: DnsCheck, change: Callable[[dns.message.Message], object], *values: str, kind: str = "A") -> object:
    question = DnsQuestion(check)
    message = response(question.query(77), *values, kind=kind)
    change(message)
    return question.judge(message.to_wire(), 77)


def unchanged(message: dns.message.Message) -> None:
    """It is fine as it is."""


@pytest.mark.parametrize("rcode", ["NXDOMAIN", "SERVFAIL", "REFUSED", "FORMERR", "NOTIMP"])
@pytest.mark.parametrize("bare", [False, True])
def test_an_error_is_named_even_where_it_comes_without_the_question(rcode: str, bare: bool) -> None:
    def fail(message: dns.message.Message) -> None:
        message.set_rcode(dns.rcode.from_text(rcode))
        if bare:
            message.question.clear()

    assert judged(DnsCheck(NAME), fail) == Outcome(False, rcode)


def test_an_error_without_a_name_has_its_number() -> None:
    question = DnsQuestion(DnsCheck(NAME))
    assert question.judge(b"\0\5\x80\x0c" + bytes(8), 5) == Outcome(False, "rcode 12")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda message: message.question.clear(), "a success without the question"),
        (lambda message: message.set_opcode(dns.opcode.STATUS), "another operation"),
        (lambda message: setattr(message, "flags", message.flags & ~dns.flags.QR), "a query"),
    ],
)
def test_what_is_no_answer_to_the_query_is_passed_over(
    change: Callable[[dns.message.Message], object], what: str
) -> None:
    assert judged(DnsCheck(NAME), change) is None, what


def test_another_question_is_passed_over() -> None:
    question = DnsQuestion(DnsCheck(NAME))
    for name, kind in ((NAME, "AAAA"), ("example.org", "A")):
        message = dns.message.make_response(dns.message.make_query(name, kind, id=5))
        assert question.judge(message.to_wire(), 5) is None


def test_the_case_of_the_question_makes_no_difference() -> None:
    question = DnsQuestion(DnsCheck(NAME))
    message = dns.message.make_response(dns.message.make_query(NAME.upper(), "A", id=5))
    assert question.judge(message.to_wire(), 5) == Outcome(True, "NOERROR, 0 records")


def truncate(message: dns.message.Message) -> None:
    message.flags |= dns.flags.TC


def test_a_truncated_answer_is_one_where_nothing_is_expected() -> None:
    assert judged(DnsCheck(NAME), truncate) == Outcome(True, "NOERROR, truncated")


def test_a_truncated_answer_is_enough_where_it_has_what_is_expected() -> None:
    check = DnsCheck(NAME, "A", ("192.0.2.1",))
    assert judged(check, truncate, "192.0.2.1") == Outcome(True, "NOERROR, truncated")


def test_a_truncated_answer_without_what_is_expected_says_so() -> None:
    check = DnsCheck(NAME, "A", ("192.0.2.1",))
    expected = Outcome(False, "192.0.2.1 is not among the answers: the answer is truncated")
    assert judged(check, truncate, "192.0.2.9") == expected


@pytest.mark.parametrize(
    ("kind", "there", "expected"),
    [
        ("A", "192.0.2.1", "192.0.2.1"),
        ("AAAA", "2001:db8::1", "2001:0DB8:0:0::1"),
        ("CNAME", "Web.Example.org.", "web.example.org"),
        ("NS", "ns1.example.org.", "NS1.example.org."),
        ("PTR", "host.example.org.", "host.example.org"),
        ("MX", "10 Mail.example.org.", "10 mail.example.org."),
        ("SRV", "0 5 5060 sip.example.org.", "0 5 5060 SIP.example.org"),
        ("SOA", "ns.example.org. root.example.org. 1 2 3 4 5", "NS.example.org root.example.org 1 2 3 4 5"),
        ("TXT", '"v=spf1 -all"', "v=spf1 -all"),
        ("TXT", '"v=spf1" " -all"', '"v=spf1 -all"'),
        ("TXT", '"a \\"b\\" \\\\c"', 'a "b" \\c'),
    ],
)
def test_values_are_compared_as_records(kind: str, there: str, expected: str) -> None:
    check = DnsCheck(NAME, kind, (expected,))
    assert judged(check, unchanged, there, kind=kind) == Outcome(True, "NOERROR, 1 record")


def test_records_of_other_types_on_the_way_do_not_count() -> None:
    question = DnsQuestion(DnsCheck(NAME, "A", ("192.0.2.1",)))
    message = response(question.query(1), "web.example.org.", kind="CNAME")
    message.answer.append(dns.rrset.from_text("web.example.org.", 60, "IN", "A", "192.0.2.1"))
    assert question.judge(message.to_wire(), 1) == Outcome(True, "NOERROR, 1 record")
    del message.answer[1]
    assert question.judge(message.to_wire(), 1) == Outcome(False, "192.0.2.1 is not among the answers: found none")


def test_a_value_that_cannot_be_one_is_named() -> None:
    check = DnsCheck(NAME, "A", ("not an address",))
    outcome = judged(check, unchanged, "192.0.2.1")
    assert outcome == Outcome(False, "'not an address', which is expected, is no A record; correct the check")


def test_a_malformed_answer_with_the_right_identity_fails() -> None:
    question = DnsQuestion(DnsCheck(NAME))
    whole = response(question.query(9), "192.0.2.1").to_wire()
    outcome = question.judge(whole[:-2], 9)
    assert outcome is not None
    assert not outcome.success
    assert outcome.reason.startswith("malformed answer: ")


KINDS = {
    "A": "192.0.2.1", "AAAA": "2001:db8::1", "MX": "10 m.example.org.", "TXT": '"x" "y"',
    "SOA": "n.example.org. r.example.org. 1 2 3 4 5", "SRV": "1 2 3 s.example.org.",
}  # fmt: skip


@given(st.sampled_from(sorted(KINDS)), st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_comes_the_judge_raises_nothing_and_says_little(kind: str, data: st.DataObject) -> None:
    question = DnsQuestion(DnsCheck(NAME, kind, (KINDS[kind],)))
    answer = bytearray(response(question.query(513), KINDS[kind], kind=kind).to_wire())
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(3, len(answer) - 1))
        match data.draw(st.sampled_from(["set", "cut", "insert", "end"])):
            case "set":
                answer[at] = data.draw(st.sampled_from([0, 1, 0xC0, 0x0C, 0xFF]) | st.integers(0, 255))
            case "cut" if len(answer) > 20:
                del answer[at : at + 3]
            case "insert":
                answer[at:at] = data.draw(st.binary(max_size=12))
            case "end":
                del answer[max(at, 12) :]
    outcome = question.judge(bytes(answer), 513)
    assert outcome is None or len(outcome.reason) < 400


@given(st.binary(max_size=600))
@settings(max_examples=200, deadline=None)
def test_noise_behind_a_good_header_raises_nothing(noise: bytes) -> None:
    question = DnsQuestion(DnsCheck(NAME))
    for counts in (b"\0\1\0\1\0\0\0\0", b"\0\1\xff\xff\xff\xff\xff\xff"):
        question.judge(b"\0\1\x84\0" + counts + question.query(1)[12:] + noise, 1)
    question.judge(noise, 1)
