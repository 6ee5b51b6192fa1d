"""Checks of what services listen on: between its own fields, with the virtual IPs, and that no two take the same."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

from ha_lvs.config import lenient
from ha_lvs.config.crosscheck.view import View
from ha_lvs.config.lenient import Found, children, get, says, twice
from ha_lvs.config.schema.listen import Listen
from ha_lvs.config.schema.services import Service
from ha_lvs.config.tree import Path
from ha_lvs.model import AddressRange, IPAddress, PortRange, Protocol

_OF_GROUPS = ("ports", "protocol", "routed")
_SHOWN = 3


def problems(view: View) -> Iterator[Found]:
    """Every problem of those."""
    carried = sorted({vip.address for vip in view.vips}, key=_order)
    known: list[tuple[Path, Listen]] = []
    for path, service in children(get(view.data, "services"), "services"):
        at = (*path, "listen")
        if not isinstance(service, Service):
            yield from _fields(at, get(service, "listen"))
        listen = lenient.field(Service, service, "listen")
        if not isinstance(listen, Listen):
            continue
        if isinstance(service, Service) and not _plain(listen):
            yield from _fields(at, listen)
        known.append((at, listen))
        if listen.addresses and not listen.routed:
            yield from _virtual_ips(at, listen, carried)
    keys = [(at, listen.key) for at, listen in known if listen.key is not None]
    yield from twice(
        keys, "{} is already taken by {}; a service must have its own address, port and protocol, or mark", view.where
    )
    yield from _overlaps(view, known)


def _plain(listen: Listen) -> bool:
    return listen.traffic is None and bool(listen.addresses)


def _order(address: IPAddress) -> tuple[int, int]:
    return address.version, int(address)


def _fields(at: Path, raw: object) -> Iterator[Found]:
    listen = raw if isinstance(raw, Listen) else None
    if listen is None and not isinstance(raw, dict):
        return
    addresses, mark = get(raw, "addresses"), get(raw, "mark")
    if not addresses:
        if mark is None:
            yield at, "gives neither `addresses` nor a `mark`; write one like 10.9.0.100:80/tcp, or a list of addresses"
        else:
            for word in _OF_GROUPS:
                if says(raw, word):
                    yield (*at, word), f"`{word}` goes with `addresses` only: whose packets have the mark, is up to you"
        return
    if get(raw, "protocol") is None:
        yield at, "required key `protocol` is missing; add it, for example `protocol: tcp`"
    if says(raw, "family"):
        yield (*at, "family"), "the family is that of the addresses; remove it"
    ranges = lenient.field(Listen, raw, "addresses") or []
    families = {each.first.version for each in ranges}
    if len(families) > 1:
        yield (*at, "addresses"), "has addresses of IPv4 and of IPv6; make a service for each family"
    else:
        yield from _twice((*at, "addresses"), ranges)
    yield from _twice((*at, "ports"), lenient.field(Listen, raw, "ports") or [])


def _twice(at: Path, ranges: Sequence[AddressRange | PortRange]) -> Iterator[Found]:
    """A problem for every range that overlaps one before it."""
    for index, each in enumerate(ranges):
        for other in ranges[:index]:
            if int(other.first) <= int(each.last) and int(each.first) <= int(other.last):
                yield (*at, index), f"{each} is among {other} already; remove one"
                break


def _virtual_ips(at: Path, listen: Listen, carried: list[IPAddress]) -> Iterator[Found]:
    """Each address of a range must be a virtual IP: what is not held here is never delivered to IPVS."""
    for index, each in enumerate(listen.addresses):
        if each.first == each.last:
            missing, count = [each.first], int(not _holds(carried, each.first))
        else:
            low = bisect.bisect_left(carried, _order(each.first), key=_order)
            high = bisect.bisect_right(carried, _order(each.last), key=_order)
            count = int(each.last) - int(each.first) + 1 - (high - low)
            missing = _first_missing(each, carried[low:high])
        if not count:
            continue
        where = at if _plain(listen) else (*at, "addresses", index)
        if len(missing) == 1 and count == 1:
            near = [str(vip) for vip in carried if vip.version == each.first.version][:5]
            have = f" (there is {', '.join(near)})" if near else ""
            yield (
                where,
                f"{missing[0]} is not a virtual IP of any instance{have}; add it to virtual_ips of an instance, or"
                " listen on one of them",
            )
        else:
            named = ", ".join(map(str, missing))
            more = f" and {count - len(missing)} more" if count > len(missing) else ""
            yield (
                where,
                f"{named}{more} of {each} are not virtual IPs of any instance; add them to virtual_ips of an instance,"
                " write a smaller range, or say `routed: true` if the network is routed here and made local by you",
            )


def _holds(carried: list[IPAddress], address: IPAddress) -> bool:
    index = bisect.bisect_left(carried, _order(address), key=_order)
    return index < len(carried) and carried[index] == address


def _first_missing(each: AddressRange, there: list[IPAddress]) -> list[IPAddress]:
    have, step = set(there), 0
    found: list[IPAddress] = []
    while len(found) < _SHOWN and int(each.first) + step <= int(each.last):
        address = each.first + step
        if address not in have:
            found.append(address)
        step += 1
    return found


def _overlaps(view: View, known: list[tuple[Path, Listen]]) -> Iterator[Found]:
    """No packet may belong to two services where one of them has a mark from us: the kernel asks for marks first."""
    ranges = sorted(
        (
            (each.first.version, int(each.first), int(each.last), number)
            for number, (_, listen) in enumerate(known)
            for each in listen.addresses
        ),
        key=lambda each: each[:2],
    )
    starts = [each[:2] for each in ranges]
    told: set[tuple[int, int]] = set()
    for version, first, last, number in ranges:
        if known[number][1].traffic is None:
            continue
        low, high = bisect.bisect_left(starts, (version, first)), bisect.bisect_right(starts, (version, last))
        for _, _, _, other in ranges[low:high]:
            pair = (min(number, other), max(number, other))
            if number == other or pair in told or not _same(known[number][1], known[other][1]):
                continue
            told.add(pair)
            (where, _), (at, listen) = known[pair[0]], known[pair[1]]
            yield (
                at,
                f"{listen} has addresses and ports in common with {view.where(where)}; a packet can belong to one"
                " service only, so take them out of one",
            )
        # A plain service lies within the range; a wider range that begins before it is looked at in its own turn.


def _same(one: Listen, other: Listen) -> bool:
    if not set(one.protocol or Protocol) & set(other.protocol or Protocol):
        return False
    return any(a.first <= b.last and b.first <= a.last for a in _ports(one) for b in _ports(other))


def _ports(listen: Listen) -> list[PortRange]:
    every = not listen.ports or listen.ports[0].first == 0
    return [PortRange(0, 65535)] if every else listen.ports
