"""A program of an operator that has been started: what an event loop needs to follow it to its end.

Rules that hold here:
* The program gets a clean environment, / as its directory, no descriptor of ours but its three, and a session of its
  own. What it writes has to be read on, so that it never waits for us, and only the beginning of it is kept.
* It is reaped by its pidfd's word alone, and its group is killed before that: its number cannot be another's meanwhile.
* Its end is what ends a run, not the end of its output, which its children may keep open.
* Nothing here waits. Programs are started by a fork in which some Python runs before the exec, which is safe only in a
  process of one thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

from ha_lvs.programs.privileges import Become, Identity, RefusedError, check_program

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEPT_BYTES = 4096
LINE_CHARACTERS = 200
READS_AT_END = 64


class Started:
    """A program, running.

    Arguments:
        command: program, as an absolute path, and arguments.
        who: as whom it is to run.
        environment: variables beside the few that every program gets.
        given: what it finds on its standard input; less than a pipe holds.
        errors: whether what it writes to its standard error belongs to its output; else that is dropped.

    Attributes:
        pidfd: readable as soon as it has ended; -1 after `reap`.
        output: readable when it has written something to its standard output or error; -1 after `reap`.
        written: so many bytes have been read of it.

    Errors: RefusedError when it must not or cannot be run.
    """

    def __init__(
        self,
        command: Sequence[str],
        who: Identity,
        *,
        environment: Mapping[str, str] | None = None,
        given: bytes = b"",
        errors: bool = True,
    ) -> None:
        check_program(command[0], who)
        self._kept = bytearray()
        self.written = 0
        stdin = output = self.output = -1
        try:
            self.output, output = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            os.set_blocking(output, True)
            stdin = _pipe_with(given) if given else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            self._process, self.pidfd = _start(command, who, environment or {}, stdin, output, errors)
        except BaseException as problem:
            if self.output >= 0:
                os.close(self.output)
            if isinstance(problem, OSError):
                raise RefusedError(f"{command[0]} cannot be run: {os.strerror(problem.errno or 0)}") from problem
            raise
        finally:
            for fd in (output, stdin):
                if fd >= 0:
                    os.close(fd)

    def read(self) -> bool | None:
        """Takes in some output.

        Returns whether there may be more at once; None at the end of the output, when nobody holds it open any more.
        """
        try:
            data = os.read(self.output, 1 << 16)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            return None
        self.written += len(data)
        self._kept += data[: KEPT_BYTES - len(self._kept)]
        return True

    def first_line(self) -> str:
        """The first line of its output that says something."""
        for line in self._kept.decode(errors="replace").splitlines():
            shown = "".join(character for character in line if character.isprintable()).strip()
            if shown:
                return shown[:LINE_CHARACTERS]
        return ""

    def ended(self) -> bool:
        """Whether it has ended; it still is to be reaped."""
        return self.pidfd < 0 or os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def close_output(self) -> None:
        """Takes in no output any more; end following it before."""
        os.close(self.output)
        self.output = -1

    def kill(self) -> None:
        """Ends it and everything in its process group at once; nothing once it has been reaped."""
        if self.pidfd >= 0:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def reap(self) -> int:
        """Its exit code, negative for a signal; to be called once its `pidfd` says that it has ended.

        The rest of its output is taken in, and both descriptors are closed: end following them before.
        """
        for _ in range(READS_AT_END):
            if self.output < 0 or not self.read():
                break
        self._close()
        return self._process.wait()

    def leave(self) -> None:
        """Kills it and lets it go: its end is nobody's affair any more."""
        if self.pidfd >= 0:
            self.kill()
            self._close()
            self._process.poll()  # where it is gone already; else `subprocess` sees to it when it starts another

    def _close(self) -> None:
        os.close(self.pidfd)
        self.pidfd = -1
        if self.output >= 0:
            self.close_output()


def describe(code: int, line: str) -> str:
    """How a program ended, for people: its exit code, negative for a signal, and what it said."""
    how = f"killed by {_signal_name(-code)}" if code < 0 else f"exit code {code}"
    return f"{how}: {line}" if line else how


def _start(
    command: Sequence[str], who: Identity, environment: Mapping[str, str], stdin: int, output: int, errors: bool
) -> tuple[subprocess.Popen[bytes], int]:
    variables = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": who.home, "USER": who.name, "LOGNAME": who.name}
    try:
        process = subprocess.Popen(
            list(command),
            stdin=stdin,
            stdout=output,
            stderr=output if errors else subprocess.DEVNULL,
            cwd="/",
            env={**variables, **environment},
            start_new_session=True,
            preexec_fn=Become(who),  # safe: this process has one thread
        )
    except subprocess.SubprocessError as problem:
        raise RefusedError(f"{command[0]} could not be made to run as user {who.name}: {problem}") from problem
    try:
        return process, os.pidfd_open(process.pid)
    except OSError as problem:  # nobody would notice its end
        process.kill()
        process.wait()
        raise RefusedError(f"{command[0]} cannot be watched: {os.strerror(problem.errno or 0)}") from problem


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
