"""The lab's network: a switch, two directors, clients and real servers, and what can go wrong with a cable.

    lb1 10.9.0.11   lb2 10.9.0.12   s1 10.9.0.21 ...   c1 10.9.0.31 ...   all /24 on one switch
    lb1 fd00:9::11  lb2 fd00:9::12  and so on, /64, and link-local ones, where the kernel has IPv6
    virtual IP 10.9.0.100; inside gateway for NAT 10.9.0.1, the second virtual IP of the directors

The switch is a namespace with a bridge that does not look into multicast, one port per host (``v`` and its name).
A cut host keeps its link up and hears nothing any more, as when a switch dies or a cable lies behind another one.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import os
import struct
from pathlib import Path
from types import TracebackType

from ha_lvs.drill.lab import kernel, namespaces
from ha_lvs.drill.lab.hosts import INTERFACE, Host
from ha_lvs.drill.lab.namespaces import Namespace
from ha_lvs.drill.lab.servers import Server
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.errors import LabError
from ha_lvs.model import Forwarding

NETWORK = "10.9.0."
VIRTUAL_IP = f"{NETWORK}100"
INSIDE_GATEWAY = f"{NETWORK}1"
DIRECTORS = 2
BRIDGE = "sw"
_FIRST_HOST = {"lb": 11, "s": 21, "c": 31}
_MOST = 9

_TUNSETIFF = 0x400454CA
_IFF_TAP_OF_FRAMES = 0x0002 | 0x1000 | 0x4000
"""A tap, without the kernel's own header before each frame, with that of virtio. linux/if_tun.h"""

_COMMON_SYSCTLS = {"rp_filter": 0, "accept_redirects": 0, "send_redirects": 0}
"""Reverse path filters drop what tunnels and asymmetric replies bring; redirects would lead around the director."""

DROP_ALL = "tbf rate 8bit burst 10b limit 10b"
"""A bucket smaller than any frame lets none through, and unlike netem it is in nearly every kernel."""


def addresses(kind: str, count: int) -> dict[str, str]:
    """The first hosts of a kind and their addresses, in any lab.

    Arguments:
        kind: ``lb``, ``s`` or ``c``.
        count: how many.
    """
    return {f"{kind}{number + 1}": f"{NETWORK}{_FIRST_HOST[kind] + number}" for number in range(count)}


class Blocked(enum.Enum):
    """Which direction of a host's cable is dead."""

    RECEIVES = "receives"
    SENDS = "sends"


class Lab:
    """A network of namespaces, there while the `with` block lasts.

    Arguments:
        name: short, for the namespaces' names.
        directory: for logs and configuration of what runs in the lab; made where it is missing.
        clients, servers: how many, 0 to 9.
        directors: none where whole machines take their place, see `tap`.

    Errors: LabError when it cannot be built; nothing stays behind then.
    """

    def __init__(
        self, name: str, directory: Path, *, clients: int = 1, servers: int = 0, directors: int = DIRECTORS
    ) -> None:
        if not (0 <= clients <= _MOST and 0 <= servers <= _MOST):
            raise LabError(f"a lab has 0 to {_MOST} clients and servers, not {clients} and {servers}")
        self.name = name
        self.directory = directory
        self.hosts: dict[str, Host] = {}
        self.servers: list[Server] = []
        self._counts = {"lb": directors, "s": servers, "c": clients}
        self._prefix = namespaces.unique_prefix(name)
        self._switch: Namespace | None = None

    def __enter__(self) -> Lab:
        self.directory.mkdir(parents=True, exist_ok=True)
        kernel.load_modules()
        namespaces.remove_leftovers()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kills everything in the lab and removes it. Can be called again."""
        for host in self.hosts.values():
            host.close()
        if self._switch is not None:
            self._switch.close()
            self._switch = None
        self.hosts.clear()
        self.servers.clear()
        namespaces.remove(self._namespaces())

    def host(self, name: str) -> Host:
        """A host by name: ``lb1``, ``c1``, ``s1``.

        Errors: LabError when the lab has none of that name.
        """
        try:
            return self.hosts[name]
        except KeyError:
            raise LabError(f"the lab has no host {name}; it has {', '.join(self.hosts)}") from None

    def server(self, name: str) -> Server:
        """A real server by name.

        Errors: LabError when the lab has none of that name.
        """
        for server in self.servers:
            if server.name == name:
                return server
        raise LabError(f"the lab has no real server {name}")

    def tap(self, port: str) -> int:
        """A port of the switch for a whole machine: a tap that is there for as long as somebody holds it open.

        Arguments:
            port: its name in the switch, with no other port's.

        Returns: a file descriptor, for qemu's ``-netdev tap,fd=``; the caller closes it.
        Errors: LabError when the kernel has no taps or the name is taken.
        """
        switch = self._the_switch()
        try:
            with switch.inside():
                tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", port.encode(), _IFF_TAP_OF_FRAMES))
                except BaseException:
                    os.close(tap)
                    raise
        except OSError as problem:
            raise LabError(f"a tap {port} cannot be made: {problem}") from problem
        with switch.inside():
            namespaces.batch([f"link set {port} up master {BRIDGE}"])
        return tap

    def forward(self, forwarding: Forwarding, virtual_ip: str = VIRTUAL_IP) -> None:
        """Prepares every real server for a forwarding method; can be called again to change it.

        With NAT the answers go by `INSIDE_GATEWAY`, which the directors must hold as a virtual IP.
        """
        clients = [host.address for name, host in self.hosts.items() if name.startswith("c")]
        for server in self.servers:
            server.accept(forwarding, virtual_ip, clients, INSIDE_GATEWAY)

    def start_servers(self) -> None:
        """Starts nginx on every real server and waits until all of them answer."""
        for server in self.servers:
            server.start(wait=False)
        for server in self.servers:
            wait_for(server.answers, 20, f"nginx on {server.name} to answer")

    # ------------------------------------------------------------------------------------------- faults

    def cut(self, name: str) -> None:
        """Takes a host off the network, without it noticing anything at its link."""
        self._the_switch().set_master(_port(self.host(name).name), None)

    def heal(self, name: str) -> None:
        """Undoes every fault of a host's cable."""
        host, switch = self.host(name), self._the_switch()
        switch.set_master(_port(name), BRIDGE)
        with switch.inside():
            self._qdisc(_port(name), "")
        with host.inside():
            self._qdisc(INTERFACE, "")

    def delay(self, name: str, ms: float, *, jitter_ms: float = 0.0, loss_percent: float = 0.0) -> None:
        """Makes a host's cable slow or lossy, in each direction.

        Arguments:
            ms: milliseconds that a packet takes longer each way.
            jitter_ms: deviation of that; more than a little reorders packets.
            loss_percent: how many of 100 packets are lost each way.

        Errors: LabError when the kernel has no netem, as some kernels without loadable modules.
        """
        netem = f"netem delay {ms}ms {jitter_ms}ms loss {loss_percent}% limit 100000"
        with self._the_switch().inside():
            self._qdisc(_port(self.host(name).name), netem)
        with self.host(name).inside():
            self._qdisc(INTERFACE, netem)

    def one_way(self, name: str, blocked: Blocked) -> None:
        """Drops all that a host sends, or all that is sent to it; the other direction works.

        Errors: LabError when the kernel has no tbf.
        """
        if blocked is Blocked.SENDS:
            with self.host(name).inside():
                self._qdisc(INTERFACE, DROP_ALL)
        else:
            with self._the_switch().inside():
                self._qdisc(_port(self.host(name).name), DROP_ALL)

    # ---------------------------------------------------------------------------------------- the building

    def _names(self) -> list[tuple[str, str]]:
        return [pair for kind, count in self._counts.items() for pair in addresses(kind, count).items()]

    def _namespaces(self) -> list[str]:
        return [self._prefix + BRIDGE, *(self._prefix + name for name, _ in self._names())]

    def _build(self) -> None:
        names = self._names()
        namespaces.batch(f"netns add {name}" for name in self._namespaces())
        self._switch = Namespace(self._prefix + BRIDGE)
        for name, address in names:
            self.hosts[name] = Host(name, address, Namespace(self._prefix + name))
        for host in self.hosts.values():
            # Before the interface is made: it inherits what `default` says.
            for scope in ("all", "default"):
                for key, value in _COMMON_SYSCTLS.items():
                    host.sysctl(f"net.ipv4.conf.{scope}.{key}", value)
            host.switch_on_ipv6()
            # Without servers it is a pair of hosts with an address that moves. A host that forwards would pass on what
            # still comes to it for an address that has moved away, and hide that nobody was told.
            if host.name.startswith("lb") and self._counts["s"]:
                host.sysctl("net.ipv4.ip_forward", 1)
        with self._switch.inside():
            namespaces.batch(
                [
                    f"link add {BRIDGE} type bridge mcast_snooping 0 forward_delay 0",
                    *(
                        f"link add {_port(name)} up master {BRIDGE} type veth"
                        f" peer name {INTERFACE} address {_hardware_address(address)} netns {self._prefix}{name}"
                        for name, address in names
                    ),
                    f"link set {BRIDGE} up",
                ]
            )
        pending = []
        for host in self.hosts.values():
            with host.inside():
                pending.append(
                    namespaces.start_batch(
                        [
                            "link set lo up",
                            f"addr add {host.address}/24 dev {INTERFACE}",
                            *([f"addr add {host.address6}/64 dev {INTERFACE} nodad"] if host.has_ipv6 else []),
                            f"link set {INTERFACE} up",
                        ]
                    )
                )
        for process in pending:
            namespaces.finish_batch(process)
        wait_for(self._forwards, 20, f"the switch of {self.name} to forward on every port")
        self.servers = [
            Server(host, self.directory / name) for name, host in self.hosts.items() if name.startswith("s")
        ]

    def _forwards(self) -> bool:
        """Whether every cable is plugged in as the switch sees it, which learns of carriers a moment later."""
        with self._the_switch().inside():
            shown = namespaces.ask(f"link show master {BRIDGE}")
        states = [each["linkinfo"]["info_slave_data"]["state"] for each in shown]
        return states == ["forwarding"] * len(self.hosts)

    def _the_switch(self) -> Namespace:
        if self._switch is None:
            raise LabError(f"the lab {self.name} is not up")
        return self._switch

    def _qdisc(self, interface: str, discipline: str) -> None:
        if discipline:
            namespaces.batch([f"qdisc replace dev {interface} root {discipline}"], "tc")
        else:
            # Nothing to delete is what a healthy cable looks like.
            with contextlib.suppress(LabError):
                namespaces.batch([f"qdisc del dev {interface} root"], "tc")


def _port(host: str) -> str:
    return f"v{host}"


def _hardware_address(address: str) -> str:
    return "02:09:" + ":".join(f"{int(part):02x}" for part in address.split("."))
