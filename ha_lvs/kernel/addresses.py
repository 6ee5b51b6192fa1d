"""Virtual IPs on their interfaces: held under a lease, dropped, listed.

Rules that hold here:
* All requests are bytes prepared at the start; holding and dropping are a handful of `send` calls, whatever the number
  of addresses (4 for 500).
* Nothing else vanishes with a virtual IP. The kernel removes the later IPv4 addresses of a network along with its
  first one, unless the interface promotes them (sysctl promote_secondaries): so that is set on every interface that
  carries one, over netlink because /proc/sys may be read-only for us, and left set: it is the better default, and the
  lease of a dead director's address may end later. Virtual IPs are also dropped in the reverse order, the cheapest.
* An IPv6 virtual IP brings no route to its network by itself, for the reason given in `wire.rtnetlink.addresses`.
  Where its prefix is longer than one host, we add that route, worse than the kernel's own, with the same lease.
* On a virtual router's own interface (macvlan) the network belongs to the interface below: an IPv4 virtual IP's route
  to it is made worse than that one's.
* That interface is up only while its addresses are held. Both directors have its MAC address, and one that is up also
  speaks without being asked (multicast listener reports): the switches would look for the MAC address there. So it is
  switched on before the addresses come and off before they go, unless it carries somebody else's, too.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from dataclasses import dataclass
from ipaddress import IPv6Network

from ha_lvs.kernel import links, netlink
from ha_lvs.model import IPAddress, VirtualIp, VrrpInstance
from ha_lvs.wire import rtnetlink

ON_LINK_METRIC = 1024
"""Of our routes to the networks of virtual IPs, plus the virtual router id, so that no two instances share one."""

_GONE = (errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO, errno.ESRCH)
_LIST_SEQUENCE = 1


@dataclass(frozen=True, slots=True)
class AddressFailure:
    """A virtual IP that the kernel refused to add or remove, and why."""

    virtual_ip: VirtualIp
    errno: int

    def __str__(self) -> str:
        carrier = self.virtual_ip.carrier
        text = f"{self.virtual_ip} on {carrier}: {os.strerror(self.errno)}"
        if self.errno == errno.EACCES and self.virtual_ip.address.version == 6:
            text += f" (IPv6 is off there: set net.ipv6.conf.{carrier}.disable_ipv6 to 0)"
        if self.errno == errno.EADDRINUSE and self.virtual_ip.mac_vlan:
            text += " (another interface has its MAC address: are there two virtual routers with one router id?)"
        return text


class HeldAddresses:
    """The virtual IPs of one instance on this machine.

    Arguments:
        instance: names the addresses, their interfaces and the lease.

    Errors: PlatformError when one of the interfaces does not exist.
    """

    def __init__(self, instance: VrrpInstance) -> None:
        self._virtual_ips = instance.virtual_ips
        self._lease_s = instance.lease_s
        self._on_link_metric = ON_LINK_METRIC + instance.router_id
        self._indexes: dict[str, int] = {}
        self._sock = netlink.open_route()
        try:
            self._prepare()
        except BaseException:
            self._sock.close()
            raise

    def _prepare(self) -> None:
        """Builds the requests; sequence number i + 1 is about `self._about[i]`."""
        self._indexes = links.indexes_of({ip.carrier for ip in self._virtual_ips}, self._indexes)
        indexed = [(ip, self._indexes[ip.carrier]) for ip in self._virtual_ips]
        networks: dict[tuple[IPv6Network, int], VirtualIp] = {}
        for ip, index in indexed:
            if ip.address.version == 6 and ip.prefix_length < 128:
                networks.setdefault((IPv6Network((ip.address, ip.prefix_length), strict=False), index), ip)
        self._where = {(index, ip.address, ip.prefix_length) for ip, index in indexed}
        own = {self._indexes[ip.mac_vlan]: ip for ip in self._virtual_ips if ip.mac_vlan}
        self._about = [*self._virtual_ips, *networks.values(), *own.values(), *own.values()]
        hold = [self._add(ip, index, sequence) for sequence, (ip, index) in enumerate(indexed, start=1)]
        drop = [
            rtnetlink.delete_address(ip.address, ip.prefix_length, index, sequence)
            for sequence, (ip, index) in enumerate(indexed, start=1)
        ]
        for sequence, (network, index) in enumerate(networks, start=1 + len(indexed)):
            hold.append(rtnetlink.add_on_link(network, index, self._on_link_metric, self._lease_s, sequence))
            drop.append(rtnetlink.delete_on_link(network, index, self._on_link_metric, sequence))
        numbers = itertools.count(len(hold) + 1)
        switch_on = [rtnetlink.switch_on(index, next(numbers)) for index in own]
        self._switch_off = {index: rtnetlink.batches([rtnetlink.switch_off(index, next(numbers))]) for index in own}
        self._hold = rtnetlink.batches([*switch_on, *hold])
        self._drop = rtnetlink.batches(drop[::-1])
        self._promote({index for ip, index in indexed if ip.address.version == 4})

    def _add(self, ip: VirtualIp, index: int, sequence: int) -> bytes:
        return rtnetlink.add_address(
            ip.address,
            ip.prefix_length,
            index,
            self._lease_s,
            sequence,
            label=ip.label,
            scope=ip.scope,
            metric=self._on_link_metric if ip.mac_vlan else 0,
        )

    def _promote(self, indexes: set[int]) -> None:
        """Lets addresses survive the first one of their network."""
        setting = {rtnetlink.Ipv4Setting.PROMOTE_SECONDARIES: 1}
        requests = [rtnetlink.set_ipv4(index, setting, at) for at, index in enumerate(sorted(indexes), start=1)]
        # Whoever may not do this may not add addresses either, and will be told so then.
        with contextlib.suppress(OSError):
            netlink.exchange(self._sock, rtnetlink.batches(requests))

    def hold(self) -> list[AddressFailure]:
        """Adds what is missing and renews the lease of what is there. What failed comes back."""
        failures = self._request(self._hold)
        return self._request(self._hold) if self._moved(failures) else failures

    def drop(self) -> list[AddressFailure]:
        """Removes what is there. What is not there, or whose interface is gone, is no failure."""
        failures = self._request(self._quiet() + self._drop)
        if self._moved(failures):
            failures = self._request(self._quiet() + self._drop)
        return [failure for failure in failures if failure.errno not in _GONE]

    def _quiet(self) -> tuple[rtnetlink.Batch, ...]:
        """What switches off the virtual router's own interfaces that carry nothing but ours."""
        if not self._switch_off:
            return ()
        try:
            others = {each.index for each in list_addresses() if self._key(each) not in self._where}
        except OSError:
            return ()
        return tuple(itertools.chain(*(off for index, off in self._switch_off.items() if index not in others)))

    @staticmethod
    def _key(found: rtnetlink.Address) -> tuple[int, IPAddress, int]:
        return (found.index, found.address, found.prefix_length)

    def _moved(self, failures: list[AddressFailure]) -> bool:
        """Whether an interface was made anew under its name; the requests then have its new index."""
        if all(failure.errno != errno.ENODEV for failure in failures):
            return False
        before = self._indexes
        self._prepare()
        return self._indexes != before

    def present(self) -> list[rtnetlink.Address]:
        """Those of the addresses that are on their interfaces now, with the prefix length that they are to have.

        Errors: OSError when the kernel does not list addresses.
        """
        return [each for each in list_addresses() if self._key(each) in self._where]

    def _request(self, batches: tuple[rtnetlink.Batch, ...]) -> list[AddressFailure]:
        """Sends prepared requests; a socket that fails is a failure of all of them, never an exception."""
        try:
            refused = netlink.exchange(self._sock, batches)
        except OSError as problem:
            return [AddressFailure(ip, problem.errno or errno.EIO) for ip in self._virtual_ips]
        return [AddressFailure(self._about[sequence - 1], number) for sequence, number in sorted(refused.items())]

    def close(self) -> None:
        """Closes the socket; the addresses stay as they are."""
        self._sock.close()


def list_addresses() -> list[rtnetlink.Address]:
    """Every address of this network namespace, of both families.

    Errors: OSError when the kernel does not list them.
    """
    found = netlink.list_all(rtnetlink.list_addresses(_LIST_SEQUENCE))
    return [item for item in found if isinstance(item, rtnetlink.Address)]
