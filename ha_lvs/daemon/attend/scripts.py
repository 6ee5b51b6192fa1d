"""Scripts that are run again and again, for their exit code.

Rules that hold here:
* Never two runs of one script at once: the next one waits until the last is gone, killed or not.
* The first run counts at once; after that it takes `rise` or `fall` runs to change the verdict (`health.verdict`).
* A script that is refused counts as down at once, and is looked at again at its next turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ha_lvs.daemon.attend import running
from ha_lvs.health.verdict import UNKNOWN, Verdict, judge
from ha_lvs.model import Check, CheckType, ScriptTrack, ServerState
from ha_lvs.programs.privileges import RefusedError

Report = Callable[[str, bool, str], None]
"""Called as report(track, up, detail) for every look; whoever is called tells what is new from what is not."""

KILLED_WITHIN_S = 2.0


class ScriptTracker:
    """One tracked script.

    Arguments:
        track: what to run, and when.
        report: told the verdict after each run.
    """

    def __init__(self, track: ScriptTrack, report: Report) -> None:
        self._track = track
        self._report = report
        self._check = Check(CheckType.NONE, rise=track.rise, fall=track.fall)
        self._verdict: Verdict = UNKNOWN
        self._refused = running.refusal_teller(track.name)

    async def run(self) -> None:
        """Runs it until cancelled; what runs then is killed."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await self._run_once()
            due = max(due + self._track.interval_s, loop.time())
            await asyncio.sleep(due - loop.time())

    async def _run_once(self) -> None:
        try:
            run = running.Run(self._track.command, self._track.user)
        except RefusedError as problem:
            self._refused(str(problem))
            self._verdict = Verdict(ServerState.DOWN, 0, str(problem))
            self._report(self._track.name, False, str(problem))
            return
        self._refused("")
        try:
            ok, detail = await run.outcome(self._track.timeout_s)
            self._verdict, _ = judge(self._verdict, self._check, ok, detail)
            self._report(self._track.name, self._verdict.state is ServerState.UP, detail)
            await run.ended
        finally:
            await running.stop([run], KILLED_WITHIN_S)
