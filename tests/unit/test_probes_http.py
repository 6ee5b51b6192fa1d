"""HTTP checks that look at the body, against real sockets and as pure dialogues."""

from __future__ import annotations

import hashlib
import resource
import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha_lvs.health.probes.patterns import Pattern
from ha_lvs.health.speech import http
from ha_lvs.health.speech.dialogue import Outcome
from ha_lvs.health.speech.http_body import MAX_BODY, MAX_LINE, MAX_TEXT, BodyDialogue
from ha_lvs.health.verdict import Verdict
from ha_lvs.model import Check, CheckType, Endpoint, HttpCheck, ServerState
from tests.dialogues import converse, kept_bytes, parts_of
from tests.unit.test_probes import Watch, answering, read_request, refusing_port, reset, server

UP, DOWN = ServerState.UP, ServerState.DOWN
READY = HttpCheck(contains="ready")
GOOD = "HTTP 200, and the body is as expected"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.engine.close()


def web(port: int, http: HttpCheck = READY, timeout_s: float = 10.0) -> Endpoint:
    return Endpoint(ip_address("127.0.0.1"), port, Check(CheckType.HTTP, 0.05, timeout_s, http=http))


def counted(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def chunked(body: bytes, size: int = 3) -> bytes:
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return CHUNKED + b"".join(b"%x;x=y\r\n%s\r\n" % (len(each), each) for each in chunks) + b"0\r\nT: 1\r\n\r\n"


def until_close(body: bytes) -> bytes:
    return b"HTTP/1.0 200 OK\r\n\r\n" + body


every_framing = pytest.mark.parametrize("framed", [counted, chunked, until_close])


def dialogue(check: HttpCheck) -> BodyDialogue:
    return BodyDialogue(check, b"", Pattern(check.matches).search)


def outcome(check: HttpCheck, answer: bytes) -> Outcome | None:
    """What comes of an answer in one part, behind which the connection ends."""
    return converse(dialogue(check), [answer])


# ---------------------------------------------------------------------------------------------- over sockets


@every_framing
@pytest.mark.parametrize(
    ("check", "complaint"),
    [
        (HttpCheck(contains="is ready"), ""),
        (HttpCheck(matches="^it (is|was) ready$"), ""),
        (HttpCheck(sha256=hashlib.sha256(b"it is ready").hexdigest()), ""),
        (HttpCheck(contains="asleep"), "but its body does not contain 'asleep'"),
        (HttpCheck(matches="^ready"), "but its body does not match '^ready'"),
        (
            HttpCheck(sha256="00" * 32),
            f"but the SHA-256 digest of its body is {hashlib.sha256(b'it is ready').hexdigest()}",
        ),
        (HttpCheck(contains="ready", matches="^asleep"), "but its body does not match '^asleep'"),
        (HttpCheck(contains="asleep", matches="^it"), "but its body does not contain 'asleep'"),
    ],
)
def test_body(watch: Watch, framed: object, check: HttpCheck, complaint: str) -> None:
    assert callable(framed)
    with server(answering(framed(b"it is ready"))) as port:
        verdict = watch.first_verdict(web(port, check))
    assert verdict == Verdict(DOWN if complaint else UP, 0, f"HTTP 200, {complaint}" if complaint else GOOD)


def test_a_wrong_status_is_told_before_the_body(watch: Watch) -> None:
    with server(answering(b"HTTP/1.1 503 Oops\r\nContent-Length: 5\r\n\r\nready")) as port:
        assert watch.first_verdict(web(port)) == Verdict(DOWN, 0, "HTTP 503")


def test_a_redirect_is_an_answer_and_is_not_followed(watch: Watch) -> None:
    asked: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        asked.append(read_request(connection))
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 5\r\n\r\nready")

    with server(handle) as port:
        assert watch.first_verdict(web(port)) == Verdict(UP, 0, "HTTP 302, and the body is as expected")
    with server(handle) as port:
        assert watch.first_verdict(web(port, HttpCheck(status=((200, 299),)))) == Verdict(DOWN, 0, "HTTP 302")
    assert {line.split(b" ")[1] for line in asked} == {b"/"}


def test_the_request_is_as_the_check_says(watch: Watch) -> None:
    seen: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(counted(b"ready"))

    check = HttpCheck("POST", "/health", "www.example.org", (("X-Probe", "1"), ("user-agent", "me")), contains="ready")
    with server(handle) as port:
        watch.first_verdict(web(port, check))
    lines = seen[0].decode().split("\r\n")
    assert lines[0] == "POST /health HTTP/1.1"
    fields = dict(line.split(": ", 1) for line in lines[1:-2])
    assert fields == {
        "Host": "www.example.org",
        "Accept": "*/*",
        "Content-Length": "0",
        "Accept-Encoding": "identity",
        "X-Probe": "1",
        "user-agent": "me",
        "Connection": "close",
    }


@every_framing
def test_slow_bytes(watch: Watch, framed: object) -> None:
    assert callable(framed)

    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in framed(b"it is ready"):
            connection.sendall(bytes([byte]))

    with server(handle) as port:
        assert watch.first_verdict(web(port)) == Verdict(UP, 0, GOOD)


@pytest.mark.parametrize(
    ("sent", "awaited"),
    [
        (b"", "the status line"),
        (b"HTTP/1.1 200 OK\r\nX: y", "the end of the header"),
        (counted(b"it is ")[:-1], "the end of the body"),
        (CHUNKED + b"5\r\nit", "the end of the body"),
        (until_close(b"it is"), "the end of the body"),
    ],
)
def test_silence_is_told_with_what_was_awaited(watch: Watch, sent: bytes, awaited: str) -> None:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(sent)
        connection.recv(1)

    with server(handle) as port:
        endpoint = web(port, timeout_s=0.5)
        assert watch.first_verdict(endpoint) == Verdict(DOWN, 0, f"timed out waiting for {awaited}")
        watch.engine.remove(endpoint)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", "connection closed before the status line"),
        (b"HTTP/1.1 200 OK\r\nX: y\r\n", "connection closed within the header"),
        (counted(b"it is")[:-1], "HTTP 200, but the connection was closed within the body"),
        (CHUNKED + b"5\r\nit", "HTTP 200, but the connection was closed within the body"),
    ],
)
def test_closed_too_early(watch: Watch, sent: bytes, reason: str) -> None:
    with server(answering(sent)) as port:
        assert watch.first_verdict(web(port)) == Verdict(DOWN, 0, reason)


def test_reset_within_the_body(watch: Watch) -> None:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(counted(b"it is")[:-2])
        reset(connection)

    with server(handle) as port:
        assert watch.first_verdict(web(port)) == Verdict(DOWN, 0, "connection reset")


def test_refused(watch: Watch) -> None:
    with refusing_port() as port:
        assert watch.first_verdict(web(port)) == Verdict(DOWN, 0, "connection refused")


@pytest.mark.parametrize(
    ("head", "filler", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X: " + b"x" * 8000 + b"\r\n", "HTTP 200, but its header is longer than 16 KiB"),
        (until_close(b""), b"x" * 8000, "HTTP 200, but its body does not contain 'ready' within 1 MiB"),
        (CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n", "HTTP 200, but its body does not contain 'ready' within 1 MiB"),
        (CHUNKED, b"1;" + b"x" * 4000 + b"\r\nx\r\n", "not HTTP: more than 1 MiB between chunks"),
    ],
)
def test_what_never_ends_is_cut_off_and_memory_stays_bounded(
    watch: Watch, head: bytes, filler: bytes, reason: str
) -> None:
    sent = [0]

    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(head)
        while True:
            sent[0] += connection.send(filler)

    with server(handle) as port:
        endpoint = web(port)
        assert watch.first_verdict(endpoint) == Verdict(DOWN, 0, reason)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        watch.run_until(lambda: sent[0] > 20 << 20, "many more bytes")
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024  # KiB
        watch.engine.remove(endpoint)


def test_a_server_that_never_stops_talking_keeps_no_other_from_its_probe(watch: Watch) -> None:
    """Zero-sized writes aside, there is always more to read from the one, and the other has to wait for its turn."""
    stop = threading.Event()

    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(until_close(b""))
        while not stop.is_set():
            connection.sendall(b"x" * 65536)

    turns: list[int] = []
    with server(handle) as talker, server(answering(counted(b"ready"))) as port:
        loud = web(talker, HttpCheck(contains="ready"))
        watch.engine.add(loud)
        probe = next(iter(watch.engine._probes.values()))
        plain = type(probe).advance

        def advance(self: object, event: int, now: float) -> None:
            turns.append(event)
            plain(self, event, now)  # type: ignore[arg-type]  # it is that probe

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(probe), "advance", advance)
            watch.run_until(lambda: watch.verdict(loud).state is DOWN, "the end of 1 MiB")
            watch.engine.remove(loud)
        assert len(turns) >= MAX_BODY // 65536  # at most 16 parts of 4096 bytes in each
        assert watch.first_verdict(web(port)) == Verdict(UP, 0, GOOD)
        stop.set()


def test_an_expression_that_explodes_is_given_up(watch: Watch) -> None:
    with server(answering(counted(b"a" * 5000))) as port:
        verdict = watch.first_verdict(web(port, HttpCheck(matches=r"(a|b|ab|aa)*c")))
    assert verdict == Verdict(DOWN, 0, "HTTP 200, but '(a|b|ab|aa)*c' takes too long to apply")


# ------------------------------------------------------------------------------------------------- as bytes


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", "not HTTP: its Content-Length is no number, or several"),
        (b"Content-Length: 5, 6\r\n", "not HTTP: its Content-Length is no number, or several"),
        (b"Content-Length: -1\r\n", "not HTTP: its Content-Length is no number, or several"),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n", "not HTTP: its Content-Length is no number, or several"),
        (b"Content-Length:\r\n", "not HTTP: its Content-Length is no number, or several"),
        (b"Content-Length: 5\r\ncontent-length:5 \r\n", GOOD),
        (b"Content-Length: 3\r\n", "HTTP 200, but its body does not contain 'ready'"),
        (b"Content-Length: 0\r\n", "HTTP 200, but its body does not contain 'ready'"),
        (b"X-Content-Length: 3\r\n", GOOD),
        (b"Transfer-Encoding: gzip, chunked\r\n", "not HTTP/1.1: nobody asked for the transfer coding 'gzip, chunked'"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "not HTTP: 'ready' is no size of a chunk"),
    ],
)  # fmt: skip
def test_framing_headers(header: bytes, reason: str) -> None:
    found = outcome(READY, b"HTTP/1.1 200 OK\r\n" + header + b"\r\nready\n")
    assert found == Outcome(reason == GOOD, reason)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"5\r\nready\r\n0\r\n", GOOD),
        (b"5\nready\n0\n", GOOD),
        (b"005 ; a=b\r\nready\r\n", GOOD),
        (b"2\r\nre\r\n3\r\nady", GOOD),
        (b"2\r\nready\r\n", "not HTTP: a chunk is longer than its size"),
        (b"\r\n5\r\nready", "not HTTP: '' is no size of a chunk"),
        (b"-5\r\nready", "not HTTP: '-5' is no size of a chunk"),
        (b"0x5\r\nready", "not HTTP: '0x5' is no size of a chunk"),
        (b"f" * 16 + b"\r\nready", "not HTTP: 'ffffffffffffffff' is no size of a chunk"),
        (b"5;" + b"x" * MAX_LINE, f"not HTTP: a chunk's size takes more than {MAX_LINE} bytes"),
        (b"0\r\n\r\n", "HTTP 200, but its body does not contain 'ready'"),
    ],
)
def test_chunks(body: bytes, reason: str) -> None:
    assert outcome(READY, CHUNKED + body) == Outcome(reason == GOOD, reason)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_a_status_without_a_body_waits_for_none(status: bytes) -> None:
    answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n"
    reply = dialogue(READY).hear(answer)
    assert reply.outcome is not None
    assert not reply.outcome.success


def test_the_limits_are_where_they_are_said_to_be() -> None:
    def of(body: bytes, check: HttpCheck) -> bool:
        found = outcome(check, until_close(body))
        assert found is not None
        return found.success

    assert of(b"x" * (MAX_BODY - 5) + b"ready", READY)
    assert not of(b"x" * (MAX_BODY - 4) + b"ready", READY)
    assert of(b"x" * (MAX_TEXT - 5) + b"ready", HttpCheck(matches="ready"))
    assert not of(b"x" * (MAX_TEXT - 4) + b"ready", HttpCheck(matches="ready"))
    whole = b"x" * MAX_BODY
    assert of(whole, HttpCheck(sha256=hashlib.sha256(whole).hexdigest()))
    assert not of(whole + b"x", HttpCheck(sha256=hashlib.sha256(whole + b"x").hexdigest()))


def test_the_check_ends_as_soon_as_the_text_is_found() -> None:
    begun = dialogue(READY)
    assert begun.hear(counted(b"ready" + b"x" * 100)[:-100]).outcome == Outcome(True, GOOD)


def test_interim_answers_beyond_the_limit_are_not_looked_at_however_they_are_cut() -> None:
    filler = b"HTTP/1.1 100 Continue\r\nX: " + b"x" * (http.MAX_HEADER - 60) + b"\r\n\r\n"
    answer = filler + b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\nready"
    for check in (HttpCheck(), READY):
        for size in (1000, len(answer)):
            parts = [answer[at : at + size] for at in range(0, len(answer), size)]
            begun = dialogue(check) if check is READY else http.HttpDialogue(check, b"")
            found = converse(begun, parts)
            assert found == Outcome(False, "not HTTP: no status within 16 KiB")


# ---------------------------------------------------------------------------------------------- by property

CHECKS = st.builds(
    HttpCheck,
    contains=st.sampled_from(["", "ready", "a", "\r\n"]),
    matches=st.sampled_from(["", "ready", "^a", "a$"]),
    sha256=st.sampled_from(["", hashlib.sha256(b"ready").hexdigest()]),
)
PIECES = st.sampled_from(
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 500 Oops\r\n", b"Content-Length: 5\r\n",
     b"Transfer-Encoding: chunked\r\n", b"\r\n", b"\n", b"ready", b"5\r\nready\r\n", b"0\r\n\r\n", b"2;x\r\nab\r\n",
     b"a" * 20]
)  # fmt: skip
ANSWERS = st.one_of(
    st.binary(max_size=60),
    st.lists(PIECES, max_size=12).map(b"".join),
    st.builds(lambda body, framed: framed(body), st.sampled_from([b"ready", b"", b"already a", b"ready" * 9]),
              st.sampled_from([counted, chunked, until_close])),
    st.builds(lambda body, more: counted(body) + more, st.just(b"ready"), st.binary(max_size=20)),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.data(), CHECKS, ANSWERS)
def test_the_outcome_does_not_depend_on_how_the_bytes_are_cut(
    data: st.DataObject, check: HttpCheck, answer: bytes
) -> None:
    """What is quoted of garbage may: it is told by its first byte."""

    def essence(found: Outcome) -> tuple[bool, str]:
        return found.success, "not HTTP" if found.reason.startswith(("not HTTP: '", 'not HTTP: "')) else found.reason

    for begin in (lambda: dialogue(check), lambda: http.HttpDialogue(check, b"")):
        whole = converse(begin(), [answer])
        cut = converse(begin(), data.draw(parts_of(answer)))
        assert essence(cut) == essence(whole)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(PIECES, st.binary(max_size=30)), max_size=20), st.integers(1, 3000), CHECKS)
def test_a_dialogue_keeps_a_bounded_part_of_what_it_hears(pieces: list[bytes], times: int, check: HttpCheck) -> None:
    begun = dialogue(check)
    for part in [*pieces[:-1], *(pieces[-1:] * times)]:
        if part and begun.hear(part).outcome is not None:
            break
        assert kept_bytes(begun) <= http.MAX_HEADER + MAX_TEXT + MAX_LINE + 2000
