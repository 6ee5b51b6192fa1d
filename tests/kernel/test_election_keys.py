"""Authentication in whole directors: who is believed, what is counted and told, and how keys are changed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import wait_for
from tests.pairs import LB1, LB2, Pair, authentication, config, key, started_pair, write

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

ONE, TWO = "a" * 64, "b" * 64


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("keys", tmp_path) as lab:
        yield lab


def dropped(pair: Pair, name: str) -> dict[str, int]:
    """What a director has counted of what it did not accept as it is."""
    found: dict[str, int] = pair.instance(name)["dropped"]
    return found


def test_with_the_same_key_they_believe_each_other(lab: Lab) -> None:
    with started_pair(lab, config() | authentication(key(lab, "one", ONE))) as pair:
        pair.wait_for_roles()
        pair.assert_stays("lb1", 1.0)
        assert (dropped(pair, "lb1"), dropped(pair, "lb2")) == ({}, {})
        pair["lb1"].kill()
        pair.wait_for_holder("lb2")
        pair["lb1"].start()
        pair.wait_for_holder("lb1")
        assert "not authentic" not in pair.log("lb1") + pair.log("lb2")


def test_with_another_key_nobody_is_obeyed_which_is_counted_and_told(lab: Lab) -> None:
    content = config() | authentication(key(lab, "one", ONE))
    pair = Pair(lab, content, {"lb2": config() | authentication(key(lab, "two", TWO))})
    for director in pair.directors.values():
        director.start()
    wait_for(lambda: pair.holders() == ["lb1", "lb2"], 15, "both to hold the virtual IP")
    for name, peer in (("lb1", LB2), ("lb2", LB1)):
        wait_for(lambda name=name: dropped(pair, name).get("authentication wrong", 0) > 2, 15, "a count")  # type: ignore[misc]
        assert pair.role(name) == "active"
        pair.wait_for_words(name, "advertisement not authentic")
        pair.wait_for_words(name, f"the one from {peer} is signed with another secret under the same key id")
    assert "authentication wrong" in pair.verb("lb1", "status").stdout
    assert ONE not in pair.log("lb1") + pair.log("lb2")


def test_without_a_key_nobody_is_obeyed(lab: Lab) -> None:
    pair = Pair(lab, config(), {"lb2": config() | authentication(key(lab, "one", ONE))})
    for director in pair.directors.values():
        director.start()
    wait_for(lambda: pair.holders() == ["lb1", "lb2"], 15, "both to hold the virtual IP")
    wait_for(lambda: dropped(pair, "lb2").get("authentication missing", 0) > 2, 15, "a count")
    pair.wait_for_words("lb2", f"the one from {LB1} carries no authentication")


def test_permissive_obeys_and_tells_while_authentication_is_brought_in(lab: Lab) -> None:
    one = key(lab, "one", ONE)
    pair = Pair(lab, config(), {"lb2": config() | authentication(one, mode="permissive")})
    for director in pair.directors.values():
        director.start()
    pair.wait_for_holder("lb1")
    pair.wait_for_roles()
    wait_for(lambda: dropped(pair, "lb2").get("authentication missing", 0) > 2, 15, "a count")
    pair.wait_for_words("lb2", "advertisement obeyed without authentication")
    # Now lb1 gets its key, and then lb2 becomes strict.
    for name, mode in (("lb1", "permissive"), ("lb2", "enforce"), ("lb1", "enforce")):
        write(pair[name].config, config() | authentication(one, mode=mode))
        assert pair.verb(name, "reload").returncode == 0
    pair.wait_for_roles()
    pair.assert_stays("lb1", 1.0)
    assert "not authentic" not in pair.log("lb1") + pair.log("lb2")


def test_keys_are_rotated_on_one_after_the_other_without_a_change_of_role(lab: Lab) -> None:
    one, two = key(lab, "one", ONE), key(lab, "two", TWO)
    content = config() | authentication(one)
    with started_pair(lab, content, {"lb2": content}) as pair:
        pair.wait_for_roles()
        before = pair.transitions()
        both_old, both_new = authentication(one, two, send=1), authentication(one, two, send=2)
        new = authentication(one, two, send=2)
        new["authentication"]["keys"] = new["authentication"]["keys"][1:]
        for step in (both_old, both_new, new):
            for name in ("lb2", "lb1"):
                write(pair[name].config, config() | step)
                ran = pair.verb(name, "reload")
                assert (ran.returncode, ran.stderr) == (0, "")
        pair.wait_for_roles()
        pair.assert_stays("lb1", 1.0)
        assert pair.transitions() == before
        assert "not authentic" not in pair.log("lb1") + pair.log("lb2")


def test_a_key_that_others_can_read_refuses_the_start_and_says_what_to_do(lab: Lab) -> None:
    content = config() | authentication(key(lab, "one", ONE, mode=0o644))
    path = write(lab.directory / "c.yml", content)
    command = [sys.executable, "-m", "ha_lvs.cli.main", "run", "-c", str(path), "--node", "lb1"]
    ended = lab.host("lb1").run([*command, "--runtime-dir", str(lab.directory / "run")], check=False)
    assert ended.returncode == 2
    assert "one.key" in ended.stderr
    assert "chmod 600" in ended.stderr or "chmod 0600" in ended.stderr
    assert ONE not in ended.stderr
