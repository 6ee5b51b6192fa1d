"""The statuses of several directors side by side, for people: a column for each, so that what differs is seen.

The rules of `status_view` hold here, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from ha_lvs.cli.status_view import (
    ATTENTION,
    DIGEST_DIGITS,
    FAILED,
    NONE,
    STYLES,
    age,
    pool_notes,
    said,
    show_rows,
    text,
)

Status = dict[str, Any]


def show(console: Console, statuses: Sequence[Status], now: datetime) -> None:
    """Draws them.

    Arguments:
        statuses: of the directors, our own first.
        now: for ages.
    """
    head = text(statuses[0]["cluster"], "bold")
    console.print(head.append_text(text(f" nodes {' and '.join(status['node'] for status in statuses)}")))
    _table(console, "", ["ha-lvs", "config", "connection sync", "peer link"], _about, statuses)
    _table(
        console, "instance", _names(statuses, "instances"), lambda status, name: _instance(status, name, now), statuses
    )
    for name in _names(statuses, "services"):
        listens = {status["services"][name]["listen"] for status in statuses if name in status["services"]}
        console.print()
        head = text(f"service {name} {' and '.join(sorted(listens))}")
        for status in statuses:
            for words, style in pool_notes(status["services"].get(name, {})):
                head.append_text(text(f", {words} at {status['node']}", style))
        console.print(head)
        servers = dict.fromkeys(
            address for status in statuses for address in status["services"].get(name, {"servers": {}})["servers"]
        )
        _table(console, "server", list(servers), lambda status, at, name=name: _server(status, name, at), statuses)
    for status in statuses:
        for step in status["failed_steps"]:
            console.print(text(f"failed step on {status['node']}: {step}", FAILED))


def _table(console: Console, title: str, names: Sequence[str], cell: Any, statuses: Sequence[Status]) -> None:
    rows = [[text(name, "bold"), *(cell(status, name) for status in statuses)] for name in names]
    if title != "server":
        console.print()
    titles = [title, *(str(status["node"]) for status in statuses)]
    show_rows(console, titles, rows, prose=range(1, len(titles)))


def _names(statuses: Sequence[Status], kind: str) -> list[str]:
    return list(dict.fromkeys(name for status in statuses for name in status[kind]))


def _about(status: Status, what: str) -> Text:
    if what == "ha-lvs":
        return text(status["version"])
    if what == "config":
        same = all(peer["same_config"] is not False for peer in status.get("peers", []))
        digest = status["config_digest"][:DIGEST_DIGITS]
        return text(digest if same else f"{digest} differs", "" if same else ATTENTION)
    if what == "connection sync":
        return text(status["sync"]["role"])
    peers = status.get("peers", [])
    words = [f"{peer['node']} {'linked' if peer['linked'] else 'not linked'}" for peer in peers]
    return text(", ".join(words) or NONE, "" if all(peer["linked"] for peer in peers) else ATTENTION)


def _instance(status: Status, name: str, now: datetime) -> Text:
    found = status["instances"].get(name)
    if found is None:
        return text("has none", ATTENTION)
    role, since = found["role"], found["since"]
    shown = text(role.upper() if role == "active" else role, STYLES.get(role, ATTENTION))
    priority, effective = found["priority"], found["effective_priority"]
    words = [f" prio {effective}" if effective == priority else f" prio {effective} of {priority}"]
    if since is not None:
        words.append(f"for {age((now - datetime.fromisoformat(since)).total_seconds())}")
    usual = found["holding"] == (role == "active")
    words.append("held" if found["holding"] else "not held")
    shown.append_text(text(", ".join(words), "" if usual else ATTENTION))
    if found.get("barred"):
        shown.append_text(text(f", cannot be active: {found['barred']}", ATTENTION))
    return shown


def _server(status: Status, name: str, address: str) -> Text:
    server = status["services"].get(name, {"servers": {}})["servers"].get(address)
    if server is None:
        return text("has none", ATTENTION)
    shown = text(server["state"], STYLES.get(server["state"], ATTENTION))
    weight = server["weight"] if server["programmed"] else NONE
    shown.append_text(text(f" weight {weight} of {server['configured_weight']}"))
    shown.append_text(text(said(server), ATTENTION))
    shown.append_text(text(f", {server['active_connections']} active"))
    return shown
