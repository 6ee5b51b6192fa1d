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
from collections.abc import Callable, Iterator, Sequence
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
MANY = 50
"""Of more services than this only those are listed that are worth a look."""
ENDLESS = 10_000

NONE = "-"
STYLES = {"active": "bold green", "backup": "cyan", "up": "green", "down": "bold red"}
ATTENTION = "yellow"
FAILED = "bold red"
SEEN = {True: "seen", False: "not seen", None: "not probed yet"}


def show(status: dict[str, Any], *, now: datetime | None = None, every: bool = False) -> None:
    """Prints a status on stdout.

    Arguments:
        status: the answer of the control socket.
        now: for ages; the current time unless given.
        every: whether every service is listed, however many there are.

    Errors: PlatformError when the director speaks another version's language.
    """
    _print(lambda console: _show(console, status, now or datetime.now(UTC), every))


def show_both(statuses: Sequence[dict[str, Any]], *, now: datetime | None = None) -> None:
    """Prints the statuses of several directors side by side on stdout.

    Arguments:
        statuses: the answers of their control sockets, our own first.
        now: for ages; the current time unless given.

    Errors: PlatformError when one of them speaks another version's language.
    """
    from ha_lvs.cli import both_view

    _print(lambda console: both_view.show(console, statuses, now or datetime.now(UTC)))


def show_directors(directors: Sequence[dict[str, Any]]) -> None:
    """Prints what `ha-lvs discover` has found on stdout.

    Arguments:
        directors: as `ha_lvs.cli.discover.compare` gives them.
    """
    rows = [
        [
            text(each["cluster"], "bold"),
            text(each["node"], "bold"),
            text(", ".join(each["addresses"]) or NONE),
            text(each["port"]),
            _same(each["version"], each["same_version"]),
            _same(each["config_digest"][:DIGEST_DIGITS], each["same_config"]),
        ]
        for each in directors
    ]
    titles = ["cluster", "node", "addresses", "port", "version", "config"]
    _print(lambda console: show_rows(console, titles, rows, prose=(2,)))


def show_findings(findings: Sequence[tuple[str, str, str, str]]) -> None:
    """Prints what `ha-lvs doctor` has found on stdout.

    Arguments:
        findings: the judgement, what was looked at, what was found, and the remedy or nothing.
    """
    styles = {"ok": "green", "note": ATTENTION, "mend": FAILED}
    rows = [
        [text(judgement, styles[judgement]), text(check, "bold"), text(found), text(remedy or NONE)]
        for judgement, check, found, remedy in findings
    ]
    _print(lambda console: show_rows(console, ["", "check", "found", "remedy"], rows, prose=(2, 3)))


def _same(shown: str, same: bool) -> Text:
    return text(shown if same else f"{shown} differs", "" if same else ATTENTION)


def _print(draw: Callable[[Console], None]) -> None:
    console = make_console()
    with console.capture() as captured:
        try:
            draw(console)
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise PlatformError(
                f"the director's answer has not what was expected ({problem!r}): it runs another version of ha-lvs; "
                "restart it, or use --json"
            ) from problem
    shown = captured.get()
    if not console.is_terminal:
        shown = "\n".join(line.rstrip() for line in shown.splitlines()) + "\n"
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(shown.encode(encoding, "backslashreplace").decode(encoding))
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


def make_console() -> Console:
    """A console on stdout; in a pipe or file its lines have no end."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = ENDLESS
    return console


def _show(console: Console, status: dict[str, Any], now: datetime, every: bool) -> None:
    head = text(status["cluster"], "bold")
    head.append_text(text(f" node {status['node']}, ha-lvs {status['version']}", ""))
    head.append_text(text(f", config {status['config_digest'][:DIGEST_DIGITS]}", ""))
    program = text(f", from {status['program']}" if "program" in status else "", "")
    if head.cell_len + program.cell_len <= console.width:
        head.append_text(program)
    console.print(head)
    _show_instances(console, status["instances"], now)
    _show_notes(console, status["instances"])
    _show_peers(console, status.get("peers", []), now)
    _show_doubts(console, status, now)
    services = status["services"]
    listed = (
        services if every or len(services) <= MANY else {name: each for name, each in services.items() if _odd(each)}
    )
    for name, service in listed.items():
        _show_service(console, name, service)
    if len(listed) < len(services):
        console.print()
        count, further = len(services) - len(listed), "further " if listed else ""
        console.print(text(f"{count} {further}services are as configured, with every server up; --all lists them"))
    _show_overrides(console, status.get("overrides", []), now)
    console.print()
    role = status["sync"]["role"]
    console.print(text(f"connection sync {role}", ""))
    failed = status["failed_steps"]
    if failed:
        console.print()
        console.print(text(f"failed steps, tried again until they succeed: {len(failed)}", FAILED))
        for step in failed:
            console.print(text(f"  {step}", FAILED))


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
                text(name, "bold"),
                text(role.upper() if role == "active" else role, STYLES.get(role, ATTENTION)),
                text(_priority(found)),
                text(NONE if since is None else age((now - datetime.fromisoformat(since)).total_seconds())),
                text(found["transitions"]),
                text(f"{', '.join(found['virtual_ips'])} {held}", "" if usual else ATTENTION),
                text(NONE if peer is None else f"{peer['address']} ({peer['priority']})"),
                text(found["reason"] or NONE),
            ]
        )
    titles = ["instance", "role", "prio", "since", "changes", "virtual IPs", "peer (prio)", "reason"]
    show_rows(console, titles, rows, prose=(5, 6, 7))


def _show_notes(console: Console, instances: dict[str, Any]) -> None:
    """What is unusual about an instance, or needs more words than a table has room for."""
    for name, found in instances.items():
        if found.get("members"):
            console.print(text(f"{name} moves together: {', '.join(found['members'])}"))
        if witnesses := found.get("witnesses"):
            told = ", ".join(f"{address} {SEEN[seen]}" for address, seen in witnesses.items())
            console.print(text(f"{name} witnesses: {told}", "" if all(witnesses.values()) else ATTENTION))
        if sessions := found.get("bfd"):
            told = ", ".join(_session(peer, session) for peer, session in sessions.items())
            up = all(session["state"] == "up" for session in sessions.values())
            console.print(text(f"{name} BFD: {told}", "" if up else ATTENTION))
        if found.get("barred"):
            console.print(text(f"{name} cannot be active here: {found['barred']}", ATTENTION))
        if found.get("deferring"):
            console.print(text(f"{name} was handed over and does not take over again before ha-lvs enable", ATTENTION))
        if late := found.get("late"):
            times = "once" if late == 1 else f"{late} times"
            console.print(text(f"{name} was late {times} and gave no verdict then", ATTENTION))
        if dropped := found.get("dropped"):
            counts = ", ".join(f"{cause} {count}" for cause, count in dropped.items())
            console.print(text(f"{name} has not accepted advertisements as they are: {counts}", ATTENTION))


def _show_peers(console: Console, peers: list[dict[str, Any]], now: datetime) -> None:
    if not peers:
        return
    rows = []
    for peer in peers:
        linked, proved = peer["linked"], peer["authenticated"]
        same = peer["same_config"]
        digest = peer["config_digest"][:DIGEST_DIGITS]
        rows.append(
            [
                text(peer["node"], "bold"),
                text(peer["address"] or NONE),
                text("linked" if linked else "not linked", "green" if linked else ATTENTION),
                text("yes" if proved else NONE),
                text(peer["version"] or NONE),
                text(NONE if same is None else digest if same else f"{digest} differs", "" if same else ATTENTION),
                text(age((now - datetime.fromisoformat(peer["since"])).total_seconds())),
                text(peer["detail"] or NONE),
            ]
        )
    console.print()
    titles = ["peer", "address", "link", "authenticated", "version", "config", "since", "detail"]
    show_rows(console, titles, rows, prose=(7,))


def _show_doubts(console: Console, status: dict[str, Any], now: datetime) -> None:
    """Why what is said of servers may not be so."""
    for prober in status.get("probers", []):
        if prober["stale"]:
            since = age((now - datetime.fromisoformat(prober["since"])).total_seconds())
            what = "has been started anew; some verdicts are" if prober["alive"] else f"is silent for {since}; its are"
            console.print(text(f"{prober['name']} {what} stale", ATTENTION))
    if count := status.get("disagreements", 0):
        servers = "a server" if count == 1 else f"{count} servers"
        console.print(
            text(f"the directors disagree about {servers}: look at the network from here to there", ATTENTION)
        )


def _session(peer: str, session: dict[str, Any]) -> str:
    return f"{peer} {session['state']} {session['interval_ms']:g} ms x {session['multiplier']}"


def _priority(found: dict[str, Any]) -> str:
    priority, effective = found["priority"], found["effective_priority"]
    return str(priority) if priority == effective else f"{effective} of {priority}"


def _odd(service: dict[str, Any]) -> bool:
    """Whether something of a service is not as configured, or not up."""
    return any(pool_notes(service)) or any(
        server["state"] != "up"
        or not server["programmed"]
        or server["weight"] != server["configured_weight"]
        or server.get("override") is not None
        or doubt(server)
        for server in service["servers"].values()
    )


def _show_service(console: Console, name: str, service: dict[str, Any]) -> None:
    servers = service["servers"]
    up = sum(server["state"] == "up" for server in servers.values())
    console.print()
    head = text("service ", "")
    head.append_text(text(name, "bold"))
    head.append_text(text(f" {service['listen']} {service['scheduler']}, ", ""))
    head.append_text(text(f"{up} of {len(servers)} up", "" if up == len(servers) else ATTENTION))
    for words, style in pool_notes(service):
        head.append_text(text(f", {words}", style))
    console.print(head)
    rows = []
    for address, server in servers.items():
        programmed, configured = server["programmed"], server["configured_weight"]
        usual = programmed and server["weight"] == configured
        rows.append(
            [
                text(address).append_text(text(" discovered" if server.get("discovered") else "", "dim")),
                state_and_doubt(server),
                text(
                    f"{server['weight'] if programmed else NONE} of {configured}", "" if usual else ATTENTION
                ).append_text(text(said(server), ATTENTION)),
                text(server["forwarding"]),
                text(server["active_connections"]),
                text(server["inactive_connections"]),
                text(_last_check(server)),
            ]
        )
    show_rows(console, ["server", "state", "weight", "via", "active", "inactive", "last check"], rows, prose=(6,))


def pool_notes(service: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is unusual about a service as a whole, in words, and the style of them."""
    if service.get("enabled") is False:
        yield "disabled by an operator", ATTENTION
    if service.get("quorum") is False:
        yield f"quorum lost with strength {service['strength']}", FAILED
    if service.get("sorry"):
        yield "sorry server in use", ATTENTION


def state_and_doubt(server: dict[str, Any]) -> Text:
    """The state of a server, with why it may not be so."""
    state = server["state"]
    return text(state, STYLES.get(state, ATTENTION)).append_text(text(doubt(server), ATTENTION))


def doubt(server: dict[str, Any]) -> str:
    """Why the state of a server may not be so."""
    found = " stale" if server.get("stale") else ""
    if server.get("borrowed"):
        found += " (the peer says)"
    if (peer_state := server.get("peer_state")) is not None:
        found += f", {peer_state} at the peer"
    return found


def said(server: dict[str, Any]) -> str:
    """What an operator has said of a server."""
    override = server.get("override")
    if override is None:
        return ""
    return " drained" if override == 0 else f" set to {override}"


def _show_overrides(console: Console, overrides: list[dict[str, Any]], now: datetime) -> None:
    if not overrides:
        return
    rows = [
        [
            text(each["service"], "bold"),
            text("all servers" if each["server"] is None else each["server"]),
            text("disabled" if each["server"] is None else f"weight {each['weight']}"),
            text(each["node"]),
            text(age((now - datetime.fromisoformat(each["since"])).total_seconds())),
            text("" if each["configured"] else "not in the config", ATTENTION),
        ]
        for each in overrides
    ]
    console.print()
    console.print(text("said by operators at run time, until taken back", ATTENTION))
    show_rows(console, ["service", "server", "override", "said at", "since", ""], rows, prose=(5,))


def _last_check(server: dict[str, Any]) -> str:
    took_ms = server["check_ms"]
    took = "" if took_ms is None else f"{took_ms:.1f} ms"
    suspect = "suspect: handshakes remain unfinished" if server.get("suspect") else ""
    return ", ".join(part for part in (server["reason"], took, suspect) if part) or NONE


def show_rows(console: Console, titles: Sequence[str], rows: list[list[Text]], *, prose: Sequence[int]) -> None:
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
                line = text(f"  {title} " if at == 0 else f"    {title} ", "dim")
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


def text(value: object, style: str = "") -> Text:
    """A value as it may be shown: no control characters, no markup."""
    shown = str(value)
    if not shown.isprintable():
        shown = "".join(each if each.isprintable() else repr(each)[1:-1] for each in shown)
    return Text(shown, style=style)
