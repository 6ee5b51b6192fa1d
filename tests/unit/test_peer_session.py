"""The session of the peer link, two ends of it without a network: who is let in, by which key, and who is not."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.errors import WireError
from ha_lvs.model import Authentication, Key
from ha_lvs.peer import frames, session
from ha_lvs.peer.frames import Message, encode
from ha_lvs.peer.session import Identity, Session

LB1 = Identity("edge", "lb1", "1.0", "d1", "life1", "10.9.0.11")
LB2 = Identity("edge", "lb2", "1.1", "d2", "life2")
OLD, NEW = Key(1, "11" * 32), Key(2, "22" * 32)
FORGED = Key(1, "99" * 32)
_nonces = itertools.count()


def keys(*known: Key, send: int = 0, enforce: bool = True) -> Authentication:
    return Authentication(known, send or known[0].number, enforce)


def end(who: Identity, *, dialed: bool, **changes: Any) -> Session:
    options: dict[str, Any] = {"authentication": keys(OLD), "known_as": ""} | changes
    return Session(who, next(_nonces).to_bytes(32, "big"), dialed=dialed, **options)


def pair(
    left: dict[str, Any] | None = None, right: dict[str, Any] | None = None, **both: Any
) -> tuple[Session, Session]:
    one = {"who": LB1} | both | (left or {})
    two = {"who": LB2} | both | (right or {})
    return end(one.pop("who"), dialed=True, **one), end(two.pop("who"), dialed=False, **two)


def sent(of: Session) -> bytes:
    found, of.outgoing = b"".join(of.outgoing), []
    return found


def run(left: Session, right: Session) -> list[Message]:
    """Carries everything to and fro until nobody says any more; gives all messages. Errors: WireError of either end."""
    found: list[Message] = []
    while left.outgoing or right.outgoing:
        found += right.receive(sent(left))
        found += left.receive(sent(right))
    return found


def refused(left: Session, right: Session) -> WireError:
    with pytest.raises(WireError) as caught:
        run(left, right)
    assert not (left.linked and right.linked)
    return caught.value


def say(by: Session, to: Session, kind: str = "offer") -> list[Message]:
    return list(to.receive(by.encode(kind, {"n": 1})))


# ------------------------------------------------------------------------------------------------------- fine


def test_both_know_who_is_there_and_messages_are_sealed() -> None:
    left, right = pair()
    assert [each.kind for each in run(left, right)] == ["welcome", "welcome"]
    assert (left.peer, right.peer) == (LB2, LB1)
    assert left.linked
    assert right.linked
    assert left.authenticated
    assert right.authenticated
    for by, to in ((left, right), (right, left)):
        assert say(by, to) == [Message("offer", {"n": 1})]
        with pytest.raises(WireError) as caught:
            list(to.receive(encode(Message("offer", {}))))
        assert caught.value.reason == frames.MISSING


ROTATION = [
    (keys(OLD), keys(OLD)),
    (keys(OLD, NEW, send=1), keys(OLD)),
    (keys(OLD, NEW, send=1), keys(OLD, NEW, send=1)),
    (keys(OLD, NEW, send=2), keys(OLD, NEW, send=1)),
    (keys(OLD, NEW, send=2), keys(OLD)),  # the send key is not everywhere yet: another that both have
    (keys(NEW), keys(OLD, NEW, send=1)),
    (keys(NEW), keys(NEW)),
]


@pytest.mark.parametrize("step", ROTATION)
@pytest.mark.parametrize("turned", [False, True])
def test_keys_are_replaced_in_steps_and_the_link_is_there_at_each(
    step: tuple[Authentication, Authentication], turned: bool
) -> None:
    one, two = reversed(step) if turned else step
    left, right = pair({"authentication": one}, {"authentication": two})
    run(left, right)
    assert left.authenticated
    assert right.authenticated
    assert say(left, right)
    assert say(right, left)


def test_without_keys_the_address_is_enough_and_it_says_so() -> None:
    left, right = pair({"known_as": "lb2"}, {"known_as": "lb1"}, authentication=None)
    run(left, right)
    assert left.linked
    assert not left.authenticated
    assert say(right, left)


@pytest.mark.parametrize("other", [None, keys(FORGED, enforce=False), keys(NEW, enforce=False)])
def test_permissive_lets_a_configured_address_in_and_doubts(other: Authentication | None) -> None:
    left, right = pair(
        {"known_as": "lb2", "authentication": keys(OLD, enforce=False)}, {"known_as": "lb1", "authentication": other}
    )
    run(left, right)
    assert left.linked
    assert not left.authenticated
    assert left.doubt
    assert say(right, left)
    assert say(left, right)


def test_permissive_holds_those_who_prove_themselves_to_their_seals() -> None:
    left, right = pair(known_as="lb2", authentication=keys(OLD, enforce=False))
    run(left, right)
    assert left.authenticated
    with pytest.raises(WireError):
        list(left.receive(encode(Message("offer", {}))))


# ---------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("left", "right", "reason"),
    [
        ({"who": replace(LB1, cluster="other")}, {}, session.OTHER_CLUSTER),
        ({"who": replace(LB1, node="lb2")}, {}, session.SAME_NODE),
        ({"expected": "lb3"}, {}, session.OTHER_NODE),
        ({}, {"authentication": keys(FORGED)}, frames.WRONG),
        ({}, {"authentication": keys(NEW)}, frames.MISSING),
        ({"authentication": None, "known_as": "lb2"}, {"known_as": "lb1"}, frames.MISSING),
        ({"authentication": None}, {"authentication": None}, frames.MISSING),
        ({"authentication": None, "known_as": "lb3"}, {"authentication": None, "known_as": "lb1"}, session.OTHER_NODE),
        ({"authentication": keys(OLD, enforce=False)}, {"authentication": keys(NEW, enforce=False)}, frames.MISSING),
    ],
)
def test_who_is_not_let_in(left: dict[str, Any], right: dict[str, Any], reason: str) -> None:
    assert refused(*pair(left, right)).reason == reason


def test_enforce_on_one_side_is_enough() -> None:
    left, right = pair(
        {"authentication": keys(OLD, enforce=False), "known_as": "lb2"},
        {"authentication": keys(FORGED), "known_as": "lb1"},
    )
    assert refused(left, right).reason == frames.WRONG


def test_another_protocol_is_refused() -> None:
    left, right = pair()
    hello = frames.message(left.outgoing[0][6:])
    with pytest.raises(WireError) as caught:
        list(right.receive(encode(Message("hello", hello.body | {"protocol": 2}))))
    assert caught.value.reason == session.OTHER_PROTOCOL


def records(left: Session, right: Session) -> tuple[bytes, bytes]:
    """All that two ends say to each other, by each."""
    said = [b"", b""]
    while left.outgoing or right.outgoing:
        for at, (by, to) in enumerate(((left, right), (right, left))):
            data = sent(by)
            said[at] += data
            list(to.receive(data))
    return said[0], said[1]


def test_a_recording_of_a_whole_session_is_not_let_in() -> None:
    recording, _ = records(*pair())
    _, right = pair()
    with pytest.raises(WireError) as caught:
        list(right.receive(recording))
    assert caught.value.reason == frames.WRONG
    assert not right.linked


def test_a_mirror_is_not_let_in() -> None:
    """What we say is sent back to us, with another name in the hello."""
    left, _ = pair()
    own = frames.message(left.outgoing[0][6:]).body
    sent(left)
    list(left.receive(encode(Message("hello", own | {"node": "lb2"}))))
    with pytest.raises(WireError) as caught:
        list(left.receive(sent(left)))
    assert caught.value.reason == frames.WRONG


def test_what_somebody_in_between_changes_in_a_hello_is_noticed() -> None:
    left, right = pair()
    body = frames.message(left.outgoing[0][6:]).body
    left.outgoing[0] = encode(Message("hello", body | {"config_digest": "forged"}))
    assert refused(left, right).reason == frames.WRONG


def test_a_frame_of_another_session_is_noticed() -> None:
    one, two = pair(), pair()
    run(*one)
    run(*two)
    with pytest.raises(WireError) as caught:
        say(one[0], two[1])
    assert caught.value.reason == frames.WRONG


def test_nobody_says_anything_before_a_welcome() -> None:
    left, right = pair()
    list(right.receive(sent(left)))
    with pytest.raises(WireError) as caught:
        list(right.receive(encode(Message("offer", {}))))
    assert caught.value.reason == frames.MALFORMED


def test_before_it_is_known_who_it_is_frames_are_small() -> None:
    _, right = pair()
    with pytest.raises(WireError) as caught:
        list(right.receive(encode(Message("hello", {"a": "x" * 10_000}))))
    assert caught.value.reason == frames.TOO_LONG


@pytest.mark.parametrize("name", ["cluster", "node", "version", "config_digest", "life", "address", "keys", "nonce"])
@pytest.mark.parametrize("value", [None, 7, ["x"], "x" * 300, "\x1b[2J", {"a": 1}])
def test_hellos_that_are_none(name: str, value: Any) -> None:
    left, right = pair()
    body = frames.message(left.outgoing[0][6:]).body
    with pytest.raises(WireError):
        list(right.receive(encode(Message("hello", body | {name: value}))))


WORDS = st.none() | st.integers() | st.text() | st.lists(st.integers())


@given(st.lists(st.tuples(st.sampled_from(["hello", "proof", "welcome", "bye", "offer"]), st.dictionaries(
    st.sampled_from(["protocol", "cluster", "node", "nonce", "keys", "key", "mac", "reason"]), WORDS
)), max_size=4))  # fmt: skip
def test_whatever_is_said_the_only_error_is_the_documented_one_and_nobody_gets_in(
    said: Iterable[tuple[str, dict[str, Any]]],
) -> None:
    _, right = pair()
    with_hello = [*pair()[0].outgoing, *(encode(Message(kind, body)) for kind, body in said)]
    with contextlib.suppress(WireError):
        for frame in with_hello:
            list(right.receive(frame))
    assert not right.linked
