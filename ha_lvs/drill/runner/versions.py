"""Versions of what is on trial, for the report."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Collection

import ha_lvs

_PATH = "/usr/sbin:/usr/local/sbin:/sbin:/usr/bin:/usr/local/bin:/bin"
_ASKED = {"keepalived": "--version", "nginx": "-v", "dnsmasq": "--version"}


def versions(contenders: Collection[str], servers: int) -> dict[str, str]:
    """By name; ``missing`` for a program that is not installed.

    Arguments:
        contenders: names of those on trial.
        servers: how many real servers there are.
    """
    programs = ["keepalived"] if "keepalived" in contenders else []
    programs += ["nginx"] if servers else []
    programs += ["dnsmasq"] if "dns" in contenders else []
    return {
        "ha-lvs": ha_lvs.__version__,
        "python": platform.python_version(),
        **{program: _version(program) for program in programs},
    }


def _version(program: str) -> str:
    path = shutil.which(program, path=_PATH)
    if path is None:
        return "missing"
    said = subprocess.run([path, _ASKED[program]], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
    return found[0] if found else "unknown"
