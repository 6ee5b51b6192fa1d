"""Requests to IPVS over generic netlink, as bytes (linux/ip_vs.h, net/netfilter/ipvs/ip_vs_ctl.c).

Rules that hold here:
* A request is packed by a few `struct` calls, never as a tree of objects: a thousand services with ten
  servers each are eleven thousand messages. pyroute2's encoder is the dumb twin in the tests.
* Each request is a complete message, padded to 4 bytes, so that many can be joined and travel in one `send`;
  each is answered on its own, by the sequence number that was given. `ipvs_rows` reads the answers.
* `family` is the id that the kernel gave to the family `IPVS`; `sequence` comes back in the answer.
* Fields are in host byte order except addresses and ports. Nests carry no NLA_F_NESTED: IPVS never asks for
  it.
* A full request states all that can be set, so that what somebody else set is written over.
"""

from __future__ import annotations

import functools
import struct
import sys

from ha_lvs.model import FULL_PREFIX, Destination, DestinationKey, Service, ServiceKey, SyncDaemon, SyncState, Timeouts
from ha_lvs.wire.ipvs_constants import (
    AF_INET,
    AF_INET6,
    FWD_METHODS,
    IP_VS_IFNAME_MAXLEN,
    IP_VS_PENAME_MAXLEN,
    IP_VS_SCHEDNAME_MAXLEN,
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
    IPVS_CMD_DEL_DAEMON,
    IPVS_CMD_DEL_DEST,
    IPVS_CMD_DEL_SERVICE,
    IPVS_CMD_GET_CONFIG,
    IPVS_CMD_GET_DAEMON,
    IPVS_CMD_GET_DEST,
    IPVS_CMD_GET_INFO,
    IPVS_CMD_GET_SERVICE,
    IPVS_CMD_NEW_DAEMON,
    IPVS_CMD_NEW_DEST,
    IPVS_CMD_NEW_SERVICE,
    IPVS_CMD_SET_CONFIG,
    IPVS_CMD_SET_DEST,
    IPVS_CMD_SET_SERVICE,
    IPVS_DAEMON_ATTR_MCAST_GROUP,
    IPVS_DAEMON_ATTR_MCAST_GROUP6,
    IPVS_DAEMON_ATTR_MCAST_IFN,
    IPVS_DAEMON_ATTR_MCAST_PORT,
    IPVS_DAEMON_ATTR_MCAST_TTL,
    IPVS_DAEMON_ATTR_STATE,
    IPVS_DAEMON_ATTR_SYNC_ID,
    IPVS_DEST_ATTR_ADDR,
    IPVS_DEST_ATTR_ADDR_FAMILY,
    IPVS_DEST_ATTR_FWD_METHOD,
    IPVS_DEST_ATTR_L_THRESH,
    IPVS_DEST_ATTR_PORT,
    IPVS_DEST_ATTR_TUN_FLAGS,
    IPVS_DEST_ATTR_TUN_PORT,
    IPVS_DEST_ATTR_TUN_TYPE,
    IPVS_DEST_ATTR_U_THRESH,
    IPVS_DEST_ATTR_WEIGHT,
    IPVS_GENL_VERSION,
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
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    TUNNEL_FLAGS,
    TUNNEL_TYPES,
)

_HEADER = struct.Struct("=IHHIIBBH")  # nlmsghdr and genlmsghdr
_NLATTR = struct.Struct("=HH")
_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")
_SERVICE_KEY = {
    4: struct.Struct("=HHHxxHHHxxHH4sHH2sxx"),
    6: struct.Struct("=HHHxxHHHxxHH16sHH2sxx"),
}
_MARK_KEY = struct.Struct("=HHHxxHHI")
_SERVICE_REST = struct.Struct("=HHIIHHIHHI")
_DEST_KEY = {4: struct.Struct("=HHHxxHH4sHH2sxx"), 6: struct.Struct("=HHHxxHH16sHH2sxx")}
_DEST_REST = struct.Struct("=HHIHHIHHIHHI")
_DEST_TUNNEL = struct.Struct("=HHBxxxHH2sxxHHHxx")
_ALL_FLAGS = 0xFFFFFFFF


def new_service(family: int, sequence: int, service: Service) -> bytes:
    """The request that adds a service; EEXIST when there is one of its key."""
    return _request(family, IPVS_CMD_NEW_SERVICE, sequence, _full_service(service))


def set_service(family: int, sequence: int, service: Service) -> bytes:
    """The request that gives an existing service this scheduler and persistence; ESRCH when there is none."""
    return _request(family, IPVS_CMD_SET_SERVICE, sequence, _full_service(service))


def get_service(family: int, sequence: int, key: ServiceKey) -> bytes:
    """The request for one service, answered by one `ServiceRow` and an acknowledgement; ESRCH when there is none."""
    return _request(family, IPVS_CMD_GET_SERVICE, sequence, _nest(IPVS_CMD_ATTR_SERVICE, _service_key(key)))


def delete_service(family: int, sequence: int, key: ServiceKey) -> bytes:
    """The request that removes a service and its destinations; ESRCH when there is none."""
    return _request(family, IPVS_CMD_DEL_SERVICE, sequence, _nest(IPVS_CMD_ATTR_SERVICE, _service_key(key)))


def list_services(family: int, sequence: int) -> bytes:
    """The request for all services of this network namespace, as a dump of `ServiceRow`."""
    return _request(family, IPVS_CMD_GET_SERVICE, sequence, b"", NLM_F_REQUEST | NLM_F_DUMP)


def new_destination(family: int, sequence: int, key: ServiceKey, destination: Destination) -> bytes:
    """The request that adds a destination: ESRCH without the service, EEXIST when it is there."""
    return _request(family, IPVS_CMD_NEW_DEST, sequence, _full_destination(key, destination))


def set_destination(family: int, sequence: int, key: ServiceKey, destination: Destination) -> bytes:
    """The request that gives a destination this forwarding and weight: ESRCH without the service, else
    ENOENT."""
    return _request(family, IPVS_CMD_SET_DEST, sequence, _full_destination(key, destination))


def delete_destination(family: int, sequence: int, key: ServiceKey, destination: DestinationKey) -> bytes:
    """The request that takes a destination out: ESRCH without the service, ENOENT without it."""
    body = _nest(IPVS_CMD_ATTR_SERVICE, _service_key(key))
    body += _nest(IPVS_CMD_ATTR_DEST, _destination_key(destination))
    return _request(family, IPVS_CMD_DEL_DEST, sequence, body)


def list_destinations(family: int, sequence: int, key: ServiceKey) -> bytes:
    """The request for a service's destinations, a dump of `DestinationRow`; empty without the service."""
    body = _nest(IPVS_CMD_ATTR_SERVICE, _service_key(key))
    return _request(family, IPVS_CMD_GET_DEST, sequence, body, NLM_F_REQUEST | NLM_F_DUMP)


def new_daemon(family: int, sequence: int, daemon: SyncDaemon) -> bytes:
    """The request that starts a sync daemon: EEXIST when its state runs, ENODEV without the interface.

    Errors: ValueError when the interface's name does not fit the kernel's 15 bytes.
    """
    interface = daemon.interface.encode()
    if not 0 < len(interface) < IP_VS_IFNAME_MAXLEN:
        raise ValueError(f"{daemon.interface!r} is no interface name")
    v6 = daemon.group.version == 6
    body = (
        _attribute(IPVS_DAEMON_ATTR_STATE, _U32.pack(daemon.state.value))
        + _attribute(IPVS_DAEMON_ATTR_MCAST_IFN, interface + b"\0")
        + _attribute(IPVS_DAEMON_ATTR_SYNC_ID, _U32.pack(daemon.sync_id))
        + _attribute(IPVS_DAEMON_ATTR_MCAST_GROUP6 if v6 else IPVS_DAEMON_ATTR_MCAST_GROUP, daemon.group.packed)
        + _attribute(IPVS_DAEMON_ATTR_MCAST_PORT, _U16.pack(daemon.port))
        + _attribute(IPVS_DAEMON_ATTR_MCAST_TTL, bytes((daemon.ttl,)))
    )
    return _request(family, IPVS_CMD_NEW_DAEMON, sequence, _nest(IPVS_CMD_ATTR_DAEMON, body))


def delete_daemon(family: int, sequence: int, state: SyncState) -> bytes:
    """The request that stops the sync daemon of a state; ESRCH when it does not run."""
    body = _nest(IPVS_CMD_ATTR_DAEMON, _attribute(IPVS_DAEMON_ATTR_STATE, _U32.pack(state.value)))
    return _request(family, IPVS_CMD_DEL_DAEMON, sequence, body)


def list_daemons(family: int, sequence: int) -> bytes:
    """The request for the running sync daemons, as a dump of `DaemonRow`."""
    return _request(family, IPVS_CMD_GET_DAEMON, sequence, b"", NLM_F_REQUEST | NLM_F_DUMP)


def set_timeouts(family: int, sequence: int, timeouts: Timeouts) -> bytes:
    """The request that sets those of the time-outs that are not 0."""
    kinds = (IPVS_CMD_ATTR_TIMEOUT_TCP, IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, IPVS_CMD_ATTR_TIMEOUT_UDP)
    values = (timeouts.tcp, timeouts.tcp_fin, timeouts.udp)
    body = b"".join(_attribute(kind, _U32.pack(value)) for kind, value in zip(kinds, values, strict=True) if value)
    return _request(family, IPVS_CMD_SET_CONFIG, sequence, body)


def get_timeouts(family: int, sequence: int) -> bytes:
    """The request for the time-outs, answered by one `TimeoutsRow` and an acknowledgement."""
    return _request(family, IPVS_CMD_GET_CONFIG, sequence, b"")


def get_info(family: int, sequence: int) -> bytes:
    """The request for the version of IPVS, answered by one `InfoRow` and an acknowledgement."""
    return _request(family, IPVS_CMD_GET_INFO, sequence, b"")


def _request(family: int, command: int, sequence: int, body: bytes, flags: int = NLM_F_REQUEST | NLM_F_ACK) -> bytes:
    size = _HEADER.size + len(body)
    return _HEADER.pack(size, family, flags, sequence, 0, command, IPVS_GENL_VERSION, 0) + body


def _attribute(kind: int, data: bytes) -> bytes:
    return _NLATTR.pack(_NLATTR.size + len(data), kind) + data + b"\0" * (-len(data) % 4)


def _nest(kind: int, body: bytes) -> bytes:
    return _NLATTR.pack(_NLATTR.size + len(body), kind) + body


def _service_key(key: ServiceKey) -> bytes:
    address = key.address
    v6 = address.version == 6
    if key.mark:
        return _MARK_KEY.pack(
            6, IPVS_SVC_ATTR_AF, AF_INET6 if v6 else AF_INET,
            8, IPVS_SVC_ATTR_FWMARK, key.mark,
        )  # fmt: skip
    return _SERVICE_KEY[address.version].pack(
        6, IPVS_SVC_ATTR_AF, AF_INET6 if v6 else AF_INET,
        6, IPVS_SVC_ATTR_PROTOCOL, key.protocol.number,
        20 if v6 else 8, IPVS_SVC_ATTR_ADDR, address.packed,
        6, IPVS_SVC_ATTR_PORT, key.port.to_bytes(2, "big"),
    )  # fmt: skip


@functools.lru_cache(maxsize=256)
def _service_rest(version: int, scheduler: str, flags: int, timeout_s: int, prefix: int, engine: str) -> bytes:
    """What services of one kind share. The netmask is a must, for IPv6 as a prefix length (else EINVAL)."""
    name = scheduler.encode()
    if not 0 < len(name) < IP_VS_SCHEDNAME_MAXLEN:
        raise ValueError(f"{scheduler!r} is no scheduler name")
    rest = _attribute(IPVS_SVC_ATTR_SCHED_NAME, name + b"\0")
    if engine:
        if not len(engine.encode()) < IP_VS_PENAME_MAXLEN:
            raise ValueError(f"{engine!r} is no name of a persistence engine")
        rest += _attribute(IPVS_SVC_ATTR_PE_NAME, engine.encode() + b"\0")
    netmask = prefix if version == 6 else int.from_bytes(_netmask(prefix), sys.byteorder)
    return rest + _SERVICE_REST.pack(
        12, IPVS_SVC_ATTR_FLAGS, flags, _ALL_FLAGS,
        8, IPVS_SVC_ATTR_TIMEOUT, timeout_s,
        8, IPVS_SVC_ATTR_NETMASK, netmask,
    )  # fmt: skip


def _netmask(prefix: int) -> bytes:
    """Of IPv4, in network byte order."""
    return (0xFFFFFFFF << (32 - prefix) & 0xFFFFFFFF).to_bytes(4, "big")


def _full_service(service: Service) -> bytes:
    version = service.key.address.version
    timeout_s, prefix = service.persistence_timeout_s, service.persistence_prefix
    flags = (
        (IP_VS_SVC_F_PERSISTENT if timeout_s else 0)
        | (IP_VS_SVC_F_ONEPACKET if service.one_packet else 0)
        | (IP_VS_SVC_F_SCHED_FALLBACK if service.fallback else 0)
        | (IP_VS_SVC_F_SCHED_PORT if service.hash_port else 0)
    )
    prefix = FULL_PREFIX[version] if prefix is None else prefix
    rest = _service_rest(version, service.scheduler, flags, timeout_s, prefix, service.persistence_engine)
    return _nest(IPVS_CMD_ATTR_SERVICE, _service_key(service.key) + rest)


def _destination_key(key: DestinationKey) -> bytes:
    address = key.address
    v6 = address.version == 6
    return _DEST_KEY[address.version].pack(
        6, IPVS_DEST_ATTR_ADDR_FAMILY, AF_INET6 if v6 else AF_INET,
        20 if v6 else 8, IPVS_DEST_ATTR_ADDR, address.packed,
        6, IPVS_DEST_ATTR_PORT, key.port.to_bytes(2, "big"),
    )  # fmt: skip


def _full_destination(key: ServiceKey, destination: Destination) -> bytes:
    rest = _DEST_REST.pack(
        8, IPVS_DEST_ATTR_FWD_METHOD, FWD_METHODS[destination.forwarding],
        8, IPVS_DEST_ATTR_WEIGHT, destination.weight,
        8, IPVS_DEST_ATTR_U_THRESH, destination.upper_threshold,
        8, IPVS_DEST_ATTR_L_THRESH, destination.lower_threshold,
    )  # fmt: skip
    tunnel = destination.encapsulation
    if tunnel is not None:  # without, the kernel takes IP in IP
        rest += _DEST_TUNNEL.pack(
            5, IPVS_DEST_ATTR_TUN_TYPE, TUNNEL_TYPES[tunnel.tunnel],
            6, IPVS_DEST_ATTR_TUN_PORT, tunnel.port.to_bytes(2, "big"),
            6, IPVS_DEST_ATTR_TUN_FLAGS, TUNNEL_FLAGS[tunnel.checksum],
        )  # fmt: skip
    service = _nest(IPVS_CMD_ATTR_SERVICE, _service_key(key))
    return service + _nest(IPVS_CMD_ATTR_DEST, _destination_key(destination.key) + rest)
