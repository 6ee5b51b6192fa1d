"""The status of a director for people.

Rules that hold here:
* What fits the width is a table, whose columns of prose may wrap between words; what does not fit even so is told
  line by line. Nothing is cut off.
* In a pipe or file a row is a line, however long, without colours: for grep. COLUMNS says otherwise.
* What comes from the network (the reason of a check) is shown as text: no control characters, no markup.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ha_lvs.errors import PlatformError

DIGEST_DIGITS = 12
WORD_WIDTH = 18
"""A column of prose is never narrower than its longest word, unless that is longer than this."""
GAP = 2
ENDLESS = 10_000

NONE = "-"
STYLES = {"active": "bold green", "backup": "cyan", "up": "green", "down": "bold red"}
ATTENTION = "yellow"
FAILED = "bold red"


def show(status: dict[str, Any], *, now: datetime | None = None) -> None:
    """Prints a status on stdout.

    Arguments:
        status: the answer of the control socket.
        now: for ages; the current time unless given.

    Errors: PlatformError when the director speaks another version's language.
    """
    console = _console()
    with console.capture() as captured:
        try:
            _show(console, status, now or datetime.now(UTC))
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise PlatformError(
                f"the director's answer has not what was expected ({problem!r}): it runs another version of ha-lvs; "
                "restart it, or use --json"
            ) from problem
    text = captured.get()
    if not console.is_terminal:
        text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def age(seconds: float) -> str:
    """A length of time in its two largest units: `3m 12s`.

    Arguments:
        seconds: negative ones, from a clock that was set back, count as none.
    """
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def _console() -> Console:
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = ENDLESS
    return console


def _show(console: Console, status: dict[str, Any], now: datetime) -> None:
    head = _text(status["cluster"], "bold")
    head.append_text(_text(f" node {status['node']}, ha-lvs {status['version']}", ""))
    head.append_text(_text(f", config {status['config_digest'][:DIGEST_DIGITS]}", ""))
    program = _text(f", from {status['program']}" if "program" in status else "", "")
    if head.cell_len + program.cell_len <= console.width:
        head.append_text(program)
    console.print(head)
    _show_instances(console, status["instances"], now)
    for name, service in status["services"].items():
        _show_service(console, name, service)
    console.print()
    role = status["sync"]["role"]
    console.print(_text(f"connection sync {role}", ""))
    failed = status["failed_steps"]
    if failed:
        console.print()
        console.print(_text(f"failed steps, tried again until they succeed: {len(failed)}", FAILED))
        for step in failed:
            console.print(_text(f"  {step}", FAILED))


def _show_instances(console: Console, instances: dict[str, Any], now: datetime) -> None:
    rows = []
    for name, found in instances.items():
        role, peer = found["role"], found["peer"]
        held = "held" if found["holding"] else "not held"
        since = found["since"]
        # An active that does not hold its addresses, or another that does, is about to change or in trouble.
        usual = found["holding"] == (role == "active")
        rows.append(
            [
                _text(name, "bold"),
                _text(role.upper() if role == "active" else role, STYLES.get(role, ATTENTION)),
                _text(_priority(found)),
                _text(NONE if since is None else age((now - datetime.fromisoformat(since)).total_seconds())),
                _text(found["transitions"]),
                _text(f"{', '.join(found['virtual_ips'])} {held}", "" if usual else ATTENTION),
                _text(NONE if peer is None else f"{peer['address']} ({peer['priority']})"),
                _text(found["reason"] or NONE),
            ]
        )
    titles = ["instance", "role", "prio", "since", "changes", "virtual IPs", "peer (prio)", "reason"]
    _show_rows(console, titles, rows, prose=(5, 6, 7))


def _priority(found: dict[str, Any]) -> str:
    priority, effective = found["priority"], found["effective_priority"]
    return str(priority) if priority == effective else f"{effective} of {priority}"


def _show_service(console: Console, name: str, service: dict[str, Any]) -> None:
    servers = service["servers"]
    up = sum(server["state"] == "up" for server in servers.values())
    console.print()
    head = _text("service ", "")
    head.append_text(_text(name, "bold"))
    head.append_text(_text(f" {service['listen']} {service['scheduler']}, ", ""))
    head.append_text(_text(f"{up} of {len(servers)} up", "" if up == len(servers) else ATTENTION))
    console.print(head)
    rows = []
    for address, server in servers.items():
        programmed, configured = server["programmed"], server["configured_weight"]
        usual = programmed and server["weight"] == configured
        rows.append(
            [
                _text(address),
                _text(server["state"], STYLES.get(server["state"], ATTENTION)),
                _text(f"{server['weight'] if programmed else NONE} of {configured}", "" if usual else ATTENTION),
                _text(server["forwarding"]),
                _text(server["active_connections"]),
                _text(server["inactive_connections"]),
                _text(_last_check(server)),
            ]
        )
    _show_rows(console, ["server", "state", "weight", "via", "active", "inactive", "last check"], rows, prose=(6,))


def _last_check(server: dict[str, Any]) -> str:
    took_ms = server["check_ms"]
    took = "" if took_ms is None else f"{took_ms:.1f} ms"
    return ", ".join(part for part in (server["reason"], took) if part) or NONE


def _show_rows(console: Console, titles: Sequence[str], rows: list[list[Text]], *, prose: Sequence[int]) -> None:
    """A table where there is room for it, else a block of lines for each row.

    Arguments:
        prose: the numbers of the columns that may wrap.
    """
    if not rows:
        return
    widths = _widths(console.width, [[Text(title) for title in titles], *rows], prose)
    if widths is None:
        for row in rows:
            for at, (title, cell) in enumerate(zip(titles, row, strict=True)):
                line = _text(f"  {title} " if at == 0 else f"    {title} ", "dim")
                console.print(line.append_text(cell), overflow="fold")
        return
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    for title, width in zip(titles, widths, strict=True):
        table.add_column(title, width=width, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _widths(room: int, rows: list[list[Text]], prose: Sequence[int]) -> list[int] | None:
    """The widths of the columns of a table, or None when it does not fit the room, all in characters."""
    widths = [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]
    wanted = {at: widths[at] for at in prose}
    for at in prose:
        longest = max((cell_len(word) for row in rows for word in row[at].plain.split()), default=0)
        widths[at] = min(longest, WORD_WIDTH)
    spare = room - sum(widths) - GAP * (len(widths) - 1)
    if spare < 0:
        return None
    needs = sorted((wanted[at] - widths[at], at) for at in prose)
    for served, (need, at) in enumerate(needs):
        given = min(need, spare // (len(needs) - served))
        widths[at] += given
        spare -= given
    return widths


def _text(value: object, style: str = "") -> Text:
    shown = str(value)
    if not shown.isprintable():
        shown = "".join(each if each.isprintable() else repr(each)[1:-1] for each in shown)
    return Text(shown, style=style)
