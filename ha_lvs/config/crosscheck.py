"""What concerns several fields of the config file at once.

Rules that hold here:
* Works on the plain data of the file, not on the checked models, so that it also runs when other parts are
  wrong. What cannot be understood is skipped: the schema has already complained about it.
* Nothing is raised; each problem is yielded with the path of the value that should change.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

from ha_lvs.config import durations, values
from ha_lvs.config.lenient import Found, children, get, tried, twice
from ha_lvs.config.tree import Path, dotted
from ha_lvs.model import Protocol, ServiceKey

_HTTP_ONLY = ("path", "host", "status")
_DEFAULT_INTERVAL = "2s"


def problems(data: dict[str, Any]) -> Iterator[Found]:
    """Every problem between fields.

    Arguments:
        data: the file's plain data.
    """
    yield from _nodes(data)
    yield from _instances(data)
    yield from _priorities(data)
    carried = _virtual_ips(data)
    yield from twice(carried, "virtual IP {} is already in {}; an address can move with one instance only")
    yield from _own_addresses(data, carried)
    yield from _services(data, {address for _, address in carried})


# -------------------------------------------------------------------------------------------- nodes and instances


def _nodes(data: dict[str, Any]) -> Iterator[Found]:
    found = []
    for path, node in children(get(data, "nodes"), "nodes"):
        address = tried(values.ipv4, get(node, "address"))
        if address is not None:
            found.append(((*path, "address"), address))
    yield from twice(found, "{} is already the address at {}; give each node its own")


def _own_addresses(data: dict[str, Any], carried: list[tuple[Path, IPv4Address]]) -> Iterator[Found]:
    own = {tried(values.ipv4, get(node, "address")): path for path, node in children(get(data, "nodes"), "nodes")}
    for path, address in carried:
        if address in own:
            node = dotted(own[address])
            yield path, f"{address} is the own address of {node}; a virtual IP is added and removed, so use another"


def _lease(path: Path, instance: Any) -> Iterator[Found]:
    parse = durations.parse
    lease, interval = tried(parse, get(instance, "lease")), tried(parse, get(instance, "interval"))
    if lease is not None and interval is not None and lease.ms < 2 * interval.ms:
        shown, sent = get(instance, "lease"), get(instance, "interval")
        message = f"{shown} ends between advertisements, which renew it every {sent}; use auto, or twice the interval"
        yield (*path, "lease"), message


def _instances(data: dict[str, Any]) -> Iterator[Found]:
    routers = []
    for path, instance in children(get(data, "instances"), "instances"):
        router_id, interface = get(instance, "router_id"), get(instance, "interface")
        yield from _lease(path, instance)
        if isinstance(router_id, int) and isinstance(interface, str):
            routers.append(((*path, "router_id"), (router_id, interface)))
        nodes = get(data, "nodes")
        if tried(values.flag, get(instance, "unicast")) and isinstance(nodes, dict) and len(nodes) == 1:
            yield (
                (*path, "unicast"),
                "unicast with one node has no peer to send to; add the other node or remove it",
            )
    seen: dict[tuple[int, str], Path] = {}
    for path, router in routers:
        if router in seen:
            yield (
                path,
                (
                    f"router id {router[0]} on interface {router[1]} is already taken by"
                    f" {dotted(seen[router][:-1])}; give each instance on a network its own"
                ),
            )
        seen.setdefault(router, path)


def _priorities(data: dict[str, Any]) -> Iterator[Found]:
    nodes = get(data, "nodes")
    if not isinstance(nodes, dict) or not nodes:
        return
    for path, instance in children(get(data, "instances"), "instances"):
        priority = get(instance, "priority")
        if not isinstance(priority, dict):
            continue
        for name in priority:
            if name not in nodes:
                near = values.suggestion(name, nodes)
                hint = f"did you mean `{near}`?" if near else f"the nodes are {', '.join(nodes)}"
                yield (*path, "priority", name), f"there is no node `{name}`; {hint}"
        missing = [name for name in nodes if name not in priority]
        if missing:
            yield (*path, "priority"), f"no priority for node {values.listed(missing)}; add one from 1 to 255"


def _virtual_ips(data: dict[str, Any]) -> list[tuple[Path, IPv4Address]]:
    found = []
    for path, instance in children(get(data, "instances"), "instances"):
        for entry_path, entry in children(get(instance, "virtual_ips"), *path, "virtual_ips"):
            prefix = tried(values.ipv4_prefix, get(entry, "address") if isinstance(entry, dict) else entry)
            if prefix is not None:
                found.append((entry_path, prefix.ip))
    return found


# -------------------------------------------------------------------------------------------------------- services


def _services(data: dict[str, Any], carried: set[IPv4Address]) -> Iterator[Found]:
    names, listens = [], []
    for path, service in children(get(data, "services"), "services"):
        name = get(service, "name")
        if isinstance(name, str):
            names.append(((*path, "name"), name))
        key = tried(values.listen, get(service, "listen"))
        if key is not None:
            at = (*path, "listen")
            listens.append((at, key))
            if key.address not in carried:
                have = f" (there is {', '.join(map(str, sorted(carried)[:5]))})" if carried else ""
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
