"""Verbs about files: `check` and `schema`. Neither needs privileges or touches the system."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ha_lvs.config.loader import load

ConfigFile = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The config file.")]


def register(app: typer.Typer) -> None:
    """Adds the verbs of this module."""
    app.command()(check)
    app.command()(schema)


def check(config: ConfigFile) -> None:
    """Check a config file and show every problem at once, as file:line:column: path: message."""
    found = load(config)
    typer.echo(f"{config}: fine")
    typer.echo(f"cluster {found.cluster}: nodes {', '.join(found.nodes)}")
    for name, instance in found.instances.items():
        addresses = ", ".join(str(entry.address) for entry in instance.virtual_ips)
        typer.echo(f"instance {name}: router id {instance.router_id} on {instance.interface}, {addresses}")
    for service in found.services:
        servers = len(service.servers)
        typer.echo(
            f"service {service.name}: {service.listen}, {service.scheduler.name}, {service.forwarding.value},"
            f" {servers} server{'' if servers == 1 else 's'}"
        )
    typer.echo(f"digest {found.digest}")


def schema(
    scenario: Annotated[bool, typer.Option("--scenario", help="That of a drill's scenario file instead.")] = False,
) -> None:
    """Print the JSON Schema of the config file."""
    if scenario:
        # Drills are imported only where they are asked for: the other verbs start sooner.
        from ha_lvs.drill.scenario import json_schema
    else:
        from ha_lvs.config.schema import json_schema
    typer.echo(json.dumps(json_schema(), indent=2))
