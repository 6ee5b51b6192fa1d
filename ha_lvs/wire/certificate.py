"""X.509 certificates, as far as a health check has to say something about them: from when to when, and for whom.

Rules that hold here:
* Nothing is verified here: that is OpenSSL's. What is read is for people.
* A certificate is DER (X.690), of RFC 5280 section 4.1. Only what leads to the two fields is looked at.
* What is no such certificate is a `WireError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address

from ha_lvs.errors import WireError

_SEQUENCE, _OCTETS, _OID = 0x30, 0x04, 0x06
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87
_SUBJECT_ALT_NAME = bytes.fromhex("551d11")  # 2.5.29.17
_BEFORE_VALIDITY = 3  # serial number, signature algorithm, issuer
_MOST_NAMES = 100


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is read of a certificate.

    Arguments:
        begins, ends: from when to when it is valid, in Unix seconds.
        names: of hosts, and addresses, that it is for (subjectAltName), a hundred at most.
    """

    begins: float
    ends: float
    names: tuple[str, ...]


def decode(data: bytes) -> Certificate:
    """A certificate from its DER.

    Errors: WireError when it is none.
    """
    outer = _only(_items(data), _SEQUENCE)
    fields = list(_items(_only(_items(outer), _SEQUENCE)))
    at = int(bool(fields) and fields[0][0] == _VERSION) + _BEFORE_VALIDITY
    if len(fields) <= at or fields[at][0] != _SEQUENCE:
        raise WireError("a certificate without a validity")
    times = [_time(tag, value) for tag, value in _items(fields[at][1])]
    if len(times) != 2:
        raise WireError("a validity without two times")
    return Certificate(times[0], times[1], tuple(_names(fields[at + 1 :])))


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and content of each item in a row of them."""
    at = 0
    while at < len(data):
        if len(data) - at < 2:
            raise WireError("an item of DER without a length")
        tag, length = data[at], data[at + 1]
        at += 2
        if length >= 0x80:
            size = length & 0x7F
            if not 1 <= size <= 4 or len(data) - at < size:
                raise WireError("an item of DER whose length cannot be read")
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        if len(data) - at < length:
            raise WireError("an item of DER that is cut short")
        yield tag, data[at : at + length]
        at += length


def _only(items: Iterator[tuple[int, bytes]], tag: int) -> bytes:
    """The content of the first item, which must have this tag."""
    for found, value in items:
        if found == tag:
            return value
        break
    raise WireError("no such item of DER", f"tag {tag:#x}")


def _time(tag: int, value: bytes) -> float:
    """Unix seconds of a UTCTime or GeneralizedTime (RFC 5280 section 4.1.2.5)."""
    text = value.decode("ascii", "replace")
    digits = text[:-1]
    if text[-1:] != "Z" or not digits.isascii() or not digits.isdigit():
        raise WireError("a time that is not in UTC to the second")
    if tag == _UTC_TIME and len(digits) == 12:
        digits = ("19" if digits >= "5" else "20") + digits
    elif tag != _GENERALIZED_TIME or len(digits) != 14:
        raise WireError("a time of another form")
    year, *rest = (int(digits[start:end]) for start, end in ((0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14)))
    month, day, hour, minute, second = rest
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        raise WireError("a time that there is not", text) from None


def _names(fields: list[tuple[int, bytes]]) -> Iterator[str]:
    """The names in the extension subjectAltName, if there is one."""
    for tag, value in fields:
        if tag != _EXTENSIONS:
            continue
        for _, extension in _items(_only(_items(value), _SEQUENCE)):
            parts = list(_items(extension))
            if len(parts) >= 2 and parts[0] == (_OID, _SUBJECT_ALT_NAME) and parts[-1][0] == _OCTETS:
                yield from _general_names(_only(_items(parts[-1][1]), _SEQUENCE))


def _general_names(data: bytes) -> Iterator[str]:
    count = 0
    for tag, value in _items(data):
        if count == _MOST_NAMES:
            return
        if tag == _DNS_NAME:
            yield "".join(each if each.isprintable() else "?" for each in value.decode("ascii", "replace"))
        elif tag == _IP_ADDRESS and len(value) in (4, 16):
            yield str(ip_address(value))
        else:
            continue
        count += 1
