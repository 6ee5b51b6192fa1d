"""What operators ask of the election: from the guardian's frame to one answer for all instances that it concerns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ha_lvs.daemon.channel import Channel, Done
from ha_lvs.daemon.elect.instance import Instance
from ha_lvs.election import events


@dataclass(slots=True)
class _Request:
    waiting: set[str]
    ok: bool = True
    details: list[str] = field(default_factory=list)


class Requests:
    """The requests that are under way.

    Arguments:
        instances: of this node.
        guardian: where the answers go.
    """

    def __init__(self, instances: Sequence[Instance], guardian: Channel) -> None:
        self._instances = instances
        self._guardian = guardian
        self._pending: dict[int, _Request] = {}

    def hand_over(self, number: int, name: str, *, force: bool, leave: bool) -> None:
        """Hands an instance over, or all of them where no name is given; the answer comes when all have ended."""
        chosen = self._chosen(number, name)
        if not chosen:
            return
        # All are awaited before the first is told: some end at once.
        self._pending[number] = _Request({instance.config.name for instance in chosen})
        for instance in chosen:
            instance.handle(events.HandOver(force=force, leave=leave))

    def enable(self, number: int, name: str) -> None:
        """Lets an instance, or all, take part in the election again."""
        chosen = self._chosen(number, name)
        if not chosen:
            return
        for instance in chosen:
            instance.handle(events.Enable())
        names = ", ".join(instance.config.name for instance in chosen)
        self._guardian.send(Done(number, True, f"{names}: takes part in the election"))

    def ended(self, instance: Instance, ok: bool, detail: str) -> None:
        """The hand-over of an instance has ended; it may be awaited by several requests, or by none."""
        name = instance.config.name
        for number, request in list(self._pending.items()):
            if name not in request.waiting:
                continue
            request.waiting.discard(name)
            request.ok = request.ok and ok
            request.details.append(f"{name}: {detail}")
            if not request.waiting:
                del self._pending[number]
                self._guardian.send(Done(number, request.ok, "; ".join(request.details)))

    def _chosen(self, number: int, name: str) -> list[Instance]:
        chosen = [
            instance for instance in self._instances if name in ("", instance.config.name, *instance.config.members)
        ]
        if not chosen:
            known = ", ".join(instance.config.name for instance in self._instances)
            self._guardian.send(Done(number, False, f"there is no instance {name!r}; there are {known}"))
        return chosen
