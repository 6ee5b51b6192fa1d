"""SMTP checks against real sockets and as pure dialogues."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha_lvs.health.speech.dialogue import Outcome
from ha_lvs.health.speech.smtp import MAX_LINE, MAX_REPLY, SmtpDialogue
from ha_lvs.health.verdict import Verdict
from ha_lvs.model import Check, CheckType, Endpoint, ServerState, TlsCheck
from tests.certificates import issue
from tests.dialogues import converse, kept_bytes, parts_of
from tests.unit.test_probes import Watch, refusing_port, reset, server

UP, DOWN = ServerState.UP, ServerState.DOWN
GREETING = b"220 mx.example.org ESMTP ready\r\n"
EXTENSIONS = b"250-mx.example.org\r\n250-SIZE 1000\r\n250 8BITMIME\r\n"


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.engine.close()


def mail(port: int, timeout_s: float = 10.0, hello: str = "lb.example.org", tls: TlsCheck | None = None) -> Endpoint:
    check = Check(CheckType.SMTP, 0.05, timeout_s, rise=1, fall=1, hello=hello, tls=tls)
    return Endpoint(ip_address("127.0.0.1"), port, check)


def read_line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            break
        line += byte
    return line


def host(
    heard: list[bytes] | None = None, greeting: bytes = GREETING, hello: bytes = EXTENSIONS, bye: bytes = b"221 bye\r\n"
) -> Callable[[socket.socket], None]:
    """A mail server that says these replies, each as soon as it is its turn."""

    def handle(connection: socket.socket) -> None:
        connection.sendall(greeting)
        for reply in (hello, bye):
            line = read_line(connection)
            if heard is not None:
                heard.append(line)
            if not line:
                return
            connection.sendall(reply)

    return handle


# ---------------------------------------------------------------------------------------------- over sockets


def test_a_mail_server_is_greeted_and_left_politely(watch: Watch) -> None:
    heard: list[bytes] = []
    with server(host(heard)) as port:
        endpoint = mail(port)
        assert watch.first_verdict(endpoint) == Verdict(UP, 0, "SMTP 250")
        watch.engine.remove(endpoint)
    assert heard[:2] == [b"EHLO lb.example.org\r\n", b"QUIT\r\n"]


def test_this_hosts_name_is_given_by_default(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []
    with server(host(heard)) as port:
        for name in ("lb1", "no name!"):
            monkeypatch.setattr(socket, "gethostname", lambda name=name: name)
            endpoint = mail(port, hello="", timeout_s=9.0 if name == "lb1" else 8.0)
            assert watch.first_verdict(endpoint).state is UP
            watch.engine.remove(endpoint)
    assert {line for line in heard if line.startswith(b"EHLO")} == {b"EHLO lb1\r\n", b"EHLO localhost\r\n"}


def test_a_mail_server_in_tls(watch: Watch, tmp_path: Path) -> None:
    shown = issue(tmp_path, "mx.example.org", ends_s=5.5 * 86400)
    context = shown.context()

    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inner:
            host()(inner)

    with server(handle) as port:
        verdict = watch.first_verdict(mail(port, tls=TlsCheck("mx.example.org", ca=str(shown.file))))
        assert verdict == Verdict(UP, 0, "SMTP 250", warning="certificate expires in 5 days")
        verdict = watch.first_verdict(mail(port, tls=TlsCheck("other.example", ca=str(shown.file))))
        assert verdict == Verdict(DOWN, 0, "certificate is for mx.example.org, not other.example")


def test_slow_bytes(watch: Watch) -> None:
    def handle(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for reply in (GREETING, EXTENSIONS):
            for byte in reply:
                connection.sendall(bytes([byte]))
            read_line(connection)

    with server(handle) as port:
        assert watch.first_verdict(mail(port)) == Verdict(UP, 0, "SMTP 250")


@pytest.mark.parametrize(
    ("said", "awaited"),
    [(b"", "the greeting"), (b"220-mx\r\n", "the greeting"), (GREETING, "the answer to EHLO")],
)
def test_silence_is_told_with_what_was_awaited(watch: Watch, said: bytes, awaited: str) -> None:
    def handle(connection: socket.socket) -> None:
        connection.sendall(said)
        while connection.recv(100):
            pass

    with server(handle) as port:
        endpoint = mail(port, timeout_s=0.5)
        assert watch.first_verdict(endpoint) == Verdict(DOWN, 0, f"timed out waiting for {awaited}")
        watch.engine.remove(endpoint)


def test_a_server_that_never_accepts_times_out_while_connecting(watch: Watch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.socket() as first:
        first.connect(listener.getsockname())
        verdict = watch.first_verdict(mail(listener.getsockname()[1], timeout_s=0.3))
    assert verdict == Verdict(DOWN, 0, "timed out while connecting")


def test_refused_and_reset(watch: Watch) -> None:
    with refusing_port() as port:
        assert watch.first_verdict(mail(port)) == Verdict(DOWN, 0, "connection refused")
    with server(reset) as port:
        assert watch.first_verdict(mail(port)) == Verdict(DOWN, 0, "connection reset")


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (host(greeting=b"554 no service\r\n"), "the greeting was '554 no service'"),
        (host(greeting=b"421 busy\r\n"), "the greeting was '421 busy'"),
        (host(hello=b"502 what?\r\n"), "the answer to EHLO was '502 what?'"),
        (host(hello=b"250-a\r\n550 b\r\n"), "not SMTP: '550 b'"),
        (host(greeting=b"SSH-2.0-OpenSSH_9.2\r\n"), "not SMTP: 'SSH-2.0-OpenSSH_9.2'"),
        (host(greeting=b""), "connection closed before the greeting"),
    ],
)
def test_a_server_that_is_not_fine(watch: Watch, handler: Callable[[socket.socket], None], reason: str) -> None:
    def handle(connection: socket.socket) -> None:
        if reason.startswith("connection closed"):
            return
        handler(connection)

    with server(handle) as port:
        assert watch.first_verdict(mail(port)) == Verdict(DOWN, 0, reason)


@pytest.mark.parametrize("filler", [b"x" * 8000, b"220-" + b"x" * 100 + b"\r\n"])
def test_a_greeting_that_never_ends_is_cut_off(watch: Watch, filler: bytes) -> None:
    def handle(connection: socket.socket) -> None:
        while True:
            connection.sendall(filler)

    with server(handle) as port:
        endpoint = mail(port)
        assert watch.first_verdict(endpoint) == Verdict(DOWN, 0, "not SMTP: the greeting is too long")
        watch.engine.remove(endpoint)


# ------------------------------------------------------------------------------------------------- as bytes

FINE = Outcome(True, "SMTP 250")


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (GREETING + EXTENSIONS + b"221 bye\r\n", FINE),
        (b"220\n250\n221\n", FINE),
        (GREETING + EXTENSIONS + b"500 what?\r\n", FINE),
        (GREETING + EXTENSIONS, FINE),
        (b"220x\r\n", Outcome(False, "not SMTP: '220x'")),
        (b"22 mx\r\n", Outcome(False, "not SMTP: '22 mx'")),
        (b"220-mx\r\n221 mx\r\n", Outcome(False, "not SMTP: '221 mx'")),
        (b"220 " + b"x" * MAX_LINE, Outcome(False, "not SMTP: the greeting is too long")),
        (b"220-x\r\n" * (MAX_REPLY // 7 + 1), Outcome(False, "not SMTP: the greeting is too long")),
        (GREETING + b"250-", Outcome(False, "connection closed before the answer to EHLO")),
    ],
)
def test_replies(said: bytes, outcome: Outcome) -> None:
    assert converse(SmtpDialogue("lb"), [said]) == outcome


def test_each_word_is_said_in_its_turn() -> None:
    dialogue = SmtpDialogue("lb.example.org")
    assert dialogue.opening == b""
    assert dialogue.hear(GREETING[:-1]).say == b""
    assert dialogue.hear(b"\n").say == b"EHLO lb.example.org\r\n"
    assert dialogue.hear(EXTENSIONS[:-12]).say == b""
    assert dialogue.hear(EXTENSIONS[-12:]).say == b"QUIT\r\n"
    assert dialogue.hear(b"2").outcome is None
    assert dialogue.hear(b"21 bye\r\n").outcome == FINE


SAID = st.lists(
    st.one_of(
        st.sampled_from(
            [GREETING, EXTENSIONS, b"220-more\r\n", b"250 ok\n", b"554 no\r\n", b"221 bye\r\n", b"220", b"\r", b"\n"]
        ),
        st.binary(max_size=20),
        st.integers(1, 3000).map(lambda length: b"220-" + b"x" * length),
    ),
    max_size=12,
).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(st.data(), SAID)
def test_the_outcome_does_not_depend_on_how_the_bytes_are_cut(data: st.DataObject, said: bytes) -> None:
    assert converse(SmtpDialogue("lb"), data.draw(parts_of(said))) == converse(SmtpDialogue("lb"), [said])


@settings(max_examples=100, deadline=None)
@given(st.lists(SAID, max_size=30), st.integers(1, 200))
def test_a_dialogue_keeps_a_bounded_part_of_what_it_hears(parts: list[bytes], times: int) -> None:
    dialogue = SmtpDialogue("lb")
    for part in parts * times:
        if part and dialogue.hear(part).outcome is not None:
            break
        assert kept_bytes(dialogue) <= MAX_LINE + 100
