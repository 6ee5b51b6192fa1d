"""A server's weight as a program or a file says it: a share of the configured one. Pure, text to values."""

from __future__ import annotations

import re

MOST_PERCENT = 1000
_NUMBER = re.compile(r"([0-9]{1,4})[\t ]*%?")
_SHOWN = 40


def percent(text: str) -> int:
    """The share in percent, from 0 to `MOST_PERCENT`: ``50``, ``50%``; white space around it is ignored.

    Errors: ValueError with what was found, for people.
    """
    word = text.strip()
    match = _NUMBER.fullmatch(word)
    if match is None or int(match[1]) > MOST_PERCENT:
        found = repr(word[:_SHOWN]) + ("..." if len(word) > _SHOWN else "") if word else "nothing"
        raise ValueError(f"{found} is no weight; write a whole number of percent from 0 to {MOST_PERCENT}")
    return int(match[1])
