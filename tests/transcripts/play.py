"""Plays scripts of elections and writes down what the directors do.

A transcript is made of what was told (`>` lines, with the time in seconds) and of what each director did of its own
(with its number). Advertisements that only say what the last one said are counted, not shown, and so are renewals.
All is exact: no packet takes any time but what the script says, every clock is right.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ha_lvs.election.events import (
    Action,
    Announce,
    DropAddresses,
    Event,
    HandOverEnded,
    HoldAddresses,
    Noted,
    Offer,
    Refuse,
    RoleChanged,
    SendAdvertisement,
)
from ha_lvs.model import VrrpInstance
from tests.sim.world import Router, World

HERE = Path(__file__).parent
WAY_S = 0.001


def words(action: Action, priority: int) -> str:
    """An action as a person would say it."""
    match action:
        case SendAdvertisement():
            return "advertises priority 0 (resigns)" if action.resign else f"advertises priority {priority}"
        case HoldAddresses():
            return "holds the addresses"
        case DropAddresses():
            return "drops the addresses"
        case Announce():
            return "announces them"
        case RoleChanged():
            planned = "planned" if action.planned else "not planned"
            return f"is {action.role.value.upper()}: {action.reason} ({planned})"
        case Offer():
            return f"offers its role for {action.window_s:g} s"
        case Refuse():
            return f"refuses: {action.reason}"
        case HandOverEnded():
            return f"hand-over {'done' if action.ok else 'failed'}: {action.detail}"
        case Noted():
            return f"notes: {action.remark.value}: {action.detail}"
    raise TypeError(action)


class _Stage(World):
    """A world whose packets all take the same time, and that writes down what happens."""

    def __init__(self, configs: list[VrrpInstance]) -> None:
        super().__init__(configs, seed=0, delay_s=WAY_S)
        self.now = 0.0
        self.random.random = lambda: 0.999999  # type: ignore[method-assign]
        self.lines: list[str] = []
        self._usual = 0

    def _do(self, router: Router, actions: list[Action]) -> None:
        number = self.routers.index(router) + 1
        said = [each for each in actions if not isinstance(each, (SendAdvertisement, HoldAddresses))]
        if actions and not said and SendAdvertisement(resign=True) not in actions:
            self._usual += 1
        elif actions:
            self._count_usual()
            priority = router.machine.effective_priority
            for action in actions:
                self.lines.append(f"{self.now:9.3f}    {number}  {words(action, priority)}")
        super()._do(router, actions)

    def _count_usual(self) -> None:
        if self._usual:
            self.lines.append(f"             .  {self._usual} usual advertisements")
            self._usual = 0

    def say(self, what: str) -> None:
        """A line of the script."""
        self._count_usual()
        self.lines.append(f"{self.now:9.3f} >  {what}")

    def text(self) -> str:
        """All of it, and where it ends."""
        self._count_usual()
        for number, router in enumerate(self.routers, start=1):
            state = router.machine.role.value if router.alive else "stopped"
            holds = "holds the addresses" if router.holds(self.now) else "holds nothing"
            self.lines.append(f"{self.now:9.3f} =  {number} is {state}, {holds}")
        return "\n".join(self.lines) + "\n"


class Play:
    """A script at work; directors are numbered from 1.

    Arguments:
        title: what it shows.
        configs: of the directors.
    """

    def __init__(self, title: str, configs: list[VrrpInstance]) -> None:
        self.stage = _Stage(configs)
        for line in title.strip().splitlines():
            self.stage.lines.append(f"# {line.strip()}".rstrip())
        for number, config in enumerate(configs, start=1):
            self.stage.lines.append(f"# {number}: {config.source}, priority {config.priority}")

    def wait(self, seconds: float) -> None:
        """Lets time pass."""
        self.stage.run(seconds)

    def told(self, number: int, event: Event) -> None:
        """Something happens to a director."""
        self.stage.say(f"{number} is told {event}")
        self.stage.tell(self._router(number), event)
        self.stage.run(0.0)

    def does(self, what: str, number: int, act: Callable[[World, Router], None]) -> None:
        """Something is done to a director, in words."""
        self.stage.say(f"{number} {what}" if number else what)
        act(self.stage, self._router(number or 1))
        self.stage.run(0.0)

    def text(self) -> str:
        """The transcript."""
        return self.stage.text()

    def _router(self, number: int) -> Router:
        return self.stage.routers[number - 1]
