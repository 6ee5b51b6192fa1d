"""What a service's checks come to: endpoints to probe, for each of its servers."""

from __future__ import annotations

from ha_lvs.config.derived import usual_check
from ha_lvs.config.durations import Duration
from ha_lvs.config.programs import DEFAULT_USER
from ha_lvs.config.schema import checks as schema
from ha_lvs.config.schema.checks import Via
from ha_lvs.config.schema.listen import Listen
from ha_lvs.model import (
    Check,
    CheckPlan,
    CheckType,
    Destination,
    DnsCheck,
    Endpoint,
    ExecCheck,
    HttpCheck,
    IPAddress,
    ServiceKey,
    TlsCheck,
    UdpCheck,
)

_DEFAULT_TIMEOUT = Duration(1000)
_WEB = (CheckType.HTTP, CheckType.HTTPS)


class Checks:
    """The checks of a service, or of one server of it; each is worked out once, for all servers that share it.

    Arguments:
        entry: what the file says.
        listen: what the service listens on.
        key: the same for the kernel.

    Attributes:
        plans: what is probed, apart from the server; empty where servers are not checked.
        any_of: whether one good check is enough.
    """

    def __init__(self, entry: schema.Check, listen: Listen, key: ServiceKey) -> None:
        several = entry.all if entry.all is not None else entry.any
        self.any_of = entry.any is not None
        made = [(each, _check(each, listen)) for each in ([entry] if several is None else several)]
        self.plans = tuple(
            CheckPlan(check, each.address, each.port, key.address if each.via is Via.VIRTUAL and not key.mark else None)
            for each, check in made
            if check.type is not CheckType.NONE
        )

    def of(self, address: IPAddress, destination: Destination) -> tuple[Endpoint, ...]:
        """What is probed for a server; nothing where it is not checked."""
        return tuple(each.of(address, destination) for each in self.plans)


def _check(entry: schema.Check, listen: Listen) -> Check:
    kind = entry.type or usual_check(listen.protocol)
    return Check(
        type=kind,
        interval_s=entry.interval.seconds,
        timeout_s=(entry.timeout or min(_DEFAULT_TIMEOUT, entry.interval)).seconds,
        rise=entry.rise,
        fall=entry.fall,
        fast_s=entry.fast_interval.seconds if entry.fast_interval else 0.0,
        http=_http(entry) if kind in _WEB else None,
        tls=_tls(entry, kind),
        dns=DnsCheck(entry.query.name, entry.query.type, entry.query.expect) if entry.query is not None else None,
        udp=UdpCheck(entry.send or "", entry.expect) if kind is CheckType.UDP else None,
        exec=_exec(entry),
        service=entry.service or "",
        hello=entry.hello or "",
        file=entry.file or "",
        source=entry.source,
        interface=entry.interface or "",
        mark=entry.mark or 0,
    )


def _http(entry: schema.Check) -> HttpCheck:
    body = entry.body or schema.Body()
    return HttpCheck(
        entry.method,
        entry.path,
        entry.host or "",
        entry.headers,
        tuple((each.low, each.high) for each in entry.status),
        body.contains or "",
        body.matches or "",
        body.sha256 or "",
    )


def _tls(entry: schema.Check, kind: CheckType) -> TlsCheck | None:
    if entry.tls is None:
        return TlsCheck() if kind is CheckType.HTTPS else None
    return TlsCheck(entry.tls.name or "", entry.tls.verify, entry.tls.ca or "", entry.tls.warn_before.seconds)


def _exec(entry: schema.Check) -> ExecCheck | None:
    if entry.command is None:
        return None
    return ExecCheck(entry.command, entry.user or DEFAULT_USER, entry.weight)
