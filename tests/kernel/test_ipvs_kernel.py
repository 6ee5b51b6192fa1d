"""IPVS in a real kernel, beyond what the contract with the simulated one says."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from ha_lvs.kernel.ipvs import Counts, Ipvs
from ha_lvs.kernel.namespace import new_network_namespace
from ha_lvs.model import (
    SCHEDULERS,
    Destination,
    DestinationKey,
    Encapsulation,
    Forwarding,
    Protocol,
    Service,
    ServiceKey,
    SyncDaemon,
    SyncState,
    Tunnel,
)
from ha_lvs.plan.desired import KernelState, service_entry
from ha_lvs.plan.diff import diff
from ha_lvs.plan.steps import AddDestination, AddService, SetService, StartSync, Step, StopSync
from tests.kernels import why_no_ipvs

VIP = IPv4Address("192.0.2.10")
WEB = ServiceKey(VIP, 80, Protocol.TCP)


def server(last: int, weight: int = 1, forwarding: Forwarding = Forwarding.DR) -> Destination:
    return Destination(DestinationKey(IPv4Address(f"10.0.0.{last}"), 80), forwarding, weight)


def ipvsadm(*arguments: str) -> str:
    return subprocess.run(["ipvsadm", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def ipvs(namespace: None) -> Iterator[Ipvs]:
    with Ipvs() as opened:
        yield opened


def test_a_kernel_without_ipvs_is_told_what_to_load() -> None:
    reason = why_no_ipvs()
    if not reason:
        pytest.skip("this kernel has IPVS")
    assert "modprobe ip_vs" in reason


@pytest.mark.ipvs
def test_a_process_without_permission_is_told_what_it_needs(namespace: None) -> None:
    code = (
        "import sys\n"
        "from ha_lvs.errors import PlatformError\n"
        "from ha_lvs.kernel.ipvs import Ipvs\n"
        "try:\n"
        "    Ipvs().__enter__()\n"
        "except PlatformError as problem:\n"
        "    sys.exit(str(problem))\n"
    )
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    done = subprocess.run([*drop, sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "CAP_NET_ADMIN" in done.stderr


@pytest.mark.ipvs
def test_the_version_is_known(ipvs: Ipvs) -> None:
    assert ipvs.version >= (1, 2, 0)


@pytest.mark.ipvs
def test_every_scheduler_that_the_kernel_has_is_taken(ipvs: Ipvs) -> None:
    services = [Service(ServiceKey(VIP, port, Protocol.TCP), name) for port, name in enumerate(SCHEDULERS, 1)]
    failures = ipvs.apply([AddService(service) for service in services])
    refused = {failure.step.service for failure in failures if isinstance(failure.step, AddService)}
    for failure in failures:
        assert failure.errno == errno.ENOENT
        assert "modprobe ip_vs_" in failure.message
    for service in refused:
        missing = subprocess.run(["modprobe", "-n", f"ip_vs_{service.scheduler}"], check=False, capture_output=True)
        assert missing.returncode != 0, service.scheduler
    taken = [service for service in services if service not in refused]
    assert len(taken) > len(SCHEDULERS) // 2
    assert sorted(ipvsadm("-Sn").splitlines()) == sorted(
        f"-A -t {VIP}:{service.key.port} -s {service.scheduler}" for service in taken
    )


@pytest.mark.ipvs
def test_a_scheduler_can_be_changed_and_an_unknown_one_changes_nothing(ipvs: Ipvs) -> None:
    ipvs.apply([AddService(Service(WEB, "rr")), SetService(Service(WEB, "wlc"))])
    [failure] = ipvs.apply([SetService(Service(WEB, "no-such"))])
    assert failure.errno == errno.ENOENT
    assert "no scheduler no-such" in failure.message
    assert ipvs.read().services == {WEB: service_entry(Service(WEB, "wlc"))}


@pytest.mark.ipvs
def test_foreign_services_stay_as_they_are(ipvs: Ipvs) -> None:
    foreign = [
        "-A -f 5 -s rr",
        "-a -f 5 -r 10.9.9.1:0 -g -w 1",
        "-A -t 198.51.100.1:80 -s wlc -p 100 -M 255.255.255.0",
        "-a -t 198.51.100.1:80 -r 10.9.9.1:80 -m -w 3 -x 100 -y 50",
        "-A -u 198.51.100.1:53 -s rr -o",
    ]
    for line in foreign:
        ipvsadm(*line.split())
    before = set(ipvsadm("-Sn").splitlines())
    wanted = KernelState({WEB: service_entry(Service(WEB, "rr"), [server(1)])})
    assert ipvs.apply(diff(wanted, ipvs.read(), frozenset())) == []
    assert set(ipvsadm("-Sn").splitlines()) > before
    assert ipvs.apply(diff(KernelState(), ipvs.read(), frozenset({WEB}))) == []
    assert set(ipvsadm("-Sn").splitlines()) == before


@pytest.mark.ipvs
def test_what_somebody_set_by_hand_is_seen_and_written_over(ipvs: Ipvs) -> None:
    wanted = KernelState({WEB: service_entry(Service(WEB, "rr", 60), [server(1, 2), server(2, 2, Forwarding.TUN)])})
    ipvs.apply(diff(wanted, KernelState(), frozenset()))
    ipvsadm(*f"-E -t {VIP}:80 -s sh -b sh-port -p 60 -M 255.255.0.0".split())
    ipvsadm(*f"-e -t {VIP}:80 -r 10.0.0.1:80 -g -w 2 -x 9 -y 5".split())
    ipvsadm(*f"-e -t {VIP}:80 -r 10.0.0.2:80 -i -w 2 --tun-type gre".split())
    entry = ipvs.read().services[WEB]
    assert entry.service == Service(WEB, "sh", 60, persistence_prefix=16, hash_port=True)
    first, second = entry.destinations
    assert (first.upper_threshold, first.lower_threshold) == (9, 5)
    assert second.encapsulation == Encapsulation(Tunnel.GRE)
    assert ipvs.apply(diff(wanted, ipvs.read(), frozenset())) == []
    assert ipvs.read().services == wanted.services


@pytest.mark.ipvs
def test_five_hundred_services_come_and_go(ipvs: Ipvs) -> None:
    services = [Service(ServiceKey(VIP, port, Protocol.TCP), "wlc") for port in range(1, 501)]
    wanted = KernelState({each.key: service_entry(each, [server(1), server(2, 2)]) for each in services})
    assert ipvs.apply(diff(wanted, ipvs.read(), frozenset())) == []
    assert ipvs.read().services == wanted.services
    assert len(ipvsadm("-Sn").splitlines()) == 1500
    assert set(ipvs.read_counts().values()) == {Counts(0, 0, 0)}
    assert ipvs.apply(diff(KernelState(), wanted, frozenset(wanted.services))) == []
    assert ipvsadm("-Sn") == ""


@pytest.mark.ipvs
def test_lost_answers_are_told_and_mended_by_the_next_plan(namespace: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ha_lvs.kernel.ipvs.RECEIVE_BUFFER", 1)  # the kernel rounds up to its least
    services = [Service(ServiceKey(VIP, port, Protocol.TCP), "wlc") for port in range(1, 201)]
    wanted = KernelState({each.key: service_entry(each) for each in services})
    with Ipvs() as ipvs:
        failures = ipvs.apply(diff(wanted, KernelState(), frozenset()))
        assert failures
        assert {failure.errno for failure in failures} == {errno.ENOBUFS}
        assert diff(wanted, ipvs.read(), frozenset()) == ()


@pytest.mark.ipvs
def test_what_was_made_stays_and_is_found_by_the_next(namespace: None) -> None:
    wanted = KernelState({WEB: service_entry(Service(WEB, "rr"), [server(1)])})
    with Ipvs() as first:
        first.apply(diff(wanted, first.read(), frozenset()))
    with Ipvs() as second:
        assert second.read().services == wanted.services


@pytest.mark.ipvs
def test_the_socket_stays_in_its_network_namespace(ipvs: Ipvs) -> None:
    ipvs.apply([AddService(Service(WEB, "rr"))])
    with new_network_namespace(), Ipvs() as elsewhere:
        assert elsewhere.read().services == {}
        assert WEB in ipvs.read().services


@pytest.mark.ipvs
def test_both_sync_daemons_run_as_asked(ipvs: Ipvs) -> None:
    master = SyncDaemon(SyncState.MASTER, "lo", 7, IPv4Address("224.0.0.90"), 9000, 3)
    backup = SyncDaemon(SyncState.BACKUP, "lo", 9)
    assert ipvs.apply([StartSync(master), StartSync(backup)]) == []
    listing = ipvsadm("--list", "--daemon").splitlines()
    assert any(
        line.startswith("master sync daemon (mcast=lo, syncid=7,") and "group=224.0.0.90, port=9000, ttl=3" in line
        for line in listing
    )
    assert any(
        line.startswith("backup sync daemon (mcast=lo, syncid=9,") and "group=224.0.0.81, port=8848, ttl=1" in line
        for line in listing
    )
    assert ipvs.read().sync == {master, backup}
    assert ipvs.apply([StopSync(master), StopSync(backup)]) == []
    assert ipvs.read().sync == frozenset()
    assert ipvsadm("--list", "--daemon") == ""


@pytest.mark.ipvs
def test_a_sync_daemon_on_no_interface_names_it(ipvs: Ipvs) -> None:
    [failure] = ipvs.apply([StartSync(SyncDaemon(SyncState.MASTER, "eth77", 7))])
    assert failure.errno == errno.ENODEV
    assert "eth77" in failure.message


@pytest.mark.ipvs
def test_a_server_that_is_not_unicast_is_told(ipvs: Ipvs) -> None:
    group = Destination(DestinationKey(IPv4Address("224.1.2.3"), 80), Forwarding.DR)
    [failure] = ipvs.apply([AddService(Service(WEB, "rr")), AddDestination(WEB, group)])
    assert failure.errno == errno.EINVAL
    assert "224.1.2.3 must be unicast" in failure.message


@pytest.mark.ipvs
def test_a_failure_in_a_large_batch_is_pinned_on_its_step(ipvs: Ipvs) -> None:
    ipvs.apply([AddService(Service(WEB, "rr"))])
    steps: list[Step] = [AddDestination(WEB, server(number)) for number in range(1, 251)]
    steps.insert(150, AddDestination(WEB, server(3)))
    [failure] = ipvs.apply(steps)
    assert failure.step is steps[150]
    assert failure.errno == errno.EEXIST
    assert len(ipvs.read().services[WEB].destinations) == 250
