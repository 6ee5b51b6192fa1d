"""The probe engine against real sockets on the loopback."""

from __future__ import annotations

import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

import pytest

from ha_lvs.health.probes import Engine
from ha_lvs.health.probes.tcp import is_own_mirror
from ha_lvs.health.speech import http
from ha_lvs.health.verdict import Verdict
from ha_lvs.model import Check, CheckType, Endpoint, HttpCheck, ServerState
from tests.descriptors import open_descriptors

UP, DOWN, UNKNOWN = ServerState.UP, ServerState.DOWN, ServerState.UNKNOWN
DEADLINE_S = 20.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

Handler = Callable[[socket.socket], None]


def read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(4096)
        if not part:
            break
        data += part
    return data


def answering(answer: bytes) -> Handler:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer)

    return handle


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextmanager
def server(handler: Handler, address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A server that gives each connection to `handler`, one after the other, and then closes it; yields its port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family, backlog=512)
    serving: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                serving[:] = [connection]
                connection.settimeout(DEADLINE_S)
                with suppress(OSError):  # the engine resets connections: that is its way to close
                    handler(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in serving:
            with suppress(OSError):  # it may have ended just now
                connection.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE_S)


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port that nobody listens at, and that nobody else can get meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


class Watch:
    """An engine with a record of what it reported."""

    def __init__(self) -> None:
        self.reports: list[tuple[Endpoint, Verdict]] = []
        self.engine = Engine(lambda endpoint, verdict, _took: self.reports.append((endpoint, verdict)), time.monotonic)

    def run_until(self, condition: Callable[[], object], what: str = "the condition") -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come about; reports: {self.reports}"
            self.engine.run_once(0.2)

    def verdict(self, endpoint: Endpoint) -> Verdict:
        standing = self.engine.standing(endpoint)
        assert standing is not None
        return standing[0]

    def first_verdict(self, endpoint: Endpoint) -> Verdict:
        self.engine.add(endpoint)
        self.run_until(lambda: self.verdict(endpoint).state is not UNKNOWN, "a verdict")
        return self.verdict(endpoint)

    def run_until_state(self, endpoint: Endpoint, state: ServerState) -> None:
        self.run_until(lambda: self.verdict(endpoint).state is state, f"{state}")


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.engine.close()


def tcp(port: int, timeout_s: float = 5.0, address: str = "127.0.0.1", **options: float) -> Endpoint:
    check = Check(CheckType.TCP, options.get("interval_s", 0.05), timeout_s, rise=2, fall=2)
    return Endpoint(ip_address(address), port, check)


def web(port: int, timeout_s: float = 5.0, address: str = "127.0.0.1", host: str = "", path: str = "/") -> Endpoint:
    check = Check(CheckType.HTTP, 0.05, timeout_s, rise=2, fall=2, http=HttpCheck(host=host, path=path))
    return Endpoint(ip_address(address), port, check)


@pytest.mark.parametrize("make", [tcp, web])
def test_successive_probes_are_separate_connections(watch: Watch, make: Callable[..., Endpoint]) -> None:
    """A socket is used again, but the server sees a new connection each time, from another port, and its reset."""
    seen: list[int] = []
    ends: list[str] = []

    def handle(connection: socket.socket) -> None:
        seen.append(connection.getpeername()[1])
        try:
            if make is web:
                answering(OK)(connection)
            ends.append("closed" if not connection.recv(1) else "more")
        except ConnectionResetError:
            ends.append("reset")

    with server(handle) as port:
        endpoint = make(port)
        assert watch.first_verdict(endpoint).state is UP
        before = open_descriptors()
        watch.run_until(lambda: len(ends) >= 8, "eight probes")
        assert open_descriptors() <= before + 1  # the server's own connection
        assert watch.verdict(endpoint).state is UP
        assert set(ends) == {"reset"}
    assert all(one != other for one, other in pairwise(seen))
    watch.run_until_state(endpoint, DOWN)
    with server(handle, port=port):
        watch.run_until_state(endpoint, UP)
    watch.engine.remove(endpoint)
    assert open_descriptors() <= before


# ---------------------------------------------------------------------------------------------------- TCP


def test_tcp_server_that_listens_is_up(watch: Watch) -> None:
    with server(lambda _: None) as port:
        assert watch.first_verdict(tcp(port)) == Verdict(UP, 0, "connected")


def test_tcp_port_that_nobody_listens_at_is_refused(watch: Watch) -> None:
    with refusing_port() as port:
        assert watch.first_verdict(tcp(port)) == Verdict(DOWN, 0, "connection refused")


def test_tcp_server_whose_queue_is_full_times_out(watch: Watch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.socket() as first:
        first.connect(listener.getsockname())
        verdict = watch.first_verdict(tcp(listener.getsockname()[1], timeout_s=0.3))
    assert verdict == Verdict(DOWN, 0, "timed out while connecting")


def test_a_socket_that_met_itself_is_told_from_one_that_met_a_server() -> None:
    with socket.socket() as alone:
        alone.bind(("127.0.0.1", 0))
        alone.connect(alone.getsockname())
        assert is_own_mirror(alone)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as met:
        assert not is_own_mirror(met)


def test_ipv6(watch: Watch) -> None:
    try:
        with server(lambda _: None, "::1") as port:
            assert watch.first_verdict(tcp(port, address="::1")) == Verdict(UP, 0, "connected")
    except OSError as problem:
        pytest.skip(f"no IPv6 on the loopback here: {problem}")


def test_tcp_leaves_no_connection_behind(watch: Watch) -> None:
    with server(lambda _: None) as port:
        endpoint = tcp(port)
        watch.first_verdict(endpoint)
        watch.engine.remove(endpoint)
        rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
        # Remote port ours, state 06 TIME_WAIT: that is the side that closed first, not
        # to be the engine.
        assert [row for row in rows if row.split()[2].endswith(f":{port:04X}") and row.split()[3] == "06"] == []


# --------------------------------------------------------------------------------------------------- HTTP


def test_http_server_with_a_good_status_is_up(watch: Watch) -> None:
    with server(answering(OK)) as port:
        assert watch.first_verdict(web(port)) == Verdict(UP, 0, "HTTP 200")


def test_http_wrong_status_is_down(watch: Watch) -> None:
    with server(answering(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")) as port:
        assert watch.first_verdict(web(port)) == Verdict(DOWN, 0, "HTTP 503")


def test_http_interim_answers_are_read_over(watch: Watch) -> None:
    with server(answering(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)) as port:
        assert watch.first_verdict(web(port)) == Verdict(UP, 0, "HTTP 200")


def test_http_asks_for_the_path_and_host_of_the_check(watch: Watch) -> None:
    seen: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(OK)

    with server(handle) as port:
        watch.first_verdict(web(port, host="www.example.org", path="/health?full=1"))
        first = seen[0].decode().split("\r\n")
        assert first[0] == "GET /health?full=1 HTTP/1.1"
        assert "Host: www.example.org" in first
        assert "Connection: close" in first


def test_http_answer_one_byte_at_a_time_is_up(watch: Watch) -> None:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in OK:
            connection.sendall(bytes([byte]))

    with server(handle) as port:
        assert watch.first_verdict(web(port)) == Verdict(UP, 0, "HTTP 200")


def test_http_accepted_but_silent_times_out(watch: Watch) -> None:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.recv(1)

    with server(handle) as port:
        endpoint = web(port, timeout_s=0.3)
        assert watch.first_verdict(endpoint) == Verdict(DOWN, 0, "timed out waiting for the status line")
        watch.engine.remove(endpoint)


def test_http_never_accepted_times_out(watch: Watch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        verdict = watch.first_verdict(web(listener.getsockname()[1], timeout_s=0.3))
    assert verdict == Verdict(DOWN, 0, "timed out waiting for the status line")


def test_http_trickle_does_not_outlast_the_timeout(watch: Watch) -> None:
    done = threading.Event()

    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 ")
        while not done.wait(0.02):
            connection.sendall(b"x")

    with server(handle) as port:
        verdict = watch.first_verdict(web(port, timeout_s=0.5))
        done.set()
    assert verdict == Verdict(DOWN, 0, "timed out waiting for the status line")


def test_http_garbage_is_named(watch: Watch) -> None:
    with server(answering(b"SSH-2.0-OpenSSH_9.2\r\n")) as port:
        assert watch.first_verdict(web(port)) == Verdict(DOWN, 0, "not HTTP: 'SSH-2.0-OpenSSH_9.2'")


def test_http_closed_without_an_answer(watch: Watch) -> None:
    with server(answering(b"")) as port:
        assert watch.first_verdict(web(port)) == Verdict(DOWN, 0, "connection closed before the status line")


def test_http_reset_after_accept(watch: Watch) -> None:
    with server(reset) as port:
        assert watch.first_verdict(web(port)) == Verdict(DOWN, 0, "connection reset")


def test_http_refused(watch: Watch) -> None:
    with refusing_port() as port:
        assert watch.first_verdict(web(port)) == Verdict(DOWN, 0, "connection refused")


def test_http_endless_header_is_cut_off_and_memory_stays_bounded(watch: Watch) -> None:
    sent = [0]

    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n")
        while True:
            sent[0] += connection.send(b"X-Filler: " + b"x" * 8000 + b"\r\n")

    with server(handle) as port:
        endpoint = web(port)
        assert watch.first_verdict(endpoint) == Verdict(DOWN, 0, "not HTTP: no status within 16 KiB")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        watch.run_until(lambda: sent[0] > 50 << 20 or watch.verdict(endpoint).streak, "many more bytes")
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024  # KiB


# -------------------------------------------------------------------------------------- over many probes


def test_a_server_goes_down_and_comes_back(watch: Watch) -> None:
    with server(answering(OK)) as port:
        endpoint = web(port)
        watch.first_verdict(endpoint)
    watch.run_until_state(endpoint, DOWN)
    with server(answering(OK), port=port):
        watch.run_until_state(endpoint, UP)
    assert [(verdict.state, verdict.reason) for _, verdict in watch.reports] == [
        (UP, "HTTP 200"),
        (DOWN, "connection refused"),
        (UP, "HTTP 200"),
    ]


def test_one_failure_among_successes_is_no_verdict(watch: Watch) -> None:
    asked = [0]

    def handle(connection: socket.socket) -> None:
        read_request(connection)
        asked[0] += 1
        connection.sendall(OK if asked[0] % 2 else b"HTTP/1.1 500 Oops\r\n\r\n")

    with server(handle) as port:
        endpoint = web(port)
        watch.first_verdict(endpoint)
        watch.run_until(lambda: asked[0] >= 10, "ten probes")
    assert [verdict.state for _, verdict in watch.reports] == [UP]


def test_many_endpoints_and_every_file_descriptor_comes_back(watch: Watch) -> None:
    before = open_descriptors()
    with server(lambda _: None) as port, refusing_port() as refused:
        good = [tcp(port, timeout_s=5.0 + n, interval_s=0.2) for n in range(100)]
        bad = [tcp(refused, timeout_s=5.0 + n, interval_s=0.2) for n in range(100)]
        for endpoint in good + bad:
            watch.engine.add(endpoint)
        watch.run_until(lambda: len(watch.reports) == 200, "a verdict on each")
        states = {endpoint: verdict.state for endpoint, verdict in watch.reports}
        assert {states[endpoint] for endpoint in good} == {UP}
        assert {states[endpoint] for endpoint in bad} == {DOWN}
        for endpoint in good + bad:
            watch.engine.remove(endpoint)
    assert len(watch.engine) == 0
    assert open_descriptors() <= before
    assert len(watch.reports) == 200


def test_an_endpoint_that_was_removed_is_not_reported_any_more(watch: Watch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, server(lambda _: None) as port:
        silent, good = web(listener.getsockname()[1], timeout_s=0.2), tcp(port)
        watch.engine.add(silent)
        watch.engine.run_once(0.0)  # its probe is under way
        watch.engine.remove(silent)
        watch.first_verdict(good)
        end = time.monotonic() + 0.5
        watch.run_until(lambda: time.monotonic() > end, "the timeout to be over")
    assert {endpoint for endpoint, _ in watch.reports} == {good}
    assert silent not in watch.engine


def test_adding_twice_keeps_the_verdict(watch: Watch) -> None:
    with server(lambda _: None) as port:
        endpoint = tcp(port)
        watch.first_verdict(endpoint)
        watch.engine.add(endpoint)
        assert watch.verdict(endpoint).state is UP
        assert len(watch.engine) == 1


def test_a_report_may_remove_what_it_reports() -> None:
    reports: list[Endpoint] = []

    def report(endpoint: Endpoint, _verdict: Verdict, _took_s: float) -> None:
        reports.append(endpoint)
        engine.remove(endpoint)

    engine = Engine(report, time.monotonic)
    with refusing_port() as port:
        for number in range(10):
            engine.add(tcp(port, timeout_s=1.0 + number))
        deadline = time.monotonic() + DEADLINE_S
        while len(engine):
            assert time.monotonic() < deadline
            engine.run_once(0.2)
    assert len(reports) == 10
    engine.close()


def test_running_out_of_file_descriptors_is_a_reason(watch: Watch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with server(lambda _: None) as port:
        endpoint = tcp(port)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            verdict = watch.first_verdict(endpoint)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert verdict == Verdict(DOWN, 0, "cannot probe from here: too many open files")
        watch.run_until_state(endpoint, UP)


def test_a_watched_descriptor_calls_back(watch: Watch) -> None:
    left, right = socket.socketpair()
    with left, right:
        got: list[bytes] = []
        watch.engine.watch(left.fileno(), lambda: got.append(left.recv(10)))
        right.send(b"hi")
        watch.run_until(lambda: got == [b"hi"], "the callback")
        watch.engine.unwatch(left.fileno())
        right.send(b"again")
        watch.engine.run_once(0.0)
        assert got == [b"hi"]


def test_while_a_verdict_is_counted_probes_come_at_the_faster_interval() -> None:
    """In a clock of our own: 10 s apart, and 0.5 s while failures are counted, or successes."""
    clock, asked = Clock(), list[float]()

    def handle(connection: socket.socket) -> None:
        if read_request(connection):
            asked.append(clock.now)
            connection.sendall(OK if len(asked) in (1, 2, 6, 7, 8, 9) else b"HTTP/1.1 500 Oops\r\n\r\n")

    reports: list[Verdict] = []
    engine = Engine(lambda _endpoint, verdict, _took: reports.append(verdict), clock)
    check = Check(CheckType.HTTP, interval_s=10.0, timeout_s=9.0, rise=3, fall=3, fast_s=0.5)
    with server(handle) as port:
        endpoint = Endpoint(ip_address("127.0.0.1"), port, check)
        engine.add(endpoint)
        deadline = time.monotonic() + DEADLINE_S
        while len(asked) < 9 or engine._schedule.running:
            assert time.monotonic() < deadline
            engine.run_once(0.01 if engine._schedule.running else 0.0)
            if not engine._schedule.running:
                clock.now += 0.02
    engine.close()
    assert [verdict.state for verdict in reports] == [UP, DOWN, UP]
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert gaps == pytest.approx([10, 10, 0.5, 0.5, 10, 0.5, 0.5, 10], abs=0.2)


# ------------------------------------------------------------------------------------- not our time to judge

_CHILD = """
import sys, time
from ipaddress import ip_address
from ha_lvs.health.probes import Engine
from ha_lvs.model import Check, CheckType, Endpoint

def report(endpoint, verdict, took_s):
    print(endpoint.check.type.value, endpoint.check.interval_s, verdict.state.value, verdict.reason, flush=True)

engine = Engine(report, time.monotonic)
for number in range(20):
    for kind in (CheckType.TCP, CheckType.HTTP):
        check = Check(kind, interval_s=0.05 + number / 1000, timeout_s=0.3, rise=1, fall=1)
        engine.add(Endpoint(ip_address("127.0.0.1"), int(sys.argv[1]), check))
print("ready", flush=True)
while True:
    engine.run_once(1.0)
"""


def test_a_stopped_process_does_not_blame_the_servers() -> None:
    """Stopped for longer than the timeout, again and again, at whatever point its probes are; `fall` is 1."""
    with server(answering_any, "127.0.0.1") as port:
        child = subprocess.Popen([sys.executable, "-c", _CHILD, str(port)], stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(41)]  # "ready" and one up for each
            assert sum(" up " in line for line in lines) == 40, lines
            for _ in range(8):
                os.kill(child.pid, signal.SIGSTOP)
                wait_for_state(child.pid, "T")
                time.sleep(0.5)  # the stop itself: longer than the timeout of 0.3 s
                os.kill(child.pid, signal.SIGCONT)
                time.sleep(0.15)  # and probes go on between two stops
        finally:
            child.kill()
            rest = child.communicate()[0]
    assert " down " not in rest, rest


def answering_any(connection: socket.socket) -> None:
    """Answers an HTTP probe, and lets a TCP probe go."""
    if read_request(connection):
        connection.sendall(OK)


def wait_for_state(pid: int, state: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != state:
        assert time.monotonic() < deadline


class Clock:
    """A clock that goes on only when told to, and by what happens within one of the next calls."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.calls_left = -1
        self.then: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        self.calls_left -= 1
        if self.calls_left == 0:
            self.then()
        return self.now

    def in_calls(self, calls: int, then: Callable[[], None]) -> None:
        self.calls_left, self.then = calls, then


def run_for_reports(engine: Engine, reports: list[Verdict]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not reports:
        assert time.monotonic() < deadline
        engine.run_once(0.01)


@pytest.mark.parametrize("stopped_s", [0.51, 0.53, 5.0, 600.0])
@pytest.mark.parametrize("kind", [CheckType.TCP, CheckType.HTTP])
def test_a_probe_that_was_under_way_in_a_stop_is_finished_after_it(kind: CheckType, stopped_s: float) -> None:
    """The process is stopped right after its connect, for longer than the timeout, and has a request still to send."""
    clock, reports = Clock(), list[Verdict]()
    engine = Engine(lambda _endpoint, verdict, _took: reports.append(verdict), clock)
    with server(answering_any) as port:
        engine.add(Endpoint(ip_address("127.0.0.1"), port, Check(kind, interval_s=5.0, timeout_s=0.5)))
        engine.run_once(0.0)
        clock.now += stopped_s
        run_for_reports(engine, reports)
    assert [verdict.state for verdict in reports] == [UP]
    engine.close()


def test_an_answer_that_comes_just_before_the_timers_are_looked_at_counts() -> None:
    """Between the look at the sockets and the look at the clock, an answer comes and the timeout passes."""
    clock, reports = Clock(), list[Verdict]()
    engine = Engine(lambda _endpoint, verdict, _took: reports.append(verdict), clock)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        engine.add(Endpoint(ip_address("127.0.0.1"), listener.getsockname()[1], Check(CheckType.HTTP, 5.0, 0.5)))
        engine.run_once(0.0)
        connection, _ = listener.accept()
        deadline = time.monotonic() + DEADLINE_S
        connection.setblocking(False)
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            assert time.monotonic() < deadline
            engine.run_once(0.0)
            with suppress(BlockingIOError):
                request += connection.recv(4096)

        def answer_late() -> None:
            connection.sendall(OK)
            clock.now += 0.04

        for _ in range(12):
            clock.now += 0.04  # so that nothing looks like a stall
            engine.run_once(0.0)
        assert reports == []
        clock.in_calls(2, answer_late)
        engine.run_once(0.0)
        assert clock.calls_left <= 0, "the clock was not asked after the sockets"
        run_for_reports(engine, reports)
        connection.close()
    assert reports == [Verdict(UP, 0, "HTTP 200")]
    engine.close()


# ----------------------------------------------------------------------------------------- bytes of HTTP


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.1 200 OK\r\n", 200),
        (b"HTTP/1.0 404 Not Found\r\n", 404),
        (b"HTTP/1.1 204 \r\n", 204),
        (b"HTTP/1.1 200\r\n", 200),
        (b"HTTP/1.1 200 OK\n", 200),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\n", 302),
        (b"HTTP/1.1 101 Switching Protocols\r\n", 101),
    ],
)
def test_status_of_an_answer_and_of_none_of_its_beginnings(answer: bytes, code: int) -> None:
    assert http.status(answer) == code
    for length in range(len(answer)):
        assert http.status(answer[:length]) is None


@pytest.mark.parametrize(
    "answer",
    [
        b"http/1.1 200 OK\r\n", b"HTTP/2 200\r\n", b"HTTP/1.2 200 OK\r\n", b"HTTP/1.1  200 OK\r\n",
        b"HTTP/1.1 20 OK\r\n",
        b"HTTP/1.1 2000 OK\r\n", b"HTTP/1.1 099 OK\r\n", b"HTTP/1.1 200OK\r\n", b" HTTP/1.1 200 OK\r\n", b"\r\n",
        b"HTTP/1.1 200 O\x00K\r\n", b"HTTP/1.1 +20 OK\r\n", b"<html>", b"\x15\x03\x01\x00\x02",
    ],
)  # fmt: skip
def test_what_is_not_a_status_line_is_not_http(answer: bytes) -> None:
    with pytest.raises(http.NotHttp, match=r"^not HTTP: '"):
        http.status(answer)


def test_a_request_cannot_be_split_by_what_the_operator_wrote() -> None:
    check = Check(CheckType.HTTP, http=HttpCheck(path="/a b\r\nX: y", host="h\r\nY: z"))
    lines = http.request(Endpoint(ip_address("2001:db8::1"), 8080, check)).split(b"\r\n")
    assert lines[0] == b"GET /a%20b%0D%0AX:%20y HTTP/1.1"
    assert lines[1].startswith(b"Host: h%0D%0A")


@pytest.mark.parametrize(
    ("address", "port", "host"),
    [
        ("192.0.2.1", 80, b"192.0.2.1"),
        ("192.0.2.1", 8080, b"192.0.2.1:8080"),
        ("2001:db8::1", 80, b"[2001:db8::1]"),
        ("2001:db8::1", 81, b"[2001:db8::1]:81"),
    ],
)
def test_host_of_a_check_without_one(address: str, port: int, host: bytes) -> None:
    request = http.request(Endpoint(ip_address(address), port, Check(CheckType.HTTP)))
    assert b"\r\nHost: " + host + b"\r\n" in request
