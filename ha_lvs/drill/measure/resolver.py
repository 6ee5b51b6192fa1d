"""Clients' DNS caches, in a process of their own: which address would each client connect to now?

    python -m ha_lvs.drill.measure.resolver --name web.lab --server 10.9.0.31:53 --caches 10

It stands for so many clients that do not know of each other. Each resolves the name, takes the first A record of the
answer and keeps it for the answer's TTL. Their caches expire one after the other, spread over the TTL, as those of
clients do that began at any time. An expired one is asked for at once; until an answer has come the old one is used,
as many stub resolvers do, and where none comes it is asked for again after a second.

Standard output gets ``CACHE ADDRESS`` a line whenever a client has had an answer, be it the same again. It ends at the
end of standard input, or with exit code 1 when a client has no first answer within 30 seconds.

A process and not a thread of the load generator: resolving keeps the interpreter busy for milliseconds, and the
generator's beat must not wait for that. `names.Caches` is its other end.
"""

from __future__ import annotations

import argparse
import heapq
import select
import sys
import time

import dns.exception
import dns.resolver

from ha_lvs.drill.measure.http_client import Address
from ha_lvs.drill.measure.names import server_argument

ANSWER_WITHIN_S = 2.0
FIRST_ANSWERS_WITHIN_S = 30.0
RETRY_S = 1.0
LEAST_TTL_S = 0.1
"""A TTL of 0 forbids caches; this many seconds keep the DNS server from being flooded."""


class Clients:
    """What the clients know.

    Arguments:
        name: to resolve, absolute.
        server: the DNS server.
        count: how many clients.
    """

    def __init__(self, name: str, server: Address, count: int) -> None:
        self._name = name
        self._resolver = dns.resolver.Resolver(configure=False)
        self._resolver.nameservers = [server[0]]
        self._resolver.port = server[1]
        self._resolver.lifetime = self._resolver.timeout = ANSWER_WITHIN_S
        self._count = count
        self._due: list[tuple[float, int]] = []  # a heap of (time, client)

    @property
    def next_at(self) -> float:
        """When the next cache expires."""
        return self._due[0][0]

    def begin(self) -> None:
        """Resolves for every client for the first time. Errors: SystemExit when that cannot be done."""
        end = time.monotonic() + FIRST_ANSWERS_WITHIN_S
        for client in range(self._count):
            ttl_s, problem = self._resolve(client)
            while problem:
                if time.monotonic() > end:
                    raise SystemExit(f"resolver: {self._name}: {problem}")
                time.sleep(RETRY_S / 10)
                ttl_s, problem = self._resolve(client)
            # As if it had been resolved some time ago, each at another time.
            self._due.append((time.monotonic() + ttl_s * (client + 1) / self._count, client))
        heapq.heapify(self._due)

    def turn(self) -> None:
        """Resolves for the client whose cache is the next to expire."""
        _, client = self._due[0]
        ttl_s, problem = self._resolve(client)
        if problem:
            print(f"resolver: {self._name}: {problem}; the old answer is kept", file=sys.stderr)
        heapq.heapreplace(self._due, (time.monotonic() + ttl_s, client))

    def _resolve(self, client: int) -> tuple[float, str]:
        """Seconds until the next time, and what went wrong."""
        try:
            answer = self._resolver.resolve(self._name, "A", search=False)
        except (dns.exception.DNSException, OSError) as problem:
            return RETRY_S, str(problem) or type(problem).__name__
        assert answer.rrset is not None
        print(client, next(iter(answer)).address, flush=True)
        return max(LEAST_TTL_S, float(answer.rrset.ttl)), ""


def main(arguments: list[str] | None = None) -> None:
    """Runs until the end of standard input."""
    parser = argparse.ArgumentParser(prog="python -m ha_lvs.drill.measure.resolver", description="DNS caches.")
    parser.add_argument("--name", required=True)
    parser.add_argument("--server", type=server_argument, required=True, metavar="ADDRESS[:PORT]")
    parser.add_argument("--caches", type=int, required=True)
    options = parser.parse_args(arguments)
    clients = Clients(options.name.rstrip(".") + ".", options.server, options.caches)
    try:
        clients.begin()
        while not select.select([0], [], [], max(0.0, clients.next_at - time.monotonic()))[0]:
            clients.turn()
    except (BrokenPipeError, KeyboardInterrupt):
        pass  # nobody wants to know any more


if __name__ == "__main__":
    main()
