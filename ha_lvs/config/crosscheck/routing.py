"""Checks between the fields of routes and routing rules."""

from __future__ import annotations

from collections.abc import Iterator

from ha_lvs.config import lenient
from ha_lvs.config.crosscheck.view import InstanceView, View
from ha_lvs.config.lenient import Found, children, get
from ha_lvs.config.networks import family_name
from ha_lvs.config.schema.routing import RouteEntry, RuleEntry
from ha_lvs.config.tree import Path, dotted


def problems(view: View) -> Iterator[Found]:
    """Every problem between those."""
    routes: dict[object, Path] = {}
    rules: dict[object, Path] = {}
    for instance in view.instances.values():
        for path, route in children(get(instance.raw, "routes"), *instance.path, "routes"):
            if isinstance(route, dict):
                yield from _route(instance, path, route, routes)
        for path, rule in children(get(instance.raw, "rules"), *instance.path, "rules"):
            if isinstance(rule, dict):
                yield from _rule(instance, path, rule, rules)


def _route(instance: InstanceView, path: Path, route: dict[str, object], seen: dict[object, Path]) -> Iterator[Found]:
    found = {name: lenient.field(RouteEntry, route, name) for name in RouteEntry.model_fields}
    families = {name: found[name].version for name in ("to", "via", "source") if found[name] is not None}
    if len(set(families.values())) > 1:
        yield path, _mixed("route", families)
        return
    if get(route, "via") is None and get(route, "interface") is None:
        yield path, "a route needs `via` (the gateway), `interface`, or both; add one"
    via = found["via"]
    if via is not None and via.is_link_local and get(route, "interface") is None:
        yield (*path, "via"), f"{via} is link-local, so it means nothing without an interface; add `interface`"
    if found["to"] is None and get(route, "to") != "default":
        return
    family = next(iter(families.values()), instance.family)
    target = found["to"]
    if target is None or target.prefixlen == 0:
        target = f"a default route of {family_name(family or 4)}"
    else:
        target = f"a route to {target}"
    yield from _once(path, ("route", target, found["table"], found["metric"]), seen, target)


def _rule(instance: InstanceView, path: Path, rule: dict[str, object], seen: dict[object, Path]) -> Iterator[Found]:
    found = {name: lenient.field(RuleEntry, rule, name) for name in RuleEntry.model_fields}
    families = {
        RuleEntry.model_fields[name].alias or name: found[name].version
        for name in ("source", "to")
        if found[name] is not None
    }
    if found["family"] is not None:
        families["family"] = found["family"]
    if len(set(families.values())) > 1:
        yield path, _mixed("rule", families)
        return
    if not {"from", "to", "fwmark"} & rule.keys():
        yield (
            path,
            "a rule without from, to and fwmark is for every packet; add one, or write `from: all` if you mean it",
        )
        return
    family = next(iter(families.values()), instance.family)
    what = ("rule", found["priority"], found["source"], found["to"], found["fwmark"], family)
    yield from _once(path, what, seen, "the same rule")


def _mixed(kind: str, families: dict[str, int]) -> str:
    said = ", ".join(f"`{name}` is {family_name(family)}" for name, family in families.items())
    return f"a {kind} is of one family, but {said}; write all of the same"


def _once(path: Path, key: object, seen: dict[object, Path], what: str) -> Iterator[Found]:
    if key in seen:
        yield path, f"{what} is already at {dotted(seen[key])}; remove one"
    seen.setdefault(key, path)
