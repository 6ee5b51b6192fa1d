"""Checks between the nodes, the keys, the peer link, discovery and notify."""

from __future__ import annotations

from collections.abc import Iterator

from ha_lvs.config import lenient, networks, values
from ha_lvs.config.crosscheck.view import View
from ha_lvs.config.lenient import Found, children, get, twice
from ha_lvs.config.schema.cluster import QUORUM, AuthenticationEntry, KeyEntry, PeerLinkEntry
from ha_lvs.config.schema.config import Config
from ha_lvs.config.tree import Path


def problems(view: View) -> Iterator[Found]:
    """Every problem between those."""
    yield from _addresses(view)
    yield from _keys(view)
    if view.discovery and not view.authentication:
        yield (
            ("discovery",),
            "discovery needs authentication, because anybody could answer; add `authentication` with a key, or remove"
            " it",
        )
    link = lenient.field(Config, view.data, "peer_link")
    if isinstance(link, PeerLinkEntry) and link.enabled and len(view.nodes) < 2 and not view.discovery:
        yield ("peer_link",), "a peer link with one node has no peer; add the other node or remove it"
    yield from _notify(view)


def _addresses(view: View) -> Iterator[Found]:
    found = []
    first = None
    for node in view.nodes.values():
        at = (*node.path, "address")
        if node.address is not None:
            found.append((at, node.address))
            first = first or node
            if first.address is not None and first.address.version != node.address.version:
                yield (
                    at,
                    f"{node.address} is {networks.family_name(node.address.version)}, but that of {first.name} is"
                    f" {networks.family_name(first.address.version)}; the nodes reach each other by `address`, so write"
                    " the IPv6 ones as address6",
                )
        if node.address6 is not None:
            at6 = (*node.path, "address6")
            found.append((at6, node.address6))
            if node.clear and node.address is None:
                yield at6, f"{node.address6} is the only address of {node.name}; write it as `address`"
            elif node.address is not None and node.address.version == 6:
                yield at6, f"the address of {node.name}, {node.address}, is IPv6 already; remove one of the two"
        if node.bare and not view.discovery:
            yield node.path, f"node {node.name} has no address; give it one, or let it be found with `discovery: true`"
    yield from twice(found, "{} is already the address at {}; give each node its own")


def _keys(view: View) -> Iterator[Found]:
    authentication = get(view.data, "authentication")
    ids: list[tuple[Path, int]] = []
    files: list[tuple[Path, str]] = []
    for path, entry in children(get(authentication, "keys"), "authentication", "keys"):
        number, file = lenient.field(KeyEntry, entry, "id"), lenient.field(KeyEntry, entry, "file")
        ids += [((*path, "id"), number)] if number is not None else []
        files += [((*path, "file"), file)] if file is not None else []
    yield from twice(ids, "key id {} is already given at {}; give each key its own")
    yield from twice(files, "{} is already the file at {}; give each key its own")
    send = lenient.field(AuthenticationEntry, authentication, "send_key")
    known = [number for _, number in ids]
    if send is not None and known and send not in known:
        yield (
            ("authentication", "send_key"),
            f"there is no key with id {send}; write {values.listed(sorted(set(known)))}, or add that key",
        )


def _notify(view: View) -> Iterator[Found]:
    yield from _notify_of_services(view)
    known = [name for name in view.instances if view.group_of(name) is None] + list(view.groups)
    for path, entry in children(get(view.data, "notify"), "notify"):
        for at, name in children(get(entry, "instances"), *path, "instances"):
            if not isinstance(name, str) or name in known:
                continue
            group = view.group_of(name)
            near = values.suggestion(name, known)
            if group is not None:
                yield at, f"instance {name} moves with its group; write {group}"
            elif near:
                yield at, f"there is no instance or group `{name}`; did you mean `{near}`?"
            elif known:
                yield at, f"there is no instance or group `{name}`; there is {', '.join(known)}"


def _notify_of_services(view: View) -> Iterator[Found]:
    known: set[str] | None = None
    for path, entry in children(get(view.data, "notify"), "notify"):
        named = list(children(get(entry, "services"), *path, "services"))
        events = get(entry, "events")
        if named and not (isinstance(events, list) and QUORUM in events):
            yield (*path, "services"), "services have quorums and no roles; add `events: [quorum]`, or remove this"
        if named and known is None:
            names = (get(each, "name") for _, each in children(get(view.data, "services"), "services"))
            known = {name for name in names if isinstance(name, str)}
        for at, name in named:
            if isinstance(name, str) and known and name not in known:
                near = values.suggestion(name, sorted(known))
                yield (
                    at,
                    f"there is no service `{name}`"
                    + (f"; did you mean `{near}`?" if near else "; add it, or remove this"),
                )
