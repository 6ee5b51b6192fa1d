"""What one process leaves to another in memory: JSON in an anonymous file whose descriptor is inherited or sent.

A pipe would hold only so much and needs somebody at its other end; a file on disk would have to be tidied up, and hold
keys. Imports stay light: the elector reads its part of the config so.
"""

from __future__ import annotations

import json
import os
from typing import Any, TypeVar

from ha_lvs.daemon.shapes import from_json, to_json
from ha_lvs.errors import ChannelError

T = TypeVar("T")


def write(name: str, value: object) -> int:
    """Writes a value down, to be read from its beginning.

    Arguments:
        name: of the file, for whoever looks at /proc.
        value: out of `ha_lvs.model` or the frames, or JSON.

    Returns the descriptor, which is the caller's to close and is not inherited unless asked for.
    Errors: OSError.
    """
    fd = os.memfd_create(f"ha-lvs-{name}", os.MFD_CLOEXEC)
    try:
        with os.fdopen(fd, "wb", closefd=False) as stream:
            stream.write(json.dumps(to_json(value)).encode())
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def load(fd: int) -> Any:
    """The JSON in a descriptor, which is closed.

    Errors: OSError; ValueError when it is none.
    """
    with os.fdopen(fd, "rb") as stream:
        if stream.seekable():
            stream.seek(0)  # it shares its position with whoever wrote it, who may be of an earlier release
        return json.load(stream)


def read(kind: type[T], fd: int) -> T:
    """The value in a descriptor, which is closed.

    Errors: OSError; ChannelError when it is none of that kind.
    """
    try:
        data = load(fd)
    except ValueError as problem:
        raise ChannelError(f"what was left in memory is no {kind.__name__}: {problem}") from problem
    return from_json(kind, data)
