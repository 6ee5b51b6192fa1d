"""Options before the verb."""

from __future__ import annotations

from typing import Annotated

import typer

from ha_lvs import __version__


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ha-lvs {__version__}")
        raise typer.Exit


def top(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the verb."""
