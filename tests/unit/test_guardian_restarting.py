"""Which program follows the running one, whether it can, and what is left to it. Real processes, no network."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ha_lvs.daemon import memory
from ha_lvs.daemon.channel import InstanceState
from ha_lvs.daemon.orders import Orders
from ha_lvs.daemon.restarting import PROTOCOL, Legacy, end_unknown, execute, probe, program, take_over
from ha_lvs.daemon.shapes import to_json
from ha_lvs.errors import PlatformError
from ha_lvs.model import AttendantPart, DirectorPart, ElectorPart, OnStop, Role, VirtualIp, VrrpInstance
from tests.descriptors import open_descriptors
from tests.pairs import config, write

EDGE = VrrpInstance(
    "edge", "e0", 51, 150, 0.25, True, IPv4Address("10.9.0.11"), (), IPv4Address("224.0.0.18"),
    (VirtualIp(IPv4Address("10.9.0.100"), 32, "e0"),), None, 5, 1.0,
)  # fmt: skip
ORDERS = Orders(
    ElectorPart("lb1", (EDGE,)),
    DirectorPart("edge", "lb1", "digest", (EDGE,), (), None, OnStop.KEEP, 30.0),
    AttendantPart("lb1", (EDGE,)),
    "info",
)
STATE = InstanceState("edge", Role.ACTIVE, 150, 1.5, 2, "10.9.0.12", 100, "no other router was heard", True)
HERE = [sys.executable, "-m", "ha_lvs.cli.main"]

# ------------------------------------------------------------------------------------------- the program


def script(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_script_is_found_again_by_the_name_that_may_lead_elsewhere_by_now(tmp_path: Path) -> None:
    for release in ("a", "b"):
        (tmp_path / release).mkdir()
        script(tmp_path / release / "ha-lvs")
    (tmp_path / "current").symlink_to("a")
    called = str(tmp_path / "current" / "ha-lvs")
    arguments = ["run", "-c", "c.yml"]
    found = program(["/a/bin/python", called, *arguments], [called, *arguments], "/a/bin/python")
    assert found == [called], "neither the link resolved, nor the interpreter of the old release"
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to("b")
    assert Path(found[0]).resolve() == tmp_path / "b" / "ha-lvs"


def test_a_module_is_started_by_the_same_interpreter_with_its_options() -> None:
    original = ["python", "-X", "dev", "-m", "ha_lvs.cli.main", "run", "-c", "c.yml"]
    found = program(original, ["/somewhere/main.py", "run", "-c", "c.yml"], "/current/bin/python")
    assert found == ["/current/bin/python", "-X", "dev", "-m", "ha_lvs.cli.main"]


def test_a_script_that_cannot_be_executed_is_read_by_the_interpreter(tmp_path: Path) -> None:
    plain = tmp_path / "plain.py"
    plain.write_text("")
    assert program(["python", str(plain), "run"], [str(plain), "run"], "/bin/python") == ["/bin/python", str(plain)]


# --------------------------------------------------------------------------------------------- the probe


def test_this_program_could_follow_itself(tmp_path: Path) -> None:
    assert probe(HERE, write(tmp_path / "c.yml", config()), "lb1") == ""


def test_a_file_that_it_refuses_is_the_reason(tmp_path: Path) -> None:
    found = probe(HERE, write(tmp_path / "c.yml", config(interval="7 fortnights")), "lb1")
    assert "exit code 2" in found
    assert "instances.edge.interval" in found


def test_a_node_that_the_file_does_not_have_is_the_reason(tmp_path: Path) -> None:
    assert "lb3" in probe(HERE, write(tmp_path / "c.yml", config()), "lb3")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#!/bin/sh\necho broken >&2; exit 1\n", r"exit code 1\): broken"),
        ("#!/bin/sh\necho No such option: --probe >&2; exit 2\n", "No such option"),
        ("#!/bin/sh\necho something else\n", "does not know how to follow"),
        (f"#!/bin/sh\necho '{{\"protocol\": {PROTOCOL + 1}}}'\n", f"by protocol {PROTOCOL + 1}"),
        ("#!/nowhere/python\n", "cannot be started"),
    ],
)
def test_a_program_that_cannot_follow_is_refused_with_what_it_says(tmp_path: Path, text: str, expected: str) -> None:
    found = probe([str(script(tmp_path / "ha-lvs", text))], tmp_path / "c.yml", "lb1")
    assert re.search(expected, found), found


def test_a_program_that_is_gone_is_refused(tmp_path: Path) -> None:
    assert "cannot be started" in probe([str(tmp_path / "ha-lvs")], tmp_path / "c.yml", "lb1")


# -------------------------------------------------------------------------------------------- the legacy


LEGACY = Legacy("0.1.0", 2, 7, {"guardian elector": (8, 9)}, {"elector": 4711}, 12, True, ORDERS, (STATE,))


def test_what_is_left_comes_back_as_it_was() -> None:
    assert take_over(memory.write("legacy", {"protocol": PROTOCOL, **to_json(LEGACY)})) == LEGACY


def test_orders_of_another_version_are_left_out_and_the_rest_is_not() -> None:
    told = {"protocol": PROTOCOL, **to_json(LEGACY)}
    del told["orders"]["elector"]["node"]
    told["states"].append({"instance": "of another version"})
    assert take_over(memory.write("legacy", told)) == dataclasses.replace(LEGACY, orders=None)


@pytest.mark.parametrize("content", [[], {}, {"protocol": PROTOCOL}, {"protocol": PROTOCOL + 1, **to_json(LEGACY)}])
def test_what_is_no_legacy_is_refused(content: object) -> None:
    with pytest.raises(PlatformError, match="--resume-fd"):
        take_over(memory.write("legacy", content))


def test_an_execution_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
    legacy = dataclasses.replace(LEGACY, lock_fd=fds[0], ends={"guardian elector": (fds[1], fds[2])})
    opened = open_descriptors()
    with pytest.raises(FileNotFoundError):
        execute([str(tmp_path / "gone"), "run"], legacy)
    assert not any(os.get_inheritable(fd) for fd in fds)
    assert open_descriptors() <= opened
    for fd in fds:
        os.close(fd)


def test_another_program_finds_what_was_left_in_the_same_process(tmp_path: Path) -> None:
    """A process that executes another program, which reads the legacy and an inherited descriptor."""
    after = script(
        tmp_path / "after",
        f"""#!{sys.executable}
import os, sys
from ha_lvs.daemon.restarting import take_over
legacy = take_over(int(sys.argv[-1]))
left, right = legacy.ends["guardian elector"]
print(os.getpid(), legacy.generation, os.read(left, 10).decode(), sys.argv[1:3])
""",
    )
    before = f"""
import os
from ha_lvs.daemon.restarting import Legacy, execute
left, right = os.pipe()
os.write(right, b"on its way")
lock = os.open(os.devnull, os.O_RDONLY)
print(os.getpid(), flush=True)
execute([{str(after)!r}, "run"], Legacy("0", 2, lock, {{"guardian elector": (left, right)}}, {{}}, 1, True, None))
"""
    ran = subprocess.run([sys.executable, "-c", before], capture_output=True, text=True, timeout=60, check=True)
    pid, said = ran.stdout.splitlines()
    assert said == f"{pid} 2 on its way ['run', '--resume-fd']"


def test_a_child_that_the_new_program_has_no_use_for_is_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    legacy = dataclasses.replace(LEGACY, pids={"elector": os.getpid(), "oracle": child.pid})
    end_unknown(legacy, {"elector"})
    assert not Path(f"/proc/{child.pid}").exists()
    child.returncode = -9  # it was waited for
