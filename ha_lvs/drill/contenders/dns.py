"""DNS round robin, what there was before load balancers: several A records of one name, no director at all.

Debian's dnsmasq answers on the clients' host, so that no fault of a drill reaches it: what is measured is what caching
clients do with the answers. It gives every real server, in another order each time, and knows nothing of their health.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import dns.exception
import dns.message
import dns.query

from ha_lvs.drill.contenders.contender import DirectorLike, LoadTarget
from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.program import Program
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.errors import LabError

NAME = "web.lab"
TTL_S = 10
CACHES = 10
"""How many clients the load stands for; each resolves for itself."""

_PATH = "/usr/sbin:/usr/local/sbin:/sbin:/usr/bin:/bin"


class DnsServer(Program):
    """A dnsmasq that knows one name.

    Arguments:
        host: where it runs.
        addresses: of the name.
        directory: for its records and its log.
        ttl_s: how long clients may keep an answer.
        port: where it listens on the host's address.

    Errors: LabError when dnsmasq is not installed.
    """

    def __init__(
        self, host: Host, addresses: Sequence[str], directory: Path, *, ttl_s: int = TTL_S, port: int = 53
    ) -> None:
        super().__init__(host, "DNS server", directory.absolute() / "dnsmasq.log")
        records = directory.absolute() / "dnsmasq.hosts"
        records.write_text("".join(f"{address} {NAME}\n" for address in addresses))
        self._command_line = dnsmasq(host.address, port, records, ttl_s)

    def answers(self) -> bool:
        """Asks it for the name. Errors: LabError when it has ended, OSError while it does not listen."""
        if not self.running:
            raise LabError(f"{self._what} is not running:\n{self.tail()}")
        with self.host.inside():
            try:
                answer = dns.query.udp(dns.message.make_query(f"{NAME}.", "A"), self.host.address, timeout=0.2 * PACE)
            except dns.exception.Timeout:
                return False
        return bool(answer.answer)

    def _command(self) -> Sequence[str]:
        return self._command_line


def dnsmasq(address: str, port: int, records: Path, ttl_s: int) -> list[str]:
    """The command that serves the records of a hosts file and nothing else, reading no configuration.

    Errors: LabError when dnsmasq is not installed.
    """
    found = shutil.which("dnsmasq", path=_PATH)
    if found is None:
        raise LabError("dnsmasq is missing: apt-get install dnsmasq-base")
    return [
        found,
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--log-facility=-",
        "--pid-file=",
        "--user=root",
        "--no-resolv",
        "--no-hosts",
        f"--addn-hosts={records}",
        f"--local-ttl={ttl_s}",
        f"--listen-address={address}",
        f"--port={port}",
        "--bind-interfaces",
    ]


class DnsRoundRobin:
    """The contender without directors.

    Arguments:
        client: the host of the load, where the DNS server runs.
        servers: addresses of the real servers.
        port: that they listen on.
        directory: for the server's files.
    """

    name = "dns"

    def __init__(self, client: Host, servers: Sequence[str], port: int, directory: Path) -> None:
        self.directors: dict[str, DirectorLike] = {}
        self.target = LoadTarget(NAME, port, client.address, CACHES)
        self._server = DnsServer(client, servers, directory)

    def start(self) -> None:
        """Starts the DNS server and waits until it answers."""
        self._server.start()
        wait_for(self._server.answers, 10, "the DNS server to answer")

    def stop(self) -> None:
        """Stops the DNS server where it runs."""
        if self._server.running:
            self._server.stop()
