"""One elector after another without a gap, as the guardian sees it; `elect.succession` is what the two do.

Rules that hold here:
* The old elector goes on undisturbed until the new one is ready. Whatever goes wrong before, nothing has happened.
* What is to be done when an elector dies is prepared for the new one before that starts, and the note of what may be
  held names what both may hold, until only one of them is left.
* What only the old one could hold is taken away after the succession, by the guardian: the new one knows nothing of it.
* Nothing is asked of the election meanwhile: requests and successions take turns.
"""

from __future__ import annotations

import asyncio

import structlog

from ha_lvs.daemon import carriers, cleanup, runtime
from ha_lvs.daemon.household import Heir, Household
from ha_lvs.daemon.orders import Orders
from ha_lvs.daemon.patience import STARTING_S, STOP_OTHERS_S
from ha_lvs.daemon.withdrawal import Withdrawal
from ha_lvs.errors import HaLvsError, PlatformError
from ha_lvs.model import ElectorPart
from ha_lvs.observe import logs

log = structlog.get_logger()

_LEFT_OVER = "virtual IPs of an earlier config withdrawn"
"""How `cleanup.succeed` tells of what a killed daemon has left; here it is what the operator wants."""


class Succession:
    """Lets one elector succeed another.

    Attributes:
        lock: held while a succession, or a request to the elector, is under way.
    """

    def __init__(self, house: Household) -> None:
        self._house = house
        self.lock = asyncio.Lock()

    async def succeed(self, after: Orders) -> str:
        """Puts an elector with other orders, or of another program, in the place of the running one.

        Returns why that was not possible, in words; empty when it was done, and these orders are in force for the
        elector and for whatever is done in its place.
        """
        async with self.lock:
            if self._house.stopping.is_set():
                return "the director is being stopped"
            noted = self._noted()
            try:
                for event in carriers.provide(after.elector.instances):
                    logs.from_record(event, by="guardian")
                withdrawal = Withdrawal(after.elector.instances)
            except (HaLvsError, OSError) as problem:
                return str(problem)
            try:
                runtime.write_note(self._house.runtime_dir, _both(after.elector, noted))
            except PlatformError as problem:
                withdrawal.close()
                return str(problem)
            problem_found = await self._by_another(after, withdrawal)
            if problem_found:
                self._note_again(noted)
                withdrawal.close()
                log.error("elector not succeeded", detail=problem_found)
            else:
                self._take_away_what_only_the_old_held(after)
                for left in carriers.remove(noted.instances, but=after.elector.instances):
                    log.warning("virtual MAC interface not removed", detail=left)
                log.info("elector succeeded", node=after.elector.node)
            return problem_found

    async def _by_another(self, after: Orders, withdrawal: Withdrawal) -> str:
        house = self._house
        if not house.elector.running:  # there is nothing to succeed: the next start is by the new orders
            before, house.withdrawal = house.withdrawal, withdrawal
            house.orders = after
            before.close()
            return ""
        house.last_trouble = ""
        try:
            heir = house.start_heir(after, withdrawal)
        except OSError as problem:
            house.wiring.not_succeeded()
            return f"the system does not start a new elector: {problem}"
        await house.until(
            lambda: house.heir is not heir or not heir.child.running or house.stopping.is_set(), STARTING_S
        )
        if house.heir is not heir:
            return ""
        return await self._give_up(heir)

    async def _give_up(self, heir: Heir) -> str:
        """Ends a successor that is none; the old elector has lost nothing by it."""
        house = self._house
        if house.stopping.is_set():
            problem = "the director is being stopped"
        elif heir.child.running:
            problem = f"the new elector was not ready within {STARTING_S:.0f} s; the old one goes on"
        else:
            why = f": {house.last_trouble}" if house.last_trouble else "; see the log"
            problem = f"the new elector ended before it was ready{why}; the old one goes on"
        heir.child.kill()
        await house.end([heir.child], STOP_OTHERS_S)
        if house.heir is not heir:
            return ""  # it was ready at the last moment: it is the elector that has died, and is started again as such
        house.heir = None
        house.wiring.not_succeeded()
        return problem

    # ----------------------------------------------------------------------------------------- what is held

    def _noted(self) -> ElectorPart:
        """What may be held now."""
        try:
            noted = runtime.read_note(self._house.runtime_dir)
        except PlatformError:  # of another version, or damaged: what is in force is known all the same
            noted = None
        return self._house.orders.elector if noted is None else noted

    def _note_again(self, noted: ElectorPart) -> None:
        try:
            runtime.write_note(self._house.runtime_dir, noted)
        except PlatformError as problem:
            log.error("elector not succeeded", detail=str(problem))

    def _take_away_what_only_the_old_held(self, after: Orders) -> None:
        stays = {instance.name for instance in after.elector.instances}
        for name in self._house.states.keys() - stays:
            del self._house.states[name]
        try:
            events = cleanup.succeed(self._house.runtime_dir, after.elector)
        except (HaLvsError, OSError) as problem:
            log.error("virtual IP not withdrawn", detail=str(problem))
            return
        for event in events:
            if event.event == _LEFT_OVER:
                instance, addresses = event.fields["instance"], event.fields["addresses"]
                log.notice("virtual IPs taken out of the config withdrawn", instance=instance, addresses=addresses)
            else:
                logs.from_record(event, by="guardian")


def _both(new: ElectorPart, noted: ElectorPart) -> ElectorPart:
    """What an elector or the other may hold."""
    others = tuple(instance for instance in noted.instances if instance not in new.instances)
    return ElectorPart(new.node, (*new.instances, *others))
