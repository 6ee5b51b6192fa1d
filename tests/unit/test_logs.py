"""Logs: readable lines, the journal's protocol against a real socket, and never raising or waiting."""

from __future__ import annotations

import array
import fcntl
import io
import logging
import os
import pty
import re
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from ha_lvs.daemon.channel import LogRecord
from ha_lvs.observe import journal, logs
from ha_lvs.observe.events import EVENTS

log = structlog.get_logger()


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    logs.configure("info")
    structlog.reset_defaults()
    for handler in [each for each in logging.getLogger().handlers if type(each).__module__ == logs.__name__]:
        logging.getLogger().removeHandler(handler)


@pytest.fixture
def lines() -> Callable[[], list[str]]:
    """Logging at info into memory; gives what was written, without the time."""
    stream = io.StringIO()
    logs.configure("info", stream)
    return lambda: [
        re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} ", "", line) for line in stream.getvalue().splitlines()
    ]


def parse_entry(data: bytes) -> dict[str, str]:
    """An entry of the journal's native protocol, read as systemd documents it."""
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(data[:8], "little")
            value, data = data[8 : 8 + size], data[8 + size + 1 :]
        fields[name.decode()] = value.decode()
    return fields


class FakeJournal:
    """The journal's end: a real datagram socket."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(10)

    def entry(self) -> dict[str, str]:
        data, control, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        if control:
            assert data == b""
            fds = array.array("i", control[0][2])
            # journald refuses a memory file that its sender could still change.
            assert fcntl.fcntl(fds[0], fcntl.F_GET_SEALS) == 0xF
            with open(fds[0], "rb") as file:  # noqa: PTH123  a descriptor, not a path
                file.seek(0)
                data = file.read()
        return parse_entry(data)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeJournal]:
    """Logging at debug, with a stderr that leads to a journal as systemd would set it up."""
    with open(tmp_path / "stderr", "w+") as stream:  # noqa: PTH123  the stream stays open
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        end = FakeJournal(tmp_path / "journal")
        logs.configure("debug", stream, end.path)
        yield end
        end.socket.close()


# --------------------------------------------------------------------------------------------- readable lines


def test_a_line_has_level_event_and_fields(lines: Callable[[], list[str]]) -> None:
    log.info("role changed", instance="edge", role="active", took_s=0.25, peer=None, held=True)
    assert lines() == ["info     role changed: instance=edge role=active took_s=0.25 peer=- held=true"]


def test_less_important_events_are_left_out(lines: Callable[[], list[str]]) -> None:
    log.debug("detail")
    logs.from_record(LogRecord("debug", "detail", {}))
    log.warning("attention")
    assert lines() == ["warning  attention"]


def test_values_cannot_forge_lines_or_reach_the_terminal(lines: Callable[[], list[str]]) -> None:
    log.info("odd\nevent", value='a b="c"\n\x1b[2J', **{"k\n": "é ü"})
    assert lines() == ['info     odd\\nevent: value="a b=\\"c\\"\\n\\u001b[2J" k\\n="é ü"']


def test_an_exception_has_its_traceback_on_further_lines(lines: Callable[[], list[str]]) -> None:
    try:
        raise ValueError("bad\x1b[2J")
    except ValueError:
        log.exception("step failed", step=3)
    first, *rest = lines()
    assert first == 'error    step failed: step=3 exception="ValueError: bad\\u001b[2J"'
    assert rest[0] == "    Traceback (most recent call last):"
    assert not any("\x1b" in line for line in rest)


def test_a_record_of_another_process(lines: Callable[[], list[str]]) -> None:
    record = LogRecord("warning", "advert dropped", {"reason": "checksum", "event": "x", "level": 1})
    logs.from_record(record, by="elector")
    logs.from_record(LogRecord("strange", "hello", {}))
    assert lines() == ["warning  advert dropped: reason=checksum event=x level=1", "info     hello"]


def test_the_standard_librarys_logging_arrives(lines: Callable[[], list[str]]) -> None:
    logging.getLogger("third.party").warning("lost %d", 3)
    assert lines() == ['warning  "lost 3": logger=third.party'.replace('"', "")]


def test_notice_is_between_info_and_warning(lines: Callable[[], list[str]]) -> None:
    log.notice("server up", server="s1")
    log.bind(service="web").notice("server up", server="s1")
    assert lines() == ["notice   server up: server=s1", "notice   server up: service=web server=s1"]


@pytest.mark.parametrize(
    ("level", "shown"), [("debug", True), ("info", True), ("notice", True), ("warning", False), ("error", False)]
)
def test_notice_is_shown_from_its_level_on(level: str, shown: bool) -> None:
    stream = io.StringIO()
    logs.configure(level, stream)
    log.notice("server up")
    logs.from_record(LogRecord("notice", "role is backup", {}))
    assert stream.getvalue().count("\n") == (2 if shown else 0)


def test_info_is_left_out_at_notice() -> None:
    stream = io.StringIO()
    logs.configure("notice", stream)
    log.info("left out")
    log.warning("kept")
    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["kept"]


def test_the_level_can_change(lines: Callable[[], list[str]]) -> None:
    stream = io.StringIO()
    logs.configure("error", stream)
    log.warning("left out")
    log.error("kept")
    assert stream.getvalue().count("\n") == 1
    assert lines() == []


def test_colour_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    master, slave = pty.openpty()
    with open(slave, "w") as terminal, open(tmp_path / "file", "w+") as file:  # noqa: PTH123  a descriptor
        logs.configure("info", terminal)
        log.info("hello")
        shown = os.read(master, 1000)
        logs.configure("info", file)
        log.info("hello")
        file.seek(0)
        assert b"\x1b[32m" in shown
        assert b"hello" in shown
        assert "\x1b" not in file.read()
    os.close(master)


# --------------------------------------------------------------------------------------------------- journal


def test_an_entry_has_the_native_fields(fake: FakeJournal) -> None:
    log.warning("role changed", instance="edge", took_s=0.25)
    assert fake.entry() == {
        "MESSAGE": "role changed: instance=edge took_s=0.25",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "ha-lvs",
        "HA_LVS_EVENT": "role changed",
        "HA_LVS_INSTANCE": "edge",
        "HA_LVS_TOOK_S": "0.25",
    }


def test_an_event_of_the_table_carries_its_id_and_who_said_it(fake: FakeJournal) -> None:
    logs.from_record(LogRecord("notice", "role is active", {"instance": "edge", "reason": "started"}), by="elector")
    assert fake.entry() == {
        "MESSAGE_ID": EVENTS["role is active"].message_id,
        "HA_LVS_BY": "elector",
        "MESSAGE": "role is active: instance=edge reason=started",
        "PRIORITY": "5",
        "SYSLOG_IDENTIFIER": "ha-lvs",
        "HA_LVS_EVENT": "role is active",
        "HA_LVS_INSTANCE": "edge",
        "HA_LVS_REASON": "started",
    }


@pytest.mark.parametrize("phrase", EVENTS)
def test_the_id_is_in_the_datagram_as_the_journal_wants_it(fake: FakeJournal, phrase: str) -> None:
    logs.from_record(LogRecord("info", phrase, {}))
    assert re.search(rb"(?m)^MESSAGE_ID=[0-9a-f]{32}$", data := fake.socket.recv(1 << 16))
    assert f"MESSAGE_ID={EVENTS[phrase].message_id}\n".encode() in data


def test_a_third_party_has_no_id_even_with_words_of_ours(fake: FakeJournal) -> None:
    logging.getLogger("third.party").warning("stopped")
    entry = fake.entry()
    assert entry["MESSAGE"] == "stopped: logger=third.party"
    assert "MESSAGE_ID" not in entry


def test_a_field_cannot_pass_for_an_id_or_a_process(fake: FakeJournal) -> None:
    log.info("stopped", message_id="0" * 32, by="somebody", node="lb1")
    entry = fake.entry()
    assert entry["MESSAGE_ID"] == EVENTS["stopped"].message_id
    assert entry["HA_LVS_MESSAGE_ID"] == "0" * 32
    logs.from_record(LogRecord("info", "stopped", {"by": "somebody"}), by="prober")
    assert fake.entry()["HA_LVS_BY"] == "prober"


def test_a_process_says_who_it_is_unless_it_speaks_for_another(fake: FakeJournal, tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("a") as stream:
        logs.configure("info", stream, fake.path, by="director")
        log.info("stopped")
        logs.from_record(LogRecord("info", "stopped", {}), by="prober")
        logging.getLogger("third.party").warning("hm")
    assert [fake.entry()["HA_LVS_BY"] for _ in range(3)] == ["director", "prober", "director"]


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", "7"), ("info", "6"), ("notice", "5"), ("error", "3"), ("critical", "2")]
)
def test_priorities_are_syslogs(fake: FakeJournal, level: str, priority: str) -> None:
    logs.from_record(LogRecord(level, "x", {}))
    assert fake.entry()["PRIORITY"] == priority


def test_values_with_line_breaks_travel_whole(fake: FakeJournal) -> None:
    log.info("output", text="one\nPRIORITY=0\ntwo", after="x")
    entry = fake.entry()
    assert entry["HA_LVS_TEXT"] == "one\nPRIORITY=0\ntwo"
    assert entry["PRIORITY"] == "6"
    assert entry["HA_LVS_AFTER"] == "x"
    assert "\n" not in entry["MESSAGE"]


def test_a_traceback_travels_whole(fake: FakeJournal) -> None:
    try:
        raise ValueError("bad")
    except ValueError:
        log.exception("step failed")
    entry = fake.entry()
    assert entry["HA_LVS_EXCEPTION"].startswith("Traceback")
    assert entry["MESSAGE"] == 'step failed: exception="ValueError: bad"'


def test_an_entry_too_large_for_a_datagram_travels_in_a_file(fake: FakeJournal) -> None:
    text = "x" * 4_000_000
    log.info("large", text=text)
    assert fake.entry()["HA_LVS_TEXT"] == text


def test_field_names_are_what_the_journal_accepts() -> None:
    assert journal.field_name("took-s.é") == "HA_LVS_TOOK_S__"
    assert len(journal.field_name("x" * 100)) == 64


@given(st.dictionaries(st.from_regex(r"\A[A-Z][A-Z0-9_]{0,20}\Z"), st.text()))
def test_what_is_encoded_is_read_back(fields: dict[str, str]) -> None:
    assert parse_entry(journal.encode(fields)) == {
        name: value.encode(errors="backslashreplace").decode() for name, value in fields.items()
    }


@pytest.mark.parametrize("stream", [None, "", "0:0", "nonsense"])
def test_a_stderr_that_does_not_lead_to_the_journal(tmp_path: Path, stream: str | None) -> None:
    with (tmp_path / "file").open("w") as file:
        assert not journal.leads_to_journal(file.fileno(), stream)


def test_without_the_journal_entries_go_to_stderr(fake: FakeJournal, tmp_path: Path) -> None:
    fake.socket.close()
    log.info("hello", instance="edge")
    assert "hello: instance=edge" in (tmp_path / "stderr").read_text()


def test_a_journal_that_does_not_read_does_not_stop_us(fake: FakeJournal, tmp_path: Path) -> None:
    for number in range(2000):
        log.info("flood", number=number)
    assert "flood" in (tmp_path / "stderr").read_text()
    assert fake.entry()["HA_LVS_NUMBER"] == "0"


# ------------------------------------------------------------------------------------ never raising or waiting


def test_a_full_pipe_does_not_stop_us_and_the_loss_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    reader, writer = os.pipe()
    with open(writer, "w") as stream:  # noqa: PTH123  a descriptor
        logs.configure("info", stream)
        for number in range(3000):
            log.info("flood", number=number, padding="x" * 100)
        while select.select([reader], [], [], 0)[0]:
            os.read(reader, 1 << 16)
        log.info("again")
        assert re.search(rb"again: lost_before=\d{3,}\n", os.read(reader, 1 << 16))
        log.info("fine")
        assert b"lost" not in os.read(reader, 1 << 16)
    os.close(reader)


def test_a_line_that_was_cut_does_not_run_into_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    reader, writer = os.pipe()
    with open(writer, "w") as stream:  # noqa: PTH123  a descriptor
        logs.configure("info", stream)
        log.info("cut", padding="x" * 1_000_000)
        while select.select([reader], [], [], 0)[0]:
            os.read(reader, 1 << 16)
        log.info("again")
        assert re.match(rb"\n\S+ info +again: lost_before=1\n\Z", os.read(reader, 1 << 16))
    os.close(reader)


def test_a_closed_stream_and_a_value_without_text_do_not_raise(lines: Callable[[], list[str]]) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError

    log.info("odd", value=Odd())
    assert lines() == ['info     odd: value="<Odd without text>"']
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:  # noqa: PTH123  a descriptor
        logs.configure("info", stream)
        log.info("to nobody")
    log.info("to nobody at all")
    closed = io.StringIO()
    closed.close()
    logs.configure("info", closed)
    log.info("to nobody")
    logs.from_record(LogRecord("info", "to nobody", {}))


@given(st.text(), st.dictionaries(st.text(), st.one_of(st.none(), st.text(), st.floats(), st.integers())))
def test_any_event_is_one_printable_line(event: str, fields: dict[str, object]) -> None:
    assert logs.message(event, fields).isprintable()
