"""Checks between the fields of a virtual service, and of services with each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ha_lvs.config import lenient
from ha_lvs.config.crosscheck import discover, servers
from ha_lvs.config.crosscheck.view import View
from ha_lvs.config.lenient import Found, children, get, tried, twice
from ha_lvs.config.schema.discover import Discover
from ha_lvs.config.schema.ipvs import Ipvs
from ha_lvs.config.schema.listen import Listen
from ha_lvs.config.schema.servers import Server, expand_server
from ha_lvs.config.schema.services import OnDown, Persistence, QuorumEntry, SchedulerEntry, Service
from ha_lvs.config.tree import Path
from ha_lvs.model import FULL_PREFIX, HASHING_SCHEDULERS, Protocol

SHARE_BY_WEIGHT = ("wrr", "wlc", "lblc", "lblcr", "sed", "nq", "twos")
"""Schedulers under which a growing weight is a growing share. To rr, lc and dh any weight above 0 is the same; sh and
mh would move other servers' clients with each step; fo takes the highest alone, and ovf reads it as connections."""

MOST_WEIGHT = 65535

LEAST_WEIGHT = 10
"""From so much on a weight has steps to grow in."""


def problems(view: View) -> Iterator[Found]:
    """Every problem of those."""
    names: list[tuple[Path, str]] = []
    synced = get(view.data, "connection_sync") is not None
    switch = get(get(get(view.data, "ipvs"), "sysctls"), "expire_nodest_conn")
    for path, service in children(get(view.data, "services"), "services"):
        name = get(service, "name")
        if isinstance(name, str):
            names.append(((*path, "name"), name))
        beside = (synced, repr(switch))
        if isinstance(service, Service) and service.is_sound(beside):
            continue  # of a file that has not changed since
        found = list(_of_one(path, service, synced=synced, switch=switch))
        if isinstance(service, Service) and not found:
            service.found_sound(beside)
        yield from found
    yield from twice(names, "service name '{}' is already used by {}; give each service its own", view.where)
    yield from _ipvs(view)


def _of_one(path: Path, service: object, *, synced: bool, switch: object) -> Iterator[Found]:
    """Problems within a service, and of it with what the whole file says.

    Arguments:
        synced: whether there is connection sync.
        switch: what the file says of the kernel's expire_nodest_conn.
    """
    listen = lenient.field(Service, service, "listen")
    if listen is not None and not clear(listen):
        listen = None
    yield from servers.problems(path, service, listen, synced=synced)
    yield from discover.problems(path, service, listen, synced=synced)
    yield from _scheduling(path, service, listen)
    yield from _pool(path, service)
    yield from _on_down(path, service, switch)


def clear(listen: Listen) -> bool:
    """Whether its fields say one thing, so that more can be checked by it."""
    versions = {each.first.version for each in listen.addresses}
    return len(versions) == 1 if listen.addresses else listen.mark is not None


def _scheduling(path: Path, service: object, listen: Listen | None) -> Iterator[Found]:
    scheduler, persistence = (lenient.field(Service, service, name) for name in ("scheduler", "persistence"))
    if isinstance(scheduler, SchedulerEntry) and scheduler.name not in HASHING_SCHEDULERS:
        for word in ("fallback", "hash_port"):
            if getattr(scheduler, word):
                yield (
                    (*path, "scheduler", word),
                    f"{scheduler.name} does not hash, so it has no `{word}`; remove it, or take sh or mh",
                )
    if listen is None:
        return
    # A mark of the operator's own may be of any protocol.
    protocols = listen.protocol or tuple(Protocol)
    if lenient.field(Service, service, "one_packet") and Protocol.UDP not in protocols:
        yield (
            (*path, "one_packet"),
            f"only datagrams of UDP can do without a connection, and this is {_named(protocols)}",
        )
    if lenient.field(Service, service, "passive") and Protocol.TCP not in protocols:
        yield (
            (*path, "passive"),
            f"only TCP has handshakes that could remain unfinished, and this is {_named(protocols)}; remove it",
        )
    if listen.key is not None and not listen.key.mark and listen.key.port == 0 and get(service, "persistence") is None:
        yield (
            (*path, "listen"),
            f"{listen.key}: the kernel takes port 0 (every port) of persistent services only; add `persistence`, or"
            " write a mapping with `addresses` and `protocol` and without `ports`",
        )
    if not isinstance(persistence, Persistence):
        return
    full = FULL_PREFIX[listen.version]
    if persistence.prefix is not None and persistence.prefix > full:
        yield (
            (*path, "persistence", "prefix"),
            f"{persistence.prefix} is more than the {full} bits of an IPv4 address; write a number from 1 to {full}",
        )
    if persistence.engine and Protocol.UDP not in protocols:
        yield (
            (*path, "persistence", "engine"),
            f"{persistence.engine} is looked for in UDP only, and this is {_named(protocols)}; remove it",
        )


def _named(protocols: tuple[Protocol, ...]) -> str:
    return " and ".join(each.value for each in protocols)


def _weights(path: Path, service: object) -> list[tuple[Path, int]]:
    """The weight of every server that was understood, and where it is."""
    found: list[tuple[Path, int]] = []
    listed = get(service, "servers")
    for index, value in enumerate(listed if isinstance(listed, list) else ()):
        raw = value if isinstance(value, (dict, Server)) else tried(expand_server, value)
        weight = lenient.field(Server, raw, "weight")
        if weight is not None:
            written = isinstance(value, Server) or (isinstance(raw, dict) and "weight" in raw)
            found.append(((*path, "servers", index, *(("weight",) if written else ())), weight))
    return found


def _pool(path: Path, service: object) -> Iterator[Found]:
    quorum = lenient.field(Service, service, "quorum")
    slow_start = lenient.field(Service, service, "slow_start")
    said = isinstance(quorum, QuorumEntry) and lenient.says(service, "quorum")
    if not said and slow_start is None:
        return
    weights = _weights(path, service)
    listed = get(service, "servers")
    if said and isinstance(listed, list) and len(weights) == len(listed):
        yield from _quorum((*path, "quorum"), quorum, [*(weight for _, weight in weights), *_found(service)])
    if slow_start is None:
        return
    scheduler = lenient.field(Service, service, "scheduler")
    if isinstance(scheduler, SchedulerEntry) and scheduler.name not in SHARE_BY_WEIGHT:
        yield (
            (*path, "slow_start"),
            f"{scheduler.name} does not share by weight, so a weight that grows starts nothing slowly; take one of"
            f" {', '.join(SHARE_BY_WEIGHT)}, or remove it",
        )
        return
    found = lenient.field(Discover, get(service, "discover"), "weight")
    for at, weight in [*weights, *([] if found is None else [((*path, "discover"), found)])]:
        if 0 < weight < LEAST_WEIGHT:
            yield (
                at,
                f"a weight of {weight} has no steps to grow in during the slow start; give every server of the service"
                f" at least {LEAST_WEIGHT}: only the proportion counts",
            )


def _found(service: object) -> list[int]:
    """The weights of as many servers as may be found on the network."""
    entry = get(service, "discover")
    most, weight = (lenient.field(Discover, entry, name) for name in ("most", "weight"))
    if most is None or weight is None or entry is None:
        return []
    return [MOST_WEIGHT if lenient.field(Discover, entry, "trust_weight") else weight] * most


def _quorum(at: Path, quorum: QuorumEntry, weights: list[int]) -> Iterator[Found]:
    if quorum.hysteresis >= quorum.least:
        yield (
            (*at, "hysteresis"),
            f"{quorum.hysteresis} is not less than `least`, which is {quorum.least}: the quorum would never be lost;"
            " write a smaller number",
        )
        return
    best = sum(weights) if quorum.of == "weight" else sum(weight > 0 for weight in weights)
    needed = quorum.least + quorum.hysteresis
    if needed > best:
        what = "weight" if quorum.of == "weight" else "server" if best == 1 else "servers"
        total = f"{quorum.least} + {quorum.hysteresis}" if quorum.hysteresis else f"{needed}"
        yield (
            at,
            f"{total} can never be reached with all servers up, which is {best} {what}; write less, or add servers",
        )


def _on_down(path: Path, service: object, switch: Any) -> Iterator[Found]:
    if lenient.field(Service, service, "on_down") is not OnDown.EXPIRE:
        return
    at = (*path, "on_down")
    if lenient.field(Service, service, "inhibit"):
        yield at, "`inhibit` keeps a server that is down, so its connections never end; remove one of the two"
    if switch == 0 and not isinstance(switch, bool):
        yield at, "expire needs net.ipv4.vs.expire_nodest_conn, which `ipvs.sysctls` sets to 0; remove one of the two"


def _ipvs(view: View) -> Iterator[Found]:
    sysctls = get(get(view.data, "ipvs"), "sysctls")
    ports = tried(lambda value: lenient.field(Ipvs, {"sysctls": value}, "sysctls"), sysctls)
    if ports is not None and ports.sync_ports and ports.sync_ports & (ports.sync_ports - 1):
        yield (
            ("ipvs", "sysctls", "sync_ports"),
            f"{ports.sync_ports} is not a power of two; write 1, 2, 4, 8, 16, 32 or 64",
        )
