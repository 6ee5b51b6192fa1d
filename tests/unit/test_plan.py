"""Plans: what is desired follows from config, health and role; the steps towards it are safe at every moment."""

from __future__ import annotations

import errno
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.model import (
    AddressRange,
    Check,
    CheckType,
    ConnectionSync,
    Destination,
    DestinationKey,
    Endpoint,
    Forwarding,
    PortRange,
    Protocol,
    RealServer,
    Role,
    ServerState,
    Service,
    ServiceEntry,
    ServiceKey,
    SyncDaemon,
    SyncState,
    Timeouts,
    Traffic,
    VirtualService,
)
from ha_lvs.plan.desired import KernelState, desired_services, desired_sync, desired_traffic, service_entry
from ha_lvs.plan.diff import diff
from ha_lvs.plan.pool import Standing
from ha_lvs.plan.simulate import apply
from ha_lvs.plan.steps import (
    AddDestination,
    AddService,
    DeleteDestination,
    DeleteService,
    MarkTraffic,
    MendMarks,
    SetDestination,
    SetService,
    StartSync,
    Step,
    StopSync,
)

WEB = ServiceKey(IPv4Address("192.0.2.10"), 80, Protocol.TCP)
DNS = ServiceKey(IPv4Address("192.0.2.10"), 53, Protocol.UDP)
NOBODY: frozenset[ServiceKey] = frozenset()


def server(last: int, weight: int = 1, forwarding: Forwarding = Forwarding.DR, extra: str = "") -> Destination:
    return Destination(DestinationKey(IPv4Address(f"10.0.0.{last}"), 80), forwarding, weight, extra)


def pool(key: ServiceKey, *servers: Destination, scheduler: str = "wlc") -> KernelState:
    return KernelState({key: service_entry(Service(key, scheduler), servers)})


def texts(steps: tuple[Step, ...]) -> list[str]:
    return [str(step) for step in steps]


# --------------------------------------------------------------------------------------------------- desired

TCP = Check(CheckType.TCP)


def real_server(last: int, check: Check = TCP) -> RealServer:
    destination = server(last)
    return RealServer(destination, (Endpoint(destination.key.address, destination.key.port, check),))


def web(*servers: RealServer) -> tuple[VirtualService, ...]:
    return (VirtualService("web", Service(WEB, "wlc"), servers),)


@pytest.mark.parametrize(
    ("state", "adopted", "serves"),
    [
        (ServerState.UP, False, True),
        (ServerState.UP, True, True),
        (ServerState.DOWN, False, False),
        (ServerState.DOWN, True, False),
        (ServerState.UNKNOWN, False, False),
        (ServerState.UNKNOWN, True, True),
        (None, False, False),
        (None, True, True),
    ],
)
def test_a_server_serves_when_up_or_adopted(state: ServerState | None, adopted: bool, serves: bool) -> None:
    one = real_server(1)
    health = {} if state is None else {one.checks[0]: state}
    mine = frozenset({(WEB, one.destination.key)}) if adopted else frozenset()
    wanted, _ = desired_services(web(one), Standing(health, mine))
    assert KernelState(wanted) == pool(WEB, *([one.destination] if serves else []))


def test_adoption_is_of_one_service_only() -> None:
    one = real_server(1)
    elsewhere = frozenset({(DNS, one.destination.key)})
    assert KernelState(desired_services(web(one), Standing(adopted=elsewhere))[0]) == pool(WEB)


def test_a_server_that_is_not_checked_always_serves() -> None:
    one = RealServer(server(1))
    assert KernelState(desired_services(web(one), Standing())[0]) == pool(WEB, one.destination)


@pytest.mark.parametrize(
    ("roles", "states"),
    [
        ([], set()),
        ([Role.ACTIVE], {SyncState.MASTER}),
        ([Role.BACKUP], {SyncState.BACKUP}),
        ([Role.INITIALIZE], {SyncState.BACKUP}),
        ([Role.ACTIVE, Role.BACKUP], {SyncState.MASTER, SyncState.BACKUP}),
        ([Role.ACTIVE, Role.ACTIVE], {SyncState.MASTER}),
    ],
)
def test_sync_follows_the_roles(roles: list[Role], states: set[SyncState]) -> None:
    sync = ConnectionSync("eth1", 7, IPv4Address("224.0.0.90"), 9000, 2)
    found = desired_sync(sync, roles)
    assert found == {SyncDaemon(state, "eth1", 7, IPv4Address("224.0.0.90"), 9000, 2) for state in states}
    assert desired_sync(None, roles) == frozenset()


def addresses(first: int, last: int) -> AddressRange:
    return AddressRange(IPv4Address(f"192.0.2.{first}"), IPv4Address(f"192.0.2.{last}"))


def on(first: int, last: int, *ports: PortRange) -> Traffic:
    return Traffic((Protocol.TCP,), (addresses(first, last),), ports)


GROUP = ServiceKey.of_mark(7)
OTHER = ServiceKey.of_mark(8)


def test_only_groups_have_their_traffic_marked_and_in_one_form() -> None:
    traffic = Traffic(
        (Protocol.UDP, Protocol.TCP),
        (addresses(20, 29), addresses(10, 15), addresses(16, 19)),
        (PortRange(443, 443), PortRange(80, 89), PortRange(85, 99)),
    )
    services = (VirtualService("group", Service(GROUP, "rr"), (), traffic=traffic), *web())
    merged = Traffic((Protocol.TCP, Protocol.UDP), (addresses(10, 29),), (PortRange(80, 99), PortRange(443, 443)))
    assert desired_traffic(services) == {GROUP: merged}
    assert str(merged) == "tcp, udp to 192.0.2.10-192.0.2.29 ports 80-99, 443"


def test_all_ports_are_every_port() -> None:
    assert on(1, 2, PortRange(0, 4000), PortRange(4001, 65535)).merged() == on(1, 2)


# ------------------------------------------------------------------------------------------ diff, by example


def marked(key: ServiceKey, traffic: Traffic, *servers: Destination) -> KernelState:
    return replace(pool(key, *servers), traffic={key: traffic})


def test_marks_come_after_their_services_and_go_before_them() -> None:
    before, after = marked(GROUP, on(1, 9), server(1)), marked(OTHER, on(1, 9, PortRange(80, 89)), server(2))
    assert texts(diff(after, before, frozenset({GROUP}))) == [
        "+ service mark 8 wlc",
        "+ server 10.0.0.2:80 dr weight 1 of mark 8",
        "- mark 7 on tcp to 192.0.2.1-192.0.2.9",
        "+ mark 8 on tcp to 192.0.2.1-192.0.2.9 ports 80-89",
        "- service mark 7",
    ]


def test_a_change_of_a_groups_traffic_and_strays_in_our_table_are_told() -> None:
    before = replace(marked(GROUP, on(1, 9)), strays="it has another rule")
    steps = diff(marked(GROUP, on(1, 4)), before, NOBODY)
    assert texts(steps) == [
        "~ table of marks made anew: it has another rule",
        "~ mark 7 on tcp to 192.0.2.1-192.0.2.9 -> tcp to 192.0.2.1-192.0.2.4",
    ]
    assert steps == (MendMarks("it has another rule"), MarkTraffic(GROUP, on(1, 4), on(1, 9)))


def test_a_new_service_comes_with_its_servers() -> None:
    assert texts(diff(pool(WEB, server(1), server(2, 3)), KernelState(), NOBODY)) == [
        "+ service 192.0.2.10:80/tcp wlc",
        "+ server 10.0.0.1:80 dr weight 1 of 192.0.2.10:80/tcp",
        "+ server 10.0.0.2:80 dr weight 3 of 192.0.2.10:80/tcp",
    ]


def test_servers_come_before_others_go() -> None:
    before = pool(WEB, server(1), server(2, 4), server(3, 0), scheduler="rr")
    after = pool(WEB, server(2, 0), server(3, 4), server(4))
    assert texts(diff(after, before, NOBODY)) == [
        "~ service 192.0.2.10:80/tcp rr -> wlc",
        "+ server 10.0.0.4:80 dr weight 1 of 192.0.2.10:80/tcp",
        "~ server 10.0.0.3:80 dr weight 0 -> dr weight 4 of 192.0.2.10:80/tcp",
        "~ server 10.0.0.2:80 dr weight 4 -> dr weight 0 of 192.0.2.10:80/tcp",
        "- server 10.0.0.1:80 of 192.0.2.10:80/tcp",
    ]


def test_only_owned_services_are_removed_and_with_one_step() -> None:
    actual = KernelState({**pool(WEB, server(1)).services, **pool(DNS, server(2)).services})
    assert diff(KernelState(), actual, NOBODY) == ()
    assert texts(diff(KernelState(), actual, frozenset({DNS}))) == ["- service 192.0.2.10:53/udp"]


def test_what_somebody_else_set_is_written_over() -> None:
    odd = KernelState(
        {
            WEB: service_entry(
                Service(WEB, "wlc", extra="flags 0x20", one_packet=True), [replace(server(1), upper_threshold=9)]
            )
        }
    )
    steps = diff(pool(WEB, server(1)), odd, NOBODY)
    assert texts(steps) == [
        "~ service 192.0.2.10:80/tcp wlc, one-packet (flags 0x20) -> wlc",
        "~ server 10.0.0.1:80 dr weight 1 connections 0..9 -> dr weight 1 of 192.0.2.10:80/tcp",
    ]
    assert apply(steps, odd).state == pool(WEB, server(1))


def test_persistence_is_told() -> None:
    step = AddService(Service(WEB, "sh", 300))
    assert str(step) == "+ service 192.0.2.10:80/tcp sh, persistent for 300 s"


def daemon(state: SyncState, sync_id: int = 7) -> SyncDaemon:
    return SyncDaemon(state, "eth1", sync_id)


def sync(*daemons: SyncDaemon) -> KernelState:
    return KernelState(sync=frozenset(daemons))


def test_a_change_of_role_starts_the_new_daemon_first() -> None:
    steps = diff(sync(daemon(SyncState.MASTER)), sync(daemon(SyncState.BACKUP)), NOBODY)
    assert steps == (StartSync(daemon(SyncState.MASTER)), StopSync(daemon(SyncState.BACKUP)))
    assert str(steps[0]) == "+ sync master on eth1, id 7, 224.0.0.81:8848, ttl 1"


def test_a_daemon_with_other_settings_is_stopped_before_it_is_started() -> None:
    steps = diff(sync(daemon(SyncState.MASTER, 8)), sync(daemon(SyncState.MASTER, 7)), NOBODY)
    assert steps == (StopSync(daemon(SyncState.MASTER, 7)), StartSync(daemon(SyncState.MASTER, 8)))


def test_a_daemon_that_is_not_ours_stays() -> None:
    running = sync(daemon(SyncState.MASTER))
    assert diff(KernelState(), running, NOBODY) == ()
    assert diff(KernelState(), running, NOBODY, sync_owned=True) == (StopSync(daemon(SyncState.MASTER)),)


@pytest.mark.parametrize(
    ("step", "number"),
    [
        (AddService(Service(WEB, "rr")), errno.EEXIST),
        (SetService(Service(DNS, "rr")), errno.ESRCH),
        (DeleteService(DNS), errno.ESRCH),
        (AddDestination(DNS, server(1)), errno.ESRCH),
        (AddDestination(WEB, server(1)), errno.EEXIST),
        (SetDestination(WEB, server(2)), errno.ENOENT),
        (DeleteDestination(WEB, server(2).key), errno.ENOENT),
        (StartSync(daemon(SyncState.MASTER, 9)), errno.EEXIST),
        (StopSync(daemon(SyncState.BACKUP)), errno.ESRCH),
    ],
)
def test_the_simulated_kernel_refuses_what_a_kernel_refuses(step: Step, number: int) -> None:
    state = KernelState(pool(WEB, server(1)).services, frozenset({daemon(SyncState.MASTER)}))
    after = apply([step], state)
    assert after.state == state
    assert [(failure.step, failure.errno) for failure in after.failures] == [(step, number)]


# ------------------------------------------------------------------------------------- diff, for every state

MARKS = [ServiceKey.of_mark(mark, family) for mark in (1, 2) for family in (4, 6)]
KEYS = [ServiceKey(IPv4Address("192.0.2.1"), port, Protocol.TCP) for port in range(1, 5)] + MARKS[:2]
destinations = st.builds(
    server, st.integers(1, 4), st.integers(0, 2), st.sampled_from(Forwarding), st.sampled_from(["", "odd"])
)
clean_destinations = st.builds(server, st.integers(1, 4), st.integers(0, 2), st.sampled_from(Forwarding))
daemons = st.builds(SyncDaemon, st.sampled_from(SyncState), st.sampled_from(["eth1", "eth2"]), st.integers(1, 2))


def entries(key: ServiceKey, servers: st.SearchStrategy[Destination]) -> st.SearchStrategy[ServiceEntry]:
    return st.builds(
        service_entry,
        st.builds(Service, st.just(key), st.sampled_from(["rr", "wlc"]), st.sampled_from([0, 60])),
        st.lists(servers, unique_by=lambda each: each.key, max_size=4),
    )


traffics = st.builds(
    on, st.integers(1, 5), st.integers(6, 9), st.builds(PortRange, st.integers(1, 5), st.integers(6, 9))
)
seconds = st.integers(1, 3)


def states(servers: st.SearchStrategy[Destination], strays: st.SearchStrategy[str]) -> st.SearchStrategy[KernelState]:
    return st.builds(
        KernelState,
        st.fixed_dictionaries({}, optional={key: entries(key, servers) for key in KEYS}),
        st.frozensets(daemons, max_size=2).filter(lambda some: len({each.state for each in some}) == len(some)),
        st.builds(Timeouts, seconds, seconds, seconds),
        st.fixed_dictionaries({"drop_entry": st.integers(0, 1)}),
        st.fixed_dictionaries({}, optional=dict.fromkeys(MARKS, traffics)),
        strays,
    )


def consistent(state: KernelState) -> KernelState:
    """The same where every mark has its service."""
    return replace(state, traffic={key: each for key, each in state.traffic.items() if key in state.services})


wanted_states = states(clean_destinations, st.just(""))
found_states = states(destinations, st.sampled_from(["", "odd"]))
owned_keys = st.frozensets(st.sampled_from(KEYS))


def expected(wanted: KernelState, found: KernelState, owned: frozenset[ServiceKey], sync_owned: bool) -> KernelState:
    """The dumb twin: everything foreign as it was, everything else as it is wanted."""
    foreign = {key: entry for key, entry in found.services.items() if key not in owned and key not in wanted.services}
    ours = bool(wanted.sync) or sync_owned
    sync = wanted.sync if ours else found.sync
    return replace(wanted, services={**foreign, **wanted.services}, sync=sync)


@given(wanted_states, found_states, owned_keys, st.booleans())
def test_the_steps_lead_to_what_is_desired_and_leave_the_rest(
    wanted: KernelState, found: KernelState, owned: frozenset[ServiceKey], sync_owned: bool
) -> None:
    after = apply(diff(wanted, found, owned, sync_owned=sync_owned), found)
    assert after.failures == ()
    assert after.state == expected(wanted, found, owned, sync_owned)
    assert diff(wanted, after.state, owned, sync_owned=sync_owned) == ()


@given(wanted_states, owned_keys)
def test_there_is_nothing_to_do_when_all_is_well(state: KernelState, owned: frozenset[ServiceKey]) -> None:
    assert diff(state, state, owned) == ()


@given(wanted_states, found_states, owned_keys, st.data())
def test_a_plan_that_failed_here_and_there_is_mended_by_the_next(
    wanted: KernelState, found: KernelState, owned: frozenset[ServiceKey], data: st.DataObject
) -> None:
    steps = diff(wanted, found, owned)
    taken = [step for step in steps if data.draw(st.booleans(), label=str(step))]
    half = apply(taken, found).state
    after = apply(diff(wanted, half, owned), half)
    assert after.failures == ()
    assert after.state == expected(wanted, found, owned, False)


@given(wanted_states.map(consistent), found_states.map(consistent), owned_keys)
def test_no_mark_is_without_its_service_on_the_way(
    wanted: KernelState, found: KernelState, owned: frozenset[ServiceKey]
) -> None:
    state = found
    for step in diff(wanted, found, owned):
        state = apply([step], state).state
        assert state.traffic.keys() <= state.services.keys(), step


@given(wanted_states, found_states, owned_keys)
def test_marks_change_in_one_piece(wanted: KernelState, found: KernelState, owned: frozenset[ServiceKey]) -> None:
    about = [isinstance(step, MarkTraffic | MendMarks) for step in diff(wanted, found, owned)]
    assert sum(before is not after for before, after in pairwise([False, *about, False])) <= 2


@given(wanted_states, found_states, owned_keys)
def test_no_pool_is_empty_on_the_way(wanted: KernelState, found: KernelState, owned: frozenset[ServiceKey]) -> None:
    state = found
    for step in diff(wanted, found, owned):
        state = apply([step], state).state
        for least_weight in (0, 1):
            kept = pools(wanted, least_weight) & pools(found, least_weight)
            assert kept <= pools(state, least_weight), step


def pools(state: KernelState, least_weight: int) -> set[ServiceKey]:
    """The services that have a server of at least this weight."""
    return {
        key for key, entry in state.services.items() if any(each.weight >= least_weight for each in entry.destinations)
    }
