"""Single values of the config file: text to addresses, endpoints, names and numbers.

Rules that hold here:
* Every function takes what stands in the file (any type) and gives the value, or raises ValueError with one
  sentence: what is wrong, the value found, the remedy. The schema and the cross-checks use the same functions,
  so that both understand a value the same way.
* A choice or a key that nearly matches a known one gets "did you mean".
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

from ha_lvs.config.durations import Duration
from ha_lvs.config.durations import parse as parse_duration

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
_BROADCAST = IPv4Address("255.255.255.255")
REMEMBERED = 2**17
"""How many texts of addresses are not understood anew: what a large file names again and again, and after a reload."""

INTERFACE_PATTERN = r"^[^\s/:]{1,15}$"
DNS_SD_PATTERN = r"^_[A-Za-z0-9-]{1,15}\._(tcp|udp)$"


def shown(value: object) -> str:
    """A value of the file as it is quoted in a message: short, on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return f"a mapping ({len(value)} keys)"
    if isinstance(value, list):
        return f"a list ({len(value)} items)"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def printable(text: str) -> str:
    """Text on one line, with an escape for every character that would not show."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def suggestion(word: object, known: Iterable[str]) -> str | None:
    """The known word that `word` is probably meant to be, or None."""
    close = difflib.get_close_matches(str(word)[:64].lower(), list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def listed(words: Iterable[object]) -> str:
    """Words for a sentence: `a, b or c`."""
    texts = [str(word) for word in words]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"


def choice(value: object, what: str, known: tuple[str, ...]) -> str:
    """One out of a fixed set of words.

    Arguments:
        what: the kind of word, for the message: `scheduler`.
        known: the words.
    """
    if isinstance(value, str) and value in known:
        return value
    near = suggestion(value, known) if isinstance(value, str) else None
    hint = f"did you mean '{near}'? It must be" if near else "it must be"
    raise ValueError(f"unknown {what} {shown(value)}; {hint} one of {listed(known)}")


def whole_number(value: object, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    if isinstance(value, bool) or not isinstance(value, int):
        quoted = "; remove the quotes" if isinstance(value, str) and value.isdigit() else ""
        raise ValueError(f"{shown(value)} is not a whole number{quoted}; write one from {low} to {high}")
    if not low <= value <= high:
        raise ValueError(f"{value} is out of range; write a whole number from {low} to {high}")
    return value


def flag(value: object) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("yes", "on", "no", "off"):
        return value.lower() in ("yes", "on")
    raise ValueError(f"{shown(value)} is neither true nor false; write true or false")


def text(value: object) -> str:
    """Text that is not empty."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, (int, bool)):
        raise ValueError(f"{shown(value)} is not text here; put it in quotes")
    raise ValueError(f"expected text, found {shown(value)}")


def name(value: object) -> str:
    """A name that the operator chose: of the cluster, a node, an instance, a service."""
    word = text(value)
    if not re.fullmatch(NAME_PATTERN.removeprefix("^").removesuffix("$"), word):
        raise ValueError(
            f"{shown(word)} cannot be a name; use at most 63 letters, digits, '.', '_' and '-',"
            " with a letter or digit first"
        )
    return word


def pattern(value: object) -> str:
    """The name of a file, or a pattern of names, relative to the file that it stands in."""
    word = text(value)
    if not word.isprintable() or len(word) > 4096:
        raise ValueError(f"{shown(word)} is no name of a file; write one like services.d/web.yml, or services.d/*.yml")
    return word


def interface(value: object) -> str:
    """The name of a network interface (the kernel's rule: at most 15 bytes, no space, '/' or ':')."""
    word = text(value)
    fits = len(word.encode(errors="replace")) <= 15 and word.isprintable() and word not in (".", "..")
    if not fits or re.search(r"[\s/:]", word):
        raise ValueError(
            f"{shown(word)} cannot be the name of an interface; `ip link` lists them (at most 15 characters)"
        )
    return word


def dns_sd_type(value: object) -> str:
    """A service type of DNS-SD (RFC 6763 section 7; the rules of the name are those of RFC 6335 section 5.1)."""
    word = text(value)
    name = word[1:].partition(".")[0]
    if not re.fullmatch(DNS_SD_PATTERN, word) or not re.search("[A-Za-z]", name) or "--" in f"-{name}-":
        raise ValueError(f"{shown(word)} is no service type of DNS-SD; write one like _http._tcp")
    return word


def duration(value: object, low: Duration, high: Duration, multiple_ms: int = 1) -> Duration:
    """A duration from `low` to `high`, both included, in steps of `multiple_ms` milliseconds."""
    found = parse_duration(value)
    if not low <= found <= high:
        raise ValueError(f"{value} is out of range; write a duration from {low} to {high}")
    if found.ms % multiple_ms:
        below = Duration(found.ms - found.ms % multiple_ms)
        near = [str(each) for each in (below, Duration(below.ms + multiple_ms)) if low <= each <= high]
        raise ValueError(f"{value} is not a multiple of {Duration(multiple_ms)}; write {listed(near)}")
    return found


def ipv4(value: object) -> IPv4Address:
    """An IPv4 address of one host."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not an address; write one like 10.9.0.11")
    return _host(value)


@functools.lru_cache(maxsize=REMEMBERED)
def _host(value: str) -> IPv4Address:
    address = _ipv4(value)
    if address.is_multicast or address.is_unspecified or address == _BROADCAST:
        raise ValueError(f"{address} is not the address of one host; write one like 10.9.0.11")
    return address


def multicast_group(value: object) -> IPv4Address:
    """An IPv4 multicast group."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not an address; write a multicast group like 224.0.0.18")
    address = _ipv4(value)
    if not address.is_multicast:
        raise ValueError(f"{address} is not a multicast group; write one from 224.0.0.0 to 239.255.255.255")
    return address


def ipv4_prefix(value: object) -> IPv4Interface:
    """An address with or without its prefix length: `10.9.0.100/32`, `10.9.0.100` (which is /32)."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not an address; write one like 10.9.0.100/32")
    address, slash, length = value.partition("/")
    if slash and not (re.fullmatch(r"[0-9]{1,2}", length) and 1 <= int(length) <= 32):
        raise ValueError(f"{shown(value)} has no prefix length from 1 to 32 after the '/'; write {address[:40]}/32")
    return IPv4Interface((ipv4(address), int(length) if slash else 32))


@dataclass(frozen=True, slots=True)
class StatusRange:
    """HTTP status codes from `low` to `high`, both included."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low}-{self.high}"


def status_range(value: object) -> StatusRange:
    """HTTP status codes, one or a range: `200`, `"200-399"`. Both ends are included."""
    remedy = "write a code like 200, or a range like 200-399"
    if isinstance(value, int) and not isinstance(value, bool):
        low = high = value
    else:
        match = re.fullmatch(r"([0-9]{3})(?:\s*-\s*([0-9]{3}))?", value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f"{shown(value)} is no HTTP status; {remedy}")
        low, high = int(match[1]), int(match[2] or match[1])
    if not 100 <= low <= high <= 599:
        raise ValueError(f"{shown(value)} is no HTTP status from 100 to 599 or rising range of them; {remedy}")
    return StatusRange(low, high)


def http_path(value: object) -> str:
    """The path of an HTTP request, with its query if there is one."""
    word = text(value)
    if not re.fullmatch(r"/[!-~]*", word):
        raise ValueError(f"{shown(word)} is no path; start it with '/', percent-encode spaces and what is not ASCII")
    return word


def http_host(value: object) -> str:
    """The Host header of an HTTP request."""
    word = text(value)
    if not re.fullmatch(r"[A-Za-z0-9._:\[\]-]{1,255}", word):
        raise ValueError(f"{shown(word)} is no host name; write one like www.example.org")
    return word


def _ipv4(value: str) -> IPv4Address:
    with contextlib.suppress(OSError, ValueError):  # the fast way; it takes what the other one takes
        return IPv4Address(socket.inet_pton(socket.AF_INET, value))
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        reason = _why_no_address(value)
        raise ValueError(f"{shown(value)} is not an address{reason}; write one like 10.9.0.11") from None
    if not isinstance(address, IPv4Address):
        raise ValueError(f"{shown(value)} is an IPv6 address; give an IPv4 address here")
    return address


def _why_no_address(value: str) -> str:
    parts = value.split(".")
    if "/" in value:
        return " (no prefix length belongs here)"
    if len(parts) == 4 and all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
        for part in parts:
            if int(part) > 255:
                return f" ({part} is greater than 255)"
            if len(part) > 1 and part[0] == "0":
                return f" ({part} has a leading zero)"
    return ""
