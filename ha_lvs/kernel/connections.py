"""The kernel's table of IPVS connections, read with bounds.

Rules that hold here:
* The kernel gives a page at a time, and all but the newest (not Linux 6.1) look for the place of each page from the
  table's beginning: the time grows with the square of the table. So there is a bound on rows and one on time, and
  whoever reads again and again reads as few rows as the time allowed the last time: two readings compare only when they
  are of the same rows.
* It takes long enough to be done in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from ha_lvs.model import DestinationKey
from ha_lvs.wire.conn_table import Handshakes, TableReader

TABLE = "/proc/thread-self/net/ip_vs_conn"
MOST_ROWS = 200_000
LEAST_ROWS = 1000
WITHIN_S = 0.5
_PIECE = 1 << 16
_AT_ONCE = 1 << 18


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read.

    Arguments:
        servers: the handshakes of the servers that have unfinished ones.
        rows: lines that were read.
        whole: whether that is all of the table.
        late: whether it was given up because of the time.
        took_s: how long it took, in seconds.
    """

    servers: dict[DestinationKey, Handshakes]
    rows: int
    whole: bool
    late: bool
    took_s: float


def read(most_rows: int, clock: Callable[[], float], *, within_s: float = WITHIN_S, table: str = TABLE) -> Reading:
    """Reads the table as far as the bounds allow, more or less.

    Arguments:
        most_rows: about so many lines at most.
        clock: monotonic seconds.
        within_s: for so long, in seconds.
        table: the file.

    Errors: OSError when there is none.
    """
    began = clock()
    reader, pieces, held = TableReader(), [], 0
    whole = late = False
    fd = os.open(table, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while not (whole or late) and reader.rows < most_rows:
            piece = os.read(fd, _PIECE)
            pieces.append(piece)
            held += len(piece)
            whole, late = not piece, clock() - began > within_s
            if whole or late or held >= _AT_ONCE:
                reader.feed(b"".join(pieces))
                pieces, held = [], 0
    finally:
        os.close(fd)
    return Reading(reader.handshakes(), reader.rows, whole, late and not whole, clock() - began)
