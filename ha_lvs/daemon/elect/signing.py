"""What the election needs of authentication at run time: one counter for all that this process signs, one verifier."""

from __future__ import annotations

import time
from collections.abc import Callable

from ha_lvs.model import Authentication, ElectorPart
from ha_lvs.wire.auth import Verifier


def increasing() -> Callable[[], int]:
    """A counter that only ever grows: nanoseconds of the wall clock, or one more than the last where that stands still.

    The wall clock, because it goes on across restarts and reboots; whoever resigns in the place of a process that died
    has a higher count than that. A clock that is set back while the process runs does no harm.
    """
    last = 0

    def counter() -> int:
        nonlocal last
        last = max(last + 1, time.time_ns())
        return last

    return counter


def verifier_for(part: ElectorPart) -> Verifier | None:
    """The one verifier of this node's instances; None where there is no authentication."""
    found: Authentication | None = next((each.authentication for each in part.instances if each.authentication), None)
    return None if found is None else Verifier(found)
