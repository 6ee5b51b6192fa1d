"""`ha-lvs doctor` on a real machine, in a network namespace of its own: what is amiss is seen, and nothing changed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_lvs.kernel.namespace import new_network_namespace

PAIR = Path(__file__).parent.parent / "unit" / "data" / "pair.yml"

pytestmark = pytest.mark.netns


@pytest.fixture
def alone() -> Iterator[None]:
    with new_network_namespace():
        yield


def findings() -> tuple[int, dict[str, tuple[str, str]]]:
    command = [sys.executable, "-m", "ha_lvs.cli.main", "doctor", "-c", str(PAIR), "--node", "lb1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, {
        each["check"]: (each["judgement"], each["found"]) for each in json.loads(done.stdout)["findings"]
    }


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


def test_the_interface_is_seen_as_it_comes_and_goes(alone: None) -> None:
    assert findings()[1]["interface e0"] == ("mend", "is not there")
    ip("link add e0 mtu 1400 type veth peer name e1")
    assert findings()[1]["interface e0"] == ("mend", "is down")
    ip("link set e1 up")
    ip("link set e0 up")
    assert findings()[1]["interface e0"] == ("ok", "up, MTU 1400")


def test_a_strict_reverse_path_filter_is_seen(alone: None) -> None:
    ip("link add e0 type veth peer name e1")
    for each in ("e0", "e1"):
        ip(f"link set {each} up")
    Path("/proc/sys/net/ipv4/conf/e0/rp_filter").write_text("1")
    ip("addr add 192.0.2.1/24 dev e1")
    ip("route add default via 192.0.2.254 dev e1")
    judgement, found = findings()[1]["rp_filter of e0"]
    assert (judgement, "by e1" in found) == ("note", True)


def test_the_exit_code_says_whether_something_must_be_mended(alone: None) -> None:
    code, found = findings()
    assert code == 1, found
