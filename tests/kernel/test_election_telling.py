"""Who is told of a running pair: notify scripts, subscribers to events, `ha-lvs status --peer`, who discovers it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from tests.pairs import LB1, Pair, authentication, config, key, public_directory, started_pair

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("telling", tmp_path) as lab:
        yield lab


@pytest.fixture
def place() -> Iterator[Path]:
    with public_directory() as place:
        yield place


def linked(pair: Pair) -> None:
    """Waits until the directors are linked."""
    for name in pair.directors:
        wait_for(
            lambda name=name: any(peer["linked"] for peer in pair[name].status()["peers"]),  # type: ignore[misc]
            30,
            f"{name} to be linked",
        )


# ------------------------------------------------------------------------------------------------- scripts


def test_notify_scripts_are_run_one_at_a_time_and_in_order(lab: Lab, place: Path) -> None:
    """Each takes longer than the role stays: none may overtake another."""
    told = place / "told"
    told.touch()
    told.chmod(0o666)
    shell = f'echo "begin $2 $3 $(id -un)" >> {told}; sleep 0.7; echo "end $3" >> {told}'
    notify = [{"command": ["/bin/sh", "-c", shell, "notify"]}]
    with started_pair(lab, config() | {"notify": notify}, {"lb2": config()}) as pair:
        pair.wait_for_roles()
        linked(pair)
        for verb in ("handover", "enable", "standby", "enable"):
            ran = pair.verb("lb1", verb)
            assert ran.returncode == 0, ran
            pair.wait_for_holder("lb2" if verb in ("handover", "standby") else "lb1")

        def lines() -> list[str]:
            return told.read_text().splitlines()

        wait_for(lambda: lines().count("end MASTER") == 3, 30, "all to be told")
        found = [line.split() for line in lines()]
        assert [line[0] for line in found] == ["begin", "end"] * (len(found) // 2)
        begun = found[::2]
        assert {(line[1], line[3]) for line in begun} == {("edge", "nobody")}
        told_of = [line[2] for line in begun]
        # The hand-over ends as BACKUP; the standby as FAULT, which is what keepalived calls who cannot be active.
        assert told_of[-6:] == ["MASTER", "BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER"], told_of


def test_subscribers_get_where_it_stands_and_then_every_change(lab: Lab) -> None:
    with started_pair(lab) as pair:
        pair.wait_for_roles()
        linked(pair)
        with events(pair, "lb2") as heard:
            wait_for(lambda: heard, 10, "where it stands")
            assert (heard[0]["event"], heard[0]["role"], heard[0]["node"]) == ("state", "backup", "lb2")
            assert pair.verb("lb1", "handover").returncode == 0
            pair.wait_for_holder("lb2")
            assert pair.verb("lb1", "enable").returncode == 0
            pair.wait_for_holder("lb1")
            wait_for(lambda: len(heard) >= 3, 10, "both changes")
        changes = [(each["event"], each["instance"], each["previous"], each["role"]) for each in heard[1:]]
        assert changes == [("role", "edge", "backup", "active"), ("role", "edge", "active", "backup")]
        numbers = [each["sequence"] for each in heard]
        assert numbers == list(range(numbers[0], numbers[0] + 3))


@contextmanager
def events(pair: Pair, name: str) -> Iterator[list[dict[str, Any]]]:
    """What a subscriber to a director's events hears while the block lasts."""
    heard: list[dict[str, Any]] = []
    path = pair[name].runtime_dir / "events.sock"
    # The attendant is the last to be started: the peer may be linked before it listens.
    wait_for(path.is_socket, 30, f"{path} to be there")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(str(path))

    def listen() -> None:
        with sock.makefile("rb") as stream:
            for line in stream:
                heard.append(json.loads(line))  # noqa: PERF401  # as they come, not at the end

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        sock.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        sock.close()


# -------------------------------------------------------------------------------------------------- status


def test_the_status_of_both_is_had_from_either(lab: Lab) -> None:
    with started_pair(lab, config() | authentication(key(lab, "one", "a" * 64))) as pair:
        pair.wait_for_roles()
        linked(pair)
        for name, other in (("lb1", "lb2"), ("lb2", "lb1")):
            ran = pair.verb(name, "status", "--peer", "--json")
            assert (ran.returncode, ran.stderr) == (0, "")
            found = json.loads(ran.stdout)
            assert (found["self"]["node"], found["peer"]["node"]) == (name, other)
            roles = {each["node"]: each["instances"]["edge"]["role"] for each in (found["self"], found["peer"])}
            assert roles == {"lb1": "active", "lb2": "backup"}
        ran = pair.verb("lb1", "status", "--peer")
        assert ran.returncode == 0
        assert "ACTIVE prio 150" in ran.stdout
        assert "backup prio 100" in ran.stdout
        pair["lb2"].kill()
        wait_for(lambda: pair.verb("lb1", "status", "--peer").returncode == 1, 30, "lb1 to say that lb2 is gone")
        ran = pair.verb("lb1", "status", "--peer")
        assert "ACTIVE" in ran.stdout
        assert "lb2" in ran.stderr


def test_another_config_file_is_told_and_shown(lab: Lab) -> None:
    with started_pair(lab, config(), {"lb2": config(priority={"lb1": 150, "lb2": 101})}) as pair:
        linked(pair)
        pair.wait_for_words("lb1", "config differs from the peer's")
        pair.wait_for_words("lb2", "config differs from the peer's")
        assert "differs" in pair.verb("lb1", "status", "--peer").stdout


# ----------------------------------------------------------------------------------------------- discovery


def discovered(lab: Lab, *, addresses: bool, **changes: Any) -> dict[str, Any]:
    """The config of a pair that announces itself."""
    content = config(**changes) | authentication(key(lab, "one", "a" * 64)) | {"discovery": {"interface": "e0"}}
    if not addresses:
        content["nodes"] = {"lb1": {}, "lb2": {}}
    return content


def announced(pair: Pair) -> list[dict[str, Any]]:
    """What `ha-lvs discover` finds from a client."""
    command = ["discover", "--json", "--interface", "e0", "--seconds", str(3 * PACE)]
    ran = pair.verb("lb1", *command, host="c1")
    assert ran.returncode == 0, ran
    found: list[dict[str, Any]] = json.loads(ran.stdout)["directors"]
    return found


def test_anybody_can_list_the_directors_of_a_network(lab: Lab) -> None:
    with started_pair(lab, discovered(lab, addresses=True)) as pair:
        linked(pair)
        found = wait_for(lambda: [each for each in [announced(pair)] if len(each) == 2], 60, "both to be found")[0]
        assert [(each["cluster"], each["node"]) for each in found] == [("edge", "lb1"), ("edge", "lb2")]
        digest = pair["lb1"].status()["config_digest"]
        assert {each["config_digest"] for each in found} == {digest}
        assert all(each["same_config"] and each["same_version"] for each in found)
        assert [each["addresses"][0] for each in found] == ["10.9.0.11", "10.9.0.12"]


def test_unicast_peers_without_addresses_in_the_file_find_each_other(lab: Lab) -> None:
    with started_pair(lab, discovered(lab, addresses=False, unicast=True)) as pair:
        linked(pair)
        pair.wait_for_roles()
        wait_for(lambda: pair.instance("lb2")["peer"] == {"address": LB1, "priority": 150}, 15, "lb2 to tell of lb1")
        pair.assert_stays("lb1", 1.0)
        pair["lb1"].kill()
        pair.wait_for_holder("lb2")
        pair["lb1"].start()
        pair.wait_for_holder("lb1", 40)
        pair.wait_for_roles()
