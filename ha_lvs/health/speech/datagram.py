"""What the answer to a datagram must begin with. Pure, bytes to values."""

from __future__ import annotations

from ha_lvs.health.speech.dialogue import Outcome

_SHOWN_BYTES = 16


def judge(answer: bytes, expected: bytes | None) -> Outcome:
    """What an answer means.

    Arguments:
        answer: its payload.
        expected: what it must begin with; None or empty for anything.
    """
    if expected is None or answer.startswith(expected):
        return Outcome(True, "answered")
    return Outcome(False, f"wrong answer: {shown(answer)}")


def shown(answer: bytes) -> str:
    """The first bytes of an answer, fit for a log: as text where they are text, else in hexadecimal."""
    first = answer[:_SHOWN_BYTES]
    more = "..." if len(answer) > len(first) else ""
    if not first:
        return "empty"
    if all(0x20 <= byte < 0x7F for byte in first):
        return repr(first.decode("ascii")) + more
    return first.hex(" ") + more
