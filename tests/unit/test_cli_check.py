"""`ha-lvs check`, `schema` and the rules of the command line, through the real console script."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ha_lvs import __version__

DATA = Path(__file__).parent / "data"
SCRIPT = Path(sys.executable).parent / "ha-lvs"


def ha_lvs(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["pair.yml", "vip-only.yml", "everything.yml"])
def test_a_good_file(name: str) -> None:
    ran = ha_lvs("check", "-c", DATA / name)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "fine" in ran.stdout
    assert "cluster edge" in ran.stdout


@pytest.mark.parametrize(("name", "expected"), [("broken.yml", 7), ("broken_election.yml", 49)])
def test_a_bad_file_lists_every_problem_and_their_count(name: str, expected: int) -> None:
    ran = ha_lvs("check", "-c", DATA / name)
    assert (ran.returncode, ran.stdout) == (2, "")
    *problems, count = ran.stderr.splitlines()
    assert count == f"{len(problems)} problems"
    assert len(problems) == expected
    for line in problems:
        assert re.fullmatch(rf"{re.escape(str(DATA / name))}:\d+:\d+: \S+: .+", line)


def test_a_missing_file() -> None:
    ran = ha_lvs("check", "-c", "nowhere.yml")
    assert ran.returncode == 2
    assert ran.stderr.startswith("nowhere.yml:1:1: ")
    assert "Traceback" not in ran.stderr


def test_the_schema_is_json_with_a_title() -> None:
    ran = ha_lvs("schema")
    assert ran.returncode == 0
    schema = json.loads(ran.stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["title"]
    assert {"cluster", "nodes", "instances", "services"} <= set(schema["properties"])


def test_version() -> None:
    ran = ha_lvs("--version")
    assert (ran.returncode, ran.stdout) == (0, f"ha-lvs {__version__}\n")


@pytest.mark.parametrize("arguments", [("chekc",), ("check",), ("check", "--nope"), ("schema", "extra")])
def test_wrong_usage_ends_with_2_and_says_so_plainly(arguments: tuple[str, ...]) -> None:
    ran = ha_lvs(*arguments)
    assert ran.returncode == 2
    assert "Usage: ha-lvs" in ran.stderr
    assert ran.stderr.isascii()


def test_check_does_not_load_the_daemon() -> None:
    code = (
        "import sys; sys.argv = ['ha-lvs', 'check', '-c', sys.argv[1]]\n"
        "from ha_lvs.cli import main\n"
        "try: main.main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'pyroute2', 'asyncio', 'structlog', 'ha_lvs.daemon', 'ha_lvs.kernel', 'ha_lvs.observe'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, DATA / "pair.yml"], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.splitlines()[-1] == "loaded []"
