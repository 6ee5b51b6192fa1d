"""What tests of the load generator share: servers that can be told to misbehave, and the generator as a process."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

DEADLINE_S = 30.0


class Server:
    """A real server in a thread: answers every request with its name, until told otherwise."""

    def __init__(self, name: str = "rs1", address: str = "127.0.0.1", port: int = 0) -> None:
        self.name = name
        self.address = address
        self.mute = False
        self.answered = 0
        self.connections: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server((address, port))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop_listening(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def listen_again(self) -> None:
        self._listener = socket.create_server((self.address, self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def kill(self, count: int) -> None:
        """Closes so many of the connections that have lived longest."""
        with self._lock:
            victims, self.connections = self.connections[:count], self.connections[count:]
        for victim in victims:
            victim.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        known = False
        with contextlib.suppress(OSError), connection:
            while request := connection.recv(65536):
                if b"Connection: close" not in request and not known:
                    known = True
                    with self._lock:
                        self.connections.append(connection)
                self.answered += 1
                if not self.mute:
                    body = self.name.encode()
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


class Load:
    """A running load generator and what it has said so far."""

    def __init__(self, target: str, *options: str) -> None:
        command = [sys.executable, "-m", "ha_lvs.drill.measure.load", "--target", target]
        self.process = subprocess.Popen(
            [*command, "--report-every", "0.2", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.requests: list[list[Any]] = []

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line)

    def tell(self, command: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def wait_for(self, event: str, condition: Callable[[Any], bool] = lambda _: True) -> Any:
        end = time.monotonic() + DEADLINE_S
        while True:
            told = json.loads(self._lines.get(timeout=max(0.01, end - time.monotonic())))
            self.requests += told.get("requests", []) if told["event"] == "report" else []
            if told["event"] == event and condition(told):
                return told

    def answered(self) -> int:
        return sum(not row[3] for row in self.requests)

    def finish(self) -> Any:
        self.tell("stop")
        summary = self.wait_for("summary")
        assert self.process.wait(DEADLINE_S) == 0
        return summary


@contextlib.contextmanager
def running(target: str, *options: str) -> Iterator[Load]:
    """A load generator that is killed at the end of the block."""
    load = Load(target, *options)
    try:
        yield load
    finally:
        load.process.kill()
        load.process.wait()
