"""Durations as operators write them: `500ms`, `1s`, `1.5s`, `5m`, `1h`.

Rules that hold here:
* A duration always carries its unit. A bare number is refused: in some tools it means seconds, in others
  milliseconds, and the difference is an outage.
* Values are whole milliseconds kept as an integer, so that 40.95s is 4095 centiseconds and nothing near it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

_MS_PER_UNIT = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_SHAPE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|s|m|h)")
_REMEDY = "write it with a unit: 500ms, 1s, 5m or 1h"

PATTERN = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"
"""The shape of a duration, for the JSON Schema."""


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A length of time.

    Arguments:
        ms: in whole milliseconds, not negative.
    """

    ms: int

    @property
    def seconds(self) -> float:
        """In seconds."""
        return self.ms / 1000

    def __str__(self) -> str:
        """The shortest exact spelling; `parse` gives the same duration back."""
        for unit in ("h", "m", "s"):
            if self.ms and self.ms % _MS_PER_UNIT[unit] == 0:
                return f"{self.ms // _MS_PER_UNIT[unit]}{unit}"
        if self.ms > 1000:
            return f"{Decimal(self.ms) / 1000}s"
        return f"{self.ms}ms"


def parse(value: object) -> Duration:
    """The duration that the operator wrote.

    Arguments:
        value: what stands in the file, text if it is right.

    Errors: ValueError with a sentence that names the value and the remedy.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"{value} has no unit; {_REMEDY} (did you mean {value}s or {value}ms?)")
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is not a duration; {_REMEDY}")
    match = _SHAPE.fullmatch(value)
    if match is None:
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
            raise ValueError(f"{_shown(value)} has no unit; {_REMEDY} (did you mean {value[:40]}s?)")
        raise ValueError(f"{_shown(value)} is not a duration; {_REMEDY}")
    ms = Decimal(match[1]) * _MS_PER_UNIT[match[2]]
    if ms != int(ms):
        raise ValueError(f"{value} is finer than a millisecond; write it in whole milliseconds")
    return Duration(int(ms))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
