"""Files that are replaced as a whole: whoever reads one finds the old content or the new one."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: Path, text: str, mode: int = 0o640) -> None:
    """Writes a file beside the old one and puts it in its place. It is not synced to disk.

    Arguments:
        path: of the file; its directory exists.
        text: all that is in it.
        mode: its permissions, whatever the umask.

    Errors: OSError; the old file is then as it was.
    """
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as stream:
        os.fchmod(fd, mode)
        stream.write(text)
    beside.replace(path)
