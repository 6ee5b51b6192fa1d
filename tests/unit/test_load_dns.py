"""The load generator with a name for a target: its clients' caches against a real DNS server."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import pytest

from ha_lvs.drill.contenders.dns import dnsmasq
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.drill.measure.load import caches_for, parser
from tests.loads import Load, Server, running

NAME = "web.lab"
LONG_S, SHORT_S = 600, 1
CLIENTS = 6


def free_port() -> int:
    """A port of the loopback that is free for datagrams and streams: a name server takes both."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
            contextlib.suppress(OSError),
        ):
            stream.bind(("127.0.0.1", 0))
            port: int = stream.getsockname()[1]
            datagrams.bind(("127.0.0.1", port))
            return port


class NameServer:
    """dnsmasq on the loopback."""

    def __init__(self, directory: Path, addresses: list[str], ttl_s: int) -> None:
        self.port = free_port()
        self._records = directory / "records"
        self._write(addresses)
        self._log = (directory / "dnsmasq.log").open("wb")
        command = dnsmasq("127.0.0.1", self.port, self._records, ttl_s)
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        wait_for(lambda: self._addresses() == set(addresses), 10, "dnsmasq to answer")

    def change(self, addresses: list[str]) -> None:
        """Has it answer with other addresses from now on."""
        self._write(addresses)
        self._process.send_signal(signal.SIGHUP)
        wait_for(lambda: self._addresses() == set(addresses), 10, "dnsmasq to answer with the change")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()

    def _write(self, addresses: list[str]) -> None:
        self._records.write_text("".join(f"{address} {NAME}\n" for address in addresses))

    def _addresses(self) -> set[str]:
        try:
            answer = dns.query.udp(dns.message.make_query(NAME, "A"), "127.0.0.1", timeout=1, port=self.port)
        except dns.exception.Timeout:
            return set()
        return {record.address for rrset in answer.answer for record in rrset}


@pytest.fixture
def servers() -> list[Server]:
    """Three real servers on one port."""
    first = Server("rs1", "127.0.0.1")
    return [first, *(Server(f"rs{number}", f"127.0.0.{number}", first.port) for number in (2, 3))]


@pytest.fixture(params=[LONG_S])
def names(request: pytest.FixtureRequest, tmp_path: Path, servers: list[Server]) -> Iterator[NameServer]:
    if shutil.which("dnsmasq", path="/usr/sbin:/sbin:/usr/local/sbin:/usr/bin") is None:
        assert "HA_LVS_REQUIRE" not in os.environ, "dnsmasq is not installed"
        pytest.skip("dnsmasq is not installed")
    server = NameServer(tmp_path, [server.address for server in servers], request.param)
    yield server
    server.stop()


def options(names: NameServer, *more: str) -> tuple[str, ...]:
    return "--resolver", f"127.0.0.1:{names.port}", "--caches", str(CLIENTS), *more


ONLY_STREAM = ("--connections", "0", "--rate", "100")
short_ttl = pytest.mark.parametrize("names", [SHORT_S], indirect=True)


def asked_after(load: Load, since_s: float, count: int = 60) -> Counter[str]:
    """Who answered the requests that were sent after `since_s`, once there are so many of them."""

    def later() -> list[str]:
        return [row[2] or row[3] for row in load.requests if row[0] > since_s]

    load.wait_for("report", lambda _: len(later()) >= count)
    return Counter(later())


def test_the_clients_share_the_servers_evenly(names: NameServer, servers: list[Server]) -> None:
    with running(f"{NAME}:{servers[0].port}", *options(names, *ONLY_STREAM)) as load:
        load.wait_for("report", lambda _: load.answered() >= 90)
        summary = load.finish()
    assert summary["failed"] == {}
    assert set(summary["servers"]) == {"rs1", "rs2", "rs3"}
    assert min(summary["servers"].values()) >= 0.3 * summary["ok"]


def test_long_lived_connections_go_where_the_client_that_opens_them_goes(
    names: NameServer, servers: list[Server]
) -> None:
    only_connections = ("--connections", "12", "--open-rate", "500", "--every", "0.1", "--rate", "0")
    with running(f"{NAME}:{servers[0].port}", *options(names, *only_connections)) as load:
        opened = load.wait_for("opened")
        assert opened["servers"] == {"rs1": 4, "rs2": 4, "rs3": 4}
        load.tell("verify now 10")
        assert load.wait_for("verified")["kept"] == 12


def test_an_answer_is_kept_for_its_ttl_whatever_has_become_of_the_server(
    names: NameServer, servers: list[Server]
) -> None:
    with running(f"{NAME}:{servers[0].port}", *options(names, *ONLY_STREAM)) as load:
        load.wait_for("report", lambda _: load.answered() >= 10)
        servers[1].stop_listening()
        names.change(["127.0.0.1"])
        asked = asked_after(load, time.monotonic())
        assert asked["refused"] >= 0.25 * asked.total()
        assert asked["rs3"] >= 0.25 * asked.total()


@short_ttl
def test_after_its_ttl_an_answer_is_replaced(names: NameServer, servers: list[Server]) -> None:
    with running(f"{NAME}:{servers[0].port}", *options(names, *ONLY_STREAM)) as load:
        load.wait_for("report", lambda _: load.answered() >= 10)
        servers[1].stop_listening()
        names.change(["127.0.0.1"])
        # Every cache has expired a TTL later; the resolving process may be late when others want the processor.
        load.wait_for("report", lambda told: {row[2] for row in told["requests"]} == {"rs1"})
        assert set(asked_after(load, time.monotonic())) == {"rs1"}


@short_ttl
def test_without_a_dns_server_the_old_answers_are_used(names: NameServer, servers: list[Server]) -> None:
    with running(f"{NAME}:{servers[0].port}", *options(names, *ONLY_STREAM)) as load:
        load.wait_for("report", lambda _: load.answered() >= 10)
        names.stop()
        asked = asked_after(load, time.monotonic() + 2 * SHORT_S)
        assert set(asked) == {"rs1", "rs2", "rs3"}


def test_the_resolving_process_ends_with_the_load_generator(names: NameServer, servers: list[Server]) -> None:
    with running(f"{NAME}:{servers[0].port}", *options(names, *ONLY_STREAM)) as load:
        load.wait_for("started")
        assert resolving(names)
    wait_for(lambda: not resolving(names), 10, "the resolving process to end")


def resolving(names: NameServer) -> list[Path]:
    """The processes that resolve with this DNS server."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"ha_lvs.drill.measure.resolver" in words and f"127.0.0.1:{names.port}".encode() in words:
            found.append(process)
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ["--target", "web.lab:80"],
        ["--target", "127.0.0.1:80", "--resolver", "127.0.0.1"],
        ["--target", "web.lab:80", "--resolver", "127.0.0.1", "--caches", "0"],
        ["--target", "web.lab:80", "--resolver", "elsewhere"],
    ],
)
def test_a_name_and_a_resolver_go_together(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        caches_for(parser().parse_args(arguments))
