"""What a drill's runner may expect of a contender, whatever it is made of."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LoadTarget:
    """Where the load goes.

    Arguments:
        host: an IPv4 address, or a name that `resolver` knows.
        port: of the service.
        resolver: address of the DNS server that is asked for the name; empty where `host` is an address.
        caches: how many clients there are, each of which keeps answers for itself; 1 where there is no resolver.
    """

    host: str
    port: int
    resolver: str = ""
    caches: int = 1

    @property
    def arguments(self) -> list[str]:
        """The target as the load generator's command line wants it (`measure.load`)."""
        arguments = ["--target", f"{self.host}:{self.port}"]
        if self.resolver:
            arguments += ["--resolver", self.resolver, "--caches", str(self.caches)]
        return arguments

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" + (f" by DNS at {self.resolver}" if self.resolver else "")


class DirectorLike(Protocol):
    """One director of a pair on trial: `lab.director.Director`, or a keepalived that can be treated the same way.

    `start` does not wait for anything. `stop` asks for a clean end, waits for it, and gives the exit code. `kill`,
    `freeze` and `thaw` reach every process of the director. `log` is the file that it writes to.
    """

    @property
    def log(self) -> Path:
        """Where its log goes."""

    @property
    def running(self) -> bool:
        """Whether its main process runs."""

    def start(self) -> None:
        """Starts it. Errors: LabError when it runs already or cannot be started."""

    def stop(self, timeout_s: float = ...) -> int:
        """Asks it to end and waits. Errors: LabError when it did not end in time."""

    def kill(self) -> None:
        """Kills all its processes at once; nobody tidies up."""

    def freeze(self) -> None:
        """Stops all its processes where they stand."""

    def thaw(self) -> None:
        """Lets frozen processes go on."""

    def role(self) -> str:
        """The role that it claims, ``active``, ``backup`` or ``initialize``, or else ``no answer``."""

    def tail(self, lines: int = ...) -> str:
        """The end of its log, for failure messages."""


class Contender(Protocol):
    """One of those that a drill compares.

    `prepare` has written what it needs and started nothing; `start` and `stop` are for all of it, `directors` for
    each by its host's name. `stop` is for the orderly end: it leaves alone what has been killed or stopped before.
    """

    @property
    def name(self) -> str:
        """``ha-lvs``, ``keepalived`` or ``dns``."""

    @property
    def directors(self) -> dict[str, DirectorLike]:
        """By the name of their host; empty where there are none."""

    @property
    def target(self) -> LoadTarget:
        """Where the load goes."""

    def start(self) -> None:
        """Starts everything; waits for nothing but a DNS server to answer. Errors: LabError."""

    def stop(self) -> None:
        """Stops in order what still runs, frozen or not. Errors: LabError when something did not end in time."""


class Pair:
    """A contender of two directors.

    Arguments:
        name: of the contender.
        directors: by host.
        target: where the load goes.
    """

    def __init__(self, name: str, directors: dict[str, DirectorLike], target: LoadTarget) -> None:
        self.name = name
        self.directors = directors
        self.target = target

    def start(self) -> None:
        """Starts both directors."""
        for director in self.directors.values():
            director.start()

    def stop(self) -> None:
        """Stops those that run, the last one first: in a settled pair that is the backup, and nobody takes over."""
        with ExitStack() as stack:  # which goes on where one does not stop, and tells of it afterwards
            for director in self.directors.values():
                if director.running:
                    stack.callback(director.stop)
                    stack.callback(director.thaw)
