"""Our config file in keepalived's words, so that both are asked for the same.

Rules that hold here:
* Pure: from a loaded `Config` and a node's name to the text of a keepalived.conf.
* Fair: where keepalived has several ways to say it, the one that serves it best is taken (real-time priority, locked
  memory, the first check at once, no longer pause before a repeated check than we make).
* What it has no word for is a comment at the top of the text, so that nobody takes the comparison for more than it is.

Written for keepalived 2.2 and later; its manual page is keepalived.conf(5).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote

from ha_lvs.config import parts
from ha_lvs.config.schema import Config
from ha_lvs.model import (
    SYNC_GROUP,
    Check,
    CheckType,
    ConnectionSync,
    DirectorPart,
    Forwarding,
    HttpCheck,
    RealServer,
    VirtualIp,
    VirtualService,
    VrrpInstance,
)

VRRP_GROUPS = (IPv4Address("224.0.0.18"), IPv6Address("ff02::12"))
VERSION = 3
DOWN_AFTER = 3
SYNC_PORT, SYNC_TTL = 8848, 1

REALTIME_PRIORITY = 50
"""Of its VRRP process; our elector has the same."""

RTTIME_US = 1_000_000
"""How long its real-time process may compute at a stretch before the kernel kills it; its own 10 ms are too few where
the lab is emulated."""

LONGEST_S = 4294
"""What it takes for most times: 32 bits of microseconds."""

OWNER = 255

_PATH_CHARACTERS = "/?[]@&()*+,;=:%~"
"""What stays as it is in a path: neither a quote nor what begins a comment or names a variable."""


_CHECKERS = {
    CheckType.TCP: "TCP_CHECK",
    CheckType.HALF_OPEN: "TCP_CHECK",
    CheckType.HTTP: "HTTP_GET",
    CheckType.HTTPS: "SSL_GET",
}
"""What of ours it has; the others are told as not expressed."""


def keepalived_config(config: Config, node: str) -> str:
    """The keepalived.conf of one director.

    Arguments:
        config: the pair's config file.
        node: whose; priority and source address are this node's.

    Errors: ConfigError when the file has no such node.
    """
    part = parts.director_part(config, node)
    lines = [
        f"# Generated from the config file of cluster {part.cluster} for {node}.",
        *(f"# Not expressed: {text}" for text in _not_expressed(config, part)),
        *_block("global_defs", _global_defs(part)),
    ]
    for instance in part.instances:
        lines += ["", *_block(f"vrrp_instance {instance.name}", _instance(instance))]
    for service in filter(_has_servers, part.services):
        key = service.service.key
        lines += ["", *_block(f"virtual_server {key.address} {key.port}", _service(service))]
    return "\n".join(lines) + "\n"


def _has_servers(service: VirtualService) -> bool:
    """Whether keepalived would take it: it ignores a virtual server without real ones."""
    return bool(service.servers)


def _not_expressed(config: Config, part: DirectorPart) -> Iterator[str]:
    for instance in part.instances:
        if instance.lease_s is not None:
            yield f"lease of {instance.lease_s} s on the virtual IPs of {instance.name}; a frozen director keeps them."
    for instance in part.instances:
        yield from _not_expressed_of(instance)
    for name in config.instances:
        announce = config.instances[name].announce
        if announce.repeat:
            yield f"announcements of {name} each {announce.interval}; they come in two bursts instead."
    checks = list(_checks(part))
    if any(check.rise > 1 for check in checks):
        yield "rise; the first successful check brings a server back."
    for kind in dict.fromkeys(check.type.value for check in checks if check.type not in _CHECKERS):
        yield f"checks of type {kind}."
    if any(check.via is not None for check in checks):
        yield "checks via the virtual IP; they go to the servers' own addresses."
    if any(server.any_of and len(server.checks) > 1 for service in part.services for server in service.servers):
        yield "`any` of several checks; all must be good."
    if any(service.panic for service in part.services):
        yield "the panic threshold."
    if any(check.timeout_s > LONGEST_S for check in checks):
        yield f"a check's timeout of more than {LONGEST_S} s."
    for service in part.services:
        if not _has_servers(service):
            yield f"the service {service.name}, which has no servers."
    if part.services:
        yield f"reconcile each {config.ipvs.reconcile}; drift in IPVS is not repaired."
    if part.sync is not None and part.services and len(part.instances) > 1:
        yield f"connection sync by the roles of all instances; that of {part.instances[0].name} alone decides."


def _not_expressed_of(instance: VrrpInstance) -> Iterator[str]:
    """What our election has and is left out here; each would need words of another kind there, or has none."""
    left_out = {
        "authentication of the advertisements": instance.authentication,
        "BFD": instance.bfd,
        "what is tracked": instance.tracks,
        "witnesses": instance.witnesses,
        "virtual routes and rules": instance.routes or instance.rules,
        "a virtual MAC address": any(each.mac_vlan for each in instance.virtual_ips),
        "further paths": instance.companions,
        "waiting for the connection table before preempting": instance.preempt_in_sync,
    }
    for what, wanted in left_out.items():
        if wanted:
            yield f"{what} of {instance.name}."


def _checks(part: DirectorPart) -> Iterator[Check]:
    for service in part.services:
        yield from (each.check for server in service.servers for each in server.checks)


def _global_defs(part: DirectorPart) -> Iterator[str]:
    yield f"router_id {part.node}"
    yield f"vrrp_version {VERSION}"
    yield f"vrrp_rt_priority {REALTIME_PRIORITY}"
    yield f"vrrp_rlimit_rttime {RTTIME_US}"
    yield "vrrp_no_swap"
    yield "max_auto_priority -1"  # no priority that rises by itself: it has a fixed one already
    delay_s = max(instance.startup_delay_s for instance in part.instances)
    if delay_s:
        yield f"vrrp_startup_delay {_seconds(delay_s)}"
    if part.sync is not None and part.services:
        yield _sync_daemon(part.sync, part.instances[0].name)


def _sync_daemon(sync: ConnectionSync, instance: str) -> str:
    words = [f"lvs_sync_daemon {sync.interface} {instance} id {sync.sync_id}"]
    if sync.port != SYNC_PORT:
        words.append(f"port {sync.port}")
    if sync.ttl != SYNC_TTL:
        words.append(f"ttl {sync.ttl}")
    if sync.group != SYNC_GROUP:
        words.append(f"group {sync.group}")
    return " ".join(words)


def _instance(instance: VrrpInstance) -> Iterator[str]:
    yield "state BACKUP"
    yield f"interface {instance.interface}"
    yield f"virtual_router_id {instance.router_id}"
    if instance.version != VERSION:
        yield f"version {instance.version}"
    if instance.group.version == 6:
        yield "native_ipv6"
    yield f"priority {instance.priority}"
    yield f"advert_int {_seconds(instance.interval_s)}"
    if not instance.preempt and instance.priority != OWNER:  # the owner of the addresses always takes them
        yield "nopreempt"
    # Two bursts of as many announcements together as we send one by one, the second when our last would come.
    repeat = instance.announce_repeat
    yield f"garp_master_repeat {math.ceil((1 + repeat) / 2) if repeat else 1}"
    last_s = min(LONGEST_S, max(1, round(repeat * instance.announce_interval_s)))
    yield f"garp_master_delay {last_s if repeat else 0}"
    yield f"garp_master_refresh {max(1, round(instance.announce_refresh_s))}"
    if instance.peers:
        yield f"unicast_src_ip {instance.source}"
        yield from _block("unicast_peer", map(str, instance.peers))
    else:
        if not instance.source.is_unspecified:  # of IPv6 it takes the link-local address, too
            yield f"mcast_src_ip {instance.source}"
        if instance.group not in VRRP_GROUPS:
            yield f"mcast_dst_ip {instance.group}"
    if instance.preempt_delay_s:
        yield f"preempt_delay {_seconds(instance.preempt_delay_s)}"
    if instance.down_after != DOWN_AFTER:
        yield f"down_timer_adverts {instance.down_after}"
    advertised = set(instance.paths[0].addresses)
    yield from _block(
        "virtual_ipaddress", _addresses(each for each in instance.virtual_ips if each.address in advertised)
    )
    excluded = [each for each in instance.virtual_ips if each.address not in advertised]
    if excluded:
        yield from _block("virtual_ipaddress_excluded", _addresses(excluded))


def _addresses(virtual_ips: Iterable[VirtualIp]) -> Iterator[str]:
    for each in virtual_ips:
        label = f" label {each.label}" if each.label else ""
        yield f"{each} dev {each.interface}{label}"


def _service(service: VirtualService) -> Iterator[str]:
    methods = [server.destination.forwarding for server in service.servers]
    usual = max(methods, key=methods.count)  # stands once for the service, the others at their servers
    yield f"lvs_sched {service.service.scheduler}"
    yield f"lvs_method {_method(usual)}"
    yield f"protocol {service.service.key.protocol.value.upper()}"
    if service.service.persistence_timeout_s:
        yield f"persistence_timeout {service.service.persistence_timeout_s}"
    for server in service.servers:
        key = server.destination.key
        yield from _block(f"real_server {key.address} {key.port}", _real_server(server, usual))


def _real_server(server: RealServer, usual: Forwarding) -> Iterator[str]:
    yield f"weight {server.destination.weight}"
    if server.destination.forwarding is not usual:
        yield f"lvs_method {_method(server.destination.forwarding)}"
    for endpoint in server.checks:
        kind = _CHECKERS.get(endpoint.check.type)
        if kind is None:
            continue
        lines = list(_check(endpoint.check))
        if endpoint.port != server.destination.key.port:
            lines.insert(0, f"connect_port {endpoint.port}")
        if endpoint.address != server.destination.key.address:
            lines.insert(0, f"connect_ip {endpoint.address}")
        if endpoint.check.http is not None:
            url = _block("url", _url(endpoint.check.http))
            lines += ["http_protocol 1.1", "fast_recovery", *(["enable_sni"] if endpoint.check.tls else []), *url]
        yield from _block(kind, lines)


def _check(check: Check) -> Iterator[str]:
    yield "alpha"  # no traffic before the first successful check
    yield "warmup 0"  # which is made at once
    yield f"delay_loop {_seconds(check.interval_s)}"
    yield f"connect_timeout {_seconds(min(LONGEST_S, check.timeout_s))}"
    yield f"retry {check.fall - 1}"
    # The pause begins when a check has failed: after a timeout the next one starts an interval after the last one, as
    # ours does; after a refusal sooner than ours.
    yield f"delay_before_retry {_seconds(max(0.0, check.interval_s - check.timeout_s))}"


def _url(http: HttpCheck) -> Iterator[str]:
    yield f"path {quote(http.path, _PATH_CHARACTERS)}"
    yield f"status_code {' '.join(f'{low}-{high}' for low, high in http.status)}"
    if http.host:
        yield f"virtualhost {http.host}"


def _method(forwarding: Forwarding) -> str:
    return forwarding.value.upper()


def _seconds(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def _block(head: str, lines: Iterator[str] | list[str]) -> list[str]:
    return [f"{head} {{", *(f"    {line}" for line in lines), "}"]
