"""Where something is measured: on this machine's kernel where that will do, in a guest elsewhere: a look."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ha_lvs.drill.lab import kernel, vm
from ha_lvs.errors import LabError

NATIVE = "native"


def choose(output: Path, *, needs_ipvs: bool = True) -> str:
    """The kind of lab: ``native``, or a kind of guest.

    Arguments:
        output: an absolute path; what is measured writes there.
        needs_ipvs: without, every kernel will do.

    Errors: LabError when root is needed, no guest boots here, or a guest could not write to `output`.
    """
    if not needs_ipvs or kernel.has_ipvs():
        if os.geteuid() != 0:
            raise LabError("network namespaces need root: run it as root or with sudo")
        return NATIVE
    writable = Path.cwd() / "build"
    if not output.is_relative_to(writable):
        raise LabError(f"this kernel has no IPVS, and a guest can write below {writable} only: not to {output}")
    return vm.choose(Path.cwd()).value


def inside(lab: str, module: str, arguments: Sequence[str]) -> list[str]:
    """The command that runs a module of Python in a kind of lab, with these arguments."""
    run = [sys.executable, "-m", module, *arguments]
    return run if lab == NATIVE else [sys.executable, "-m", "ha_lvs.drill.lab", "run", "--vm", "--", *run]
