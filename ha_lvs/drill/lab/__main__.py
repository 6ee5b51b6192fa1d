"""`python -m ha_lvs.drill.lab run [--vm] -- COMMAND...`: natively where the kernel has IPVS, in a guest elsewhere."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ha_lvs.drill.lab import kernel, vm
from ha_lvs.errors import LabError


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit code is the command's."""
    parser = argparse.ArgumentParser(prog="python -m ha_lvs.drill.lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="run a command where the kernel has IPVS, as root, in this directory")
    run.add_argument("--vm", action="store_true", help="in a guest even where the running kernel would do")
    run.add_argument("--timeout", type=float, default=1800.0, metavar="SECONDS", help="hard limit of a guest")
    run.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    try:
        if not options.vm and os.geteuid() == 0 and kernel.has_ipvs():
            os.execvp(options.command[0], options.command)
        return vm.run(options.command, project=Path.cwd(), timeout_s=options.timeout)
    except LabError as problem:
        print(f"lab: {problem}", file=sys.stderr)
        return problem.exit_code


if __name__ == "__main__":
    sys.exit(main())
