"""The journal's native protocol: one datagram per entry, fields with any content.

Rules that hold here:
* Nothing blocks: an entry goes out at once or not at all, and `send` says which.
* The journal is used only when it really is what our stderr leads to (`JOURNAL_STREAM`).

Source: systemd, "Native Journal Protocol" (systemd.io/JOURNAL_NATIVE_PROTOCOL), and systemd.exec(5) on JOURNAL_STREAM.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import re
import socket
from collections.abc import Mapping

SOCKET_PATH = "/run/systemd/journal/socket"

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_TOO_LARGE = (errno.EMSGSIZE, errno.ENOBUFS)


def leads_to_journal(fd: int, stream: str | None) -> bool:
    """Whether a file descriptor is the stream that systemd connected to the journal.

    Arguments:
        fd: usually that of stderr.
        stream: the value of JOURNAL_STREAM, `device:inode`, or None where it is not set.
    """
    if not stream:
        return False
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"


def field_name(name: str) -> str:
    """The journal's name for one of our fields: `HA_LVS_` and the name in capitals, at most 64 characters."""
    return "HA_LVS_" + re.sub(r"[^A-Z0-9_]", "_", name.upper())[:57]


def encode(fields: Mapping[str, str]) -> bytes:
    """An entry's bytes.

    Arguments:
        fields: journal names to values; values with line breaks are sent in the form with a length.
    """
    parts = []
    for name, value in fields.items():
        data = value.encode("utf-8", errors="backslashreplace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


class Journal:
    """A connection-less way to the journal.

    Arguments:
        path: of the journal's socket.
    """

    def __init__(self, path: str = SOCKET_PATH) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def send(self, fields: Mapping[str, str]) -> bool:
        """Sends an entry if it can be done at once; says whether it went out."""
        data = encode(fields)
        try:
            self._socket.sendto(data, self._path)
        except OSError as problem:
            return problem.errno in _TOO_LARGE and self._send_file(data)
        return True

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def _send_file(self, data: bytes) -> bool:
        """Sends an entry that is too large for a datagram as a sealed memory file."""
        try:
            fd = os.memfd_create("ha-lvs-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError:
            return False
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]).tobytes())
            self._socket.sendmsg([], [rights], 0, self._path)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True
