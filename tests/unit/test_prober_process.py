"""The prober as the real process, over real channels."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ha_lvs.daemon.channel import (
    Alive,
    Channel,
    EndpointState,
    ForgetEndpoints,
    Hello,
    LogRecord,
    ProberState,
    Stop,
    Suspect,
    WatchEndpoints,
    pair,
)
from ha_lvs.model import Check, CheckType, Endpoint, HttpCheck, ServerState
from tests.unit import test_probes as talking

DEADLINE_S = 20.0
F = TypeVar("F")


class Process:
    """A running prober, and the guardian's and the director's ends of its channels."""

    def __init__(self) -> None:
        guardian, guardian_end = pair()
        director, self.director_end = pair()
        self.guardian, self.director = Channel(guardian), Channel(director)
        command = [sys.executable, "-m", "ha_lvs.daemon.prober"]
        command += ["--guardian-fd", str(guardian_end.fileno()), "--director-fd", str(self.director_end.fileno())]
        self.child = subprocess.Popen(command, pass_fds=(guardian_end.fileno(), self.director_end.fileno()))
        guardian_end.close()
        # As the guardian does, we keep director_end open: the channel outlives the prober.
        self.heard: dict[Channel, list[Any]] = {self.guardian: [], self.director: []}

    def listen(self) -> None:
        for channel, frames in self.heard.items():
            frames += channel.receive()

    def wait_for(self, channel: Channel, kind: type[F], matches: Callable[[F], object] = lambda _: True) -> F:
        """The first frame of a kind not yet taken that matches; it and those before it are taken."""
        found: list[F] = []

        def look() -> bool:
            self.listen()
            frames = self.heard[channel]
            for index, frame in enumerate(frames):
                if isinstance(frame, kind) and matches(frame):
                    found.append(frame)
                    del frames[: index + 1]
                    return True
            return False

        poll(look, f"a {kind.__name__}")
        return found[0]

    def state_of(self, endpoint: Endpoint, state: ServerState) -> EndpointState:
        return self.wait_for(
            self.director, EndpointState, lambda frame: frame.endpoint == endpoint and frame.state is state
        )

    def exit_code(self) -> int:
        return self.child.wait(DEADLINE_S)

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait(DEADLINE_S)
        for end in (self.guardian, self.director, self.director_end):
            end.close()


def poll(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.01)


@pytest.fixture
def prober() -> Iterator[Process]:
    process = Process()
    yield process
    process.close()


@contextmanager
def server(port: int = 0) -> Iterator[int]:
    """Something that accepts and closes; yields its port."""
    listener = socket.create_server(("127.0.0.1", port), backlog=512)

    def serve() -> None:
        while True:
            try:
                listener.accept()[0].close()
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(DEADLINE_S)


@pytest.fixture
def port() -> Iterator[int]:
    """A port that is served."""
    with server() as port:
        yield port


def endpoint(port: int, number: int = 0, interval_s: float = 0.1) -> Endpoint:
    """Endpoints of different number are probed apart."""
    check = Check(CheckType.TCP, interval_s, timeout_s=5.0 + number, rise=2, fall=2)
    return Endpoint(ip_address("127.0.0.1"), port, check)


def test_it_says_hello_to_the_director_and_alive_to_the_guardian(prober: Process) -> None:
    prober.wait_for(prober.director, Hello)
    prober.wait_for(prober.guardian, Alive)
    prober.wait_for(prober.guardian, Alive)


def test_it_is_called_prober(prober: Process) -> None:
    prober.wait_for(prober.director, Hello)
    assert Path(f"/proc/{prober.child.pid}/comm").read_text() == "ha-lvs-prober\n"


def test_states_reach_the_director_as_they_change(prober: Process) -> None:
    with server() as port:
        assert prober.director.send(WatchEndpoints((endpoint(port),)))
        state = prober.state_of(endpoint(port), ServerState.UP)
        assert state.reason == "connected"
        assert 0 <= state.took_ms < 5000
    assert prober.state_of(endpoint(port), ServerState.DOWN).reason == "connection refused"
    with server(port):
        prober.state_of(endpoint(port), ServerState.UP)


def test_hello_is_answered_with_every_known_state(prober: Process, port: int) -> None:
    watched = tuple(endpoint(port, number) for number in range(30))
    prober.director.send(WatchEndpoints(watched[:15]))
    prober.director.send(WatchEndpoints(watched[10:]))
    for _ in watched:
        prober.wait_for(prober.director, EndpointState)
    assert prober.director.send(Hello())
    told = [prober.wait_for(prober.director, EndpointState).endpoint for _ in watched]
    assert sorted(told, key=str) == sorted(watched, key=str)


def test_a_forgotten_endpoint_is_no_longer_probed_nor_told(prober: Process) -> None:
    with server() as port:
        kept, dropped = endpoint(port, 1), endpoint(port, 2)
        prober.director.send(WatchEndpoints((kept, dropped)))
        for _ in range(2):
            prober.wait_for(prober.director, EndpointState)
        prober.director.send(ForgetEndpoints((dropped,)))
        prober.director.send(Hello())
        assert prober.wait_for(prober.director, EndpointState).endpoint == kept
    assert prober.wait_for(prober.director, EndpointState).endpoint == kept
    # Had the other one been probed, it would have gone down with this one, and been told by now.
    prober.director.send(Hello())
    assert prober.wait_for(prober.director, EndpointState).endpoint == kept


def test_a_suspect_is_probed_at_once(prober: Process) -> None:
    seldom = Check(CheckType.TCP, interval_s=3600.0, timeout_s=60.0, rise=1, fall=1)
    with server() as port:
        suspect = Endpoint(ip_address("127.0.0.1"), port, seldom)
        prober.director.send(WatchEndpoints((suspect,)))
        prober.state_of(suspect, ServerState.UP)
    assert prober.director.send(Suspect((suspect, endpoint(1))))
    assert prober.state_of(suspect, ServerState.DOWN).reason == "connection refused"


def test_a_director_that_does_not_read_is_told_later(prober: Process) -> None:
    """Far more frames than a channel holds, each of them sent once: the next probe is a long time off."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        watched = [endpoint(held.getsockname()[1], number, interval_s=300.0) for number in range(3000)]
        for start in range(0, len(watched), 100):
            frame = WatchEndpoints(tuple(watched[start : start + 100]))
            poll(partial(prober.director.send, frame), "room in the channel")
        prober.heard.pop(prober.director)  # nobody reads it meanwhile
        for _ in range(3):
            prober.wait_for(prober.guardian, Alive)
        told: set[Endpoint] = set()

        def all_told() -> bool:
            frames = [frame for frame in prober.director.receive() if isinstance(frame, EndpointState)]
            told.update(frame.endpoint for frame in frames if frame.state is ServerState.DOWN)
            return told == set(watched)

        poll(all_told, "the state of each")


def test_stop_ends_it(prober: Process) -> None:
    prober.wait_for(prober.director, Hello)
    prober.guardian.send(Stop())
    assert prober.exit_code() == 0


def test_the_guardians_death_ends_it(prober: Process) -> None:
    prober.wait_for(prober.director, Hello)
    prober.guardian.close()
    assert prober.exit_code() == 0


def test_a_director_that_is_gone_does_not_end_it(prober: Process) -> None:
    prober.wait_for(prober.director, Hello)
    prober.director.sock.shutdown(socket.SHUT_RDWR)
    prober.heard.pop(prober.director)
    for _ in range(2):
        prober.wait_for(prober.guardian, Alive)
    assert prober.child.poll() is None


def test_sigterm_ends_it_and_sigint_does_not(prober: Process) -> None:
    prober.wait_for(prober.director, Hello)
    os.kill(prober.child.pid, signal.SIGINT)
    prober.heard[prober.guardian].clear()
    for _ in range(2):
        prober.wait_for(prober.guardian, Alive)
    os.kill(prober.child.pid, signal.SIGTERM)
    assert prober.exit_code() == 0


def test_an_expression_that_is_given_up_does_not_end_it(prober: Process) -> None:
    """A signal ends the search, and its number is written where that of SIGTERM would be."""
    check = Check(CheckType.HTTP, 0.05, 5.0, http=HttpCheck(matches="(a|b|ab|aa)*c"))
    with talking.server(talking.answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 5000)) as port:
        endpoint = Endpoint(ip_address("127.0.0.1"), port, check)
        prober.director.send(WatchEndpoints((endpoint,)))
        assert "takes too long" in prober.state_of(endpoint, ServerState.DOWN).reason
        prober.director.send(Hello())
        prober.state_of(endpoint, ServerState.DOWN)  # it is still there
        os.kill(prober.child.pid, signal.SIGTERM)
        assert prober.exit_code() == 0


def test_a_frame_that_is_none_is_logged_and_survived(prober: Process) -> None:
    prober.director.sock.send(b'["Nonsense", {}]')
    record = prober.wait_for(prober.guardian, LogRecord)
    assert record.level == "error"
    assert "Nonsense" in str(record.fields["detail"])
    prober.wait_for(prober.guardian, Alive)


def test_the_director_hears_signs_of_life_too(prober: Process) -> None:
    for _ in range(2):
        prober.wait_for(prober.director, ProberState)


def test_what_was_down_does_not_come_back_by_one_success(prober: Process, port: int) -> None:
    """The probe is repeated only after a long time, so that there is just one."""
    lately_down, unknown = endpoint(port, 1, interval_s=300.0), endpoint(port, 2, interval_s=300.0)
    prober.director.send(WatchEndpoints((lately_down,), down=True))
    prober.director.send(WatchEndpoints((unknown,)))
    assert prober.wait_for(prober.director, EndpointState).endpoint == unknown
    quick = endpoint(port, 3)
    prober.director.send(WatchEndpoints((quick,), down=True))
    assert prober.wait_for(prober.director, EndpointState).endpoint == quick, "two successes in a row"


def test_one_that_has_come_to_serve_unprobed_is_not_taken_out_by_one_failure(prober: Process) -> None:
    """The first of two probes has failed long before the second."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        closed = held.getsockname()[1]
        # So many that the first probes of the last ones are spread over a second.
        others = tuple(endpoint(closed, 10 + number, interval_s=300.0) for number in range(200))
        prober.director.send(WatchEndpoints(others))
        prober.director.send(WatchEndpoints(others, serving=True))
        for _ in range(2):
            prober.wait_for(prober.guardian, Alive)
        prober.director.send(Hello())
        prober.wait_for(prober.guardian, Alive)
        prober.listen()
        told = {frame.endpoint for frame in prober.heard[prober.director] if isinstance(frame, EndpointState)}
        assert told < set(others), "of those that were to serve in time nothing is told yet: one failure is not enough"
