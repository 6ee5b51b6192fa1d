"""One run of an operator's program: started, watched by its pidfd, killed with its whole group when its time is over.

Rules that hold here:
* The program gets a clean environment, / as its directory, no descriptor of ours but its three, and a session of its
  own. What it writes is read on, so that it never waits for us, and only the beginning of it is kept.
* It is reaped by its pidfd's word alone, and its group is killed before that: its number cannot be another's meanwhile.
* Its end is what ends a run, not the end of its output, which its children may keep open.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence

import structlog

from ha_lvs.daemon.attend.privileges import Become, Identity, RefusedError, check_program, identity

log = structlog.get_logger()

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEPT_BYTES = 4096
LINE_CHARACTERS = 200
READS_AT_END = 64

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
        check_program(command[0], who)
        if who.makeshift:
            _tell_makeshift(who)
        self._tidy = tidy
        self._kept = bytearray()
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        """The exit code, negative for a signal, once it has ended."""
        self._output, output = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(output, True)
        stdin = _pipe_with(given) if given else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._process = self._start(command, who, environment or {}, stdin, output)
        except BaseException:
            os.close(self._output)
            raise
        finally:
            os.close(output)
            os.close(stdin)
        self._loop.add_reader(self._output, self._read)
        self._loop.add_reader(self._pidfd, self._over)

    def _start(
        self, command: Sequence[str], who: Identity, environment: Mapping[str, str], stdin: int, output: int
    ) -> subprocess.Popen[bytes]:
        variables = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": who.home, "USER": who.name, "LOGNAME": who.name}
        try:
            process = subprocess.Popen(
                list(command),
                stdin=stdin,
                stdout=output,
                stderr=output,
                cwd="/",
                env={**variables, **environment},
                start_new_session=True,
                preexec_fn=Become(who),  # safe: this process has one thread
            )
        except subprocess.SubprocessError as problem:
            raise RefusedError(f"{command[0]} could not be made to run as user {who.name}: {problem}") from problem
        except OSError as problem:
            raise RefusedError(f"{command[0]} cannot be run: {os.strerror(problem.errno or 0)}") from problem
        try:
            self._pidfd = os.pidfd_open(process.pid)
        except OSError as problem:  # nobody would notice its end
            process.kill()
            process.wait()
            raise RefusedError(f"{command[0]} cannot be watched: {os.strerror(problem.errno or 0)}") from problem
        return process

    async def outcome(self, timeout_s: float) -> tuple[bool, str]:
        """Whether it succeeds in time, and how it ended, for people. When its time is over it is killed.

        It may take a killed process a moment to be gone: only `ended` says that it is.
        """
        done, _ = await asyncio.wait({self.ended}, timeout=timeout_s)
        if not done:
            self.kill()
            return False, f"killed after {timeout_s:g} s"
        code = self.ended.result()
        how = f"killed by {_signal_name(-code)}" if code < 0 else f"exit code {code}"
        line = self.first_line()
        return code == 0, f"{how}: {line}" if line else how

    def first_line(self) -> str:
        """The first line of its output that says something."""
        for line in self._kept.decode(errors="replace").splitlines():
            shown = "".join(character for character in line if character.isprintable()).strip()
            if shown:
                return shown[:LINE_CHARACTERS]
        return ""

    def kill(self) -> None:
        """Ends it and everything in its process group at once."""
        if not self.ended.done():
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self) -> bool:
        """Takes in some output; says whether there may be more."""
        try:
            data = os.read(self._output, 1 << 16)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._output)
            return False
        self._kept += data[: KEPT_BYTES - len(self._kept)]
        return True

    def _over(self) -> None:
        if self._tidy:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
        for _ in range(READS_AT_END):
            if not self._read():
                break
        for fd in (self._pidfd, self._output):
            self._loop.remove_reader(fd)
            os.close(fd)
        self.ended.set_result(self._process.wait())


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


def _pipe_with(given: bytes) -> int:
    """The reading end of a pipe that holds these bytes and then ends."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.write(writer, given)
    finally:
        os.close(writer)
    os.set_blocking(reader, True)
    return reader


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
