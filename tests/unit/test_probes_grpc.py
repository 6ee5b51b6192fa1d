"""gRPC health checks against a real gRPC server, a server of frames over real sockets, and as pure dialogues."""

# ruff: noqa: E501  # rows of a table

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha_lvs.health.speech import http2
from ha_lvs.health.speech.dialogue import Outcome
from ha_lvs.health.speech.grpc import MAX_ANSWER, MAX_FRAMES, GrpcDialogue, request
from ha_lvs.health.speech.http2 import Frame, encode
from ha_lvs.health.verdict import Verdict
from ha_lvs.model import Check, CheckType, Endpoint, ServerState, TlsCheck
from tests.certificates import Issued, issue
from tests.dialogues import converse, kept_bytes, parts_of
from tests.unit.test_probes import OK, Watch, refusing_port, reset, server

UP, DOWN = ServerState.UP, ServerState.DOWN
NAME = "grpc.example.org"


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.engine.close()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    return issue(tmp_path_factory.mktemp("certificates"), NAME)


def health(port: int, service: str = "", timeout_s: float = 20.0, tls: TlsCheck | None = None) -> Endpoint:
    check = Check(CheckType.GRPC, 0.1, timeout_s, rise=1, fall=1, service=service, tls=tls)
    return Endpoint(ip_address("127.0.0.1"), port, check)


# ---------------------------------------------------------------------------------------- against a real server

_SERVER = """
import sys
from concurrent import futures
import grpc

HEALTHS = {"": 1, "up": 1, "down": 2, "unknown": 0}

def check(request, context):
    name = request[2:].decode()
    if name not in HEALTHS:
        context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
    return b"\\x08%c" % HEALTHS[name] if HEALTHS[name] else b""

handlers = {"Check": grpc.unary_unary_rpc_method_handler(check)} if "health" in sys.argv else {}
server = grpc.server(futures.ThreadPoolExecutor(2))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers),))
if sys.argv[1]:
    pem = open(sys.argv[1], "rb").read()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pem, pem)]))
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
sys.stdin.read()
"""


@contextmanager
def real_server(file: str = "", *options: str) -> Iterator[int]:
    """A server of grpcio, in a process of its own since its threads get on badly with forks; yields its port."""
    command = [sys.executable, "-c", _SERVER, file, *options]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield int(child.stdout.readline())
    finally:
        child.kill()
        child.communicate()


def test_what_a_real_server_says_of_its_services(watch: Watch) -> None:
    with real_server("", "health") as port:
        found = {name: watch.first_verdict(health(port, name)) for name in ("", "up", "down", "unknown", "no/such")}
    assert found == {
        "": Verdict(UP, 0, "SERVING"),
        "up": Verdict(UP, 0, "SERVING"),
        "down": Verdict(DOWN, 0, "NOT_SERVING"),
        "unknown": Verdict(DOWN, 0, "UNKNOWN"),
        "no/such": Verdict(DOWN, 0, "gRPC status 5 (NOT_FOUND): the server knows no such service"),
    }


def test_a_real_server_without_a_health_service(watch: Watch) -> None:
    with real_server() as port:
        verdict = watch.first_verdict(health(port))
    assert verdict == Verdict(DOWN, 0, "gRPC status 12 (UNIMPLEMENTED): the server has no health service")


def test_a_real_server_in_tls(watch: Watch, shown: Issued) -> None:
    with real_server(str(shown.file), "health") as port:
        verdict = watch.first_verdict(health(port, tls=TlsCheck(NAME, ca=str(shown.file))))
        assert verdict == Verdict(UP, 0, "SERVING")
        verdict = watch.first_verdict(health(port, tls=TlsCheck("other.example", ca=str(shown.file))))
        assert verdict == Verdict(DOWN, 0, f"certificate is for {NAME}, not other.example")
        assert watch.first_verdict(health(port)).state is DOWN  # without TLS


def test_a_real_server_that_comes_and_goes(watch: Watch) -> None:
    with real_server("", "health") as port:
        endpoint = health(port)
        watch.first_verdict(endpoint)
    watch.run_until_state(endpoint, DOWN)
    assert watch.verdict(endpoint).reason == "connection refused"


# ----------------------------------------------------------------------------------------------- as bytes

SETTINGS = encode(Frame(http2.SETTINGS, 0, 0))
HEADERS = encode(Frame(http2.HEADERS, http2.END_HEADERS, 1, b"\x88"))
ACKED = encode(Frame(http2.SETTINGS, http2.ACK, 0))


def message(payload: bytes, flags: int = 0) -> bytes:
    return encode(Frame(http2.DATA, flags, 1, b"\0" + struct.pack("!I", len(payload)) + payload))


def headers(block: bytes, flags: int = http2.END_HEADERS) -> bytes:
    return encode(Frame(http2.HEADERS, flags, 1, block))


SERVING = message(b"\x08\x01")
ENDS = http2.END_HEADERS | http2.END_STREAM
FINE = Outcome(True, "SERVING")


def bad(reason: str) -> Outcome:
    return Outcome(False, reason)


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (SETTINGS + HEADERS + SERVING, FINE),
        (SETTINGS + ACKED + SERVING, FINE),
        (SETTINGS + HEADERS + message(b"\x12\x03abc\x08\x01"), FINE),
        (SETTINGS + HEADERS + message(b"\x08\x02\x08\x01"), FINE),  # the last one counts
        (SETTINGS + HEADERS + encode(Frame(http2.DATA, http2.PADDED, 1, b"\x03\0\0\0\0\x02\x08\x01pad")), FINE),
        (SETTINGS + HEADERS + encode(Frame(http2.DATA, 0, 1, b"\0\0\0")) + encode(Frame(http2.DATA, 0, 1, b"\0\x02\x08\x01")), FINE),
        (SETTINGS + encode(Frame(http2.HEADERS, ENDS | http2.PRIORITY, 1, b"\0\0\0\0\0\x88")), bad("the server answered without a health")),
        (SETTINGS + encode(Frame(77, 0xFF, 5, b"what?")) + HEADERS + SERVING, FINE),
        (SETTINGS + HEADERS + encode(Frame(http2.DATA, 0, 3, b"\xff" * 9)) + SERVING, FINE),  # another's stream
        (SETTINGS + HEADERS + message(b"\x08\x02"), bad("NOT_SERVING")),
        (SETTINGS + HEADERS + message(b"\x08\x03"), bad("SERVICE_UNKNOWN")),
        (SETTINGS + HEADERS + message(b"\x08\x2a"), bad("health 42")),
        (SETTINGS + HEADERS + message(b""), bad("UNKNOWN")),
        (SETTINGS + HEADERS + message(b"\x08"), bad("not gRPC: the answer is no HealthCheckResponse")),
        (SETTINGS + HEADERS + message(b"\x08" + b"\xff" * 20), bad("not gRPC: the answer is no HealthCheckResponse")),
        (SETTINGS + HEADERS + message(b"\x12\x7fabc"), bad("not gRPC: the answer is no HealthCheckResponse")),
        (SETTINGS + HEADERS + message(b"\x0f"), bad("not gRPC: the answer is no HealthCheckResponse")),
        (SETTINGS + HEADERS + encode(Frame(http2.DATA, 0, 1, b"<html>")), bad("not gRPC: '<html>'")),
        (SETTINGS + HEADERS + encode(Frame(http2.DATA, 0, 1, b"\x01\0\0\0\x02ab")), bad("not gRPC: a compressed message, which nobody asked for")),
        (SETTINGS + HEADERS + encode(Frame(http2.DATA, 0, 1, b"\0\x7f\0\0\0")), bad("not gRPC: a message of more than 16 KiB")),
        (SETTINGS + headers(b"\x8d"), bad("HTTP 404 in place of gRPC's answer")),
        (SETTINGS + headers(b"\x3f\xff\x01\x20\x8e"), bad("HTTP 500 in place of gRPC's answer")),
        (SETTINGS + headers(b"\x88\x00\x0bgrpc-status\x0212", ENDS), bad("gRPC status 12 (UNIMPLEMENTED): the server has no health service")),
        (SETTINGS + headers(b"\x88\x40\x88" + bytes.fromhex("9acac8b21234da8f") + b"\x021" + b"4", ENDS), bad("gRPC status 14 (UNAVAILABLE)")),
        (SETTINGS + HEADERS + headers(b"\x00\x0bgrpc-status\x011", ENDS), bad("gRPC status 1 (CANCELLED)")),
        (SETTINGS + headers(b"\x88\x00\x0bgrpc-", http2.END_STREAM) + encode(Frame(http2.CONTINUATION, http2.END_HEADERS, 1, b"status\x015")), bad("gRPC status 5 (NOT_FOUND): the server knows no such service")),
        (SETTINGS + HEADERS + message(b"", http2.END_STREAM), bad("UNKNOWN")),
        (SETTINGS + HEADERS + encode(Frame(http2.DATA, http2.END_STREAM, 1)), bad("the server answered without a health")),
        (SETTINGS + HEADERS, bad("connection closed before the health")),
        (b"", bad("connection closed before the server's settings")),
        (SETTINGS + encode(Frame(http2.RST_STREAM, 0, 1, struct.pack("!I", 7))), bad("server reset the request with HTTP/2 error 7")),
        (SETTINGS + encode(Frame(http2.GOAWAY, 0, 0, struct.pack("!II", 0, 11))), bad("server ended the connection with HTTP/2 error 11")),
        (SETTINGS + encode(Frame(http2.GOAWAY, 0, 0, struct.pack("!II", 0, 0))), bad("server ended the connection with HTTP/2 error 0")),
        (SETTINGS + encode(Frame(http2.GOAWAY, 0, 0, struct.pack("!II", 1, 0))) + HEADERS + SERVING, FINE),
        (SETTINGS + encode(Frame(http2.DATA, http2.PADDED, 1, b"\x05abc")), bad("not HTTP/2: more padding than there is")),
        (SETTINGS + b"\xff" * 9, bad("not HTTP/2: a frame of 16777215 bytes")),
        (HEADERS, bad("not HTTP/2: '\\x00\\x00\\x01\\x01\\x04\\x00\\x00\\x00\\x01\\x88'")),
        (OK, bad("not HTTP/2: 'HTTP/1.1 200 OK'")),
        (b"SSH-2.0-OpenSSH_9.2\r\n", bad("not HTTP/2: 'SSH-2.0-OpenSSH_9.2'")),
    ],
)  # fmt: skip
def test_what_comes_of_an_answer(said: bytes, outcome: Outcome) -> None:
    assert converse(GrpcDialogue(b""), [said]) == outcome


def test_a_server_that_talks_of_itself_is_answered() -> None:
    dialogue = GrpcDialogue(b"")
    assert dialogue.hear(SETTINGS).say == ACKED
    assert dialogue.hear(ACKED).say == b""
    ping = Frame(http2.PING, 0, 0, b"12345678")
    assert dialogue.hear(encode(ping)).say == encode(Frame(http2.PING, http2.ACK, 0, b"12345678"))
    assert dialogue.hear(encode(Frame(http2.PING, http2.ACK, 0, b"12345678"))).say == b""


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (encode(Frame(http2.PING, 0, 0, b"12345678")), "too many frames before an answer"),
        (headers(b"\0" * 10_000, 0), "not gRPC: headers of more than 16 KiB"),
    ],
)
def test_what_never_ends_is_cut_off(frame: bytes, reason: str) -> None:
    dialogue = GrpcDialogue(b"")
    dialogue.hear(SETTINGS)
    for _ in range(MAX_FRAMES):
        reply = dialogue.hear(frame)
        if reply.outcome is not None:
            break
    assert reply.outcome == bad(reason)


def test_the_request_names_the_service() -> None:
    asked = request("10.9.1.21:50051", "my.package.Service", secure=False)
    assert asked.startswith(http2.PREFACE)
    assert asked.endswith(b"\0\0\0\0\x14\x0a\x12my.package.Service")
    long = request("a" * 200, "s" * 200, secure=True)
    assert long.endswith(b"\0\0\0\0\xcb\x0a\xc8\x01" + b"s" * 200)
    assert b"\x01\x7f\x49" + b"a" * 200 in long


FRAMES = st.one_of(
    st.sampled_from([SETTINGS, ACKED, HEADERS, SERVING, message(b""), message(b"\x08\x02", http2.END_STREAM)]),
    st.builds(
        lambda kind, flags, stream, payload: encode(Frame(kind, flags, stream, payload)),
        st.sampled_from([*range(10), 200]),
        st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x2D, 0xFF]),
        st.sampled_from([0, 1, 1, 3]),
        st.one_of(st.binary(max_size=30), st.integers(1, 3000).map(lambda length: b"\0" * length)),
    ),
    st.binary(max_size=20),
)
SAID = st.one_of(st.binary(max_size=60), st.lists(FRAMES, max_size=12).map(lambda frames: SETTINGS + b"".join(frames)))


@settings(max_examples=400, deadline=None)
@given(st.data(), SAID)
def test_the_outcome_does_not_depend_on_how_the_bytes_are_cut(data: st.DataObject, said: bytes) -> None:
    """What is quoted of what is neither HTTP/2 nor gRPC may: it is told by its first bytes."""

    def essence(found: Outcome) -> tuple[bool, str]:
        return found.success, found.reason.split(": '")[0].split(': "')[0]

    whole = converse(GrpcDialogue(b""), [said])
    assert essence(converse(GrpcDialogue(b""), data.draw(parts_of(said)))) == essence(whole)


@settings(max_examples=100, deadline=None)
@given(st.lists(FRAMES, max_size=20), st.integers(1, 100))
def test_a_dialogue_keeps_a_bounded_part_of_what_it_hears(frames: list[bytes], times: int) -> None:
    dialogue = GrpcDialogue(b"")
    for part in [SETTINGS, *frames * times]:
        if part and dialogue.hear(part).outcome is not None:
            break
        assert kept_bytes(dialogue) <= http2.MAX_FRAME + 2 * MAX_ANSWER + 1000


# ---------------------------------------------------------------------------------------------- over sockets


def saying(said: bytes) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in said:
            connection.sendall(bytes([byte]))
        while connection.recv(4096):
            pass

    return handle


def test_slow_bytes(watch: Watch) -> None:
    with server(saying(SETTINGS + HEADERS + SERVING)) as port:
        assert watch.first_verdict(health(port)) == Verdict(UP, 0, "SERVING")


@pytest.mark.parametrize(("said", "awaited"), [(b"", "the server's settings"), (SETTINGS, "the health")])
def test_silence_is_told_with_what_was_awaited(watch: Watch, said: bytes, awaited: str) -> None:
    with server(saying(said)) as port:
        endpoint = health(port, timeout_s=0.5)
        assert watch.first_verdict(endpoint) == Verdict(DOWN, 0, f"timed out waiting for {awaited}")
        watch.engine.remove(endpoint)


def test_refused_and_reset(watch: Watch) -> None:
    with refusing_port() as port:
        assert watch.first_verdict(health(port)) == Verdict(DOWN, 0, "connection refused")

    def handle(connection: socket.socket) -> None:
        connection.recv(4096)
        reset(connection)

    with server(handle) as port:
        assert watch.first_verdict(health(port)) == Verdict(DOWN, 0, "connection reset")


def test_megabytes_are_cut_off(watch: Watch) -> None:
    def handle(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(SETTINGS)
        while True:
            connection.sendall(encode(Frame(http2.DATA, 0, 3, b"x" * 16000)))

    with server(handle) as port:
        endpoint = health(port)
        assert watch.first_verdict(endpoint) == Verdict(DOWN, 0, "too many frames before an answer")
        watch.engine.remove(endpoint)


@pytest.mark.parametrize(
    ("protocols", "verdict"),
    [
        (("http/1.1", "h2"), Verdict(UP, 0, "SERVING")),
        ((), Verdict(DOWN, 0, "server does not agree to speak h2 in TLS (ALPN)")),
    ],
)
def test_a_server_in_tls_must_agree_to_http_2(
    watch: Watch, shown: Issued, protocols: tuple[str, ...], verdict: Verdict
) -> None:
    context = shown.context(*protocols)

    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inner:
            saying(SETTINGS + HEADERS + SERVING)(inner)

    with server(handle) as port:
        assert watch.first_verdict(health(port, tls=TlsCheck(NAME, ca=str(shown.file)))) == verdict
