"""What `ha-lvs doctor` looks at and what it says of it: values, and which of them a config concerns. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from ha_lvs.model import Destination, DirectorPart, IPAddress, VirtualService

CAPABILITIES = ("cap_net_admin", "cap_net_raw")
"""What the daemon needs."""


class Judgement(enum.Enum):
    """What a finding asks for; the value is the word for people and programs."""

    OK = "ok"
    NOTE = "note"
    MEND = "mend"


class Module(enum.Enum):
    """Where a kernel module is."""

    LOADED = "loaded"
    BUILT_IN = "built in"
    AVAILABLE = "available"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Arguments:
        check: what.
        judgement: how it is.
        found: in words.
        remedy: what to do; empty where nothing is to be done.
    """

    check: str
    judgement: Judgement
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Unit:
    """What systemd has of our unit.

    Arguments:
        user: who runs it; root where it is empty.
        capabilities: that it gives to that user, in lower case.
        realtime_priority: the limit.
        locked_bytes: the limit of locked memory; None for none.
    """

    user: str
    capabilities: frozenset[str]
    realtime_priority: int
    locked_bytes: int | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen of the machine. What is not in a mapping could not be seen, or is not there.

    Arguments:
        modules: each kernel module that was asked for.
        ipvs_version: None where IPVS does not answer.
        ipvs_problem: why it does not.
        nft: path of the program, or empty.
        nft_problem: why it cannot be used; empty where it can.
        masquerades: whether some nftables rule translates source addresses; None where they cannot be seen.
        capable: those of `CAPABILITIES` that this very process has.
        sysctls: values by name with slashes (``net/ipv4/ip_forward``).
        interfaces: MTU of each interface that there is.
        down: those that are not up.
        default_interfaces: where IPv4 default routes leave.
        path_mtus: of the route to each real server.
        clock_synchronised: None where the kernel does not say.
        unit: None where there is none.
    """

    modules: Mapping[str, Module] = field(default_factory=dict)
    ipvs_version: str | None = None
    ipvs_problem: str = ""
    nft: str = ""
    nft_problem: str = ""
    masquerades: bool | None = None
    capable: frozenset[str] = frozenset()
    sysctls: Mapping[str, int] = field(default_factory=dict)
    interfaces: Mapping[str, int] = field(default_factory=dict)
    down: frozenset[str] = frozenset()
    default_interfaces: frozenset[str] = frozenset()
    path_mtus: Mapping[IPAddress, int] = field(default_factory=dict)
    clock_synchronised: bool | None = None
    unit: Unit | None = None


@dataclass(frozen=True, slots=True)
class Needs:
    """What of the machine a config concerns.

    Arguments:
        modules: of the kernel, by name.
        sysctls: by name with slashes.
        interfaces: that advertisements and virtual IPs are on.
        servers: addresses of real servers.
        ipvs: whether IPVS is needed.
        groups: whether traffic is to be marked.
    """

    modules: tuple[str, ...]
    sysctls: tuple[str, ...]
    interfaces: tuple[str, ...]
    servers: tuple[IPAddress, ...]
    ipvs: bool
    groups: bool


def needs(part: DirectorPart) -> Needs:
    """What there is to be looked at for this config."""
    ipvs = bool(part.services) or part.sync is not None
    groups = any(each.traffic is not None for each in part.services)
    schedulers = {f"ip_vs_{each.service.scheduler}" for each in part.services}
    engines = {
        f"ip_vs_pe_{each.service.persistence_engine}" for each in part.services if each.service.persistence_engine
    }
    names = interfaces(part)
    modules = ["ip_vs", *sorted(schedulers), *sorted(engines)] if ipvs else []
    modules += ["nf_tables", "nft_fib_inet"] if groups else []
    modules += ["macvlan"] if any(ip.mac_vlan for each in part.instances for ip in each.virtual_ips) else []
    per_interface = [
        f"net/ipv4/conf/{name}/{what}" for name in ("all", *names) for what in ("rp_filter", "send_redirects")
    ]
    sysctls = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/vs/conntrack", *per_interface]
    sysctls += (f"net/ipv4/vs/{name}" for name, _ in part.sysctls)
    servers = {destination.key.address for each in part.services for destination in destinations(each)}
    return Needs(
        tuple(modules), tuple(sysctls), names, tuple(sorted(servers, key=lambda it: (it.version, it))), ipvs, groups
    )


def destinations(service: VirtualService) -> tuple[Destination, ...]:
    """Every real server of a service, the sorry server too."""
    sorry = () if service.sorry is None else (service.sorry,)
    return (*(each.destination for each in service.servers), *sorry)


def interfaces(part: DirectorPart) -> tuple[str, ...]:
    """Every interface that advertisements or virtual IPs are on."""
    names = [path.interface for each in part.instances for path in each.paths]
    names += (ip.interface for each in part.instances for ip in each.virtual_ips)
    return tuple(dict.fromkeys(names))
