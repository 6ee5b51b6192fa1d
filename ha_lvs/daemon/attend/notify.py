"""Telling others of changes: the operator's scripts, and whoever listens at the socket of events.

Rules that hold here:
* Changes of one instance are told in order, one script at a time; instances do not wait for each other. What waits is
  bounded: behind a script that is too slow the oldest change is dropped, and logged.
* A change is a change of role, or of what keepalived calls it: an instance that is barred is in FAULT there; or one of
  a service's quorum. Services are told of as instances are: each in order, none waits for another.
* A change counts as told once every script has been run for it, which is noted in the runtime directory. So a
  successor of ours tells what we had not, and does not tell again what we had. A change that happened while none of us
  ran is told, too.
* Scripts get keepalived's arguments behind their own: INSTANCE, the name, MASTER or BACKUP or FAULT, and the priority;
  of a service SERVICE, the name, UP or DOWN, and what is up of it.
"""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from ha_lvs import files
from ha_lvs.daemon.attend import running
from ha_lvs.daemon.attend.subscribers import Subscribers
from ha_lvs.daemon.channel import InstanceState, Quorums, QuorumState
from ha_lvs.model import NotifyScript, Role
from ha_lvs.programs.privileges import RefusedError

log = structlog.get_logger()

INSTANCE, SERVICE = "instance", "service"
MOST_WAITING = 100
NOTE = "attendant.json"
KILLED_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Change:
    """Something to tell.

    Arguments:
        subject: what changed: ``instance`` or ``service``, and its name.
        arguments: what scripts get behind their own.
        variables: what they find in their environment, after ``HA_LVS_``.
        event: the same as JSON.
        note: what is noted once it has been told.
    """

    subject: tuple[str, str]
    arguments: tuple[str, ...]
    variables: dict[str, str]
    event: dict[str, Any]
    note: Callable[[], None]

    @property
    def about(self) -> str:
        """It for the log."""
        kind, name = self.subject
        return f"{kind} {name}: {self.event['role'] if kind == INSTANCE else self.arguments[2]}"

    @property
    def instance(self) -> str | None:
        """Whose role it is."""
        return self.event.get("instance")

    @property
    def service(self) -> str | None:
        """Whose quorum it is."""
        return self.event.get("service")


def keepalived_word(state: InstanceState) -> str:
    """What keepalived's notify scripts call a state: MASTER, BACKUP or FAULT."""
    if state.role is Role.ACTIVE:
        return "MASTER"
    return "FAULT" if state.role is Role.INITIALIZE or state.barred else "BACKUP"


def _text(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")


class Notifier:
    """Everybody who is told.

    Arguments:
        node: this one's name.
        scripts: whom to run.
        runtime_dir: where the note of what has been told is.
    """

    def __init__(self, node: str, scripts: Sequence[NotifyScript], runtime_dir: Path) -> None:
        self._node = node
        self._scripts = scripts
        self._refusals = [running.refusal_teller(" ".join(script.command)) for script in scripts]
        self._note = _Note(runtime_dir / NOTE)
        self._events: dict[str, dict[str, Any]] = {}
        self._told_last: dict[str, tuple[Role, str]] = {}
        self._lost = self._note.lost()
        self._lost_events: dict[str, dict[str, Any]] = {}
        self._waiting: dict[tuple[str, str], deque[Change]] = {}
        self._workers: dict[tuple[str, str], asyncio.Task[None]] = {}
        self.subscribers: Subscribers | None = None

    def heard(self, state: InstanceState) -> None:
        """Takes in where an instance stands, and has it told if that is a change."""
        name, word = state.instance, keepalived_word(state)
        known = self._events.get(name)
        role, before = self._told_last.get(name) or self._note.told(name)
        self._told_last[name] = state.role, word
        if (state.role, word) == (role, before):
            previous = known["previous"] if known else role.value
            sequence = known["sequence"] if known else self._note.sequence
            at = known["time"] if known else _text(state.since_s)
            event = self._events[name] = self._event(state, previous, sequence, at)
            if known is None and self.subscribers is not None:  # who has subscribed already does not know it yet
                self.subscribers.publish({**event, "event": "state"})
            return
        self._note.sequence += 1
        at = _text(state.since_s if state.role is not role else time.time())
        event = self._events[name] = self._event(state, role.value, self._note.sequence, at)
        if self.subscribers is not None:
            self.subscribers.publish(event)
        priority = str(event["effective_priority"])
        variables = {
            "INSTANCE": name,
            "ROLE": state.role.value,
            "PREVIOUS": event["previous"],
            "REASON": state.reason,
            "PRIORITY": priority,
        }
        arguments = ("INSTANCE", name, word, priority)
        self._queue(
            Change((INSTANCE, name), arguments, variables, event, lambda: self._note.tell(name, state.role, word))
        )

    def heard_quorums(self, told: Quorums) -> None:
        """Takes in where services stand, and has those told that have lost their quorum, or have it again."""
        for state in told.states:
            self._heard_quorum(state)
        if told.others:
            for name in self._lost - {state.service for state in told.states}:
                self._heard_quorum(QuorumState(name, True, 0, False), "unknown")

    def _heard_quorum(self, state: QuorumState, strength: str = "") -> None:
        name = state.service
        changed = state.quorum == (name in self._lost)
        if changed:
            self._lost ^= {name}
            self._note.sequence += 1
        event = {
            "event": "quorum",
            "service": name,
            "quorum": state.quorum,
            "strength": None if strength else state.strength,
            "sorry": state.sorry,
            "node": self._node,
            "time": _text(time.time()),
            "sequence": self._note.sequence,
        }
        if state.quorum:
            self._lost_events.pop(name, None)
        elif changed or name not in self._lost_events:  # an earlier one of us may have told it
            self._lost_events[name] = event
        if not changed:
            return
        if self.subscribers is not None:
            self.subscribers.publish(event)
        word, strength = ("UP" if state.quorum else "DOWN"), strength or str(state.strength)
        variables = {"SERVICE": name, "QUORUM": word, "STRENGTH": strength, "SORRY": "yes" if state.sorry else "no"}
        arguments = ("SERVICE", name, word, strength)
        note = functools.partial(self._note.tell_quorum, name, state.quorum)
        self._queue(Change((SERVICE, name), arguments, variables, event, note))

    def snapshot(self) -> Iterator[dict[str, Any]]:
        """A line on each instance, and on each service without its quorum, for a new subscriber."""
        for event in self._events.values():
            yield {**event, "event": "state"}
        yield from self._lost_events.values()

    async def drain(self, limit_s: float) -> None:
        """Lets what waits be told, for no longer than that; then kills what runs."""
        if self._workers:
            await asyncio.wait(self._workers.values(), timeout=limit_s)
        for worker in self._workers.values():
            worker.cancel()
        if self._workers:
            await asyncio.wait(self._workers.values(), timeout=KILLED_WITHIN_S)

    def _event(self, state: InstanceState, previous: str, sequence: int, at: str) -> dict[str, Any]:
        return {
            "event": "role",
            "instance": state.instance,
            "role": state.role.value,
            "previous": previous,
            "priority": state.priority,
            "effective_priority": state.effective_priority or state.priority,
            "reason": state.reason,
            "barred": state.barred,
            "node": self._node,
            "time": at,
            "sequence": sequence,
        }

    def _queue(self, change: Change) -> None:
        subject = change.subject
        if not self._for(subject):
            change.note()
            return
        self._note.write()
        waiting = self._waiting.setdefault(subject, deque())
        if len(waiting) >= MOST_WAITING:
            lost, count = waiting.popleft(), len(waiting) + 1
            log.error(
                "notification dropped", about=lost.about, instance=lost.instance, service=lost.service, waiting=count
            )
        waiting.append(change)
        worker = self._workers.get(subject)
        if worker is None or worker.done():
            self._workers[subject] = asyncio.get_running_loop().create_task(self._work(subject, waiting))

    def _for(self, subject: tuple[str, str]) -> list[int]:
        """Which scripts are told of something."""
        kind, name = subject
        found = []
        for index, each in enumerate(self._scripts):
            wants, names = (each.roles, each.instances) if kind == INSTANCE else (each.quorums, each.services)
            if wants and (not names or name in names):
                found.append(index)
        return found

    async def _work(self, subject: tuple[str, str], waiting: deque[Change]) -> None:
        while waiting:
            change = waiting.popleft()
            for index in self._for(subject):
                await self._tell(index, change)
            change.note()

    async def _tell(self, index: int, change: Change) -> None:
        script, refused = self._scripts[index], self._refusals[index]
        variables = {**change.variables, "NODE": self._node}
        try:
            run = running.Run(
                (*script.command, *change.arguments),
                script.user,
                environment={f"HA_LVS_{name}": value for name, value in variables.items()},
                given=json.dumps(change.event).encode() + b"\n",
                tidy=False,  # it may have been run to start something
            )
        except RefusedError as problem:
            refused(str(problem))
            return
        refused("")
        try:
            ok, detail = await run.outcome(script.timeout_s)
            if not ok:
                log.error(
                    "notify script failed",
                    script=" ".join(script.command),
                    about=change.about,
                    instance=change.instance,
                    service=change.service,
                    detail=detail,
                )
            await run.ended
        finally:
            await running.stop([run], KILLED_WITHIN_S)


class _Note:
    """What has been told, in a file of the runtime directory: gone with the next boot, as it should be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed = False
        self.sequence = 0
        self._told: dict[str, tuple[Role, str]] = {}
        self._lost: set[str] = set()
        try:
            data = json.loads(path.read_bytes())
            self.sequence = int(data["sequence"])
            self._told = {name: (Role(role), str(word)) for name, (role, word) in data["told"].items()}
            self._lost = {str(name) for name in data.get("lost", ())}
        except FileNotFoundError:
            pass  # the first one since boot
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
            log.error("what was notified is unknown", detail=f"{path}: {problem}")

    def told(self, name: str) -> tuple[Role, str]:
        """What was told last of an instance; at first everybody takes it that it is not there."""
        return self._told.get(name, (Role.INITIALIZE, "FAULT"))

    def tell(self, name: str, role: Role, word: str) -> None:
        """Notes that this has been told."""
        self._told[name] = role, word
        self.write()

    def lost(self) -> set[str]:
        """The services of which it was told last that they have lost their quorum."""
        return set(self._lost)

    def tell_quorum(self, name: str, quorum: bool) -> None:
        """Notes that this has been told of a service."""
        if quorum:
            self._lost.discard(name)
        else:
            self._lost.add(name)
        self.write()

    def write(self) -> None:
        """Writes it down, whole and atomically."""
        told = {name: (role.value, word) for name, (role, word) in self._told.items()}
        content = {"sequence": self.sequence, "told": told, "lost": sorted(self._lost)}
        try:
            files.replace(self._path, json.dumps(content))
            self._failed = False
        except OSError as problem:
            if not self._failed:
                log.error("what was notified is unknown", detail=f"{self._path}: {problem.strerror}")
            self._failed = True
