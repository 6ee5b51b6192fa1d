"""HTTP checks that look at the body: how long the header says that it is, and what must be in it.

Rules that hold here:
* Pure. A regular expression is applied by the caller's function, which may give up.
* A wrong status ends the check before the body, like in `http`.
* Framing is that of RFC 9112 section 6.3: chunked before Content-Length before the end of the connection. A
  Content-Length that contradicts itself, and transfer codings other than chunked, are refused; trailers are not waited
  for.
* `MAX_BODY` bytes of the body are looked at, `MAX_TEXT` of them by a regular expression, and what frames them (chunk
  sizes) may be as long again. What is kept is the text for the expression, and as much as the text to find is long.
* The check ends as soon as what came is enough to judge, and that depends on places in the body, never on how it was
  cut into parts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Protocol

from ha_lvs.health.speech import http
from ha_lvs.health.speech.dialogue import NOTHING, Outcome, Reply, excerpt
from ha_lvs.health.speech.http import MAX_HEADER, NotHttp
from ha_lvs.model import HttpCheck

MAX_BODY = 1 << 20
MAX_TEXT = 64 << 10
MAX_LINE = 4096
"""Of a line with a chunk's size and its extensions."""

Search = Callable[[str], bool | None]
"""Whether the check's regular expression matches somewhere in a text; None where that took too long to find out."""

_HEADER_END = re.compile(rb"\n\r?\n")
_FIELD = re.compile(rb"^(content-length|transfer-encoding):(.*)$", re.IGNORECASE | re.MULTILINE)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
_NO_BODY = (101, 204, 304)


def looks_at_body(check: HttpCheck) -> bool:
    """Whether a check needs more than the status."""
    return bool(check.contains or check.matches or check.sha256)


class BodyDialogue:
    """A request, and the status and the body of the answer.

    Arguments:
        check: what counts as a good answer.
        request: as `http.request` gives it.
        search: applies `check.matches`; not called where that is empty.
    """

    __slots__ = ("_body", "_check", "_code", "_framing", "_header", "_lines_at", "awaited", "opening")

    def __init__(self, check: HttpCheck, request: bytes, search: Search) -> None:
        self._check = check
        self._body = _Body(check, search)
        self._header = b""
        self._code = 0
        self._lines_at = 0
        self._framing: _Framing | None = None
        self.opening = request
        self.awaited = "the status line"

    def hear(self, part: bytes) -> Reply:
        """See `Dialogue`."""
        try:
            outcome = self._take_header(part) if self._framing is None else self._take_body(part)
        except NotHttp as problem:
            outcome = Outcome(False, str(problem))
        return NOTHING if outcome is None else Reply(outcome=outcome)

    def ended(self) -> Outcome:
        """See `Dialogue`."""
        if self._framing is None:
            where = "within the header" if self._code else "before the status line"
            return Outcome(False, f"connection closed {where}")
        if self._framing.ends_with_connection:
            return self._judge()
        return Outcome(False, f"HTTP {self._code}, but the connection was closed within the body")

    def _take_header(self, part: bytes) -> Outcome | None:
        unseen = max(0, len(self._header) - 2)
        self._header += part
        if not self._code:
            found = http.status_line(self._header)
            if found is None:
                return None
            self._code, self._lines_at = found
            if not http.is_expected(self._check, self._code):
                return Outcome(False, f"HTTP {self._code}")
            self.awaited = "the end of the header"
        end = _HEADER_END.search(self._header, max(unseen, self._lines_at - 1), MAX_HEADER)
        if end is None:
            if len(self._header) >= MAX_HEADER:
                raise NotHttp(f"HTTP {self._code}, but its header is longer than {MAX_HEADER // 1024} KiB")
            return None
        lines, rest = self._header[self._lines_at : end.start() + 1], self._header[end.end() :]
        self._framing = _Counted(0) if self._code in _NO_BODY or self._check.method == "HEAD" else _framing(lines)
        self._header = b""
        self.awaited = "the end of the body"
        return self._take_body(rest)

    def _take_body(self, part: bytes) -> Outcome | None:
        assert self._framing is not None
        return self._judge() if self._framing.take(part, self._body) else None

    def _judge(self) -> Outcome:
        complaint = self._body.complaint()
        return Outcome(not complaint, f"HTTP {self._code}, " + (complaint or "and the body is as expected"))


# ------------------------------------------------------------------------------------------------- what is in it


class _Body:
    """What has been seen of a body."""

    __slots__ = ("_check", "_digest", "_found", "_matched", "_needle", "_search", "_seen", "_tail", "_text")

    def __init__(self, check: HttpCheck, search: Search) -> None:
        self._check, self._search = check, search
        self._needle = check.contains.encode()
        self._found = not self._needle
        self._matched: bool | None = None
        self._digest = hashlib.sha256()
        self._seen = 0
        self._tail = b""  # the end of what was seen, in which a part of the needle may be
        self._text = bytearray() if check.matches else None  # for the expression, until that was applied

    def take(self, data: bytes) -> bool:
        """Takes in what comes next; returns whether that is enough to judge."""
        fresh = data[: max(0, MAX_BODY - self._seen)]
        if self._check.sha256:
            self._digest.update(fresh)
        if not self._found:
            window = self._tail + fresh
            self._found = self._needle in window
            self._tail = window[max(0, len(window) - len(self._needle) + 1) :]
        if self._text is not None:
            self._text += fresh[: MAX_TEXT - len(self._text)]
            if len(self._text) >= MAX_TEXT:
                self._match()
        self._seen += len(data)
        if self._seen > MAX_BODY or (self._text is None and self._check.matches and not self._matched):
            return True
        return self._found and self._text is None and not self._check.sha256

    def complaint(self) -> str:
        """What is wrong with the body, now that no more of it is needed; empty for nothing."""
        if self._text is not None:
            self._match()
        if self._check.matches and not self._matched:
            expression = _shown(self._check.matches)
            return (
                f"but {expression} takes too long to apply"
                if self._matched is None
                else f"but its body does not match {expression}"
            )
        if not self._found:
            limit = f" within {MAX_BODY >> 20} MiB" if self._seen > MAX_BODY else ""
            return f"but its body does not contain {_shown(self._check.contains)}{limit}"
        if self._check.sha256 and self._seen > MAX_BODY:
            return f"but its body is longer than {MAX_BODY >> 20} MiB"
        if self._check.sha256 and self._digest.hexdigest() != self._check.sha256:
            return f"but the SHA-256 digest of its body is {self._digest.hexdigest()}"
        return ""

    def _match(self) -> None:
        assert self._text is not None
        text = self._text.decode("utf-8", "replace")
        self._text = None
        self._matched = self._search(text)


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 40 else repr(text[:37]) + "..."


# ------------------------------------------------------------------------------------------------ where it ends


class _Framing(Protocol):
    """Finds the body in what comes behind the header.

    Attributes:
        ends_with_connection: whether the end of the connection is the end of the body.
    """

    @property
    def ends_with_connection(self) -> bool: ...

    def take(self, part: bytes, body: _Body) -> bool:
        """Gives `body` what is of it; returns whether no more is needed. Errors: NotHttp."""


class _UntilClose:
    """The body goes on until the connection ends."""

    ends_with_connection = True

    def take(self, part: bytes, body: _Body) -> bool:
        return body.take(part)


class _Counted:
    """The body has so many bytes."""

    ends_with_connection = False

    def __init__(self, length: int) -> None:
        self._left = length

    def take(self, part: bytes, body: _Body) -> bool:
        part = part[: self._left]
        self._left -= len(part)
        return body.take(part) or not self._left


class _Chunked:
    """The body comes in chunks, each behind a line with its size; one of size 0 is its end."""

    ends_with_connection = False

    def __init__(self) -> None:
        self._left = 0  # of the chunk
        self._line = b""
        self._behind_chunk = False  # the end of the line behind it comes next
        self._overhead = 0

    def take(self, part: bytes, body: _Body) -> bool:
        at = 0
        while at < len(part):
            if self._left:
                piece = part[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                if body.take(piece):
                    return True
                continue
            newline = part.find(b"\n", at)
            end = len(part) if newline < 0 else newline + 1
            self._line += part[at:end]
            at = end
            if len(self._line) > MAX_LINE:
                raise NotHttp(f"not HTTP: a chunk's size takes more than {MAX_LINE} bytes")
            if newline >= 0 and self._is_last():
                return True
        return False

    def _is_last(self) -> bool:
        """Makes what it is of a line that is complete; returns whether it ends the body."""
        line, self._line = self._line, b""
        self._overhead += len(line)
        if self._overhead > MAX_BODY:
            raise NotHttp(f"not HTTP: more than {MAX_BODY >> 20} MiB between chunks")
        if self._behind_chunk:
            if line not in (b"\r\n", b"\n"):
                raise NotHttp("not HTTP: a chunk is longer than its size")
            self._behind_chunk = False
            return False
        size = _CHUNK_SIZE.fullmatch(line)
        if size is None:
            raise NotHttp(f"not HTTP: {excerpt(line)} is no size of a chunk")
        self._left = int(size[1], 16)
        self._behind_chunk = True
        return not self._left


def _framing(lines: bytes) -> _Framing:
    """How the body ends, by the lines of the header."""
    lengths: set[bytes] = set()
    codings: list[bytes] = []
    for name, value in _FIELD.findall(lines):
        words = [word.strip(b" \t\r") for word in value.split(b",")]
        if name.lower() == b"content-length":
            lengths.update(words)
        else:
            codings += [word.lower() for word in words if word]
    if codings:
        if codings != [b"chunked"]:
            raise NotHttp(f"not HTTP/1.1: nobody asked for the transfer coding {excerpt(b', '.join(codings))}")
        return _Chunked()
    if not lengths:
        return _UntilClose()
    length = lengths.pop()
    if lengths or not re.fullmatch(rb"[0-9]{1,18}", length):
        raise NotHttp("not HTTP: its Content-Length is no number, or several")
    return _Counted(int(length))
