"""What operators say of services and servers at run time: the director's verbs `server` and `service`.

    server   {service, server, weight}      0 to 65535 in place of the configured weight, or null: as configured again
    service  {service, enabled}

Rules that hold here:
* What was said is remembered, then done in the kernel, then told to the other directors; only then is it answered. The
  answer says what the kernel has afterwards, not what it was asked for.
* What the kernel refuses is tried again like every step; the answer says so, and the override stays.
* It does not matter which director of a pair is told, nor whether it is active.
* An override of what is no longer in the config can be taken back; nothing else can be said of that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import structlog

from ha_lvs.config.values import suggestion
from ha_lvs.daemon.balancer import Balancer
from ha_lvs.daemon.overrides import MOST, MOST_WEIGHT
from ha_lvs.errors import KernelError, PlatformError
from ha_lvs.model import DestinationKey, Override, VirtualService
from ha_lvs.plan.steps import service_of

log = structlog.get_logger()

VERBS = ("server", "service")
MOST_LISTED = 12
EVERY_SERVER = "all"
"""Stands in the log for the service as a whole."""


@dataclass(frozen=True, slots=True)
class Told:
    """Which other directors were told at once, and which will be when they are linked, by their names."""

    now: tuple[str, ...] = ()
    later: tuple[str, ...] = ()


class Refused(Exception):
    """Why nothing was done."""

    def __init__(self, detail: str, exit_code: int = 2) -> None:
        super().__init__(detail)
        self.exit_code = exit_code


class Operating:
    """The verbs of one director.

    Arguments:
        node: its name.
        balancer: its services in the kernel; None when it has none.
        follow_up: brings the kernel to what was said; returns why it cannot be looked at, or nothing.
        spread: tells the other directors.
    """

    def __init__(
        self,
        node: str,
        balancer: Balancer | None,
        follow_up: Callable[[], str],
        spread: Callable[[list[Override]], Told],
    ) -> None:
        self._node = node
        self._services = balancer
        self._follow_up = follow_up
        self._spread = spread

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request with one of `VERBS`.

        Errors: PlatformError when what was said cannot be remembered; then nothing was done.
        """
        try:
            match request.get("verb"):
                case "server":
                    return self._server(request)
                case "service":
                    return self._service(request)
        except Refused as refused:
            return {"ok": False, "detail": str(refused), "exit_code": refused.exit_code}
        return {"error": f"unknown verb {request.get('verb')!r}; known: {', '.join(VERBS)}"}

    def status(self, name: str) -> dict[str, Any]:
        """What `ha-lvs status --json` has of one service; with `detail` in its place where there is none.

        Errors: KernelError when the kernel cannot be looked at.
        """
        try:
            return {"ok": True, "status": self._balancer.service_status(self._known(name).name)}
        except Refused as refused:
            return {"ok": False, "detail": str(refused), "exit_code": refused.exit_code}

    def heard(self, overrides: Iterable[Override]) -> list[Override]:
        """Takes in what was said at another director; returns what was news. The kernel is not touched yet."""
        if self._services is None:
            return []
        try:
            news = self._services.say(overrides)
        except PlatformError as problem:
            log.error("operator override not remembered", detail=str(problem))
            return []
        _log(news)
        return news

    # ------------------------------------------------------------------------------------------- verbs

    def _server(self, request: dict[str, Any]) -> dict[str, Any]:
        name, weight = str(request["service"]), request["weight"]
        if weight is not None and not (type(weight) is int and 0 <= weight <= MOST_WEIGHT):
            raise Refused(f"{weight!r:.40} is no weight: it is a whole number from 0 to {MOST_WEIGHT}")
        forgotten = self._forgotten(name, str(request["server"])) if weight is None else None
        if forgotten is not None:
            return self._say(forgotten, name, weight)
        service = self._known(name)
        return self._say(find_server(service, str(request["server"])), name, weight)

    def _service(self, request: dict[str, Any]) -> dict[str, Any]:
        name, enabled = str(request["service"]), request["enabled"]
        if not isinstance(enabled, bool):
            raise Refused("a service is enabled or not")
        if not (enabled and (name, None) in self._balancer.overrides.said):
            name = self._known(name).name
        return self._say(None, name, None if enabled else 0)

    def _say(self, server: DestinationKey | None, service: str, weight: int | None) -> dict[str, Any]:
        overrides = self._balancer.overrides
        before = overrides.said.get((service, server))
        told = Told()
        if (None if before is None else before.weight) != weight:
            since_s = overrides.moment(service, server, time.time())
            news = self._balancer.say([Override(service, server, weight, since_s, self._node)])
            if not news:
                raise Refused(f"there are {MOST} overrides already; take some back first", 1)
            _log(news)
            problem = self._follow_up()
            told = self._spread(news)
        else:
            problem = self._follow_up()  # a step that failed before is not waited for
        return {
            "service": service,
            "server": None if server is None else str(server),
            "weight": weight,
            "before": None if before is None else before.weight,
            "told": list(told.now),
            "tell_later": list(told.later),
            **self._afterwards(service, problem),
        }

    def _afterwards(self, name: str, problem: str) -> dict[str, Any]:
        """What became of it in the kernel."""
        service = self._balancer.services.get(name)
        if service is None:
            return {"ok": True, "detail": "", "exit_code": 0, "status": None, "notes": []}
        key = service.service.key
        problems = [problem] if problem else []
        problems += [str(each) for each in self._balancer.failures if service_of(each.step) == key]
        status = None
        try:
            status = self._balancer.service_status(name)
        except KernelError as unread:
            problems = problems or [str(unread)]
        return {
            "ok": not problems,
            "detail": f"it is remembered, and tried again: {'; '.join(problems)}" if problems else "",
            "exit_code": 1 if problems else 0,
            "status": status,
            "notes": self._notes(service),
        }

    def _notes(self, service: VirtualService) -> list[str]:
        timeout_s = service.service.persistence_timeout_s
        if not timeout_s or self._balancer.sysctl("expire_quiescent_template"):
            return []
        return [
            f"clients that a server of {service.name} knows go on to it at weight 0, until they stay away for "
            f"{timeout_s} s (persistence); `ipvs.sysctls.expire_quiescent_template: 1` sends them elsewhere"
        ]

    # ------------------------------------------------------------------------------------- what is meant

    @property
    def _balancer(self) -> Balancer:
        if self._services is None:
            raise Refused("this director has no services", 2)
        return self._services

    def _known(self, name: str) -> VirtualService:
        services = self._balancer.services
        if name not in services:
            raise Refused(f"there is no service {name!r:.80}; {_hint(name, list(services), 'services')}")
        return services[name]

    def _forgotten(self, service: str, text: str) -> DestinationKey | None:
        """A server that is not in the config, and of which something was said all the same."""
        configured = self._balancer.services.get(service)
        known = () if configured is None else configured.servers
        keys = {each.destination.key for each in known}
        said = [each.server for each in self._balancer.overrides.of(service)]
        found = [each for each in said if each is not None and each not in keys and _is_meant(each, text)]
        return found[0] if len(found) == 1 and not any(_is_meant(each, text) for each in keys) else None


def find_server(service: VirtualService, text: str) -> DestinationKey:
    """The server of a service that an operator means.

    Arguments:
        text: ``192.0.2.21:80``, ``[2001:db8::21]:80``, or the address alone where the service has it with one port.

    Errors: Refused, with the servers that there are.
    """
    keys = [each.destination.key for each in service.servers]
    found = [key for key in keys if _is_meant(key, text)]
    if len(found) == 1:
        return found[0]
    if found:
        raise Refused(f"{text} is in service {service.name} more than once; say which: {', '.join(map(str, found))}")
    if service.sorry is not None and _is_meant(service.sorry.key, text):
        raise Refused(f"{text} is the sorry server of {service.name}, which takes over when the quorum is lost")
    hint = _hint(text, [str(key) for key in keys], "servers")
    raise Refused(f"there is no server {text!r:.80} in service {service.name}; {hint}")


def waiting_overrides(balancer: Balancer) -> list[dict[str, Any]]:
    """Every override that holds, for the status, those of what is not in the config included."""
    return [
        {
            "service": each.service,
            "server": None if each.server is None else str(each.server),
            "weight": each.weight,
            "since": datetime.fromtimestamp(each.since_s, UTC).isoformat(),
            "node": each.node,
            "configured": _configured(balancer, each),
        }
        for each in balancer.overrides.said.values()
    ]


def _configured(balancer: Balancer, override: Override) -> bool:
    service = balancer.services.get(override.service)
    if service is None or override.server is None:
        return service is not None
    return any(each.destination.key == override.server for each in service.servers)


def _is_meant(key: DestinationKey, text: str) -> bool:
    if text == str(key):
        return True
    try:
        return ip_address(text.removeprefix("[").removesuffix("]")) == key.address
    except ValueError:
        pass
    address, _, port = text.rpartition(":")
    try:
        same = ip_address(address.removeprefix("[").removesuffix("]")) == key.address
        return same and port.isdecimal() and int(port) == key.port
    except ValueError:
        return False


def _hint(word: str, known: list[str], what: str) -> str:
    near = suggestion(word, known)
    listed = ", ".join(known[:MOST_LISTED]) or "none"
    more = f" and {len(known) - MOST_LISTED} more" if len(known) > MOST_LISTED else ""
    meant = f"did you mean {near}? " if near else ""
    return f"{meant}{'The' if near else 'the'} {what} are {listed}{more}"


def _log(news: Iterable[Override]) -> None:
    for each in news:
        server = EVERY_SERVER if each.server is None else str(each.server)
        if each.weight is None:
            log.notice("operator override taken back", service=each.service, server=server, node=each.node)
        else:
            log.notice("operator override", service=each.service, server=server, weight=each.weight, node=each.node)
