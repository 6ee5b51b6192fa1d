"""A network namespace with a few interfaces, for tests of one machine's kernel; `ip` is the other opinion."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.kernel.namespace import new_network_namespace
from ha_lvs.model import VirtualIp, VrrpInstance


@contextmanager
def cabled(*interfaces: str) -> Iterator[None]:
    """The calling thread is in a namespace of its own with these interfaces; the far end of e0 is p-e0.

    Nobody looks for duplicate IPv6 addresses there, so that there is nothing to wait for.
    """
    with new_network_namespace():
        for scope in ("all", "default"):
            conf("ipv6", scope, "accept_dad", 0)
            conf("ipv6", scope, "disable_ipv6", 0)
        ip("link set lo up")
        for interface in interfaces:
            plug(interface)
        yield


def plug(interface: str) -> None:
    """Makes an interface, with a carrier."""
    ip(f"link add {interface} type veth peer name p-{interface}")
    ip(f"link set p-{interface} up")
    ip(f"link set {interface} up")


def ip(command: str) -> None:
    """Runs a line of `ip`; it must work."""
    subprocess.run(["ip", *command.split()], check=True, capture_output=True)


def own(address: str, interface: str = "e0") -> None:
    """Gives an interface an address that can be used at once.

    The kernel makes an IPv6 address a place to deliver to a moment later, in a worker of its own.
    """
    ip(f"addr add {address} dev {interface}" + (" nodad" if ":" in address else ""))
    plain = address.partition("/")[0]
    if ":" in address and _has_carrier(interface):
        wait_for(lambda: asked(f"-6 route show table local {plain}"), 20, f"{plain} to be local")


def _has_carrier(interface: str) -> bool:
    (link,) = asked(f"link show dev {interface}")
    return "LOWER_UP" in link["flags"]


def asked(command: str) -> list[dict[str, Any]]:
    """What `ip` lists, as it says it in JSON."""
    shown = subprocess.run(["ip", "-d", "-j", *command.split()], check=True, capture_output=True, text=True).stdout
    found: list[dict[str, Any]] = json.loads(shown or "[]")
    return [each for each in found if each]


def addresses(interface: str) -> dict[str, dict[str, Any]]:
    """The addresses of an interface, as ADDRESS/LENGTH, but for link-local ones."""
    (link,) = asked(f"addr show dev {interface}")
    return {
        f"{each['local']}/{each['prefixlen']}": each
        for each in link["addr_info"]
        if "local" in each and not each["local"].startswith("fe80")
    }


def conf(family: str, interface: str, setting: str, value: int | None = None) -> str:
    """Reads a sysctl of an interface, or sets it first."""
    path = Path("/proc/sys/net", family, "conf", interface, setting)
    if value is not None:
        path.write_text(str(value))
    return path.read_text().strip()


def virtual(text: str, interface: str = "e0", **more: Any) -> VirtualIp:
    """A virtual IP written as ADDRESS/LENGTH."""
    address, _, length = text.partition("/")
    return VirtualIp(ip_address(address), int(length), interface, **more)


def instance(*virtual_ips: VirtualIp, **changes: Any) -> VrrpInstance:
    """An instance that needs to say nothing on the wire; `changes` replace what is usual."""
    fields: dict[str, Any] = {
        "name": "edge",
        "interface": "e0",
        "router_id": 51,
        "priority": 100,
        "interval_s": 1.0,
        "preempt": True,
        "source": ip_address("10.9.0.11"),
        "peers": (),
        "group": ip_address("224.0.0.18"),
        "virtual_ips": virtual_ips,
        "lease_s": None,
        "announce_repeat": 0,
        "announce_interval_s": 1.0,
    }
    return VrrpInstance(**{**fields, **changes})
