"""The kernel's table of IPVS connections as text: how many handshakes each real server has not finished.

Rules that hold here:
* Only rows of unfinished handshakes are taken apart: the table may have hundreds of thousands, and is read while there
  is trouble.
* What is no row of TCP is passed over, whatever it is; nothing raises.
* Persistence templates (client port 0) are no connections.

Source: net/netfilter/ipvs/ip_vs_conn.c `ip_vs_conn_seq_show`: protocol, client, virtual and destination address with
port, in hexadecimal, state, seconds left.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from ha_lvs.model import DestinationKey

MOST_WAITING = 256
"""So many handshakes of one server are known by name; more are only counted."""

LEAST_WAITING = 5
"""Servers with fewer unfinished handshakes are left out: there is nothing to say of them."""

LONGEST_ROW = 4096
"""More bytes than any row has: two of IPv6 and the data of a persistence engine."""

_ENTRY = re.compile(rb"\nTCP [^ \n]+ (?!0000 )[^ \n]+ [^ \n]+ [^ \n]+ ([^ \n]+ [^ \n]+) ")
_STATE = b" SYN_RECV "
_WAITING = re.compile(rb"TCP ([^ ]+ (?!0000 )[^ ]+ [^ ]+ [^ ]+) ([^ ]+ [^ ]+)")


@dataclass(frozen=True, slots=True)
class Handshakes:
    """The connections of one real server that are in the table.

    Arguments:
        entries: all of them.
        waiting: those of which the client has sent a SYN, and nothing after it has been seen (SYN_RECV).
        names: of the waiting ones, the first `MOST_WAITING` in the table's order.
    """

    entries: int
    waiting: int
    names: frozenset[bytes]


class TableReader:
    """Counts while the table is read, so that its text is never in memory as a whole.

    Attributes:
        rows: lines so far, the header included.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._rest = b""
        self._entries: Counter[bytes] = Counter()
        self._waiting: Counter[bytes] = Counter()
        self._names: dict[bytes, set[bytes]] = {}

    def feed(self, text: bytes) -> None:
        """Takes in the next piece of the table, wherever it begins and ends."""
        whole, newline, rest = text.rpartition(b"\n")
        if not newline:
            self._rest = (self._rest + text)[:LONGEST_ROW]
            return
        lines = b"\n" + self._rest + whole + newline
        self._rest = rest
        self.rows += lines.count(b"\n") - 1
        self._entries.update(_ENTRY.findall(lines))
        at = lines.find(_STATE)
        while at >= 0:
            self._note(lines[lines.rfind(b"\n", 0, at) + 1 : at])
            at = lines.find(_STATE, at + len(_STATE))

    def _note(self, row: bytes) -> None:
        """An unfinished handshake: a row up to its state."""
        found = _WAITING.fullmatch(row)
        if found is None:
            return
        name, server = found.groups()
        self._waiting[server] += 1
        names = self._names.setdefault(server, set())
        if len(names) < MOST_WAITING:
            names.add(name)

    def handshakes(self) -> dict[DestinationKey, Handshakes]:
        """Each server with at least `LEAST_WAITING` unfinished handshakes, by its address and port."""
        found = {}
        for server, waiting in self._waiting.items():
            key = _key(server) if waiting >= LEAST_WAITING else None
            if key is not None:
                found[key] = Handshakes(self._entries[server], waiting, frozenset(self._names[server]))
        return found


def _key(text: bytes) -> DestinationKey | None:
    """``0A090015 0050``, or an IPv6 address with all its digits."""
    address, _, port = text.partition(b" ")
    try:
        found = IPv4Address(int(address, 16)) if len(address) == 8 else IPv6Address(address.decode("ascii"))
        return DestinationKey(found, int(port, 16))
    except ValueError:
        return None
