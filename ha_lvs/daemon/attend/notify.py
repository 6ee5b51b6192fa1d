"""Telling others of changes: the operator's scripts, and whoever listens at the socket of events.

Rules that hold here:
* Changes of one instance are told in order, one script at a time; instances do not wait for each other. What waits is
  bounded: behind a script that is too slow the oldest change is dropped, and logged.
* A change is a change of role, or of what keepalived calls it: an instance that is barred is in FAULT there.
* A change counts as told once every script has been run for it, which is noted in the runtime directory. So a
  successor of ours tells what we had not, and does not tell again what we had. A change that happened while none of us
  ran is told, too.
* Scripts get keepalived's arguments behind their own: INSTANCE, the name, MASTER or BACKUP or FAULT, and the priority.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from ha_lvs import files
from ha_lvs.daemon.attend import running
from ha_lvs.daemon.attend.privileges import RefusedError
from ha_lvs.daemon.attend.subscribers import Subscribers
from ha_lvs.daemon.channel import InstanceState
from ha_lvs.model import NotifyScript, Role

log = structlog.get_logger()

MOST_WAITING = 100
NOTE = "attendant.json"
KILLED_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Change:
    """Something to tell.

    Arguments:
        state: the instance as it is now.
        word: what keepalived calls that.
        event: the same as JSON.
    """

    state: InstanceState
    word: str
    event: dict[str, Any]


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
        self._waiting: dict[str, deque[Change]] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
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
        self._queue(Change(state, word, event))

    def snapshot(self) -> Iterator[dict[str, Any]]:
        """A line on each instance, for a new subscriber."""
        for event in self._events.values():
            yield {**event, "event": "state"}

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
        name = change.state.instance
        if not self._for(name):
            self._note.tell(name, change.state.role, change.word)
            return
        self._note.write()
        waiting = self._waiting.setdefault(name, deque())
        if len(waiting) >= MOST_WAITING:
            lost = waiting.popleft()
            log.error("notification dropped", instance=name, role=lost.state.role.value, waiting=len(waiting))
        waiting.append(change)
        worker = self._workers.get(name)
        if worker is None or worker.done():
            self._workers[name] = asyncio.get_running_loop().create_task(self._work(name, waiting))

    def _for(self, name: str) -> list[int]:
        return [index for index, each in enumerate(self._scripts) if not each.instances or name in each.instances]

    async def _work(self, name: str, waiting: deque[Change]) -> None:
        while waiting:
            change = waiting.popleft()
            for index in self._for(name):
                await self._tell(index, change)
            self._note.tell(name, change.state.role, change.word)

    async def _tell(self, index: int, change: Change) -> None:
        script, refused = self._scripts[index], self._refusals[index]
        state, event = change.state, change.event
        priority = str(event["effective_priority"])
        try:
            run = running.Run(
                (*script.command, "INSTANCE", state.instance, change.word, priority),
                script.user,
                environment={
                    "HA_LVS_INSTANCE": state.instance,
                    "HA_LVS_ROLE": state.role.value,
                    "HA_LVS_PREVIOUS": event["previous"],
                    "HA_LVS_REASON": state.reason,
                    "HA_LVS_PRIORITY": priority,
                    "HA_LVS_NODE": self._node,
                },
                given=json.dumps(event).encode() + b"\n",
                tidy=False,  # it may have been run to start something
            )
        except RefusedError as problem:
            refused(str(problem))
            return
        refused("")
        try:
            ok, detail = await run.outcome(script.timeout_s)
            if not ok:
                words = " ".join(script.command)
                log.error(
                    "notify script failed", script=words, instance=state.instance, role=state.role.value, detail=detail
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
        try:
            data = json.loads(path.read_bytes())
            self.sequence = int(data["sequence"])
            self._told = {name: (Role(role), str(word)) for name, (role, word) in data["told"].items()}
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

    def write(self) -> None:
        """Writes it down, whole and atomically."""
        told = {name: (role.value, word) for name, (role, word) in self._told.items()}
        try:
            files.replace(self._path, json.dumps({"sequence": self.sequence, "told": told}))
            self._failed = False
        except OSError as problem:
            if not self._failed:
                log.error("what was notified is unknown", detail=f"{self._path}: {problem.strerror}")
            self._failed = True
