"""How often a trouble that recurs is spoken of."""

from __future__ import annotations

from ha_lvs.daemon.complaints import SAME_COMPLAINT_EVERY_S, Complaints


def test_a_trouble_is_told_at_once_and_then_now_and_then() -> None:
    complaints = Complaints()
    times = [5.0, 5.1, 5.0 + SAME_COMPLAINT_EVERY_S - 0.1, 5.0 + SAME_COMPLAINT_EVERY_S, 6.0 + SAME_COMPLAINT_EVERY_S]
    assert [complaints.due("socket failed", now) for now in times] == [True, False, False, True, False]


def test_one_trouble_does_not_hide_another() -> None:
    complaints = Complaints()
    assert complaints.due("socket failed", 5.0)
    assert complaints.due("packet dropped", 5.0)
