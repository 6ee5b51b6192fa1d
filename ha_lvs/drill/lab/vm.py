"""Runs a command in a guest whose kernel has IPVS, as if it ran here: same files, output live, exit code back.

The guest sees this machine's file system read-only, apart from one writable directory (``build``). What it prints
goes to a file there that is followed meanwhile, since consoles of guests lose and mix lines.
"""

from __future__ import annotations

import compileall
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from ha_lvs.drill.lab.guests import Guest, Kind, guest
from ha_lvs.drill.lab.kernel import MODULES
from ha_lvs.errors import LabError

PASSED_ON = ("HA_LVS_", "PYTEST_", "HYPOTHESIS_", "CI", "TERM", "COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "LANG")
"""Beginnings of the environment variables that reach the guest."""

BOOT_S = {Kind.KVM: 25.0, Kind.UML: 60.0, Kind.TCG: 180.0}
"""Within how many seconds a guest has to run `true` to count as working here."""

TIMED_OUT = 124
"""The exit code when the time is over, as of timeout(1)."""


def run(
    command: Sequence[str],
    *,
    project: Path,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 1800.0,
    kind: Kind | None = None,
) -> int:
    """Runs a command as root in a guest, in the directory `project`.

    Arguments:
        command: the arguments, resolved in the guest.
        project: the current directory; its ``build`` is the one writable place.
        environment: variables beside those of `PASSED_ON`.
        timeout_s: seconds after which the guest is switched off.
        kind: None means what works here, see `choose`.

    Returns: the command's exit code; 124 when the time was over.
    Errors: LabError when no guest can be booted.
    """
    project = project.resolve()
    cache = project / "build" / "lab"
    cache.mkdir(parents=True, exist_ok=True)
    chosen = kind or choose(project)
    print(f"lab: no IPVS in this kernel, running in a guest ({chosen.value})", flush=True)
    # In a guest sources are read-only, so each of its processes would compile them anew.
    compileall.compile_dir(project / "ha_lvs", quiet=2)
    compileall.compile_dir(project / "tests", quiet=2)
    with _run_directory(cache) as directory:
        _write_job(directory, command, project, environment or {}, chosen.pace)
        status = _boot(
            guest(chosen, directory, project / "build", project, cache), directory, timeout_s, sys.stdout.buffer
        )
        if status is None:
            console = (directory / "console").read_text(errors="replace")[-2000:]
            raise LabError(f"the guest ({chosen.value}) ended without an answer; its console:\n{console}")
        return status


def choose(project: Path) -> Kind:
    """The fastest kind of guest that boots here. Tried once, then remembered in ``build/lab/kind``.

    `HA_LVS_VM_ACCEL` names one and nothing is tried.

    Errors: LabError when that is no kind or none boots.
    """
    forced = os.environ.get("HA_LVS_VM_ACCEL")
    cache = project.resolve() / "build" / "lab"
    known = cache / "kind"
    try:
        if forced:
            return Kind(forced)
        if known.exists():
            return Kind(known.read_text().strip())
    except ValueError as problem:
        source = "HA_LVS_VM_ACCEL" if forced else str(known)
        raise LabError(f"{source}: {problem}; it is one of {', '.join(kind.value for kind in Kind)}") from problem
    reasons: list[str] = []
    for kind in Kind:
        reason = _why_not(kind, project.resolve(), cache)
        if reason is None:
            known.write_text(kind.value + "\n")
            return kind
        print(f"lab: {kind.value} does not work here: {reason}", flush=True)
        reasons.append(f"{kind.value}: {reason}")
    raise LabError("no guest boots here; " + "; ".join(reasons))


def _why_not(kind: Kind, project: Path, cache: Path) -> str | None:
    if kind is Kind.KVM:
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            return "no /dev/kvm"
        # Without these a /dev/kvm is there for guests made for it only, and a stock kernel hangs after the boot ROM.
        if not {"svm", "vmx"} & set(Path("/proc/cpuinfo").read_text().split()):
            return "the processor shows neither svm nor vmx"
    cache.mkdir(parents=True, exist_ok=True)
    try:
        with _run_directory(cache) as directory:
            _write_job(directory, ["test", "-e", "/proc/net/ip_vs"], project, {}, kind.pace)
            print(f"lab: trying whether a guest boots with {kind.value}", flush=True)
            status = _boot(guest(kind, directory, project / "build", project, cache), directory, BOOT_S[kind], None)
    except LabError as problem:
        return str(problem)
    return None if status == 0 else "it does not boot in time" if status in (None, TIMED_OUT) else "it has no IPVS"


@contextlib.contextmanager
def _run_directory(cache: Path) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=cache))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _write_job(
    directory: Path, command: Sequence[str], project: Path, environment: Mapping[str, str], pace: float
) -> None:
    binaries = Path(sys.executable).parent
    variables = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    variables |= {
        "PATH": f"{binaries}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "HA_LVS_PACE": str(pace),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        # What tools like to keep beside the sources, which are read-only in a guest.
        "PYTEST_ADDOPTS": f"-p no:cacheprovider {os.environ.get('PYTEST_ADDOPTS', '')}",
        "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",
        **environment,
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    lines += [f"cd {shlex.quote(str(project))}", f"exec {shlex.join(command)}", ""]
    (directory / "job").write_text("\n".join(lines))
    (directory / "modules").write_text(" ".join(MODULES) + "\n")
    (directory / "output").touch()


def _boot(machine: Guest, directory: Path, timeout_s: float, output: BinaryIO | None) -> int | None:
    """Boots a guest, follows its output until its status is there; None when it ended without."""
    deadline = time.monotonic() + timeout_s
    with (directory / "console").open("wb") as console, (directory / "output").open("rb") as followed:
        process = subprocess.Popen(
            machine.command,
            env=machine.environment,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            with _ended_by_signals():
                while True:
                    ended = process.poll() is not None
                    status = _status(directory)
                    if not _forward(followed, output):
                        if status is not None or ended:
                            return status
                        if time.monotonic() > deadline:
                            print(f"lab: the guest is switched off after {timeout_s:.0f} s", flush=True)
                            return TIMED_OUT
                        time.sleep(0.05)
        finally:
            _switch_off(process)


def _status(directory: Path) -> int | None:
    try:
        return int((directory / "status").read_text())
    except (OSError, ValueError):
        return None


def _forward(followed: BinaryIO, output: BinaryIO | None) -> bool:
    data = followed.read(65536)
    if data and output is not None:
        output.write(data)
        output.flush()
    return bool(data)


def _switch_off(process: subprocess.Popen[bytes]) -> None:
    # The whole group: a guest is several processes, and some of them would outlive their parent.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM ends the run like SIGINT does, so that the guest is switched off on the way out."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
