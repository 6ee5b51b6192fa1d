"""HTTPS checks against real servers on the loopback, and what is said of their certificates."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.health.probes import trust
from ha_lvs.health.verdict import Verdict
from ha_lvs.model import Check, CheckType, Endpoint, HttpCheck, ServerState, TlsCheck
from ha_lvs.wire import certificate
from ha_lvs.wire.certificate import Certificate
from tests.certificates import DAY_S, Issued, issue
from tests.descriptors import open_descriptors
from tests.unit.test_probes import OK, Watch, answering, read_request, refusing_port, reset, server

UP, DOWN = ServerState.UP, ServerState.DOWN
NAME = "www.example.org"
HOUR_S = 3600.0


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.engine.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(place: Path) -> Issued:
    return issue(place, "the authority", authority=True)


@pytest.fixture(scope="module")
def good(place: Path, authority: Issued) -> Issued:
    return issue(place, NAME, "127.0.0.1", by=authority)


Handler = Callable[[socket.socket], None]
FINE: Handler = answering(OK)


def secured(context: ssl.SSLContext, handler: Handler = FINE) -> Handler:
    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inner:
            handler(inner)

    return handle


def web(
    port: int,
    ca: Issued | Path | None,
    name: str = NAME,
    timeout_s: float = 10.0,
    http: HttpCheck | None = None,
    verify: bool = True,
    warn_s: float = 14 * DAY_S,
) -> Endpoint:
    file = "" if ca is None else str(ca.file if isinstance(ca, Issued) else ca)
    how = TlsCheck(name, verify, file, warn_s)
    check = Check(CheckType.HTTPS, 0.05, timeout_s, rise=1, fall=1, http=http, tls=how)
    return Endpoint(ip_address("127.0.0.1"), port, check)


# ------------------------------------------------------------------------------------------------ all is well


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_with_a_good_certificate_is_up(
    watch: Watch, authority: Issued, good: Issued, version: ssl.TLSVersion
) -> None:
    context = good.context()
    context.minimum_version = context.maximum_version = version
    with server(secured(context)) as port:
        assert watch.first_verdict(web(port, authority)) == Verdict(UP, 0, "HTTP 200")


def test_the_systems_authorities_are_trusted_where_none_are_given(
    watch: Watch, authority: Issued, good: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with server(secured(good.context())) as port:
        assert watch.first_verdict(web(port, None)) == Verdict(UP, 0, "HTTP 200")


@pytest.mark.parametrize(
    ("tls_name", "host", "sent"),
    [
        (NAME, "other.example", NAME),
        ("", f"{NAME}:8443", NAME),
        ("", NAME, NAME),
        ("", "", None),  # RFC 6066 section 3: no addresses
        ("", "127.0.0.1:8443", None),
    ],
)
def test_the_name_that_is_asked_for(
    watch: Watch, authority: Issued, good: Issued, tls_name: str, host: str, sent: str | None
) -> None:
    seen: list[str | None] = []
    context = good.context()
    context.sni_callback = lambda _socket, name, _context: seen.append(name)
    with server(secured(context)) as port:
        endpoint = web(port, authority, tls_name, http=HttpCheck(host=host))
        assert watch.first_verdict(endpoint) == Verdict(UP, 0, "HTTP 200")
    assert set(seen) == {sent}


def test_http_1_1_is_offered(watch: Watch, authority: Issued, good: Issued) -> None:
    agreed: list[str | None] = []

    def handle(connection: socket.socket) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        agreed.append(connection.selected_alpn_protocol())
        answering(OK)(connection)

    with server(secured(good.context("h2", "http/1.1"), handle)) as port:
        assert watch.first_verdict(web(port, authority)) == Verdict(UP, 0, "HTTP 200")
    assert set(agreed) == {"http/1.1"}


def test_the_body_is_read_through_tls_to_the_end_of_the_connection(
    watch: Watch, authority: Issued, good: Issued
) -> None:
    answer = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000 + b" it is ready"
    check = HttpCheck(contains="it is ready", status=((200, 200),))
    with server(secured(good.context(), answering(answer))) as port:  # which ends without close_notify
        assert watch.first_verdict(web(port, authority, http=check)).state is UP


def one_byte_at_a_time(context: ssl.SSLContext, connection: socket.socket, answer: bytes) -> None:
    """A TLS server each of whose bytes is a packet of its own."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    asked = b""
    shaken = False
    while b"\r\n\r\n" not in asked:
        try:
            if not shaken:
                tls.do_handshake()
                shaken = True
            asked += tls.read(4096)
        except ssl.SSLWantReadError:
            trickle(connection, outgoing.read())
            part = connection.recv(4096)
            if not part:
                return
            incoming.write(part)
    tls.write(answer)
    trickle(connection, outgoing.read())


def trickle(connection: socket.socket, data: bytes) -> None:
    for byte in data:
        connection.sendall(bytes([byte]))


def test_slow_bytes(watch: Watch, authority: Issued, good: Issued) -> None:
    context = good.context()
    with server(lambda connection: one_byte_at_a_time(context, connection, OK)) as port:
        assert watch.first_verdict(web(port, authority, timeout_s=20.0)) == Verdict(UP, 0, "HTTP 200")


# ------------------------------------------------------------------------------------- certificates not accepted


@pytest.mark.parametrize(
    ("names", "begins_s", "ends_s", "reason"),
    [
        ((NAME,), -30 * DAY_S, -3 * DAY_S - HOUR_S, "certificate expired 3 days ago"),
        ((NAME,), -30 * DAY_S, -1.5 * DAY_S, "certificate expired 1 day ago"),
        ((NAME,), -30 * DAY_S, -90.0, "certificate expired less than an hour ago"),
        ((NAME,), 2.5 * DAY_S, 30 * DAY_S, "certificate becomes valid in 2 days"),
        (("other.example",), -DAY_S, DAY_S, f"certificate is for other.example, not {NAME}"),
        (("10.9.0.1", "::1"), -DAY_S, DAY_S, f"certificate is for 10.9.0.1, ::1, not {NAME}"),
        (("a", "b", "c", "d", "e"), -DAY_S, DAY_S, f"certificate is for a, b, c and 2 more, not {NAME}"),
    ],
)
def test_the_reason_says_what_is_in_the_certificate(
    watch: Watch, place: Path, authority: Issued, names: tuple[str, ...], begins_s: float, ends_s: float, reason: str
) -> None:
    bad = issue(place, *names, by=authority, begins_s=begins_s, ends_s=ends_s)
    with server(secured(bad.context())) as port:
        assert watch.first_verdict(web(port, authority)) == Verdict(DOWN, 0, reason)


def test_a_certificate_without_names(watch: Watch, place: Path, authority: Issued) -> None:
    with server(secured(issue(place, by=authority).context())) as port:
        verdict = watch.first_verdict(web(port, authority))
    assert verdict == Verdict(DOWN, 0, f"certificate is for no host by name, not {NAME}")


def test_an_address_that_the_certificate_is_not_for(watch: Watch, place: Path, authority: Issued) -> None:
    with server(secured(issue(place, NAME, by=authority).context())) as port:
        verdict = watch.first_verdict(web(port, authority, name=""))
    assert verdict == Verdict(DOWN, 0, f"certificate is for {NAME}, not 127.0.0.1")


def test_an_authority_that_has_expired(watch: Watch, place: Path) -> None:
    old = issue(place, "old", authority=True, ends_s=-DAY_S)
    with server(secured(issue(place, NAME, by=old).context())) as port:
        assert watch.first_verdict(web(port, old)) == Verdict(DOWN, 0, "the certificate of an authority has expired")


def test_a_certificate_that_signed_itself(watch: Watch, place: Path, authority: Issued) -> None:
    with server(secured(issue(place, NAME).context())) as port:
        verdict = watch.first_verdict(web(port, authority))
    assert verdict.state is DOWN
    assert verdict.reason.lower().replace("-", " ") == "certificate is not trusted: self signed certificate"


def test_an_authority_that_is_not_trusted(watch: Watch, place: Path, authority: Issued) -> None:
    other = issue(place, "another authority", authority=True)
    with server(secured(issue(place, NAME, by=other).context())) as port:
        verdict = watch.first_verdict(web(port, authority))
    assert verdict.state is DOWN
    assert verdict.reason.startswith("certificate is not trusted: unable to get ")


def test_the_reason_is_plain_where_the_second_connection_comes_to_nothing(
    watch: Watch, place: Path, authority: Issued
) -> None:
    context = issue(place, NAME, by=authority, ends_s=-DAY_S).context()
    count = [0]

    def handle(connection: socket.socket) -> None:
        count[0] += 1
        if count[0] % 2:
            secured(context)(connection)

    with server(handle) as port:
        assert watch.first_verdict(web(port, authority)) == Verdict(DOWN, 0, "certificate has expired")


def test_the_second_connection_has_the_rest_of_the_timeout(watch: Watch, place: Path, authority: Issued) -> None:
    context = issue(place, "other.example", by=authority).context()
    count = [0]

    def handle(connection: socket.socket) -> None:
        count[0] += 1
        if count[0] % 2:
            secured(context)(connection)
        else:
            connection.recv(4096)
            connection.recv(4096)

    with server(handle) as port:
        endpoint = web(port, authority, timeout_s=1.0)
        assert watch.first_verdict(endpoint) == Verdict(DOWN, 0, f"certificate is not for {NAME}")
        watch.engine.remove(endpoint)


def test_without_verification_any_certificate_will_do(watch: Watch, place: Path) -> None:
    with server(secured(issue(place, "other.example").context())) as port:
        assert watch.first_verdict(web(port, None, verify=False)) == Verdict(UP, 0, "HTTP 200")


# ---------------------------------------------------------------------------------------------------- warnings


@pytest.mark.parametrize(
    ("ends_s", "tls", "warning"),
    [
        (5.5 * DAY_S, {}, "certificate expires in 5 days"),
        (5.5 * HOUR_S, {}, "certificate expires in 5 hours"),
        (5.5 * DAY_S, {"warn_s": 4 * DAY_S}, ""),
        (5.5 * DAY_S, {"warn_s": 0.0}, ""),
        (15 * DAY_S, {}, ""),
        (5.5 * DAY_S, {"verify": False}, "certificate expires in 5 days"),
        (-5.5 * DAY_S, {"verify": False}, "certificate expired 5 days ago"),
        (-5.5 * DAY_S, {"verify": False, "warn_s": 0.0}, ""),
    ],
)
def test_a_certificate_that_expires_soon_is_warned_of(
    watch: Watch, place: Path, authority: Issued, ends_s: float, tls: dict[str, Any], warning: str
) -> None:
    with server(secured(issue(place, NAME, by=authority, ends_s=ends_s).context())) as port:
        verdict = watch.first_verdict(web(port, authority, **tls))
    assert verdict == Verdict(UP, 0, "HTTP 200", warning=warning)


def test_the_warning_ends_when_the_certificate_is_renewed(
    watch: Watch, place: Path, authority: Issued, good: Issued
) -> None:
    shown = [issue(place, NAME, by=authority, ends_s=5.5 * DAY_S).context()]
    with server(lambda connection: secured(shown[0])(connection)) as port:
        endpoint = web(port, authority)
        assert watch.first_verdict(endpoint).warning == "certificate expires in 5 days"
        shown[0] = good.context()
        watch.run_until(lambda: not watch.verdict(endpoint).warning, "the end of the warning")
    assert [verdict.warning for _, verdict in watch.reports[:2]] == ["certificate expires in 5 days", ""]


# ------------------------------------------------------------------------------------------------- authorities


def test_a_file_of_authorities_that_is_missing_is_a_reason_until_it_is_there(
    watch: Watch, tmp_path: Path, authority: Issued, good: Issued
) -> None:
    file = tmp_path / "ca.pem"
    with server(secured(good.context())) as port:
        endpoint = web(port, file)
        verdict = watch.first_verdict(endpoint)
        assert verdict == Verdict(DOWN, 0, f"cannot read the authorities in {file}: no such file or directory")
        file.write_bytes(authority.file.read_bytes())
        watch.run_until_state(endpoint, UP)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nnonsense\n"])
def test_a_file_without_authorities_is_a_reason(
    watch: Watch, tmp_path: Path, authority: Issued, good: Issued, content: bytes
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(content)
    with server(secured(good.context())) as port:
        verdict = watch.first_verdict(web(port, file))
    assert verdict == Verdict(DOWN, 0, f"cannot read the authorities in {file}: it holds no certificates")


def test_a_directory_in_place_of_authorities_is_a_reason(watch: Watch, tmp_path: Path, good: Issued) -> None:
    with server(secured(good.context())) as port:
        verdict = watch.first_verdict(web(port, tmp_path))
    assert verdict.state is DOWN
    assert verdict.reason.startswith(f"cannot read the authorities in {tmp_path}: ")


def test_authorities_that_are_lost_later_are_still_trusted_with_a_warning(
    watch: Watch, tmp_path: Path, authority: Issued, good: Issued
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(authority.file.read_bytes())
    with server(secured(good.context())) as port:
        endpoint = web(port, file)
        assert watch.first_verdict(endpoint) == Verdict(UP, 0, "HTTP 200")
        file.unlink()
        watch.run_until(lambda: watch.verdict(endpoint).warning, "a warning")
        reason = f"cannot read the authorities in {file}: no such file or directory"
        assert watch.verdict(endpoint) == Verdict(UP, 0, "HTTP 200", warning=reason)


def test_other_authorities_in_the_file_are_followed(
    watch: Watch, tmp_path: Path, place: Path, authority: Issued, good: Issued
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(issue(place, "another authority", authority=True).file.read_bytes())
    with server(secured(good.context())) as port:
        endpoint = web(port, file)
        assert watch.first_verdict(endpoint).state is DOWN
        other = tmp_path / "new"
        other.write_bytes(authority.file.read_bytes())
        other.replace(file)
        watch.run_until_state(endpoint, UP)


def test_probes_that_trust_the_same_share_it(watch: Watch, authority: Issued, good: Issued) -> None:
    with server(secured(good.context())) as port:
        for name, warn_s in ((NAME, 0.0), ("127.0.0.1", 5.0)):
            watch.first_verdict(web(port, authority, name=name, warn_s=warn_s))
    assert len([each for each in watch.engine._shared.values() if isinstance(each, trust.Trust)]) == 1


# --------------------------------------------------------------------------------------------- other failures


def test_a_port_that_nobody_listens_at(watch: Watch, authority: Issued) -> None:
    with refusing_port() as port:
        assert watch.first_verdict(web(port, authority)) == Verdict(DOWN, 0, "connection refused")


@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail ESMTP\r\n"]
)
def test_a_server_that_does_not_speak_tls(watch: Watch, authority: Issued, greeting: bytes) -> None:
    def handle(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(greeting)
        connection.recv(4096)

    with server(handle) as port:
        assert watch.first_verdict(web(port, authority)) == Verdict(DOWN, 0, "server does not speak TLS")


def test_a_server_that_accepts_and_is_silent(watch: Watch, authority: Issued) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        verdict = watch.first_verdict(web(listener.getsockname()[1], authority, timeout_s=0.5))
    assert verdict == Verdict(DOWN, 0, "timed out in the TLS handshake")


def test_a_server_that_is_silent_behind_the_handshake(watch: Watch, authority: Issued, good: Issued) -> None:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.recv(1)

    with server(secured(good.context(), handle)) as port:
        endpoint = web(port, authority, timeout_s=3.0)
        assert watch.first_verdict(endpoint) == Verdict(DOWN, 0, "timed out waiting for the status line")
        watch.engine.remove(endpoint)


def test_a_connection_that_is_closed_in_the_handshake(watch: Watch, authority: Issued) -> None:
    with server(lambda connection: void(connection.recv(4096))) as port:
        verdict = watch.first_verdict(web(port, authority))
    assert verdict == Verdict(DOWN, 0, "connection closed in the TLS handshake")


def void(_value: object) -> None:
    pass


def test_a_connection_that_is_reset_in_the_handshake(watch: Watch, authority: Issued) -> None:
    def handle(connection: socket.socket) -> None:
        connection.recv(4096)
        reset(connection)

    with server(handle) as port:
        assert watch.first_verdict(web(port, authority)) == Verdict(DOWN, 0, "connection reset")


def test_a_server_that_wants_a_certificate_of_ours(watch: Watch, authority: Issued, good: Issued) -> None:
    context = good.context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # where it is told within the handshake
    with server(secured(context)) as port:
        verdict = watch.first_verdict(web(port, authority))
    assert verdict.state is DOWN
    assert verdict.reason.startswith("TLS failed: ")


def test_a_wrong_status(watch: Watch, authority: Issued, good: Issued) -> None:
    with server(secured(good.context(), answering(b"HTTP/1.1 503 Oops\r\n\r\n"))) as port:
        assert watch.first_verdict(web(port, authority)) == Verdict(DOWN, 0, "HTTP 503")


def test_a_body_that_never_ends_is_cut_off(watch: Watch, authority: Issued, good: Issued) -> None:
    stop = threading.Event()

    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not stop.is_set():
            connection.sendall(b"x" * 16000)

    with server(secured(good.context(), handle)) as port:
        endpoint = web(port, authority, http=HttpCheck(contains="ready"))
        reason = "HTTP 200, but its body does not contain 'ready' within 1 MiB"
        assert watch.first_verdict(endpoint) == Verdict(DOWN, 0, reason)
        watch.engine.remove(endpoint)
        stop.set()


@pytest.mark.parametrize("kept", [1, 5, 6, 50, 120, 500])
def test_handshakes_that_break_off_anywhere(watch: Watch, authority: Issued, good: Issued, kept: int) -> None:
    """The server sends the first bytes of its handshake, and then nonsense."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()

    def handle(connection: socket.socket) -> None:
        nonlocal incoming, outgoing
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = good.context().wrap_bio(incoming, outgoing, server_side=True)
        incoming.write(connection.recv(4096))
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        connection.sendall(outgoing.read()[:kept] + b"\xee" * 20000)

    with server(handle) as port:
        verdict = watch.first_verdict(web(port, authority))
    assert verdict.state is DOWN
    assert verdict.reason


def test_a_name_that_cannot_be_one_is_a_reason(watch: Watch, good: Issued) -> None:
    with server(secured(good.context())) as port:
        verdict = watch.first_verdict(web(port, None, name="a" * 70 + "ü.example"))
    assert verdict.state is DOWN
    assert verdict.reason.endswith("cannot be a server's name in TLS")


def test_every_descriptor_comes_back(watch: Watch, place: Path, authority: Issued) -> None:
    before = open_descriptors()
    with server(secured(issue(place, "other.example", by=authority).context())) as port:
        endpoints = [web(port, authority, timeout_s=10.0 + number) for number in range(10)]
        for endpoint in endpoints:
            watch.engine.add(endpoint)
        watch.run_until(lambda: len(watch.reports) == 10, "a verdict on each")
        watch.engine.run_once(0.1)
        for endpoint in endpoints:  # some of them are under way
            watch.engine.remove(endpoint)
    assert open_descriptors() <= before


# -------------------------------------------------------------------------------------------- reading certificates


def test_what_is_read_of_a_certificate(place: Path, authority: Issued) -> None:
    """Against another reader's word."""
    made = issue(place, NAME, "10.9.0.1", "2001:db8::1", by=authority)
    found = certificate.decode(made.der)
    assert found == Certificate(
        made.certificate.not_valid_before_utc.timestamp(),
        made.certificate.not_valid_after_utc.timestamp(),
        (NAME, "10.9.0.1", "2001:db8::1"),
    )


def test_a_certificate_for_a_hundred_years(place: Path) -> None:
    """From 2050 on, times have four digits for the year."""
    made = issue(place, NAME, ends_s=100 * 365 * DAY_S)
    assert certificate.decode(made.der).ends == made.certificate.not_valid_after_utc.timestamp()
