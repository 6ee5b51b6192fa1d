"""Real servers as they are probed, and what is known of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ha_lvs.model.addresses import IPAddress
from ha_lvs.model.ipvs import Encapsulation, Forwarding


class ServerState(enum.Enum):
    """What is known of a real server. Unknown servers get no traffic unless the kernel already sends them some."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class CheckType(enum.Enum):
    """Kinds of health check; the value is the name in config files."""

    NONE = "none"
    TCP = "tcp"
    HALF_OPEN = "tcp-half-open"
    HTTP = "http"
    HTTPS = "https"
    DNS = "dns"
    SMTP = "smtp"
    UDP = "udp"
    PING = "ping"
    GRPC = "grpc"
    EXEC = "exec"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class TlsCheck:
    """How a server's certificate is judged.

    Arguments:
        name: of the server, for SNI and for the certificate; empty for the Host header's, or the address.
        verify: whether the certificate must be valid for the name and signed by an authority that is trusted.
        ca: file with authorities to trust in place of the system's; empty for those.
        warn_s: so many seconds before it expires a certificate is warned of; 0 for never.
    """

    name: str = ""
    verify: bool = True
    ca: str = ""
    warn_s: float = 14 * 86400.0


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """What an HTTP check asks for, and what it takes for a good answer. Redirects are not followed.

    Arguments:
        method, path, host, headers: of the request; an empty host means the endpoint's address.
        status: ranges of status codes that count as success, both ends included.
        contains: what must occur in the body; empty for anything.
        matches: regular expression that must match somewhere in the body; empty for anything.
        sha256: digest of the body in hexadecimal; empty for any.
    """

    method: str = "GET"
    path: str = "/"
    host: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    status: tuple[tuple[int, int], ...] = ((200, 399),)
    contains: str = ""
    matches: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class DnsCheck:
    """What a DNS server is asked over UDP.

    Arguments:
        name: that is looked up.
        type: of the record, as in zone files.
        expect: values of which each must be among the answers; empty for any answer without an error (NOERROR).
    """

    name: str
    type: str = "A"
    expect: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UdpCheck:
    """What is sent to a UDP server, and what must come back.

    Arguments:
        send: payload in hexadecimal; empty for an empty datagram.
        expect: in hexadecimal, what the answer must begin with; None where no answer is needed and only an ICMP error
            is a failure.
    """

    send: str = ""
    expect: str | None = None


@dataclass(frozen=True, slots=True)
class ExecCheck:
    """A program that judges: exit code 0 is success.

    Arguments:
        command: the program and its arguments.
        user: as whom it runs; empty for the daemon's unprivileged default.
        weight: whether it prints the server's weight, in percent of the configured one.
    """

    command: tuple[str, ...]
    user: str = ""
    weight: bool = False


@dataclass(frozen=True, slots=True)
class VirtualPath:
    """The way of clients' packets to a real server: to the virtual IP, by the forwarding method.

    Arguments:
        address, port: what clients talk to.
        forwarding: DR or TUN.
        encapsulation: of TUN; None for IP in IP.
    """

    address: IPAddress
    port: int
    forwarding: Forwarding
    encapsulation: Encapsulation | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """How a real server is probed. Two servers' equal checks of one endpoint share one probe.

    Arguments:
        type: what is tried; NONE means that the server always counts as up.
        interval_s: seconds between the starts of two probes.
        timeout_s: seconds after which a probe has failed.
        rise: successes in a row that bring a server that was down back.
        fall: failures in a row that take a server that was up out.
        fast_s: the interval while successes or failures are being counted; 0 for the usual one.
        http: of HTTP and HTTPS; None for the defaults.
        tls: of HTTPS, and of SMTP or gRPC in TLS; None for no TLS.
        dns, udp, exec: of these types.
        service: of gRPC: whose health is asked for; empty for the server's as a whole.
        hello: of SMTP: the name in EHLO; empty for the host's.
        file: of FILE: from which file the weight is read, in percent of the configured one.
        source: address that probes come from; None for the kernel's choice.
        interface: that probes leave by; empty for the kernel's choice.
        mark: firewall mark of the probes' packets; 0 for none.
        via: the path of clients' packets; None for the server's own address.
    """

    type: CheckType
    interval_s: float = 2.0
    timeout_s: float = 1.0
    rise: int = 2
    fall: int = 2
    fast_s: float = 0.0
    http: HttpCheck | None = None
    tls: TlsCheck | None = None
    dns: DnsCheck | None = None
    udp: UdpCheck | None = None
    exec: ExecCheck | None = None
    service: str = ""
    hello: str = ""
    file: str = ""
    source: IPAddress | None = None
    interface: str = ""
    mark: int = 0
    via: VirtualPath | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Something to probe, and how. Equal endpoints are one probe."""

    address: IPAddress
    port: int
    check: Check
