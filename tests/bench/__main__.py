"""`python -m tests.bench [GROUP ...]`: measures, prints a table, writes results.json; fails beyond a bound."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console

from tests.bench import election, figures, health, ipvs

GROUPS = {"election": election.figures, "ipvs": ipvs.figures, "health": health.figures}


def main() -> int:
    """Runs the groups that were asked for; all of them by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Speed beside the incumbent's.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"out of {', '.join(GROUPS)}; all by default")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench"), help="directory for results.json")
    parser.add_argument("-n", "--repetitions", type=int, default=10, help="of each measurement (default 10)")
    parser.add_argument("--only", default="", help="only measurements whose name contains this")
    options = parser.parse_args()
    unknown = [group for group in options.groups if group not in GROUPS]
    if unknown:
        parser.error(f"there is no group {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    began = time.monotonic()
    found: list[figures.Figure] = []
    for group in options.groups or GROUPS:
        for figure in GROUPS[group](options.output.absolute(), options.repetitions, options.only, console):
            found.append(figure)
            figures.write(found, options.output)  # whatever happens later, this was measured
    figures.show(found, console)
    exceeded = [figure for figure in found if not figure.holds]
    console.print(f"{len(found)} figures in {time.monotonic() - began:.0f} s, in {options.output / 'results.json'}")
    for figure in exceeded:
        console.print(f"[bold red]bound exceeded:[/] {figure.figure}: {figure.value:g} > {figure.bound:g}")
    return 1 if exceeded or not found else 0


if __name__ == "__main__":
    sys.exit(main())
