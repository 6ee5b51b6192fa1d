"""The nftables table that gives packets the firewall marks of our services: as text for `nft -f -`, and back from
`nft -j list table`. Pure.

What is in the table, and why:
* One map for each family from (address, protocol, port) to the mark. A packet takes one look-up, whatever the number
  of services, and ranges are looked up as such (a "pipapo" set, since Linux 5.6).
* A chain at prerouting, before IPVS at input. Mangle's priority is after conntrack's defragmentation, and before any
  translation of addresses.
* A chain at output, so that the director itself reaches its services. Only for addresses that are its own at that
  moment: where a range includes real servers, their health checks must not go through the service.
* Later fragments have no ports, match nothing, and need no mark: IPVS sees the packet put together, with the mark of
  the first.

Elements of a map must not overlap: within a service they are merged (`Traffic.merged`), of two services that overlap
the kernel refuses the whole with "File exists".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from ha_lvs.errors import WireError
from ha_lvs.model import (
    MOST_PORT,
    AddressRange,
    PortRange,
    Protocol,
    ServiceKey,
    Traffic,
)

FAMILY = "inet"
TABLE = "ha-lvs-marks"

_REMOVAL = f"add table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"
"""Takes the table away whether or not it is there; `destroy` is too new (Linux 6.3)."""
_MAPS = {4: ("ipv4", "ip", "ipv4_addr"), 6: ("ipv6", "ip6", "ipv6_addr")}
"""By family: a map's name, the payload protocol and the type of an address."""
_CHAINS = ("prerouting", "output")
_PRIORITY = -150
_RTN_LOCAL = 2
"""linux/rtnetlink.h; `nft -n` gives the number of "local"."""
_ONLY_LOCAL = {"output": "fib daddr type local "}
_EXPLANATION = "made by ha-lvs, which writes over changes"

_ByNumber = {str(each.number): each for each in Protocol} | {each.value: each for each in Protocol}

Box = tuple[AddressRange, Protocol, PortRange]


@dataclass(frozen=True, slots=True)
class MarkTable:
    """The table as it was found.

    Arguments:
        traffic: what gets the mark of which service; as `Traffic.merged`.
        strays: what in it is none of ours, or what of ours is missing, for people; empty when all is well.
        shape: everything of it but the elements of the maps, in one text that compares.
    """

    traffic: Mapping[ServiceKey, Traffic] = field(default_factory=dict)
    strays: str = ""
    shape: str = ""


def ruleset(traffic: Mapping[ServiceKey, Traffic]) -> str:
    """One transaction that replaces the table, or takes it away where nothing is to be marked.

    Arguments:
        traffic: by services that are identified by a mark.
    """
    if not traffic:
        return _REMOVAL
    lines = [f"table {FAMILY} {TABLE} {{", f'\tcomment "{_EXPLANATION}"']
    for family, (name, _, kind) in _MAPS.items():
        elements = [
            f"{address} . {protocol.number} . {ports} : {key.mark}"
            for key, each in traffic.items()
            if key.family == family
            for address, protocol, ports in _boxes(each.merged())
        ]
        lines += [f"\tmap {name} {{", f"\t\ttype {kind} . inet_proto . inet_service : mark", "\t\tflags interval"]
        if elements:
            lines += ["\t\telements = {", ",\n".join(f"\t\t\t{each}" for each in elements), "\t\t}"]
        lines.append("\t}")
    for chain in _CHAINS:
        lines += [f"\tchain {chain} {{", f"\t\ttype filter hook {chain} priority {_PRIORITY}; policy accept;"]
        lines += (
            f"\t\t{_ONLY_LOCAL.get(chain, '')}meta mark set {payload} daddr . meta l4proto . th dport map @{name}"
            for name, payload, _ in _MAPS.values()
        )
        lines.append("\t}")
    return _REMOVAL + "\n".join([*lines, "}", ""])


def parse(text: str, shapes: Iterable[str] = ()) -> MarkTable:
    """The table out of what `nft -j list table` says.

    Arguments:
        shapes: such as our table may have besides the one that is known here: a later nft may word it otherwise.

    Errors: WireError when it is no such JSON.
    """
    try:
        objects = [each for each in json.loads(text)["nftables"] if "metainfo" not in each]
        shape = json.dumps([_essence(each) for each in objects], sort_keys=True)
        elements = [(each["map"]["name"], each["map"].get("elem", [])) for each in objects if "map" in each]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise WireError("nft-json", f"{type(problem).__name__}: {problem}") from problem
    boxes: dict[ServiceKey, list[Box]] = {}
    strays: list[str] = []
    for name, found in elements:
        family = next((family for family, (ours, _, _) in _MAPS.items() if ours == name), 0)
        for element in found if isinstance(found, list) else [found]:
            try:
                mark, box = _element(element, family)
                boxes.setdefault(ServiceKey.of_mark(mark, family), []).append(box)
            except (ValueError, KeyError, TypeError, AttributeError):
                strays.append(f"an element of {name} is none of ours")
    traffic: dict[ServiceKey, Traffic] = {}
    for key, some in boxes.items():
        whole = _whole(some)
        if whole is None:
            strays.append(f"{key} is on other traffic than a service's")
        else:
            traffic[key] = whole
    if shape != _OUR_SHAPE and shape not in shapes:
        strays.append("its maps, chains or rules are not as we make them")
    if not boxes:
        strays.append("it is empty")
    return MarkTable(traffic, "; ".join(dict.fromkeys(strays)), shape)


def _boxes(traffic: Traffic) -> Iterator[Box]:
    for address in traffic.addresses:
        for protocol in traffic.protocols:
            for ports in traffic.ports or (PortRange(0, MOST_PORT),):
                yield address, protocol, ports


def _whole(boxes: list[Box]) -> Traffic | None:
    """The traffic that these boxes are all of; None when there is none."""
    addresses, protocols, ports = (tuple(dict.fromkeys(each)) for each in zip(*boxes, strict=True))
    traffic = Traffic(protocols, addresses, ports).merged()
    found = set(boxes)
    return traffic if len(found) == len(boxes) and found == set(_boxes(traffic)) else None


def _element(element: Any, family: int) -> tuple[int, Box]:
    key, mark = element
    address, protocol, ports = key["concat"]
    return int(mark), (_addresses(address, family), _ByNumber[str(protocol)], _ports(ports))


def _addresses(value: Any, family: int) -> AddressRange:
    if isinstance(value, str):
        first = last = ip_address(value)
    elif "prefix" in value:
        network = ip_network((value["prefix"]["addr"], value["prefix"]["len"]))
        first, last = network[0], network[-1]
    else:
        first, last = (ip_address(each) for each in value["range"])
    if not first.version == last.version == family:
        raise ValueError(f"{value} in a map of IPv{family}")
    return AddressRange(first, last)


def _ports(value: Any) -> PortRange:
    if isinstance(value, int):
        return PortRange(value, value)
    if "prefix" in value:  # a range that is one, as some versions show it
        first, length = int(value["prefix"]["addr"]), int(value["prefix"]["len"])
        return PortRange(first, first + (1 << (16 - length)) - 1)
    first, last = value["range"]
    return PortRange(int(first), int(last))


def _essence(found: dict[str, Any]) -> list[Any]:
    """What of an object of the table stays the same as long as nobody changes it, without elements of maps."""
    ((kind, values),) = found.items()
    unchanging = {name: value for name, value in values.items() if name not in ("handle", "elem", "comment", "index")}
    return [kind, _in_one_wording(unchanging)]


def _in_one_wording(value: Any) -> Any:
    """A single flag is a list or a word, by the version of nft."""
    if isinstance(value, list):
        return [_in_one_wording(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: [inner] if name == "flags" and isinstance(inner, str) else _in_one_wording(inner)
        for name, inner in value.items()
    }


def _our_shape() -> str:
    ours: dict[str, Any] = {"family": FAMILY, "table": TABLE}
    objects: list[dict[str, Any]] = [{"table": {"family": FAMILY, "name": TABLE}}]
    for name, _, kind in _MAPS.values():
        types = [kind, "inet_proto", "inet_service"]
        objects.append({"map": {**ours, "name": name, "type": types, "map": "mark", "flags": "interval"}})
    objects += (
        {"chain": {**ours, "name": each, "type": "filter", "hook": each, "prio": _PRIORITY, "policy": "accept"}}
        for each in _CHAINS
    )
    local = {"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": _RTN_LOCAL}}
    for chain in _CHAINS:
        for name, payload, _ in _MAPS.values():
            key = [
                {"payload": {"protocol": payload, "field": "daddr"}},
                {"meta": {"key": "l4proto"}},
                {"payload": {"protocol": "th", "field": "dport"}},
            ]
            value = {"map": {"key": {"concat": key}, "data": f"@{name}"}}
            mangle = {"mangle": {"key": {"meta": {"key": "mark"}}, "value": value}}
            expression = [local, mangle] if chain in _ONLY_LOCAL else [mangle]
            objects.append({"rule": {**ours, "chain": chain, "expr": expression}})
    return json.dumps([_essence(each) for each in objects], sort_keys=True)


_OUR_SHAPE = _our_shape()
