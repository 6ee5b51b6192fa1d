"""Asking the link and the network who is there: ARP, neighbour discovery, ICMP echo. And who we are ourselves.

Rules that hold here:
* What is asked never claims an address that moves: the sender is an address of the interface's own that the caller
  names, or none at all (an ARP probe, RFC 5227 section 1.1, which no neighbour remembers).
* A filter in the kernel lets pass only what says something about the addresses of interest; everything else on the link
  costs nothing. What passes is looked at again here.
* Neighbour solicitations come from a link-local address and never from ::, which would look like another node's
  detection of duplicates and may make a holder that is just taking the address give it up (RFC 4862 section 5.4.3).

Source: packet(7), linux/filter.h.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network

from ha_lvs.errors import PlatformError, WireError
from ha_lvs.kernel import links, netlink
from ha_lvs.model import IPAddress
from ha_lvs.socket_options import INSTRUCTION, IP_PKTINFO, attach_filter
from ha_lvs.wire import arp, icmp, ndp, rtnetlink

FRAME_BYTES = 2048
FRAMES_AT_ONCE = 256
"""So many are read in one go, so that a flood does not keep everything else waiting."""

_LOAD_WORD, _LOAD_BYTE, _JUMP_EQUAL, _JUMP, _RETURN = 0x20, 0x30, 0x15, 0x05, 0x06
_COMPARISONS = 200  # at most 255, the longest jump
_ARP_SENDER_AT, _NEXT_HEADER_AT, _ICMPV6_AT, _TARGET_END_AT = 28, 20, 54, 74


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody says that an address is theirs.

    Arguments:
        address: which.
        mac: where they say it is; empty from far away.
        answer: whether that was said to us alone, as an answer.
    """

    address: IPAddress
    mac: bytes
    answer: bool


class NeighbourSocket:
    """Asks for addresses on one interface, by ARP or neighbour discovery, and hears who claims them, asked or not.

    Arguments:
        interface: its name.
        family: 4 or 6.
        addresses: those of interest.

    Errors: PlatformError when the interface is missing or no Ethernet; OSError when the kernel refuses.
    """

    def __init__(self, interface: str, family: int, addresses: Collection[IPAddress]) -> None:
        self._family = family
        self._addresses = frozenset(addresses)
        self.index = links.index_of(interface)
        mac = links.hardware_address(interface)
        if mac is None:
            raise PlatformError(f"interface {interface} is no Ethernet: nobody there can be asked for an address")
        self._mac = mac
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._sock = socket.socket(socket.AF_PACKET, kind, 0)  # nothing is received before the filter is there
        try:
            words = sorted({int.from_bytes(each.packed[-4:], "big") for each in self._addresses})
            # Refused where there are more addresses than the kernel likes (optmem_max): all is looked at here then.
            with contextlib.suppress(OSError):
                attach_filter(self._sock, arp_filter(words) if family == 4 else advertisement_filter(words))
            self._sock.bind((interface, arp.ETHERTYPE_ARP if family == 4 else ndp.ETHERTYPE_IPV6))
        except BaseException:
            self._sock.close()
            raise

    def fileno(self) -> int:
        """For select and asyncio."""
        return self._sock.fileno()

    def ask(self, target: IPAddress, source: IPAddress | None) -> None:
        """Asks who has an address.

        Arguments:
            target: the address.
            source: an address of the interface's own, link-local for IPv6; None for none, which only ARP can do.

        Errors: OSError, for example ENETDOWN.
        """
        if isinstance(target, IPv4Address):
            if isinstance(source, IPv4Address):
                self._sock.send(arp.request(target, self._mac, source))
            else:
                self._sock.send(arp.probe(target, self._mac))
        elif isinstance(source, IPv6Address):
            self._sock.send(ndp.solicitation(target, self._mac, source))
        else:
            raise OSError(errno.EADDRNOTAVAIL, "the interface has no link-local address")

    def receive(self) -> list[Claim]:
        """What has been claimed since the last time.

        Errors: OSError, for example ENETDOWN once after the interface went down or away.
        """
        claims: list[Claim] = []
        for _ in range(FRAMES_AT_ONCE):
            try:
                frame, (_, _, kind, _, _) = self._sock.recvfrom(FRAME_BYTES)
            except BlockingIOError:
                break
            if kind == socket.PACKET_OUTGOING:
                continue
            alone = kind == socket.PACKET_HOST
            try:
                if self._family == 4:
                    said = arp.decode(frame)
                    claim = Claim(said.sender, said.sender_mac, alone and said.operation == arp.REPLY)
                else:
                    neighbour = ndp.decode(frame)
                    claim = Claim(neighbour.address, neighbour.mac, alone)
            except WireError:
                continue  # whatever it is, it says nothing of an address
            if claim.address in self._addresses:
                claims.append(claim)
        return claims

    def close(self) -> None:
        """Closes the socket."""
        self._sock.close()


class EchoSocket:
    """Sends ICMP echo requests from one interface and hears the replies; raw, or a ping socket where raw is refused.

    Arguments:
        interface: its name.
        family: 4 or 6.

    Errors: PlatformError when the interface is missing; OSError when the kernel allows neither kind of socket.
    """

    def __init__(self, interface: str, family: int) -> None:
        self._family = family
        self.index = links.index_of(interface)
        self._number = int.from_bytes(os.urandom(2), "big")
        self._sequence = 0
        domain, protocol = (
            (socket.AF_INET, socket.IPPROTO_ICMP) if family == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
        )
        flags = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._raw = True
        try:
            self._sock = socket.socket(domain, socket.SOCK_RAW | flags, protocol)
        except PermissionError:
            self._raw = False
            self._sock = socket.socket(domain, socket.SOCK_DGRAM | flags, protocol)
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
            if self._raw:
                self._sock.setsockopt(*icmp.replies_only(family))
        except BaseException:
            self._sock.close()
            raise

    def fileno(self) -> int:
        """For select and asyncio."""
        return self._sock.fileno()

    def ask(self, target: IPAddress, source: IPAddress | None) -> None:
        """Sends a request.

        Arguments:
            target: to whom.
            source: an address of ours, or None for the kernel's choice.

        Errors: OSError, for example EHOSTUNREACH.
        """
        self._sequence = (self._sequence + 1) & 0xFFFF
        packet = icmp.request(self._family, icmp.Echo(self._number, self._sequence))
        if self._family == 4:
            chosen = struct.pack("=i4s4s", self.index, source.packed if source else b"\0" * 4, b"\0" * 4)
            self._sock.sendmsg([packet], [(socket.IPPROTO_IP, IP_PKTINFO, chosen)], 0, (str(target), 0))
        else:
            chosen = struct.pack("=16si", source.packed if source else b"\0" * 16, self.index)
            to = (str(target).partition("%")[0], 0, 0, self.index if target.is_link_local else 0)
            self._sock.sendmsg([packet], [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, chosen)], 0, to)

    def receive(self) -> list[Claim]:
        """Who has answered since the last time.

        Errors: OSError.
        """
        claims: list[Claim] = []
        for _ in range(FRAMES_AT_ONCE):
            try:
                data, sender = self._sock.recvfrom(FRAME_BYTES)
            except BlockingIOError:
                break
            try:
                message = icmp.strip_ipv4(data) if self._raw and self._family == 4 else data
                number = icmp.decode_reply(message, self._family).identifier
            except WireError:
                continue
            if number == self._number or not self._raw:
                text = sender[0].partition("%")[0]
                claims.append(Claim(IPv4Address(text) if self._family == 4 else IPv6Address(text), b"", True))
        return claims

    def close(self) -> None:
        """Closes the socket."""
        self._sock.close()


# ------------------------------------------------------------------------------------- the filter in the kernel


def arp_filter(words: Sequence[int]) -> bytes:
    """A filter for ARP whose sender address is one of these numbers."""
    return _load(_LOAD_WORD, _ARP_SENDER_AT) + _one_of(words)


def advertisement_filter(words: Sequence[int]) -> bytes:
    """A filter for neighbour advertisements whose target ends with one of these numbers of 4 bytes."""
    drop = INSTRUCTION.pack(_RETURN, 0, 0, 0)
    return b"".join(
        (
            _load(_LOAD_BYTE, _NEXT_HEADER_AT),
            INSTRUCTION.pack(_JUMP_EQUAL, 1, 0, ndp.ICMPV6),
            drop,
            _load(_LOAD_BYTE, _ICMPV6_AT),
            INSTRUCTION.pack(_JUMP_EQUAL, 1, 0, ndp.NEIGHBOUR_ADVERTISEMENT),
            drop,
            _load(_LOAD_WORD, _TARGET_END_AT),
            _one_of(words),
        )
    )


def _load(size: int, offset: int) -> bytes:
    return INSTRUCTION.pack(size, 0, 0, offset)


def _one_of(words: Sequence[int]) -> bytes:
    """Takes the packet if the word that was loaded is one of these; jumps are short, so they go in portions."""
    program = bytearray()
    for start in range(0, len(words), _COMPARISONS):
        portion = words[start : start + _COMPARISONS]
        for index, word in enumerate(portion):
            program += INSTRUCTION.pack(_JUMP_EQUAL, len(portion) - index, 0, word)
        program += INSTRUCTION.pack(_JUMP, 0, 0, 1)
        program += INSTRUCTION.pack(_RETURN, 0, 0, 0xFFFF)
    return bytes(program + INSTRUCTION.pack(_RETURN, 0, 0, 0))


# --------------------------------------------------------------------------------------------- who we are


def source_for(target: IPAddress, interface: str, never: Collection[IPAddress]) -> IPAddress | None:
    """The address of an interface's own from which something is asked there.

    Arguments:
        target: whom we ask.
        never: addresses that are ours for a while only.

    Returns one in the target's network if there is one, else another; for IPv6, None rather than a link-local one
    unless the target is on the link anyway. None where there is none.
    Errors: PlatformError when there is no such interface; OSError when the kernel does not answer.
    """
    index = links.index_of(interface)
    unusable = rtnetlink.IFA_F_TENTATIVE | rtnetlink.IFA_F_DADFAILED
    family = rtnetlink.AF_INET if target.version == 4 else rtnetlink.AF_INET6
    own = [
        item
        for item in netlink.list_all(rtnetlink.list_addresses(1, family))
        if isinstance(item, rtnetlink.Address)
        and item.index == index
        and item.address not in never
        and not item.flags & unusable
    ]
    for item in own:
        if target in ip_network((item.address, item.prefix_length), strict=False):
            return item.address
    return next((item.address for item in own if not item.address.is_link_local), None)


def own_macs() -> frozenset[bytes]:
    """The MAC addresses of all interfaces of this network namespace."""
    found: set[bytes] = set()
    for _, name in socket.if_nameindex():
        with contextlib.suppress(OSError):  # it has gone meanwhile
            mac = links.hardware_address(name)
            if mac is not None:
                found.add(mac)
    return frozenset(found)
