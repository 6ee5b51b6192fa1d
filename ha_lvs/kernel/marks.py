"""The nftables table of ours in this network namespace, by the program `nft`.

Rules that hold here:
* Only our own table is touched, always as a whole and in one transaction: packets see it as it was or as it should be.
* `nft` works in the network namespace of the calling thread.
* Nothing here decides whether the table is needed; a caller that needs none does not call.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ha_lvs.errors import PlatformError, WireError
from ha_lvs.model import ServiceKey, Traffic
from ha_lvs.plan.steps import MarkTraffic, MendMarks, Step, StepFailure
from ha_lvs.wire import nft

ANSWER_TIMEOUT_S = 20.0
"""A thousand services take a tenth of a second."""

_SYSTEM_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_NO_PROGRAM = "the program nft is missing, which marks the traffic of service groups: `apt install nftables`"
_NO_PERMISSION = (
    "nft may not change packet rules: it needs CAP_NET_ADMIN in its network namespace; "
    "run it as root or give its unit `AmbientCapabilities=CAP_NET_ADMIN`"
)
_NO_TABLES = (
    "this kernel has no nf_tables: load it with `modprobe nf_tables` and name it in /etc/modules-load.d/; "
    "where the module is missing, install the distribution's full kernel package"
)
_LACKS = "this kernel lacks a part of nf_tables: ranges in maps (Linux 5.6), or the module nft_fib_inet"
_REMEDIES = {
    errno.EEXIST: "two groups take the same addresses, ports and protocol: a packet has one mark only",
    errno.ENOENT: _LACKS,
    errno.EOPNOTSUPP: _LACKS,
}


class MarksError(PlatformError):
    """The table could not be read or replaced.

    Arguments:
        number: the positive error number.
        text: what was said and what to do about it.
    """

    def __init__(self, number: int, text: str) -> None:
        self.errno = number
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class _Said:
    code: int
    out: str
    problem: str


class Marks:
    """The table, seen from whoever calls."""

    def __init__(self) -> None:
        self._shapes: frozenset[str] = frozenset()

    def read(self) -> nft.MarkTable:
        """What the table holds; with nothing when there is none.

        Errors: MarksError when it cannot be seen.
        """
        said = _run("-j", "-n", "list", "table", nft.FAMILY, nft.TABLE)
        if said.code:
            if os.strerror(errno.ENOENT) in said.problem:
                return nft.MarkTable()
            raise _error(said)
        try:
            return nft.parse(said.out, self._shapes)
        except WireError as problem:
            return nft.MarkTable(strays=f"it cannot be read ({problem})")

    def look(self) -> nft.MarkTable:
        """The same without errors: what kept us from seeing the table is told as what is wrong with it."""
        try:
            return self.read()
        except MarksError as problem:
            return nft.MarkTable(strays=f"it cannot be seen ({problem})")

    def replace(self, traffic: Mapping[ServiceKey, Traffic]) -> None:
        """Makes this the whole table; takes it away where nothing is to be marked.

        Errors: MarksError; the table is as it was then.
        """
        said = _run("-f", "-", text=nft.ruleset(traffic))
        if said.code:
            raise _error(said)
        if traffic:
            self._learn(traffic)

    def _learn(self, traffic: Mapping[ServiceKey, Traffic]) -> None:
        """Remembers how this version of nft words our table, if it is otherwise than the versions that we know."""
        try:
            found = self.read()
        except MarksError:
            return
        if found.strays and found.traffic == dict(traffic):
            self._shapes = self._shapes | {found.shape}

    def apply(self, steps: Sequence[Step], traffic: Mapping[ServiceKey, Traffic]) -> list[StepFailure]:
        """Takes steps on the table, all of them or none.

        Arguments:
            steps: `MarkTraffic` and `MendMarks` only.
            traffic: all that is to be marked after them.
        """
        try:
            self.replace(traffic)
        except MarksError as problem:
            return [StepFailure(step, problem.errno, str(problem)) for step in steps]
        return []


def is_about_marks(step: Step) -> bool:
    """Whether a step is for `Marks` rather than for IPVS."""
    return isinstance(step, MarkTraffic | MendMarks)


def program() -> str | None:
    """Where nft is; also in the places that only root's path has."""
    return shutil.which("nft", path=os.pathsep.join(filter(None, (os.environ.get("PATH"), _SYSTEM_PATH))))


def why_not() -> str:
    """Why the table cannot be seen here, in the words for the operator; empty when it can."""
    try:
        Marks().read()
    except MarksError as problem:
        return str(problem)
    return ""


def masquerades() -> bool | None:
    """Whether a rule of nftables, whosever it is, translates source addresses; None when the rules cannot be seen."""
    try:
        said = _run("-s", "list", "ruleset")
    except MarksError:
        return None
    words = said.out.split()
    return None if said.code else "masquerade" in words or "snat" in words


def _run(*arguments: str, text: str = "") -> _Said:
    path = program()
    if path is None:
        raise MarksError(errno.ENOENT, _NO_PROGRAM)
    try:
        done = subprocess.run(
            [path, *arguments],
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_TIMEOUT_S,
            check=False,
            env={"LC_ALL": "C", "PATH": _SYSTEM_PATH},  # its words are looked at
        )
    except subprocess.TimeoutExpired as problem:
        raise MarksError(errno.ETIMEDOUT, f"nft did not answer within {ANSWER_TIMEOUT_S:g} s") from problem
    except OSError as problem:
        raise MarksError(problem.errno or errno.EIO, f"{path} cannot be run: {problem.strerror}") from problem
    return _Said(done.returncode, done.stdout, done.stderr)


def _error(said: _Said) -> MarksError:
    number = next((each for each in _known() if os.strerror(each) in said.problem), errno.EIO)
    if number in (errno.EPERM, errno.EACCES):
        return MarksError(number, _NO_PERMISSION)
    if "cache initialization failed" in said.problem or "Netlink socket" in said.problem:
        return MarksError(errno.EOPNOTSUPP, _NO_TABLES)
    lines = [line.strip() for line in said.problem.splitlines() if line.strip()]
    detail = lines[0] if lines else f"nft ended with {said.code}"
    remedy = _REMEDIES.get(number, "")
    return MarksError(number, "; ".join(filter(None, (detail, remedy))))


def _known() -> Iterable[int]:
    return (errno.EPERM, errno.EACCES, errno.EEXIST, errno.ENOENT, errno.EOPNOTSUPP, errno.ENOMEM, errno.EBUSY)
