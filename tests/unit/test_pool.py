"""Pools: which servers serve and with what weight, by verdicts, operators and time; quorum against a dumb twin."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ha_lvs.model import (
    Check,
    CheckType,
    Destination,
    DestinationKey,
    Endpoint,
    Forwarding,
    Override,
    Protocol,
    Quorum,
    RealServer,
    ServerState,
    Service,
    ServiceKey,
    VirtualService,
)
from ha_lvs.plan.pool import SLOW_START_STEPS, Pool, Standing, pool, state_of

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A machine with other things to do is no failure."""

UP, DOWN, UNKNOWN = ServerState.UP, ServerState.DOWN, ServerState.UNKNOWN
KEY = ServiceKey(IPv4Address("192.0.2.10"), 80, Protocol.TCP)
SORRY = Destination(DestinationKey(IPv4Address("10.0.1.1"), 80), Forwarding.DR)
NAME = "web"


def server(last: int, weight: int = 1, check: CheckType = CheckType.TCP) -> RealServer:
    key = DestinationKey(IPv4Address(f"10.0.0.{last}"), 80)
    return RealServer(
        Destination(key, Forwarding.DR, weight),
        () if check is CheckType.NONE else (Endpoint(key.address, 80, Check(check)),),
    )


def web(*servers: RealServer, **changes: object) -> VirtualService:
    return replace(VirtualService(NAME, Service(KEY, "wlc"), servers), **changes)  # type: ignore[arg-type]


def health(service: VirtualService, *states: ServerState) -> dict[Endpoint, ServerState]:
    return {each.checks[0]: state for each, state in zip(service.servers, states, strict=True) if each.checks}


def said(**weights: int) -> dict[tuple[str, DestinationKey | None], Override]:
    """Overrides by the last number of the server's address (`_1`), or `all`."""
    keys = {
        name: None if name == "all" else DestinationKey(IPv4Address(f"10.0.0.{name.removeprefix('_')}"), 80)
        for name in weights
    }
    return {(NAME, keys[name]): Override(NAME, keys[name], weight, 1.0, "lb1") for name, weight in weights.items()}


def weights(found: Pool) -> dict[str, int]:
    """The weight of each destination by the end of its address."""
    return {str(each.key.address).rpartition("0.0.")[2]: each.weight for each in found.destinations}


# ------------------------------------------------------------------------------------------------ examples


def test_what_is_down_leaves_or_stays_with_weight_0_where_the_service_inhibits() -> None:
    service = web(server(1, 3), server(2))
    assert weights(pool(service, Standing(health(service, DOWN, UP)))) == {"2": 1}
    assert weights(pool(replace(service, inhibit=True), Standing(health(service, DOWN, UP)))) == {"1": 0, "2": 1}


def test_without_alpha_servers_serve_before_their_first_verdict() -> None:
    service = web(server(1), server(2))
    assert weights(pool(service, Standing())) == {}
    assert weights(pool(replace(service, alpha=False), Standing())) == {"1": 1, "2": 1}


def test_the_sorry_server_comes_without_the_quorum_and_the_others_keep_their_connections() -> None:
    service = web(server(1), server(2), quorum=Quorum(2), sorry=SORRY)
    found = pool(service, Standing(health(service, UP, DOWN)))
    assert (found.quorum, found.strength, found.sorry) == (False, 1, True)
    assert weights(found) == {"1": 0, "1.1": 1}
    assert found.destinations[-1] == SORRY


def test_a_service_without_a_sorry_server_keeps_what_it_has_without_its_quorum() -> None:
    service = web(server(1), server(2), quorum=Quorum(2))
    found = pool(service, Standing(health(service, UP, DOWN)))
    assert (found.quorum, found.sorry, weights(found)) == (False, False, {"1": 1})


def test_what_an_operator_said_stands_in_place_of_the_config() -> None:
    service = web(server(1, 3), server(2), server(3))
    standing = Standing(health(service, UP, UP, DOWN), said=said(_1=0, _2=9, _3=5))
    assert weights(pool(service, standing)) == {"1": 0, "2": 9}, "an override brings nobody up"


def test_a_drained_server_does_not_count_for_the_quorum() -> None:
    service = web(server(1), server(2), quorum=Quorum(2), sorry=SORRY)
    assert not pool(service, Standing(health(service, UP, UP), said=said(_1=0))).quorum


def test_quorum_by_weight_counts_what_is_meant_to_be_there_not_the_slow_start() -> None:
    service = web(server(1, 10), quorum=Quorum(10, by_weight=True), slow_start_s=20.0)
    key = service.servers[0].destination.key
    found = pool(service, Standing(health(service, UP), risen={(NAME, key): 0.0}, now=1.0))
    assert (found.quorum, found.strength, weights(found)) == (True, 10, {"1": 1})


def test_a_disabled_service_has_all_that_it_had_with_weight_0() -> None:
    service = web(server(1, 3), server(2), quorum=Quorum(2), sorry=SORRY)
    found = pool(service, Standing(health(service, UP, DOWN), said=said(all=0, _1=7)))
    assert found.disabled
    assert weights(found) == {"1": 0, "1.1": 0}


# ---------------------------------------------------------------------------------------------- properties

STATES = st.sampled_from(ServerState)


@st.composite
def services(draw: st.DrawFn) -> VirtualService:
    count = draw(st.integers(1, 5))
    checks = st.sampled_from([CheckType.TCP, CheckType.TCP, CheckType.NONE])
    servers = [server(last, draw(st.integers(0, 5)), draw(checks)) for last in range(1, count + 1)]
    least = draw(st.integers(1, 8))
    quorum = Quorum(least, draw(st.booleans()), draw(st.integers(0, least - 1)))
    return web(
        *servers,
        quorum=quorum,
        sorry=draw(st.sampled_from([None, SORRY])),
        inhibit=draw(st.booleans()),
        alpha=draw(st.booleans()),
        slow_start_s=draw(st.sampled_from([0.0, 10.0])),
    )


@st.composite
def standings(draw: st.DrawFn, service: VirtualService, *, disabled: bool | None = None) -> Standing:
    keys = [each.destination.key for each in service.servers]
    weights = {f"_{key.address.packed[-1]}": draw(st.integers(0, 9)) for key in keys if draw(st.booleans())}
    if draw(st.booleans()) if disabled is None else disabled:
        weights["all"] = 0
    return Standing(
        health={one: draw(STATES) for each in service.servers for one in each.checks if draw(st.booleans())},
        adopted={(KEY, key) for key in keys if draw(st.booleans())},
        said=said(**weights),
        risen={(NAME, key): draw(st.floats(0, 100)) for key in keys if draw(st.booleans())},
        quorums={NAME: draw(st.booleans())} if draw(st.booleans()) else {},
        now=draw(st.floats(100, 200)),
    )


def state(each: RealServer, standing: Standing) -> ServerState:
    return standing.health.get(each.checks[0], UNKNOWN) if each.checks else UP


def strengths(service: VirtualService, standing: Standing) -> tuple[int, int]:
    """What is up, and what may be: the dumb way."""
    sure = hoped = 0
    for each in service.servers:
        override = standing.said.get((NAME, each.destination.key))
        weight = each.destination.weight if override is None or override.weight is None else override.weight
        counts = weight if service.quorum.by_weight else 1 if weight else 0
        sure += counts if state(each, standing) is UP else 0
        hoped += counts if state(each, standing) is not DOWN else 0
    return sure, hoped


@unhurried
@given(st.data())
def test_the_quorum_is_that_of_a_dumb_twin_over_any_history(data: st.DataObject) -> None:
    """The twin keeps the two thresholds as numbers and walks from the one to the other."""
    service = data.draw(services())
    low = service.quorum.least - service.quorum.hysteresis
    high = service.quorum.least + service.quorum.hysteresis
    twin = True
    quorums: dict[str, bool] = {}
    for _ in range(data.draw(st.integers(1, 8))):
        standing = replace(data.draw(standings(service)), quorums=dict(quorums))
        found = pool(service, standing)
        sure, hoped = strengths(service, standing)
        if twin and hoped < low:
            twin = False
        elif not twin and sure >= high:
            twin = True
        assert (found.quorum, found.strength) == (twin, sure)
        quorums[NAME] = found.quorum


@unhurried
@given(st.data())
def test_what_is_not_known_never_costs_the_quorum(data: st.DataObject) -> None:
    service = data.draw(services())
    standing = data.draw(standings(service))
    if not pool(service, standing).quorum:
        return
    probed = [one for each in service.servers for one in each.checks]
    forgotten = data.draw(st.sets(st.sampled_from(probed))) if probed else set()
    known = {endpoint: each for endpoint, each in standing.health.items() if endpoint not in forgotten}
    after = replace(standing, health=known, quorums={NAME: True})
    assert pool(service, after).quorum


@unhurried
@given(st.data())
def test_the_sorry_server_is_there_exactly_without_the_quorum(data: st.DataObject) -> None:
    service = data.draw(services())
    found = pool(service, data.draw(standings(service)))
    there = any(each.key == SORRY.key for each in found.destinations)
    assert there == found.sorry == (service.sorry is not None and not found.quorum)
    if there:
        assert all(each.weight == 0 for each in found.destinations if each.key != SORRY.key)


@unhurried
@given(st.data())
def test_a_disabled_service_sends_nothing_new_anywhere_and_drops_nobody(data: st.DataObject) -> None:
    service = data.draw(services())
    standing = data.draw(standings(service, disabled=True))
    found = pool(service, standing)
    assert found.disabled
    assert all(each.weight == 0 for each in found.destinations)
    enabled = {thing: each for thing, each in standing.said.items() if thing[1] is not None}
    without = pool(service, replace(standing, said=enabled))
    assert [each.key for each in found.destinations] == [each.key for each in without.destinations]
    assert (found.quorum, found.strength) == (without.quorum, without.strength)


@unhurried
@given(st.data())
def test_who_is_a_destination_follows_from_state_inhibit_and_trust(data: st.DataObject) -> None:
    service = data.draw(services())
    standing = data.draw(standings(service))
    found = {each.key: each for each in pool(service, standing).destinations}
    for each in service.servers:
        trusted = not service.alpha or (KEY, each.destination.key) in standing.adopted
        expected = {UP: True, UNKNOWN: trusted, DOWN: service.inhibit}[state(each, standing)]
        assert (each.destination.key in found) == expected
        if state(each, standing) is DOWN and service.inhibit:
            assert found[each.destination.key].weight == 0


@unhurried
@given(weight=st.integers(0, 65_535), slow_s=st.floats(0.1, 3600), steps=st.integers(1, 50))
def test_slow_start_only_grows_and_ends_at_the_weight(weight: int, slow_s: float, steps: int) -> None:
    service = web(server(1, weight), slow_start_s=slow_s)
    risen = {(NAME, service.servers[0].destination.key): 50.0}
    before = 0
    for step in range(steps + 1):
        now = 50.0 + slow_s * step / steps
        found = pool(service, Standing(health(service, UP), risen=risen, now=now))
        [got] = found.destinations
        assert before <= got.weight <= weight
        assert got.weight >= min(1, weight), "a server that is back gets something"
        before = got.weight
    late = pool(service, Standing(health(service, UP), risen=risen, now=50.0 + slow_s * 1.001))
    assert (weights(late), late.changes_at) == ({"1": weight}, None)


@pytest.mark.parametrize("weight", [2, 7, 20, 65_535])
def test_slow_start_comes_to_an_end_by_its_own_moments(weight: int) -> None:
    service = web(server(1, weight), slow_start_s=30.0)
    risen = {(NAME, service.servers[0].destination.key): 7.3}
    now, turns = 7.3, 0
    while (found := pool(service, Standing(health(service, UP), risen=risen, now=now))).changes_at is not None:
        assert found.changes_at > now or found.changes_at == pytest.approx(now)
        now, turns = max(found.changes_at, now), turns + 1
        assert turns <= 2 * SLOW_START_STEPS, "it stands still"
    assert weights(found) == {"1": weight}


def test_an_override_is_what_a_slow_start_grows_to() -> None:
    service = web(server(1, 1), slow_start_s=20.0)
    risen = {(NAME, service.servers[0].destination.key): 0.0}
    half = Standing(health(service, UP), said=said(_1=100), risen=risen, now=10.0)
    assert weights(pool(service, half)) == {"1": 50}
    assert weights(pool(service, replace(half, said=said(_1=0)))) == {"1": 0}, "a drain does not wait"


# ---------------------------------------------------------------------------------------- several checks of a server


def twin(any_of: bool, states: list[ServerState]) -> ServerState:
    """The state of a server by all that its unknown checks may turn out to be: known where all of that comes to one."""
    outcomes = set()
    for guess in range(1 << states.count(UNKNOWN)):
        goods = []
        for each in states:
            goods.append(each is UP if each is not UNKNOWN else bool(guess & 1))
            guess >>= each is UNKNOWN
        outcomes.add(any(goods) if any_of else all(goods))
    return UNKNOWN if len(outcomes) == 2 else UP if True in outcomes else DOWN


@unhurried
@given(st.lists(STATES, max_size=6), st.booleans(), st.booleans())
def test_all_and_any_are_those_of_a_dumb_twin(states: list[ServerState], any_of: bool, told: bool) -> None:
    """An unknown check may be one that has never been heard of, or one that is said to be unknown."""
    key = DestinationKey(IPv4Address("10.0.0.1"), 80)
    checks = tuple(Endpoint(key.address, 80 + n, Check(CheckType.TCP)) for n in range(len(states)))
    several = RealServer(Destination(key, Forwarding.DR), checks, any_of)
    known = {each: state for each, state in zip(checks, states, strict=True) if told or state is not UNKNOWN}
    assert state_of(several, known) is (twin(any_of, states) if states else UP)


# ------------------------------------------------------------------------------------------------------- panic


def states_of(service: VirtualService, standing: Standing) -> list[ServerState]:
    return [state(each, standing) for each in service.servers]


@unhurried
@given(st.data())
def test_below_the_panic_threshold_and_only_there_whoever_is_down_serves(data: st.DataObject) -> None:
    service = replace(data.draw(services()), panic=data.draw(st.integers(0, 100)))
    standing = data.draw(standings(service))
    found, calm = pool(service, standing), pool(replace(service, panic=0), standing)
    states = states_of(service, standing)
    share = 1 - states.count(DOWN) / len(states)
    assert found.panic == (share * 100 < service.panic - 1e-9)
    assert (found.quorum, found.strength, found.up) == (calm.quorum, calm.strength, states.count(UP))
    assert not calm.panic
    if not found.panic:
        assert found == calm
        return
    there = {each.key: each.weight for each in found.destinations}
    assert not found.sorry
    assert SORRY.key not in there
    for each, its_state in zip(service.servers, states, strict=True):
        key = each.destination.key
        if its_state is DOWN:
            all_up = dict.fromkeys(each.checks, UP)
            as_if_up = pool(
                replace(service, panic=0, sorry=None), replace(standing, health={**standing.health, **all_up})
            )
            assert there[key] == {one.key: one.weight for one in as_if_up.destinations}[key]
        else:
            assert (key in there) == (key in {one.key for one in calm.destinations})


@pytest.mark.parametrize(
    ("panic", "states", "panics"),
    [
        (0, [DOWN, DOWN], False),
        (1, [DOWN, DOWN], True),
        (1, [DOWN] * 99 + [UP], False),
        (50, [DOWN, UP], False),
        (51, [DOWN, UP], True),
        (100, [DOWN, UP, UP], True),
        (100, [UP, UP], False),
        (100, [UNKNOWN, UNKNOWN], False),
        (50, [DOWN, UNKNOWN], False),
    ],
)
def test_when_it_panics(panic: int, states: list[ServerState], panics: bool) -> None:
    service = web(*(server(last) for last in range(1, len(states) + 1)), panic=panic)
    assert pool(service, Standing(health(service, *states))).panic == panics


def test_in_panic_the_sorry_server_is_not_asked_and_the_quorum_is_told_as_it_is() -> None:
    service = web(server(1, 3), server(2), server(3), quorum=Quorum(2), sorry=SORRY, panic=40)
    found = pool(service, Standing(health(service, DOWN, DOWN, UP)))
    assert (found.panic, found.quorum, found.sorry, found.up) == (True, False, False, 1)
    assert weights(found) == {"1": 3, "2": 1, "3": 1}


def test_a_drained_server_stays_drained_in_panic() -> None:
    service = web(server(1, 3), server(2), panic=60)
    assert weights(pool(service, Standing(health(service, DOWN, DOWN), said=said(_1=0)))) == {"1": 0, "2": 1}


# --------------------------------------------------------------------------------------- weights that checks give


def weighed(weight: int, *percents: int | None) -> int:
    """The weight of a server whose checks give these percents."""
    key = DestinationKey(IPv4Address("10.0.0.1"), 80)
    checks = tuple(Endpoint(key.address, 80 + n, Check(CheckType.FILE)) for n in range(len(percents)))
    service = web(RealServer(Destination(key, Forwarding.DR, weight), checks))
    given_ = {each: percent for each, percent in zip(checks, percents, strict=True) if percent is not None}
    (found,) = pool(service, Standing(dict.fromkeys(checks, UP), percents=given_)).destinations
    return found.weight


@pytest.mark.parametrize(
    ("weight", "percents", "expected"),
    [
        (10, [50], 5),
        (10, [0], 0),
        (10, [100], 10),
        (10, [1000], 100),
        (10, [None, 30], 3),
        (10, [80, 30], 3),
        (1, [1], 1),
        (0, [500], 0),
        (3, [50], 1),
        (65_535, [1000], 65_535),
    ],
)
def test_a_check_weighs_the_configured_weight(weight: int, percents: list[int | None], expected: int) -> None:
    assert weighed(weight, *percents) == expected


@given(st.integers(0, 65_535), st.lists(st.none() | st.integers(0, 1000), min_size=1, max_size=4))
def test_a_weight_is_never_out_of_bounds_and_0_only_where_that_was_said(
    weight: int, percents: list[int | None]
) -> None:
    found = weighed(weight, *percents)
    assert 0 <= found <= 65_535
    assert (found == 0) == (weight == 0 or 0 in percents)


def test_what_an_operator_said_is_not_weighed_again() -> None:
    service = web(server(1, 10))
    endpoint = service.servers[0].checks[0]
    standing = Standing(health(service, UP), said=said(_1=8), percents={endpoint: 50})
    assert weights(pool(service, standing)) == {"1": 8}
