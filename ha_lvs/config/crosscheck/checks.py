"""Checks within a health check, and of it with the service and the server that it is for."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from ha_lvs.config import lenient, networks
from ha_lvs.config.derived import usual_check
from ha_lvs.config.lenient import Found, get, says
from ha_lvs.config.schema.checks import Body, Check, Query, Via
from ha_lvs.config.schema.listen import Listen
from ha_lvs.config.tree import Path
from ha_lvs.model import CheckType, Forwarding, IPAddress, IPNetwork, Protocol

_WEB = (CheckType.HTTP, CheckType.HTTPS)
_TLS = (CheckType.HTTPS, CheckType.SMTP, CheckType.GRPC)
_STREAMS = (CheckType.TCP, CheckType.HALF_OPEN, *_WEB, CheckType.SMTP, CheckType.GRPC)
_PORTLESS = (CheckType.NONE, CheckType.PING, CheckType.EXEC, CheckType.FILE)
_LOCAL = (CheckType.NONE, CheckType.EXEC, CheckType.FILE)
_EVERYWHERE = ("type", "interval", "fast_interval", "timeout", "rise", "fall")

_KINDS: dict[str, tuple[CheckType, ...]] = {
    "method": _WEB,
    "path": _WEB,
    "host": _WEB,
    "headers": _WEB,
    "status": _WEB,
    "body": _WEB,
    "tls": _TLS,
    "query": (CheckType.DNS,),
    "send": (CheckType.UDP,),
    "expect": (CheckType.UDP,),
    "hello": (CheckType.SMTP,),
    "service": (CheckType.GRPC,),
    "command": (CheckType.EXEC,),
    "user": (CheckType.EXEC,),
    "weight": (CheckType.EXEC,),
    "file": (CheckType.FILE,),
}
"""Which kinds of check a key is for; what is missing is for all."""

_NEEDED = {CheckType.DNS: "query", CheckType.EXEC: "command", CheckType.FILE: "file"}


def problems(path: Path, check: object, listen: Listen | None) -> Iterator[Found]:
    """Every problem within a check, and of it with its service."""
    if check is None or not isinstance(check, (dict, Check)):
        return
    for word in ("all", "any"):
        if get(check, word) is not None:
            yield from _several(path, word, check, listen)
            return
    yield from _single(path, check, listen)


def single(check: object) -> list[Any]:
    """The checks that one stands for: itself, or several."""
    for word in ("all", "any"):
        several = get(check, word)
        if isinstance(several, list):
            return several
    return [check]


def probed(
    at: Path,
    raw: object,
    address: IPAddress | IPNetwork,
    port: int | None,
    forwarding: Forwarding | None,
    listen: Listen,
) -> Iterator[Found]:
    """Problems of a check with a server.

    Arguments:
        at: the server.
        raw: its check, as far as it was understood, or None for the default.
        address, port, forwarding: of the server; port 0 for every port, None where unknown. Of servers that are found
            on the network, their network.
    """
    for check in [None] if raw is None else single(raw):
        kind = lenient.field(Check, check, "type") if check is not None else None
        if kind is None and get(check, "type") is not None:
            continue
        kind = kind or usual_check(listen.protocol)
        if not port and get(check, "port") is None and kind not in _PORTLESS:
            yield (
                at,
                f"there is no single port of {address} to probe; give the check a port, like `check: {{type:"
                f" {kind.value}, port: 80}}`, or write `check: {{type: none}}`",
            )
        if check is None:
            continue
        source = lenient.field(Check, check, "source")
        target = lenient.field(Check, check, "address") or address
        if source is not None and source.version != target.version:
            ours, theirs = networks.family_name(source.version), networks.family_name(target.version)
            yield at, f"its check comes from {source}, which is {ours}, and goes to {target}, which is {theirs}"
        if lenient.field(Check, check, "via") is Via.VIRTUAL:
            yield from _path(at, address, forwarding, listen)


def _path(at: Path, address: IPAddress | IPNetwork, forwarding: Forwarding | None, listen: Listen) -> Iterator[Found]:
    if forwarding is Forwarding.NAT:
        yield (
            at,
            f"{address} is reached by nat, so that clients' packets go to its own address: a check `via: virtual`"
            " is for dr and tun; remove `via`",
        )
    if listen.version != address.version:
        theirs, ours = networks.family_name(address.version), networks.family_name(listen.version)
        yield (
            at,
            f"{address} is {theirs} and the service is {ours}: a check `via: virtual` needs both of one family;"
            " remove `via`, or give an address of the service's family",
        )


def _several(path: Path, word: str, check: Any, listen: Listen | None) -> Iterator[Found]:
    several = get(check, word)
    other = {"all": "any", "any": "all"}[word]
    if get(check, other) is not None:
        yield (*path, other), f"`{other}` cannot stand beside `{word}`; write one of them"
    for key in Check.model_fields:
        if key not in ("all", "any") and says(check, key):
            yield (*path, key), f"`{key}` cannot stand beside `{word}`; write it into each of its checks"
    if not isinstance(several, list):
        return
    if not several:
        yield (*path, word), f"`{word}` is empty; list checks, like [{{type: tcp}}, {{type: ping}}]"
    for index, each in enumerate(several):
        at = (*path, word, index)
        nested = [inner for inner in ("all", "any") if get(each, inner) is not None]
        if nested:
            yield (*at, nested[0]), f"`{nested[0]}` cannot stand within `{word}`; list the checks themselves"
        elif lenient.field(Check, each, "type") is CheckType.NONE:
            yield (*at, "type"), f"none checks nothing; remove it from `{word}`"
        elif isinstance(each, (dict, Check)):
            yield from _single(at, each, listen)


def _single(path: Path, check: Any, listen: Listen | None) -> Iterator[Found]:
    interval, timeout = lenient.field(Check, check, "interval"), lenient.field(Check, check, "timeout")
    hint = "" if says(check, "interval") else " (the default)"
    if interval is not None and timeout is not None and timeout > interval:
        yield (
            (*path, "timeout"),
            f"timeout {timeout} is longer than the interval {interval}{hint}; shorten it or lengthen the interval",
        )
    fast = lenient.field(Check, check, "fast_interval")
    if interval is not None and fast is not None and fast > interval:
        yield (*path, "fast_interval"), f"{fast} is longer than the interval {interval}{hint}; shorten it"
    kind = lenient.field(Check, check, "type")
    if kind is not None or get(check, "type") is None:
        yield from _keys(path, check, kind)
        if kind is not None:
            yield from _kind(path, check, kind, listen)


def _keys(path: Path, check: Any, kind: CheckType | None) -> Iterator[Found]:
    for word, kinds in _KINDS.items():
        if says(check, word) and kind not in kinds:
            named = _listed([each.value for each in kinds])
            yield (*path, word), f"`{word}` is for {named} checks only; add type: {kinds[0].value} or remove it"
    if kind in _LOCAL:
        assert kind is not None
        for word in ("source", "interface", "mark", "via"):
            if get(check, word) is not None and says(check, word):
                yield (*path, word), f"`{word}` is for probes that send packets, not for {kind.value}; remove it"
    if kind in (CheckType.PING, CheckType.FILE) and get(check, "port") is not None:
        assert kind is not None
        yield (*path, "port"), f"{kind.value} has no port; remove it"


def _kind(path: Path, check: Any, kind: CheckType, listen: Listen | None) -> Iterator[Found]:
    needed = _NEEDED.get(kind)
    if needed is not None and get(check, needed) is None:
        yield (*path, "type"), f"{_named(kind)} check needs `{needed}`; add it"
    if kind is CheckType.HTTPS and says(check, "tls") and get(check, "tls") in (None, False):
        yield (*path, "tls"), "https is spoken in TLS; remove it, or write `type: http`"
    if kind is CheckType.DNS and isinstance(get(check, "query"), (dict, Query)):
        yield from _expected(path, get(check, "query"))
    via = lenient.field(Check, check, "via")
    if via is Via.VIRTUAL and kind not in _LOCAL:
        yield from _virtual(path, check, kind, listen)
    if get(check, "body") is not None and get(check, "method") == "HEAD":
        yield (*path, "body"), "the answer to HEAD has no body; remove it, or write another method"
    body = get(check, "body")
    if isinstance(body, (dict, Body)) and not any(get(body, word) for word in ("contains", "matches", "sha256")):
        yield (*path, "body"), "it says nothing; write `contains`, `matches` or `sha256`, or remove it"
    key = None if listen is None else listen.key
    if key is None or key.mark or key.protocol is Protocol.TCP or kind not in _STREAMS:
        return
    if get(check, "port") is None:
        yield (
            (*path, "type"),
            f"{_named(kind)} check cannot use the {key.protocol.value} port of the service; give the check a port"
            " of its own, or type: none",
        )


def _expected(path: Path, query: Any) -> Iterator[Found]:
    """What is expected of a DNS server, as far as it can be told here that it never comes."""
    kind = lenient.field(Query, query, "type")
    version = {"A": 4, "AAAA": 6}.get(kind)
    if version is None:
        return
    for text in lenient.field(Query, query, "expect") or ():
        try:
            fine = ip_address(text).version == version
        except ValueError:
            fine = False
        if not fine:
            family = networks.family_name(version)
            yield (*path, "query", "expect"), f"an {kind} record is an {family} address, not '{text}'; correct it"


def _virtual(path: Path, check: Any, kind: CheckType, listen: Listen | None) -> Iterator[Found]:
    at = (*path, "via")
    if kind is not CheckType.HALF_OPEN:
        yield at, f"{_named(kind)} check cannot go via the virtual IP; write type: {CheckType.HALF_OPEN.value}"
    if get(check, "address") is not None:
        yield (*path, "address"), "a check via the virtual IP goes to the server of that address; remove it"
    if listen is not None and (listen.key is None or listen.key.mark):
        yield at, "the service has no single virtual IP that a check could go to; remove it"


def _named(kind: CheckType) -> str:
    """A kind with its article."""
    an = kind in (CheckType.HTTP, CheckType.HTTPS, CheckType.SMTP, CheckType.EXEC)
    return f"{'an' if an else 'a'} {kind.value}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
