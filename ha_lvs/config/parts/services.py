"""From the services of the file to what is programmed and probed."""

from __future__ import annotations

from ha_lvs.config.durations import Duration
from ha_lvs.config.schema import services as schema
from ha_lvs.model import (
    Check,
    CheckType,
    Destination,
    DestinationKey,
    Endpoint,
    Protocol,
    RealServer,
    Service,
    ServiceKey,
    VirtualService,
)

_DEFAULT_TIMEOUT = Duration(1000)


def virtual_service(service: schema.Service) -> VirtualService:
    """A virtual service of the file with all that its servers inherit."""
    persistence_s = service.persistence.ms // 1000 if service.persistence else 0
    return VirtualService(
        name=service.name,
        service=Service(service.listen, service.scheduler, persistence_s),
        servers=tuple(_server(server, service) for server in service.servers),
    )


def _server(server: schema.Server, service: schema.Service) -> RealServer:
    key = DestinationKey(server.address, service.listen.port if server.port is None else server.port)
    check = server.check or service.check or schema.Check()
    port = key.port if check.port is None else check.port
    return RealServer(
        destination=Destination(key, server.forwarding or service.forwarding, server.weight),
        endpoint=Endpoint(server.address, port, _check(check, service.listen)),
    )


def _check(check: schema.Check, listen: ServiceKey) -> Check:
    usual = CheckType.TCP if listen.protocol is Protocol.TCP else CheckType.NONE
    return Check(
        type=check.type or usual,
        interval_s=check.interval.seconds,
        timeout_s=(check.timeout or min(_DEFAULT_TIMEOUT, check.interval)).seconds,
        rise=check.rise,
        fall=check.fall,
        path=check.path,
        host=check.host or "",
        status_min=check.status.low,
        status_max=check.status.high,
    )
