"""What can be on trial in a drill: ha-lvs, keepalived with the same intent, DNS round robin without any director.

    contender = prepare("keepalived", lab, config_text, directory, {})
    contender.start()

Rules that hold here:
* Every contender is made from the same text, our config file, so that they are asked for the same.
* A contender says nothing about itself that a drill judges: what the kernels show is measured elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ha_lvs.config import loader, parts
from ha_lvs.config.schema import Config
from ha_lvs.drill.contenders.contender import Contender, DirectorLike, LoadTarget, Pair
from ha_lvs.drill.contenders.dns import DnsRoundRobin
from ha_lvs.drill.contenders.keepalived import Keepalived
from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.servers import PORT
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.errors import LabError
from ha_lvs.model import Protocol, VirtualService

__all__ = ["NAMES", "Contender", "DirectorLike", "LoadTarget", "prepare"]

FILE = "ha-lvs.yml"
CLIENT = "c1"
"""The host of the load, and of the DNS server."""

Prepare = Callable[[Lab, Config, Path, Mapping[str, str]], Contender]


def _ha_lvs(lab: Lab, config: Config, directory: Path, environment: Mapping[str, str]) -> Contender:
    directors: dict[str, DirectorLike] = {
        node: Director(lab.host(node), directory / FILE, directory, environment=environment) for node in config.nodes
    }
    return Pair("ha-lvs", directors, _virtual_target(config))


def _keepalived(lab: Lab, config: Config, directory: Path, _: Mapping[str, str]) -> Contender:
    directors: dict[str, DirectorLike] = {node: Keepalived(lab.host(node), config, directory) for node in config.nodes}
    return Pair("keepalived", directors, _virtual_target(config))


def _dns(lab: Lab, config: Config, directory: Path, _: Mapping[str, str]) -> Contender:
    service = _tcp_service(config)
    if service is None:
        raise LabError("DNS round robin needs a TCP service with real servers in the config file")
    destinations = [server.destination.key for server in service.servers]
    if len({key.port for key in destinations}) != 1:
        raise LabError("DNS round robin needs real servers that all listen on one port")
    addresses = [str(key.address) for key in destinations]
    return DnsRoundRobin(lab.host(CLIENT), addresses, destinations[0].port, directory)


def _virtual_target(config: Config) -> LoadTarget:
    """The first TCP service of the file. A pure VRRP pair has none: then the place where it would be."""
    service = _tcp_service(config)
    if service is None:
        return LoadTarget(VIRTUAL_IP, PORT)
    return LoadTarget(str(service.service.key.address), service.service.key.port)


def _tcp_service(config: Config) -> VirtualService | None:
    services = parts.director_part(config, next(iter(config.nodes))).services
    return next((service for service in services if service.service.key.protocol is Protocol.TCP), None)


_KINDS: dict[str, Prepare] = {"ha-lvs": _ha_lvs, "keepalived": _keepalived, "dns": _dns}
NAMES = tuple(_KINDS)
"""Every contender there is."""


def prepare(name: str, lab: Lab, config_text: str, directory: Path, environment: Mapping[str, str]) -> Contender:
    """A contender, ready to be started.

    Arguments:
        name: out of `NAMES`.
        lab: entered already; the config file's nodes are hosts of it.
        config_text: our config file.
        directory: for the contender's files and logs; made where it is missing.
        environment: variables for the processes of ha-lvs beside our own; the others have no use for them.

    Errors: LabError when there is no such contender or it cannot be prepared; ConfigError about the file.
    """
    if name not in _KINDS:
        raise LabError(f"there is no contender {name!r}; there are {', '.join(_KINDS)}")
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / FILE
    file.write_text(config_text)
    return _KINDS[name](lab, loader.load(file), directory, environment)
