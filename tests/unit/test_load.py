"""The load generator against a server that can be told to misbehave, over real sockets."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import AbstractContextManager

import pytest

from tests import loads
from tests.loads import DEADLINE_S, Load, Server


@pytest.fixture
def server() -> Server:
    return Server()


def running(server: Server, *options: str) -> AbstractContextManager[Load]:
    return loads.running(f"127.0.0.1:{server.port}", *options)


ONLY_CONNECTIONS = ("--connections", "20", "--open-rate", "500", "--every", "0.1", "--rate", "0")


def test_connections_that_go_on_answering_are_kept(server: Server) -> None:
    with running(server, *ONLY_CONNECTIONS) as load:
        opened = load.wait_for("opened")
        assert opened["connections"] == 20
        assert len(set(opened["ports"])) == 20
        load.wait_for("report", lambda told: told["connections"]["least_answers"] >= 4)
        load.tell("verify now 10")
        verified = load.wait_for("verified")
        assert (verified["name"], verified["kept"], verified["of"]) == ("now", 20, 20)
        assert verified["servers"] == {"rs1": 20}
        assert load.finish()["connections"]["open"] == 20


def test_connections_that_were_closed_are_lost(server: Server) -> None:
    with running(server, *ONLY_CONNECTIONS) as load:
        load.wait_for("opened")
        server.kill(7)
        load.tell("verify now 10")
        verified = load.wait_for("verified")
        assert verified["kept"] == 13
        assert sum(verified["lost"].values()) == 7


def test_connections_that_answer_no_more_are_lost_at_the_deadline(server: Server) -> None:
    with running(server, *ONLY_CONNECTIONS) as load:
        load.wait_for("opened")
        server.mute = True
        load.tell("verify now 0.5")
        verified = load.wait_for("verified")
        assert verified["kept"] == 0
        assert verified["lost"] == {"no answer": 20}


def test_connections_that_another_server_answers_are_lost(server: Server) -> None:
    with running(server, *ONLY_CONNECTIONS) as load:
        load.wait_for("opened")
        server.name = "rs2"
        load.tell("verify now 10")
        assert load.wait_for("verified")["lost"] == {"another server": 20}


def test_a_verification_waits_for_answers_to_earlier_requests(server: Server) -> None:
    with running(server, *ONLY_CONNECTIONS) as load:
        load.wait_for("opened")
        load.tell("verify first 10")
        load.tell("verify second 10")
        verified = load.wait_for("verified", lambda told: told["name"] == "second")
        assert verified["kept"] == 20


ONLY_STREAM = ("--connections", "0", "--rate", "100")


def test_a_stream_that_is_answered_has_no_failure_and_hardly_a_gap(server: Server) -> None:
    with running(server, *ONLY_STREAM) as load:
        load.wait_for("report", lambda _: load.answered() >= 50)
        summary = load.finish()
        assert summary["failed"] == {}
        assert summary["servers"] == {"rs1": summary["ok"]}
        assert 5 < summary["outage_ms"] < 1000


def test_the_time_without_a_listener_is_the_outage(server: Server) -> None:
    with running(server, *ONLY_STREAM) as load:
        load.wait_for("report", lambda _: load.answered() >= 20)
        began = time.monotonic()
        server.stop_listening()
        load.wait_for("report", lambda told: told["t"] > began + 0.3)
        server.listen_again()
        ended = time.monotonic()
        load.wait_for("report", lambda _: any(not row[3] and row[0] > ended for row in load.requests))
        summary = load.finish()
        assert summary["failed"]["refused"] >= 10
        assert 300 <= summary["outage_ms"] <= (ended - began) * 1000 + 2000
        assert began - 2 < summary["outage_from"] < began + 2


def test_requests_without_an_answer_time_out_while_the_beat_goes_on(server: Server) -> None:
    server.mute = True
    with running(server, *ONLY_STREAM, "--timeout", "0.3") as load:
        load.wait_for("report", lambda _: len(load.requests) >= 20)
        summary = load.finish()
        assert summary["ok"] == 0
        assert set(summary["failed"]) == {"timeout"}


def test_a_reader_that_has_gone_to_sleep_does_not_hold_up_the_load(server: Server) -> None:
    target = f"127.0.0.1:{server.port}"
    command = [sys.executable, "-m", "ha_lvs.drill.measure.load", "--target", target, *ONLY_STREAM]
    # A report each millisecond fills the pipe in half a second, that is within some 50 requests.
    with subprocess.Popen([*command, "--report-every", "0.001"], stdout=subprocess.PIPE, stdin=subprocess.PIPE) as load:
        end = time.monotonic() + DEADLINE_S
        while server.answered < 300 and time.monotonic() < end:
            threading.Event().wait(0.05)
        load.kill()
    assert server.answered >= 300
