"""Logs: structlog in front, the journal or readable lines behind.

Rules that hold here:
* An event is a short stable phrase ("role changed"); what varies is in fields, given as keywords. People see
  "role changed: instance=edge role=active"; the journal also has each field by itself (`HA_LVS_INSTANCE=edge`).
* Logging never raises and never blocks. What cannot be written at once is dropped and counted, and the next line
  that gets through says how many were lost: a full pipe must not stop a director.
* Control characters never reach a terminal: text from the network may be in a field.
* An event that is in the table of `ha_lvs.observe.events` carries its MESSAGE_ID in the journal, by which the catalog
  explains it. What third parties log has none, even if it sounds like one of ours.
* The journal knows which process wrote an entry; which one had it to say is in `HA_LVS_BY`.
* Beside structlog's levels there is syslog's "notice": normal, but to be seen by whoever looks at a pair.
* No positional arguments: `log.info("x %s", y)` is formatted by structlog before we see it, and may raise there.

Use: `configure("info")` once, then `structlog.get_logger().info("role changed", instance="edge")` anywhere.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

import structlog

from ha_lvs.observe import journal
from ha_lvs.observe.events import EVENTS

IDENTIFIER = "ha-lvs"

LEVELS = {"debug": 10, "info": 20, "notice": 25, "warning": 30, "error": 40, "critical": 50}
_PRIORITIES = {"debug": 7, "info": 6, "notice": 5, "warning": 4, "error": 3, "critical": 2}  # those of syslog(3)
_SAME = {"warn": "warning", "exception": "error", "fatal": "critical"}
_COLOURS = {"debug": "2", "info": "32", "notice": "36", "warning": "33", "error": "31", "critical": "1;31"}

# What a pipe or socket that polls as writable takes without blocking (PIPE_BUF on Linux).
_CHUNK = select.PIPE_BUF


class Record(Protocol):
    """What `from_record` needs; the frame `LogRecord` has it."""

    @property
    def level(self) -> str:
        """structlog's name of the level."""

    @property
    def event(self) -> str:
        """The stable phrase."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """What varies."""


def configure(
    level: str, stream: TextIO | None = None, journal_path: str = journal.SOCKET_PATH, *, by: str = ""
) -> None:
    """Sets logging up for this process, or anew (a reload may change the level).

    Arguments:
        level: the least important level that is logged: debug, info, notice, warning or error.
        stream: where readable lines go, and what decides whether the journal is used; stderr by default.
        journal_path: of the journal's socket.
        by: the name of this process among ours, for the journal; nothing is said of it when empty.
    """
    global _sink
    _sink.close()
    _sink = _Sink(stream if stream is not None else sys.stderr, LEVELS.get(level, 20), journal_path, by)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _hand_over],
        wrapper_class=_logger_class(LEVELS.get(level, 20)),
        logger_factory=lambda *_: _sink,
        cache_logger_on_first_use=False,
    )
    # Third parties and asyncio ("exception was never retrieved") use the standard library's logging.
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _FromStandardLibrary)]:
        root.removeHandler(handler)
    root.addHandler(_FromStandardLibrary())
    root.setLevel(max(LEVELS.get(level, 20), logging.WARNING))


def to_the_journal() -> bool:
    """Whether entries go to the journal, with their fields, rather than to a stream as lines."""
    return _sink.to_the_journal


def from_record(record: Record, *, by: str = "") -> None:
    """Logs what another process sent as a `LogRecord` frame.

    Arguments:
        record: the frame.
        by: the name of the process that it came from, for the journal, which takes it to be ours otherwise.
    """
    try:
        level = _SAME.get(record.level, record.level)
        _sink.write(level if level in LEVELS else "info", record.event, dict(record.fields), by=by)
    except Exception:
        _sink.lost += 1


def message(event: str, fields: Mapping[str, object]) -> str:
    """An event for people, on one line: "event: key=value ..."."""
    if not fields:
        return _clean(event)
    return f"{_clean(event)}: " + " ".join(f"{_clean(name)}={_quoted(value)}" for name, value in fields.items())


# -------------------------------------------------------------------------------------------------- the far end


class _Sink:
    """Where entries end up. Also plays structlog's innermost logger: each level is a method."""

    def __init__(self, stream: TextIO, level: int, journal_path: str, by: str = "") -> None:
        self._by = by
        self._stream = stream
        self._level = level
        self._fd = _fd_of(stream)
        self._colour = self._fd is not None and os.isatty(self._fd) and not os.environ.get("NO_COLOR")
        self._journal: journal.Journal | None = None
        self._torn = False  # the last line went out without its end
        self.lost = 0
        if self._fd is not None and journal.leads_to_journal(self._fd, os.environ.get("JOURNAL_STREAM")):
            try:
                self._journal = journal.Journal(journal_path)
            except OSError:
                self._journal = None

    @property
    def to_the_journal(self) -> bool:
        """Whether entries go to the journal."""
        return self._journal is not None

    def close(self) -> None:
        """Lets go of the journal's socket; the stream belongs to the caller."""
        if self._journal is not None:
            self._journal.close()

    def msg(self, level: str, event: str, fields: dict[str, object]) -> None:
        """What structlog calls."""
        try:
            self.write(level, event, fields)
        except Exception:
            self.lost += 1

    debug = info = notice = warning = warn = error = critical = exception = fatal = log = msg

    def write(self, level: str, event: str, fields: dict[str, object], *, by: str = "", ours: bool = True) -> None:
        """Writes an entry, if its level is wanted.

        Arguments:
            by: the process that says it, where it is another one than this.
            ours: whether the event is one of ha-lvs, rather than a third party's.
        """
        if LEVELS[level] < self._level:
            return
        trace = fields.pop("exc_info", None)
        exception = _traceback(trace)
        if exception:
            fields["exception"] = exception.rstrip().rpartition("\n")[2]
        if self.lost:
            fields["lost_before"] = self.lost
        about = {"MESSAGE_ID": EVENTS[event].message_id} if ours and event in EVENTS else {}
        if by or self._by:
            about["HA_LVS_BY"] = by or self._by
        if self._to_journal(level, event, fields, exception, about) or self._to_stream(level, event, fields, exception):
            self.lost = 0
        else:
            self.lost += 1

    def _to_journal(
        self, level: str, event: str, fields: dict[str, object], exception: str, about: dict[str, str]
    ) -> bool:
        if self._journal is None:
            return False
        entry = {
            **about,
            "MESSAGE": message(event, fields),
            "PRIORITY": str(_PRIORITIES[level]),
            "SYSLOG_IDENTIFIER": IDENTIFIER,
            "HA_LVS_EVENT": event,
        }
        for name, value in fields.items():
            entry.setdefault(journal.field_name(name), _text(value))
        if exception:
            entry["HA_LVS_EXCEPTION"] = exception
        return self._journal.send(entry)

    def _to_stream(self, level: str, event: str, fields: dict[str, object], exception: str) -> bool:
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now)) + f".{int(now * 1000) % 1000:03d}"
        shown = f"{level:<8}"
        if self._colour:
            shown = f"\x1b[{_COLOURS[level]}m{shown}\x1b[0m"
        line = f"{stamp} {shown} {message(event, fields)}\n"
        if exception:
            line += "".join(f"    {_clean(each)}\n" for each in exception.rstrip().split("\n"))
        if self._fd is None:
            self._stream.write(line)
            return True
        data = line.encode("utf-8", errors="backslashreplace")
        if self._torn:
            data = b"\n" + data
        sent = _write_now(self._fd, data)
        if sent:
            self._torn = sent < len(data)
        return sent == len(data)


def _write_now(fd: int, data: bytes) -> int:
    """Writes to a file descriptor that may be blocking, without ever waiting: only when it polls as writable, and no
    more at a time than it then must take. Gives the number of bytes that went out."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    sent = 0
    while sent < len(data):
        ready = poll.poll(0)
        if not ready or not ready[0][1] & select.POLLOUT:
            break
        try:
            sent += os.write(fd, data[sent : sent + _CHUNK])
        except OSError:
            break
    return sent


def _fd_of(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


# ------------------------------------------------------------------------------------------------ the near end


def _logger_class(level: int) -> type[Any]:
    """structlog's logger from a level on, with a method for "notice"."""

    def notice(self: Any, event: str, **fields: Any) -> Any:
        return self._proxy_to_logger("notice", event, **fields)  # the sink leaves out what is not wanted

    known = level // 10 * 10  # structlog's levels are multiples of ten
    return type("Logger", (structlog.make_filtering_bound_logger(known),), {"notice": notice})


def _hand_over(_logger: object, level: str, entry: structlog.typing.EventDict) -> Any:
    """structlog's last step: the arguments for `_Sink.msg`."""
    event = _text(entry.pop("event", ""))
    level = _SAME.get(level, level)
    return (level if level in LEVELS else "info", event, dict(entry)), {}


class _FromStandardLibrary(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = next((name for name, number in LEVELS.items() if record.levelno <= number), "critical")
            fields: dict[str, object] = {"logger": record.name}
            if record.exc_info:
                fields["exc_info"] = record.exc_info
            _sink.write(level, record.getMessage(), fields, ours=False)
        except Exception:
            _sink.lost += 1


def _traceback(trace: object) -> str:
    """The traceback that `exc_info` stands for: true, an exception, or what `sys.exc_info` gives."""
    if isinstance(trace, tuple) and len(trace) == 3:
        trace = trace[1]
    elif trace and not isinstance(trace, BaseException):
        trace = sys.exc_info()[1]
    return "".join(traceback.format_exception(trace)) if isinstance(trace, BaseException) else ""


def _text(value: object) -> str:
    """A value as text, whatever it is."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "-"}[value]
    if isinstance(value, float):
        return f"{value:.6g}"
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} without text>"


def _quoted(value: object) -> str:
    text = _text(value)
    plain = text and text.isprintable() and not any(character in ' "=' for character in text)
    return text if plain else json.dumps(text, ensure_ascii=not text.isprintable())


def _clean(text: str) -> str:
    """Text without control characters, line breaks or terminal escapes."""
    return text if text.isprintable() else json.dumps(text)[1:-1]


_sink = _Sink(sys.stderr, LEVELS["info"], journal.SOCKET_PATH)
