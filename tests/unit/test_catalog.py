"""The journal's catalog: `ha-lvs catalog`, read as systemd documents it, and compiled by the real journalctl."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ha_lvs.observe import catalog, journal
from ha_lvs.observe.events import TABLE, Event

SCRIPT = Path(sys.executable).parent / "ha-lvs"
DEADLINE_S = 60.0
SUBSTITUTION = re.compile(r"@([^@ ]+)@")

needs_journalctl = pytest.mark.skipif(
    shutil.which("journalctl") is None, reason="journalctl (package systemd) is missing"
)


@dataclass(frozen=True)
class Entry:
    """An entry as systemd.io/CATALOG describes it."""

    headers: dict[str, str]
    text: str


def parse(source: str) -> dict[str, Entry]:
    """The catalog's entries by id; lines that begin with # or ; are comments everywhere."""
    lines = [line for line in source.splitlines() if not line.startswith(("#", ";"))]
    entries = {}
    for block in re.split(r"^-- (?=[0-9a-f]{32}$)", "\n".join(lines), flags=re.MULTILINE)[1:]:
        message_id, _, rest = block.partition("\n")
        head, _, text = rest.partition("\n\n")
        entries[message_id] = Entry(dict(line.split(": ", 1) for line in head.splitlines()), text.strip())
    return entries


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, timeout=DEADLINE_S, check=False)


@pytest.fixture(scope="module")
def printed() -> str:
    """What the verb prints."""
    done = run("catalog")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_each_event_has_an_entry_with_its_texts(printed: str) -> None:
    entries = parse(printed)
    assert len(entries) == len(TABLE)
    for event in TABLE:
        entry = entries[event.message_id]
        assert entry.headers.pop("Documentation", "") == event.documentation
        assert entry.headers == {"Subject": event.subject, "Defined-By": "ha-lvs"}
        text = " ".join(entry.text.split())
        assert all(part in text for part in (event.happened, event.follows, event.remedy))


def test_no_line_of_a_text_is_too_long(printed: str) -> None:
    for entry in parse(printed).values():
        assert all(len(line) <= catalog.WIDTH for line in entry.text.splitlines())


@pytest.mark.parametrize("event", TABLE, ids=lambda event: event.phrase)
def test_texts_name_only_fields_that_each_entry_carries(event: Event) -> None:
    named = SUBSTITUTION.findall(f"{event.subject} {event.happened} {event.follows} {event.remedy}")
    assert set(named) <= {journal.field_name(name) for name in event.fields}


@pytest.mark.parametrize("event", TABLE, ids=lambda event: event.phrase)
def test_texts_are_sentences_on_one_line(event: Event) -> None:
    for text in (event.happened, event.follows, event.remedy):
        assert text.isprintable()
        assert text == " ".join(text.split())
        assert text.endswith(".")
    assert event.subject.isprintable()
    assert not event.subject.endswith(".")


def test_a_comment_character_in_a_text_would_not_begin_a_line() -> None:
    for event in TABLE:
        for word in f"{event.happened} {event.follows} {event.remedy}".split():
            assert not word.startswith(("#", ";", "--")), f"{word} may come to stand at the beginning of a line"


def test_where_operators_find_help_is_theirs_to_say() -> None:
    done = run("catalog", "--support", "https://wiki.example.net/lvs")
    assert {entry.headers["Support"] for entry in parse(done.stdout).values()} == {"https://wiki.example.net/lvs"}
    done = run("catalog", "--support", "two\nlines")
    assert done.returncode == 2
    assert "one line" in done.stderr


@needs_journalctl
def test_journalctl_compiles_the_catalog(printed: str, tmp_path: Path) -> None:
    source = tmp_path / "usr/local/lib/systemd/catalog/ha-lvs.catalog"
    for directory in (source.parent, tmp_path / "var/lib/systemd/catalog"):
        directory.mkdir(parents=True)
    source.write_text(printed)

    def journalctl(*arguments: str) -> str:
        command = ["journalctl", f"--root={tmp_path}", "--no-pager", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
        assert done.stderr == ""
        return done.stdout

    journalctl("--update-catalog")
    expected = {event.message_id: f"ha-lvs: {event.subject}" for event in TABLE}
    assert dict(line.split(" ", 1) for line in journalctl("--list-catalog").splitlines()) == expected
    assert parse(journalctl("--dump-catalog")) == parse(printed)
    chosen = TABLE[0]
    assert parse(journalctl("--dump-catalog", chosen.message_id)).keys() == {chosen.message_id}
