"""One run of an operator's program: started, watched by its pidfd, killed with its whole group when its time is over.

Rules that hold here are those of `programs.started`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from ha_lvs.programs.privileges import Identity, identity
from ha_lvs.programs.started import Started, describe

log = structlog.get_logger()

_makeshift_told: set[str] = set()


class Run:
    """A program that has been started.

    Arguments:
        command: program, as an absolute path, and arguments.
        user: who is to run it.
        environment: variables beside the few that every program gets.
        given: what it finds on its standard input; less than a pipe holds.
        tidy: whether what it leaves running in its group is killed at its end.

    Errors: RefusedError when it must not or cannot be run.
    """

    def __init__(
        self,
        command: Sequence[str],
        user: str,
        *,
        environment: Mapping[str, str] | None = None,
        given: bytes = b"",
        tidy: bool = True,
    ) -> None:
        who = identity(user)
        self._program = Started(command, who, environment=environment, given=given)
        if who.makeshift:
            _tell_makeshift(who)
        self._tidy = tidy
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        """The exit code, negative for a signal, once it has ended."""
        self._loop.add_reader(self._program.output, self._read)
        self._loop.add_reader(self._program.pidfd, self._over)

    async def outcome(self, timeout_s: float) -> tuple[bool, str]:
        """Whether it succeeds in time, and how it ended, for people. When its time is over it is killed.

        It may take a killed process a moment to be gone: only `ended` says that it is.
        """
        done, _ = await asyncio.wait({self.ended}, timeout=timeout_s)
        if not done:
            self.kill()
            return False, f"killed after {timeout_s:g} s"
        code = self.ended.result()
        return code == 0, describe(code, self._program.first_line())

    def kill(self) -> None:
        """Ends it and everything in its process group at once."""
        if not self.ended.done():
            self._program.kill()

    def _read(self) -> None:
        if self._program.read() is None:
            self._loop.remove_reader(self._program.output)

    def _over(self) -> None:
        if self._tidy:
            self._program.kill()
        for fd in (self._program.pidfd, self._program.output):
            self._loop.remove_reader(fd)
        self.ended.set_result(self._program.reap())


async def stop(runs: Sequence[Run], limit_s: float) -> None:
    """Kills what runs, and waits until it is gone, or not for longer than `limit_s`."""
    for run in runs:
        run.kill()
    left = {run.ended for run in runs if not run.ended.done()}
    if left:
        await asyncio.wait(left, timeout=limit_s)


def refusal_teller(script: str) -> Callable[[str], None]:
    """Something that logs why a script is not run, when the reason is a new one; call it with "" when it is run."""
    told = ""

    def tell(detail: str) -> None:
        nonlocal told
        if detail and detail != told:
            log.error("script refused", script=script, detail=detail)
        told = detail

    return tell


def _tell_makeshift(who: Identity) -> None:
    if who.name not in _makeshift_told:
        _makeshift_told.add(who.name)
        log.warning("scripts run as the director's own user", user=who.name, uid=who.uid)
