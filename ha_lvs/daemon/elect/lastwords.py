"""What the guardian is to know in case this elector dies in the next moment: said all the time, a little at a turn.

Rules that hold here:
* An instance whose standing has changed comes first, the others about once a second, one in each turn of the loop: a
  director with hundreds of instances must not stop for all of them at once.
* BFD is not in it: a session does not outlive the silence in which another elector starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ha_lvs.daemon.channel import Channel, InstanceEstate
from ha_lvs.daemon.elect.instance import Instance

SHARED = ""
"""In the place of an instance's name: what is none's."""


class LastWords:
    """What there is still to say.

    Arguments:
        guardian: who is told.
        shared: gives what is no instance's.
    """

    def __init__(self, guardian: Channel, shared: Callable[[], dict[str, Any]]) -> None:
        self._guardian = guardian
        self._shared = shared
        self._urgent: dict[str, Instance] = {}
        self._usual: dict[str, Instance | None] = {}

    def changed(self, instance: Instance) -> None:
        """The standing of an instance is another one."""
        self._urgent[instance.config.name] = instance

    def all_anew(self, instances: Iterable[Instance]) -> None:
        """Whatever has not been said for a while."""
        self._usual = {SHARED: None} | {instance.config.name: instance for instance in instances}

    def say_one(self) -> None:
        """Says one of them, if any is left. What the guardian cannot take now is said again."""
        queue = self._urgent or self._usual
        if not queue:
            return
        name = next(iter(queue))
        instance = queue[name]
        estate = self._shared() if instance is None else instance.bequeath(alive=False)
        if self._guardian.send(InstanceEstate(name, estate)):
            del queue[name]
