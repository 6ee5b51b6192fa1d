"""The files of the keys: what is taken, and what is refused at the place that names it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ha_lvs.config.keys import read_keys
from ha_lvs.config.loader import load, loads
from ha_lvs.config.parts import attendant_part, director_part, elector_part
from ha_lvs.config.schema import Config
from ha_lvs.errors import ConfigError
from ha_lvs.model import Authentication, Key
from tests.unit.configs import DATA

SECRET = b"0123456789abcdef"


def config(*files: Path, mode: str = "enforce", send: str = "") -> Config:
    keys = "\n".join(f"    - {{id: {index}, file: {file}}}" for index, file in enumerate(files, 1))
    text = f"\nauthentication:\n  mode: {mode}\n{send}  keys:\n{keys}\n"
    return loads((DATA / "vip-only.yml").read_bytes() + text.encode(), "pair.yml")


def key_file(path: Path, content: bytes = SECRET, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def refusal(*files: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_keys(config(*files))
    assert caught.value.exit_code == 2
    return [str(problem) for problem in caught.value.problems]


def test_without_authentication_there_are_none() -> None:
    assert read_keys(load(DATA / "pair.yml")) is None


def test_the_stripped_content_is_the_key(tmp_path: Path) -> None:
    first, second = key_file(tmp_path / "1"), key_file(tmp_path / "2", b"  \xff" + SECRET + b"\n\n", 0o400)
    found = read_keys(config(first, second))
    expected = (Key(1, SECRET.hex()), Key(2, (b"\xff" + SECRET).hex()))
    assert found == Authentication(expected, send=2, enforce=True)


def test_the_key_that_signs_and_the_mode_are_the_operators(tmp_path: Path) -> None:
    files = key_file(tmp_path / "1"), key_file(tmp_path / "2")
    found = read_keys(config(*files, mode="permissive", send="  send_key: 1\n"))
    assert found is not None
    assert (found.send, found.enforce, [key.number for key in found.keys]) == (1, False, [1, 2])


@pytest.mark.parametrize(
    ("content", "mode", "fragment"),
    [
        (SECRET, 0o640, "open to others (mode 0640); `chmod 600"),
        (SECRET, 0o604, "open to others (mode 0604)"),
        (SECRET, 0o620, "open to others"),
        (SECRET, 0o601, "open to others"),
        (b"", 0o600, "is empty"),
        (b" \n\t\n", 0o600, "is empty"),
        (SECRET[:15] + b"\n", 0o600, "has 15 bytes, and a key needs at least 16"),
        (b"x" * 5000, 0o600, "more than 4096 bytes"),
    ],
)
def test_what_is_no_safe_key_is_refused(tmp_path: Path, content: bytes, mode: int, fragment: str) -> None:
    file = key_file(tmp_path / "1.key", content, mode)
    [problem] = refusal(file)
    assert f"authentication.keys[0].file: {file}: " in problem
    assert fragment in problem


def test_every_key_is_looked_at_and_named_at_its_place(tmp_path: Path) -> None:
    missing, fine, directory = tmp_path / "missing", key_file(tmp_path / "fine"), tmp_path / "directory"
    directory.mkdir(mode=0o700)
    first, second = refusal(missing, fine, directory)
    before = len((DATA / "vip-only.yml").read_text().splitlines()) + 4
    column = len("    - {id: 1, file: ") + 1
    assert first.startswith(f"pair.yml:{before + 1}:{column}: authentication.keys[0].file: {missing}: there is no such")
    assert second.startswith(f"pair.yml:{before + 3}:{column}: authentication.keys[2].file: ")
    assert "not a regular file" in second


def test_a_pipe_does_not_keep_the_start_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    [problem] = refusal(tmp_path / "pipe")
    assert "not a regular file" in problem


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    file = key_file(tmp_path / "1.key")
    os.chown(file, 12345, 0)
    [problem] = refusal(file)
    assert "belongs to user 12345" in problem


def test_a_link_counts_as_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(key_file(tmp_path / "open", mode=0o644))
    assert "mode 0644" in refusal(tmp_path / "link")[0]
    (tmp_path / "good").symlink_to(key_file(tmp_path / "closed"))
    assert read_keys(config(tmp_path / "good")) is not None


def test_no_secret_is_shown_and_none_is_in_the_digest(tmp_path: Path) -> None:
    file = key_file(tmp_path / "1.key", SECRET[:10])
    assert SECRET[:10].decode() not in "".join(refusal(file))
    said = config(file)
    before = said.digest
    key_file(file, b"another key, 16 bytes or more")
    found = read_keys(said)
    assert found is not None
    assert config(file).digest == before
    for part in (elector_part(said, "lb1", found), director_part(said, "lb1", found)):
        assert found.keys[0].secret not in repr(part)


def test_who_gets_the_keys(tmp_path: Path) -> None:
    said = config(key_file(tmp_path / "1.key"))
    found = read_keys(said)
    assert found is not None
    director = director_part(said, "lb1", found)
    assert elector_part(said, "lb1", found).instances[0].authentication == found
    assert director.peer_link is not None
    assert director.peer_link.authentication == found
    assert director.instances[0].authentication is None
    assert attendant_part(said, "lb1").instances[0].authentication is None
    assert elector_part(said, "lb1").instances[0].authentication is None
