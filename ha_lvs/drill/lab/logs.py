"""Keeping logs: what ran in a lab wrote them into a directory that goes away with it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path


def keep_logs(logs: Mapping[str, Path], directory: Path) -> dict[str, Path]:
    """Copies logs to DIRECTORY/NAME.log; what was never written is left out.

    Arguments:
        logs: by name.
        directory: where to; made where it is missing.

    Returns: the copies by name.
    """
    directory.mkdir(parents=True, exist_ok=True)
    kept = {name: directory / f"{name}.log" for name, log in logs.items() if log.exists()}
    for name, copy in kept.items():
        shutil.copyfile(logs[name], copy)
    return kept
