"""Kernel modules: IPVS is loaded when it is there to be loaded, and asked for in words when it is not."""

from __future__ import annotations

import subprocess

from ha_lvs.errors import PlatformError
from ha_lvs.kernel.ipvs import Ipvs

_MODPROBE_TIMEOUT_S = 20


def require_ipvs() -> None:
    """Makes sure that this kernel has IPVS and lets us use it.

    Errors: PlatformError that says what to load or which capability to grant.
    """
    try:
        with Ipvs():
            return
    except PlatformError:
        _modprobe("ip_vs")
    with Ipvs():
        return


def _modprobe(module: str) -> None:
    try:
        subprocess.run(
            ["modprobe", "--quiet", module], check=False, timeout=_MODPROBE_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return  # no modprobe, or one that hangs: whoever called looks again and says what is missing
