"""ICMP echo: bytes as the RFCs have them, and what is no reply."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.errors import WireError
from ha_lvs.wire import icmp
from ha_lvs.wire.icmp import Echo

IPV4 = bytes.fromhex("4500002400000000400100000a0900150a09000b")


def test_a_request_as_ping_sends_it() -> None:
    # As captured: ping -c 1 -s 8 -p 61, identifier 0x1234, sequence 1.
    assert icmp.request(4, Echo(0x1234, 1, b"a" * 8)) == bytes.fromhex("08006045123400016161616161616161")
    assert icmp.request(6, Echo(0x1234, 1, b"ab")) == bytes.fromhex("80000000123400016162")


@given(st.sampled_from([4, 6]), st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=64))
def test_a_reply_says_what_the_request_said(version: int, identifier: int, sequence: int, payload: bytes) -> None:
    message = bytearray(icmp.request(version, Echo(identifier, sequence, payload)))
    with pytest.raises(WireError, match="no echo reply"):
        icmp.decode_reply(bytes(message), version)
    if version == 4:
        message[0] = 0
        total = int.from_bytes(message[2:4], "big") + 0x0800  # RFC 1624: one word less by 0x0800
        message[2:4] = ((total & 0xFFFF) + (total >> 16)).to_bytes(2, "big")
    else:
        message[0] = 129
    assert icmp.decode_reply(bytes(message), version) == Echo(identifier, sequence, payload)


@pytest.mark.parametrize(
    ("message", "version", "what"),
    [
        (b"\0\0\xff\xff\0\0\0", 4, "truncated"),
        (b"\0\1\xff\xfe\0\0\0\0", 4, "kind"),
        (b"\0\0\xff\xfe\0\0\0\0", 4, "checksum"),
        (b"\x81\0\0\0\0\0\0\0", 4, "kind"),
        (b"\0\0\xff\xff\0\0\0\0", 6, "kind"),
    ],
)
def test_what_is_no_reply(message: bytes, version: int, what: str) -> None:
    with pytest.raises(WireError) as caught:
        icmp.decode_reply(message, version)
    assert caught.value.reason == what


def test_the_header_before_a_message_is_as_long_as_it_says() -> None:
    assert icmp.strip_ipv4(IPV4 + b"message") == b"message"
    assert icmp.strip_ipv4(b"\x46" + IPV4[1:] + b"\1\1\1\1message") == b"message"
    for packet in (
        b"",
        IPV4[:19],
        b"\x44" + IPV4[1:],
        b"\x65" + IPV4[1:],
        b"\x4f" + IPV4[1:],
        IPV4[:9] + b"\6" + IPV4[10:],
    ):
        with pytest.raises(WireError):
            icmp.strip_ipv4(packet)


@pytest.mark.parametrize(("version", "reply"), [(4, 0), (6, 129)])
def test_the_filter_lets_replies_pass_and_nothing_else(version: int, reply: int) -> None:
    _, _, value = icmp.replies_only(version)
    words = [int.from_bytes(value[at : at + 4], "little") for at in range(0, len(value), 4)]
    passing = [kind for kind in range(32 * len(words)) if not words[kind >> 5] >> (kind & 31) & 1]
    assert passing == [reply]
