"""Route netlink bytes against pyroute2, the dumb twin, and against noise."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from ha_lvs.errors import WireError
from ha_lvs.wire import arp, rtnetlink

addresses = st.builds(IPv4Address, st.integers(0, 2**32 - 1))
indexes = st.integers(1, 2**31 - 1)
prefix_lengths = st.integers(0, 32)
sequences = st.integers(1, 2**31 - 1)
leases = st.none() | st.integers(1, 2**31)


def read(data: bytes) -> ifaddrmsg:
    message = ifaddrmsg(data)
    message.decode()
    assert message["header"]["length"] == len(data)
    return message


@given(addresses, prefix_lengths, indexes, leases, sequences)
def test_pyroute2_reads_what_adds_an_address(
    address: IPv4Address, prefix_length: int, index: int, lease_s: int | None, sequence: int
) -> None:
    message = read(rtnetlink.add_address(address, prefix_length, index, lease_s, sequence))
    assert message["header"]["type"] == 20
    assert message["header"]["flags"] == 0x1 | 0x4 | 0x100 | 0x400
    assert message["header"]["sequence_number"] == sequence
    assert (message["family"], message["prefixlen"], message["index"]) == (2, prefix_length, index)
    assert message.get_attr("IFA_LOCAL") == message.get_attr("IFA_ADDRESS") == str(address)
    lifetime = message.get_attr("IFA_CACHEINFO")
    assert lifetime["ifa_valid"] == lifetime["ifa_preferred"] == (0xFFFFFFFF if lease_s is None else lease_s)


@given(addresses, prefix_lengths, indexes, sequences)
def test_pyroute2_reads_what_deletes_an_address(
    address: IPv4Address, prefix_length: int, index: int, sequence: int
) -> None:
    message = read(rtnetlink.delete_address(address, prefix_length, index, sequence))
    assert message["header"]["type"] == 21
    assert message["prefixlen"] == prefix_length
    assert message.get_attr("IFA_LOCAL") == str(address)


@given(addresses, prefix_lengths, indexes, leases)
def test_an_address_that_the_kernel_lists_is_decoded(
    address: IPv4Address, prefix_length: int, index: int, lease_s: int | None
) -> None:
    listed = rtnetlink.add_address(address, prefix_length, index, lease_s, 7)
    assert list(rtnetlink.decode(listed)) == [rtnetlink.Address(index, address, prefix_length, lease_s)]


@given(st.binary(max_size=200))
def test_noise_raises_nothing_but_wire_error(data: bytes) -> None:
    try:
        list(rtnetlink.decode(data))
    except WireError:
        return


def test_the_frame_of_an_announcement() -> None:
    frame = arp.announcement(IPv4Address("10.9.0.100"), bytes.fromhex("02000000aa01"))
    assert frame.hex() == (
        "ffffffffffff" "02000000aa01" "0806"
        "0001" "0800" "06" "04" "0001"
        "02000000aa01" "0a090064" "000000000000" "0a090064"
    )  # fmt: skip
