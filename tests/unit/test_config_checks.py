"""What a config file says of health checks: what it comes to, and every rule with its message."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.config import probing
from ha_lvs.config.parts import director_part
from ha_lvs.config.values import StatusRange
from ha_lvs.model import (
    Check,
    CheckType,
    DnsCheck,
    ExecCheck,
    Forwarding,
    HttpCheck,
    TlsCheck,
    UdpCheck,
    VirtualPath,
    VirtualService,
)
from tests.unit.configs import config_of, refused, service

DATAGRAMS, MARK = {"listen": "10.9.0.100:53/udp"}, {"listen": "mark 5"}
EXEC, FILE = {"type": "exec", "command": "/bin/true"}, {"type": "file", "file": "/run/weight"}


def web(check: dict[str, Any], **more: Any) -> VirtualService:
    """The service of the pair with a check, as the director gets it."""
    return director_part(config_of(service(check=check, **more)), "lb1").services[0]


def check_of(check: dict[str, Any], **more: Any) -> Check:
    """The check of its first server."""
    (endpoint,) = web(check, **more).servers[0].checks
    return endpoint.check


def told(check: dict[str, Any], more: dict[str, Any]) -> list[str]:
    """The problems of a check, by their paths below the service."""
    found = refused(service(check=check, **more))
    return [each.split(": ", 1)[1].removeprefix("services[0].") for each in found]


# ---------------------------------------------------------------------------------------------- what it comes to


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ({"type": "ping"}, Check(CheckType.PING)),
        (
            {"type": "tcp", "interval": "5s", "fast_interval": "500ms", "timeout": "2s", "rise": 3, "fall": 4},
            Check(CheckType.TCP, 5.0, 2.0, 3, 4, 0.5),
        ),
        ({"type": "tcp", "interval": "200ms"}, Check(CheckType.TCP, 0.2, 0.2)),
        (
            {"type": "tcp", "source": "10.9.0.11", "interface": "e0", "mark": 9},
            Check(CheckType.TCP, source=ip_address("10.9.0.11"), interface="e0", mark=9),
        ),
        ({"type": "http", "status": 204}, Check(CheckType.HTTP, http=HttpCheck(status=((204, 204),)))),
        ({"type": "https"}, Check(CheckType.HTTPS, http=HttpCheck(), tls=TlsCheck())),
        ({"type": "smtp", "tls": True, "hello": "lb"}, Check(CheckType.SMTP, tls=TlsCheck(), hello="lb")),
        ({"type": "grpc", "service": "a.B"}, Check(CheckType.GRPC, service="a.B")),
        ({"type": "dns", "query": "a.example."}, Check(CheckType.DNS, dns=DnsCheck("a.example."))),
        (
            {"type": "dns", "query": {"name": "a", "type": "MX", "expect": "10 m.a."}},
            Check(CheckType.DNS, dns=DnsCheck("a", "MX", ("10 m.a.",))),
        ),
        ({"type": "udp"}, Check(CheckType.UDP, udp=UdpCheck())),
        ({"type": "udp", "send": "é", "expect": {"hex": "0A 0b"}}, Check(CheckType.UDP, udp=UdpCheck("c3a9", "0a0b"))),
        ({"type": "udp", "expect": ""}, Check(CheckType.UDP, udp=UdpCheck("", ""))),
        (EXEC, Check(CheckType.EXEC, exec=ExecCheck(("/bin/true",), "nobody"))),
        (
            {"type": "exec", "command": "/bin/c 'a b'", "user": "root", "weight": True},
            Check(CheckType.EXEC, exec=ExecCheck(("/bin/c", "a b"), "root", True)),
        ),
        (FILE, Check(CheckType.FILE, file="/run/weight")),
    ],
)
def test_a_check_as_the_prober_gets_it(check: dict[str, Any], expected: Check) -> None:
    assert check_of(check) == expected


def test_a_check_via_the_virtual_ip_knows_its_path() -> None:
    path = VirtualPath(ip_address("10.9.0.100"), 80, Forwarding.DR)
    assert check_of({"type": "tcp-half-open", "via": "virtual"}) == Check(CheckType.HALF_OPEN, via=path)


def test_what_is_probed_is_the_server_or_what_is_written() -> None:
    def probed(check: dict[str, Any]) -> list[tuple[str, int]]:
        return [(str(each.checks[0].address), each.checks[0].port) for each in web(check).servers]

    assert probed({"type": "tcp"}) == [("10.9.0.21", 80), ("10.9.0.22", 80)]
    assert probed({"type": "tcp", "port": 81}) == [("10.9.0.21", 81), ("10.9.0.22", 81)]
    assert probed({"type": "tcp", "address": "10.9.1.1"}) == [("10.9.1.1", 80)] * 2


@pytest.mark.parametrize("word", ["all", "any"])
def test_several_checks_of_a_server(word: str) -> None:
    found = web({word: [{"type": "tcp"}, {"type": "ping"}, FILE]}).servers[0]
    assert [each.check.type for each in found.checks] == [CheckType.TCP, CheckType.PING, CheckType.FILE]
    assert found.any_of == (word == "any")


@pytest.mark.parametrize(
    ("check", "more"),
    [
        ({"type": "ping"}, MARK),
        (FILE, MARK),
        (EXEC, MARK),
        ({"type": "tcp", "port": 80}, MARK),
        ({"type": "tcp", "port": 80}, DATAGRAMS),
        ({"type": "dns", "query": "a"}, DATAGRAMS),
        ({"type": "tcp", "source": "fd00::1", "address": "fd00::2"}, {}),
        ({"type": "exec", "command": "/bin/true", "port": 8080}, {}),
        ({"type": "https", "tls": {}}, {}),
        ({"type": "dns", "query": {"name": "a", "type": "TXT", "expect": "anything at all"}}, {}),
        ({"type": "tcp", "interval": "1s", "timeout": "1s", "fast_interval": "1s"}, {}),
    ],
)
def test_what_is_fine(check: dict[str, Any], more: dict[str, Any]) -> None:
    web(check, **more)


# ------------------------------------------------------------------------------------------------- the rules

FOR_KINDS = {
    "method": ("HEAD", "http and https", "http"),
    "path": ("/x", "http and https", "http"),
    "host": ("a", "http and https", "http"),
    "headers": ({"a": "b"}, "http and https", "http"),
    "status": (200, "http and https", "http"),
    "body": ({"contains": "x"}, "http and https", "http"),
    "tls": (True, "https, smtp and grpc", "https"),
    "query": ("a", "dns", "dns"),
    "send": ("x", "udp", "udp"),
    "expect": ("x", "udp", "udp"),
    "hello": ("a", "smtp", "smtp"),
    "service": ("a", "grpc", "grpc"),
    "command": ("/bin/true", "exec", "exec"),
    "user": ("nobody", "exec", "exec"),
    "weight": (True, "exec", "exec"),
    "file": ("/x", "file", "file"),
}


@pytest.mark.parametrize("kind", ["ping", None])
@pytest.mark.parametrize("key", FOR_KINDS)
def test_keys_are_for_some_kinds_only(key: str, kind: str | None) -> None:
    value, kinds, first = FOR_KINDS[key]
    check = {key: value} | ({} if kind is None else {"type": kind})
    assert told(check, {}) == [f"check.{key}: `{key}` is for {kinds} checks only; add type: {first} or remove it"]


@pytest.mark.parametrize("check", [EXEC, FILE, {"type": "none"}])
@pytest.mark.parametrize(
    ("key", "value"), [("source", "10.9.0.11"), ("interface", "e0"), ("mark", 5), ("via", "virtual")]
)
def test_what_sends_no_packets_has_no_way(check: dict[str, Any], key: str, value: object) -> None:
    reason = f"`{key}` is for probes that send packets, not for {check['type']}; remove it"
    assert told(check | {key: value}, {}) == [f"check.{key}: {reason}"]


@pytest.mark.parametrize(
    ("check", "more", "expected"),
    [
        (
            {"type": "tcp", "interval": "1s", "timeout": "2s"},
            {},
            ["check.timeout: timeout 2s is longer than the interval 1s; shorten it or lengthen the interval"],
        ),
        (
            {"type": "tcp", "timeout": "3s"},
            {},
            ["check.timeout: timeout 3s is longer than the interval 2s (the default); shorten it or lengthen the"
             " interval"],
        ),
        (
            {"type": "tcp", "interval": "1s", "fast_interval": "2s"},
            {},
            ["check.fast_interval: 2s is longer than the interval 1s; shorten it"],
        ),
        (
            {"type": "tcp", "fast_interval": "3s"},
            {},
            ["check.fast_interval: 3s is longer than the interval 2s (the default); shorten it"],
        ),
        ({"type": "ping", "port": 5}, {}, ["check.port: ping has no port; remove it"]),
        (FILE | {"port": 5}, {}, ["check.port: file has no port; remove it"]),
        ({"type": "dns"}, {}, ["check.type: a dns check needs `query`; add it"]),
        ({"type": "exec"}, {}, ["check.type: an exec check needs `command`; add it"]),
        ({"type": "file"}, {}, ["check.type: a file check needs `file`; add it"]),
        (
            {"type": "https", "tls": False},
            {},
            ["check.tls: https is spoken in TLS; remove it, or write `type: http`"],
        ),
        (
            {"type": "http", "method": "HEAD", "body": {"contains": "x"}},
            {},
            ["check.body: the answer to HEAD has no body; remove it, or write another method"],
        ),
        (
            {"type": "http", "body": {}},
            {},
            ["check.body: it says nothing; write `contains`, `matches` or `sha256`, or remove it"],
        ),
        (
            {"type": "tcp"},
            DATAGRAMS,
            ["check.type: a tcp check cannot use the udp port of the service; give the check a port of its own, or"
             " type: none"],
        ),
        (
            {"type": "smtp"},
            DATAGRAMS,
            ["check.type: an smtp check cannot use the udp port of the service; give the check a port of its own, or"
             " type: none"],
        ),
        (
            {"type": "dns", "query": {"name": "a", "expect": ["10.0.0.1", "web1"]}},
            {},
            ["check.query.expect: an A record is an IPv4 address, not 'web1'; correct it"],
        ),
        (
            {"type": "dns", "query": {"name": "a", "type": "AAAA", "expect": "10.0.0.1"}},
            {},
            ["check.query.expect: an AAAA record is an IPv6 address, not '10.0.0.1'; correct it"],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_within_a_check(check: dict[str, Any], more: dict[str, Any], expected: list[str]) -> None:
    assert told(check, more) == expected


@pytest.mark.parametrize(
    ("check", "more", "expected"),
    [
        (
            {"type": "http", "via": "virtual"},
            {},
            "check.via: an http check cannot go via the virtual IP; write type: tcp-half-open",
        ),
        (
            {"type": "tcp-half-open", "via": "virtual", "address": "10.9.1.1"},
            {},
            "check.address: a check via the virtual IP goes to the server of that address; remove it",
        ),
        (
            {"type": "tcp-half-open", "via": "virtual", "port": 80},
            MARK,
            "check.via: the service has no single virtual IP that a check could go to; remove it",
        ),
        (
            {"type": "tcp-half-open", "via": "virtual"},
            {"forwarding": "nat", "servers": ["10.9.0.21"]},
            "servers[0]: 10.9.0.21 is reached by nat, so that clients' packets go to its own address: a check"
            " `via: virtual` is for dr and tun; remove `via`",
        ),
    ],
)
def test_what_cannot_go_via_the_virtual_ip(check: dict[str, Any], more: dict[str, Any], expected: str) -> None:
    assert told(check, more) == [expected]


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (
            {"all": [{"type": "tcp"}], "any": [{"type": "ping"}]},
            ["check.any: `any` cannot stand beside `all`; write one of them"],
        ),
        (
            {"all": [{"type": "tcp"}], "interval": "1s", "type": "tcp"},
            [
                "check.interval: `interval` cannot stand beside `all`; write it into each of its checks",
                "check.type: `type` cannot stand beside `all`; write it into each of its checks",
            ],
        ),
        ({"any": []}, ["check.any: `any` is empty; list checks, like [{type: tcp}, {type: ping}]"]),
        ({"any": [{"type": "none"}]}, ["check.any[0].type: none checks nothing; remove it from `any`"]),
        (
            {"any": [{"all": [{"type": "tcp"}]}]},
            ["check.any[0].all: `all` cannot stand within `any`; list the checks themselves"],
        ),
        (
            {"all": [{"type": "dns"}, {"type": "tcp", "path": "/"}]},
            [
                "check.all[0].type: a dns check needs `query`; add it",
                "check.all[1].path: `path` is for http and https checks only; add type: http or remove it",
            ],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_several_checks(check: dict[str, Any], expected: list[str]) -> None:
    assert sorted(told(check, {})) == sorted(expected)


@pytest.mark.parametrize("check", [{"type": "tcp"}, {"any": [{"type": "ping"}, {"type": "tcp"}]}])
def test_where_there_is_no_port_one_has_to_be_written(check: dict[str, Any]) -> None:
    assert told(check, MARK | {"servers": ["10.9.0.21"]}) == [
        "servers[0]: there is no single port of 10.9.0.21 to probe; give the check a port, like `check: {type: tcp,"
        " port: 80}`, or write `check: {type: none}`"
    ]


def test_source_and_target_are_of_one_family() -> None:
    assert told({"type": "tcp", "source": "fd00::1"}, {"servers": ["10.9.0.21"]}) == [
        "servers[0]: its check comes from fd00::1, which is IPv6, and goes to 10.9.0.21, which is IPv4"
    ]


def test_a_servers_own_check_is_looked_at_as_well() -> None:
    servers = [{"address": "10.9.0.21", "check": {"type": "dns"}}]
    assert told({"type": "tcp"}, {"servers": servers}) == ["servers[0].check.type: a dns check needs `query`; add it"]


# -------------------------------------------------------------------------------------------------- single values


@pytest.mark.parametrize(
    ("function", "value", "expected"),
    [
        (probing.statuses, 204, (StatusRange(204, 204),)),
        (probing.statuses, ["200-299", 304], (StatusRange(200, 299), StatusRange(304, 304))),
        (probing.headers, {"X-A": "b", "N": 5}, (("X-A", "b"), ("N", "5"))),
        (probing.regular_expression, "^ok$", "^ok$"),
        (probing.sha256, "AB" * 32, "ab" * 32),
        (probing.payload, "", ""),
        (probing.payload, {"hex": "00 ff"}, "00ff"),
        (probing.payload, "a" * probing.MOST_PAYLOAD, "61" * probing.MOST_PAYLOAD),
        (probing.domain_name, ".", "."),
        (probing.domain_name, "_sip._udp.example.org.", "_sip._udp.example.org."),
        (probing.domain_name, "a" * 63, "a" * 63),
        (probing.host_name, "lb1.example.org", "lb1.example.org"),
        (probing.host_name, "fd00::1", "fd00::1"),
        (probing.answers, "10.0.0.1", ("10.0.0.1",)),
        (probing.answers, ["a", "b"], ("a", "b")),
        (probing.grpc_service, "my.package.Service", "my.package.Service"),
        (probing.percentage, "50 %", 50),
        (probing.percentage, 0, 0),
        (probing.percentage, 100, 100),
    ],
)
def test_values_that_are_fine(function: Any, value: object, expected: object) -> None:
    assert function(value) == expected


@pytest.mark.parametrize(
    ("function", "value", "message"),
    [
        (probing.statuses, [], "the list of status codes is empty; write a code like 200, or a range like 200-399"),
        (probing.headers, "X: y", "'X: y' is no mapping of header fields; write them like {X-Probe: ha-lvs}"),
        (probing.headers, {"a b": "c"}, "'a b' cannot be the name of a header field; use letters, digits and '-'"),
        (probing.headers, {5: "c"}, "5 cannot be the name of a header field; use letters, digits and '-'"),
        (probing.headers, {"Host": "c"}, "the header field Host is made by the check; use `host`"),
        (probing.headers, {"connection": "c"}, "the header field connection is made by the check; remove it"),
        (probing.headers, {"Content-Length": 5}, "the header field Content-Length is made by the check; remove it"),
        (probing.headers, {"Transfer-Encoding": "x"}, "field Transfer-Encoding is made by the check; remove it"),
        (probing.headers, {"A": "b\r\nC: d"}, "cannot be in a header field; it takes one line of ASCII"),
        (probing.headers, {"A": "é"}, "'é' cannot be in a header field; it takes one line of ASCII"),
        (probing.regular_expression, "(", "is no regular expression: missing ), unterminated subpattern at position 0"),
        (probing.regular_expression, "a" * 1001, "the expression has 1001 characters; write one of at most 1000"),
        (probing.sha256, "abc", "write the 64 hexadecimal digits that sha256sum prints, in quotes"),
        (probing.sha256, 5, "5 is no SHA-256 digest; write the 64 hexadecimal digits that sha256sum prints, in quotes"),
        (probing.payload, {"hex": "0"}, "'0' is no payload; write text, or bytes like {hex: \"0a 0b\"}"),
        (probing.payload, {"hex": "00", "x": 1}, "'00' is no payload; write text, or bytes like {hex: \"0a 0b\"}"),
        (probing.payload, {}, "is no payload; write text, or bytes like {hex: \"0a 0b\"}"),
        (probing.payload, 5, "5 is no payload; write text in quotes, or bytes like {hex: \"0a 0b\"}"),
        (probing.payload, "é" * 513, "a payload of 1026 bytes is too long; write at most 1024"),
        (probing.domain_name, "a..b", "'a..b' is no domain name; write one like www.example.org"),
        (probing.domain_name, "-a", "'-a' is no domain name; write one like www.example.org"),
        (probing.domain_name, "a" * 64, "is no domain name; write one like www.example.org"),
        (probing.domain_name, "a." * 128, "is no domain name; write one like www.example.org"),
        (probing.domain_name, "a b", "'a b' is no domain name; write one like www.example.org"),
        (probing.host_name, "a b", "'a b' is no host name; write one like www.example.org"),
        (probing.host_name, "-a", "'-a' is no host name; write one like www.example.org"),
        (probing.grpc_service, "a b", "'a b' is no name of a gRPC service; write one like my.package.Service"),
        (probing.percentage, 101, "101 is no percentage; write one from 0% to 100%"),
        (probing.percentage, "101%", "101 is no percentage; write one from 0% to 100%"),
        (probing.percentage, -1, "-1 is no percentage; write one from 0% to 100%"),
        (probing.percentage, True, "true is no percentage; write one from 0% to 100%"),
        (probing.percentage, "half", "'half' is no percentage; write one from 0% to 100%"),
    ],
)  # fmt: skip
def test_values_that_are_not(function: Any, value: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        function(value)
    assert str(caught.value).endswith(message)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
ANYTHING = st.recursive(SCALARS, lambda each: st.lists(each, max_size=3) | st.dictionaries(SCALARS, each, max_size=3))
FUNCTIONS = [
    probing.statuses, probing.headers, probing.regular_expression, probing.sha256, probing.payload,
    probing.domain_name, probing.host_name, probing.answers, probing.grpc_service, probing.percentage,
]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
@given(value=ANYTHING)
def test_whatever_is_written_is_a_value_or_a_sentence(function: Any, value: object) -> None:
    try:
        function(value)
    except ValueError as problem:
        sentence = str(problem)
    else:
        return
    assert len(sentence) < 400
