"""Checks of the servers that a service takes in from the network, with what it listens on and how it probes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ha_lvs.config import lenient, networks
from ha_lvs.config.crosscheck import checks
from ha_lvs.config.derived import usual_check
from ha_lvs.config.lenient import Found, get
from ha_lvs.config.schema.checks import Check
from ha_lvs.config.schema.discover import Discover
from ha_lvs.config.schema.listen import Listen
from ha_lvs.config.schema.services import Service
from ha_lvs.config.tree import Path
from ha_lvs.model import CheckType, Forwarding, IPNetwork

_PORTLESS = (CheckType.PING, CheckType.EXEC, CheckType.FILE)
_SOME_PORT = 1
"""Stands for the port of a server that is not known yet."""


def problems(path: Path, service: object, listen: Listen | None, *, synced: bool) -> Iterator[Found]:
    """Every problem of those.

    Arguments:
        path, service: where it is and what it says.
        listen: what the service listens on, if that was understood.
        synced: whether there is connection sync.
    """
    entry = get(service, "discover")
    if listen is None or not isinstance(entry, (dict, Discover)):
        return
    at = (*path, "discover")
    forwarding = lenient.field(Service, service, "forwarding")
    found: tuple[IPNetwork, ...] = lenient.field(Discover, entry, "networks") or ()
    for network in found:
        if network.version != listen.version and forwarding is not None:
            yield from _mixed((*at, "networks"), network, listen, forwarding, synced=synced)
    check = lenient.field(Service, service, "check")
    if check is None and get(service, "check") is not None:
        return
    yield from _ports(at, check, listen, forwarding)
    if found:
        yield from checks.probed(at, check, found[0], _SOME_PORT, forwarding, listen)


def _mixed(at: Path, network: IPNetwork, listen: Listen, forwarding: Forwarding, *, synced: bool) -> Iterator[Found]:
    theirs, ours = networks.family_name(network.version), networks.family_name(listen.version)
    if forwarding is not Forwarding.TUN:
        yield at, f"{network} is {theirs} and the service is {ours}, which only tun can carry; give {ours} networks"
    elif synced:
        yield (
            at,
            f"{network} is {theirs} and the service is {ours}; the kernel has no such servers beside connection sync,"
            f" so give {ours} networks or remove `connection_sync`",
        )


def _ports(at: Path, check: Any, listen: Listen, forwarding: Forwarding | None) -> Iterator[Found]:
    kinds = [(each, _kind(each, listen)) for each in ([None] if check is None else checks.single(check))]
    if any(kind is CheckType.NONE for _, kind in kinds):
        yield at, "servers that are found get traffic only after a good check, and none is made; give the service one"
        return
    if listen.key is not None and listen.key.port:
        return
    if forwarding is Forwarding.NAT:
        yield (
            at,
            "by nat a server that is found is reached at the one port that it announces, and this service has several;"
            " list its servers, or write `forwarding: dr` or `tun`",
        )
    elif any(kind not in _PORTLESS and get(each, "port") is None for each, kind in kinds):
        yield at, "there is no single port of the servers to probe; give the check a port, like `port: 80`"


def _kind(check: Any, listen: Listen) -> CheckType:
    kind: CheckType | None = None if check is None else lenient.field(Check, check, "type")
    return kind or usual_check(listen.protocol)
