"""`doctor`: whether this machine has what a config needs of it. Needs no running director and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ha_lvs.plan.facts import Finding


def register(app: typer.Typer) -> None:
    """Adds the verb of this module."""
    app.command()(doctor)


def doctor(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The config file.")],
    node: Annotated[str | None, typer.Option(help="Which node of FILE this is; by default the host's name.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Look at whether this machine has what FILE needs of it, and say what to mend and how.

    Kernel modules, IPVS, nftables where there are groups, sysctls, interfaces and their MTU, the clock, and the unit's
    privileges. As root it sees all of them.

    Exit code: 0 nothing must be mended; 1 something must; 2 invalid config.
    """
    from ha_lvs.config.loader import load
    from ha_lvs.config.parts import director_part
    from ha_lvs.daemon.orders import pick_node
    from ha_lvs.kernel.facts import gather
    from ha_lvs.plan.doctor import judge
    from ha_lvs.plan.facts import Judgement, needs

    loaded = load(config)
    part = director_part(loaded, pick_node(loaded, node, config))  # without its keys, which are the daemon's to read
    findings = judge(part, gather(needs(part)))
    if as_json:
        rows = [
            {"check": each.check, "judgement": each.judgement.value, "found": each.found, "remedy": each.remedy}
            for each in findings
        ]
        typer.echo(json.dumps({"node": part.node, "findings": rows}, indent=2))
    else:
        from ha_lvs.cli import status_view  # rich is loaded for people only

        status_view.show_findings([(each.judgement.value, each.check, each.found, each.remedy) for each in findings])
        typer.echo(_summary(findings))
    if any(each.judgement is Judgement.MEND for each in findings):
        raise typer.Exit(1)


def _summary(findings: Sequence[Finding]) -> str:
    from ha_lvs.plan.facts import Judgement

    mend, note = (sum(each.judgement is kind for each in findings) for kind in (Judgement.MEND, Judgement.NOTE))
    if not mend and not note:
        return "all is well"
    notes = f"{note} note{'' if note == 1 else 's'}"
    return f"{mend} to mend, {notes}" if mend else f"nothing to mend, {notes}"
