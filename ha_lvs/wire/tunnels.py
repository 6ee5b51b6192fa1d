"""Packets within packets, as IPVS sends them to real servers of the forwarding method TUN (net/netfilter/ipvs,
ip_vs_xmit.c: ip_vs_tunnel_xmit, ipvs_gue_encap, ipvs_gre_encap).

* IP in IP: nothing between the outer and the inner header (RFC 2003, RFC 2473).
* GRE: 4 bytes with the EtherType of what is inside, 8 with a checksum (RFC 2784).
* GUE: UDP and 4 bytes, version 0, with the protocol number of what is inside (draft-ietf-intarea-gue). The checksum is
  that of UDP. What the kernel calls a remote checksum needs one that its network card would have completed; a packet
  that has its checksum already goes out as with a full one, so ours do, too.
"""

from __future__ import annotations

import struct

from ha_lvs.model import Encapsulation, IPAddress, Tunnel, TunnelChecksum
from ha_lvs.wire import ip
from ha_lvs.wire.vrrp import checksum

GRE = 47
INNER = {4: 4, 6: 41}
"""Protocol numbers of IPv4 and IPv6 within IP."""

PLAIN = Encapsulation(Tunnel.IPIP)

_UDP = struct.Struct("!HHHH")
_GUE = struct.Struct("!BBH")
_GRE = struct.Struct("!HH")
_GRE_CHECKSUM = struct.Struct("!HHHH")
_CHECKSUM_PRESENT = 0x8000


def wrap(how: Encapsulation, source: IPAddress, destination: IPAddress, inner: bytes, *, source_port: int = 0) -> bytes:
    """A packet in a packet.

    Arguments:
        how: in what.
        source, destination: of the outer packet: director and real server.
        inner: a whole IP packet of either version.
        source_port: of the UDP of GUE.

    Errors: ValueError for an empty packet.
    """
    version = inner[0] >> 4 if inner else 0
    if version not in INNER:
        raise ValueError("what is to be wrapped is no IP packet")
    protocol, payload = INNER[version], inner
    if how.tunnel is Tunnel.GRE:
        protocol, payload = GRE, _gre(how, ip.ETHERTYPES[version], inner)
    elif how.tunnel is Tunnel.GUE:
        payload = _gue(how, source, destination, source_port, _GUE.pack(0, protocol, 0) + inner)
        protocol = ip.UDP
    return ip.header(source, destination, protocol, len(payload)) + payload


def _gre(how: Encapsulation, kind: int, inner: bytes) -> bytes:
    if how.checksum is TunnelChecksum.NONE:
        return _GRE.pack(0, kind) + inner
    value = checksum(_GRE_CHECKSUM.pack(_CHECKSUM_PRESENT, kind, 0, 0) + inner)
    return _GRE_CHECKSUM.pack(_CHECKSUM_PRESENT, kind, value, 0) + inner


def _gue(how: Encapsulation, source: IPAddress, destination: IPAddress, source_port: int, payload: bytes) -> bytes:
    length = _UDP.size + len(payload)
    datagram = _UDP.pack(source_port, how.port, length, 0) + payload
    if how.checksum is TunnelChecksum.NONE:
        return datagram
    pseudo = ip.pseudo_header(source, destination, ip.UDP, length)
    value = checksum(pseudo + datagram) or 0xFFFF  # 0 would say that there is none
    return _UDP.pack(source_port, how.port, length, value) + payload
