"""The config file of the demo's pair: one file for both directors, like the examples."""

from __future__ import annotations

from ha_lvs.drill.lab.topology import INSIDE_GATEWAY, VIRTUAL_IP, Lab
from ha_lvs.model import Forwarding

PORT = 80
PRIORITIES = {"lb1": 150, "lb2": 100}

_CONFIG = """\
# Written by the demo: one file, the same on both directors.
cluster: demo
nodes:
  lb1: {{address: {lb1}}}
  lb2: {{address: {lb2}}}
instances:
  edge:
    interface: e0
    router_id: 51
    interval: {interval_ms}ms
    priority: {{lb1: {priority1}, lb2: {priority2}}}
    virtual_ips: [{virtual_ips}]
connection_sync:
  interface: e0
  id: 7
services:
  - name: web
    listen: {virtual_ip}:{port}/tcp
    scheduler: wlc
    forwarding: {forwarding}
    check: {{type: http, path: /healthz, interval: 1s, timeout: 500ms, rise: 2, fall: 2}}
    servers: [{servers}]
"""


def config_text(lab: Lab, forwarding: Forwarding, interval_ms: int) -> str:
    """The pair's config file. With NAT the servers' gateway is a second virtual IP: it must move along."""
    virtual_ips = [VIRTUAL_IP, INSIDE_GATEWAY] if forwarding is Forwarding.NAT else [VIRTUAL_IP]
    return _CONFIG.format(
        lb1=lab.host("lb1").address,
        lb2=lab.host("lb2").address,
        interval_ms=interval_ms,
        priority1=PRIORITIES["lb1"],
        priority2=PRIORITIES["lb2"],
        virtual_ips=", ".join(f"{address}/32" for address in virtual_ips),
        virtual_ip=VIRTUAL_IP,
        port=PORT,
        forwarding=forwarding.value,
        servers=", ".join(server.address for server in lab.servers),
    )
