"""`ha-lvs`: the entry point.

Rules that hold here:
* A verb's module is imported only when that verb is asked for (or help for all of them is): `ha-lvs check` in an editor
  must not load the daemon. Nothing heavy is imported here: the usual forms of some verbs (`quick`) need not even typer.
* Errors that we raise on purpose are caught once, here: plain text on stderr, so that editors can follow
  `file:line:column`, and the error's exit code (0 fine, 1 failed, 2 usage or invalid config).

To add a verb: write `register(app)` in a module of this package, and name the verb and the module in `VERBS`.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing takes its time to load
if TYPE_CHECKING:
    import typer

    from ha_lvs.errors import HaLvsError

VERBS = {
    "check": "ha_lvs.cli.config",
    "schema": "ha_lvs.cli.config",
    "run": "ha_lvs.cli.run",
    "status": "ha_lvs.cli.observe",
    "plan": "ha_lvs.cli.observe",
    "doctor": "ha_lvs.cli.doctor",
    "discover": "ha_lvs.cli.discover",
    "drill": "ha_lvs.cli.drill",
    "reload": "ha_lvs.cli.operate",
    "restart": "ha_lvs.cli.operate",
    "handover": "ha_lvs.cli.operate",
    "standby": "ha_lvs.cli.operate",
    "enable": "ha_lvs.cli.operate",
    "server": "ha_lvs.cli.pools",
    "service": "ha_lvs.cli.pools",
    "cleanup": "ha_lvs.cli.operate",
    "catalog": "ha_lvs.cli.catalog",
}
"""Each verb and the module whose `register` adds it."""


def main() -> None:
    """Runs the command line of this process and exits."""
    try:
        if sys.argv[1:2] in (["server"], ["service"]):
            from ha_lvs.cli import quick

            exit_code = quick.run(sys.argv[1:])
            if exit_code is not None:
                sys.exit(exit_code)
        build(sys.argv[1:])()
    except Exception as error:
        from ha_lvs.errors import HaLvsError

        if not isinstance(error, HaLvsError):
            raise
        print(report(error), file=sys.stderr)
        sys.exit(error.exit_code)


def build(arguments: list[str]) -> typer.Typer:
    """The application with the verbs that the arguments may need.

    Arguments:
        arguments: those after the program's name.
    """
    import importlib

    import typer

    from ha_lvs.cli.top import top

    app = typer.Typer(
        name="ha-lvs",
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="Two Linux machines made into one dependable Linux Virtual Server.",
    )
    app.callback()(top)
    asked = next((word for word in arguments if not word.startswith("-")), "")
    modules = [VERBS[asked]] if asked in VERBS else list(dict.fromkeys(VERBS.values()))
    for module in modules:
        importlib.import_module(module).register(app)
    return app


def report(error: HaLvsError) -> str:
    """An error as it is shown on stderr."""
    from ha_lvs.errors import ConfigError

    if not isinstance(error, ConfigError):
        return f"ha-lvs: {error}"
    count = len(error.problems)
    return f"{error}\n{count} problem{'' if count == 1 else 's'}"


if __name__ == "__main__":
    main()
