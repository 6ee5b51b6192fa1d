"""The table of marks in a real kernel: packets get the marks, drift is seen and repaired, nobody else's rules are
touched. And, where there is IPVS, a group of addresses and ports is balanced by one service.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from ha_lvs.daemon.balancer import Balancer
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.kernel.ipvs import Ipvs
from ha_lvs.kernel.marks import Marks, MarksError
from ha_lvs.kernel.namespace import new_network_namespace
from ha_lvs.model import (
    AddressRange,
    Destination,
    DestinationKey,
    DirectorPart,
    Forwarding,
    OnStop,
    PortRange,
    Protocol,
    RealServer,
    Service,
    ServiceKey,
    Traffic,
    VirtualService,
)
from ha_lvs.wire.nft import ruleset

GROUP = ServiceKey.of_mark(7)
FOREIGN = "table inet other { chain input { type filter hook input priority 0; tcp dport 9 drop; }; }"


def addresses(first: str, last: str) -> AddressRange:
    return AddressRange(ip_address(first), ip_address(last))


TRAFFIC = Traffic(
    (Protocol.TCP,),
    (addresses("192.0.2.10", "192.0.2.11"), addresses("192.0.2.20", "192.0.2.20")),
    (PortRange(80, 80), PortRange(8000, 8009)),
)
SIX = Traffic((Protocol.UDP,), (addresses("2001:db8::1", "2001:db8::ff"),))
GROUPS = {GROUP: TRAFFIC, ServiceKey.of_mark(7, 6): SIX}


def nft(*arguments: str, text: str = "") -> str:
    return subprocess.run(["nft", *arguments], input=text, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def alone() -> Iterator[None]:
    """A network namespace of one's own, with nft and the addresses that the groups are of."""
    if shutil.which("nft") is None:
        pytest.skip("needs nftables")
    with new_network_namespace():
        for each in ("link set lo up", "addr add 192.0.2.10/24 dev lo", "addr add 192.0.2.11/24 dev lo"):
            subprocess.run(["ip", *each.split()], check=True)
        said = subprocess.run(["nft", "-f", "-"], input=FOREIGN, capture_output=True, text=True, check=False)
        if "Operation not supported" in said.stderr:  # that of user-mode Linux; whole machines are tested, too
            pytest.skip("this kernel has nf_tables without any family")
        assert said.returncode == 0, said.stderr
        yield


def test_a_machine_without_nft_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ha_lvs.kernel.marks.program", lambda: None)
    with pytest.raises(MarksError, match="apt install nftables"):
        Marks().read()
    assert "apt install nftables" in Marks().look().strays


@pytest.mark.netns
def test_the_table_is_read_as_it_was_made_and_goes_without_a_trace(alone: None) -> None:
    marks = Marks()
    before = nft("list", "ruleset")
    assert (marks.read().traffic, marks.read().strays) == ({}, "")
    marks.replace(GROUPS)
    for each in (marks, Marks()):
        assert (each.read().traffic, each.read().strays) == (GROUPS, "")
    marks.replace({})
    assert nft("list", "ruleset") == before
    marks.replace({})


@pytest.mark.netns
@pytest.mark.parametrize(
    "command",
    [
        "flush ruleset",
        "delete table inet ha-lvs-marks",
        "flush map inet ha-lvs-marks ipv4",
        "flush chain inet ha-lvs-marks output",
        "delete element inet ha-lvs-marks ipv4 { 192.0.2.20 . tcp . 80 }",
        "add element inet ha-lvs-marks ipv4 { 192.0.2.99 . tcp . 80 : 9 }",
        "add rule inet ha-lvs-marks prerouting counter drop",
        "add chain inet ha-lvs-marks forward",
        "add table inet ha-lvs-marks { flags dormant; }",
    ],
)
def test_whatever_somebody_does_to_it_is_seen_and_put_right(alone: None, command: str) -> None:
    marks = Marks()
    marks.replace(GROUPS)
    nft(command)
    found = marks.read()
    assert found.strays or found.traffic != GROUPS
    marks.replace(GROUPS)
    assert (marks.read().traffic, marks.read().strays) == (GROUPS, "")


@pytest.mark.netns
def test_groups_that_overlap_are_refused_whole_and_told(alone: None) -> None:
    marks = Marks()
    marks.replace(GROUPS)
    with pytest.raises(MarksError, match="two groups take the same"):
        marks.replace({**GROUPS, ServiceKey.of_mark(8): replace(TRAFFIC, addresses=TRAFFIC.addresses[:1])})
    assert marks.read().traffic == GROUPS


@pytest.mark.netns
def test_a_process_without_permission_is_told_what_it_needs(alone: None) -> None:
    code = "from ha_lvs.kernel.marks import Marks; print(Marks().look().strays)"
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    done = subprocess.run([*drop, sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "CAP_NET_ADMIN" in done.stdout


@pytest.mark.netns
def test_a_user_with_nothing_but_net_admin_may(alone: None) -> None:
    capability = ["--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin", "--bounding-set=-all,+net_admin"]
    drop = ["setpriv", "--reuid", "65534", "--clear-groups", "--no-new-privs", *capability]
    subprocess.run([*drop, "nft", "-f", "-"], input=ruleset(GROUPS), check=True, text=True)
    assert Marks().read().traffic == GROUPS


@contextlib.contextmanager
def neighbour(number: int) -> Iterator[list[str]]:
    """Another namespace, 10.N.0.2, with us at 10.N.0.1 as its router; what a command begins with to run there."""
    holder = subprocess.Popen(["unshare", "-n", "sleep", "600"])
    try:
        own = Path("/proc/thread-self/ns/net").readlink()
        theirs = Path(f"/proc/{holder.pid}/ns/net")
        wait_for(lambda: theirs.readlink() != own, 20, "a namespace")
        inside = ["nsenter", "-t", str(holder.pid), "-n"]
        for command in (
            f"ip link add v{number} type veth peer name e0 netns {holder.pid}",
            f"ip addr add 10.{number}.0.1/24 dev v{number}",
            f"ip link set v{number} up",
            f"{' '.join(inside)} ip addr add 10.{number}.0.2/24 dev e0",
            f"{' '.join(inside)} ip link set e0 up",
            f"{' '.join(inside)} ip route add default via 10.{number}.0.1",
        ):
            subprocess.run(command.split(), check=True)
        yield inside
    finally:
        holder.kill()
        holder.wait()


@pytest.fixture
def client(alone: None) -> Iterator[list[str]]:
    with neighbour(78) as inside:
        yield inside


ASKING = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as client:
        print(client.recv(100).decode(), end="")
except ConnectionRefusedError:
    pass
"""


def ask(address: str, port: int, inside: list[str]) -> str:
    """What is said at that port; empty when the connection is refused."""
    asking = [*inside, sys.executable, "-c", ASKING, address, str(port)]
    return subprocess.run(asking, check=True, capture_output=True, text=True).stdout


@pytest.mark.netns
@pytest.mark.parametrize("remote", [False, True])
def test_packets_of_the_group_get_the_mark_and_no_others(client: list[str], remote: bool) -> None:
    rule = "meta mark 7 tcp flags syn / syn,ack counter name seven"
    nft(
        "-f",
        "-",
        text=f"table inet t {{ counter seven {{}}; chain i {{ type filter hook input priority 10; {rule}; }}; }}",
    )
    Marks().replace(GROUPS)
    for address, port, expected in (
        ("192.0.2.10", 80, 1),
        ("192.0.2.11", 8009, 2),
        ("192.0.2.11", 8010, 2),
        ("192.0.2.10", 443, 2),
        ("10.78.0.1", 80, 2),
    ):
        assert ask(address, port, client if remote else []) == ""
        counted = nft("list", "counter", "inet", "t", "seven")
        assert f"packets {expected} " in counted, (address, port, counted)


@pytest.mark.netns
def test_a_thousand_groups_are_one_transaction_of_reasonable_speed(alone: None) -> None:
    groups = {
        ServiceKey.of_mark(number): Traffic(
            (Protocol.TCP, Protocol.UDP),
            tuple(AddressRange(IPv4Address(base + at), IPv4Address(base + at + 5)) for at in (1, 20)),
            (PortRange(80, 89), PortRange(443, 443)),
        )
        for number, base in enumerate(range(0x0A000000, 0x0A000000 + 256_000, 256), start=1)
    } | {ServiceKey.of_mark(9999, 6): Traffic((Protocol.TCP,), (AddressRange(IPv6Address(1), IPv6Address(2)),))}
    began = time.monotonic()
    marks = Marks()
    marks.replace(groups)
    found = marks.read()
    took_s = time.monotonic() - began
    assert (found.traffic, found.strays) == (groups, "")
    assert took_s < 10 * PACE, took_s


# ----------------------------------------------------------------------------------------------------- with IPVS

SERVER = DestinationKey(IPv4Address("10.77.0.2"), 0)


def part(on_stop: OnStop = OnStop.REMOVE) -> DirectorPart:
    destination = Destination(SERVER, Forwarding.NAT)
    server = RealServer(destination)
    service = VirtualService("group", Service(GROUP, "rr", 60), (server,), traffic=TRAFFIC)
    return DirectorPart("test", "lb1", "", (), (service,), None, on_stop, 30.0)


SERVING = """
import selectors, socket
waiting = selectors.DefaultSelector()
for port in (80, 8000, 8009, 8010):
    waiting.register(socket.create_server(("10.77.0.2", port)), selectors.EVENT_READ, port)
print("listening", flush=True)
while True:
    for key, _ in waiting.select():
        with key.fileobj.accept()[0] as client:
            client.sendall(str(key.data).encode())
"""


@pytest.fixture
def server(alone: None) -> Iterator[None]:
    """A real server that says the port it was reached at."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    with (
        neighbour(77) as inside,
        subprocess.Popen([*inside, sys.executable, "-c", SERVING], stdout=subprocess.PIPE, text=True) as serving,
    ):
        assert serving.stdout is not None
        assert serving.stdout.readline() == "listening\n"
        yield
        serving.kill()


@pytest.mark.ipvs
@pytest.mark.parametrize("remote", [False, True])
def test_a_group_is_balanced_by_one_service_and_what_is_flushed_comes_back(
    server: None, client: list[str], remote: bool, tmp_path: Path
) -> None:
    inside = client if remote else []
    with Ipvs() as ipvs:
        balancer = Balancer(part(), ipvs, tmp_path, lambda: None)
        steps = [str(step) for step in balancer.reconcile().steps]
        assert steps == [
            "+ service mark 7 rr, persistent for 60 s",
            "+ server 10.77.0.2:0 nat weight 1 of mark 7",
            f"+ mark 7 on {TRAFFIC}",
        ]
        for address, port in (("192.0.2.10", 80), ("192.0.2.11", 8000), ("192.0.2.11", 8009)):
            assert ask(address, port, inside) == str(port)
        assert ask("192.0.2.11", 8010, inside) == ""
        assert balancer.reconcile().steps == ()

        nft("flush", "ruleset")
        assert ask("192.0.2.10", 80, inside) == ""
        assert [str(step) for step in balancer.reconcile().steps] == [f"+ mark 7 on {TRAFFIC}"]
        assert ask("192.0.2.10", 80, inside) == "80"

        nft("add rule inet ha-lvs-marks prerouting drop")
        (step,) = balancer.reconcile().steps
        assert str(step).startswith("~ table of marks made anew")

        steps = [str(step) for step in balancer.finish().steps]
        assert steps == [f"- mark 7 on {TRAFFIC}", "- service mark 7"]
        assert nft("list", "ruleset") == ""
        assert not balancer.ownership.anything
