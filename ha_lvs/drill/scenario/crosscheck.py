"""What concerns several fields of a scenario at once.

Rules that hold here:
* Works on the plain data of the file, like the config file's cross-checks: what cannot be understood is skipped.
* Steps are followed in the order of their times, as the drill will do them, with one state per target.
* `active` may or may not be `lb1`: a step is refused only where it is wrong in either case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ha_lvs.config import durations, values
from ha_lvs.config.durations import Duration
from ha_lvs.config.lenient import Found, children, get, tried, twice
from ha_lvs.config.tree import Path
from ha_lvs.drill.scenario.model import ASKED, DIRECTORS, OURS_ALONE, ROLES, VERBS
from ha_lvs.drill.scenario.schema import StepEntry, Topology, decimal, host
from ha_lvs.drill.scenario.schema import server as server_name

_DONE: Mapping[str, str] = MappingProxyType(
    {
        "cut": "cut off",
        "loss": "given a lossy cable",
        "delay": "given a slow cable",
        "one_way": "given a one-way cable",
        "freeze": "frozen",
        "kill": "killed",
        "stop": "stopped",
        "handover": "told to hand over",
        "standby": "put on standby",
        "stop_server": "stopped",
        "hang_server": "hung",
    }
)

_UNDOES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "heal": ("cut", "loss", "delay", "one_way"),
        "thaw": ("freeze",),
        "start": ("kill", "stop"),
        "enable": ("handover", "standby"),
        "start_server": ("stop_server", "hang_server"),
    }
)
"""The verbs that one undoes."""

_REFUSED_AFTER: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cut": ("cut",),
        "freeze": ("freeze", "kill", "stop"),
        "kill": ("kill", "stop"),
        "stop": ("kill", "stop", "freeze"),
        "handover": ("kill", "stop", "freeze", "standby"),
        "standby": ("kill", "stop", "freeze", "standby"),
        "enable": ("kill", "stop", "freeze"),
        "restart": ("kill", "stop", "freeze"),
        "kill_elector": ("kill", "stop"),
        "stop_server": ("stop_server",),
        "hang_server": ("stop_server", "hang_server"),
    }
)
"""What makes a verb pointless while it has not been undone.

SIGTERM waits until a frozen process is thawed, and so does what else it is asked for.
"""


_AT_ONCE = Duration(0)


@dataclass(frozen=True, slots=True)
class _Step:
    """A step as far as it can be understood.

    Arguments:
        entry: where it stands.
        path: where its target stands, or its verb where there is none.
        lasts: how long; most are over at once.
    """

    entry: Path
    at: Duration
    verb: str
    target: str
    path: Path
    lasts: Duration


def problems(data: dict[str, Any]) -> Iterator[Found]:
    """Every problem between fields.

    Arguments:
        data: the file's plain data.
    """
    yield from _empty(data)
    yield from _verbs(data)
    steps = sorted(_steps(data), key=lambda step: step.at)
    # A step that cannot be understood may be the very one that another step or a bound needs.
    all_understood = len(steps) == len(list(children(get(data, "steps"))))
    yield from _ends(data, steps)
    yield from _servers(data, steps)
    yield from _order(steps, all_understood)
    yield from _load(data)
    yield from _expect(data, steps if all_understood else None)
    yield from _against(data, steps)


def _empty(data: dict[str, Any]) -> Iterator[Found]:
    """A key without a value looks as if something would happen, or hold."""
    entries = list(children(get(data, "steps"), "steps"))
    for parent, group in [*entries, (("expect",), get(data, "expect"))]:
        for path, item in children(group, *parent):
            if item is None and path[-1] != "at":
                yield path, "there is no value; give one, or remove the key"


# ---------------------------------------------------------------------------------------------------- steps


def _verbs(data: dict[str, Any]) -> Iterator[Found]:
    for path, entry in children(get(data, "steps"), "steps"):
        if not isinstance(entry, dict):
            continue
        given = [key for key in entry if key in VERBS]
        if not given and set(entry) <= set(StepEntry.model_fields):
            yield path, f"the step does nothing; add what is to be done, one of {values.listed(VERBS)}"
        for verb in given[1:]:
            yield (*path, verb), f"a second verb beside `{given[0]}`; write a step of its own, with the same `at`"


def _steps(data: dict[str, Any]) -> Iterator[_Step]:
    for path, entry in children(get(data, "steps"), "steps"):
        given = [key for key in entry if key in VERBS] if isinstance(entry, dict) else []
        at = tried(durations.parse, get(entry, "at"))
        if len(given) != 1 or at is None:
            continue
        [verb] = given
        value, where = entry[verb], (*path, verb)
        if verb == "busy_cpu":
            lasts = tried(durations.parse, get(value, "duration"))
            yield _Step(path, at, verb, "", where, lasts or _AT_ONCE)
            continue
        if isinstance(value, dict):
            value, where = value.get("node"), (*where, "node")
        target = tried(host, value)
        if target is not None:
            yield _Step(path, at, verb, target, where, _AT_ONCE)


def _ends(data: dict[str, Any], steps: list[_Step]) -> Iterator[Found]:
    end = tried(durations.parse, get(data, "end"))
    if end is None:
        return
    for step in steps:
        if step.at >= end:
            yield (*step.entry, "at"), f"{step.at} is not before `end`, {end}, when measuring stops; make `end` later"
        elif step.at.ms + step.lasts.ms > end.ms:
            until = Duration(step.at.ms + step.lasts.ms)
            message = f"{step.lasts} from {step.at} is until {until}, after `end`, {end}; shorten it"
            yield (*step.path, "duration"), message


def _count_of_servers(data: dict[str, Any]) -> int | None:
    topology = data.get("topology", {})
    count = get(topology, "servers", Topology().servers)
    return count if isinstance(topology, dict) and isinstance(count, int) and not isinstance(count, bool) else None


def _servers(data: dict[str, Any], steps: list[_Step]) -> Iterator[Found]:
    count = _count_of_servers(data)
    if count is None:
        return
    for step in steps:
        name = tried(server_name, step.target)
        if name is None or int(name[1:]) <= count:
            continue
        if count == 0:
            yield step.path, f"there is no {name}, because topology.servers is 0; set it to at least {name[1:]}"
        else:
            known = f"servers are s1 to s{count}" if count > 1 else "only server is s1"
            yield step.path, f"there is no {name}; with topology.servers {count} the {known}"


def _order(steps: list[_Step], all_understood: bool) -> Iterator[Found]:
    open_steps: list[_Step] = []
    for step in steps:
        yield from _refused(step, open_steps)
        undone = _UNDOES.get(step.verb)
        if undone is not None:
            before = any(each.verb in undone and _maybe_same(each.target, step.target) for each in open_steps)
            if all_understood and not before:
                done = values.listed(dict.fromkeys(_DONE[verb] for verb in undone))
                yield step.path, f"{step.target} has not been {done} by then; put that step before it"
            open_steps = [each for each in open_steps if each.target != step.target or each.verb not in undone]
            continue
        if step.verb == "kill":
            open_steps = [each for each in open_steps if (each.target, each.verb) != (step.target, "freeze")]
        open_steps.append(step)


def _refused(step: _Step, open_steps: list[_Step]) -> Iterator[Found]:
    """What makes a step pointless, the first of it."""
    for each in open_steps:
        if each.target == step.target and each.verb in _REFUSED_AFTER.get(step.verb, ()):
            undo = next(verb for verb, undone in _UNDOES.items() if each.verb in undone)
            yield step.path, f"{step.target} has already been {_DONE[each.verb]} at {each.at}; {undo} it first"
            return


def _maybe_same(one: str, other: str) -> bool:
    """Whether two targets may be the same host: a role may be any director."""
    return one == other or (one in ROLES and other in DIRECTORS) or (one in DIRECTORS and other in ROLES)


# ------------------------------------------------------------------------------------- load, expect, against


def _more_than_nothing(value: object) -> bool | None:
    """Whether a number is above 0; None when it is none."""
    number = tried(lambda found: decimal(found, 0, float("inf")), value)
    return None if number is None else number > 0


def _load(data: dict[str, Any]) -> Iterator[Found]:
    if _count_of_servers(data) != 0:
        return
    for key, what in (("connections", "connect to"), ("rate", "request from")):
        if _more_than_nothing(get(get(data, "load"), key)):
            yield ("load", key), f"there is nothing to {what}, because topology.servers is 0; remove it or add servers"


def _expect(data: dict[str, Any], steps: list[_Step] | None) -> Iterator[Found]:
    expect, load = get(data, "expect"), data.get("load", {})
    if not isinstance(expect, dict):
        return
    if isinstance(load, dict):
        for key, source in (("outage", "rate"), ("requests_failed", "rate"), ("connections_kept", "connections")):
            if key in expect and _more_than_nothing(load.get(source, 0)) is False:
                yield ("expect", key), f"cannot be measured without load.{source}; add that or remove this"
        for key in ("udp_outage", "datagrams_lost"):
            if key in expect and load.get("udp") is None:
                yield ("expect", key), "cannot be measured without load.udp; add that or remove this"
    if steps is None:
        return
    verbs = {step.verb for step in steps}
    for key, needed in (("server_out", ("stop_server", "hang_server")), ("server_in", ("start_server",))):
        if key in expect and not verbs & set(needed):
            yield ("expect", key), f"cannot be measured without a step {values.listed(needed)}; add one or remove this"


def _against(data: dict[str, Any], steps: list[_Step]) -> Iterator[Found]:
    against = get(data, "against")
    named = [(path, name) for path, name in children(against, "against") if isinstance(name, str)]
    yield from twice(named, "{} is already at {}; remove one")
    on_directors = next((step for step in steps if step.target in (*ROLES, *DIRECTORS)), None)
    only_ours = next((step for step in steps if step.verb in OURS_ALONE), None)
    for path, name in named:
        if name == "keepalived" and only_ours is not None:
            verb, target = only_ours.verb, only_ours.target
            yield path, f"keepalived cannot {ASKED[verb]}, as `{verb}: {target}` asks; remove it"
        if name != "dns":
            continue
        if _count_of_servers(data) == 0:
            yield path, "DNS round robin needs servers to choose from, and topology.servers is 0; add some or remove it"
        elif on_directors is not None:
            verb, target = on_directors.verb, on_directors.target
            yield path, f"DNS round robin has no directors, so that `{verb}: {target}` cannot be done; remove it"
