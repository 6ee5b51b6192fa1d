"""IPVS messages: our `struct` encoder against pyroute2's trees, rows against what was sent, and nonsense."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.generic.ipvs import ipvsmsg

from ha_lvs.errors import WireError
from ha_lvs.model import (
    SCHEDULERS,
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
    Tunnel,
    TunnelChecksum,
)
from ha_lvs.wire import ipvs_netlink as requests
from ha_lvs.wire.ipvs_rows import (
    DaemonRow,
    DestinationRow,
    InfoRow,
    Message,
    Reply,
    ServiceRow,
    TimeoutsRow,
    decode,
)

FAMILY = 33
FWD_METHODS = {Forwarding.NAT: 0, Forwarding.TUN: 2, Forwarding.DR: 3}

addresses = st.ip_addresses()
ports = st.integers(0, 65535)
sequences = st.integers(1, 2**31)
marks = st.builds(ServiceKey.of_mark, st.integers(1, 2**32 - 1), st.sampled_from([4, 6]))
service_keys = st.one_of(st.builds(ServiceKey, addresses, ports, st.sampled_from(Protocol)), marks)
services = service_keys.flatmap(
    lambda key: st.builds(
        Service,
        st.just(key),
        st.sampled_from(SCHEDULERS),
        st.integers(0, 2**31 - 1),
        persistence_prefix=st.none() | st.integers(1, 31 if key.family == 4 else 127),
        persistence_engine=st.sampled_from(["", "sip"]),
        one_packet=st.booleans(),
        fallback=st.booleans(),
        hash_port=st.booleans(),
    )
)
destination_keys = st.builds(DestinationKey, addresses, ports)
thresholds = st.integers(0, 2**32 - 1)
encapsulations = st.one_of(
    st.builds(Encapsulation, st.just(Tunnel.GUE), st.integers(1, 65535), st.sampled_from(TunnelChecksum)),
    st.builds(Encapsulation, st.just(Tunnel.GRE), checksum=st.sampled_from(TunnelChecksum)),
)
destinations = st.builds(
    Destination,
    destination_keys,
    st.sampled_from(Forwarding),
    st.integers(0, 2**31 - 1),
    upper_threshold=thresholds,
    lower_threshold=thresholds,
    encapsulation=st.none() | encapsulations,
)
daemons = st.builds(
    SyncDaemon,
    st.sampled_from(SyncState),
    st.from_regex(r"[a-z][a-z0-9.-]{0,14}", fullmatch=True),
    st.integers(0, 255),
    addresses,
    ports,
    st.integers(0, 255),
)


def only(data: bytes) -> Message:
    [message] = decode(data, FAMILY)
    return message


# ------------------------------------------------------------------------------------- against pyroute2


def family_of(address: IPAddress) -> int:
    return 10 if address.version == 6 else 2


def twin(command: int, sequence: int, flags: int, attributes: list[Any]) -> bytes:
    message = ipvsmsg()
    message["cmd"] = command
    message["version"] = 1
    message["attrs"] = attributes
    message["header"]["type"] = FAMILY
    message["header"]["flags"] = flags
    message["header"]["sequence_number"] = sequence
    message.encode()
    return bytes(message.data)


def twin_service_key(key: ServiceKey) -> list[Any]:
    if key.mark:
        return [["IPVS_SVC_ATTR_AF", family_of(key.address)], ["IPVS_SVC_ATTR_FWMARK", key.mark]]
    return [
        ["IPVS_SVC_ATTR_AF", family_of(key.address)],
        ["IPVS_SVC_ATTR_PROTOCOL", key.protocol.number],
        ["IPVS_SVC_ATTR_ADDR", str(key.address)],
        ["IPVS_SVC_ATTR_PORT", key.port],
    ]


def twin_service(service: Service) -> list[Any]:
    # pyroute2 knows netmasks as IPv4 addresses only; a prefix length in host order is the same four bytes as one.
    v6 = service.key.address.version == 6
    prefix = service.persistence_prefix if service.persistence_prefix is not None else 128 if v6 else 32
    netmask = IPv4Address(struct.pack("=I", prefix)) if v6 else IPv4Network(f"0.0.0.0/{prefix}").netmask
    bits = (service.persistence_timeout_s, 1), (service.one_packet, 4), (service.fallback, 8), (service.hash_port, 16)
    flags = {"flags": sum(bit for is_set, bit in bits if is_set), "mask": 0xFFFFFFFF}
    engine = [["IPVS_SVC_ATTR_PE_NAME", service.persistence_engine]] if service.persistence_engine else []
    return [
        *twin_service_key(service.key),
        ["IPVS_SVC_ATTR_SCHED_NAME", service.scheduler],
        *engine,
        ["IPVS_SVC_ATTR_FLAGS", flags],
        ["IPVS_SVC_ATTR_TIMEOUT", service.persistence_timeout_s],
        ["IPVS_SVC_ATTR_NETMASK", str(netmask)],
    ]


def twin_destination_key(key: DestinationKey) -> list[Any]:
    return [
        ["IPVS_DEST_ATTR_ADDR_FAMILY", family_of(key.address)],
        ["IPVS_DEST_ATTR_ADDR", str(key.address)],
        ["IPVS_DEST_ATTR_PORT", key.port],
    ]


def twin_destination(destination: Destination) -> list[Any]:
    tunnel: list[Any] = []
    if destination.encapsulation is not None:
        port = struct.unpack("=H", destination.encapsulation.port.to_bytes(2, "big"))[
            0
        ]  # it takes the kernel's for ours
        tunnel = [
            ["IPVS_DEST_ATTR_TUN_TYPE", {Tunnel.GUE: 1, Tunnel.GRE: 2}[destination.encapsulation.tunnel]],
            ["IPVS_DEST_ATTR_TUN_PORT", port],
            ["IPVS_DEST_ATTR_TUN_FLAGS", list(TunnelChecksum).index(destination.encapsulation.checksum)],
        ]
    return [
        *twin_destination_key(destination.key),
        ["IPVS_DEST_ATTR_FWD_METHOD", FWD_METHODS[destination.forwarding]],
        ["IPVS_DEST_ATTR_WEIGHT", destination.weight],
        ["IPVS_DEST_ATTR_U_THRESH", destination.upper_threshold],
        ["IPVS_DEST_ATTR_L_THRESH", destination.lower_threshold],
        *tunnel,
    ]


def of_service(attributes: list[Any]) -> list[Any]:
    return ["IPVS_CMD_ATTR_SERVICE", {"attrs": attributes}]


def of_destination(attributes: list[Any]) -> list[Any]:
    return ["IPVS_CMD_ATTR_DEST", {"attrs": attributes}]


@given(services, sequences)
def test_service_requests_are_the_bytes_that_pyroute2_makes(service: Service, sequence: int) -> None:
    full = [of_service(twin_service(service))]
    key = [of_service(twin_service_key(service.key))]
    assert requests.new_service(FAMILY, sequence, service) == twin(1, sequence, 5, full)
    assert requests.set_service(FAMILY, sequence, service) == twin(2, sequence, 5, full)
    assert requests.delete_service(FAMILY, sequence, service.key) == twin(3, sequence, 5, key)
    assert requests.list_destinations(FAMILY, sequence, service.key) == twin(8, sequence, 0x301, key)


@given(service_keys, destinations, sequences)
def test_destination_requests_are_the_bytes_that_pyroute2_makes(
    key: ServiceKey, destination: Destination, sequence: int
) -> None:
    service = of_service(twin_service_key(key))
    full = [service, of_destination(twin_destination(destination))]
    bare = [service, of_destination(twin_destination_key(destination.key))]
    assert requests.new_destination(FAMILY, sequence, key, destination) == twin(5, sequence, 5, full)
    assert requests.set_destination(FAMILY, sequence, key, destination) == twin(6, sequence, 5, full)
    assert requests.delete_destination(FAMILY, sequence, key, destination.key) == twin(7, sequence, 5, bare)


def test_requests_without_attributes_are_the_bytes_that_pyroute2_makes() -> None:
    assert requests.list_services(FAMILY, 7) == twin(4, 7, 0x301, [])
    assert requests.list_daemons(FAMILY, 7) == twin(11, 7, 0x301, [])
    assert requests.get_info(FAMILY, 7) == twin(15, 7, 5, [])


# --------------------------------------------------------------------------- there and back, and by hand


@given(services, sequences)
def test_a_service_comes_back_as_it_was_sent(service: Service, sequence: int) -> None:
    message = only(requests.new_service(FAMILY, sequence, service))
    assert message.sequence == sequence
    assert isinstance(message.body, ServiceRow)
    assert message.body.service() == service


@given(destinations)
def test_a_destination_comes_back_as_it_was_sent(destination: Destination) -> None:
    key = ServiceKey(IPv4Address("192.0.2.1"), 80, Protocol.TCP)
    body = only(requests.new_destination(FAMILY, 1, key, destination)).body
    assert isinstance(body, DestinationRow)
    assert body.destination() == destination


@given(daemons)
def test_a_sync_daemon_comes_back_as_it_was_sent(daemon: SyncDaemon) -> None:
    assert only(requests.new_daemon(FAMILY, 1, daemon)).body == DaemonRow(daemon, 0)


@given(st.lists(services, max_size=20))
def test_messages_joined_for_one_send_are_found_again(wanted: list[Service]) -> None:
    data = b"".join(requests.new_service(FAMILY, number, each) for number, each in enumerate(wanted))
    assert [message.sequence for message in decode(data, FAMILY)] == list(range(len(wanted)))


def test_a_sync_daemon_request_is_laid_out_as_the_header_says() -> None:
    daemon = SyncDaemon(SyncState.MASTER, "eth1", 9, IPv4Address("224.0.0.99"), 8849, 3)
    attributes = bytes.fromhex(
        "0800010001000000"  # state
        "090002006574683100000000"  # interface
        "0800030009000000"  # sync id
        "08000500e0000063"  # group
        "0600070091220000"  # port, host order
        "0500080003000000"  # ttl
    )
    body = struct.pack("=BBH", 9, 1, 0) + struct.pack("=HH", 4 + len(attributes), 3) + attributes
    header = struct.pack("=IHHII", 16 + len(body), FAMILY, 5, 1, 0)
    assert requests.new_daemon(FAMILY, 1, daemon) == header + body


def test_ipv6_group_of_a_sync_daemon_has_its_own_attribute() -> None:
    daemon = SyncDaemon(SyncState.BACKUP, "eth1", 9, IPv6Address("ff02::81"))
    assert struct.pack("=HH", 20, 6) + daemon.group.packed in requests.new_daemon(FAMILY, 1, daemon)


@pytest.mark.parametrize("interface", ["", "sixteen-letters-"])
def test_a_name_that_no_interface_can_have_is_not_sent(interface: str) -> None:
    with pytest.raises(ValueError, match="interface"):
        requests.new_daemon(FAMILY, 1, SyncDaemon(SyncState.MASTER, interface, 1))


# ------------------------------------------------------------------------------------- what the kernel says


def error(number: int, flags: int, rest: bytes = b"", kind: int = 2) -> bytes:
    body = struct.pack("=i", -number) + rest
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 5, 0) + body


def test_an_acknowledgement_is_a_reply_without_error() -> None:
    assert only(error(0, 0x100, bytes(16))) == Message(5, True, False, Reply(0))


def test_an_extended_acknowledgement_carries_its_text() -> None:
    text = struct.pack("=HH", 4 + 9, 1) + b"too long\0"
    assert only(error(22, 0x300, bytes(16) + text)).body == Reply(22, "too long")
    request = struct.pack("=IHHII", 21, 1, 0, 5, 0) + bytes(8)  # 21 bytes are padded to 24
    assert only(error(22, 0x200, request + text)).body == Reply(22, "too long")
    assert only(error(22, 0x200, text, kind=3)).body == Reply(22, "too long")


def test_the_end_of_a_dump_is_last_and_tells_of_interruption() -> None:
    assert only(error(0, 0x12, kind=3)) == Message(5, True, True, Reply(0))


def test_information_is_read() -> None:
    attributes = struct.pack("=HHIHHI", 8, 1, 0x010201, 8, 2, 4096)
    data = struct.pack("=IHHIIBBH", 20 + len(attributes), FAMILY, 0, 5, 0, 14, 1, 0) + attributes
    assert only(data).body == InfoRow((1, 2, 1), 4096)


def row(**change: Any) -> ServiceRow:
    fields: dict[str, Any] = {
        "address": IPv4Address("192.0.2.1"),
        "port": 80,
        "protocol": 6,
        "fwmark": 0,
        "scheduler": "rr",
        "flags": 2,
        "timeout_s": 0,
        "netmask": 0xFFFFFFFF,
    }
    return ServiceRow(**(fields | change))


@pytest.mark.parametrize(
    ("change", "extra"),
    [
        ({}, ""),
        ({"flags": 2 + 32}, "flags 0x20"),
        ({"netmask": 0xFF00FF00}, "netmask 255.0.255.0"),
        ({"address": IPv6Address("::1"), "netmask": 129}, "netmask 129"),
    ],
)
def test_what_we_never_set_on_a_service_is_named(change: dict[str, Any], extra: str) -> None:
    service = row(**change).service()
    assert service is not None
    assert service.extra == extra


def test_a_service_of_a_protocol_that_is_not_balanced_has_no_value() -> None:
    assert row(protocol=50).service() is None


def test_what_we_never_set_on_a_destination_is_named() -> None:
    odd = DestinationRow(IPv4Address("10.0.0.1"), 80, 1, 2, 9, 5, 0, 0, 0).destination()
    assert (odd.extra, odd.upper_threshold, odd.lower_threshold) == ("forwarding method 1", 9, 5)
    odd = DestinationRow(IPv4Address("10.0.0.1"), 80, 2, 2, 0, 0, 0, 0, 0, 7, 0, 9).destination()
    assert odd.extra == "tunnel type 7 flags 9"


@given(st.builds(Timeouts, *[st.integers(0, 2**31 - 1)] * 3))
def test_timeouts_come_back_as_they_were_sent_and_those_that_are_0_are_left_out(timeouts: Timeouts) -> None:
    message = only(requests.set_timeouts(FAMILY, 1, timeouts))
    assert message.body == TimeoutsRow(timeouts)
    sent = requests.set_timeouts(FAMILY, 1, timeouts)
    assert len(sent) == 20 + 8 * sum(map(bool, (timeouts.tcp, timeouts.tcp_fin, timeouts.udp)))


def kernel_destination(order: list[int]) -> bytes:
    values = {
        1: IPv4Address("10.0.0.1").packed + bytes(12), 2: b"\0\x50", 3: struct.pack("=I", 3), 4: struct.pack("=i", 7),
        13: b"\1", 14: b"\x17\xc0", 15: b"\0\0", 5: struct.pack("=I", 90), 6: struct.pack("=I", 50),
        7: struct.pack("=I", 11), 8: struct.pack("=I", 22), 9: struct.pack("=I", 33), 11: struct.pack("=H", 2),
    }  # fmt: skip
    body = b"".join(
        struct.pack("=HH", 4 + len(values[kind]), kind) + values[kind] + b"\0" * (-len(values[kind]) % 4)
        for kind in order
    )
    body = struct.pack("=BBHHH", 5, 1, 0, 4 + len(body), 2) + body
    return struct.pack("=IHHII", 16 + len(body), FAMILY, 2, 1, 0) + body


@given(st.permutations([1, 2, 3, 4, 13, 14, 15, 5, 6, 7, 8, 9, 11]))
def test_a_destination_is_read_alike_in_every_order_of_its_attributes(order: list[int]) -> None:
    wanted = DestinationRow(IPv4Address("10.0.0.1"), 80, 3, 7, 90, 50, 11, 22, 33, 1, 6080)
    assert only(kernel_destination([1, 2, 3, 4, 13, 14, 15, 5, 6, 7, 8, 9, 11])).body == wanted
    assert only(kernel_destination(order)).body == wanted


def test_messages_of_other_families_are_skipped() -> None:
    assert list(decode(requests.list_services(FAMILY + 1, 1), FAMILY)) == []


# -------------------------------------------------------------------------------------------------- nonsense


@given(st.binary(max_size=200))
def test_random_bytes_raise_wire_error_or_nothing(data: bytes) -> None:
    try_to_decode(data)


@given(st.integers(0, 17), st.binary(max_size=120))
def test_random_attributes_raise_wire_error_or_nothing(command: int, body: bytes) -> None:
    try_to_decode(struct.pack("=IHHIIBBH", 20 + len(body), FAMILY, 2, 1, 0, command, 1, 0) + body)


@given(services, service_keys, destinations, daemons, st.data())
def test_damaged_messages_raise_wire_error_or_nothing(
    service: Service, key: ServiceKey, destination: Destination, daemon: SyncDaemon, data: st.DataObject
) -> None:
    whole = bytearray(
        requests.new_service(FAMILY, 1, service)
        + requests.new_destination(FAMILY, 2, key, destination)
        + requests.new_daemon(FAMILY, 3, daemon)
        + error(3, 0x300, bytes(16) + struct.pack("=HH", 8, 1) + b"abc\0")
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try_to_decode(bytes(whole))
    try_to_decode(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


def try_to_decode(data: bytes) -> None:
    try:
        for message in decode(data, FAMILY):
            if isinstance(message.body, ServiceRow):
                message.body.service()
            elif isinstance(message.body, DestinationRow):
                message.body.destination()
    except WireError:
        pass


@pytest.mark.parametrize(
    "data",
    [
        b"\1",
        struct.pack("=IHHII", 15, FAMILY, 0, 1, 0),
        struct.pack("=IHHII", 99, FAMILY, 0, 1, 0),
        struct.pack("=IHHII", 16, FAMILY, 0, 1, 0),
        struct.pack("=IHHIIBBH", 20, FAMILY, 0, 1, 0, 1, 1, 0),
        struct.pack("=IHHII", 18, 2, 0, 1, 0) + b"\0\0",
    ],
    ids=["header", "short length", "long length", "no command", "no attribute", "error"],
)
def test_what_is_cut_off_is_an_error(data: bytes) -> None:
    with pytest.raises(WireError):
        list(decode(data, FAMILY))
