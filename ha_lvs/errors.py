"""Every error that ha-lvs raises on purpose.

The tree (whom an error blames decides where it stands):

    HaLvsError                    anything below; the command line prints it and exits
    +-- ConfigError               the operator's file or flag is wrong (exit 2); carries all problems at once
    +-- PlatformError             the machine lacks something: module, capability, interface (exit 1)
    +-- KernelError               the kernel refused a request (exit 1); carries errno and what was asked
    +-- WireError                 the sender's bytes are wrong; the packet is counted and dropped
    +-- ChannelError              another of our own processes spoke wrongly or went away
    +-- LabError                  the lab or a drill could not be set up

The first argument of each is a sentence for an operator: what was found, where, and what to do about it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


class HaLvsError(Exception):
    """Base of every error that ha-lvs raises on purpose."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a config file.

    Arguments:
        file: the path as the operator gave it.
        line, column: 1-based position of the offending key or value.
        path: where in the structure, e.g. ``instances.edge.priorty``.
        message: what is wrong, the value found, and the remedy.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.path}: {self.message}"


class ConfigError(HaLvsError):
    """A config file that cannot be used. `problems` has every reason, in file order."""

    exit_code = 2

    def __init__(self, problems: list[Problem] | tuple[Problem, ...]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.file, p.line, p.column)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class PlatformError(HaLvsError):
    """This machine lacks something that the config asks for."""


class KernelError(HaLvsError):
    """The kernel refused a request.

    Arguments:
        request: what was asked for, in the operator's terms.
        errno: the positive error number.
        hint: what usually causes it, or an empty string.
    """

    def __init__(self, request: str, errno: int, hint: str = "") -> None:
        self.request = request
        self.errno = errno
        text = f"the kernel refused to {request}: {os.strerror(errno)} (errno {errno})"
        super().__init__(f"{text}. {hint}" if hint else text)


class WireError(HaLvsError):
    """Bytes from the network that are not what they claim to be. `reason` is a short, countable word."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}" if detail else reason)


class ChannelError(HaLvsError):
    """Another of our own processes spoke wrongly or went away."""


class LabError(HaLvsError):
    """The lab or a drill could not be set up."""
