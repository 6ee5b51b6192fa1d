"""Which tests can run here: `netns` needs root, `ipvs` needs IPVS in the kernel too.

Elsewhere they are skipped with the reason. `HA_LVS_REQUIRE=netns,ipvs` makes such a skip a failure, so that a run that
is meant to cover them cannot lose them silently.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from ha_lvs.drill.lab import kernel
from ha_lvs.drill.lab.waiting import PACE
from ha_lvs.kernel.namespace import new_network_namespace
from tests.kernels import why_no_ipvs

REQUIRED = frozenset(filter(None, os.environ.get("HA_LVS_REQUIRE", "").split(",")))

# How fast an example is says something of the machine's other business; what hangs runs into the test's time limit.
hypothesis.settings.register_profile("ha-lvs", deadline=None)
hypothesis.settings.load_profile("ha-lvs")

LOGGED_LINES = 60
"""So much of each log goes into the report of a failed test."""


def _lacking(marker: str) -> str | None:
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    if shutil.which("ip") is None:
        return "needs iproute2"
    if marker == "ipvs" and not kernel.has_ipvs():
        return "needs a kernel with IPVS: make test, or python -m ha_lvs.drill.lab run -- pytest ..."
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips, or fails, what cannot run; stretches the time limits to the lab's pace."""
    reasons: dict[str, str | None] = {}
    for item in items:
        limit = item.get_closest_marker("timeout")
        seconds = float(limit.args[0]) if limit and limit.args else float(config.getini("timeout") or 0)
        if PACE > 1 and seconds:
            item.add_marker(pytest.mark.timeout(seconds * PACE), append=False)
        for marker in ("netns", "ipvs"):
            if item.get_closest_marker(marker) is None:
                continue
            if marker not in reasons:
                reasons[marker] = _lacking(marker)
            reason = reasons[marker]
            if reason is not None and marker not in REQUIRED:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds to the report of a failure what the programs of its lab have logged, which is gone with the guest."""
    report = yield
    tmp_path = getattr(item, "funcargs", {}).get("tmp_path")
    if report.failed and report.when == "call" and tmp_path is not None:
        for log in sorted(tmp_path.rglob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-LOGGED_LINES:]
            if lines:
                report.sections.append((f"{log.relative_to(tmp_path)}, the last {len(lines)} lines", "\n".join(lines)))
    return report


@pytest.fixture(autouse=True)
def _required_or_failed(request: pytest.FixtureRequest) -> None:
    for marker in REQUIRED & {mark.name for mark in request.node.iter_markers()}:
        if (reason := _lacking(marker)) is not None:
            pytest.fail(f"HA_LVS_REQUIRE asks for {marker} tests, but this one {reason}", pytrace=False)


@pytest.fixture
def lab_directory(tmp_path: Path) -> Path:
    """A place for logs and configuration of a lab."""
    return tmp_path / "lab"


@pytest.fixture
def namespace() -> Iterator[None]:
    """A network namespace of one's own, on a kernel with IPVS; it has an address, without which no server is taken."""
    reason = why_no_ipvs()
    if reason:
        assert "HA_LVS_REQUIRE" not in os.environ, reason
        pytest.skip(reason)
    with new_network_namespace():
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
