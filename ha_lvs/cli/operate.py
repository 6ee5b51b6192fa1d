"""Verbs that act on a director of this machine.

`reload`, `restart`, `handover`, `standby` and `enable` ask the running one; `cleanup` tidies up after a dead one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ha_lvs.cli.options import RuntimeDir
from ha_lvs.daemon.control import DEFAULT_RUNTIME_DIR, GUARDIAN_SOCKET_NAME, query
from ha_lvs.errors import PlatformError

RELOAD_TIMEOUT_S = 120.0
RESTART_TIMEOUT_S = 180.0
"""From the moment at which the new program begins; the probe before that has its own limit."""
REQUEST_TIMEOUT_S = 60.0
"""A hand-over takes milliseconds; it waits for its turn where a reload is under way."""
ASK_EVERY_S = 0.1

Json = Annotated[bool, typer.Option("--json", help="The whole answer, for programs.")]
Instance = Annotated[
    str, typer.Argument(metavar="[INSTANCE]", help="Name of an instance of the config file; all without.")
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Resign even where no other director takes the role: the addresses may be nowhere."),
]


def register(app: typer.Typer) -> None:
    """Adds the verbs of this module."""
    for verb in (reload, restart, handover, standby, enable, cleanup):
        app.command()(verb)


def reload(
    as_json: Json = False,
    runtime_dir: RuntimeDir = DEFAULT_RUNTIME_DIR,
) -> None:
    """Let the running director follow its config file as it is now.

    All of it is applied at once, or nothing: services, checks, connection sync, keys, and the instances too, for which
    a new elector takes over from the old one. No role changes because of it, no virtual IP moves unless the file moves
    it, and in IPVS only what differs is touched. A file with problems changes nothing.

    Exit code: 0 applied, or nothing changed; 1 it failed, or needs a restart; 2 the file has problems.
    """
    found = query(runtime_dir, "reload", RELOAD_TIMEOUT_S, name=GUARDIAN_SOCKET_NAME)
    exit_code = int(found.pop("exit_code"))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        raise typer.Exit(exit_code)
    _tell_outcome(found, exit_code)
    raise typer.Exit(exit_code)


def _tell_outcome(found: Mapping[str, Any], exit_code: int) -> None:
    """What became of a changed config file, for people."""
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


def restart(as_json: Json = False, runtime_dir: RuntimeDir = DEFAULT_RUNTIME_DIR) -> None:
    """Replace the running program by the one that is installed now, without giving up a role.

    For an upgrade, once the new release is in place of the old one (where `current` points to it). The new program is
    tried first, with the config file; where it cannot run, nothing happens. Then every process is replaced under the
    same process id: a new elector takes over from the old one between two advertisements, so the other director sees
    nothing. The config file is followed as it is by then.

    Exit code: 0 restarted; 1 refused, or not all of it worked, which is told.
    """
    asked = query(runtime_dir, "restart", RESTART_TIMEOUT_S, name=GUARDIAN_SOCKET_NAME)
    if not asked["accepted"]:
        if as_json:
            typer.echo(json.dumps(asked, indent=2))
        else:
            for problem in asked["problems"]:
                typer.echo(f"ha-lvs: {problem}", err=True)
            typer.echo("nothing was touched; the director goes on as it was", err=True)
        raise typer.Exit(1)
    life = _next_life(runtime_dir, asked)
    outcome = life["outcome"]
    exit_code = 1 if outcome["problems"] or outcome["restart_needed"] else 0
    if as_json:
        typer.echo(json.dumps(life, indent=2))
        raise typer.Exit(exit_code)
    for change in outcome["changed"]:
        typer.echo(change)
    for problem in (*outcome["problems"], *outcome["restart_needed"]):
        typer.echo(f"ha-lvs: {problem}", err=True)
    if life["generation"] == asked["generation"]:
        typer.echo("nothing was touched; the director goes on as it was", err=True)
    elif exit_code == 0:
        typer.echo(f"restarted: version {life['before']} -> {life['version']}; roles and addresses were kept")
    raise typer.Exit(exit_code)


def _next_life(runtime_dir: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the program after a restart says once it has done its part.

    Errors: PlatformError when there is none, or it does not come to an end.
    """
    until = time.monotonic() + RESTART_TIMEOUT_S
    while time.monotonic() < until:
        time.sleep(ASK_EVERY_S)
        if not Path(f"/proc/{asked['pid']}").exists():
            raise PlatformError("the director has ended in the middle of its restart: see its log")
        try:
            life = query(runtime_dir, "life", name=GUARDIAN_SOCKET_NAME)
        except PlatformError:
            continue  # between two programs nobody listens
        if life["outcome"] is not None:
            return life
    raise PlatformError(f"the director has not told within {RESTART_TIMEOUT_S:.0f} s that it is restarted: see its log")


def handover(
    instance: Instance = "",
    force: Force = False,
    as_json: Json = False,
    runtime_dir: RuntimeDir = DEFAULT_RUNTIME_DIR,
) -> None:
    """Give the active role to the other director, which takes the addresses before this one lets go.

    Without INSTANCE, everything that is active here. This director stays a standby and does not take the role back
    because of its priority until `ha-lvs enable`; it does so when the other one fails. Where no other director is ready
    this one stays active, unless --force says that it shall resign all the same.

    Exit code: 0 handed over, or nothing was active here; 1 not handed over; 2 there is no such instance.
    """
    _ask("handover", instance, force=force, as_json=as_json, runtime_dir=runtime_dir)


def standby(
    instance: Instance = "",
    force: Force = False,
    as_json: Json = False,
    runtime_dir: RuntimeDir = DEFAULT_RUNTIME_DIR,
) -> None:
    """Hand over what is active here, then stay out of the election until `ha-lvs enable`: for work on this machine.

    A director on standby does not take over even when the other one fails. It stays on standby when it is reloaded or
    restarted, until the machine itself is; `ha-lvs status` shows it.

    Exit code: 0 on standby; 1 not, or not wholly; 2 there is no such instance.
    """
    _ask("standby", instance, force=force, as_json=as_json, runtime_dir=runtime_dir)


def enable(instance: Instance = "", as_json: Json = False, runtime_dir: RuntimeDir = DEFAULT_RUNTIME_DIR) -> None:
    """Take part in the election again after `ha-lvs standby` or `ha-lvs handover`.

    With the higher priority this director becomes active again, if the config file lets it preempt.

    Exit code: 0 enabled; 1 failed; 2 there is no such instance.
    """
    _ask("enable", instance, force=False, as_json=as_json, runtime_dir=runtime_dir)


def _ask(verb: str, instance: str, *, force: bool, as_json: bool, runtime_dir: Path) -> None:
    wanted = {"instance": instance, "force": force}
    found = query(runtime_dir, verb, REQUEST_TIMEOUT_S, name=GUARDIAN_SOCKET_NAME, arguments=wanted)
    exit_code = int(found.pop("exit_code"))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        raise typer.Exit(exit_code)
    if found["ok"]:
        typer.echo(found["detail"])
    else:
        typer.echo(f"ha-lvs: {found['detail']}", err=True)
    for name, standing in found["instances"].items():
        if instance in ("", name):
            typer.echo(_standing(name, standing))
    raise typer.Exit(exit_code)


def _standing(name: str, standing: Mapping[str, Any]) -> str:
    """Who is active now, in a sentence."""
    if standing["role"] == "active":
        return f"{name}: this director is active"
    state = "on standby" if standing["standby"] else standing["role"]
    if standing["barred"] and not standing["standby"]:
        state += f" ({standing['barred']})"
    active = f"{standing['peer']} is active" if standing["peer"] else "no other director has been heard"
    return f"{name}: this director is {state}; {active}"


def cleanup(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="A config file whose virtual IPs go, too.")
    ] = None,
    node: Annotated[str | None, typer.Option(help="Which node of FILE this is; by default the host's name.")] = None,
    services: Annotated[
        bool, typer.Option("--services", help="Remove our services, marks and sync daemons, too: to uninstall.")
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
    journal_only = logs.to_the_journal()  # as ExecStopPost= of the unit
    for event in done.for_the_journal() if journal_only else done.events:
        logs.from_record(event, by="cleanup")
    if journal_only:
        raise typer.Exit(1 if done.failures else 0)
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
