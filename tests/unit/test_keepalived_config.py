"""Our config file in keepalived's words: the text, and that keepalived takes it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ha_lvs.config import loader
from ha_lvs.config.schema import Config
from ha_lvs.drill.contenders.keepalived_config import keepalived_config
from ha_lvs.model import SCHEDULERS

DATA = Path(__file__).parent / "data"


def load(content: dict[str, Any]) -> Config:
    return loader.loads(yaml.safe_dump(content).encode(), "test.yml")


def config(instance: dict[str, Any] | None = None, **top: Any) -> Config:
    """A pair with one instance; `instance` changes that, `top` the rest of the file."""
    edge = {"interface": "e0", "router_id": 51, "priority": {"lb1": 150, "lb2": 100}, "virtual_ips": ["10.9.0.100/32"]}
    nodes = {"lb1": {"address": "10.9.0.11"}, "lb2": {"address": "10.9.0.12"}}
    return load({"cluster": "edge", "nodes": nodes, "instances": {"edge": edge | (instance or {})}} | top)


def web(**changes: Any) -> dict[str, Any]:
    service = {"name": "web", "listen": "10.9.0.100:80/tcp", "forwarding": "dr", "servers": ["10.9.0.21"]}
    return {"services": [service | changes]}


def checked(server: str | dict[str, Any] = "10.9.0.21", **check: Any) -> Config:
    return config(**web(servers=[server], check=check))


def lines(config: Config, node: str = "lb1") -> list[str]:
    """What keepalived reads, without indentation and comments."""
    stripped = (line.strip() for line in keepalived_config(config, node).splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def missing_words(config: Config) -> str:
    """What the text says that it does not express."""
    return "\n".join(line for line in keepalived_config(config, "lb1").splitlines() if line.startswith("#"))


def test_the_nodes_differ_in_their_priority_their_source_and_their_name() -> None:
    first, second = lines(config(), "lb1"), lines(config(), "lb2")
    assert set(first) - set(second) == {"router_id lb1", "priority 150", "mcast_src_ip 10.9.0.11"}
    assert set(second) - set(first) == {"router_id lb2", "priority 100", "mcast_src_ip 10.9.0.12"}


def test_an_instance_is_a_vrrp_instance_that_both_begin_as_backup() -> None:
    found = lines(config({"interval": "250ms"}))
    start = found.index("vrrp_instance edge {")
    assert found[start + 1 : start + 6] == [
        "state BACKUP",
        "interface e0",
        "virtual_router_id 51",
        "priority 150",
        "advert_int 0.25",
    ]
    assert found[-3:] == ["10.9.0.100/32 dev e0", "}", "}"]
    assert "vrrp_version 3" in found
    assert "nopreempt" not in found
    assert not any(line.startswith(("virtual_server", "lvs_")) for line in found)


def test_a_virtual_ip_keeps_its_prefix_length_and_interface() -> None:
    found = lines(config({"virtual_ips": ["10.9.0.100/24", {"address": "10.9.0.1", "interface": "e1"}]}))
    at = found.index("virtual_ipaddress {")
    assert found[at + 1 : at + 3] == ["10.9.0.100/24 dev e0", "10.9.0.1/32 dev e1"]


def test_without_preemption_it_is_told_so_unless_it_owns_the_addresses() -> None:
    without = config({"preempt": False, "priority": {"lb1": 255, "lb2": 100}})
    assert "nopreempt" not in lines(without, "lb1")
    assert "nopreempt" in lines(without, "lb2")


def test_unicast_names_the_source_and_every_peer() -> None:
    found = lines(config({"unicast": True}))
    at = found.index("unicast_src_ip 10.9.0.11")
    assert found[at + 1 : at + 4] == ["unicast_peer {", "10.9.0.12", "}"]
    assert not any(line.startswith("mcast") for line in found)


def test_another_multicast_group_is_named() -> None:
    assert "mcast_dst_ip 224.0.0.19" in lines(config({"group": "224.0.0.19"}))


def test_announcements_are_as_many_and_end_as_late() -> None:
    found = lines(config({"announce": {"repeat": 5, "interval": "2s", "refresh": "20s"}}))
    assert found.count("garp_master_repeat 3") == 1
    assert "garp_master_delay 10" in found
    assert "garp_master_refresh 20" in found
    once = lines(config({"announce": {"repeat": 0}}))
    assert {"garp_master_repeat 1", "garp_master_delay 0"} <= set(once)


def test_connection_sync_follows_the_instance() -> None:
    sync = {"interface": "e1", "id": 7}
    assert "lvs_sync_daemon e1 edge id 7" in lines(config(connection_sync=sync, **web()))
    special = sync | {"port": 9000, "ttl": 2, "group": "224.0.0.82"}
    expected = "lvs_sync_daemon e1 edge id 7 port 9000 ttl 2 group 224.0.0.82"
    assert expected in lines(config(connection_sync=special, **web()))


def test_a_service_is_a_virtual_server() -> None:
    found = lines(config(**web(scheduler="mh", forwarding="tun", persistence="5m")))
    at = found.index("virtual_server 10.9.0.100 80 {")
    assert found[at + 1 : at + 7] == [
        "lvs_sched mh",
        "lvs_method TUN",
        "protocol TCP",
        "persistence_timeout 300",
        "real_server 10.9.0.21 80 {",
        "weight 1",
    ]


def test_a_server_names_its_method_where_it_is_not_the_usual_one() -> None:
    nat = {"address": "10.9.0.23", "port": 8080, "forwarding": "nat", "weight": 3}
    found = lines(config(**web(servers=["10.9.0.21", "10.9.0.22", nat])))
    at = found.index("real_server 10.9.0.23 8080 {")
    assert found[at + 1 : at + 3] == ["weight 3", "lvs_method NAT"]
    assert [line for line in found if line.startswith("lvs_method")] == ["lvs_method DR", "lvs_method NAT"]


def test_a_server_is_out_after_as_many_failures_and_each_check_is_made_as_soon_as_ours() -> None:
    found = lines(checked(type="tcp", interval="1s", timeout="300ms", fall=3))
    at = found.index("TCP_CHECK {")
    assert found[at + 1 : found.index("}", at)] == [
        "alpha",
        "warmup 0",
        "delay_loop 1",
        "connect_timeout 0.3",
        "retry 2",
        "delay_before_retry 0.7",
    ]


def test_an_http_check_asks_for_the_path_and_counts_the_same_answers() -> None:
    found = lines(checked(type="http", path="/health?a=1", host="www.example.org", status="200-299"))
    at = found.index("url {")
    assert found[at + 1 : at + 4] == ["path /health?a=1", "status_code 200-299", "virtualhost www.example.org"]
    assert "HTTP_GET {" in found
    assert "fast_recovery" in found


def test_a_path_cannot_end_the_line_or_name_a_variable() -> None:
    assert "path /%23a%24HOME%21%22%7B%7D%20b" in lines(checked(type="http", path='/#a$HOME!"{}%20b'))


def test_another_port_is_probed() -> None:
    assert "connect_port 8080" in lines(checked(type="tcp", port=8080))
    assert not any(line.startswith("connect_port") for line in lines(checked(type="tcp")))


def test_a_server_without_a_check_has_none() -> None:
    assert not {"TCP_CHECK {", "HTTP_GET {"} & set(lines(checked(type="none")))


def test_what_it_cannot_say_is_a_comment() -> None:
    told = missing_words(checked(type="tcp", rise=2))
    assert "lease of 3 s on the virtual IPs of edge" in told
    assert "rise" in told
    assert "reconcile" in told
    plain = missing_words(config({"lease": "off", "announce": {"repeat": 0}}))
    assert "Not expressed" not in plain


def test_a_service_without_servers_is_left_out_with_a_word() -> None:
    empty = config(**web(servers=[]))
    assert not any(line.startswith("virtual_server") for line in lines(empty))
    assert "the service web" in missing_words(empty)


# --------------------------------------------------------------------------------- keepalived reads it

RICH: dict[str, Any] = {
    "cluster": "edge",
    "nodes": {"lb1": {"address": "10.9.0.11"}, "lb2": {"address": "10.9.0.12"}, "lb3": {"address": "10.9.0.13"}},
    "instances": {
        "edge.1": {
            "interface": "e0",
            "router_id": 51,
            "interval": "10ms",
            "priority": {"lb1": 255, "lb2": 100, "lb3": 50},
            "preempt": False,
            "unicast": True,
            "announce": {"repeat": 0, "refresh": "1s"},
            "virtual_ips": ["10.9.0.100/32", {"address": "10.9.0.101/24", "interface": "e1"}],
        },
        "two": {
            "interface": "e0",
            "router_id": 52,
            "interval": "40.95s",
            "priority": 100,
            "group": "224.0.0.19",
            "announce": {"repeat": 100, "interval": "1h", "refresh": "24h"},
            "virtual_ips": ["10.9.0.102/32"],
        },
    },
    "connection_sync": {"interface": "e0", "id": 7, "group": "224.0.0.82", "port": 8849, "ttl": 2},
    "services": [
        {
            "name": f"web-{scheduler}",
            "listen": f"10.9.0.100:{8000 + number}/tcp",
            "scheduler": scheduler,
            "forwarding": "nat",
            "persistence": "744h",
            "check": {
                "type": "http",
                "path": '/#a$HOME!"{}%20b',
                "host": "www.example.org",
                "port": 8080,
                "interval": "10ms",
                "timeout": "1ms",
                "fall": 1000,
                "status": 204,
            },
            "servers": [
                "10.9.0.21",
                {"address": "10.9.0.22", "weight": 65535, "port": 81},
                {
                    "address": "10.9.0.23",
                    "forwarding": "tun",
                    "check": {"type": "tcp", "interval": "24h", "timeout": "24h", "fall": 1},
                },
                {"address": "10.9.0.24", "weight": 0, "forwarding": "dr", "check": {"type": "none"}},
            ],
        }
        for number, scheduler in enumerate(SCHEDULERS)
    ]
    + [
        {"name": "dns", "listen": "10.9.0.100:53/udp", "forwarding": "dr", "servers": ["10.9.0.21"]},
        {"name": "empty", "listen": "10.9.0.100:99/sctp", "forwarding": "dr", "servers": []},
    ],
}

NETWORK = """
ip link add e0 type veth peer name e1
ip link set lo up; ip link set e0 up; ip link set e1 up
ip addr add 10.9.0.11/24 dev e0
"""


def problems_of_keepalived(texts: list[str], directory: Path) -> list[str]:
    """What keepalived says about each text, in a network that has the interfaces; empty where it has nothing to say.

    One process after the other in one namespace, as cheap as it can be had.
    """
    keepalived = shutil.which("keepalived", path="/usr/sbin:/sbin:/usr/local/sbin:/usr/bin")
    if keepalived is None:
        assert "HA_LVS_REQUIRE" not in os.environ, "keepalived is not installed"
        pytest.skip("keepalived is not installed")
    script = NETWORK
    for number, text in enumerate(texts):
        (directory / f"{number}.conf").write_text(text)
        script += f"{keepalived} -t -f {number}.conf > {number}.said 2>&1 || echo exit code $? >> {number}.said\n"
    command = ["unshare", "--net", "sh", "-c", script]
    subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=60)
    return [(directory / f"{number}.said").read_text() for number in range(len(texts))]


@pytest.mark.netns
def test_keepalived_takes_every_config_without_a_word(tmp_path: Path) -> None:
    loaded = [loader.load(DATA / name) for name in ("pair.yml", "vip-only.yml")] + [load(RICH)]
    texts = [keepalived_config(each, node) for each in loaded for node in each.nodes]
    assert problems_of_keepalived(texts, tmp_path) == [""] * 7


@pytest.mark.netns
def test_keepalived_says_so_when_a_word_is_wrong(tmp_path: Path) -> None:
    text = keepalived_config(loader.load(DATA / "pair.yml"), "lb1").replace("delay_before_retry", "delay_before_fetry")
    (said,) = problems_of_keepalived([text], tmp_path)
    assert "delay_before_fetry" in said
    assert "exit code" in said
