"""What is amiss with a machine that is to be a director, and what to do about it. Pure: facts in, findings out.

Rules that hold here:
* A finding is `MEND` only where something that the config asks for does not work or cannot be relied on; what only may
  be unwanted, or depends on what is not seen from here, is a `NOTE`.
* Nothing is asked for that the config does not need: forwarding is for NAT, nftables for groups.
* What could not be looked at is never judged as fine.
"""

from __future__ import annotations

from collections.abc import Iterator

from ha_lvs.model import DirectorPart, Encapsulation, Forwarding, IPAddress, Tunnel, TunnelChecksum
from ha_lvs.plan.facts import CAPABILITIES, Facts, Finding, Judgement, Module, Needs, destinations, interfaces, needs

REALTIME_PRIORITY = 50
"""What the elector asks for."""
_AS_ROOT = "run `ha-lvs doctor` as root to have it seen"
_HEADERS = {4: 40, 6: 60}
"""Of a TCP segment without options, by address family."""


def judge(part: DirectorPart, facts: Facts) -> list[Finding]:
    """Everything that was looked at, in the order in which it should be mended."""
    asked = needs(part)
    findings = [*_interfaces_there(asked, facts)]
    if asked.ipvs:
        findings += _ipvs(asked, facts)
        findings += _sysctls_there(part, facts)
        findings += _forwarding(part, facts)
        findings += _tunnels(part, facts)
    findings += (_module("macvlan", facts, "virtual MAC addresses") for name in asked.modules if name == "macvlan")
    if asked.groups:
        findings += _groups(part, facts)
    findings += _reverse_paths(asked, facts)
    findings.append(_clock(asked, facts))
    findings += _unit(facts)
    return findings


# ----------------------------------------------------------------------------------------------------- the checks


def _interfaces_there(asked: Needs, facts: Facts) -> Iterator[Finding]:
    for name in asked.interfaces:
        if name not in facts.interfaces:
            yield Finding(
                f"interface {name}", Judgement.MEND, "is not there", "make it, or name another one in the config"
            )
        elif name in facts.down:
            yield Finding(f"interface {name}", Judgement.MEND, "is down", f"`ip link set {name} up`, and its cable")
        else:
            yield Finding(f"interface {name}", Judgement.OK, f"up, MTU {facts.interfaces[name]}")


def _ipvs(asked: Needs, facts: Facts) -> Iterator[Finding]:
    if facts.ipvs_version is not None:
        yield Finding("IPVS", Judgement.OK, f"answers, version {facts.ipvs_version}")
    elif "cap_net_admin" not in facts.capable:
        yield Finding(
            "IPVS",
            Judgement.NOTE,
            "cannot be asked without CAP_NET_ADMIN",
            _AS_ROOT,
        )
    else:
        yield Finding("IPVS", Judgement.MEND, "does not answer", facts.ipvs_problem)
    for name in asked.modules:
        if name == "ip_vs" and facts.ipvs_version is not None:
            continue
        if name.startswith("ip_vs"):
            yield _module(name, facts, "the services")


def _module(name: str, facts: Facts, use: str) -> Finding:
    found = facts.modules.get(name)
    if found is None:
        unknown = "not loaded, or built in: /lib/modules has nothing of the running kernel"
        return Finding(f"module {name}", Judgement.NOTE, unknown, "look at the kernel's config")
    if found in (Module.LOADED, Module.BUILT_IN):
        return Finding(f"module {name}", Judgement.OK, found.value)
    if found is Module.AVAILABLE and name != "ip_vs":
        return Finding(f"module {name}", Judgement.OK, "available; the kernel loads it when it is needed")
    if found is Module.AVAILABLE:
        remedy = f"`modprobe {name}`, and `echo {name} > /etc/modules-load.d/{name}.conf`"
        return Finding(f"module {name}", Judgement.MEND, f"not loaded, and needed for {use}", remedy)
    remedy = "install the distribution's full kernel package (Debian: linux-image-amd64, Ubuntu: linux-modules-extra)"
    return Finding(f"module {name}", Judgement.MEND, f"missing, and needed for {use}", remedy)


def _sysctls_there(part: DirectorPart, facts: Facts) -> Iterator[Finding]:
    if facts.ipvs_version is None:
        return  # they come with the module
    for name, _ in part.sysctls:
        if f"net/ipv4/vs/{name}" not in facts.sysctls:
            remedy = "take it out of the config, or run a later kernel"
            yield Finding(f"net.ipv4.vs.{name}", Judgement.MEND, "is not in this kernel", remedy)


def _forwarding(part: DirectorPart, facts: Facts) -> Iterator[Finding]:
    """Requests are delivered here and sent on by IPVS itself; only replies of NAT are forwarded as by a router."""
    nat = [each for service in part.services for each in destinations(service) if each.forwarding is Forwarding.NAT]
    for version, name in ((4, "net/ipv4/ip_forward"), (6, "net/ipv6/conf/all/forwarding")):
        if not any(each.key.address.version == version for each in nat):
            continue
        dotted = name.replace("/", ".")
        if facts.sysctls.get(name):
            yield Finding(dotted, Judgement.OK, "replies of NAT servers are forwarded")
        else:
            remedy = f"`sysctl -w {dotted}=1`, and in /etc/sysctl.d/"
            yield Finding(dotted, Judgement.MEND, "is off: replies of NAT servers are dropped", remedy)
    if not nat:
        return
    redirecting = [name for name in interfaces(part) if _either(facts, name, "send_redirects")]
    if redirecting:
        names = " ".join(f"net.ipv4.conf.{name}.send_redirects=0" for name in ("all", *redirecting))
        where = ", ".join(redirecting)
        found = f"on for {where}: where clients and NAT servers share a network, these learn a way around us"
        yield Finding("send_redirects", Judgement.NOTE, found, f"`sysctl -w {names}`")
    if facts.masquerades and not facts.sysctls.get("net/ipv4/vs/conntrack"):
        found = "nftables translates source addresses, but never those of IPVS: net.ipv4.vs.conntrack is 0"
        yield Finding("conntrack", Judgement.NOTE, found, "where they are meant, `sysctl -w net.ipv4.vs.conntrack=1`")


def _tunnels(part: DirectorPart, facts: Facts) -> Iterator[Finding]:
    """What a client may send must fit the way to the server with the tunnel's headers around it."""
    largest = max((facts.interfaces.get(name, 0) for name in interfaces(part)), default=0)
    tunnels = {
        (each.key.address, each.encapsulation)
        for service in part.services
        for each in destinations(service)
        if each.forwarding is Forwarding.TUN and each.key.address in facts.path_mtus
    }
    fitting = 0
    for server, encapsulation in sorted(tunnels, key=str):
        mtu = facts.path_mtus[server]
        room = mtu - overhead(encapsulation, server)
        if room >= largest:
            fitting += 1
            continue
        found = f"MTU {mtu} leaves {room} bytes; packets of clients may have {largest}"
        remedy = (
            f"an MTU of {largest + mtu - room} on the way to the server, or a smaller MSS told by it: "
            f"`ip route change default ... advmss {room - _HEADERS[server.version]}`; else each large packet "
            "takes an ICMP message to its client, which firewalls like to drop"
        )
        yield Finding(f"tunnel to {server}", Judgement.NOTE, found, remedy)
    if fitting:
        yield Finding("tunnels", Judgement.OK, f"packets of {largest} bytes fit the way to {fitting} servers")


def overhead(encapsulation: Encapsulation | None, server: IPAddress) -> int:
    """Bytes that a tunnel adds to a packet (net/netfilter/ipvs/ip_vs_xmit.c)."""
    outer = 20 if server.version == 4 else 40
    if encapsulation is None or encapsulation.tunnel is Tunnel.IPIP:
        return outer
    checksum = encapsulation.checksum
    if encapsulation.tunnel is Tunnel.GRE:
        return outer + 4 + (4 if checksum is TunnelChecksum.FULL else 0)
    return outer + 8 + 4 + (8 if checksum is TunnelChecksum.REMOTE else 0)


def _groups(part: DirectorPart, facts: Facts) -> Iterator[Finding]:
    if not facts.nft:
        found = "the program nft is missing, which marks the traffic of service groups"
        yield Finding("nftables", Judgement.MEND, found, "`apt install nftables`")
    elif facts.nft_problem and "cap_net_admin" not in facts.capable:
        yield Finding("nftables", Judgement.NOTE, "cannot be asked without CAP_NET_ADMIN", _AS_ROOT)
    elif facts.nft_problem:
        yield Finding("nftables", Judgement.MEND, "does not work", facts.nft_problem)
        yield _module("nf_tables", facts, "the marks of service groups")
    else:
        yield Finding("nftables", Judgement.OK, f"{facts.nft} can be used")
        yield _module("nft_fib_inet", facts, "the marks of service groups")
    held = {ip.address for each in part.instances for ip in each.virtual_ips}
    for service in part.services:
        for some in () if service.traffic is None else service.traffic.addresses:
            alike = (int(ip) for ip in held if ip.version == some.first.version)
            inside = sum(int(some.first) <= ip <= int(some.last) for ip in alike)
            lacking = int(some.last) - int(some.first) + 1 - inside
            if lacking:
                found = f"{lacking} of {some} are no virtual IPs"
                remedy = (
                    "IPVS gets what is delivered to this machine: make them virtual IPs, or have them routed here "
                    "and add `ip route add local NETWORK dev lo`"
                )
                yield Finding(f"addresses of {service.name}", Judgement.NOTE, found, remedy)


def _reverse_paths(asked: Needs, facts: Facts) -> Iterator[Finding]:
    """A strict filter drops what comes in where the way back does not go out: clients behind a router elsewhere."""
    for name in asked.interfaces:
        values = [facts.sysctls.get(f"net/ipv4/conf/{each}/rp_filter", 0) for each in ("all", name)]
        elsewhere = facts.default_interfaces - {name}
        if max(values) != 1:  # 2, loose, wins over 1
            continue
        if elsewhere and name not in facts.default_interfaces:
            ways = ", ".join(sorted(elsewhere))
            found = f"strict, but the way back to clients behind a router is by {ways}: what they send here is dropped"
            remedy = f"`sysctl -w net.ipv4.conf.{name}.rp_filter=2`, unless all clients are in its own network"
            yield Finding(f"rp_filter of {name}", Judgement.NOTE, found, remedy)
        else:
            yield Finding(f"rp_filter of {name}", Judgement.OK, "strict, and the way back is the same")


def _clock(asked: Needs, facts: Facts) -> Finding:
    if facts.clock_synchronised:
        return Finding("clock", Judgement.OK, "synchronised")
    remedy = "`apt install chrony`, or `timedatectl set-ntp true`: of two overrides of operators the later one holds"
    if facts.clock_synchronised is None:
        return Finding("clock", Judgement.NOTE, "the kernel does not say whether it is synchronised", remedy)
    judgement = Judgement.MEND if asked.ipvs else Judgement.NOTE  # overrides are of servers
    return Finding("clock", judgement, "is not synchronised", remedy)


def _unit(facts: Facts) -> Iterator[Finding]:
    unit = facts.unit
    if unit is None:
        yield Finding("unit ha-lvs.service", Judgement.NOTE, "systemd has none", "deploy it: ansible/README.md")
        return
    lacking = [each for each in CAPABILITIES if each not in unit.capabilities]
    if unit.user not in ("", "root") and lacking:
        remedy = f"`AmbientCapabilities={' '.join(each.upper() for each in CAPABILITIES)}` in the unit"
        yield Finding("capabilities of the unit", Judgement.MEND, f"lacks {', '.join(lacking)}", remedy)
    else:
        yield Finding("capabilities of the unit", Judgement.OK, "addresses, IPVS and VRRP are allowed")
    if unit.realtime_priority < REALTIME_PRIORITY:
        found = f"{unit.realtime_priority}: the elector is as late as the machine is busy"
        yield Finding("LimitRTPRIO", Judgement.MEND, found, f"`LimitRTPRIO={REALTIME_PRIORITY}` in the unit")
    else:
        yield Finding("LimitRTPRIO", Judgement.OK, str(unit.realtime_priority))
    if unit.locked_bytes is not None:
        found = f"{unit.locked_bytes} bytes: the elector may wait for its memory to be read from disk"
        yield Finding("LimitMEMLOCK", Judgement.MEND, found, "`LimitMEMLOCK=infinity` in the unit")
    else:
        yield Finding("LimitMEMLOCK", Judgement.OK, "infinity")


def _either(facts: Facts, interface: str, what: str) -> bool:
    return any(facts.sysctls.get(f"net/ipv4/conf/{each}/{what}") for each in ("all", interface))
