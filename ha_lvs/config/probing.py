"""Single values of the config file that say what a health check sends and what it expects.

The rules are those of `values`: a function takes what stands in the file and gives the value, or raises ValueError
with a sentence that has the value found and the remedy.
"""

from __future__ import annotations

import re

from ha_lvs.config import values
from ha_lvs.config.values import StatusRange

RECORD_TYPES = ("A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT")
METHODS = ("GET", "HEAD", "OPTIONS", "POST")
MOST_PAYLOAD = 1024
"""Bytes of a datagram to send, or to expect."""

_MOST_PATTERN = 1000
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_OURS = ("host", "connection", "content-length", "transfer-encoding")


def statuses(value: object) -> tuple[StatusRange, ...]:
    """HTTP status codes: one, a range, or a list of those."""
    found = tuple(values.status_range(each) for each in (value if isinstance(value, list) else [value]))
    if not found:
        raise ValueError("the list of status codes is empty; write a code like 200, or a range like 200-399")
    return found


def headers(value: object) -> tuple[tuple[str, str], ...]:
    """Header fields of an HTTP request, by name."""
    if not isinstance(value, dict):
        raise ValueError(f"{values.shown(value)} is no mapping of header fields; write them like {{X-Probe: ha-lvs}}")
    found = []
    for name, item in value.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ValueError(f"{values.shown(name)} cannot be the name of a header field; use letters, digits and '-'")
        if name.lower() in _OURS:
            remedy = "use `host`" if name.lower() == "host" else "remove it"
            raise ValueError(f"the header field {name} is made by the check; {remedy}")
        word = str(item) if isinstance(item, int) and not isinstance(item, bool) else values.text(item)
        if not re.fullmatch(r"[\t\x20-\x7e]*", word):
            raise ValueError(f"{values.shown(word)} cannot be in a header field; it takes one line of ASCII")
        found.append((name, word))
    return tuple(found)


def regular_expression(value: object) -> str:
    """A regular expression of Python's `re`, short enough to be read."""
    word = values.text(value)
    if len(word) > _MOST_PATTERN:
        raise ValueError(f"the expression has {len(word)} characters; write one of at most {_MOST_PATTERN}")
    try:
        re.compile(word)
    except (re.error, OverflowError, RecursionError) as problem:
        raise ValueError(f"{values.shown(word)} is no regular expression: {problem}") from None
    return word


def sha256(value: object) -> str:
    """A SHA-256 digest in hexadecimal."""
    word = value if isinstance(value, str) else ""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", word):
        raise ValueError(
            f"{values.shown(value)} is no SHA-256 digest; write the 64 hexadecimal digits that sha256sum prints,"
            " in quotes"
        )
    return word.lower()


def payload(value: object) -> str:
    """Bytes of a datagram in hexadecimal: from text, or from ``{hex: 0a0b}``."""
    if isinstance(value, dict):
        digits = value.get("hex")
        if len(value) != 1 or not isinstance(digits, str) or not re.fullmatch(r"(?:[0-9a-fA-F]{2}\s*)*", digits):
            raise ValueError(
                f"{values.shown(digits if 'hex' in value else value)} is no payload; write text, or bytes like"
                ' {hex: "0a 0b"}'
            )
        found = bytes.fromhex(digits)
    elif isinstance(value, str):
        found = value.encode()
    else:
        raise ValueError(f'{values.shown(value)} is no payload; write text in quotes, or bytes like {{hex: "0a 0b"}}')
    if len(found) > MOST_PAYLOAD:
        raise ValueError(f"a payload of {len(found)} bytes is too long; write at most {MOST_PAYLOAD}")
    return found.hex()


def domain_name(value: object) -> str:
    """The name that a DNS server is asked for."""
    word = values.text(value)
    labels = word.removesuffix(".").split(".")
    if word != "." and (
        len(word) > 254
        or not all(re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", each) for each in labels)
    ):
        raise ValueError(f"{values.shown(word)} is no domain name; write one like www.example.org")
    return word


def host_name(value: object) -> str:
    """The name of a host, as in certificates and greetings."""
    word = values.text(value)
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,252}[A-Za-z0-9])?", word):
        raise ValueError(f"{values.shown(word)} is no host name; write one like www.example.org")
    return word


def answers(value: object) -> tuple[str, ...]:
    """Values of DNS records, one or a list."""
    return tuple(values.text(each) for each in (value if isinstance(value, list) else [value]))


def grpc_service(value: object) -> str:
    """The name of a gRPC service."""
    word = values.text(value)
    if not re.fullmatch(r"[A-Za-z0-9_./-]{1,200}", word):
        raise ValueError(f"{values.shown(word)} is no name of a gRPC service; write one like my.package.Service")
    return word


def percentage(value: object) -> int:
    """A share from 0 to 100: ``50%``, or the number alone."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,3}\s*%", value):
        value = int(value.rstrip("% "))
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100:
        raise ValueError(f"{values.shown(value)} is no percentage; write one from 0% to 100%")
    return value
