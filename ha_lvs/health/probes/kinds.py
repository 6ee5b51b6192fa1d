"""Which probe is made for which kind of check."""

from __future__ import annotations

from collections.abc import Callable

from ha_lvs.health.probes.base import Driver, Probe
from ha_lvs.health.probes.dns import DnsProbe
from ha_lvs.health.probes.exec import ExecProbe
from ha_lvs.health.probes.file import FileProbe
from ha_lvs.health.probes.half_open import HalfOpenProbe
from ha_lvs.health.probes.ping import PingProbe
from ha_lvs.health.probes.stream import HttpProbe
from ha_lvs.health.probes.talks import grpc_probe, https_probe, smtp_probe
from ha_lvs.health.probes.tcp import TcpProbe
from ha_lvs.health.probes.udp import UdpProbe
from ha_lvs.health.probes.virtual import virtual_probe
from ha_lvs.model import CheckType, Endpoint


def _half_open(endpoint: Endpoint, engine: Driver) -> Probe:
    return HalfOpenProbe(endpoint, engine) if endpoint.check.via is None else virtual_probe(endpoint, engine)


KINDS: dict[CheckType, Callable[[Endpoint, Driver], Probe]] = {
    CheckType.TCP: TcpProbe,
    CheckType.HALF_OPEN: _half_open,
    CheckType.HTTP: HttpProbe,
    CheckType.HTTPS: https_probe,
    CheckType.SMTP: smtp_probe,
    CheckType.GRPC: grpc_probe,
    CheckType.DNS: DnsProbe,
    CheckType.UDP: UdpProbe,
    CheckType.PING: PingProbe,
    CheckType.EXEC: ExecProbe,
    CheckType.FILE: FileProbe,
}
"""All but NONE, which is never probed."""
