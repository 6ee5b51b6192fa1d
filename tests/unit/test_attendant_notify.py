"""Telling others of changes of role: real scripts, real subscribers, the real attendant."""

from __future__ import annotations

import json
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.daemon.attend.notify import MOST_WAITING, NOTE, keepalived_word
from ha_lvs.daemon.attend.subscribers import SOCKET_NAME
from ha_lvs.daemon.channel import Alive, Hello, Quorums, QuorumState, Stop
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.model import NotifyScript
from tests.attendants import ACTIVE, INITIALIZE, STATE, Attendant, attendant, instance, own_user, program

TWO = (instance("edge"), instance("inside"))


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory to which every user finds the way."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def notify(path: Path, *arguments: str, timeout_s: float = 10.0, instances: tuple[str, ...] = ()) -> NotifyScript:
    return NotifyScript((str(path), *arguments), timeout_s, own_user(), instances)


def recorder(place: Path, name: str = "told", *before: str) -> Path:
    """A script that writes its arguments down, a line for each run."""
    return program(place / f"{name}.sh", *before, f'echo "$@" >> {place}/{name}')


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def wait_for_lines(path: Path, *expected: str) -> None:
    wait_for(lambda: lines(path) == list(expected), 20, f"{path.name} to be {expected}")


# ------------------------------------------------------------------------------------------------ scripts


def test_scripts_get_keepalived_s_arguments_behind_their_own(place: Path) -> None:
    with attendant(place, notify=(notify(recorder(place), "--own"),)) as running:
        running.tell(STATE, ACTIVE, INITIALIZE)
        wait_for_lines(
            place / "told", "--own INSTANCE edge BACKUP 140", "--own INSTANCE edge MASTER 140",
            "--own INSTANCE edge FAULT 140",
        )  # fmt: skip


def test_scripts_get_the_change_in_variables_and_as_json(place: Path) -> None:
    script = program(place / "s.sh", f"env | grep ^HA_LVS_ | sort > {place}/env", f"cat > {place}/.j",
                     f"mv {place}/.j {place}/json")  # fmt: skip
    with attendant(place, notify=(notify(script),)) as running:
        running.tell(ACTIVE)
        event = json.loads(wait_for((place / "json").read_text, 60, "the event"))
    assert lines(place / "env") == [
        "HA_LVS_INSTANCE=edge",
        "HA_LVS_NODE=lb1",
        "HA_LVS_PREVIOUS=initialize",
        "HA_LVS_PRIORITY=140",
        "HA_LVS_REASON=10.9.0.12 fell silent",
        "HA_LVS_ROLE=active",
    ]
    assert event == {
        "event": "role", "instance": "edge", "role": "active", "previous": "initialize", "priority": 150,
        "effective_priority": 140, "reason": "10.9.0.12 fell silent", "barred": "", "node": "lb1",
        "time": "2023-11-14T22:13:20.000+00:00", "sequence": 1,
    }  # fmt: skip


def test_only_changes_are_told(place: Path) -> None:
    with attendant(place, notify=(notify(recorder(place)),)) as running:
        running.tell(STATE, replace(STATE, peer="10.9.0.13"), replace(STATE, effective_priority=1), ACTIVE)
        wait_for_lines(place / "told", "INSTANCE edge BACKUP 140", "INSTANCE edge MASTER 140")


def test_who_is_barred_is_in_fault_for_keepalived_s_scripts_and_out_of_it_again(place: Path) -> None:
    barred = replace(STATE, barred="interface e1 is down")
    assert [keepalived_word(each) for each in (barred, STATE, ACTIVE)] == ["FAULT", "BACKUP", "MASTER"]
    with attendant(place, notify=(notify(recorder(place)),)) as running:
        running.tell(STATE, barred, STATE)
        wait_for_lines(
            place / "told", "INSTANCE edge BACKUP 140", "INSTANCE edge FAULT 140", "INSTANCE edge BACKUP 140"
        )


def test_one_at_a_time_and_in_order_and_instances_do_not_wait_for_each_other(place: Path) -> None:
    slow = recorder(
        place, "told", f'mkdir {place}/$2 || echo overlap >> {place}/told', 'test "$2" = inside || sleep 0.3',
        f"rmdir {place}/$2",
    )  # fmt: skip
    states = [STATE, ACTIVE] * 4
    with attendant(place, notify=(notify(slow),), instances=TWO) as running:
        running.tell(*states, replace(ACTIVE, instance="inside"))
        wait_for(lambda: len(lines(place / "told")) == 9, 60, "all notifications")
    told = lines(place / "told")
    assert told.index("INSTANCE inside MASTER 140") < 4, "it has not waited for the slow ones of edge"
    edge = [line.split()[2] for line in told if " edge " in line]
    assert edge == ["BACKUP", "MASTER"] * 4


def test_scripts_of_one_change_run_in_the_file_s_order_and_some_are_for_some_instances_only(place: Path) -> None:
    first = program(place / "first.sh", "sleep 0.2", f'echo "first $2" >> {place}/told')
    second = program(place / "second.sh", f'echo "second $2" >> {place}/told')
    scripts = notify(first), notify(second, instances=("inside",))
    with attendant(place, notify=scripts, instances=TWO) as running:
        running.tell(replace(ACTIVE, instance="inside"))
        wait_for_lines(place / "told", "first inside", "second inside")
        running.tell(ACTIVE)
        wait_for_lines(place / "told", "first inside", "second inside", "first edge")


def test_a_script_that_takes_too_long_is_killed_and_the_next_change_is_told(place: Path) -> None:
    script = recorder(place, "told", f'test "$3" = MASTER || {{ echo $$ > {place}/pid; sleep 1000; }}')
    with attendant(place, notify=(notify(script, timeout_s=0.5),)) as running:
        running.tell(STATE, ACTIVE)
        wait_for_lines(place / "told", "INSTANCE edge MASTER 140")
        assert "notify script failed" in running.log()
        assert not Path("/proc", (place / "pid").read_text().strip()).exists()


def test_what_waits_is_bounded_and_the_oldest_is_dropped(place: Path) -> None:
    script = recorder(place, "told", f"while ! test -e {place}/go; do sleep 0.05; done")
    with attendant(place, notify=(notify(script, timeout_s=100),)) as running:
        running.tell(INITIALIZE, STATE)  # the first one is no change; the second is being told
        wait_for(lambda: "told.sh" in children(running), 60, "the script to run")
        running.tell(*([ACTIVE, STATE] * (MOST_WAITING // 2)), ACTIVE, STATE)
        wait_for(lambda: running.log().count("notification dropped") == 2, 60, "two to be dropped")
        (place / "go").touch()
        wait_for(lambda: len(lines(place / "told")) == MOST_WAITING + 1, 60, "the rest")
    assert lines(place / "told")[-2:] == ["INSTANCE edge MASTER 140", "INSTANCE edge BACKUP 140"]


def children(running: Attendant) -> str:
    """The command lines of what the attendant has started."""
    pid = running.process.pid
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return " ".join(Path(f"/proc/{each}/cmdline").read_text() for each in pids)


# ------------------------------------------------------------------------------------- restarts, and the end


def test_a_successor_does_not_tell_the_present_state_again(place: Path) -> None:
    with attendant(place, notify=(notify(recorder(place)),)) as running:
        running.tell(ACTIVE)
        wait_for_lines(place / "told", "INSTANCE edge MASTER 140")
        wait_for(lambda: "active" in (running.runtime_dir / "attendant.json").read_text(), 60, "the note")
        running.restart()
        running.greeted().tell(ACTIVE, STATE)
        wait_for_lines(place / "told", "INSTANCE edge MASTER 140", "INSTANCE edge BACKUP 140")
        wait_for(lambda: "backup" in (running.runtime_dir / "attendant.json").read_text(), 60, "the note")
        running.restart()
        running.greeted().tell(INITIALIZE)  # it has happened while nobody was there to tell it
        wait_for(lambda: len(lines(place / "told")) == 3, 60, "the change")
        assert lines(place / "told")[2] == "INSTANCE edge FAULT 140"


def test_the_last_change_is_told_before_a_planned_end(place: Path) -> None:
    with attendant(place, notify=(notify(recorder(place, "told", "sleep 0.5")),)) as running:
        running.greeted().tell(ACTIVE, INITIALIZE)
        assert running.guardian.send(Stop())
        assert running.process.wait(60) == 0
        assert lines(place / "told") == ["INSTANCE edge MASTER 140", "INSTANCE edge FAULT 140"]


def test_it_shows_signs_of_life_and_does_not_outlive_the_guardian(place: Path) -> None:
    with attendant(place) as running:
        heard: list[Any] = []

        def lives() -> bool:
            heard.extend(running.guardian.receive())
            return heard.count(Alive()) >= 2

        wait_for(lives, 60, "signs of life")
        running.wait_for(Hello)
        running.guardian.close()
        running._guardian_end.close()
        assert running.process.wait(60) == 0
        assert not (running.runtime_dir / SOCKET_NAME).exists()


# ------------------------------------------------------------------------------------------------ quorums

LOST = QuorumState("web", False, 1, True)
HAS = QuorumState("web", True, 3, False)


def tell_quorums(running: Attendant, *states: QuorumState, others: bool = False) -> None:
    assert running.guardian.send(Quorums(states, others))


def test_scripts_that_ask_for_it_are_told_of_quorums_and_the_others_are_not(place: Path) -> None:
    both = replace(notify(recorder(place, "both")), quorums=True)
    only = replace(notify(recorder(place, "only"), "--own"), roles=False, quorums=True, services=("web",))
    with attendant(place, notify=(notify(recorder(place, "roles")), both, only)) as running:
        running.greeted().tell(ACTIVE)
        tell_quorums(running, LOST, replace(LOST, service="mail", sorry=False))
        tell_quorums(running, LOST)
        tell_quorums(running, HAS)
        wait_for_lines(place / "only", "--own SERVICE web DOWN 1", "--own SERVICE web UP 3")
        wait_for(lambda: len(lines(place / "both")) == 4, 20, "all notifications")
        wait_for_lines(place / "roles", "INSTANCE edge MASTER 140")
    web = ["SERVICE web DOWN 1", "SERVICE web UP 3"]
    assert sorted(lines(place / "both")) == sorted(["INSTANCE edge MASTER 140", "SERVICE mail DOWN 1", *web])


def test_a_quorum_is_in_variables_and_in_json_too(place: Path) -> None:
    script = program(place / "s.sh", f"env | grep ^HA_LVS_ | sort > {place}/env", f"cat > {place}/.j",
                     f"mv {place}/.j {place}/json")  # fmt: skip
    with attendant(place, notify=(replace(notify(script), quorums=True),)) as running:
        tell_quorums(running, LOST)
        event = json.loads(wait_for((place / "json").read_text, 60, "the event"))
    assert lines(place / "env") == [
        "HA_LVS_NODE=lb1",
        "HA_LVS_QUORUM=DOWN",
        "HA_LVS_SERVICE=web",
        "HA_LVS_SORRY=yes",
        "HA_LVS_STRENGTH=1",
    ]
    del event["time"]
    assert event == {
        "event": "quorum", "service": "web", "quorum": False, "strength": 1, "sorry": True, "node": "lb1",
        "sequence": 1,
    }  # fmt: skip


def test_what_was_told_of_quorums_outlives_the_attendant_and_the_rest_is_told_late(place: Path) -> None:
    script = replace(notify(recorder(place)), roles=False, quorums=True)
    with attendant(place, notify=(script,)) as running:
        running.greeted()
        tell_quorums(running, LOST, replace(LOST, service="mail"))
        note = running.runtime_dir / NOTE
        wait_for(lambda: json.loads(note.read_text())["lost"] == ["mail", "web"], 20, "both to be noted as told")
        running.restart()
        running.greeted()
        tell_quorums(running, LOST, others=True)
        wait_for(lambda: "SERVICE mail UP unknown" in lines(place / "told"), 20, "what was not heard")
        assert len(lines(place / "told")) == 3, "and of the other nothing twice"
        with subscriber(running) as late:
            found = late.next()
            assert (found["event"], found["service"], found["quorum"]) == ("quorum", "web", False)


# ----------------------------------------------------------------------------------------------- subscribers


class Subscriber:
    """Somebody who listens at the socket of events."""

    def __init__(self, running: Attendant) -> None:
        path = str(running.runtime_dir / SOCKET_NAME)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        wait_for(lambda: self.sock.connect_ex(path) == 0, 60, "the socket of events")
        self.sock.settimeout(60)
        self._stream = self.sock.makefile("r")

    def next(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._stream.readline())
        return found

    def ended(self) -> bool:
        """Reads to the end."""
        try:
            return all(True for _ in iter(lambda: self.sock.recv(1 << 16), b""))
        except ConnectionResetError:
            return True


@contextmanager
def subscriber(running: Attendant) -> Iterator[Subscriber]:
    found = Subscriber(running)
    yield found
    found.sock.close()


def test_a_subscriber_first_learns_where_all_stands_and_then_hears_every_change(place: Path) -> None:
    with attendant(place, instances=TWO) as running:
        running.tell(STATE, replace(ACTIVE, instance="inside"))
        with subscriber(running) as early:
            first = {event["instance"]: event for event in (early.next(), early.next())}
            assert {name: (event["role"], event["previous"]) for name, event in first.items()} == {
                "edge": ("backup", "initialize"), "inside": ("active", "initialize"),
            }  # fmt: skip
            running.tell(ACTIVE)
            event = early.next()
            assert (event["event"], event["role"], event["previous"]) == ("role", "active", "backup")
            with subscriber(running) as late:
                assert [late.next()["event"] for _ in range(2)] == ["state", "state"]
                running.tell(INITIALIZE)
                assert late.next() == early.next()
            assert event["sequence"] == 3


def test_the_socket_is_for_owner_and_group(place: Path) -> None:
    with attendant(place) as running:
        path = running.runtime_dir / SOCKET_NAME
        wait_for(path.exists, 60, "the socket")
        wait_for(lambda: stat.S_IMODE(path.stat().st_mode) == 0o660, 60, "its mode")


def test_a_subscriber_that_does_not_read_is_dropped_and_the_others_hear_on(place: Path) -> None:
    with attendant(place) as running, subscriber(running) as slow, subscriber(running) as quick:
        running.tell(STATE)
        assert quick.next()["role"] == "backup"
        for number in range(5000):
            if number % 50 == 0 and "subscriber dropped" in running.log():
                break
            state = replace(ACTIVE if number % 2 == 0 else STATE, reason="x" * 500)
            wait_for(lambda state=state: running.elector.send(state), 60, "room in the channel")  # type: ignore[misc]
            assert quick.next()["role"] == state.role.value
        assert "subscriber dropped" in running.log()
        assert slow.ended()


def test_a_stale_socket_is_replaced_and_a_foreign_one_is_not_taken_away(place: Path) -> None:
    with attendant(place) as running:
        running.greeted()
        running.restart()
        running.greeted().tell(STATE)
        with subscriber(running) as found:
            assert found.next()["role"] == "backup"
        path = running.runtime_dir / SOCKET_NAME
        path.unlink()
        path.touch()
        running.guardian.send(Stop())
        assert running.process.wait(60) == 0
        assert path.exists()


def test_a_runtime_directory_that_is_gone_is_told_and_stops_nothing(place: Path) -> None:
    with attendant(place, notify=(notify(recorder(place)),)) as running:
        running.greeted()
        shutil.rmtree(running.runtime_dir)
        running.tell(ACTIVE)
        wait_for_lines(place / "told", "INSTANCE edge MASTER 140")
        assert "what was notified is unknown" in running.log()
        assert running.process.poll() is None
