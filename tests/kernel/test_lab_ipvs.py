"""The lab's real servers take what IPVS forwards, by each method. The rules are made with ipvsadm: no code of ours."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest

from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.topology import INSIDE_GATEWAY, VIRTUAL_IP, Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.model import Forwarding

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(60)]

FLAGS = {Forwarding.DR: "-g", Forwarding.TUN: "-i", Forwarding.NAT: "-m"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab("ipvs", tmp_path_factory.mktemp("ipvs"), clients=1, servers=2) as lab:
        lab.start_servers()
        lab.host("lb1").ip(f"addr add {VIRTUAL_IP}/32 dev e0", f"addr add {INSIDE_GATEWAY}/32 dev e0")
        yield lab


def asked(client: Host) -> str:
    with client.inside():
        connection = http.client.HTTPConnection(VIRTUAL_IP, 80, timeout=2 * PACE)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        finally:
            connection.close()


@pytest.mark.parametrize("forwarding", list(Forwarding))
def test_requests_through_the_virtual_ip_reach_every_real_server(lab: Lab, forwarding: Forwarding) -> None:
    lab.forward(forwarding)
    servers = "".join(f"-a -t {VIRTUAL_IP}:80 -r {server.address}:80 {FLAGS[forwarding]}\n" for server in lab.servers)
    lab.host("lb1").run(["ipvsadm", "-C"])
    lab.host("lb1").run(["ipvsadm", "-R"], input=f"-A -t {VIRTUAL_IP}:80 -s rr\n{servers}")
    answers: set[str] = set()

    def all_answered() -> bool:
        answers.add(asked(lab.host("c1")))
        return answers == {"s1", "s2"}

    wait_for(all_answered, 10, f"both servers to answer by {forwarding.value}")


def test_without_a_rule_nobody_answers(lab: Lab) -> None:
    lab.forward(Forwarding.DR)
    lab.host("lb1").run(["ipvsadm", "-C"])
    with pytest.raises(OSError, match="refused"):
        asked(lab.host("c1"))
