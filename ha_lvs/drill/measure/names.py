"""Whom the load generator connects to: always the same address, or what the DNS caches of its clients say.

Nothing here waits while the load runs: the caches are filled by another process (`resolver`), whose lines are read when
the loop's epoll says that there are some.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import os
import select
import subprocess
import sys

from ha_lvs.drill.measure.http_client import Address
from ha_lvs.drill.measure.load_stream import NextTarget, Poller

DNS_PORT = 53


def always(target: Address) -> NextTarget:
    """The same address each time."""
    return lambda: target


class Caches:
    """So many clients with a DNS cache each. A context manager: the resolving process lives as long as the block.

    Arguments:
        name: what the clients resolve.
        port: that they connect to.
        server: the DNS server.
        count: how many clients.
    """

    def __init__(self, name: str, port: int, server: Address, count: int) -> None:
        command = [sys.executable, "-m", "ha_lvs.drill.measure.resolver", "--name", name]
        command += ["--server", f"{server[0]}:{server[1]}", "--caches", str(count)]
        self._command = command
        self._port = port
        self._addresses = [""] * count
        self._rest = b""
        self.answers = 0

    def __enter__(self) -> Caches:
        # In a session of its own: an interrupt at the terminal is for the load generator, which then ends it.
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def fill(self) -> None:
        """Waits until every client has had a first answer. Errors: SystemExit when one gets none."""
        while not all(self._addresses):
            if not self._read():
                raise SystemExit("load: the name was not resolved")

    def watch(self, poller: Poller) -> None:
        """From now on takes answers as they come."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        os.set_blocking(fd, False)
        poller.watch(fd, select.EPOLLIN, lambda _: self._ready(poller, fd))

    def taking_turns(self) -> NextTarget:
        """For each connection the next client, which uses what its cache holds at that moment."""
        turn = -1

        def target() -> Address:
            nonlocal turn
            turn = (turn + 1) % len(self._addresses)
            return self._addresses[turn], self._port

        return target

    def _ready(self, poller: Poller, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            if not self._read():
                # The clients go on with what they have; the descriptor would be ready for ever.
                print("load: the resolver has ended", file=sys.stderr)
                poller.forget(fd)

    def _read(self) -> bool:
        assert self._process.stdout is not None
        data = os.read(self._process.stdout.fileno(), 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            client, address = line.decode().split()
            self._addresses[int(client)] = address
            self.answers += 1
        return bool(data)


def server_argument(text: str) -> Address:
    """ADDRESS or ADDRESS:PORT of a DNS server."""
    host, _, port = text.partition(":")
    if not is_address(host) or (port and not port.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS or ADDRESS:PORT")
    return host, int(port or DNS_PORT)


def is_address(host: str) -> bool:
    """Whether it is an IPv4 address and not a name."""
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
