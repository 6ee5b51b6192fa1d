"""One elector after another without a gap: how the new one asks, and how the old one answers, over their own socket.

The order, which no crash on either side may turn into harm:

1. The new elector opens its sockets, prepares its bytes, makes itself real-time. Until then the old one goes on as if
   nothing were; if the new one dies, nothing has happened.
2. The new one says `Ready`.
3. The old one answers with its `Estate` as its last act: it neither resigns nor lets go of an address, and ends. The
   estate is a file in memory whose descriptor goes over the socket, so it may be as large as it has to be.
4. The new one goes on from there: its timers are the old one's, since both read the same clock.

If the old one dies in between, the socket tells; the new one then starts afresh and adopts what is on the interfaces.
If the old one is silent, it may be stuck and hold the addresses: the new one ends, and the guardian decides.
"""

from __future__ import annotations

import os
import select
import socket

from ha_lvs.daemon import memory
from ha_lvs.daemon.channel import Channel, Estate, Ready
from ha_lvs.errors import ChannelError, PlatformError

_MARK = b"estate"
ANSWER_WITHIN_S = 5.0
"""A predecessor that runs answers within one turn of its loop."""


def take_over(predecessor: Channel) -> Estate | None:
    """Asks the predecessor for what it knows and waits for that; None when it is dead.

    Errors: PlatformError when it does not answer; ChannelError when what it says cannot be understood.
    """
    if not predecessor.send(Ready()):
        return None
    if not select.select([predecessor], [], [], ANSWER_WITHIN_S)[0]:
        raise PlatformError(f"the elector that is to be succeeded has not answered for {ANSWER_WITHIN_S:.0f} s")
    data, fds, _, _ = socket.recv_fds(predecessor.sock, len(_MARK), 1)
    if not data:
        return None
    if data != _MARK or not fds:
        raise ChannelError("the elector that is to be succeeded has left something else than its estate")
    return memory.read(Estate, fds[0])


def is_asked_for(successor: Channel) -> bool:
    """Whether a successor is ready. One that died before it was is forgotten."""
    return any(isinstance(frame, Ready) for frame in successor.receive())


def bequeath(successor: Channel, estate: Estate) -> bool:
    """Hands over; says whether it was taken. If so, the caller must end without another word."""
    try:
        left = memory.write("estate", estate)
    except OSError:
        return False
    try:
        socket.send_fds(successor.sock, [_MARK], [left])
    except OSError:
        return False
    finally:
        os.close(left)
    return True
