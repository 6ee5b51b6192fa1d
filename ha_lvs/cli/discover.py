"""`discover`: who announces a director on this network. Needs no running director, no privileges and no config file."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ha_lvs.peer.discovery import Announced

SECONDS = 3.0


def register(app: typer.Typer) -> None:
    """Adds the verb of this module."""
    app.command()(discover)


def discover(
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="How long to look.")] = SECONDS,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="Compare the directors of its cluster with it."),
    ] = None,
    interface: Annotated[str, typer.Option("--interface", help="Where to look; everywhere by default.")] = "",
) -> None:
    """List the directors that announce themselves on this network, of all clusters.

    Within a cluster all should follow the same config file, and run the same version. What is marked differs from FILE,
    or, without one, from the first of its cluster. Announcements prove nothing: anybody may make them.
    """
    mine = _digest_of(config) if config is not None else None
    found, problem = asyncio.run(look(seconds, interface))
    rows = compare(found, mine)
    if as_json:
        typer.echo(json.dumps({"directors": rows}, indent=2))
    elif rows:
        from ha_lvs.cli import status_view

        status_view.show_directors(rows)
    else:
        typer.echo(f"no director announces itself (looked for {seconds:g} s)")
    if problem:
        from ha_lvs.errors import PlatformError

        raise PlatformError(problem)


async def look(seconds: float, interface: str) -> tuple[tuple[Announced, ...], str]:
    """What is announced, after looking for a while; and what kept us from looking, or nothing.

    Arguments:
        seconds: for how long to look, once that has begun.
        interface: where; empty for everywhere.
    """
    from ha_lvs.peer.discovery import Discovery

    found: tuple[Announced, ...] = ()
    problems: list[str] = []

    def note(now: tuple[Announced, ...]) -> None:
        nonlocal found
        found = now

    work = asyncio.create_task(Discovery(note, problems.append, interface=interface).run())
    await asyncio.wait([work], timeout=seconds)
    kept = found  # the end of the search empties it
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    return kept, problems[-1] if problems else ""


def compare(found: Sequence[Announced], mine: tuple[str, str] | None) -> list[dict[str, Any]]:
    """The directors in order, each with what is different about it.

    Arguments:
        found: as announced.
        mine: cluster and digest of a config file to compare with, or None.
    """
    ordered = sorted(found, key=lambda each: (each.cluster, each.node))
    first = {each.cluster: each for each in reversed(ordered)}
    digests = {cluster: each.config_digest for cluster, each in first.items()} | dict([mine] if mine else [])
    return [
        dataclasses.asdict(each)
        | {
            "addresses": list(each.addresses),
            "same_config": each.config_digest == digests[each.cluster],
            "same_version": each.version == first[each.cluster].version,
        }
        for each in ordered
    ]


def _digest_of(file: Path) -> tuple[str, str]:
    from ha_lvs.config.loader import load

    config = load(file)
    return config.cluster, config.digest
