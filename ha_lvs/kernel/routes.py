"""Virtual routes and rules: there while the instance is active.

Rules that hold here:
* Addresses come before routes and go after them: a route can need one for its source or to reach its gateway.
* Rules come after the routes that they lead to, and go before them.
* Nobody else's route or rule is replaced or removed; ours carry protocol 112 (see `wire.rtnetlink.routes`).
* Neither has a lifetime in the kernel. Those of a director that died without help stay until it is cleaned up, or
  until the address or interface goes that they need; without the virtual IPs they attract nobody's packets.
* All requests are bytes prepared at the start. What is there already is no failure, so `hold` can be called any number
  of times; it costs one exchange, without a look at what is there.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from ha_lvs.kernel import links, netlink
from ha_lvs.model import VirtualRoute, VirtualRule, VrrpInstance
from ha_lvs.wire import rtnetlink

_FAMILIES = {4: rtnetlink.AF_INET, 6: rtnetlink.AF_INET6}
_GONE = (errno.ESRCH, errno.ENOENT, errno.ENODEV)
_LIST_SEQUENCE = 1
_HINTS = {
    errno.EEXIST: "another route to it has the same metric; give this one a metric of its own",
    errno.ENETUNREACH: "its gateway is on no network of this machine",
    errno.EHOSTUNREACH: "its gateway is on no network of this machine",
    errno.ENETDOWN: "its interface is down",
    errno.EINVAL: "its source must be an address, and its gateway a neighbour, of this machine",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A virtual route or rule that the kernel refused to add or remove, and why."""

    item: VirtualRoute | VirtualRule
    errno: int

    def __str__(self) -> str:
        kind = "route" if isinstance(self.item, VirtualRoute) else "rule"
        hint = _HINTS.get(self.errno, "") if kind == "route" else ""
        return f"{kind} {self.item}: {os.strerror(self.errno)}" + (f" ({hint})" if hint else "")


class HeldRoutes:
    """The virtual routes and rules of one instance on this machine.

    Arguments:
        instance: names them.

    Errors: PlatformError when one of the interfaces does not exist.
    """

    def __init__(self, instance: VrrpInstance) -> None:
        self._items: tuple[VirtualRoute | VirtualRule, ...] = (*instance.routes, *instance.rules)
        self._indexes: dict[str, int] = {}
        self._ours: set[VirtualRoute | VirtualRule] = set()  # found to be ours when they were there already
        self._sock = netlink.open_route()
        try:
            self._prepare()
        except BaseException:
            self._sock.close()
            raise

    def _prepare(self) -> None:
        """Builds the requests; sequence number i + 1 belongs to item i."""
        names = {item.interface for item in self._items if isinstance(item, VirtualRoute) and item.interface}
        self._indexes = links.indexes_of(names, self._indexes)
        numbered = list(enumerate(self._items, start=1))
        self._hold = rtnetlink.batches([self._add(item, sequence) for sequence, item in numbered])
        self._drop = rtnetlink.batches([self._delete(item, sequence) for sequence, item in reversed(numbered)])

    def _add(self, item: VirtualRoute | VirtualRule, sequence: int) -> bytes:
        if isinstance(item, VirtualRule):
            return rtnetlink.add_rule(item, sequence)
        return rtnetlink.add_route(item, self._index_for(item), sequence)

    def _delete(self, item: VirtualRoute | VirtualRule, sequence: int) -> bytes:
        if isinstance(item, VirtualRule):
            return rtnetlink.delete_rule(item, sequence)
        return rtnetlink.delete_route(item, self._index_for(item), sequence)

    def _index_for(self, route: VirtualRoute) -> int | None:
        return self._indexes[route.interface] if route.interface else None

    def hold(self) -> list[Failure]:
        """Adds what is missing. What failed comes back."""
        failures = self._request(self._hold)
        if self._moved(failures):
            failures = self._request(self._hold)
        return [failure for failure in failures if failure.errno != errno.EEXIST or self._is_taken(failure.item)]

    def _is_taken(self, item: VirtualRoute | VirtualRule) -> bool:
        """Whether what exists already is somebody else's, and not what is wanted."""
        if isinstance(item, VirtualRule) or item.to.version == 4 or item in self._ours:
            return False  # the kernel says so only of one that does the very same
        self._ours.update(self.present())
        return item not in self._ours

    def drop(self) -> list[Failure]:
        """Removes what is there and ours. What is not there is no failure."""
        self._ours.clear()
        failures = self._request(self._drop)
        if self._moved(failures):
            failures = self._request(self._drop)
        return [failure for failure in failures if failure.errno not in _GONE]

    def _moved(self, failures: list[Failure]) -> bool:
        """Whether an interface was made anew under its name; the requests then have its new index."""
        if all(failure.errno not in (errno.ENODEV, errno.ESRCH) for failure in failures):
            return False
        before = self._indexes
        self._prepare()
        return self._indexes != before

    def present(self) -> list[VirtualRoute | VirtualRule]:
        """Those of the routes and rules that are there now and ours; empty when the kernel does not list them."""
        there: set[tuple[object, ...]] = set()
        families: set[int] = {item.to.version for item in self._items if isinstance(item, VirtualRoute)}
        for route in (route for family in families for route in _list_routes(family)):
            there |= {_key(route, route.index), _key(route, None)}
        rules: set[VirtualRule] = set()
        for family in {item.family for item in self._items if isinstance(item, VirtualRule)}:
            rules |= _list_rules(family)
        return [
            item
            for item in self._items
            if (item in rules if isinstance(item, VirtualRule) else _key(item, self._index_for(item)) in there)
        ]

    def _request(self, batches: tuple[rtnetlink.Batch, ...]) -> list[Failure]:
        """Sends prepared requests; a socket that fails is a failure of all of them, never an exception."""
        try:
            refused = netlink.exchange(self._sock, batches)
        except OSError as problem:
            return [Failure(item, problem.errno or errno.EIO) for item in self._items]
        return [Failure(self._items[sequence - 1], number) for sequence, number in sorted(refused.items())]

    def close(self) -> None:
        """Closes the socket; routes and rules stay as they are."""
        self._sock.close()


def _key(route: VirtualRoute | rtnetlink.Route, index: int | None) -> tuple[object, ...]:
    """What makes a route the one that is wanted; without an interface, by whichever it leaves."""
    metric = route.metric or (rtnetlink.IPV6_METRIC if route.to.version == 6 else 0)
    return (route.to, route.via, route.source, route.table, metric, index)


def _list_routes(family: int) -> list[rtnetlink.Route]:
    """Our routes of a family."""
    try:
        found = netlink.list_all(rtnetlink.list_routes(_FAMILIES[family], _LIST_SEQUENCE), strict=True)
    except OSError:
        return []
    return [item for item in found if isinstance(item, rtnetlink.Route) and item.protocol == rtnetlink.PROTOCOL]


def _list_rules(family: int) -> set[VirtualRule]:
    """Our rules of a family."""
    try:
        found = netlink.list_all(rtnetlink.list_rules(_FAMILIES[family], _LIST_SEQUENCE))
    except OSError:
        return set()
    return {item.rule for item in found if isinstance(item, rtnetlink.Rule) and item.protocol == rtnetlink.PROTOCOL}
