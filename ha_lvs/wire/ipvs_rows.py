"""Answers of IPVS over generic netlink, as rows (linux/ip_vs.h, linux/netlink.h).

Rules that hold here:
* Malformed bytes raise WireError and nothing else. Attributes and commands that are not known are skipped.
* A row is what the kernel said; `service()` and `destination()` make of it the value that plans are made of
  and name in `extra` whatever is set that we never set.
* Fields are in host byte order except addresses, ports and IPv4 netmasks.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from ha_lvs.errors import WireError
from ha_lvs.model import (
    FULL_PREFIX,
    Destination,
    DestinationKey,
    Encapsulation,
    Forwarding,
    IPAddress,
    Protocol,
    Service,
    ServiceKey,
    SyncDaemon,
    SyncState,
    Timeouts,
)
from ha_lvs.wire.ipvs_constants import (
    AF_INET,
    AF_INET6,
    FWD_METHODS,
    IP_VS_SVC_F_HASHED,
    IP_VS_SVC_F_ONEPACKET,
    IP_VS_SVC_F_PERSISTENT,
    IP_VS_SVC_F_SCHED_FALLBACK,
    IP_VS_SVC_F_SCHED_PORT,
    IPVS_CMD_ATTR_DAEMON,
    IPVS_CMD_ATTR_DEST,
    IPVS_CMD_ATTR_SERVICE,
    IPVS_CMD_ATTR_TIMEOUT_TCP,
    IPVS_CMD_ATTR_TIMEOUT_TCP_FIN,
    IPVS_CMD_ATTR_TIMEOUT_UDP,
    IPVS_CMD_NEW_DAEMON,
    IPVS_CMD_NEW_DEST,
    IPVS_CMD_NEW_SERVICE,
    IPVS_CMD_SET_CONFIG,
    IPVS_CMD_SET_INFO,
    IPVS_DAEMON_ATTR_MCAST_GROUP,
    IPVS_DAEMON_ATTR_MCAST_GROUP6,
    IPVS_DAEMON_ATTR_MCAST_IFN,
    IPVS_DAEMON_ATTR_MCAST_PORT,
    IPVS_DAEMON_ATTR_MCAST_TTL,
    IPVS_DAEMON_ATTR_STATE,
    IPVS_DAEMON_ATTR_SYNC_ID,
    IPVS_DAEMON_ATTR_SYNC_MAXLEN,
    IPVS_DEST_ATTR_ACTIVE_CONNS,
    IPVS_DEST_ATTR_ADDR,
    IPVS_DEST_ATTR_ADDR_FAMILY,
    IPVS_DEST_ATTR_FWD_METHOD,
    IPVS_DEST_ATTR_INACT_CONNS,
    IPVS_DEST_ATTR_L_THRESH,
    IPVS_DEST_ATTR_PERSIST_CONNS,
    IPVS_DEST_ATTR_PORT,
    IPVS_DEST_ATTR_TUN_FLAGS,
    IPVS_DEST_ATTR_TUN_PORT,
    IPVS_DEST_ATTR_TUN_TYPE,
    IPVS_DEST_ATTR_U_THRESH,
    IPVS_DEST_ATTR_WEIGHT,
    IPVS_INFO_ATTR_CONN_TAB_SIZE,
    IPVS_INFO_ATTR_VERSION,
    IPVS_SVC_ATTR_ADDR,
    IPVS_SVC_ATTR_AF,
    IPVS_SVC_ATTR_FLAGS,
    IPVS_SVC_ATTR_FWMARK,
    IPVS_SVC_ATTR_NETMASK,
    IPVS_SVC_ATTR_PE_NAME,
    IPVS_SVC_ATTR_PORT,
    IPVS_SVC_ATTR_PROTOCOL,
    IPVS_SVC_ATTR_SCHED_NAME,
    IPVS_SVC_ATTR_TIMEOUT,
    NLA_TYPE_MASK,
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSGERR_ATTR_MSG,
    TUNNEL_FLAGS,
    TUNNEL_TYPES,
)

_FORWARDINGS = {method: forwarding for forwarding, method in FWD_METHODS.items()}
_TUNNELS = {number: tunnel for tunnel, number in TUNNEL_TYPES.items()}
_CHECKSUMS = {flags: checksum for checksum, flags in TUNNEL_FLAGS.items()}
_PROTOCOLS = {protocol.number: protocol for protocol in Protocol}

_NLMSGHDR = struct.Struct("=IHHII")
_NLATTR = struct.Struct("=HH")
_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")
_S32 = struct.Struct("=i")
_FLAGS = struct.Struct("=II")


@dataclass(frozen=True, slots=True)
class Reply:
    """An acknowledgement, an error, or the end of a dump.

    Arguments:
        errno: 0 or a positive error number.
        text: the kernel's extended explanation, mostly empty.
    """

    errno: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """A service as the kernel lists it.

    Arguments:
        address: unspecified for a service that is known by its firewall mark.
        protocol: IP protocol number.
        netmask: of persistence, a mask for IPv4 and a prefix length for IPv6.
        pe_name: persistence engine, or empty.
    """

    address: IPAddress
    port: int
    protocol: int
    fwmark: int
    scheduler: str
    flags: int
    timeout_s: int
    netmask: int
    pe_name: str = ""

    def service(self) -> Service | None:
        """The row as a value that can be desired; None when it cannot: a protocol that is not balanced."""
        family = self.address.version
        protocol = _PROTOCOLS.get(self.protocol)
        if self.fwmark:
            key = ServiceKey.of_mark(self.fwmark, family)
        elif protocol is not None:
            key = ServiceKey(self.address, self.port, protocol)
        else:
            return None
        extra: list[str] = []
        other = self.flags & ~_KNOWN_FLAGS
        if other:
            extra.append(f"flags {other:#x}")
        prefix = _prefix(self.netmask, family)
        if prefix is None:
            extra.append(f"netmask {self.netmask if family == 6 else IPv4Address(self.netmask)}")
        return Service(
            key=key,
            scheduler=self.scheduler,
            persistence_timeout_s=self.timeout_s if self.flags & IP_VS_SVC_F_PERSISTENT else 0,
            extra=", ".join(extra),
            persistence_prefix=None if prefix == FULL_PREFIX[family] else prefix,
            persistence_engine=self.pe_name,
            one_packet=bool(self.flags & IP_VS_SVC_F_ONEPACKET),
            fallback=bool(self.flags & IP_VS_SVC_F_SCHED_FALLBACK),
            hash_port=bool(self.flags & IP_VS_SVC_F_SCHED_PORT),
        )


_KNOWN_FLAGS = (
    IP_VS_SVC_F_PERSISTENT
    | IP_VS_SVC_F_HASHED
    | IP_VS_SVC_F_ONEPACKET
    | IP_VS_SVC_F_SCHED_FALLBACK
    | IP_VS_SVC_F_SCHED_PORT
)


def _prefix(netmask: int, family: int) -> int | None:
    """How many bits a netmask of the kernel takes; None when it is none that takes the first so many."""
    if family == 6:
        return netmask if netmask <= FULL_PREFIX[6] else None
    gap = ~netmask & 0xFFFFFFFF
    return None if gap & (gap + 1) else 32 - gap.bit_length()


@dataclass(frozen=True, slots=True)
class DestinationRow:
    """A destination as the kernel lists it. Thresholds are numbers of connections, 0 for none."""

    address: IPAddress
    port: int
    fwd_method: int
    weight: int
    upper_threshold: int
    lower_threshold: int
    active_connections: int
    inactive_connections: int
    persistent_connections: int
    tunnel_type: int = 0
    tunnel_port: int = 0
    tunnel_flags: int = 0

    @property
    def key(self) -> DestinationKey:
        """Its identity within the service."""
        return DestinationKey(self.address, self.port)

    def destination(self) -> Destination:
        """The row as a value that can be desired."""
        forwarding = _FORWARDINGS.get(self.fwd_method)
        extra = "" if forwarding is not None else f"forwarding method {self.fwd_method}"
        encapsulation = None
        if self.tunnel_type or self.tunnel_port or self.tunnel_flags:
            tunnel, checksum = _TUNNELS.get(self.tunnel_type), _CHECKSUMS.get(self.tunnel_flags)
            if tunnel is None or checksum is None:
                extra = f"tunnel type {self.tunnel_type} flags {self.tunnel_flags}"
            else:
                encapsulation = Encapsulation(tunnel, self.tunnel_port, checksum)
        return Destination(
            self.key,
            forwarding or Forwarding.NAT,
            self.weight,
            extra,
            self.upper_threshold,
            self.lower_threshold,
            encapsulation,
        )


@dataclass(frozen=True, slots=True)
class DaemonRow:
    """A sync daemon as the kernel lists it. `sync_maxlen` is the size of a datagram in bytes."""

    daemon: SyncDaemon
    sync_maxlen: int


@dataclass(frozen=True, slots=True)
class InfoRow:
    """IPVS itself: its version as ``(1, 2, 1)`` and the number of buckets of the connection table."""

    version: tuple[int, int, int]
    connection_table_size: int


@dataclass(frozen=True, slots=True)
class TimeoutsRow:
    """How long IPVS remembers silent connections."""

    timeouts: Timeouts


Body = Reply | ServiceRow | DestinationRow | DaemonRow | InfoRow | TimeoutsRow


@dataclass(frozen=True, slots=True)
class Message:
    """One message out of a datagram.

    Arguments:
        sequence: that of the request which it answers.
        last: whether it ends what belongs to that request.
        interrupted: whether the dump that it is part of changed under way and must be asked for again.
    """

    sequence: int
    last: bool
    interrupted: bool
    body: Body


def decode(data: bytes, family: int) -> Iterator[Message]:
    """What a datagram from the kernel holds, in order; messages of other families and commands are skipped.

    Errors: WireError on bytes that are not netlink as the kernel speaks it.
    """
    offset = 0
    end = len(data)
    while offset < end:
        if end - offset < _NLMSGHDR.size:
            raise WireError("truncated", "netlink header")
        size, kind, flags, sequence, _ = _NLMSGHDR.unpack_from(data, offset)
        if size < _NLMSGHDR.size or offset + size > end:
            raise WireError("length", f"netlink message of {size} bytes")
        interrupted = bool(flags & NLM_F_DUMP_INTR)
        start = offset + _NLMSGHDR.size
        if kind in (NLMSG_ERROR, NLMSG_DONE):
            yield Message(sequence, True, interrupted, _reply(data, start, offset + size, kind, flags))
        elif kind == family:
            body = _body(data, start, offset + size)
            if body is not None:
                yield Message(sequence, False, interrupted, body)
        offset += (size + 3) & ~3


def _reply(data: bytes, start: int, end: int, kind: int, flags: int) -> Reply:
    if end - start < _S32.size:
        if kind == NLMSG_DONE:
            return Reply(0)
        raise WireError("truncated", "netlink error")
    errno = -_S32.unpack_from(data, start)[0]
    if errno < 0:
        raise WireError("errno", f"netlink error {-errno} is positive")
    if not flags & NLM_F_ACK_TLVS:
        return Reply(errno)
    start += _S32.size
    if kind == NLMSG_ERROR:  # the request follows, whole or only its header
        if end - start < _NLMSGHDR.size:
            raise WireError("truncated", "request in a netlink error")
        size = _U32.unpack_from(data, start)[0]
        start += _NLMSGHDR.size if flags & NLM_F_CAPPED else (size + 3) & ~3
    for attribute, at, size in _attributes(data, start, end):
        if attribute == NLMSGERR_ATTR_MSG:
            return Reply(errno, _text(data[at : at + size]))
    return Reply(errno)


def _body(data: bytes, start: int, end: int) -> Body | None:
    if end - start < 4:
        raise WireError("truncated", "generic netlink header")
    command = data[start]
    start += 4
    if command == IPVS_CMD_SET_INFO:
        return _info(data, start, end)
    if command == IPVS_CMD_SET_CONFIG:
        return _timeouts(data, start, end)
    wanted = _NESTS.get(command)
    if wanted is None:
        return None
    for kind, at, size in _attributes(data, start, end):
        if kind == wanted[0]:
            return wanted[1](data, at, at + size)
    raise WireError("attribute", f"command {command} without its attribute {wanted[0]}")


def _attributes(data: bytes, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Type, position and size of the payload of each attribute between two positions."""
    while end - offset >= _NLATTR.size:
        size, kind = _NLATTR.unpack_from(data, offset)
        if size < _NLATTR.size or offset + size > end:
            raise WireError("length", f"netlink attribute of {size} bytes")
        yield kind & NLA_TYPE_MASK, offset + _NLATTR.size, size - _NLATTR.size
        offset += (size + 3) & ~3


class _Values:
    """The attributes of one nest, by type, read with their sizes checked."""

    __slots__ = ("_data", "_places")

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data = data
        self._places = {kind: (at, size) for kind, at, size in _attributes(data, start, end)}

    def has(self, kind: int) -> bool:
        return kind in self._places

    def raw(self, kind: int, least: int) -> bytes:
        at, size = self._places.get(kind, (0, -1))
        if size < least:
            raise WireError("attribute", f"attribute {kind} is missing or short")
        return self._data[at : at + size]

    def number(self, kind: int, layout: struct.Struct, default: int | None = None) -> int:
        if default is not None and kind not in self._places:
            return default
        value: int = layout.unpack_from(self.raw(kind, layout.size))[0]
        return value

    def text(self, kind: int) -> str:
        return _text(self.raw(kind, 0)) if kind in self._places else ""

    def port(self, kind: int) -> int:
        return int.from_bytes(self.raw(kind, 2)[:2], "big")

    def address(self, kind: int, family: int) -> IPAddress:
        if family == AF_INET:
            return IPv4Address(self.raw(kind, 4)[:4])
        if family == AF_INET6:
            return IPv6Address(self.raw(kind, 16)[:16])
        raise WireError("family", f"address family {family}")


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode("utf-8", "replace")


_NOWHERE: dict[int, IPAddress] = {AF_INET: IPv4Address(0), AF_INET6: IPv6Address(0)}


def _service(data: bytes, start: int, end: int) -> ServiceRow:
    values = _Values(data, start, end)
    family = values.number(IPVS_SVC_ATTR_AF, _U16)
    if family not in (AF_INET, AF_INET6):
        raise WireError("family", f"address family {family}")
    fwmark = values.number(IPVS_SVC_ATTR_FWMARK, _U32, 0)
    marked = values.has(IPVS_SVC_ATTR_FWMARK)
    netmask = values.raw(IPVS_SVC_ATTR_NETMASK, 4)[:4]
    return ServiceRow(
        address=_NOWHERE[family] if marked else values.address(IPVS_SVC_ATTR_ADDR, family),
        port=0 if marked else values.port(IPVS_SVC_ATTR_PORT),
        protocol=0 if marked else values.number(IPVS_SVC_ATTR_PROTOCOL, _U16),
        fwmark=fwmark,
        scheduler=values.text(IPVS_SVC_ATTR_SCHED_NAME),
        flags=_FLAGS.unpack_from(values.raw(IPVS_SVC_ATTR_FLAGS, _FLAGS.size))[0],
        timeout_s=values.number(IPVS_SVC_ATTR_TIMEOUT, _U32),
        netmask=int.from_bytes(netmask, "big") if family == AF_INET else _U32.unpack(netmask)[0],
        pe_name=values.text(IPVS_SVC_ATTR_PE_NAME),
    )


# The attributes of a destination in the order in which kernels since 5.3 write them (ip_vs_genl_fill_dest): address,
# port, forwarding, weight, tunnel type, port and flags, thresholds, connections, family. Ten thousand destinations are
# read several times faster in one go than one attribute at a time. What looks different is read the slow way.
_DEST = struct.Struct("=I16s I2sxx II Ii IBxxx I2sxx IHxx II II II II II IHxx".replace(" ", ""))
_DEST_HEADS = tuple(
    size | kind << 16 if struct.pack("=H", 1) == b"\1\0" else size << 16 | kind
    for size, kind in (
        (20, 1), (6, 2), (8, 3), (8, 4), (5, 13), (6, 14), (6, 15),
        (8, 5), (8, 6), (8, 7), (8, 8), (8, 9), (6, 11),
    )
)  # fmt: skip


def _destination(data: bytes, start: int, end: int) -> DestinationRow:
    if end - start >= _DEST.size:
        row = _DEST.unpack_from(data, start)
        if row[::2] == _DEST_HEADS and row[25] in (AF_INET, AF_INET6):
            raw = row[1]
            address = IPv4Address(raw[:4]) if row[25] == AF_INET else IPv6Address(raw)
            port = int.from_bytes(row[3], "big")
            tunnel_port = int.from_bytes(row[11], "big")
            return DestinationRow(
                address, port, row[5], row[7], row[15], row[17], row[19], row[21], row[23], row[9], tunnel_port, row[13]
            )
    return _destination_by_attribute(data, start, end)


def _destination_by_attribute(data: bytes, start: int, end: int) -> DestinationRow:
    values = _Values(data, start, end)
    return DestinationRow(
        address=values.address(IPVS_DEST_ATTR_ADDR, values.number(IPVS_DEST_ATTR_ADDR_FAMILY, _U16)),
        port=values.port(IPVS_DEST_ATTR_PORT),
        fwd_method=values.number(IPVS_DEST_ATTR_FWD_METHOD, _U32),
        weight=values.number(IPVS_DEST_ATTR_WEIGHT, _S32),
        upper_threshold=values.number(IPVS_DEST_ATTR_U_THRESH, _U32),
        lower_threshold=values.number(IPVS_DEST_ATTR_L_THRESH, _U32),
        active_connections=values.number(IPVS_DEST_ATTR_ACTIVE_CONNS, _U32, 0),
        inactive_connections=values.number(IPVS_DEST_ATTR_INACT_CONNS, _U32, 0),
        persistent_connections=values.number(IPVS_DEST_ATTR_PERSIST_CONNS, _U32, 0),
        tunnel_type=values.raw(IPVS_DEST_ATTR_TUN_TYPE, 1)[0] if values.has(IPVS_DEST_ATTR_TUN_TYPE) else 0,
        tunnel_port=values.port(IPVS_DEST_ATTR_TUN_PORT) if values.has(IPVS_DEST_ATTR_TUN_PORT) else 0,
        tunnel_flags=values.number(IPVS_DEST_ATTR_TUN_FLAGS, _U16, 0),
    )


def _daemon(data: bytes, start: int, end: int) -> DaemonRow:
    values = _Values(data, start, end)
    state = values.number(IPVS_DAEMON_ATTR_STATE, _U32)
    if state not in (SyncState.MASTER.value, SyncState.BACKUP.value):
        raise WireError("state", f"sync daemon state {state}")
    if values.has(IPVS_DAEMON_ATTR_MCAST_GROUP6):
        group = values.address(IPVS_DAEMON_ATTR_MCAST_GROUP6, AF_INET6)
    else:
        group = values.address(IPVS_DAEMON_ATTR_MCAST_GROUP, AF_INET)
    daemon = SyncDaemon(
        state=SyncState(state),
        interface=values.text(IPVS_DAEMON_ATTR_MCAST_IFN),
        sync_id=values.number(IPVS_DAEMON_ATTR_SYNC_ID, _U32),
        group=group,
        port=values.number(IPVS_DAEMON_ATTR_MCAST_PORT, _U16),
        ttl=values.raw(IPVS_DAEMON_ATTR_MCAST_TTL, 1)[0],
    )
    return DaemonRow(daemon, values.number(IPVS_DAEMON_ATTR_SYNC_MAXLEN, _U16, 0))


def _info(data: bytes, start: int, end: int) -> InfoRow:
    values = _Values(data, start, end)
    version = values.number(IPVS_INFO_ATTR_VERSION, _U32)
    parts = (version >> 16) & 0xFF, (version >> 8) & 0xFF, version & 0xFF
    return InfoRow(parts, values.number(IPVS_INFO_ATTR_CONN_TAB_SIZE, _U32))


def _timeouts(data: bytes, start: int, end: int) -> TimeoutsRow:
    values = _Values(data, start, end)
    kinds = (IPVS_CMD_ATTR_TIMEOUT_TCP, IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, IPVS_CMD_ATTR_TIMEOUT_UDP)
    return TimeoutsRow(Timeouts(*(values.number(kind, _U32, 0) for kind in kinds)))


_NESTS: dict[int, tuple[int, Callable[[bytes, int, int], Body]]] = {
    IPVS_CMD_NEW_SERVICE: (IPVS_CMD_ATTR_SERVICE, _service),
    IPVS_CMD_NEW_DEST: (IPVS_CMD_ATTR_DEST, _destination),
    IPVS_CMD_NEW_DAEMON: (IPVS_CMD_ATTR_DAEMON, _daemon),
}
