"""A mixed pair on the wire: our director beside Debian's keepalived, and tshark reading what we send."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.topology import VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import wait_for
from tests.pairs import config, write

pytestmark = pytest.mark.netns

CONFIG = """
global_defs {{
    router_id {name}
    vrrp_version 3
}}
vrrp_instance edge {{
    state BACKUP
    interface e0
    virtual_router_id 51
    priority {priority}
    advert_int 0.2
    {more}
    virtual_ipaddress {{
        {virtual_ip}/32 dev e0
    }}
}}
"""


class Keepalived:
    """keepalived as a pure VRRP speaker on a host."""

    def __init__(self, host: Host, directory: Path, priority: int, more: str = "") -> None:
        self._host = host
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        content = CONFIG.format(name=host.name, priority=priority, more=more, virtual_ip=VIRTUAL_IP)
        (directory / "keepalived.conf").write_text(content)

    def start(self) -> None:
        program = shutil.which("keepalived") or "/usr/sbin/keepalived"
        files = {"-f": "keepalived.conf", "-p": "keepalived.pid", "-r": "vrrp.pid"}
        options = [text for flag, name in files.items() for text in (flag, str(self._directory / name))]
        with (self._directory / "keepalived.log").open("ab") as log:
            self._process = self._host.popen([program, "-P", "-n", "-l", "-D", *options], stdout=log, stderr=log)

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)

    @property
    def log(self) -> str:
        return (self._directory / "keepalived.log").read_text()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("mixed", tmp_path) as lab:
        yield lab


def holders(lab: Lab) -> list[str]:
    return [name for name in ("lb1", "lb2") if VIRTUAL_IP in lab.host(name).addresses("e0")]


def wait_for_holder(lab: Lab, name: str) -> None:
    wait_for(lambda: holders(lab) == [name], 15, f"{name} alone to hold {VIRTUAL_IP}")


UNICAST = "unicast_src_ip 10.9.0.12\n unicast_peer {\n 10.9.0.11\n }"


@pytest.mark.parametrize("unicast", [False, True], ids=["multicast", "unicast"])
def test_our_active_and_their_backup_fail_over_both_ways(lab: Lab, unicast: bool) -> None:
    ours = Director(lab.host("lb1"), write(lab.directory / "c.yml", config(unicast=unicast)), lab.directory / "lb1")
    theirs = Keepalived(lab.host("lb2"), lab.directory, 120, UNICAST if unicast else "")
    theirs.start()
    wait_for_holder(lab, "lb2")
    ours.start()
    wait_for_holder(lab, "lb1")  # we preempt; they accept our advertisements
    assert "higher priority 150" in theirs.log
    ours.stop()
    wait_for_holder(lab, "lb2")  # they accept our resignation
    ours.start()
    wait_for_holder(lab, "lb1")
    ours.kill()
    wait_for_holder(lab, "lb2")  # they notice our silence, and our lease ends
    theirs.stop()


def test_their_active_and_our_backup_fail_over_both_ways(lab: Lab) -> None:
    ours = Director(lab.host("lb1"), write(lab.directory / "c.yml", config()), lab.directory / "lb1")
    theirs = Keepalived(lab.host("lb2"), lab.directory, 200)
    ours.start()
    wait_for_holder(lab, "lb1")
    theirs.start()
    wait_for_holder(lab, "lb2")
    wait_for(lambda: "10.9.0.12 has priority 200" in ours.log.read_text(), 10, "us to say why we yielded")
    theirs.stop()
    wait_for_holder(lab, "lb1")
    assert "10.9.0.12 resigned" in ours.log.read_text()
    theirs.start()
    wait_for_holder(lab, "lb2")
    lab.cut("lb2")
    wait_for(lambda: "lb1" in holders(lab), 15, "lb1 to take over")
    lab.heal("lb2")
    wait_for_holder(lab, "lb2")
    theirs.stop()


def dissect(host: Host, count: int) -> list[dict[str, Any]]:
    command = ["tshark", "-i", "e0", "-f", "ip proto 112", "-c", str(count), "-a", "duration:20", "-T", "json"]
    output = host.run(command, timeout_s=60)
    packets: list[dict[str, Any]] = json.loads(output.stdout)
    return [packet["_source"]["layers"] for packet in packets]


def test_tshark_dissects_our_advertisements_with_a_correct_checksum(lab: Lab) -> None:
    director = Director(lab.host("lb1"), write(lab.directory / "c.yml", config()), lab.directory / "lb1")
    director.start()
    wait_for_holder(lab, "lb1")
    packets = dissect(lab.host("lb1"), 3)
    assert len(packets) == 3
    for layers in packets:
        ip, vrrp = layers["ip"], layers["vrrp"]
        assert (ip["ip.ttl"], ip["ip.src"], ip["ip.dst"]) == ("255", "10.9.0.11", "224.0.0.18")
        text = json.dumps(vrrp)
        assert vrrp["vrrp.virt_rtr_id"] == "51"
        assert vrrp["vrrp.prio"] == "150"
        assert vrrp["vrrp.short_adver_int"] == "20"
        assert vrrp["vrrp.checksum.status"] == "1", text  # good
        assert VIRTUAL_IP in text
