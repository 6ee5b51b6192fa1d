"""The verb `catalog`: what our log entries mean, in the form that systemd's journal reads."""

from __future__ import annotations

from typing import Annotated

import typer

from ha_lvs.observe.catalog import render


def register(app: typer.Typer) -> None:
    """Adds the verb of this module."""
    app.command()(catalog)


def catalog(
    support: Annotated[
        str, typer.Option("--support", metavar="TEXT", help="Where your operators find help, for each entry to name.")
    ] = "",
) -> None:
    """Print the journal's message catalog: what each log entry means, for `journalctl -x`.

    It belongs into /usr/local/lib/systemd/catalog/ha-lvs.catalog; then run `journalctl --update-catalog`.
    """
    if not support.isprintable():
        raise typer.BadParameter("one line of text, please", param_hint="--support")
    typer.echo(render(support), nl=False)
