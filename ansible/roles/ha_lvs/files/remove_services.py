"""Removes from the kernel what the director left there: services and sync daemons that are ours, and nobody else's.

`remove_services.py RUNTIME_DIR`, with the Python of a release, while no director runs. Prints each step; exit code 1
when the kernel refused one.
"""

import sys
from pathlib import Path

from ha_lvs.daemon.pool import OWNERSHIP_FILE
from ha_lvs.kernel.ipvs import Ipvs
from ha_lvs.kernel.ownership import Ownership
from ha_lvs.plan.desired import KernelState
from ha_lvs.plan.diff import diff

ownership = Ownership(Path(sys.argv[1]) / OWNERSHIP_FILE)
if ownership.problem:
    sys.exit(ownership.problem)
if not ownership.services and not ownership.sync:
    sys.exit(0)
with Ipvs() as ipvs:
    steps = diff(KernelState(), ipvs.read(), ownership.services, sync_owned=ownership.sync)
    failures = ipvs.apply(steps) if steps else []
for step in steps:
    print(step)
for failure in failures:
    print(failure, file=sys.stderr)
sys.exit(1 if failures else 0)
