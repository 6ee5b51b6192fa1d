"""The guest that stands in where the running kernel has no IPVS. Boots a real one, so it takes seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ha_lvs.drill.lab import kernel, vm
from ha_lvs.drill.lab.guests import Kind
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.errors import LabError

PROJECT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(600),
    pytest.mark.skipif(kernel.has_ipvs(), reason="this kernel has IPVS, no guest is needed"),
]


def test_a_command_in_the_guest_prints_here_and_its_exit_code_comes_back(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    command = ["bash", "-c", 'test -e /proc/net/ip_vs && echo "from the guest: $GREETING in $PWD"; exit 7']
    assert vm.run(command, project=PROJECT, environment={"GREETING": "it's a\ttest"}) == 7
    assert f"from the guest: it's a\ttest in {PROJECT}\n".encode() in capfdbinary.readouterr().out


def test_a_guest_whose_time_is_over_is_switched_off() -> None:
    assert vm.run(["sleep", "1000"], project=PROJECT, timeout_s=3) == vm.TIMED_OUT
    wait_for(lambda: not processes_of_guest(os.getpid()), 10, "the guest's processes to be gone")


def test_a_guest_goes_with_its_runner() -> None:
    if vm.choose(PROJECT) is not Kind.UML:
        pytest.skip("processes of other kinds do not tell their runner")
    command = [sys.executable, "-m", "ha_lvs.drill.lab", "run", "--vm", "--", "sleep", "1000"]
    runner = subprocess.Popen(command, cwd=PROJECT)
    try:
        wait_for(lambda: len(processes_of_guest(runner.pid)) > 5, 60, "the guest to start")
    finally:
        runner.kill()
        runner.wait()
    wait_for(lambda: not processes_of_guest(runner.pid), 10, "the guest's processes to be gone")


def test_the_guest_cannot_write_outside_of_build() -> None:
    assert vm.run(["touch", str(PROJECT / "written-by-guest")], project=PROJECT) == 1
    assert not (PROJECT / "written-by-guest").exists()


def test_an_unknown_kind_of_guest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HA_LVS_VM_ACCEL", "warp")
    with pytest.raises(LabError, match="HA_LVS_VM_ACCEL.*warp.*one of " + ", ".join(kind.value for kind in Kind)):
        vm.choose(PROJECT)


def processes_of_guest(runner: int) -> list[Path]:
    """The processes on this machine that make up a user-mode guest."""
    return [process for process in Path("/proc").iterdir() if f"umid=ha-lvs-{runner}\0" in _command_line(process)]


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_text(errors="replace")
    except OSError:
        return ""
