"""Prints `SHA-256  NAME` of every wheel in a directory: `wheels.py DIRECTORY`. Runs on the controller."""

import hashlib
import sys
from pathlib import Path

for wheel in sorted(Path(sys.argv[1]).glob("*.whl")):
    print(f"{hashlib.sha256(wheel.read_bytes()).hexdigest()}  {wheel.name}")
