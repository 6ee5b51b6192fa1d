"""The trailer of authentication: its bytes, what each tampering is judged as, and the window against replays."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha_lvs.model import Authentication, IPAddress, Key
from ha_lvs.wire import auth, vrrp
from ha_lvs.wire.auth import OLDEST_NS, Signer, Verdict, Verifier

UNHURRIED = settings(deadline=None)  # the machine may be busy
OLD = Key(1, "0b" * 20)
NEW = Key(2, "c0ffee" * 11)
BOTH = Authentication((OLD, NEW), 1, True)
SOURCE = IPv4Address("10.9.0.11")
SOURCE6 = IPv6Address("fe80::11%e0")
NOW_NS = 1_790_000_000_000_000_000
DAY_NS = 24 * 3600 * 10**9

counters = st.integers(0, auth.MAX_COUNTER)


def advertisement(source: IPAddress = SOURCE, router_id: int = 51, priority: int = 150) -> vrrp.Advertisement:
    address = "10.9.0.100" if source.version == 4 else "fe80::100"
    return vrrp.Advertisement(router_id, priority, 100, (type(source)(address),))


def signed(
    counter: int,
    source: IPAddress = SOURCE,
    authentication: Authentication = BOTH,
    router_id: int = 51,
    version: int = 3,
) -> vrrp.Datagram:
    to = vrrp.MULTICAST_GROUP if source.version == 4 else vrrp.MULTICAST_GROUP6
    what = replace(advertisement(source, router_id), version=version)
    return vrrp.Datagram(vrrp.encode_signed(what, source, to, Signer(authentication), counter), source, to, 255)


def judge(verifier: Verifier, datagram: vrrp.Datagram, now_counter: int = 0) -> Verdict:
    return verifier.check(datagram, vrrp.decode(datagram).trailer, now_counter)


def hmac_by_hand(secret: bytes, message: bytes) -> bytes:
    """RFC 2104, the dumb twin."""
    key = (hashlib.sha256(secret).digest() if len(secret) > 64 else secret).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).digest()


# ------------------------------------------------------------------------------------------------- the bytes


@UNHURRIED
@given(st.binary(min_size=1, max_size=100), st.integers(0, 255), counters, st.binary(max_size=80))
def test_the_bytes_of_a_trailer(secret: bytes, number: int, counter: int, payload: bytes) -> None:
    signer = Signer(Authentication((Key(number, secret.hex()),), number, True))
    trailer = signer.sign(payload, SOURCE, vrrp.MULTICAST_GROUP, counter)
    head = b"HA" + bytes([1, number]) + counter.to_bytes(8, "big")
    covered = SOURCE.packed + vrrp.MULTICAST_GROUP.packed + payload + head
    assert trailer == head + hmac_by_hand(secret, covered)
    assert len(trailer) == auth.TRAILER_BYTES == 44


@pytest.mark.parametrize("source", [SOURCE, SOURCE6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("key", [OLD, NEW], ids=str)
def test_what_is_signed_with_either_key_is_valid(source: IPAddress, key: Key) -> None:
    assert judge(Verifier(BOTH), signed(NOW_NS, source, replace(BOTH, send=key.number))) is Verdict.VALID


def test_version_2_is_signed_too() -> None:
    assert judge(Verifier(BOTH), signed(NOW_NS, version=2)) is Verdict.VALID


def test_a_key_to_be_sent_has_to_be_there() -> None:
    with pytest.raises(ValueError, match="key 3"):
        Signer(replace(BOTH, send=3))


def test_a_secret_has_to_be_hexadecimal() -> None:
    for maker in (Signer, Verifier):
        with pytest.raises(ValueError):
            maker(Authentication((Key(1, "secret"),), 1, True))


# ------------------------------------------------------------------------------------------------- tampering


def test_no_trailer_is_missing() -> None:
    payload = vrrp.encode(advertisement(), SOURCE, vrrp.MULTICAST_GROUP)
    datagram = vrrp.Datagram(payload, SOURCE, vrrp.MULTICAST_GROUP, 255)
    assert judge(Verifier(BOTH), datagram) is Verdict.MISSING


def test_a_key_that_is_not_ours_is_unknown() -> None:
    theirs = Authentication((Key(3, OLD.secret),), 3, True)
    assert judge(Verifier(BOTH), signed(NOW_NS, authentication=theirs)) is Verdict.UNKNOWN_KEY


def test_another_secret_under_the_same_number_is_wrong() -> None:
    theirs = Authentication((Key(1, NEW.secret),), 1, True)
    assert judge(Verifier(BOTH), signed(NOW_NS, authentication=theirs)) is Verdict.WRONG


@UNHURRIED
@given(st.data())
def test_a_changed_bit_anywhere_but_in_the_checksum_proves_nothing(data: st.DataObject) -> None:
    datagram = signed(NOW_NS)
    position = data.draw(st.integers(0, len(datagram.payload) - 1).filter(lambda at: at not in (6, 7)))
    changed = bytearray(datagram.payload)
    changed[position] ^= 1 << data.draw(st.integers(0, 7))
    verdict = Verifier(BOTH).check(replace(datagram, payload=bytes(changed)), bytes(changed[-auth.TRAILER_BYTES :]))
    assert verdict in (Verdict.WRONG, Verdict.UNKNOWN_KEY, Verdict.MISSING)


def test_what_goes_elsewhere_or_comes_from_elsewhere_is_wrong() -> None:
    datagram, elsewhere = signed(NOW_NS), IPv4Address("10.9.0.99")
    for moved in (replace(datagram, source=elsewhere), replace(datagram, destination=elsewhere)):
        assert Verifier(BOTH).check(moved, datagram.payload[-auth.TRAILER_BYTES :]) is Verdict.WRONG


def test_a_trailer_of_another_format_or_place_is_wrong() -> None:
    datagram = signed(NOW_NS)
    trailer = datagram.payload[-auth.TRAILER_BYTES :]
    other = trailer[:2] + b"\2" + trailer[3:]
    changed = replace(datagram, payload=datagram.payload[: -auth.TRAILER_BYTES] + other)
    assert Verifier(BOTH).check(changed, other) is Verdict.WRONG
    assert Verifier(BOTH).check(datagram, trailer[:-1]) is Verdict.WRONG
    assert Verifier(BOTH).check(datagram, b"HA") is Verdict.WRONG
    assert Verifier(BOTH).check(datagram, other) is Verdict.WRONG


def test_what_proves_nothing_uses_nothing_up() -> None:
    verifier = Verifier(BOTH)
    theirs = Authentication((Key(1, NEW.secret),), 1, True)
    for counter in range(1000):
        judge(verifier, signed(NOW_NS + counter, authentication=theirs))
    assert verifier.seen() == {}
    assert judge(verifier, signed(NOW_NS)) is Verdict.VALID


# ------------------------------------------------------------------------------------------- the replay window


def test_the_same_again_is_a_replay() -> None:
    verifier = Verifier(BOTH)
    assert [judge(verifier, signed(NOW_NS)) for _ in range(3)] == [Verdict.VALID, Verdict.REPLAYED, Verdict.REPLAYED]


def test_rotation_of_keys_reopens_nothing() -> None:
    verifier = Verifier(Authentication((OLD,), 1, True))
    assert judge(verifier, signed(NOW_NS)) is Verdict.VALID
    verifier.rekey(BOTH)
    assert judge(verifier, signed(NOW_NS)) is Verdict.REPLAYED
    assert judge(verifier, signed(NOW_NS, authentication=replace(BOTH, send=2))) is Verdict.REPLAYED
    assert judge(verifier, signed(NOW_NS + 1, authentication=replace(BOTH, send=2))) is Verdict.VALID
    verifier.rekey(Authentication((NEW,), 2, True))
    assert judge(verifier, signed(NOW_NS + 2)) is Verdict.UNKNOWN_KEY


def test_senders_and_virtual_routers_do_not_disturb_each_other() -> None:
    verifier = Verifier(BOTH)
    assert judge(verifier, signed(NOW_NS + DAY_NS)) is Verdict.VALID
    assert judge(verifier, signed(NOW_NS, IPv4Address("10.9.0.12"))) is Verdict.VALID
    assert judge(verifier, signed(NOW_NS, SOURCE6)) is Verdict.VALID
    assert judge(verifier, signed(NOW_NS, router_id=52)) is Verdict.VALID
    assert judge(verifier, signed(NOW_NS)) is Verdict.REPLAYED


def test_a_backlog_that_is_read_router_by_router_is_not_a_replay() -> None:
    """A sender signs for all its virtual routers in turn; a late receiver drains one socket after the other."""
    verifier = Verifier(BOTH)
    for router_id in range(1, 6):
        for turn in range(100):
            assert judge(verifier, signed(NOW_NS + turn * 5 + router_id, router_id=router_id)) is Verdict.VALID


def test_any_order_within_the_window_is_taken_once() -> None:
    verifier = Verifier(BOTH)
    spread = [NOW_NS + at * 10_000_000 for at in range(auth.WINDOW)]  # 10 ms adverts, by less than a second
    random.Random(4).shuffle(spread)
    assert {judge(verifier, signed(counter)) for counter in spread} == {Verdict.VALID}
    assert {judge(verifier, signed(counter)) for counter in spread} == {Verdict.REPLAYED}


def test_what_64_have_overtaken_comes_too_late() -> None:
    verifier = Verifier(BOTH)
    for at in range(2, 2 * auth.WINDOW + 4, 2):
        judge(verifier, signed(NOW_NS + at))
    lowest = NOW_NS + 2 * auth.WINDOW + 2 - 2 * (auth.WINDOW - 1)
    assert judge(verifier, signed(lowest - 1)) is Verdict.VALID  # overtaken by 64, takes the place of the first
    assert judge(verifier, signed(lowest - 3)) is Verdict.REPLAYED
    assert judge(verifier, signed(lowest - 2)) is Verdict.REPLAYED


def test_what_was_recorded_before_the_first_that_is_heard_is_a_replay() -> None:
    verifier = Verifier(BOTH)
    assert judge(verifier, signed(NOW_NS)) is Verdict.VALID
    assert judge(verifier, signed(NOW_NS - 10**9)) is Verdict.VALID
    assert judge(verifier, signed(NOW_NS - 10**9 - 1)) is Verdict.REPLAYED


def test_what_is_older_than_ten_minutes_opens_no_window_and_the_future_does() -> None:
    assert judge(Verifier(BOTH), signed(NOW_NS - OLDEST_NS), NOW_NS) is Verdict.VALID
    assert judge(Verifier(BOTH), signed(NOW_NS - OLDEST_NS - 1), NOW_NS) is Verdict.REPLAYED
    assert judge(Verifier(BOTH), signed(NOW_NS + 1000 * OLDEST_NS), NOW_NS) is Verdict.VALID
    known = Verifier(BOTH)
    assert judge(known, signed(NOW_NS), NOW_NS) is Verdict.VALID
    assert judge(known, signed(NOW_NS + 1), NOW_NS + 9 * OLDEST_NS) is Verdict.VALID  # a clock that lags, but is known


@pytest.mark.parametrize("counter", [0, auth.MAX_COUNTER])
def test_the_ends_of_the_range_are_counters_too(counter: int) -> None:
    verifier = Verifier(BOTH)
    assert [judge(verifier, signed(counter)) for _ in range(2)] == [Verdict.VALID, Verdict.REPLAYED]


@UNHURRIED
@given(st.lists(st.integers(0, 300), min_size=1, max_size=400))
def test_no_order_of_arrival_lets_anything_in_twice_or_keeps_a_new_one_out(arrivals: list[int]) -> None:
    """Against a model that remembers everything."""
    verifier = Verifier(BOTH)
    accepted: list[int] = []
    for counter in arrivals:
        verdict = verifier._spend((SOURCE.packed, 51), counter, 0)
        kept = sorted(accepted)[-auth.WINDOW :]
        if counter in accepted:
            assert verdict is Verdict.REPLAYED
        elif len(kept) < auth.WINDOW or counter > kept[0]:
            assert verdict is Verdict.VALID
        else:
            assert verdict is Verdict.REPLAYED
        if verdict is Verdict.VALID:
            accepted.append(counter)


# ------------------------------------------------------------------------------------------- bounds and heirs


def fill(verifier: Verifier, now_ns: int) -> None:
    for at in range(auth.MAX_WINDOWS):
        source = IPv4Address(int(SOURCE) + at // 255)
        assert verifier._spend((source.packed, at % 255 + 1), now_ns + at, now_ns) is Verdict.VALID


def test_who_is_heard_is_never_forgotten_for_a_new_sender() -> None:
    verifier = Verifier(BOTH)
    fill(verifier, NOW_NS)
    stranger = signed(NOW_NS + DAY_NS, IPv4Address("10.9.1.1"))
    assert judge(verifier, stranger, NOW_NS + DAY_NS) is Verdict.REPLAYED
    assert judge(verifier, signed(NOW_NS, router_id=1), NOW_NS) is Verdict.REPLAYED  # still remembered


def test_who_was_silent_for_longest_makes_room_and_its_recordings_do_not_come_back() -> None:
    verifier = Verifier(BOTH)
    fill(verifier, NOW_NS)
    later_ns = NOW_NS + DAY_NS + 2 * auth.MAX_WINDOWS
    assert judge(verifier, signed(NOW_NS + auth.MAX_WINDOWS, router_id=1), later_ns) is Verdict.VALID
    stranger = signed(later_ns, IPv4Address("10.9.1.1"))
    assert judge(verifier, stranger, later_ns) is Verdict.VALID
    seen = verifier.seen()
    assert sum(map(len, seen.values())) == auth.MAX_WINDOWS
    assert "1" in seen[str(SOURCE)]
    assert "2" not in seen[str(SOURCE)]
    assert judge(verifier, signed(NOW_NS + 1, router_id=2), later_ns) is Verdict.REPLAYED


def test_a_successor_accepts_nothing_that_its_predecessor_has_seen() -> None:
    old, new = Verifier(BOTH), Verifier(BOTH)
    used = [signed(NOW_NS + at, source) for at in (0, 5, 3) for source in (SOURCE, SOURCE6)]
    assert {judge(old, each) for each in used} == {Verdict.VALID}
    new.restore(json.loads(json.dumps(old.seen())))
    assert {judge(new, each) for each in used} == {Verdict.REPLAYED}
    assert judge(new, signed(NOW_NS + 6)) is Verdict.VALID
    assert new.seen() == {"10.9.0.11": {"51": NOW_NS + 6}, "fe80::11": {"51": NOW_NS + 5}}


def test_what_only_the_predecessor_has_heard_does_not_come_in_by_the_successors_own_window() -> None:
    old, new = Verifier(BOTH), Verifier(BOTH)
    for counter in (NOW_NS, NOW_NS + 1):
        assert judge(old, signed(counter)) is Verdict.VALID
    assert judge(new, signed(NOW_NS + 2)) is Verdict.VALID
    new.restore(old.seen())
    assert judge(new, signed(NOW_NS)) is Verdict.REPLAYED
    assert judge(new, signed(NOW_NS + 1)) is Verdict.REPLAYED


def test_what_a_successor_has_heard_itself_stays_heard() -> None:
    old, new = Verifier(BOTH), Verifier(BOTH)
    judge(old, signed(NOW_NS))
    for counter in (NOW_NS, NOW_NS + 2):
        assert judge(new, signed(counter)) is Verdict.VALID
    new.restore(old.seen())
    new.restore({"10.9.0.11": {"51": 1}})
    assert judge(new, signed(NOW_NS)) is Verdict.REPLAYED
    assert judge(new, signed(NOW_NS + 2)) is Verdict.REPLAYED
    assert judge(new, signed(NOW_NS + 1)) is Verdict.VALID  # overtaken, above all that the predecessor saw


def test_the_estate_of_a_full_verifier_is_small_enough_for_a_frame() -> None:
    verifier = Verifier(BOTH)
    fill(verifier, NOW_NS)
    assert len(json.dumps(verifier.seen())) < 64 * 1024
    heir = Verifier(BOTH)
    heir.restore(verifier.seen())
    assert heir.seen() == verifier.seen()
    heir.restore({"10.9.9.9": {"1": NOW_NS}})
    assert heir.seen() == verifier.seen()


@pytest.mark.parametrize(
    "seen",
    [
        None,
        [],
        {"10.9.0.11": 5},
        {"nobody": {"51": 5}},
        {"10.9.0.11": {"x": 5}},
        {"10.9.0.11": {"51": None}},
        {"10.9.0.11": {"51": float("inf")}},
        {"10.9.0.11": {"256": 5}},
        {"10.9.0.11": {"51": 2**64}},
        {"10.9.0.12": {"51": NOW_NS + 1}, "10.9.0.11": {"51": "x"}},
    ],
)
def test_what_is_no_estate_is_refused_as_a_whole(seen: Any) -> None:
    verifier = Verifier(BOTH)
    judge(verifier, signed(NOW_NS))
    with pytest.raises(ValueError, match="no record of seen counters"):
        verifier.restore(seen)
    assert verifier.seen() == {"10.9.0.11": {"51": NOW_NS}}
