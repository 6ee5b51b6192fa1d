"""Frames of the peer link: what is sent arrives, whatever is wrong is noticed, and nothing makes the reader grow."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.errors import WireError
from ha_lvs.peer import frames
from ha_lvs.peer.frames import MAX_FRAME, MAX_MESSAGE, Message, Opener, Reader, Sealer, encode, message

KEY = b"k" * 32
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=10,
)
MESSAGES = st.builds(Message, st.text(min_size=1, max_size=64), st.dictionaries(st.text(), JSON, max_size=5))


def read_all(reader: Reader) -> list[frames.Frame]:
    found = []
    while (frame := reader.next_frame()) is not None:
        found.append(frame)
    return found


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted(each % (len(data) + 1) for each in at)
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@given(st.lists(MESSAGES, max_size=5), st.lists(st.integers(0, 10_000), max_size=8), st.booleans())
def test_what_is_sent_arrives_however_it_is_cut(sent: list[Message], at: list[int], sealed: bool) -> None:
    sealer, opener, reader = Sealer(KEY), Opener(KEY), Reader()
    stream = b"".join(encode(each, sealer if sealed else None) for each in sent)
    found = []
    for piece in cut(stream, at):
        reader.feed(piece)
        for frame in read_all(reader):
            assert frame.sealed is sealed
            found.append(opener.message(frame) if sealed else message(frame.payload))
    assert found == sent


@given(st.binary(max_size=400))
def test_whatever_comes_the_only_error_is_the_documented_one(data: bytes) -> None:
    reader, opener = Reader(), Opener(KEY)
    reader.feed(data)
    with contextlib.suppress(WireError):
        for frame in read_all(reader):
            message(frame.payload)
            opener.message(frame)


@given(st.binary(max_size=300))
def test_whatever_is_in_a_payload_too(payload: bytes) -> None:
    with contextlib.suppress(WireError):
        assert message(payload).kind


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"{}", b"[]", b'["a"]', b'["", {}]', b'[1, {}]', b'["a", []]', b'["a", {}, 1]', b"\xff",
        b'["a", {"b": NaN}]', b'["a", {"b": -Infinity}]', b"[" * 100_000, b'["a", {"b": ' + b"[" * 100_000,
        b'["a", {"b": ' + b"9" * 5000 + b"}]", b'["' + b"a" * 65 + b'", {}]',
    ],
)  # fmt: skip
def test_payloads_that_are_no_message(payload: bytes) -> None:
    with pytest.raises(WireError) as caught:
        message(payload)
    assert caught.value.reason == frames.MALFORMED


@given(st.data())
def test_a_changed_bit_anywhere_is_noticed(data: st.DataObject) -> None:
    whole = bytearray(encode(Message("offer", {"instance": "edge"}), Sealer(KEY)))
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    reader = Reader()
    reader.feed(bytes(whole))
    try:
        frame = reader.next_frame()
    except WireError:
        return
    if frame is None:  # it claims to be longer: what comes next will not do
        return
    with pytest.raises(WireError):
        Opener(KEY).message(frame)


def sealed(count: int, key: bytes = KEY) -> list[frames.Frame]:
    sealer, reader = Sealer(key), Reader()
    for number in range(count):
        reader.feed(encode(Message("n", {"n": number}), sealer))
    return read_all(reader)


@pytest.mark.parametrize(
    ("order", "reason"),
    [([0, 0], frames.REPLAYED), ([0, 1, 0], frames.REPLAYED), ([1], frames.GAP), ([0, 2], frames.GAP)],
)
def test_the_order_is_part_of_the_seal(order: list[int], reason: str) -> None:
    made, opener = sealed(3), Opener(KEY)
    for at in order[:-1]:
        opener.message(made[at])
    with pytest.raises(WireError) as caught:
        opener.message(made[order[-1]])
    assert caught.value.reason == reason


def test_another_key_and_no_seal() -> None:
    with pytest.raises(WireError) as caught:
        Opener(b"x" * 32).message(sealed(1)[0])
    assert caught.value.reason == frames.WRONG
    reader = Reader()
    reader.feed(encode(Message("n", {})))
    [open_frame] = read_all(reader)
    with pytest.raises(WireError) as caught:
        Opener(KEY).message(open_frame)
    assert caught.value.reason == frames.MISSING


def test_a_length_beyond_the_limit_is_refused_before_anything_is_kept() -> None:
    reader = Reader(limit=100)
    reader.feed(struct.pack("!IBB", 101, 1, 0))
    with pytest.raises(WireError) as caught:
        reader.next_frame()
    assert caught.value.reason == frames.TOO_LONG


@pytest.mark.parametrize(("head", "reason"), [
    ((2**32 - 1, 1, 0), frames.TOO_LONG),
    ((10, 2, 0), frames.LAYOUT_UNKNOWN),
    ((10, 1, 2), frames.LAYOUT_UNKNOWN),
    ((1, 1, 0), frames.MALFORMED),
    ((41, 1, 1), frames.MALFORMED),
])  # fmt: skip
def test_beginnings_that_will_not_do(head: tuple[int, int, int], reason: str) -> None:
    reader = Reader()
    reader.feed(struct.pack("!IBB", *head))
    with pytest.raises(WireError) as caught:
        reader.next_frame()
    assert caught.value.reason == reason


def body_of(size: int) -> dict[str, Any]:
    return {"a": "x" * (size - len('["k",{"a":""}]'))}


def test_the_longest_message_and_one_byte_more() -> None:
    sealer = Sealer(KEY)
    longest = encode(Message("k", body_of(MAX_MESSAGE)), sealer)
    assert len(longest) == MAX_FRAME + 4
    with pytest.raises(WireError) as caught:
        encode(Message("k", body_of(MAX_MESSAGE + 1)), sealer)
    assert caught.value.reason == frames.TOO_LONG
    reader, opener = Reader(), Opener(KEY)
    reader.feed(longest + encode(Message("next", {}), sealer))  # the one that was refused has not been counted
    assert [opener.message(frame).kind for frame in read_all(reader)] == ["k", "next"]
