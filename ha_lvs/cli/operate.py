"""Verbs that act on a director of this machine: `reload` asks the running one, `cleanup` tidies up after a dead one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ha_lvs.cli.options import RuntimeDir
from ha_lvs.daemon.control import DEFAULT_RUNTIME_DIR, GUARDIAN_SOCKET_NAME, query

RELOAD_TIMEOUT_S = 120.0


def register(app: typer.Typer) -> None:
    """Adds the verbs of this module."""
    app.command()(reload)
    app.command()(cleanup)


def reload(
    as_json: Annotated[bool, typer.Option("--json", help="The whole answer, for programs.")] = False,
    runtime_dir: RuntimeDir = DEFAULT_RUNTIME_DIR,
) -> None:
    """Let the running director follow its config file as it is now.

    Services, checks, connection sync and logging are applied at once: no role changes, no virtual IP moves, and in IPVS
    only what differs is touched. A change of the node or of its instances is not applied, nor anything else with it: it
    needs a restart. A file with problems changes nothing.

    Exit code: 0 applied, or nothing changed; 1 a restart is needed, or it failed; 2 the file has problems.
    """
    found = query(runtime_dir, "reload", RELOAD_TIMEOUT_S, name=GUARDIAN_SOCKET_NAME)
    exit_code = int(found.pop("exit_code"))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        raise typer.Exit(exit_code)
    if found["applied"]:
        for change in found["changed"]:
            typer.echo(change)
        typer.echo("applied" if found["changed"] else "applied: nothing that concerns this node")
    elif found["restart_needed"]:
        for change in found["restart_needed"]:
            typer.echo(f"needs a restart: {change}", err=True)
        typer.echo(
            "nothing was applied; restart the standby first, then the active (systemctl restart ha-lvs)", err=True
        )
    elif not found["problems"]:
        typer.echo("nothing changed")
    problems = found["problems"]
    for problem in problems:
        typer.echo(problem if exit_code == 2 else f"ha-lvs: {problem}", err=True)
    if exit_code == 2:
        typer.echo(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}; nothing was applied", err=True)
    raise typer.Exit(exit_code)


def cleanup(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="A config file whose virtual IPs go, too.")
    ] = None,
    node: Annotated[str | None, typer.Option(help="Which node of FILE this is; by default the host's name.")] = None,
    services: Annotated[
        bool, typer.Option("--services", help="Remove our services and sync daemons from IPVS, too: to uninstall.")
    ] = False,
    runtime_dir: RuntimeDir = DEFAULT_RUNTIME_DIR,
) -> None:
    """Withdraw the virtual IPs that a director left behind when it was killed.

    What it held is noted in the runtime directory; FILE is for what that note does not know. Where a virtual IP was
    there the peer is told, so that it takes over at once. It can be done any number of times, but not while a director
    runs. It leaves IPVS alone: connections go on being counted, and the next start adopts the services. Only with
    --services those go that a director with this runtime directory has made; services of others stay.
    """
    from ha_lvs.daemon.cleanup import clean

    done = clean(runtime_dir, config, node, services=services)
    from ha_lvs.observe import logs  # after what cannot wait

    logs.configure("info", by="cleanup")
    for event in done.events:
        logs.from_record(event, by="cleanup")
    for warning in done.warnings:
        typer.echo(f"ha-lvs: {warning}", err=True)
    for each in done.withdrawn:
        typer.echo(str(each))
    for step in done.steps:
        typer.echo(str(step))
    for failure in done.failures:
        typer.echo(f"ha-lvs: {failure}", err=True)
    if done.failures:
        raise typer.Exit(1)
