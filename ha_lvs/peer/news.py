"""What a director thinks of endpoints, as it travels to its peer: bodies of messages <-> values. Pure.

    verdicts          {n, begins, ends, up, down, gone}     message on the link; the last three are digests in base64
    verdicts wanted   {}                                    please begin again

Rules that hold here:
* An endpoint is a digest of 8 bytes, and a message has no more of them than can be taken in without keeping the loop.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ha_lvs.model import ServerState

KIND, WANTED = "verdicts", "verdicts wanted"
DIGEST_BYTES = 8
AT_ONCE = 1000
"""So many travel in one message."""
MOST_AT_ONCE = 4 * AT_ONCE
"""So many are taken in, for each of the three states."""
MOST_NUMBER = 1 << 62

_FIELDS = {"up": ServerState.UP, "down": ServerState.DOWN, "gone": ServerState.UNKNOWN}
_LONGEST = 4 * ((MOST_AT_ONCE * DIGEST_BYTES + 2) // 3)

Digest = bytes


@dataclass(frozen=True, slots=True)
class News:
    """One message.

    Arguments:
        number: of the message on its link.
        states: verdicts by digest; unknown for what is not probed any more.
        begins, ends: whether it is the first, and the last, of a whole table.
    """

    number: int
    states: Mapping[Digest, ServerState]
    begins: bool = False
    ends: bool = False

    def body(self) -> dict[str, Any]:
        """It as a message's body."""
        found: dict[str, Any] = {"n": self.number, "begins": self.begins, "ends": self.ends}
        for name, state in _FIELDS.items():
            if joined := b"".join(digest for digest, each in self.states.items() if each is state):
                found[name] = base64.b64encode(joined).decode()
        return found


def news(body: Mapping[str, Any]) -> News:
    """The news in a message's body.

    Errors: ValueError, KeyError or TypeError when it is none.
    """
    number = body["n"]
    if type(number) is not int or not 0 < number < MOST_NUMBER:
        raise ValueError("no number of a message")
    states: dict[Digest, ServerState] = {}
    for name, state in _FIELDS.items():
        text = body.get(name, "")
        if not isinstance(text, str) or len(text) > _LONGEST:
            raise ValueError(f"no digests, or too many: {name}")
        joined = base64.b64decode(text, validate=True)
        if len(joined) % DIGEST_BYTES:
            raise ValueError(f"a digest of another length: {name}")
        states |= {joined[at : at + DIGEST_BYTES]: state for at in range(0, len(joined), DIGEST_BYTES)}
    return News(number, states, body.get("begins") is True, body.get("ends") is True)
