"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RuntimeDir = Annotated[
    Path, typer.Option("--runtime-dir", metavar="DIR", help="As given to `ha-lvs run`: its sockets and state.")
]
