"""Checks of what is tracked, by definition and by name, and of witnesses."""

from __future__ import annotations

from collections.abc import Iterator

from ha_lvs.config import lenient, networks, values
from ha_lvs.config.crosscheck.addresses import own_addresses
from ha_lvs.config.crosscheck.view import InstanceView, View
from ha_lvs.config.lenient import Found, children, get, tried, twice
from ha_lvs.config.schema.tracking import DEFINING, Script, WitnessesEntry
from ha_lvs.config.tree import Path, dotted

Defined = dict[tuple[str, str], tuple[Path, object]]
"""What is defined so far: kind and name, and where it is and what it says."""


def problems(view: View) -> Iterator[Found]:
    """Every problem of those."""
    defined: Defined = {}
    for kind in DEFINING:
        for path, entry in children(get(get(view.data, "track"), kind), "track", kind):
            defined[kind, str(path[-1])] = (path, entry)
            yield from _timeout(kind, path, entry)
    services = [get(service, "name") for _, service in children(get(view.data, "services"))]
    known = [name for name in services if isinstance(name, str)]
    for instance in view.instances.values():
        track = get(instance.raw, "track")
        at = (*instance.path, "track")
        yield from _interfaces(track, (*at, "interfaces"))
        for kind in DEFINING:
            for path, name, entry in named(get(track, kind), (*at, kind)):
                yield from _tracked(kind, name, path, entry, defined)
        for path, name, _ in named(get(track, "services"), (*at, "services")):
            if name not in known and view.whole:
                near = values.suggestion(name, known)
                have = f"there is {', '.join(known)}" if known else "there are no services"
                hint = f"did you mean `{near}`?" if near else have
                yield path, f"there is no service `{name}`; {hint}"
        yield from _witnesses(view, instance)


def named(value: object, at: Path) -> Iterator[tuple[Path, str, object]]:
    """Path, name and data of each item of a mapping by name, or of the list of names that is its short spelling."""
    for path, entry in children(value, *at):
        if isinstance(value, dict):
            yield path, str(path[-1]), entry
        elif isinstance(entry, str):
            yield path, entry, {}


def interfaces(value: object, at: Path) -> list[tuple[Path, str, object]]:
    """The same for a list of interfaces, which are names or mappings."""
    found = []
    for path, entry in children(value, *at):
        name = tried(values.interface, get(entry, "name") if isinstance(entry, dict) else entry)
        if name is not None:
            found.append((path, name, entry))
    return found


def _interfaces(track: object, at: Path) -> Iterator[Found]:
    names = [(path, name) for path, name, _ in interfaces(get(track, "interfaces"), at)]
    yield from twice(names, "interface {} is already tracked at {}; remove one")


def _timeout(kind: str, path: Path, entry: object) -> Iterator[Found]:
    if kind != "scripts":
        return
    interval, timeout = (lenient.field(Script, entry, name) for name in ("interval", "timeout"))
    if interval is not None and timeout is not None and timeout > interval:
        hint = "" if get(entry, "interval") is not None else " (the default)"
        yield (
            (*path, "timeout"),
            f"timeout {timeout} is longer than the interval {interval}{hint}; shorten it or lengthen the interval",
        )


def _tracked(kind: str, name: str, path: Path, entry: object, defined: Defined) -> Iterator[Found]:
    """A definition of its own, or a reference to one that comes before or stands at the top."""
    if not isinstance(entry, dict):
        return
    what, key = kind.removesuffix("es" if kind == "processes" else "s"), DEFINING[kind]
    if key in entry:
        yield from _timeout(kind, path, entry)
        definition = {word: value for word, value in entry.items() if word != "weight"}
        first, other = defined.setdefault((kind, name), (path, definition))
        if first != path and first[0] == "track":
            yield path, f"{what} {name} is already defined at {dotted(first)}; leave out all but the weight here"
        elif first != path and other != definition:
            yield (
                path,
                f"{what} {name} is another one at {dotted(first)}; rename one, or define it in the top-level track",
            )
        return
    top = defined.get((kind, name))
    if top is None or top[0][0] != "track":
        known = [other for each, other in defined if each == kind and defined[each, other][0][0] == "track"]
        near = values.suggestion(name, known)
        hint = f"did you mean `{near}`?" if near else f"define it there, or give a {key} here"
        yield path, f"there is no {what} `{name}` in the top-level track; {hint}"
        return
    for word in entry:
        if word != "weight":
            yield (*path, word), f"`{word}` belongs to the definition at {dotted(top[0])}; move it there"


def _witnesses(view: View, instance: InstanceView) -> Iterator[Found]:
    raw = get(instance.raw, "witnesses")
    at = (*instance.path, "witnesses")
    listed = raw if isinstance(raw, list) else get(raw, "addresses")
    within = at if isinstance(raw, list) else (*at, "addresses")
    found = []
    for path, entry in children(listed, *within):
        address = tried(networks.address, entry)
        if address is not None:
            found.append((path, address))
    yield from twice(found, "{} is already a witness at {}; remove one")
    own = own_addresses(view)
    carried = {vip.address: vip.path for vip in view.vips}
    for path, address in found:
        whose = f"the own address of {dotted(own[address])}" if address in own else ""
        if address in carried:
            whose = f"a virtual IP ({dotted(carried[address])})"
        if whose:
            yield path, f"{address} is {whose}; a witness is a third party, like a gateway"
    required = lenient.field(WitnessesEntry, raw, "required")
    if required is not None and isinstance(listed, list) and required > len(listed) > 0:
        yield (
            (*at, "required"),
            f"{required} witnesses cannot answer where there {'is 1' if len(listed) == 1 else f'are {len(listed)}'};"
            " write a lower number, or add witnesses",
        )
