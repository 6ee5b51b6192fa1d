"""A network namespace of one's own, for a while (unshare(2), setns(2)).

IPVS, addresses and sockets are per network namespace. Tests and the lab work in a fresh one, so that nothing of the
machine is touched; when the last process and socket have left it, the kernel takes it away with all that is in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

from ha_lvs.errors import PlatformError

_CLONE_NEWNET = 0x40000000
_OWN = "/proc/thread-self/ns/net"


@contextlib.contextmanager
def new_network_namespace() -> Iterator[None]:
    """Moves the calling thread into a new, empty network namespace and back at the end.

    Processes started meanwhile live in it, sockets opened meanwhile stay in it. Other threads are not moved.

    Errors: PlatformError when the kernel does not let us.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(_CLONE_NEWNET) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise PlatformError(f"no network namespace can be made here ({reason}): it needs CAP_SYS_ADMIN")
        try:
            yield
        finally:
            if libc.setns(home, _CLONE_NEWNET) != 0:
                reason = os.strerror(ctypes.get_errno())
                raise PlatformError(f"the way back to the first network namespace is barred ({reason})")
    finally:
        os.close(home)
