"""The verb `run`: a director in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ha_lvs.daemon.control import DEFAULT_RUNTIME_DIR


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("run")(run)


def run(
    config: Annotated[Path, typer.Option("-c", "--config", help="The config file, the same on both directors.")],
    node: Annotated[str | None, typer.Option(help="Which node this is; by default the host's name.")] = None,
    runtime_dir: Annotated[Path, typer.Option(help="For sockets and state.")] = DEFAULT_RUNTIME_DIR,
    probe: Annotated[bool, typer.Option("--probe", hidden=True, help="Only say whether it could follow.")] = False,
    resume_fd: Annotated[int | None, typer.Option("--resume-fd", hidden=True, help="For `ha-lvs restart`.")] = None,
) -> None:
    """Run a director in the foreground until SIGTERM.

    SIGTERM hands what is active here over to the other director and ends it. SIGHUP does what `ha-lvs reload` does.
    """
    if probe:
        from ha_lvs.daemon.restarting import answer_probe

        typer.echo(answer_probe(config, node))
        return
    from ha_lvs.daemon import guardian

    sys.exit(guardian.run(config, node, runtime_dir, resume_fd))
