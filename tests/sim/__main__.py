"""`python -m tests.sim N` lives seeds 0 to N - 1; `python -m tests.sim --seed K` replays one and shows each action."""

from __future__ import annotations

import argparse
import sys
import time

from tests.sim.referee import Violation
from tests.sim.torment import live

EVERY = 100


def main() -> int:
    """The exit code: 1 when a seed breaks a rule."""
    parser = argparse.ArgumentParser(description="elections under random faults, each following from its seed")
    parser.add_argument("seeds", nargs="?", type=int, default=2000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="replay this one, showing what each director does")
    options = parser.parse_args()
    if options.seed is not None:
        try:
            print(live(options.seed, trace=True))
        except Violation as problem:
            print(f"FAILED: {problem}")
            return 1
        return 0
    began, failed, promotions, worst = time.monotonic(), 0, 0, 0.0
    for done, seed in enumerate(range(options.first, options.first + options.seeds), start=1):
        try:
            outcome = live(seed)
            promotions += outcome.promotions
            worst = max(worst, outcome.longest_both_active_s / outcome.both_active_bound_s)
        except Violation as problem:
            failed += 1
            print(f"\nFAILED: {problem}", flush=True)
        if done % EVERY == 0 or done == options.seeds:
            took_s = time.monotonic() - began
            print(f"\r{done} seeds, {failed} failed, {promotions} promotions, {took_s:.0f} s", end="", flush=True)
    print(f"\nlongest time that two were active and heard each other: {worst:.0%} of what it may be")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
