"""Verbs that change weights at run time: `server drain|weight|enable`, `service disable|enable`.

What they do is in `overriding`; their usual forms get there without this module, by `quick`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ha_lvs.cli import overriding
from ha_lvs.cli.options import RuntimeDir
from ha_lvs.daemon.asking import RUNTIME_DIR

DEFAULT_RUNTIME_DIR = Path(RUNTIME_DIR)

Service = Annotated[str, typer.Argument(metavar="SERVICE", help="Name of a service of the config file.")]
Server = Annotated[
    str, typer.Argument(metavar="SERVER", help="Its address, with :PORT where the service has it with several.")
]
Json = Annotated[bool, typer.Option("--json", help="The whole answer, for programs.")]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="TIME", help="Wait no longer than this (30s, 10m, 1h), then exit with 1.")
]


def register(app: typer.Typer) -> None:
    """Adds the verbs of this module."""
    server = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Weights of real servers at run time.")
    for verb in (drain, weight):
        server.command()(verb)
    server.command("enable")(enable_server)
    service = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Whole services at run time.")
    service.command()(disable)
    service.command("enable")(enable_service)
    app.add_typer(server, name="server")
    app.add_typer(service, name="service")


def drain(
    service: Service,
    server: Server,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until no connection is left.")] = True,
    timeout: Timeout = "",
    as_json: Json = False,
    runtime_dir: RuntimeDir = DEFAULT_RUNTIME_DIR,
) -> None:
    """Send a server nothing new, and wait until no connection is left on it.

    Its weight becomes 0 on both directors, over reloads and restarts, until `ha-lvs server enable`. Connections go on
    as long as their ends want. Ctrl-C ends the waiting; the server stays drained.

    Exit code: 0 none is left, or not waited for; 1 some are, or the kernel refused; 2 there is no such server.
    """
    timeout_s = _seconds(timeout)
    _exit(
        overriding.change_server(
            service, server, 0, wait=wait, timeout_s=timeout_s, as_json=as_json, runtime_dir=runtime_dir
        )
    )


def weight(
    service: Service,
    server: Server,
    weight: Annotated[
        int, typer.Argument(metavar="WEIGHT", min=0, max=65_535, help="In place of the configured one; 0 drains.")
    ],
    as_json: Json = False,
    runtime_dir: RuntimeDir = DEFAULT_RUNTIME_DIR,
) -> None:
    """Give a server another weight than the config file does, until `ha-lvs server enable`.

    It holds on both directors, over reloads and restarts. Nothing is waited for.

    Exit code: 0 the kernel has it; 1 failed; 2 there is no such server.
    """
    _exit(overriding.change_server(service, server, weight, as_json=as_json, runtime_dir=runtime_dir))


def enable_server(
    service: Service, server: Server, as_json: Json = False, runtime_dir: RuntimeDir = DEFAULT_RUNTIME_DIR
) -> None:
    """Let a server have its configured weight again, after `drain` or `weight`.

    Exit code: 0 the kernel has it; 1 failed; 2 there is no such server.
    """
    _exit(overriding.change_server(service, server, None, as_json=as_json, runtime_dir=runtime_dir))


def disable(
    service: Service,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until no connection is left.")] = False,
    timeout: Timeout = "",
    as_json: Json = False,
    runtime_dir: RuntimeDir = DEFAULT_RUNTIME_DIR,
) -> None:
    """Refuse new connections to a service, and let those that exist go on.

    All its servers have weight 0, its sorry server too, on both directors, over reloads and restarts, until
    `ha-lvs service enable`.

    Exit code: 0 disabled, and with --wait none is left; 1 some are, or the kernel refused; 2 there is no such service.
    """
    timeout_s = _seconds(timeout)
    _exit(
        overriding.change_service(
            service, enabled=False, wait=wait, timeout_s=timeout_s, as_json=as_json, runtime_dir=runtime_dir
        )
    )


def enable_service(service: Service, as_json: Json = False, runtime_dir: RuntimeDir = DEFAULT_RUNTIME_DIR) -> None:
    """Let a service take connections again, after `disable`.

    What was said of single servers holds on.

    Exit code: 0 the kernel has it; 1 failed; 2 there is no such service.
    """
    _exit(overriding.change_service(service, enabled=True, as_json=as_json, runtime_dir=runtime_dir))


def _seconds(timeout: str) -> float | None:
    from ha_lvs.config.durations import parse

    try:
        return parse(timeout).seconds if timeout else None
    except ValueError as problem:
        raise typer.BadParameter(str(problem), param_hint="--timeout") from problem


def _exit(code: int) -> None:
    raise typer.Exit(code)
