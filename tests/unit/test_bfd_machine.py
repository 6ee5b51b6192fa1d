"""The BFD machine against the sections of RFC 5880, packet by packet."""

from __future__ import annotations

import dataclasses
import itertools
import json
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.election.bfd import Bfd
from ha_lvs.election.bfd_actions import BfdAction, Ending, SendControl, WentDown, WentUp
from ha_lvs.election.bfd_silence import AskProcessors
from ha_lvs.model import BfdSession
from ha_lvs.wire.bfd import Control, Diagnostic, State

OURS, THEIRS = 0xA, 0xB
PEER = IPv4Address("10.9.0.12")
SESSION = BfdSession("e0", IPv4Address("10.9.0.11"), PEER, 0.010, 3)
FAR = Control(
    state=State.DOWN,
    diagnostic=0,
    multiplier=3,
    my_discriminator=THEIRS,
    your_discriminator=OURS,
    desired_min_tx_us=10_000,
    required_min_rx_us=10_000,
)


def far(state: State, **changes: object) -> Control:
    return dataclasses.replace(FAR, state=state, **changes)  # type: ignore[arg-type]  # names of its fields


def machine(session: BfdSession = SESSION, fraction: float = 0.0) -> Bfd:
    return Bfd(session, OURS, lambda: fraction)


def sent(actions: list[BfdAction]) -> list[Control]:
    return [action.packet for action in actions if isinstance(action, SendControl)]


def one_sent(actions: list[BfdAction]) -> Control:
    [packet] = sent(actions)
    return packet


def went(actions: list[BfdAction]) -> list[BfdAction]:
    return [action for action in actions if isinstance(action, WentUp | WentDown)]


def up(session: BfdSession = SESSION, at: float = 0.0) -> Bfd:
    """A session that is up, its poll answered, since `at`."""
    bfd = machine(session)
    bfd.start(at)
    bfd.handle(far(State.INIT), at)
    bfd.handle(far(State.UP, final=True), at)
    assert bfd.state is State.UP
    return bfd


def after_silence(bfd: Bfd, *, asked: bool = True) -> tuple[list[BfdAction], float]:
    """What follows when nothing more is heard, on a machine whose processors all run, and when."""
    while True:
        now = bfd.deadline
        assert now is not None
        actions = bfd.handle_timer(now)
        if AskProcessors() in actions and asked:
            bfd.processors_answered(now)
        if went(actions):
            return actions, now


# ------------------------------------------------------------------------------------- the state machine (6.2, 6.8.6)


def test_a_new_session_says_that_it_is_down_and_knows_nobody() -> None:
    packet = one_sent(machine().start(0.0))
    assert packet == Control(State.DOWN, 0, 3, OURS, 0, 1_000_000, 10_000)


@pytest.mark.parametrize(
    ("before", "heard", "after"),
    [
        (State.DOWN, State.DOWN, State.INIT),
        (State.DOWN, State.INIT, State.UP),
        (State.DOWN, State.UP, State.DOWN),
        (State.DOWN, State.ADMIN_DOWN, State.DOWN),
        (State.INIT, State.DOWN, State.INIT),
        (State.INIT, State.INIT, State.UP),
        (State.INIT, State.UP, State.UP),
        (State.INIT, State.ADMIN_DOWN, State.DOWN),
        (State.UP, State.DOWN, State.DOWN),
        (State.UP, State.INIT, State.UP),
        (State.UP, State.UP, State.UP),
        (State.UP, State.ADMIN_DOWN, State.DOWN),
        (State.ADMIN_DOWN, State.DOWN, State.ADMIN_DOWN),
        (State.ADMIN_DOWN, State.INIT, State.ADMIN_DOWN),
        (State.ADMIN_DOWN, State.UP, State.ADMIN_DOWN),
    ],
)
def test_each_transition(before: State, heard: State, after: State) -> None:
    bfd = machine()
    bfd.start(0.0)
    if before in (State.INIT, State.UP):
        bfd.handle(far(State.DOWN), 0.0)
    if before is State.UP:
        bfd.handle(far(State.INIT), 0.0)
    if before is State.ADMIN_DOWN:
        bfd.disable(0.0)
    assert bfd.state is before
    actions = bfd.handle(far(heard), 0.1)
    assert bfd.state is after
    if before is not after:  # a change is told at once (6.8.7)
        assert one_sent(actions).state is after


def test_two_machines_come_up_by_three_packets() -> None:
    left, right = machine(), Bfd(SESSION, THEIRS, lambda: 0.0)
    left.start(0.0)
    first = one_sent(right.start(0.0))
    second = one_sent(left.handle(first, 0.0))
    assert left.state is State.INIT
    actions = right.handle(second, 0.0)
    assert went(actions) == [WentUp(PEER)]
    actions = left.handle(one_sent(actions), 0.0)
    assert went(actions) == [WentUp(PEER)]
    assert (left.state, right.state) == (State.UP, State.UP)


def test_the_first_change_to_down_is_told_once_and_why() -> None:
    bfd = up()
    actions = bfd.handle(far(State.ADMIN_DOWN, diagnostic=7), 0.005)
    assert went(actions) == [
        WentDown(PEER, Ending.ADMINISTRATIVE, Diagnostic.NEIGHBOR_SIGNALED_DOWN, "its session was ended on purpose")
    ]
    assert one_sent(actions).diagnostic == Diagnostic.NEIGHBOR_SIGNALED_DOWN
    assert went(bfd.handle(far(State.ADMIN_DOWN, diagnostic=7), 0.006)) == []


def test_an_administrative_end_is_planned_and_so_is_what_a_living_far_end_says_itself() -> None:
    [administrative] = went(up().handle(far(State.ADMIN_DOWN), 0.005))
    [signaled] = went(up().handle(far(State.DOWN, diagnostic=1), 0.005))
    [silent] = went(after_silence(up())[0])
    for change, planned in ((administrative, True), (signaled, True), (silent, False)):
        assert isinstance(change, WentDown)
        assert change.planned is planned


def test_a_far_end_that_was_started_anew_is_told_from_one_that_does_not_hear_us() -> None:
    [anew] = went(up().handle(far(State.DOWN, your_discriminator=0, my_discriminator=77), 0.005))
    [deaf] = went(up().handle(far(State.DOWN, diagnostic=1), 0.005))
    assert isinstance(anew, WentDown)
    assert isinstance(deaf, WentDown)
    assert "started anew" in anew.reason
    assert "detection time expired" in deaf.reason


def test_a_packet_for_another_session_changes_nothing() -> None:
    bfd = up()
    before = bfd.snapshot(), bfd.deadline
    assert bfd.handle(far(State.DOWN, your_discriminator=99), 0.001) == []
    assert (bfd.snapshot(), bfd.deadline) == before


# ------------------------------------------------------------------------------------------- the pace (6.8.3, 6.8.7)


@pytest.mark.parametrize(
    ("multiplier", "fraction", "share"), [(3, 0.0, 1.0), (3, 1.0, 0.75), (1, 0.0, 0.90), (1, 1.0, 0.75)]
)
def test_the_jitter_shortens_the_interval_within_what_the_rfc_allows(
    multiplier: int, fraction: float, share: float
) -> None:
    bfd = machine(dataclasses.replace(SESSION, multiplier=multiplier), fraction)
    bfd.start(100.0)
    assert bfd.deadline == pytest.approx(100.0 + share)


def test_while_it_is_not_up_a_session_sends_once_a_second_at_most() -> None:
    bfd = machine()
    bfd.start(0.0)
    assert sent(bfd.handle_timer(0.99)) == []
    assert one_sent(bfd.handle_timer(1.0)).desired_min_tx_us == 1_000_000


def test_who_wants_to_be_slower_than_that_is() -> None:
    bfd = machine(dataclasses.replace(SESSION, interval_s=2.0))
    assert one_sent(bfd.start(0.0)).desired_min_tx_us == 2_000_000
    assert bfd.deadline == pytest.approx(2.0)


@pytest.mark.parametrize(("their_rx_us", "interval_s"), [(10_000, 0.010), (50_000, 0.050), (1, 0.010)])
def test_the_interval_is_the_longer_of_what_we_like_and_they_bear(their_rx_us: int, interval_s: float) -> None:
    bfd = up()
    bfd.handle(far(State.UP, required_min_rx_us=their_rx_us), 0.0)
    bfd.handle_timer(0.010)
    assert bfd.transmit_interval_s == pytest.approx(interval_s)


def test_who_wants_no_periodic_packets_gets_none() -> None:
    bfd = up()
    bfd.handle(far(State.UP, required_min_rx_us=0), 0.0)
    assert bfd.transmit_interval_s == 0.0
    assert sent(bfd.handle_timer(0.025)) == []
    bfd.handle(far(State.UP), 0.030)
    assert sent(bfd.handle_timer(0.040)) != []


def test_a_far_end_in_demand_mode_gets_no_periodic_packets_but_answers() -> None:
    bfd = up()
    bfd.handle(far(State.UP, demand=True), 0.0)
    assert sent(bfd.handle_timer(0.025)) == []
    assert one_sent(bfd.handle(far(State.UP, demand=True, poll=True), 0.026)).final
    bfd.handle(far(State.UP), 0.030)
    assert bfd.deadline is not None
    assert sent(bfd.handle_timer(bfd.deadline)) != []


def test_the_next_packet_comes_earlier_when_the_far_end_bears_more() -> None:
    bfd = up()
    bfd.handle(far(State.UP, required_min_rx_us=500_000), 0.0)
    bfd.handle(far(State.UP), 0.001)
    assert bfd.deadline == pytest.approx(0.010)


def test_a_late_turn_does_not_send_what_was_missed() -> None:
    bfd = up()
    assert len(sent(bfd.handle_timer(0.500))) == 1


# --------------------------------------------------------------------------------------------------- polls (6.5, 6.8.3)


def test_coming_up_is_followed_by_a_poll_until_it_is_answered() -> None:
    bfd = machine()
    bfd.start(0.0)
    first = one_sent(bfd.handle(far(State.INIT), 0.0))
    assert (first.poll, first.final, first.desired_min_tx_us) == (True, False, 10_000)
    assert one_sent(bfd.handle_timer(0.010)).poll
    bfd.handle(far(State.UP), 0.011)
    assert one_sent(bfd.handle_timer(0.020)).poll
    bfd.handle(far(State.UP, final=True), 0.021)
    assert not one_sent(bfd.handle_timer(0.030)).poll


def test_a_poll_is_answered_at_once_and_never_by_a_poll() -> None:
    bfd = machine()
    bfd.start(0.0)
    bfd.handle(far(State.INIT), 0.0)
    answer = one_sent(bfd.handle(far(State.UP, poll=True), 0.001))
    assert (answer.final, answer.poll) == (True, False)


def test_an_answer_does_not_move_the_periodic_packets() -> None:
    bfd = up()
    before = bfd.deadline
    bfd.handle(far(State.UP, poll=True), 0.002)
    assert bfd.deadline == before


def test_a_longer_interval_waits_for_the_answer() -> None:
    bfd = up()
    slower = dataclasses.replace(SESSION, interval_s=0.050)
    packet = one_sent(bfd.change(slower, 0.001))
    assert (packet.poll, packet.desired_min_tx_us, packet.required_min_rx_us) == (True, 50_000, 50_000)
    assert bfd.transmit_interval_s == pytest.approx(0.010)
    assert bfd.detection_time_s == pytest.approx(0.150)  # what we bear less often counts at once
    bfd.handle(far(State.UP, final=True), 0.002)
    assert bfd.transmit_interval_s == pytest.approx(0.050)


def test_a_shorter_detection_time_waits_for_the_answer() -> None:
    bfd = up()
    bfd.change(dataclasses.replace(SESSION, interval_s=0.005), 0.001)
    assert bfd.transmit_interval_s == pytest.approx(0.010)  # they bear no more
    bfd.handle(far(State.UP, desired_min_tx_us=5_000), 0.002)
    assert bfd.detection_time_s == pytest.approx(0.030)
    bfd.handle(far(State.UP, desired_min_tx_us=5_000, final=True), 0.003)
    assert bfd.detection_time_s == pytest.approx(0.015)


def test_a_change_during_a_poll_is_polled_for_itself() -> None:
    bfd = up()
    bfd.change(dataclasses.replace(SESSION, interval_s=0.050), 0.001)
    bfd.change(dataclasses.replace(SESSION, interval_s=0.070), 0.002)
    bfd.handle(far(State.UP, final=True), 0.003)
    assert bfd.transmit_interval_s == pytest.approx(0.010)
    bfd.handle(far(State.UP, final=True), 0.004)
    assert bfd.transmit_interval_s == pytest.approx(0.070)


def test_another_multiplier_needs_no_poll() -> None:
    bfd = up()
    packet = one_sent(bfd.change(dataclasses.replace(SESSION, multiplier=5), 0.001))
    assert (packet.poll, packet.multiplier) == (False, 5)


# ------------------------------------------------------------------------------------------ the detection time (6.8.4)


@pytest.mark.parametrize(
    ("multiplier", "their_tx_us", "detection_s"),
    [(3, 10_000, 0.030), (5, 10_000, 0.050), (3, 40_000, 0.120), (3, 1_000, 0.030)],
)
def test_the_detection_time_is_their_multiplier_times_the_longer_interval(
    multiplier: int, their_tx_us: int, detection_s: float
) -> None:
    bfd = up()
    bfd.handle(far(State.UP, multiplier=multiplier, desired_min_tx_us=their_tx_us), 1.0)
    assert bfd.detection_time_s == pytest.approx(detection_s)
    actions, now = after_silence(bfd)
    assert now == pytest.approx(1.0 + detection_s)
    [change] = went(actions)
    assert isinstance(change, WentDown)
    assert (change.ending, change.diagnostic) == (Ending.SILENT, Diagnostic.DETECTION_TIME_EXPIRED)


def test_the_far_end_is_told_at_once_that_its_silence_was_noticed_and_is_forgotten() -> None:
    bfd = up()
    packet = sent(after_silence(bfd)[0])[-1]
    assert (packet.state, packet.diagnostic) == (State.DOWN, Diagnostic.DETECTION_TIME_EXPIRED)
    assert (packet.your_discriminator, packet.desired_min_tx_us, packet.poll) == (0, 1_000_000, False)


def test_an_end_that_is_down_forgets_the_other_one_after_the_detection_time() -> None:
    bfd = up()
    bfd.handle(far(State.ADMIN_DOWN), 0.0)
    assert bfd.remote_discriminator == THEIRS
    while (at := bfd.deadline) is not None and at < 0.5:
        assert went(bfd.handle_timer(at)) == []
    assert bfd.remote_discriminator == 0


def test_a_poll_with_a_shorter_interval_does_not_yet_shorten_the_detection_time() -> None:
    """Its sender may keep its earlier pace until it is answered, and the answer may be lost."""
    bfd = machine()
    bfd.start(0.0)
    bfd.handle(far(State.INIT, desired_min_tx_us=1_000_000), 0.0)
    bfd.handle(far(State.UP, poll=True), 0.001)
    assert bfd.detection_time_s == pytest.approx(3.0)
    bfd.handle(far(State.UP), 0.002)
    assert bfd.detection_time_s == pytest.approx(0.030)


def test_a_poll_with_a_longer_interval_lengthens_it_at_once() -> None:
    bfd = up()
    bfd.handle(far(State.UP, desired_min_tx_us=200_000, poll=True), 0.002)
    assert bfd.detection_time_s == pytest.approx(0.600)


# ------------------------------------------------------------------------------------------------- the end, and beyond


def test_a_stop_is_said_as_what_it_is_and_keeps_being_said() -> None:
    bfd = up()
    packet = one_sent(bfd.disable(0.0))
    assert (packet.state, packet.diagnostic) == (State.ADMIN_DOWN, Diagnostic.ADMINISTRATIVELY_DOWN)
    assert packet.desired_min_tx_us == 1_000_000
    assert bfd.deadline == pytest.approx(1.0)
    assert one_sent(bfd.handle_timer(1.0)).state is State.ADMIN_DOWN
    assert bfd.handle(far(State.UP, poll=True), 1.1) == []


def test_a_pause_is_announced_by_a_multiplier_that_the_next_packet_takes_back() -> None:
    bfd = up()
    other = Bfd(SESSION, THEIRS, lambda: 0.0)
    other.restore({**bfd.snapshot(), "discriminator": THEIRS}, 0.0)
    packet = one_sent(bfd.announce_pause(0.25))
    assert packet.multiplier == 25
    other.handle(dataclasses.replace(packet, your_discriminator=THEIRS), 0.0)
    assert other.detection_time_s >= 0.25
    assert one_sent(bfd.handle_timer(0.010)).multiplier == 3


@pytest.mark.parametrize("pause_s", [0.0, 0.001, 3600.0])
def test_a_pause_never_makes_the_far_end_stricter_nor_the_packet_wrong(pause_s: float) -> None:
    assert 3 <= one_sent(up().announce_pause(pause_s)).multiplier <= 255


def test_a_session_that_is_not_up_announces_no_pause() -> None:
    assert machine().announce_pause(1.0) == []


def test_a_successor_goes_on_without_a_change_of_state() -> None:
    predecessor = up()
    successor = machine()
    actions = successor.restore(json.loads(json.dumps(predecessor.snapshot())), 5.0)
    assert went(actions) == []
    assert successor.state is State.UP
    assert one_sent(actions) == one_sent(predecessor.handle_timer(0.010))
    assert successor.snapshot() == predecessor.snapshot()
    actions, now = after_silence(successor)
    assert now == pytest.approx(5.030)  # a whole detection time, whatever was lost meanwhile
    assert isinstance(went(actions)[0], WentDown)


def test_a_successor_with_other_numbers_negotiates_them() -> None:
    successor = machine(dataclasses.replace(SESSION, interval_s=0.050, multiplier=4))
    packet = one_sent(successor.restore(up().snapshot(), 5.0))
    assert (packet.state, packet.poll, packet.desired_min_tx_us, packet.multiplier) == (State.UP, True, 50_000, 4)
    assert successor.transmit_interval_s == pytest.approx(0.010)


def test_a_successor_of_one_that_was_stopped_begins_anew() -> None:
    predecessor = up()
    predecessor.disable(1.0)
    successor = machine()
    assert one_sent(successor.restore(predecessor.snapshot(), 2.0)).state is State.DOWN


@given(st.dictionaries(st.sampled_from(sorted(up().snapshot())), st.sampled_from([None, "x", [], {}, [None], 9])))
def test_what_is_no_snapshot_is_refused_and_changes_nothing(damage: dict[str, object]) -> None:
    bfd = machine()
    before = bfd.snapshot()
    try:
        bfd.restore({**up().snapshot(), **damage}, 0.0)
    except (LookupError, TypeError, ValueError):
        assert bfd.snapshot() == before


# ------------------------------------------------------------------------------------------------- whatever may come


any_packet = st.builds(
    Control,
    state=st.sampled_from(State),
    diagnostic=st.integers(0, 31),
    multiplier=st.integers(1, 255),
    my_discriminator=st.integers(1, 2**32 - 1),
    your_discriminator=st.sampled_from([0, OURS, 99]),
    desired_min_tx_us=st.integers(0, 2**32 - 1),
    required_min_rx_us=st.integers(0, 2**32 - 1),
    poll=st.booleans(),
    final=st.booleans(),
    demand=st.booleans(),
)


@given(st.lists(st.tuples(any_packet, st.floats(0, 0.05)), max_size=30), st.floats(0, 1))
def test_whatever_is_received_it_keeps_the_rules(packets: list[tuple[Control, float]], fraction: float) -> None:
    """Never a poll and a final at once, never faster than configured, ups and downs alternate, it always goes on."""
    bfd = machine(fraction=fraction)
    now = 0.0
    actions = bfd.start(now)
    periodic_at = []
    for packet, gap_s in packets:
        now += gap_s
        received = bfd.handle(packet, now)
        actions += received
        timed = bfd.handle_timer(now)
        actions += timed
        if sent(timed) and bfd.state is State.UP:
            periodic_at.append(now)
        deadline = bfd.deadline
        assert deadline is None or deadline > now
        assert bfd.snapshot() == json.loads(json.dumps(bfd.snapshot()))
    assert all(later - earlier > 0.0074 for earlier, later in itertools.pairwise(periodic_at))
    for control in sent(actions):
        assert not (control.poll and control.final)
        assert control.state is State.UP or control.desired_min_tx_us >= 1_000_000
    changes = [type(action) for action in went(actions)]
    assert changes == [WentUp, WentDown] * (len(changes) // 2) + [WentUp] * (len(changes) % 2)
    assert (bfd.ups, bfd.downs) == (changes.count(WentUp), changes.count(WentDown))
