"""What operators ask of the election: from the guardian's socket to the elector, and back with an answer.

Rules that hold here:
* One request for each instance, so that it is known of each what became of it.
* The elector is not asked while another one is about to succeed it.
* An instance that was put on standby stays there, whatever process or daemon is started again, until `enable`: the
  guardian notes it in the runtime directory and tells it every elector that starts anew. A successor knows it already.
* An answer that comes too late for who asked is heeded all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from ha_lvs.daemon import runtime
from ha_lvs.daemon.channel import Done, Enable, HandOver, StandBy
from ha_lvs.daemon.household import Household
from ha_lvs.daemon.patience import REQUEST_S
from ha_lvs.errors import PlatformError
from ha_lvs.model import Role, VrrpInstance

log = structlog.get_logger()

VERBS = ("handover", "standby", "enable")


@dataclass(slots=True)
class Asked:
    """A request that is under way, and what it is about."""

    verb: str
    instance: str
    answer: Done | None = None


class Refusal(Exception):
    """Why a request is not made at all."""

    def __init__(self, detail: str, exit_code: int = 1) -> None:
        super().__init__(detail)
        self.detail = detail
        self.exit_code = exit_code


class Requests:
    """The requests that are under way, and which instances are on standby.

    Arguments:
        house: with the elector.
        lock: held while the elector must not be asked, or is asked.
        next_number: of the next request; an earlier program of this process may have used those before.
    """

    def __init__(self, house: Household, lock: asyncio.Lock, next_number: int = 1) -> None:
        self._house = house
        self.lock = lock
        self.next_number = next_number
        self._asked: dict[int, Asked] = {}
        self.standby: frozenset[str] = frozenset()
        house.standby = lambda: self.standby
        house.answered = self._done

    def recall(self) -> None:
        """Reads which instances were put on standby before this daemon was started."""
        try:
            noted = runtime.read_standby(self._house.runtime_dir)
        except PlatformError as problem:
            log.warning("standby unknown", detail=str(problem))
            return
        self.standby = noted & {instance.name for instance in self._house.orders.elector.instances}
        if self.standby:
            log.warning("still on standby", instances=", ".join(sorted(self.standby)))

    async def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request with one of `VERBS`.

        Arguments:
            request: the verb; `instance`, for all where it is missing; `force`.
        """
        verb, name, force = str(request["verb"]), str(request.get("instance") or ""), bool(request.get("force"))
        async with self.lock:
            try:
                chosen = self._chosen(verb, name)
                ok, detail = await self._ask(verb, chosen, force=force) if chosen else (True, _NOTHING_ACTIVE)
            except Refusal as refusal:
                return {"ok": False, "detail": refusal.detail, "exit_code": refusal.exit_code, "instances": {}}
        log.notice("asked of the election", verb=verb, instances=", ".join(chosen), ok=ok, detail=detail)
        return {"ok": ok, "detail": detail, "exit_code": 0 if ok else 1, "instances": self._standing()}

    def _chosen(self, verb: str, name: str) -> list[str]:
        """Names of the instances that a request is about."""
        instances = self._house.orders.elector.instances
        chosen = [each.name for each in instances if _is_meant(each, name)]
        if not chosen:
            known = ", ".join(each.name for each in instances) or "none"
            raise Refusal(f"there is no instance {name!r}; there are {known}", 2)
        if verb == "handover" and not name:
            states = self._house.states
            return [each for each in chosen if each in states and states[each].role is Role.ACTIVE]
        return chosen

    async def _ask(self, verb: str, instances: Iterable[str], *, force: bool) -> tuple[bool, str]:
        house = self._house
        self._must_listen()
        elector = house.elector
        asked = [self._send(verb, name, force=force) for name in instances]
        await house.until(
            lambda: all(each.answer for each in asked) or not elector.running or house.stopping.is_set(), REQUEST_S
        )
        if not elector.running:
            self._asked.clear()
        unanswered = [each.instance for each in asked if each.answer is None]
        details = [each.answer.detail for each in asked if each.answer is not None]
        if unanswered:
            names = ", ".join(unanswered)
            why = f"no answer within {REQUEST_S:.0f} s" if elector.running else "the elector died meanwhile"
            if house.stopping.is_set():
                why = "the director is being stopped"
            details.append(f"{names}: {why}; see `ha-lvs status` for what became of it")
        ok = not unanswered and all(each.answer is not None and each.answer.ok for each in asked)
        return ok, "; ".join(details)

    def _must_listen(self) -> None:
        if self._house.stopping.is_set():
            raise Refusal("the director is being stopped")
        if not self._house.elector.running or not self._house.elector.spoke:
            raise Refusal("the elector process is being started; try again in a few seconds")

    def _send(self, verb: str, instance: str, *, force: bool) -> Asked:
        number = self.next_number
        self.next_number += 1
        frames = {
            "handover": HandOver(number, instance, force),
            "standby": StandBy(number, instance, force),
            "enable": Enable(number, instance),
        }
        self._asked[number] = asked = Asked(verb, instance)
        if not self._house.wiring.channels["elector"].send(frames[verb]):
            del self._asked[number]
            asked.answer = Done(number, False, f"{instance}: the elector process does not listen")
        return asked

    def _done(self, frame: Done) -> None:
        asked = self._asked.pop(frame.request, None)
        if asked is None:
            return
        asked.answer = frame
        before = self.standby
        if frame.ok and asked.verb == "standby":
            self.standby |= {asked.instance}
        elif frame.ok and asked.verb == "enable":
            self.standby -= {asked.instance}
        if self.standby == before:
            return
        try:
            runtime.write_standby(self._house.runtime_dir, self.standby)
        except PlatformError as problem:
            detail = f"{frame.detail}, but this will not outlive a restart of the daemon: {problem}"
            asked.answer = Done(frame.request, False, detail)

    def _standing(self) -> dict[str, Any]:
        """Where the instances stand now, for people."""
        return {
            name: {
                "role": state.role.value,
                "peer": state.peer,
                "standby": name in self.standby,
                "barred": state.barred,
            }
            for name, state in self._house.states.items()
        }


_NOTHING_ACTIVE = "nothing is active on this node, so there is nothing to hand over"


def _is_meant(instance: VrrpInstance, name: str) -> bool:
    return name in ("", instance.name, *instance.members)
