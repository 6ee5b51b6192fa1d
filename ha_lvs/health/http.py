"""The little HTTP/1.1 that a health check needs: a request to send, and the status out of what comes back.

Rules that hold here:
* Pure, bytes to values.
* The status line is parsed strictly (RFC 9112 section 4): whatever deviates is not HTTP, and the reason says
  what came. A lone LF ends a line too, as section 2.2 allows. Interim answers (1xx other than 101) are read
  over.
* `MAX_HEADER` bytes are read at most, however slowly or endlessly they come.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from ha_lvs import __version__
from ha_lvs.model import Endpoint

MAX_HEADER = 16 * 1024

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?\r?\n")
_STARTED = re.compile(rb"(?:HTTP/1\.[01] [1-9][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?\r?)\Z")
_SHORT = b"HTTP/1.1 "
_HEADER_END = re.compile(rb"\n\r?\n")
_PATH_CHARACTERS = "/?#[]@!$&'()*+,;=:%~"


class NotHttp(Exception):
    """What came cannot become an answer any more; the text is the reason, for people."""


def request(endpoint: Endpoint) -> bytes:
    """The request that probes `endpoint`.

    Whatever could end a line or the request inside the path or the host is percent-encoded.
    """
    address = f"[{endpoint.address}]" if endpoint.address.version == 6 else str(endpoint.address)
    host = endpoint.check.host or (address if endpoint.port == 80 else f"{address}:{endpoint.port}")
    return (
        f"GET {quote(endpoint.check.path, _PATH_CHARACTERS)} HTTP/1.1\r\n"
        f"Host: {quote(host, '[]:%')}\r\n"
        f"User-Agent: ha-lvs/{__version__}\r\n"
        "Accept: */*\r\n"
        "Connection: close\r\n\r\n"
    ).encode("ascii")


def status(answer: bytes) -> int | None:
    """The status code in the bytes that have come so far.

    Returns None while more is needed.

    Errors: NotHttp when no status can come of it.
    """
    start = 0
    while True:
        line = _STATUS_LINE.match(answer, start)
        if line is None:
            _expect_more(answer[start:])
            break
        code = int(line[1])
        if code >= 200 or code == 101:
            return code
        end = _HEADER_END.search(answer, line.end() - 1)
        if end is None:
            break
        start = end.end()
    if len(answer) >= MAX_HEADER:
        raise NotHttp(f"not HTTP: no status within {MAX_HEADER // 1024} KiB")
    return None


def _expect_more(part: bytes) -> None:
    """Raises NotHttp unless `part` may still grow into a status line."""
    if len(part) < len("HTTP/1.1 200"):
        # Too short to be looked at as a whole: fill up from a line that is right.
        for minor in b"01":
            whole = b"HTTP/1.%c 200" % minor
            digits = part[len(_SHORT) :]
            if whole.startswith(part[: len(_SHORT)]) and (not digits or (digits.isdigit() and digits[:1] != b"0")):
                return
    elif _STARTED.match(part):
        return
    raise NotHttp(f"not HTTP: {_excerpt(part)}")


def _excerpt(part: bytes) -> str:
    """The first of the bytes, fit for a log."""
    line = part.split(b"\n", 1)[0][:40]
    return repr(line.decode("latin-1").rstrip("\r"))
