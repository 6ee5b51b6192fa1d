"""The site is built once for all steps; they run only when they are asked for by `-m deploy`, and in their order."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ha_lvs.drill.lab.topology import Lab
from ha_lvs.errors import LabError
from ha_lvs.model import Forwarding
from tests.deploy.guests import Guest, Machines, image
from tests.deploy.playbooks import Operator
from tests.deploy.site import LATER, Phases, Site, config

PROJECT = Path(__file__).resolve().parents[2]
DIRECTORY = PROJECT / "build" / "deploy"
GUESTS = {"lb1": 11, "lb2": 12, "s2": 22}

_phases = Phases()
_sites: list[Site] = []
_failed: list[str] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves these tests out of every other run: they boot machines."""
    if "deploy" not in (config.option.markexpr or ""):
        mine = [item for item in items if item.get_closest_marker("deploy")]
        items[:] = [item for item in items if item not in mine]
        if mine:
            config.hook.pytest_deselected(items=mine)


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """Booted guests with nothing of ha-lvs on them; journals are kept at the end, whatever happened."""
    logs = DIRECTORY / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    with ExitStack() as stack:
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ha-lvs-", dir="/tmp")))
        made = _phases.take("image", lambda: image(DIRECTORY / "images", logs / "image.log"))
        lab = stack.enter_context(Lab("deploy", logs / "lab", clients=1, servers=1, directors=0))
        lab.forward(Forwarding.DR)
        lab.start_servers()
        machines = Machines(DIRECTORY / "machines", sockets, lab, made)
        guests = _phases.take("power on", lambda: _powered(machines, stack))
        wheelhouse = _phases.take("wheels, while they boot", lambda: _wheels(logs / "wheels.log"))
        upgrade = _phases.take("wheel of a later release", lambda: _later(wheelhouse, logs / "later.log"))
        _phases.take("boot", lambda: [guest.wait_until_up() for guest in guests])
        guests[2].run("systemctl start nginx")
        keys = {f"{number}.key": secrets.token_hex(32) for number in (1, 2)}
        site = Site(lab, guests, Operator(machines, logs, wheelhouse, config(), keys), logs, upgrade)
        _sites.append(site)
        yield site
        _phases.take("keep the journals", site.keep_logs)
        for guest in guests:
            shutil.copyfile(guest.console, logs / f"{guest.name}.console")


def _powered(machines: Machines, stack: ExitStack) -> list[Guest]:
    guests = []
    for name, number in GUESTS.items():
        guests.append(machines.add(name, number))
        stack.callback(guests[-1].close)
    for guest in guests:
        guest.power_on()
    return guests


def _wheels(log: Path) -> Path:
    """The wheels of this checkout and of what it needs, as an operator without internet on the machines makes them."""
    wheelhouse = DIRECTORY / "wheelhouse"
    shutil.rmtree(wheelhouse, ignore_errors=True)
    _make_wheels(PROJECT, wheelhouse, log)
    return wheelhouse


def _later(wheelhouse: Path, log: Path) -> Path:
    """The same wheels, but for ours: that is made from a copy of this checkout that says that it is a later version."""
    later, tree = DIRECTORY / "wheelhouse-later", DIRECTORY / "later"
    for each in (later, tree):
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir(parents=True)
    for file in (each for each in PROJECT.iterdir() if each.is_file()):
        shutil.copy(file, tree)
    shutil.copytree(PROJECT / "ha_lvs", tree / "ha_lvs", ignore=shutil.ignore_patterns("__pycache__"))
    for name, variable in (("pyproject.toml", "version"), ("ha_lvs/__init__.py", "__version__")):
        path = tree / name
        text, found = re.subn(rf'(?m)^{variable} = ".*"$', f'{variable} = "{LATER}"', path.read_text())
        assert found == 1, f"{name} does not say its version where it is looked for"
        path.write_text(text)
    _make_wheels(tree, later, log, "--no-deps")
    for wheel in wheelhouse.glob("*.whl"):
        if not wheel.name.startswith("ha_lvs-"):
            os.link(wheel, later / wheel.name)
    shutil.rmtree(tree)
    return later


def _make_wheels(tree: Path, wheelhouse: Path, log: Path, *options: str) -> None:
    with log.open("wb") as stream:
        wheel = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check"]
        command = [*wheel, *options, "-w", str(wheelhouse), "."]
        if subprocess.run(command, cwd=tree, stdout=stream, stderr=stream, check=False).returncode != 0:
            raise LabError(f"the wheels could not be made; see {log}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Says what a step does, and how long it took."""
    if item.get_closest_marker("deploy") is None:
        yield
        return
    name = item.name.removeprefix("test_").replace("_", " ")
    print(f"\n== {name}", flush=True)
    start = time.monotonic()
    yield
    _phases.note(name, time.monotonic() - start)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remembers what failed, and says so at once: the run may go on for long."""
    if report.failed:
        _failed.append(report.nodeid)
        print(f"\n{report.longreprtext}", flush=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of phases, and the report."""
    if not _phases.seconds:
        return
    figures = _sites[0].report if _sites else {}
    timings = _sites[0].operator.timings if _sites else {}
    terminalreporter.section("deployment")
    terminalreporter.write_line(_phases.table())
    for name, value in figures.items():
        terminalreporter.write_line(f"{name}: {value}")
    _phases.write(DIRECTORY / "report.json", not _failed, figures, timings)
