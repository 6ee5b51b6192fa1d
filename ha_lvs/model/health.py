"""Real servers as they are probed, and what is known of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ha_lvs.model.addresses import IPAddress


class ServerState(enum.Enum):
    """What is known of a real server. Unknown servers get no traffic unless the kernel already sends them some."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class CheckType(enum.Enum):
    """Kinds of health check; the value is the name in config files."""

    NONE = "none"
    TCP = "tcp"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class Check:
    """How a real server is probed. Two servers' equal checks of one endpoint share one probe.

    Arguments:
        type: what is tried; NONE means that the server always counts as up.
        interval_s: seconds between the starts of two probes.
        timeout_s: seconds after which a probe has failed.
        rise: successes in a row that bring a server that was down back.
        fall: failures in a row that take a server that was up out.
        path, host: of the HTTP request; an empty host means the endpoint's address.
        status_min, status_max: the HTTP status codes that count as success, both included.
    """

    type: CheckType
    interval_s: float = 2.0
    timeout_s: float = 1.0
    rise: int = 2
    fall: int = 2
    path: str = "/"
    host: str = ""
    status_min: int = 200
    status_max: int = 399


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Something to probe, and how. Equal endpoints are one probe."""

    address: IPAddress
    port: int
    check: Check
