"""The config file of a lab's pair: one file for both directors, like the examples.

Made from names and addresses alone, so that it can be looked at where no lab can be built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from ha_lvs.drill.lab.topology import DIRECTORS, INSIDE_GATEWAY, VIRTUAL_IP, addresses
from ha_lvs.model import Forwarding

PORT = 80
INSTANCE = "edge"
PRIORITIES = {"lb1": 150, "lb2": 100}


def pair_config(forwarding: Forwarding, servers: int, interval_ms: int) -> dict[str, Any]:
    """What is in the file, for `dump`.

    Arguments:
        forwarding: of the one service. With NAT the servers' gateway is a second virtual IP: it must move along.
        servers: how many real servers the lab has; with none there is no service, and nothing to sync.
        interval_ms: between two advertisements.
    """
    virtual_ips = [VIRTUAL_IP, INSIDE_GATEWAY] if servers and forwarding is Forwarding.NAT else [VIRTUAL_IP]
    config: dict[str, Any] = {
        "cluster": "lab",
        "nodes": {name: {"address": address} for name, address in addresses("lb", DIRECTORS).items()},
        "instances": {
            INSTANCE: {
                "interface": "e0",
                "router_id": 51,
                "interval": f"{interval_ms}ms",
                "priority": dict(PRIORITIES),
                "virtual_ips": [f"{address}/32" for address in virtual_ips],
            }
        },
    }
    if servers:
        check = {"type": "http", "path": "/healthz", "interval": "1s", "timeout": "500ms", "rise": 2, "fall": 2}
        config["connection_sync"] = {"interface": "e0", "id": 7}
        config["services"] = [
            {
                "name": "web",
                "listen": f"{VIRTUAL_IP}:{PORT}/tcp",
                "scheduler": "wlc",
                "forwarding": forwarding.value,
                "check": check,
                "servers": list(addresses("s", servers).values()),
            }
        ]
    return config


def dump(config: Mapping[str, Any], title: str) -> str:
    """The file's text.

    Arguments:
        config: what is in it.
        title: a line for whoever opens it.
    """
    body: str = yaml.safe_dump(dict(config), sort_keys=False)
    return f"# {title}\n{body}"
