"""Verbs that look and change nothing: `status` asks the running director, `plan` compares a file with the kernel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ha_lvs.cli.options import RuntimeDir
from ha_lvs.daemon.control import DEFAULT_RUNTIME_DIR, query
from ha_lvs.errors import PlatformError
from ha_lvs.model import DirectorPart, Endpoint, ServerState, VirtualService

if TYPE_CHECKING:
    from ha_lvs.plan.steps import Step

HEALTH_TIMEOUT_S = 3.0


def register(app: typer.Typer) -> None:
    """Adds the verbs of this module."""
    app.command()(status)
    app.command()(plan)


def status(
    as_json: Annotated[bool, typer.Option("--json", help="The whole answer, for programs.")] = False,
    peer: Annotated[
        bool, typer.Option("--peer", help="Both directors side by side; the other one is asked over the peer link.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Every service, however many; else of many only those with something to see.")
    ] = False,
    runtime_dir: RuntimeDir = DEFAULT_RUNTIME_DIR,
) -> None:
    """Show the roles, services and servers of the director that runs here."""
    if peer:
        _status_of_both(runtime_dir, as_json)
        return
    found = query(runtime_dir)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    from ha_lvs.cli import status_view  # rich is loaded for people only

    status_view.show(found, every=every)


def _status_of_both(runtime_dir: Path, as_json: bool) -> None:
    """Shows what can be had. Errors: PlatformError, after that, when a peer does not answer."""
    found = query(runtime_dir, "status of both")
    problem = found.pop("problem")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        from ha_lvs.cli import status_view

        peers = [found["peer"], *found.get("others", {}).values()]
        for each in peers:
            if each is not None and "error" in each:
                raise PlatformError(f"the peer's director says: {each['error']}")
        status_view.show_both([found["self"], *(each for each in peers if each is not None)])
    if problem:
        raise PlatformError(problem)


def plan(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The config file.")],
    runtime_dir: RuntimeDir = DEFAULT_RUNTIME_DIR,
) -> None:
    """Show what a director with this file would change in the IPVS of this kernel, changing nothing.

    Time-outs, sysctls and the marks of service groups, which nftables gives, are included, and so is what operators
    have said of servers. The sync daemons are left out: they follow the role.
    """
    from ha_lvs.config.loader import load
    from ha_lvs.config.parts import director_part

    loaded = load(config)
    part = director_part(loaded, next(iter(loaded.nodes)))  # the services are the same on every node
    part = _with_found_servers(part, runtime_dir)
    if not part.services and part.sync is None and not _owns_anything(runtime_dir):
        typer.echo("nothing to do: without services a director leaves IPVS alone")
        return
    told, why_not = _ask_health(runtime_dir)
    health = known_health(part.services, told)
    quorums = {name: found.get("quorum") is not False for name, found in told.items()}
    steps = _steps(part, health, quorums, runtime_dir)
    unknown = sum(state is ServerState.UNKNOWN for state in health.values())
    if unknown:
        asked = f" ({why_not})" if why_not else ""
        typer.echo(f"health is not known for {unknown} of {len(health)} checked servers, taken as up{asked}")
    for step in steps:
        typer.echo(str(step))
    count = len(steps)
    typer.echo(f"{count} change{'' if count == 1 else 's'}" if count else "nothing to do")


def known_health(services: tuple[VirtualService, ...], told: Mapping[str, Any]) -> dict[Endpoint, ServerState]:
    """What a running director thinks of each endpoint that the services' servers are checked at.

    Arguments:
        services: of the file.
        told: the `services` of the director's status; empty when there is none.

    A director with an older file may know a server by another check; its verdict is still the best that there is.
    """
    states = {
        (entry["listen"], server): ServerState(found["state"])
        for entry in told.values()
        for server, found in entry["servers"].items()
    }
    return {
        endpoint: states.get((str(each.service.key), str(server.destination.key)), ServerState.UNKNOWN)
        for each in services
        for server in each.servers
        for endpoint in server.checks
    }


def _with_found_servers(part: DirectorPart, runtime_dir: Path) -> DirectorPart:
    """With the servers that the director here has found on the network."""
    if all(each.discovery is None for each in part.services):
        return part
    from ha_lvs.daemon.found import FoundServers

    return FoundServers(part, runtime_dir).on(part)


def _owns_anything(runtime_dir: Path) -> bool:
    """Whether an earlier config has left services in this kernel: a director takes those away."""
    from ha_lvs.daemon.balancer import OWNERSHIP_FILE
    from ha_lvs.kernel.ownership import Ownership

    ownership = Ownership(runtime_dir / OWNERSHIP_FILE)
    return ownership.anything


def _ask_health(runtime_dir: Path) -> tuple[dict[str, Any], str]:
    """The services as the running director sees them; else nothing, and why."""
    try:
        return query(runtime_dir, timeout_s=HEALTH_TIMEOUT_S).get("services", {}), ""
    except PlatformError:
        return {}, f"no director answers in {runtime_dir}"


def _steps(
    part: DirectorPart, health: Mapping[Endpoint, ServerState], quorums: Mapping[str, bool], runtime_dir: Path
) -> tuple[Step, ...]:
    from ha_lvs.daemon.balancer import OVERRIDES_FILE, OWNERSHIP_FILE
    from ha_lvs.daemon.overrides import Overrides
    from ha_lvs.kernel.ipvs import Ipvs
    from ha_lvs.kernel.marks import Marks
    from ha_lvs.kernel.ownership import Ownership
    from ha_lvs.plan.desired import KernelState, desired_services, desired_traffic
    from ha_lvs.plan.diff import diff
    from ha_lvs.plan.pool import Standing

    ownership = Ownership(runtime_dir / OWNERSHIP_FILE)
    overrides = Overrides(runtime_dir / OVERRIDES_FILE)
    for problem in filter(None, (ownership.problem, overrides.problem)):
        typer.echo(f"ha-lvs: {problem}", err=True)
    taken = {endpoint: ServerState.UP if state is ServerState.UNKNOWN else state for endpoint, state in health.items()}
    with Ipvs(tuple(name for name, _ in part.sysctls)) as ipvs:
        actual = ipvs.read()
    entries, _ = desired_services(part.services, Standing(health=taken, said=overrides.said, quorums=quorums))
    traffic = desired_traffic(part.services)
    if traffic or ownership.marks:
        found = Marks().read()
        actual = replace(actual, traffic=found.traffic, strays=found.strays)
    wanted = KernelState(entries, frozenset(), part.timeouts, dict(part.sysctls), traffic)
    return diff(wanted, actual, ownership.services)
