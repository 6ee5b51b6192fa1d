"""Regular expressions that cannot hold up the engine.

Rules that hold here:
* Matching by `re` can take longer than the universe has been there. It gives way to signals, though, so a timer that
  counts the CPU time of this process ends it: `LIMIT_S` and what it takes until `re` looks up, some tenths of a second
  at worst for texts of 64 KiB. A busy machine does not bring it nearer.
* Only the main thread gets signals. The prober has no other; elsewhere an expression takes as long as it takes.
"""

from __future__ import annotations

import re
import signal
import threading
from types import FrameType

LIMIT_S = 0.1


class _TakesTooLong(Exception):
    pass


class Pattern:
    """An expression, compiled once.

    Arguments:
        expression: as the config allowed it; empty for one that is never applied.
    """

    __slots__ = ("_compiled",)

    def __init__(self, expression: str) -> None:
        self._compiled = re.compile(expression)

    def search(self, text: str) -> bool | None:
        """Whether it matches somewhere in the text; None where finding that out takes over `LIMIT_S` of CPU time."""
        if threading.current_thread() is not threading.main_thread():
            return self._compiled.search(text) is not None
        before = signal.signal(signal.SIGVTALRM, _give_up)
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
            try:
                return self._compiled.search(text) is not None
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        except _TakesTooLong:
            return None
        finally:
            signal.signal(signal.SIGVTALRM, before)


def _give_up(_signal: int, _frame: FrameType | None) -> None:
    raise _TakesTooLong
