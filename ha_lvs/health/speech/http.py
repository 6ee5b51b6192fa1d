"""The little HTTP/1.1 that a health check needs: a request to send, and the status out of what comes back.

Rules that hold here:
* Pure, bytes to values.
* The status line is parsed strictly (RFC 9112 section 4): whatever deviates is not HTTP, and the reason says
  what came. A lone LF ends a line too, as section 2.2 allows. Interim answers (1xx other than 101) are read
  over.
* `MAX_HEADER` bytes are looked at, however slowly or endlessly they come.
* `HttpDialogue` is over as soon as the status is known, which most checks need no more than; `http_body` goes on.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from ha_lvs import __version__
from ha_lvs.health.speech.dialogue import NOTHING, Outcome, Reply, excerpt
from ha_lvs.model import CheckType, Endpoint, HttpCheck

MAX_HEADER = 16 * 1024

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?\r?\n")
_STARTED = re.compile(rb"(?:HTTP/1\.[01] [1-9][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?\r?)\Z")
_SHORT = b"HTTP/1.1 "
_HEADER_END = re.compile(rb"\n\r?\n")
_NOT_IN_FIELD = re.compile(r"[^\t\x20-\x7e]")
_PATH_CHARACTERS = "/?#[]@!$&'()*+,;=:%~"


class NotHttp(Exception):
    """What came cannot become an answer any more; the text is the reason, for people."""


def request(endpoint: Endpoint) -> bytes:
    """The request that probes `endpoint`.

    Whatever could end a line or the request inside the path or the host is percent-encoded, inside other fields left
    out. A field of the check stands in place of one that all requests have.
    """
    address = f"[{endpoint.address}]" if endpoint.address.version == 6 else str(endpoint.address)
    check = endpoint.check.http or HttpCheck()
    usual_port = 443 if endpoint.check.type is CheckType.HTTPS else 80
    host = check.host or (address if endpoint.port == usual_port else f"{address}:{endpoint.port}")
    fields = {"User-Agent": f"ha-lvs/{__version__}", "Accept": "*/*"}
    if check.method == "POST":
        fields["Content-Length"] = "0"  # RFC 9110 section 8.6: a method that could have content says that there is none
    if check.contains or check.matches or check.sha256:
        fields["Accept-Encoding"] = "identity"  # the body is compared as it is, not compressed
    given = {name.lower() for name, _ in check.headers}
    lines = [
        f"{check.method} {quote(check.path, _PATH_CHARACTERS)} HTTP/1.1",
        f"Host: {quote(host, '[]:%')}",
        *(f"{name}: {value}" for name, value in fields.items() if name.lower() not in given),
        *(_NOT_IN_FIELD.sub("", f"{name}: {value}") for name, value in check.headers),
        "Connection: close",
    ]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


class HttpDialogue:
    """A request and the status of the answer.

    Arguments:
        check: what counts as a good answer.
        request: as `request` gives it.
    """

    __slots__ = ("_answer", "_check", "awaited", "opening")

    def __init__(self, check: HttpCheck, request: bytes) -> None:
        self._check = check
        self._answer = b""
        self.opening = request
        self.awaited = "the status line"

    def hear(self, part: bytes) -> Reply:
        """See `Dialogue`."""
        self._answer += part
        try:
            code = status(self._answer)
        except NotHttp as problem:
            return Reply(outcome=Outcome(False, str(problem)))
        if code is None:
            return NOTHING
        return Reply(outcome=Outcome(is_expected(self._check, code), f"HTTP {code}"))

    def ended(self) -> Outcome:
        """See `Dialogue`."""
        return Outcome(False, "connection closed before the status line")


def is_expected(check: HttpCheck, code: int) -> bool:
    """Whether a status code counts as success."""
    return any(low <= code <= high for low, high in check.status)


def status(answer: bytes) -> int | None:
    """The status code in the bytes that have come so far.

    Returns None while more is needed.

    Errors: NotHttp when no status can come of it.
    """
    found = status_line(answer)
    return None if found is None else found[0]


def status_line(answer: bytes) -> tuple[int, int] | None:
    """The status code in the bytes that have come so far, and where the lines behind the status line start.

    Returns None while more is needed.

    Errors: NotHttp when no status can come of it.
    """
    start = 0
    while True:
        line = _STATUS_LINE.match(answer, start, MAX_HEADER)
        if line is None:
            _expect_more(answer[start:MAX_HEADER])
            break
        code = int(line[1])
        if code >= 200 or code == 101:
            return code, line.end()
        end = _HEADER_END.search(answer, line.end() - 1, MAX_HEADER)
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
    raise NotHttp(f"not HTTP: {excerpt(part)}")
