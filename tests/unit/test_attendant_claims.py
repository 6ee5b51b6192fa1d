"""When a claim to a virtual IP is a duplicate: told as a sequence of claims."""

from __future__ import annotations

import pytest

from ha_lvs.daemon.attend.claims import MOST_MACS, Claims, settle_s

RIVAL, OTHER, THIRD = b"\x02\0\0\0\0\x0a", b"\x02\0\0\0\0\x0b", b"\x02\0\0\0\0\x0c"
ACTIVE, BACKUP = 1, 2
"""How many it takes to be rivals."""


def fed(claims: Claims, needed: int, *heard: tuple[float, bytes]) -> list[tuple[float, bytes]]:
    """What is reported, and when."""
    return [(at, mac) for at, mac in heard if claims.heard(mac, at, needed) is not None]


def every(period_s: float, from_s: float, to_s: float, mac: bytes) -> list[tuple[float, bytes]]:
    count = round((to_s - from_s) / period_s)
    return [(from_s + index * period_s, mac) for index in range(count + 1)]


def test_a_claim_must_last_for_three_intervals_or_two_seconds_whichever_is_longer() -> None:
    assert settle_s(0.01) == 2.0
    assert settle_s(1.0) == 3.0


def test_the_active_reports_a_rival_that_lasts() -> None:
    assert fed(Claims(2.0), ACTIVE, *every(0.5, 0, 3, RIVAL))[0] == (2.0, RIVAL)


def test_a_hand_over_is_no_duplicate() -> None:
    """The old active answers and announces for a moment still; its last word comes late."""
    assert fed(Claims(2.0), ACTIVE, (0.0, RIVAL), (0.1, RIVAL), (0.8, RIVAL), (1.9, RIVAL)) == []


def test_two_hand_overs_far_apart_are_no_duplicate_either() -> None:
    assert fed(Claims(2.0), ACTIVE, (0.0, RIVAL), (0.5, RIVAL), (100.0, RIVAL), (100.5, RIVAL)) == []


def test_a_change_of_role_begins_anew() -> None:
    claims = Claims(2.0)
    assert fed(claims, ACTIVE, *every(0.5, 0, 1.5, RIVAL)) == []
    claims.forget()
    assert fed(claims, ACTIVE, *every(0.5, 2, 3.5, RIVAL)) == []


def test_the_active_peer_of_a_backup_is_no_duplicate_however_long_it_answers() -> None:
    assert fed(Claims(2.0), BACKUP, *every(1.0, 0, 1000, RIVAL)) == []


def test_a_backup_reports_two_who_answer_beside_each_other() -> None:
    both = sorted(every(0.5, 0, 4, RIVAL) + every(0.5, 0.1, 4.1, OTHER))
    assert fed(Claims(2.0), BACKUP, *both)[0] == (2.5, RIVAL)


def test_a_backup_does_not_report_one_who_follows_another() -> None:
    assert fed(Claims(2.0), BACKUP, *every(0.5, 0, 5, RIVAL), *every(0.5, 5.1, 30, OTHER)) == []


def test_nor_three_who_follow_one_another_quickly() -> None:
    line = [*every(0.5, 0, 1, RIVAL), *every(0.5, 1.2, 2, OTHER), *every(0.5, 2.4, 30, THIRD)]
    assert fed(Claims(2.0), BACKUP, *line) == []


def test_one_report_in_ten_seconds() -> None:
    found = [at for at, _ in fed(Claims(2.0), ACTIVE, *every(0.5, 0, 40, RIVAL))]
    assert found == pytest.approx([2.0, 12.0, 22.0, 32.0])


def test_suspicion_ends_when_nothing_more_is_heard() -> None:
    claims = Claims(2.0)
    claims.heard(RIVAL, 10.0, ACTIVE)
    assert claims.suspected(10.1)
    assert not claims.suspected(10.0 + claims.quiet_s)


def test_invented_senders_do_not_fill_the_memory() -> None:
    claims = Claims(2.0)
    for number in range(1000):
        claims.heard(number.to_bytes(6, "big"), number / 1000, ACTIVE)
    assert len(claims._heard) <= MOST_MACS
