"""Checks between the fields of virtual services, and of them with the virtual IPs."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from ha_lvs.config import durations, values
from ha_lvs.config.crosscheck.view import View
from ha_lvs.config.lenient import Found, children, get, tried, twice
from ha_lvs.config.tree import Path, dotted
from ha_lvs.model import Protocol, ServiceKey

_HTTP_ONLY = ("path", "host", "status")
_DEFAULT_INTERVAL = "2s"


def problems(view: View) -> Iterator[Found]:
    """Every problem between those."""
    carried = {vip.address for vip in view.vips}
    names, listens = [], []
    for path, service in children(get(view.data, "services"), "services"):
        name = get(service, "name")
        if isinstance(name, str):
            names.append(((*path, "name"), name))
        key = tried(values.listen, get(service, "listen"))
        if key is not None:
            at = (*path, "listen")
            listens.append((at, key))
            if key.address not in carried:
                known = sorted(address for address in carried if isinstance(address, IPv4Address))[:5]
                have = f" (there is {', '.join(map(str, known))})" if known else ""
                yield (
                    at,
                    (
                        f"{key.address} is not a virtual IP of any instance{have}; add it to virtual_ips of an"
                        " instance, or listen on one of them"
                    ),
                )
        yield from _check((*path, "check"), get(service, "check"), key)
        yield from _servers(path, service, key)
    yield from twice(names, "service name '{}' is already used by {}; give each service its own")
    yield from twice(listens, "{} is already taken by {}; a service must have its own address, port and protocol")


def _servers(path: Path, service: object, key: ServiceKey | None) -> Iterator[Found]:
    seen: dict[tuple[IPv4Address, int | None], Path] = {}
    for at, server in children(get(service, "servers"), *path, "servers"):
        if isinstance(server, dict):
            address, port = tried(values.ipv4, server.get("address")), server.get("port")
        else:
            address, port = tried(values.address_port, server) or (None, None)
        if address is None or not (port is None or isinstance(port, int)):
            continue
        own_port = port if port is not None else key.port if key else None
        text = f"{address}:{own_port}" if own_port is not None else str(address)
        if (address, own_port) in seen:
            yield (
                at,
                f"server {text} is already in the service as {dotted(seen[address, own_port])}; remove one",
            )
        seen.setdefault((address, own_port), at)
        forwarding = get(server, "forwarding") or get(service, "forwarding")
        if key and own_port != key.port and forwarding in ("dr", "tun"):
            port_path = (*at, "port") if isinstance(server, dict) else at
            yield (
                port_path,
                (
                    f"server {text}: {forwarding} forwarding cannot change the port, which is {key.port} for"
                    " this service; remove the port or use nat"
                ),
            )
        yield from _check((*at, "check"), get(server, "check"), key)


def _check(path: Path, check: object, key: ServiceKey | None) -> Iterator[Found]:
    if not isinstance(check, dict):
        return
    written = check.get("interval", _DEFAULT_INTERVAL)
    interval, timeout = tried(durations.parse, written), tried(durations.parse, check.get("timeout"))
    if interval is not None and timeout is not None and timeout > interval:
        hint = "" if "interval" in check else " (the default)"
        yield (
            (*path, "timeout"),
            (f"timeout {timeout} is longer than the interval {interval}{hint}; shorten it or lengthen the interval"),
        )
    kind = check.get("type")
    if kind != "http":
        for word in _HTTP_ONLY:
            if word in check and (kind in ("tcp", "none") or kind is None):
                yield (*path, word), f"`{word}` is for http checks only; add type: http or remove it"
    if key and key.protocol is not Protocol.TCP and kind in ("tcp", "http") and check.get("port") is None:
        yield (
            (*path, "type"),
            (
                f"a {kind} check cannot use the {key.protocol.value} port of the service; give the check a port"
                " of its own, or type: none"
            ),
        )
