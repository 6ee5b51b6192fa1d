"""Checks within a service: its servers with what it listens on, their tunnels and limits, and the checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ha_lvs.config import endpoints, lenient, networks
from ha_lvs.config.crosscheck import checks
from ha_lvs.config.lenient import Found, get, says, tried
from ha_lvs.config.schema.listen import Listen
from ha_lvs.config.schema.servers import Connections, Server, Sorry, Target, TunnelEntry, expand_server
from ha_lvs.config.schema.services import Service
from ha_lvs.config.tree import Path, dotted
from ha_lvs.model import Forwarding, IPAddress, Tunnel, TunnelChecksum


@dataclass(frozen=True, slots=True)
class TargetView:
    """A server, or the sorry server, whose address was understood.

    Arguments:
        at, raw: where it is, and its mapping or model.
        address: its own.
        port: its own or the service's; 0 for every port, None where unknown.
        forwarding: its own or the service's; None where unknown.
    """

    at: Path
    raw: Any
    address: IPAddress
    port: int | None
    forwarding: Forwarding | None

    @property
    def text(self) -> str:
        """As people write it."""
        return endpoints.shown(self.address, self.port or None)


def target(
    kind: type[Target], at: Path, value: object, listen: Listen | None, forwarding: Forwarding | None
) -> TargetView | None:
    """A server as far as it was understood; None without an address."""
    raw = value if isinstance(value, (dict, Target)) else tried(expand_server, value)
    address, port = lenient.field(kind, raw, "address"), lenient.field(kind, raw, "port")
    if address is None or (port is None and get(raw, "port") is not None):
        return None
    if port is None and listen is not None:
        port = port_of(listen)
    own = lenient.field(kind, raw, "forwarding")
    return TargetView(at, raw, address, port, forwarding if own is None and get(raw, "forwarding") is None else own)


def port_of(listen: Listen) -> int:
    """The port of a service as its servers inherit it: 0 where it has several."""
    return listen.key.port if listen.key is not None else 0


def problems(path: Path, service: object, listen: Listen | None, *, synced: bool) -> Iterator[Found]:
    """Every problem of those.

    Arguments:
        path, service: where it is and what it says.
        listen: what it listens on, if that was understood.
        synced: whether there is connection sync.
    """
    forwarding = lenient.field(Service, service, "forwarding")
    yield from checks.problems((*path, "check"), get(service, "check"), listen)
    found: list[TargetView] = []
    first: dict[tuple[IPAddress, int | None], Path] = {}
    default = lenient.field(Service, service, "check")
    servers = get(service, "servers")
    for index, value in enumerate(servers if isinstance(servers, list) else ()):
        at = (*path, "servers", index)
        server = target(Server, at, value, listen, forwarding)
        if server is None:
            continue
        found.append(server)
        before = first.setdefault((server.address, server.port), at)
        if before is not at:
            yield at, f"server {server.text} is already in the service as {dotted(before[2:])}; remove one"
        yield from reached(server, listen, synced=synced)
        check = get(server.raw, "check")
        if check is not None:
            yield from checks.problems((*at, "check"), check, listen)
        if listen is not None:
            probe = lenient.field(Server, server.raw, "check") if check else default
            yield from checks.probed(at, probe, server.address, server.port, server.forwarding, listen)
    yield from _tunnel((*path, "tunnel"), get(service, "tunnel"))
    tunnelled = forwarding in (Forwarding.TUN, None) or any(each.forwarding in (Forwarding.TUN, None) for each in found)
    if get(service, "tunnel") is not None and not tunnelled:
        yield (*path, "tunnel"), "no server is reached by tun; remove it, or write `forwarding: tun`"
    sorry = None
    if get(service, "sorry") is not None:
        sorry = target(Sorry, (*path, "sorry"), get(service, "sorry"), listen, forwarding)
    if sorry is not None:
        if (sorry.address, sorry.port) in first:
            where = dotted(first[sorry.address, sorry.port][2:])
            yield sorry.at, f"{sorry.text} is one of the servers ({where}); the sorry server must be another one"
        yield from reached(sorry, listen, synced=synced)


def reached(server: TargetView, listen: Listen | None, *, synced: bool) -> Iterator[Found]:
    """Problems of how packets reach a server."""
    if listen is not None and server.forwarding is not None:
        if server.forwarding is not Forwarding.NAT and server.port != port_of(listen):
            short = not isinstance(server.raw, Target) and not says(server.raw, "port")
            yield from _port(server, listen, short=short)
        if server.address.version != listen.version:
            yield from _mixed(server, listen, synced=synced)
    if says(server.raw, "tunnel") and get(server.raw, "tunnel") is not None:
        at = (*server.at, "tunnel")
        yield from _tunnel(at, get(server.raw, "tunnel"))
        if server.forwarding not in (Forwarding.TUN, None):
            yield at, f"only tun wraps packets, and {server.text} is reached by {server.forwarding.value}; remove it"
    limits = get(server.raw, "connections")
    if limits is not None:
        most, resume = (lenient.field(Connections, limits, name) for name in ("most", "resume"))
        if most is not None and resume is not None and resume > most:
            yield (
                (*server.at, "connections", "resume"),
                f"{resume} is more than most, which is {most}; write less, or leave it out for three quarters",
            )


def _port(server: TargetView, listen: Listen, *, short: bool) -> Iterator[Found]:
    assert server.forwarding is not None
    port = port_of(listen)
    which = f"the port, which is {port} for this service" if port else "the ports of this service"
    yield (
        server.at if short else (*server.at, "port"),
        f"server {server.text}: {server.forwarding.value} forwarding cannot change {which}; remove the port or use nat",
    )


def _mixed(server: TargetView, listen: Listen, *, synced: bool) -> Iterator[Found]:
    theirs, ours = networks.family_name(server.address.version), networks.family_name(listen.version)
    if server.forwarding is not Forwarding.TUN:
        yield (
            server.at,
            f"{server.address} is {theirs} and the service is {ours}, which only tun can carry; write `forwarding: tun`"
            " for this server, or give an address of the same family",
        )
    elif synced:
        yield (
            server.at,
            f"{server.address} is {theirs} and the service is {ours}; the kernel has no such servers beside connection"
            " sync, so give an address of the same family or remove `connection_sync`",
        )


def _tunnel(at: Path, raw: object) -> Iterator[Found]:
    if raw is None or isinstance(raw, str):
        return
    kind, checksum = (lenient.field(TunnelEntry, raw, name) for name in ("type", "checksum"))
    if kind is None:
        return
    if kind is not Tunnel.GUE and get(raw, "port") is not None:
        yield (*at, "port"), f"{kind.value} has no port; remove it, or write `type: gue`"
    if kind is Tunnel.IPIP and checksum not in (None, TunnelChecksum.NONE):
        yield (*at, "checksum"), "ipip has no header of its own to have a checksum; remove it, or write gue or gre"
    if kind is Tunnel.GRE and checksum is TunnelChecksum.REMOTE:
        yield (*at, "checksum"), "remote checksum offload is GUE's; write none or full for gre"
