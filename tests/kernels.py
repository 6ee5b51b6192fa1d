"""What tests of a kernel's IPVS share."""

from __future__ import annotations

from ha_lvs.errors import PlatformError
from ha_lvs.kernel.ipvs import Ipvs


def why_no_ipvs() -> str:
    """Why IPVS cannot be used here, in the words for the operator; empty when it can."""
    try:
        with Ipvs():
            return ""
    except PlatformError as problem:
        return str(problem)
