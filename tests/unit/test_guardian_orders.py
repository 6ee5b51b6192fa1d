"""What a config file says to a node, and what it takes to follow another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ha_lvs.daemon.orders import Orders, changes, for_the_elector, needs_restart, read, services_only
from ha_lvs.daemon.shapes import from_json, to_json
from ha_lvs.errors import ConfigError

Change = Callable[[dict[str, Any]], object]


def content() -> dict[str, Any]:
    return {
        "cluster": "edge",
        "nodes": {"lb1": {"address": "10.9.0.11"}, "lb2": {"address": "10.9.0.12"}},
        "instances": {
            "edge": {
                "interface": "e0",
                "router_id": 51,
                "interval": "1s",
                "priority": {"lb1": 150, "lb2": 100},
                "virtual_ips": ["10.9.0.100/32"],
            }
        },
        "services": [
            {
                "name": "web",
                "listen": "10.9.0.100:80/tcp",
                "scheduler": "rr",
                "forwarding": "dr",
                "check": {"type": "http", "path": "/", "interval": "1s"},
                "servers": ["10.9.0.21", {"address": "10.9.0.22", "weight": 2}],
            }
        ],
    }


def orders(path: Path, change: Change = lambda _: None) -> Orders:
    data = content()
    change(data)
    path.write_text(yaml.safe_dump(data))
    return read(path, "lb1")


def edge(**values: Any) -> Change:
    return lambda data: data["instances"]["edge"].update(values)


def web(**values: Any) -> Change:
    return lambda data: data["services"][0].update(values)


ANOTHER = {"interface": "e0", "router_id": 52, "priority": 100, "virtual_ips": ["10.9.0.101"]}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (edge(interval="250ms", lease="3s"), ["instances.edge.interval_s: 1.0 -> 0.25"]),
        (edge(lease="off"), ["instances.edge.lease_s: 3 -> none"]),
        (edge(priority={"lb1": 90, "lb2": 100}), ["instances.edge.priority: 150 -> 90"]),
        (edge(priority={"lb1": 150, "lb2": 90}), []),
        (edge(unicast=True), ["instances.edge.peers: none -> 10.9.0.12"]),
        (
            edge(virtual_ips=["10.9.0.100", "10.9.0.101"]),
            ["instances.edge.virtual_ips: 10.9.0.100/32 -> 10.9.0.100/32, 10.9.0.101/32"],
        ),
        (lambda data: data["instances"].update(rim=ANOTHER), ["instances.rim: added"]),
        (
            lambda data: data["nodes"].update(lb1={"address": "10.9.0.13"}),
            ["instances.edge.source: 10.9.0.11 -> 10.9.0.13"],
        ),
        (lambda data: data.update(log={"level": "debug"}), []),
        (web(scheduler="wlc"), []),
    ],
)
def test_what_takes_another_elector(tmp_path: Path, change: Change, expected: list[str]) -> None:
    before, after = orders(tmp_path / "c.yml"), orders(tmp_path / "c.yml", change)
    assert [line for line in changes(before, after) if line.startswith("instances.")] == expected
    assert for_the_elector(before, after) is bool(expected)
    assert needs_restart(before, after) == ()
    back = [line.endswith("removed") for line in changes(after, before) if line.startswith("instances.")]
    assert back == [line.endswith("added") for line in expected]


def test_only_another_node_needs_a_restart(tmp_path: Path) -> None:
    before = orders(tmp_path / "c.yml")
    assert needs_restart(before, read(tmp_path / "c.yml", "lb2")) == ("node: lb1 -> lb2",)


SERVER = "services.web.servers.10.9.0.22:80"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda data: data.update(log={"level": "debug"}), ["log.level: info -> debug"]),
        (lambda data: data.update(cluster="rim"), ["cluster: edge -> rim"]),
        (lambda data: data.update(ipvs={"on_stop": "remove"}), ["ipvs.on_stop: keep -> remove"]),
        (lambda data: data.update(ipvs={"reconcile": "5s"}), ["ipvs.reconcile_s: 30.0 -> 5.0"]),
        (
            lambda data: data.update(connection_sync={"interface": "e0", "id": 7}),
            ["connection_sync: none -> interface e0 sync_id 7 group 224.0.0.81 port 8848 ttl 1"],
        ),
        (web(scheduler="wlc"), ["services.web.scheduler: rr -> wlc"]),
        (web(name="www"), ["services.web: removed", "services.www: added"]),
        (lambda data: data.update(services=[]), ["services.web: removed"]),
        (web(servers=["10.9.0.21", {"address": "10.9.0.22", "weight": 5}]), [f"{SERVER}.weight: 2 -> 5"]),
        (web(servers=["10.9.0.21"]), [f"{SERVER}: removed"]),
        (web(servers=[{"address": "10.9.0.22", "weight": 2}, "10.9.0.21"]), []),
        (
            edge(interval="2s"),
            ["instances.edge.interval_s: 1.0 -> 2.0", "instances.edge.lease_s: 3 -> 6"],
        ),
        (
            lambda data: data.update(notify=[{"command": ["/bin/true"], "user": "nobody"}]),
            [
                "notify: none -> command /bin/true timeout_s 10.0 user nobody instances none"
                " roles True quorums False services none"
            ],
        ),
    ],
)
def test_what_a_reload_changes(tmp_path: Path, change: Change, expected: list[str]) -> None:
    assert list(changes(orders(tmp_path / "c.yml"), orders(tmp_path / "c.yml", change))) == expected


def test_another_check_is_named_for_each_server(tmp_path: Path) -> None:
    change = web(check={"type": "http", "path": "/", "interval": "2s"})
    found = changes(orders(tmp_path / "c.yml"), orders(tmp_path / "c.yml", change))
    assert f"{SERVER}.check.interval_s: 1.0 -> 2.0" in found
    assert len(found) == 2


def test_ipvs_is_needed_for_services_and_for_sync_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    assert orders(path).needs_ipvs
    assert not orders(path, lambda data: data.pop("services")).needs_ipvs
    sync = {"interface": "e0", "id": 7}
    assert orders(path, lambda data: data.update(services=[], connection_sync=sync)).needs_ipvs


def test_a_node_that_the_file_does_not_have_is_named_with_those_it_has(tmp_path: Path) -> None:
    orders(tmp_path / "c.yml")
    with pytest.raises(ConfigError, match=r"--node lb3 is none of the nodes \(lb1, lb2\)"):
        read(tmp_path / "c.yml", "lb3")


# ------------------------------------------------------------------------------------------------- keys

SECRETS = ["61" * 32, "62" * 32]


def with_keys(path: Path, secrets: list[str], **more: Any) -> Orders:
    files = []
    for number, secret in enumerate(secrets, 1):
        file = path.with_name(f"{number}.key")
        file.write_text(secret + "\n")
        file.chmod(0o600)
        files.append({"id": number, "file": str(file)})
    return orders(path, lambda data: data.update(authentication={"keys": files, **more}))


def test_another_secret_in_a_key_file_is_a_change_and_stays_a_secret(tmp_path: Path) -> None:
    before = with_keys(tmp_path / "c.yml", SECRETS[:1])
    after = with_keys(tmp_path / "c.yml", SECRETS[1:])
    assert before.director.config_digest == after.director.config_digest, "the file says the same"
    assert before != after
    assert for_the_elector(before, after)
    assert changes(before, after) == ("authentication.keys: changed",)


def test_a_further_key_and_another_mode_are_named_without_secrets(tmp_path: Path) -> None:
    before = with_keys(tmp_path / "c.yml", SECRETS[:1], mode="permissive")
    after = with_keys(tmp_path / "c.yml", SECRETS, send_key=2, mode="enforce")
    assert changes(before, after) == (
        "authentication.keys: changed",
        "authentication.send_key: 1 -> 2",
        "authentication.mode: permissive -> enforce",
    )


def test_authentication_that_is_brought_in_is_one_change(tmp_path: Path) -> None:
    before, after = orders(tmp_path / "c.yml"), with_keys(tmp_path / "c.yml", SECRETS)
    found = changes(before, after)
    assert "authentication: off -> on" in found
    assert not any(secret in line for line in found for secret in SECRETS)


def test_a_key_file_that_others_can_read_refuses_the_start(tmp_path: Path) -> None:
    with_keys(tmp_path / "c.yml", SECRETS)
    (tmp_path / "2.key").chmod(0o640)
    with pytest.raises(ConfigError, match=r"2\.key"):
        read(tmp_path / "c.yml", "lb1")


def test_orders_come_through_to_the_next_program_as_they_are(tmp_path: Path) -> None:
    given = with_keys(tmp_path / "c.yml", SECRETS)
    assert from_json(Orders, to_json(given)) == given


def another_service(data: dict[str, Any]) -> None:
    data["services"].append({**data["services"][0], "name": "alt", "listen": "10.9.0.100:81/tcp"})


@pytest.mark.parametrize(
    ("change", "services"),
    [
        (web(scheduler="wlc"), ["web"]),
        (web(servers=["10.9.0.21"]), ["web"]),
        (another_service, ["alt"]),
        (lambda data: data.update(ipvs={"reconcile": "5s", "on_stop": "remove"}), []),
    ],
)
def test_the_director_is_told_of_services_alone(tmp_path: Path, change: Change, services: list[str]) -> None:
    before, after = orders(tmp_path / "before.yml"), orders(tmp_path / "after.yml", change)
    told = services_only(before, after)
    assert told is not None
    assert [each.name for each in told.services] == services
    assert told.on(before.director) == after.director
    back = services_only(after, before)
    assert back is not None
    assert back.on(after.director) == before.director


@pytest.mark.parametrize(
    "change",
    [
        edge(interval="250ms"),
        lambda data: data.update(services=[]),
        lambda data: data.update(log={"level": "debug"}),
        lambda data: data.update(peer_link={"enabled": True, "port": 9000}),
        lambda data: data.update(connection_sync={"interface": "e0", "id": 7}),
    ],
)
def test_what_is_more_than_services_takes_other_processes(tmp_path: Path, change: Change) -> None:
    before, after = orders(tmp_path / "before.yml"), orders(tmp_path / "after.yml", change)
    assert services_only(before, after) is None


def test_the_number_of_probers_is_settled_and_another_one_is_named(tmp_path: Path) -> None:
    before = orders(tmp_path / "c.yml")
    after = orders(tmp_path / "c.yml", lambda data: data.update(ipvs={"probers": 3}))
    assert (before.director.probers, after.director.probers) == (1, 3), "by itself one is enough for so few servers"
    assert "ipvs.probers: 1 -> 3" in changes(before, after)
    assert services_only(before, after) is None
