"""The control socket: a real server on a real socket, good clients and bad ones."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.daemon.control import SOCKET_NAME, Handler, query, serve
from ha_lvs.errors import PlatformError

ANSWER_S = 30.0


@contextlib.contextmanager
def server(runtime_dir: Path, handle: Handler) -> Iterator[None]:
    """A control server, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def close(opened: asyncio.AbstractServer) -> None:
        opened.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    try:
        opened = asyncio.run_coroutine_threadsafe(serve(runtime_dir, handle), loop).result(ANSWER_S)
        yield
        asyncio.run_coroutine_threadsafe(close(opened), loop).result(ANSWER_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(ANSWER_S)
        loop.close()


def handle(request: dict[str, Any]) -> dict[str, Any]:
    match request.get("verb"):
        case "status":
            return {"node": "lb1"}
        case "large":
            return {"text": "x" * 3_000_000}
        case "fail":
            raise RuntimeError("the kernel is on fire")
        case "fail without words":
            raise RuntimeError
        case other:
            return {"error": f"unknown verb {other!r}; known: status"}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    with server(tmp_path, handle):
        yield tmp_path


def connected(runtime_dir: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(ANSWER_S)
    client.connect(str(runtime_dir / SOCKET_NAME))
    return client


def said(runtime_dir: Path, request: bytes) -> dict[str, Any]:
    """The answer to these bytes."""
    with connected(runtime_dir) as client:
        client.sendall(request)
        answer: dict[str, Any] = json.loads(b"".join(iter(lambda: client.recv(1 << 16), b"")))
    return answer


def test_a_question_is_answered(running: Path) -> None:
    assert query(running) == {"node": "lb1"}


def test_a_large_answer_arrives_whole(running: Path) -> None:
    assert len(query(running, "large")["text"]) == 3_000_000


def test_only_owner_and_group_may_ask(running: Path) -> None:
    assert (running / SOCKET_NAME).stat().st_mode & 0o777 == 0o660


def test_an_unknown_verb_is_refused_with_the_known_ones(running: Path) -> None:
    with pytest.raises(PlatformError, match=r"unknown verb 'dance'; known: status"):
        query(running, "dance")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\n",
        b"\n",
        b'{"verb": \n',
        b"\xff\xfe\n",
        b"[1]\n",
        b"null\n",
        b'{"verb": "' + b"x" * 200_000 + b'"}\n',
    ],
)
def test_what_is_no_request_is_told_so(running: Path, request_bytes: bytes) -> None:
    try:
        answer = said(running, request_bytes)
    except ConnectionError:
        assert len(request_bytes) > 100_000  # told while it was still talking
    else:
        assert "not a request" in answer["error"]
    assert query(running) == {"node": "lb1"}


@pytest.mark.parametrize(
    ("verb", "text"), [("fail", "the kernel is on fire"), ("fail without words", "says: RuntimeError")]
)
def test_a_failure_reaches_who_asked_and_nobody_else(running: Path, verb: str, text: str) -> None:
    with pytest.raises(PlatformError, match=text):
        query(running, verb)
    assert query(running) == {"node": "lb1"}


def test_clients_that_hang_harm_nobody(running: Path) -> None:
    with connected(running), connected(running) as half, connected(running) as deaf:
        half.sendall(b'{"verb":')
        deaf.sendall(b'{"verb": "large"}\n')  # and never reads
        assert query(running) == {"node": "lb1"}
        half.sendall(b' "status"}\n')
        assert json.loads(half.recv(1 << 16)) == {"node": "lb1"}


def test_a_client_that_leaves_harms_nobody(running: Path) -> None:
    connected(running).close()
    with connected(running) as client:
        client.sendall(b'{"verb": "large"}\n')
    assert query(running) == {"node": "lb1"}


def test_the_socket_of_a_dead_director_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / SOCKET_NAME))
    with pytest.raises(PlatformError, match="no director answers"):
        query(tmp_path)
    with server(tmp_path, handle):
        assert query(tmp_path) == {"node": "lb1"}


def test_without_a_director_the_socket_and_the_remedy_are_named(tmp_path: Path) -> None:
    with pytest.raises(PlatformError) as caught:
        query(tmp_path)
    assert str(tmp_path / SOCKET_NAME) in str(caught.value)
    assert "--runtime-dir" in str(caught.value)


def test_a_director_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(str(tmp_path / SOCKET_NAME))
        frozen.listen()
        with pytest.raises(PlatformError, match="no director answers"):
            query(tmp_path, timeout_s=0.1)


def test_an_answer_that_is_no_object_is_refused(tmp_path: Path) -> None:
    with server(tmp_path, lambda _: [1]), pytest.raises(PlatformError, match="no object but list"):  # type: ignore[arg-type,return-value]
        query(tmp_path)
