"""BFD control packets: golden bytes, round trips, and each way in which a packet is refused."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.errors import WireError
from ha_lvs.wire import bfd
from ha_lvs.wire.bfd import Control, Diagnostic, State

PACKET = Control(
    state=State.UP,
    diagnostic=Diagnostic.NONE,
    multiplier=3,
    my_discriminator=0x11223344,
    your_discriminator=0x55667788,
    desired_min_tx_us=3000,
    required_min_rx_us=50_000,
    poll=True,
)
GOLDEN = bytes.fromhex("20e00318 11223344 55667788 00000bb8 0000c350 00000000")

words = st.integers(0, 2**32 - 1)
packets = st.builds(
    Control,
    state=st.sampled_from(State),
    diagnostic=st.integers(0, 31),
    multiplier=st.integers(1, 255),
    my_discriminator=st.integers(1, 2**32 - 1),
    your_discriminator=words,
    desired_min_tx_us=words,
    required_min_rx_us=words,
    required_min_echo_us=words,
    poll=st.booleans(),
    final=st.booleans(),
    control_plane_independent=st.booleans(),
    demand=st.booleans(),
).filter(lambda packet: packet.your_discriminator != 0 or packet.state in (State.DOWN, State.ADMIN_DOWN))


def changed(at: int, value: int) -> bytes:
    data = bytearray(GOLDEN)
    data[at] = value
    return bytes(data)


def reason(payload: bytes) -> str:
    with pytest.raises(WireError) as caught:
        bfd.decode(payload)
    return caught.value.reason


def test_the_bytes_are_those_of_the_rfc() -> None:
    assert bfd.encode(PACKET) == GOLDEN
    assert bfd.decode(GOLDEN) == PACKET


@given(packets)
def test_what_is_encoded_is_decoded(packet: Control) -> None:
    assert bfd.decode(bfd.encode(packet)) == packet


@given(packets, st.binary(max_size=40))
def test_what_stands_behind_the_length_is_ignored(packet: Control, rest: bytes) -> None:
    assert bfd.decode(bfd.encode(packet) + rest) == packet


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        pytest.param(b"", "truncated", id="nothing"),
        pytest.param(GOLDEN[:23], "truncated", id="a byte short"),
        pytest.param(changed(0, 0x00), "version", id="version 0"),
        pytest.param(changed(0, 0x40), "version", id="version 2"),
        pytest.param(changed(3, 23), "length", id="length below the header"),
        pytest.param(changed(3, 25), "length", id="length beyond the payload"),
        pytest.param(changed(2, 0), "multiplier", id="multiplier 0"),
        pytest.param(changed(1, 0xE1), "multipoint", id="multipoint"),
        pytest.param(changed(1, 0xE4), "authentication", id="authenticated"),
        pytest.param(GOLDEN[:4] + bytes(4) + GOLDEN[8:], "discriminator", id="no discriminator of its own"),
        pytest.param(GOLDEN[:8] + bytes(4) + GOLDEN[12:], "discriminator", id="up without ours"),
    ],
)
def test_what_a_receiver_must_discard(payload: bytes, expected: str) -> None:
    assert reason(payload) == expected


@pytest.mark.parametrize("state", [State.DOWN, State.ADMIN_DOWN])
def test_an_end_that_is_down_need_not_know_our_discriminator(state: State) -> None:
    packet = dataclasses.replace(PACKET, state=state, your_discriminator=0)
    assert bfd.decode(bfd.encode(packet)) == packet


@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_but_a_wire_error(payload: bytes) -> None:
    try:
        packet = bfd.decode(payload)
    except WireError:
        return
    assert bfd.decode(bfd.encode(packet)) == packet


@given(st.binary(max_size=24), st.integers(0, 200))
def test_nearly_right_bytes_raise_nothing_else_either(tail: bytes, flip: int) -> None:
    data = bytearray(GOLDEN[: 24 - len(tail)] + tail)
    data[flip % len(data)] ^= 1 << (flip % 8)
    try:
        packet = bfd.decode(bytes(data))
    except WireError:
        return
    assert packet.my_discriminator > 0
    assert packet.multiplier > 0


@given(st.binary(max_size=64))
def test_the_discriminator_is_found_in_whatever_is_long_enough(payload: bytes) -> None:
    found = bfd.your_discriminator_of(payload)
    assert found == (int.from_bytes(payload[8:12], "big") if len(payload) >= 24 else 0)


def test_diagnostics_have_words_also_those_that_are_reserved() -> None:
    assert bfd.diagnostic_text(1) == "detection time expired"
    assert bfd.diagnostic_text(29) == "diagnostic 29"
