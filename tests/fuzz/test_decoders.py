"""Every decoder under noise: it raises nothing but its own error, does no more work than its input is long, and keeps
nothing of what it has read.

Work is counted in lines executed and in bytes allocated, which are the same on every machine, and not in seconds.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import random
import sys
import tracemalloc
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ha_lvs.daemon.channel import FRAMES
from ha_lvs.errors import ChannelError
from tests.fuzz import target
from tests.fuzz.decoders import DECODERS, NOT_FUZZED, Decoder

EXAMPLES = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
every_decoder = pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)
every_seed = pytest.mark.parametrize(
    ("decoder", "seed"),
    [
        pytest.param(decoder, seed, id=f"{name} {number}")
        for name, decoder in DECODERS.items()
        for number, seed in enumerate(decoder.seeds)
    ],
)

REPEATED = (b"\0", b"\xff", b"\x10\0\0\0", b"\x04\0\x01\0", b"\x24\0\0\0\x14\0\0\0" + bytes(28))


def survives(decoder: Decoder, data: bytes) -> bool:
    """Whether the input is accepted; anything but the decoder's own error goes through."""
    try:
        decoder.feed(data)
    except decoder.error:
        return False
    return True


@st.composite
def changed(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A message with some of it changed, lost, doubled, or with another's in it."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        to = draw(st.integers(at, min(len(data), at + 8)))
        match draw(st.sampled_from(["set", "cut", "double", "insert", "splice", "end"])):
            case "set" if at < len(data):
                data[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
            case "cut":
                del data[at:to]
            case "double":
                data[at:at] = data[at:to]
            case "insert":
                data[at:at] = draw(st.binary(max_size=8))
            case "splice":
                data[at:] = draw(st.sampled_from(seeds))[at:]
            case "end":
                del data[at:]
    return bytes(data)


def test_no_decoder_is_left_out() -> None:
    assert NOT_FUZZED == (), "add these to tests/fuzz/decoders.py"


@every_seed
def test_a_message_to_start_from_is_accepted(decoder: Decoder, seed: bytes) -> None:
    assert survives(decoder, seed)


@every_decoder
@EXAMPLES
@given(data=st.data())
def test_noise_raises_nothing_but_the_error_that_is_documented(decoder: Decoder, data: st.DataObject) -> None:
    survives(decoder, data.draw(st.binary(max_size=300)))
    if decoder.seeds:
        survives(decoder, data.draw(changed(decoder.seeds)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("10.9.0.11"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@EXAMPLES
@given(data=st.data())
def test_a_frame_of_ours_with_other_values_is_survived(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FRAMES)))
    fields: dict[str, Any] = {field.name: data.draw(JSON) for field in dataclasses.fields(FRAMES[name])}
    for lost in data.draw(st.sets(st.sampled_from(sorted(fields)), max_size=1)) if fields else ():
        del fields[lost]
    survives(DECODERS["channel"], json.dumps([name, fields]).encode())


@EXAMPLES
@given(JSON | st.dictionaries(st.just("10.9.0.11"), JSON | st.dictionaries(st.sampled_from(["51", "x", ""]), JSON)))
def test_a_record_of_seen_counters_with_other_values_is_survived(record: Any) -> None:
    survives(DECODERS["auth_restore"], json.dumps(record).encode())


@every_decoder
def test_every_message_cut_short_or_with_a_byte_changed_is_survived(decoder: Decoder) -> None:
    for seed in decoder.seeds:
        for at in range(len(seed)):
            survives(decoder, seed[:at])
            for value in (0, 1, 0x80, 0xFF, seed[at] ^ 1):
                survives(decoder, seed[:at] + bytes([value]) + seed[at + 1 :])


# ------------------------------------------------------------------------------------------- work and memory


def lines_executed(decoder: Decoder, data: bytes) -> int:
    """How many, once everything that is loaded or computed at the first use has been."""
    count = 0
    survives(decoder, data)

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        survives(decoder, data)
    finally:
        sys.settrace(before)
    return count


def peak_bytes(decoder: Decoder, data: bytes) -> int:
    tracemalloc.start()
    try:
        survives(decoder, data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def long_inputs(decoder: Decoder, length: int) -> list[bytes]:
    """Inputs of about a length that could make a decoder work hard: many messages, a big one, or noise behind one."""
    patterns = [pattern * (length // len(pattern)) for pattern in (*REPEATED, *decoder.seeds)]
    big = [] if decoder.stretched is None else [decoder.stretched(length)]
    return big + patterns + [seed + b"\0" * length for seed in decoder.seeds]


@every_decoder
def test_work_grows_no_faster_than_the_input(decoder: Decoder) -> None:
    if decoder.stretched is not None:
        assert survives(decoder, decoder.stretched(1600)), "else it tells nothing"
    for short, long in zip(long_inputs(decoder, 400), long_inputs(decoder, 1600), strict=True):
        assert lines_executed(decoder, long) <= 5 * lines_executed(decoder, short) + 400, short[:40]


@every_decoder
def test_memory_is_a_small_multiple_of_the_input(decoder: Decoder) -> None:
    for data in long_inputs(decoder, 16_000):
        assert peak_bytes(decoder, data) <= 64 * len(data) + 64_000, data[:40]


@every_decoder
def test_nothing_of_the_input_is_kept(decoder: Decoder) -> None:
    source = random.Random(112)

    def noise() -> bytes:
        if not decoder.seeds or source.random() < 0.2:
            return source.randbytes(source.randrange(400))
        data = bytearray(source.choice(decoder.seeds))
        for _ in range(source.randrange(3)):
            data[source.randrange(len(data))] = source.randrange(256)
        return bytes(data)

    def feed(times: int) -> int:
        for _ in range(times):
            survives(decoder, noise())
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = feed(300)  # fills what is bounded
        after = feed(600)
    finally:
        tracemalloc.stop()
    assert after - before < 40_000


# ---------------------------------------------------------------------------------------- what was once found


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'["InstanceState",' + b'{"a":' * 100_000,
        b'["OfferRole",{"instance":"a","sources":[],"window_s":1' + b"0" * 400 + b"}]",
        b'["OfferRole",{"instance":"a","sources":[[]],"window_s":1}]',
        b'["Alive",' + b"1" * 5000 + b"]",
        b'[["Alive"],{}]',
        b'["PeersFound",{"peers":5}]',
        b"\xff\xfe",
    ],
    ids=lambda data: repr(data[:24]),
)
def test_a_frame_that_is_none_of_ours_is_a_channel_error(data: bytes) -> None:
    with pytest.raises(ChannelError):
        DECODERS["channel"].feed(data)


# -------------------------------------------------------------------------------------- the target of libFuzzer


def test_the_target_tells_how_to_install_atheris(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)  # as if it could not be imported
    assert target.main(["vrrp"]) == 1
    assert "pip install atheris" in capsys.readouterr().err


def test_the_target_names_the_decoders_that_there_are(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    assert target.main(["nonsense"]) == 2
    said = capsys.readouterr().err
    assert [name for name in DECODERS if name not in said] == []


def test_the_target_starts_from_the_messages_that_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "CORPUS", tmp_path)
    seeds = DECODERS["arp"].seeds
    for _ in range(2):
        directory = target.prepare_corpus("arp", seeds)
        assert sorted(path.read_bytes() for path in directory.iterdir()) == sorted(seeds)
