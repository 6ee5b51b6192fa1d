"""Which dialogue is held for which check, and over what: a bare connection, or TLS.

Rules that hold here:
* Whatever is the same for all probes of an endpoint (requests, expressions) is made once, when its probe is.
* HTTPS offers HTTP/1.1 but puts up with servers that agree upon nothing. gRPC needs HTTP/2 to be agreed upon, as its
  clients do.
"""

from __future__ import annotations

import re
import socket

from ha_lvs.health.probes.base import Driver, Probe
from ha_lvs.health.probes.stream import OpenDialogue, StreamProbe, http_dialogues
from ha_lvs.health.probes.tls import TlsProbe
from ha_lvs.health.speech import grpc
from ha_lvs.health.speech.grpc import GrpcDialogue
from ha_lvs.health.speech.smtp import SmtpDialogue
from ha_lvs.model import Endpoint

_HOST_AND_PORT = re.compile(r"\[(?P<bracketed>[^\]]*)\](?::[0-9]*)?|(?P<plain>[^:]*)(?::[0-9]*)?")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")


def https_probe(endpoint: Endpoint, engine: Driver) -> Probe:
    """A request in TLS, and the status and perhaps the body of its answer."""
    host = "" if endpoint.check.http is None else endpoint.check.http.host
    found = _HOST_AND_PORT.fullmatch(host)
    name = (found["bracketed"] or found["plain"] or "") if found else host
    return TlsProbe(endpoint, engine, http_dialogues(endpoint), name, "http/1.1")


def smtp_probe(endpoint: Endpoint, engine: Driver) -> Probe:
    """A greeting, EHLO and QUIT; in TLS from the first byte where the check says so."""
    hello = endpoint.check.hello or _own_name()
    return _probe(endpoint, engine, lambda: SmtpDialogue(hello))


def grpc_probe(endpoint: Endpoint, engine: Driver) -> Probe:
    """A request for the health of a gRPC service."""
    address = f"[{endpoint.address}]" if endpoint.address.version == 6 else str(endpoint.address)
    tls = endpoint.check.tls
    authority = tls.name if tls is not None and tls.name else f"{address}:{endpoint.port}"
    request = grpc.request(authority, endpoint.check.service, tls is not None)
    return _probe(endpoint, engine, lambda: GrpcDialogue(request), "h2")


def _probe(endpoint: Endpoint, engine: Driver, open_dialogue: OpenDialogue, protocol: str = "") -> Probe:
    if endpoint.check.tls is None:
        return StreamProbe(endpoint, engine, open_dialogue)
    return TlsProbe(endpoint, engine, open_dialogue, protocol=protocol, needed=bool(protocol))


def _own_name() -> str:
    name = socket.gethostname()
    return name if _HOST_NAME.fullmatch(name) else "localhost"
