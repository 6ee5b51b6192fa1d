"""The file that says which services are ours: survives a crash, never claims what it cannot read."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from ha_lvs.errors import PlatformError
from ha_lvs.kernel.ownership import Ownership
from ha_lvs.model import Protocol, ServiceKey

WEB = ServiceKey(IPv4Address("192.0.2.10"), 80, Protocol.TCP)
GROUP = ServiceKey.of_mark(7, 6)
DNS = ServiceKey(IPv6Address("2001:db8::53"), 53, Protocol.UDP)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "owned.json"


def test_nothing_is_owned_at_first(path: Path) -> None:
    fresh = Ownership(path)
    assert (fresh.services, fresh.sync, fresh.problem) == (frozenset(), False, "")


def test_what_is_claimed_is_ours_after_a_crash(path: Path) -> None:
    Ownership(path).claim([WEB, DNS], sync=True)
    again = Ownership(path)
    assert (again.services, again.sync, again.problem) == (frozenset({WEB, DNS}), True, "")


def test_claims_add_up_and_releases_take_away(path: Path) -> None:
    ownership = Ownership(path)
    ownership.claim([WEB])
    ownership.claim([DNS], sync=True)
    ownership.release([WEB], sync=True)
    again = Ownership(path)
    assert (again.services, again.sync) == (frozenset({DNS}), False)
    assert (ownership.services, ownership.sync) == (again.services, again.sync)


def test_a_service_of_a_mark_and_the_table_of_marks_are_remembered(path: Path) -> None:
    Ownership(path).claim([WEB, GROUP], marks=True)
    again = Ownership(path)
    assert (again.services, again.marks, again.anything) == (frozenset({WEB, GROUP}), True, True)
    again.release([WEB, GROUP])
    assert Ownership(path).anything
    again.release(marks=True)
    assert not Ownership(path).anything


def test_a_file_of_before_there_were_marks_is_read(path: Path) -> None:
    path.write_text('{"boot": "one", "sync": true, "services": [["192.0.2.10", "80", "tcp"]]}')
    found = Ownership(path, boot_id="one")
    assert (found.services, found.sync, found.marks, found.problem) == (frozenset({WEB}), True, False, "")


def test_another_boot_has_another_kernel(path: Path) -> None:
    Ownership(path, boot_id="one").claim([WEB])
    other = Ownership(path, boot_id="two")
    assert (other.services, other.problem) == (frozenset(), "")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"7",
        b'{"boot": "one"}',
        b'{"boot": "one", "sync": false, "services": 7}',
        b'{"boot": "one", "sync": false, "services": [["192.0.2.10", "80"]]}',
        b'{"boot": "one", "sync": false, "services": [["192.0.2.10", "80", "tcp"], ["nowhere", "80", "tcp"]]}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_owns_nothing_and_is_told(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    damaged = Ownership(path, boot_id="one")
    assert damaged.services == frozenset()
    assert str(path) in damaged.problem
    damaged.claim([WEB])
    assert Ownership(path, boot_id="one").services == {WEB}


def test_a_directory_that_is_not_there_is_named(path: Path) -> None:
    ownership = Ownership(path.parent / "absent" / "owned.json")
    with pytest.raises(PlatformError, match="absent"):
        ownership.claim([WEB])
    assert ownership.services == frozenset()


def test_a_file_that_cannot_be_read_is_told(path: Path) -> None:
    path.mkdir()
    assert "cannot be read" in Ownership(path).problem
