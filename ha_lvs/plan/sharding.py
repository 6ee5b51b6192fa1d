"""How many probers there are, what they are called, and which of them probes what. Pure.

Rules that hold here:
* Whatever is probed at one address and port is one prober's: a prober that dies concerns whole servers.
* The same endpoint always goes to the same of so many probers, whatever else is probed. Where their number changes, as
  few endpoints as possible go to another one, evenly from all (jump consistent hash, Lamping and Veach, 2014).
* The first prober is called `prober`, as where there is only one; the others have a number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ha_lvs.model import Endpoint, VirtualService

FIRST = "prober"
MOST = 64
"""Probers that a config file may ask for."""
ALONE = 2000
"""Up to so many endpoints one prober is enough, unless the config file says otherwise."""
MOST_BY_ITSELF = 8

_JUMP = 2862933555777941757
_MASK = (1 << 64) - 1


def count(said: int, services: Iterable[VirtualService], cores: int) -> int:
    """How many probers there are to be.

    Arguments:
        said: what the config file says; 0 for as many as it takes.
        services: whose servers are probed.
        cores: processors that may be used.
    """
    if said:
        return min(said, MOST)
    found: set[Endpoint] = set()
    for service in services:
        for server in service.servers:
            found.update(server.checks)
        if len(found) > ALONE:
            return max(1, min(cores, MOST_BY_ITSELF))
    return 1


def names(probers: int) -> tuple[str, ...]:
    """What so many probers are called."""
    return FIRST, *(f"{FIRST}-{number}" for number in range(2, probers + 1))


def is_prober(name: str) -> bool:
    """Whether a process of this name is a prober."""
    return name == FIRST or (name.startswith(f"{FIRST}-") and name[len(FIRST) + 1 :].isdecimal())


def shard(endpoint: Endpoint, probers: int) -> int:
    """Which of so many probers probes an endpoint: from 0 up."""
    if probers == 1:
        return 0
    place = endpoint.address.packed + endpoint.port.to_bytes(2, "big")
    key = int.from_bytes(hashlib.blake2b(place, digest_size=8).digest(), "big")
    at, following = 0, 0
    while following < probers:
        at = following
        key = (key * _JUMP + 1) & _MASK
        following = int((at + 1) * ((1 << 31) / ((key >> 33) + 1)))
    return at
