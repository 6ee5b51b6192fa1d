"""A virtual router's own interface: a macvlan with its virtual MAC address (RFC 9568 section 7.3), made and removed.

The neighbours then keep one MAC address for a virtual IP whoever is active, and only the switches have to learn.

What has to hold for it to work, and is set here:
* private mode: it never talks to the interface below, nor to another virtual router on the same one.
* arp_ignore 1 on both: each answers ARP for its own addresses only. Otherwise the interface below would answer for the
  virtual IP too, with its own MAC address, and the neighbours would believe whichever came last.
* arp_announce 2 below: what is answered from the virtual IP leaves by that interface, and its ARP requests for the
  neighbours must not name the virtual IP as their sender, for the same reason.
* rp_filter 2 (loose) on the macvlan: the way back to the neighbours is by the interface below. The kernel takes the
  larger of this and net.ipv4.conf.all, so this holds whatever is set there. With arp_filter it takes either, so one
  that is set for all interfaces is only warned of.
* down until the addresses come: `kernel.addresses` switches it on and off. A standby's must not say a word, because
  the switches would take that for where the virtual router is.
* no IPv6 link-local address (addrgenmode none), no router advertisements: both directors have this MAC address, and
  would make the same addresses of it.

IPv4 settings go over netlink. IPv6 knows accept_ra and autoconf as sysctls only; where /proc/sys is read-only for us,
that is left out and said in words. The settings of the interface below stay when the macvlan goes.
"""

from __future__ import annotations

import errno
from pathlib import Path

from ha_lvs.errors import KernelError, PlatformError
from ha_lvs.kernel import links, netlink
from ha_lvs.wire import rtnetlink
from ha_lvs.wire.rtnetlink import Ipv4Setting

VIRTUAL_MAC_PREFIX = {4: bytes.fromhex("00005e0001"), 6: bytes.fromhex("00005e0002")}

_BELOW = {Ipv4Setting.ARP_IGNORE: 1, Ipv4Setting.ARP_ANNOUNCE: 2}
_OWN = {
    Ipv4Setting.ARP_IGNORE: 1,
    Ipv4Setting.ARP_FILTER: 0,
    Ipv4Setting.RP_FILTER: 2,
    Ipv4Setting.PROMOTE_SECONDARIES: 1,
}
_IPV6_OFF = ("accept_ra", "autoconf")
_SYSCTLS = Path("/proc/sys/net")
_LIST_SEQUENCE = 1
_HINTS = {
    errno.EPERM: "It needs CAP_NET_ADMIN",
    errno.EOPNOTSUPP: "This kernel has no macvlan: load the module macvlan",
}


def virtual_mac(router_id: int, version: int) -> bytes:
    """The MAC address of a virtual router, 6 bytes.

    Arguments:
        router_id: 1 to 255.
        version: of IP, 4 or 6.
    """
    return VIRTUAL_MAC_PREFIX[version] + bytes([router_id])


def ensure(name: str, parent: str, mac: bytes) -> tuple[str, ...]:
    """Makes a virtual router's interface, still down, or adopts the one that is there as it is.

    Arguments:
        name: of the interface.
        parent: the interface that it stands on.
        mac: its MAC address, see `virtual_mac`.

    Returns what could not be set and should be, in words.
    Errors: PlatformError when there is no such parent, or the name is taken by something else; KernelError when the
    kernel refuses.
    """
    below = links.index_of(parent)
    found = _find(name)
    if found is not None and not _is_ours(found, mac):
        raise PlatformError(
            f"interface {name} exists and is no macvlan with the MAC address {mac.hex(':')}; "
            "remove it, or give the virtual router's interface another name in the config file"
        )
    if found is not None and (found.parent, found.mode) != (below, rtnetlink.MACVLAN_MODE_PRIVATE):
        _request(f"delete interface {name}", rtnetlink.delete_link(found.index, 1), gone=True)
        found = None
    if found is None:
        _request(f"make interface {name} on {parent}", rtnetlink.create_macvlan(name, below, mac, 1), there=True)
    index = links.index_of(name)
    _request(f"set up ARP on {parent}", rtnetlink.set_ipv4(below, _BELOW, 1))
    _request(f"set up ARP on {name}", rtnetlink.set_ipv4(index, _OWN, 1))
    return (*_set_up_ipv6(name, index), *_arp_filter())


def remove(name: str, mac: bytes | None = None) -> bool:
    """Removes a virtual router's interface, and with it the addresses on it. Anybody else's interface stays.

    Arguments:
        mac: its MAC address; None for that of any virtual router.

    Returns whether it was there and is gone.
    Errors: KernelError when the kernel refuses.
    """
    found = _find(name)
    if found is None or not _is_ours(found, mac):
        return False
    _request(f"delete interface {name}", rtnetlink.delete_link(found.index, 1), gone=True)
    return True


def _find(name: str) -> rtnetlink.Link | None:
    for item in netlink.list_all(rtnetlink.list_links(_LIST_SEQUENCE)):
        if isinstance(item, rtnetlink.Link) and item.name == name:
            return item
    return None


def _is_ours(link: rtnetlink.Link, mac: bytes | None) -> bool:
    if link.kind != rtnetlink.MACVLAN:
        return False
    return link.mac == mac if mac is not None else link.mac[:-1] in VIRTUAL_MAC_PREFIX.values()


def _request(what: str, request: bytes, *, there: bool = False, gone: bool = False) -> None:
    """Has one request carried out; with `there` or `gone` it is fine when somebody else did it a moment ago."""
    with netlink.open_route() as sock:
        number = next(iter(netlink.exchange(sock, rtnetlink.batches([request])).values()), 0)
    if number == 0 or (there and number == errno.EEXIST) or (gone and number == errno.ENODEV):
        return
    raise KernelError(what, number, _HINTS.get(number, ""))


def _set_up_ipv6(name: str, index: int) -> list[str]:
    settings = _SYSCTLS / "ipv6" / "conf" / name
    if not settings.is_dir():  # there is no IPv6 at all
        return []
    _request(f"switch off the link-local address of {name}", rtnetlink.set_no_link_local(index, 1))
    warnings = []
    for setting in _IPV6_OFF:
        path = settings / setting
        try:
            if path.read_text().strip() != "0":
                path.write_text("0")
        except OSError as problem:
            warnings.append(
                f"net.ipv6.conf.{name}.{setting} cannot be set to 0 ({problem.strerror}): where routers advertise "
                f"IPv6 prefixes, set net.ipv6.conf.default.{setting} to 0 in /etc/sysctl.d before ha-lvs starts"
            )
    return warnings


def _arp_filter() -> list[str]:
    try:
        if (_SYSCTLS / "ipv4/conf/all/arp_filter").read_text().strip() == "0":
            return []
    except OSError:
        return []
    return ["net.ipv4.conf.all.arp_filter is set: ARP for virtual IPs with a virtual MAC address is not answered"]
