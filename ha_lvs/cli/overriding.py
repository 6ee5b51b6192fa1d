"""What `ha-lvs server` and `ha-lvs service` do: ask the director, say what became of it, wait for connections to end.

Rules that hold here:
* Little is imported: no typer, no rich, no dataclasses. A weight is changed by programs, again and again.
* What was said stays said, whatever ends the waiting: its end by Ctrl-C or by time changes nothing.
* Connections are those of the director that has more of them: an active one's, or what a standby has been told of them.
* While a director is restarted nobody answers; whoever waits goes on waiting for a while.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping

from ha_lvs.daemon.asking import OPERATE_SOCKET_NAME, RUNTIME_DIR, query

TYPE_CHECKING = False  # typing takes its time to load
if TYPE_CHECKING:
    from typing import Any

ANSWER_S = 60.0
"""A director that is programming thousands of services answers late."""
LOOK_EVERY_S = 0.5
PATIENCE_S = 30.0

Directory = str | os.PathLike[str]


def change_server(
    service: str,
    server: str,
    weight: int | None,
    *,
    wait: bool = False,
    timeout_s: float | None = None,
    as_json: bool = False,
    runtime_dir: Directory = RUNTIME_DIR,
) -> int:
    """Gives a server a weight at run time, and says what became of it; returns the exit code.

    Arguments:
        service: its name.
        server: address, or address and port.
        weight: in place of the configured one; None takes back what was said.
        wait: whether to wait until no connection is left.
        timeout_s: for how long at most; None for ever.
        as_json: one document instead of sentences.
        runtime_dir: of the director.

    Errors: PlatformError when no director answers.
    """
    wanted = {"service": service, "server": server, "weight": weight}
    return _change("server", wanted, wait=wait, timeout_s=timeout_s, as_json=as_json, runtime_dir=runtime_dir)


def change_service(
    service: str,
    *,
    enabled: bool,
    wait: bool = False,
    timeout_s: float | None = None,
    as_json: bool = False,
    runtime_dir: Directory = RUNTIME_DIR,
) -> int:
    """Disables or enables a service at run time, as `change_server` does for a server."""
    wanted = {"service": service, "enabled": enabled}
    return _change("service", wanted, wait=wait, timeout_s=timeout_s, as_json=as_json, runtime_dir=runtime_dir)


def _change(
    verb: str,
    wanted: Mapping[str, Any],
    *,
    wait: bool,
    timeout_s: float | None,
    as_json: bool,
    runtime_dir: Directory,
) -> int:
    try:
        found = query(runtime_dir, verb, ANSWER_S, name=OPERATE_SOCKET_NAME, arguments=wanted)
    except KeyboardInterrupt:
        return _complain("interrupted before the director answered; `ha-lvs status` shows whether it was done")
    exit_code = int(found.pop("exit_code"))
    if "service" not in found:  # there is no such thing
        if as_json:
            _print(json.dumps(found, indent=2))
        else:
            _complain(found["detail"])
        return exit_code
    if not as_json:
        _print(_sentence(verb, found))
        for each in (*found["notes"], *_who_knows(found)):
            _print(each)
        if not found["ok"]:
            _complain(found["detail"])
    if wait and found["ok"] and found["status"] is not None:
        waiting = Waiting(found, runtime_dir, timeout_s, silent=as_json)
        exit_code = waiting.wait()
        found |= {"finished": waiting.finished, "connections_left": waiting.left, "detail": waiting.outcome}
    if as_json:
        _print(json.dumps(found, indent=2))
    return exit_code


class Waiting:
    """Waits until a server, or a service, has no connection left.

    Arguments:
        answer: of the director that was told.
        runtime_dir: its own.
        timeout_s: for how long at most; None for ever.
        silent: whether nothing is printed.

    Attributes:
        left: how many connections there are.
        finished: whether it has come to that.
        outcome: how it ended, in words.
    """

    def __init__(
        self, answer: Mapping[str, Any], runtime_dir: Directory, timeout_s: float | None, *, silent: bool
    ) -> None:
        self.left = 0
        self.finished = False
        self.outcome = ""
        self._service: str = answer["service"]
        self._server: str | None = answer["server"]
        self._runtime_dir = runtime_dir
        self._timeout_s = timeout_s
        self._silent = silent
        self._live = sys.stdout.isatty() and not silent
        self._shown = ""
        self._unheard: set[str] = set()

    @property
    def _what(self) -> str:
        return self._service if self._server is None else f"{self._server} of {self._service}"

    @property
    def _back(self) -> str:
        words = ["service", "enable", self._service] if self._server is None else ["server", "enable", self._service]
        return " ".join(["ha-lvs", *words, *([] if self._server is None else [self._server])])

    def wait(self) -> int:
        """Returns the exit code: 0 when none is left, 1 when it ended before."""
        in_force = f"it stays in force; `{self._back}` takes it back"
        try:
            ended = self._until_none_is_left()
        except KeyboardInterrupt:
            ended = "interrupted"
        if not ended:
            self.finished = True
            return self._end(f"no connection is left on {self._what}", 0)
        left = _connections(self.left)
        if ended == "taken back":
            return self._end(f"what was said of {self._what} was taken back meanwhile; {left} left", 1)
        return self._end(f"{ended}: {left} left on {self._what}; {in_force}", 1)

    def _until_none_is_left(self) -> str:
        """Returns why it ended before, or nothing."""
        until = None if self._timeout_s is None else time.monotonic() + self._timeout_s
        while True:
            if not self._look():
                return "taken back"
            if self.left == 0:
                return ""
            if until is not None and time.monotonic() >= until:
                return "time is over"
            rest_s = LOOK_EVERY_S if until is None else max(0.0, min(LOOK_EVERY_S, until - time.monotonic()))
            time.sleep(rest_s)

    def _look(self) -> bool:
        """Counts, and shows it; says whether what was said still holds."""
        found = self._ask()
        own = found["status"]
        said = own["enabled"] is False
        if self._server is not None:
            server = own["servers"].get(self._server)
            said = server is not None and server["override"] == 0
        directors = {found["node"]: own, **found["others"]}
        counts = [self._count(each) for each in directors.values() if each is not None]
        self.left, active = max(counts)
        for node in sorted(node for node, each in directors.items() if each is None and node not in self._unheard):
            self._unheard.add(node)
            self._say(f"{node} does not answer: connections that only it knows are not counted", for_good=True)
        if self.left:
            inactive = f", {self.left - active} of them ending or idle" if self.left > active else ""
            self._say(f"{_connections(self.left)} left on {self._what}{inactive}")
        return said

    def _ask(self) -> dict[str, Any]:
        from ha_lvs.errors import PlatformError

        until = time.monotonic() + PATIENCE_S
        wanted = {"service": self._service, "everywhere": True}
        while True:
            try:
                found = query(self._runtime_dir, "service status", ANSWER_S, arguments=wanted)
            except PlatformError:
                if time.monotonic() >= until:
                    raise
                time.sleep(LOOK_EVERY_S)
                continue
            if not found["ok"]:
                raise PlatformError(found["detail"])  # the config has lost it meanwhile
            return found

    def _count(self, status: Mapping[str, Any]) -> tuple[int, int]:
        """All connections, and how many of them are active."""
        servers = [each for name, each in status["servers"].items() if self._server in (None, name)]
        active = sum(each["active_connections"] for each in servers)
        return active + sum(each["inactive_connections"] for each in servers), active

    def _say(self, line: str, *, for_good: bool = False) -> None:
        if self._silent or line == self._shown:
            return
        if self._live:
            sys.stdout.write(f"\r\x1b[K{line}" + ("\n" if for_good else ""))
            sys.stdout.flush()
        else:
            _print(line)
        self._shown = "" if for_good else line

    def _end(self, outcome: str, exit_code: int) -> int:
        self.outcome = outcome
        if self._live and self._shown:
            sys.stdout.write("\r\x1b[K")
        if not self._silent:
            _print(outcome)
        return exit_code


def _sentence(verb: str, found: Mapping[str, Any]) -> str:
    """What there is afterwards."""
    service, status = found["service"], found["status"]
    if verb == "service":
        word = "enabled" if found["weight"] is None else "disabled"
        if status is None:
            return f"{service} is {word}" if found["ok"] and found["weight"] == 0 else f"{service}: taken back"
        up = sum(each["state"] == "up" for each in status["servers"].values())
        total = sum(each["active_connections"] + each["inactive_connections"] for each in status["servers"].values())
        refuses = "" if found["weight"] is None else ", new connections are refused"
        return f"{service} is {word}: {up} of {len(status['servers'])} servers up, {_connections(total)}{refuses}"
    name = f"{found['server']} of {service}"
    server = None if status is None else status["servers"].get(found["server"])
    if server is None:
        return f"{name} is not in the config; nothing is said of it any more" if found["ok"] else name
    said, configured = found["weight"], server["configured_weight"]
    weight = f"weight {configured} as configured" if said is None else f"weight {said} in place of {configured}"
    if said is None and found["before"] is None:
        weight += ", nothing to take back"
    if not server["programmed"]:
        why = f" ({server['reason']})" if server["reason"] else ""
        return f"{name}: {weight}; it is {server['state']}{why} and not in IPVS"
    meant = configured if said is None else said
    now = "" if server["weight"] == meant else f", {server['weight']} for now"
    active, inactive = server["active_connections"], server["inactive_connections"]
    return f"{name}: {weight}{now}; {server['state']}, {active} active and {inactive} inactive connections"


def _who_knows(found: Mapping[str, Any]) -> list[str]:
    words = [f"told {', '.join(found['told'])}"] if found["told"] else []
    if later := found["tell_later"]:
        words.append(f"not linked now, and told when they are: {', '.join(later)}")
    return words


def _connections(count: int) -> str:
    return "1 connection" if count == 1 else f"{count} connections"


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _complain(detail: str) -> int:
    sys.stderr.write(f"ha-lvs: {detail}\n")
    return 1
