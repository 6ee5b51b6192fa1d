"""keepalived as a pure VRRP speaker in the lab: what the tests beside it share."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import wait_for

VIRTUAL_IP6 = "fd00:9::100"
CLOSING = {"unicast_peer", "virtual_ipaddress", "group"}


@dataclass(frozen=True)
class Router:
    """One vrrp_instance.

    Arguments:
        priority: of keepalived.
        name, interface, router_id: of the instance.
        interval_s: between advertisements.
        virtual_ips: with prefix length.
        more: further lines.
    """

    priority: int
    name: str = "edge"
    interface: str = "e0"
    router_id: int = 51
    interval_s: float = 0.2
    virtual_ips: Sequence[str] = (f"{VIRTUAL_IP}/32",)
    more: str = ""

    def text(self) -> str:
        """As keepalived reads it."""
        addresses = "\n".join(f"        {each} dev {self.interface}" for each in self.virtual_ips)
        return f"""
vrrp_instance {self.name} {{
    state BACKUP
    interface {self.interface}
    virtual_router_id {self.router_id}
    priority {self.priority}
    advert_int {self.interval_s:g}
    {self.more}
    virtual_ipaddress {{
{addresses}
    }}
}}
"""


def unicast(source: str, peer: str) -> str:
    """The lines of an instance that speaks to one other router."""
    return f"unicast_src_ip {source}\n    unicast_peer {{\n        {peer}\n    }}"


class Keepalived:
    """keepalived on a host of the lab.

    Arguments:
        host: where.
        directory: for its files.
        routers: its instances.
        version: of VRRP.
        group: whether the instances are in a sync group.
        more: further lines of global_defs.
    """

    def __init__(
        self, host: Host, directory: Path, *routers: Router, version: int = 3, group: bool = False, more: str = ""
    ) -> None:
        self._host = host
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        sections = [f"global_defs {{\n    router_id {host.name}\n    vrrp_version {version}\n    {more}\n}}\n"]
        if group:
            names = " ".join(router.name for router in routers)
            sections.append(f"vrrp_sync_group gw {{\n    group {{\n        {names}\n    }}\n}}\n")
        sections += [router.text() for router in routers]
        (directory / "keepalived.conf").write_text("".join(sections))

    def start(self) -> None:
        """Starts it; waits for nothing."""
        program = shutil.which("keepalived") or "/usr/sbin/keepalived"
        files = {"-f": "keepalived.conf", "-p": "keepalived.pid", "-r": "vrrp.pid"}
        options = [text for flag, name in files.items() for text in (flag, str(self._directory / name))]
        with (self._directory / "keepalived.log").open("ab") as log:
            self._process = self._host.popen([program, "-P", "-n", "-l", "-D", *options], stdout=log, stderr=log)

    def stop(self) -> None:
        """Lets it end as planned: it resigns."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return (self._directory / "keepalived.log").read_text()

    def heard(self, words: str) -> None:
        """Waits until it has logged this."""
        wait_for(lambda: words in self.log, 15, f"keepalived to say: {words}")


def holders(lab: Lab, address: str = VIRTUAL_IP, interface: str = "e0") -> list[str]:
    """The directors whose kernel has an address now."""
    version = 6 if ":" in address else 4
    return [name for name in ("lb1", "lb2") if address in lab.host(name).addresses(interface, version)]


def wait_for_holder(lab: Lab, name: str, address: str = VIRTUAL_IP, interface: str = "e0") -> None:
    """Waits until this director, and it alone, has an address."""
    wait_for(lambda: holders(lab, address, interface) == [name], 20, f"{name} alone to hold {address}")
