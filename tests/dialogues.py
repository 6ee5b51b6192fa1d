"""Dialogues of health checks without a network: what comes of parts of bytes, and how much is kept of them."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import strategies as st

from ha_lvs.health.speech.dialogue import Dialogue, Outcome


def converse(dialogue: Dialogue, parts: Iterable[bytes]) -> Outcome:
    """How a dialogue ends that hears these parts, behind which the server closes the connection."""
    for part in parts:
        if part:
            reply = dialogue.hear(part)
            if reply.outcome is not None:
                return reply.outcome
    return dialogue.ended()


@st.composite
def parts_of(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    """The bytes in parts: each alone, or cut at some places."""
    if draw(st.booleans()):
        return [whole[at : at + 1] for at in range(len(whole))]
    cuts = sorted(draw(st.sets(st.integers(0, len(whole)), max_size=8)))
    return [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


def kept_bytes(thing: object, seen: set[int] | None = None) -> int:
    """How many bytes and characters an object of ours holds, in whatever is within it."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    if isinstance(thing, (bytes, bytearray, str)):
        return len(thing)
    if isinstance(thing, dict):
        return sum(kept_bytes(each, seen) for each in (*thing, *thing.values()))
    if isinstance(thing, (list, tuple, set, frozenset)):
        return len(thing) + sum(kept_bytes(each, seen) for each in thing)
    if not type(thing).__module__.startswith("ha_lvs."):
        return 0
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    within = [getattr(thing, name) for name in slots if hasattr(thing, name)]
    return sum(kept_bytes(each, seen) for each in (*within, *getattr(thing, "__dict__", {}).values()))
