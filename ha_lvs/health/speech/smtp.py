"""The little SMTP that a health check needs (RFC 5321): the greeting, EHLO, QUIT.

Rules that hold here:
* Pure, bytes to values.
* A reply may have several lines, which must agree on the code (section 4.2.1). A lone LF ends a line too.
* A line has `MAX_LINE` bytes at most, a reply `MAX_REPLY`: beyond that it is no SMTP.
* Once EHLO is accepted, the server is fine. It is waited for its answer to QUIT, or the end of the connection, so that
  it does not complain of clients that vanish; what it says then does not matter.
"""

from __future__ import annotations

import re

from ha_lvs.health.speech.dialogue import Outcome, Reply, excerpt

MAX_LINE = 2048
MAX_REPLY = 16 * 1024

_REPLY_LINE = re.compile(rb"([2-5][0-9]{2})([ -][^\n]*)?\r?\n")
_GREETING, _HELLO, _QUIT = "the greeting", "the answer to EHLO", "the answer to QUIT"
_EXPECTED = {_GREETING: 220, _HELLO: 250}


class SmtpDialogue:
    """A greeting, EHLO and QUIT.

    Arguments:
        hello: the name that is given in EHLO.
    """

    __slots__ = ("_code", "_hello", "_length", "_line", "awaited", "opening")

    def __init__(self, hello: str) -> None:
        self._hello = hello
        self._line = b""
        self._length = 0  # of the reply's lines so far
        self._code = 0  # of these lines; 0 before the first
        self.opening = b""
        self.awaited = _GREETING

    def hear(self, part: bytes) -> Reply:
        """See `Dialogue`."""
        say = b""
        at = 0
        while at < len(part):
            newline = part.find(b"\n", at)
            end = len(part) if newline < 0 else newline + 1
            self._line += part[at:end]
            at = end
            if len(self._line) > MAX_LINE or self._length + len(self._line) > MAX_REPLY:
                return Reply(outcome=Outcome(False, f"not SMTP: {self.awaited} is too long"))
            if newline < 0:
                break
            line, self._line = self._line, b""
            more, outcome = self._hear_line(line)
            if outcome is not None:
                return Reply(outcome=outcome)
            say += more
        return Reply(say)

    def ended(self) -> Outcome:
        """See `Dialogue`."""
        if self.awaited is _QUIT:
            return _fine()
        return Outcome(False, f"connection closed before {self.awaited}")

    def _hear_line(self, line: bytes) -> tuple[bytes, Outcome | None]:
        """What to say to a line, and the outcome if there is one."""
        if self.awaited is _QUIT:
            return b"", _fine()
        found = _REPLY_LINE.fullmatch(line)
        if found is None or self._code not in (0, int(found[1])):
            return b"", Outcome(False, f"not SMTP: {excerpt(line)}")
        self._code = int(found[1])
        self._length += len(line)
        if (found[2] or b"")[:1] == b"-":
            return b"", None
        code, self._code, self._length = self._code, 0, 0
        if code != _EXPECTED[self.awaited]:
            return b"", Outcome(False, f"{self.awaited} was {excerpt(line)}")
        if self.awaited is _GREETING:
            self.awaited = _HELLO
            return f"EHLO {self._hello}\r\n".encode("ascii", "replace"), None
        self.awaited = _QUIT
        return b"QUIT\r\n", None


def _fine() -> Outcome:
    return Outcome(True, "SMTP 250")
