"""A host of the lab: running things in its namespace, looking at its addresses, turning its sysctls."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from ha_lvs.drill.lab.namespaces import Namespace, batch
from ha_lvs.drill.lab.waiting import PACE
from ha_lvs.errors import LabError

INTERFACE = "e0"
"""What every host calls its cable to the switch."""

NETWORK6 = "fd00:9::"


class Host:
    """A namespace with one interface, `INTERFACE`.

    Arguments:
        name: in the lab: ``lb1``.
        address: on that interface.
        namespace: its namespace; the host owns it.
    """

    def __init__(self, name: str, address: str, namespace: Namespace) -> None:
        self.name = name
        self.address = address
        self.has_ipv6 = False
        self._namespace = namespace
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def namespace(self) -> str:
        """The namespace's name, as for `ip -n`."""
        return self._namespace.name

    @property
    def address6(self) -> str:
        """Its IPv6 address on that interface, where the kernel has IPv6: fd00:9::11 beside 10.9.0.11."""
        return f"{NETWORK6}{self.address.rpartition('.')[2]}"

    def inside(self) -> AbstractContextManager[None]:
        """The calling thread is on this host meanwhile: sockets made here stay here. See `Namespace.inside`."""
        return self._namespace.inside()

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        input: str | None = None,
        timeout_s: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on this host and waits for it.

        Arguments:
            check: a non-zero exit code is an error.
            input: for its standard input, which is empty otherwise.
            timeout_s: seconds on a real machine.
            environment: variables beside our own.

        Returns: exit code, standard output and standard error.
        Errors: LabError when it cannot be started, takes too long, or fails with `check`.
        """
        what = f"{' '.join(argv)} on {self.name}"
        try:
            with self.inside():
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env={**os.environ, **environment} if environment else None,
                    text=True,
                )
        except OSError as problem:
            raise LabError(f"{what}: {problem}") from problem
        try:
            output, errors = process.communicate(input, timeout=timeout_s * PACE)
        except subprocess.TimeoutExpired as problem:
            raise LabError(f"{what} took more than {timeout_s * PACE:.0f} s") from problem
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
        if check and process.returncode != 0:
            raise LabError(f"{what} ended with {process.returncode}: {(errors or output).strip()}")
        return subprocess.CompletedProcess(argv, process.returncode, output, errors)

    def popen(
        self,
        argv: Sequence[str],
        *,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Starts a process on this host, in a session and process group of its own.

        The whole group is killed when the lab closes.

        Arguments:
            stdin, stdout, stderr: as for `subprocess.Popen`.
            environment: variables beside our own.
            pass_fds: descriptors that stay open in it, by the same numbers.

        Errors: LabError when it cannot be started.
        """
        try:
            with self.inside():
                process = subprocess.Popen(
                    argv,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    env={**os.environ, **environment} if environment else None,
                    cwd=cwd,
                    start_new_session=True,
                    pass_fds=pass_fds,
                )
        except OSError as problem:
            raise LabError(f"{argv[0]} cannot be started on {self.name}: {problem}") from problem
        self._started.append(process)
        return process

    def ip(self, *commands: str) -> None:
        """Runs lines of `ip` in one process: ``addr add 10.9.0.100/32 dev lo``.

        Errors: LabError with the line that failed.
        """
        with self.inside():
            batch(commands)

    def addresses(self, interface: str = INTERFACE, version: int = 4) -> set[str]:
        """The addresses that this host has at this moment; starts no process, so it can be polled.

        Arguments:
            version: of IP; 6 for the IPv6 addresses without the link-local one.
        """
        return self._namespace.addresses(interface, version)

    def switch_on_ipv6(self) -> None:
        """Lets interfaces that are made from now on have IPv6, at once: nobody looks for duplicates in a lab."""
        with self.inside():
            self.has_ipv6 = Path("/proc/sys/net/ipv6").is_dir()
        if self.has_ipv6:
            for scope in ("all", "default"):
                self.sysctl(f"net.ipv6.conf.{scope}.disable_ipv6", 0)
                self.sysctl(f"net.ipv6.conf.{scope}.accept_dad", 0)

    def sysctl(self, name: str, value: str | int | None = None) -> str:
        """Reads a network sysctl of this host, or sets it: ``net.ipv4.ip_forward``.

        Returns: the value that holds now.
        Errors: LabError when there is none of that name or the value is refused.
        """
        path = Path("/proc/sys", *name.split("."))
        try:
            with self.inside():
                if value is not None:
                    path.write_text(str(value))
                return path.read_text().strip()
        except OSError as problem:
            raise LabError(f"sysctl {name} on {self.name}: {problem.strerror}") from problem

    def close(self) -> None:
        """Kills what was started here."""
        for process in self._started:
            kill_group(process, signal.SIGKILL)
        for process in self._started:
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
        self._started.clear()
        self._namespace.close()


def kill_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Sends a signal to a whole process group that `Host.popen` started; an empty group is fine."""
    # The group may outlive its leader, which may not even have been waited for: its number stays taken meanwhile.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def group_members(group: int) -> list[int]:
    """The living processes of a process group; zombies do not count, whoever is to reap them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            found.append(int(process.name))
    return found
