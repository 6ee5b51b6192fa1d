"""Services in files of their own: their order, their problems, and that unchanged ones are not read again."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from ha_lvs.config import sources as sources_module
from ha_lvs.config import tree
from ha_lvs.config.loader import load
from ha_lvs.config.parts import director_part
from ha_lvs.config.sources import Sources
from ha_lvs.errors import ConfigError
from tests.unit.configs import changed, config_of


def entry(name: str, port: int, **changes: Any) -> dict[str, Any]:
    listen = f"10.9.0.100:{port}/tcp"
    return {"name": name, "listen": listen, "forwarding": "dr", "servers": ["10.9.0.21"]} | changes


@pytest.fixture
def write(tmp_path: Path) -> Any:
    (tmp_path / "services.d").mkdir()
    write_to(tmp_path / "config.yml", changed(services=[entry("own", 80)], include=["services.d/*.yml"]))

    def write(name: str, *services: dict[str, Any]) -> Path:
        return write_to(tmp_path / "services.d" / name, {"services": list(services)})

    return write


def write_to(path: Path, data: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    os.utime(path, ns=(1, 1))
    return path


def problems(directory: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(directory / "config.yml")
    return [str(each).removeprefix(f"{directory}/") for each in caught.value.problems]


def test_the_same_config_as_in_one_file(tmp_path: Path, write: Any) -> None:
    write("b.yml", entry("b", 82))
    write("a.yml", entry("a", 81), entry("c", 83))
    (tmp_path / "services.d" / "empty.yml").write_text("# nothing yet\n")
    (tmp_path / "services.d" / ".a.yml.swp").write_text("]")
    found = load(tmp_path / "config.yml")
    assert [each.name for each in found.services] == ["own", "a", "c", "b"]
    together = [entry("own", 80), entry("a", 81), entry("c", 83), entry("b", 82)]
    assert found.digest == config_of(changed(services=together)).digest
    write("b.yml", entry("b", 84))
    assert load(tmp_path / "config.yml").digest != found.digest


def test_a_pattern_may_match_nothing_and_a_name_may_not(tmp_path: Path, write: Any) -> None:
    assert len(load(tmp_path / "config.yml").services) == 1
    write_to(tmp_path / "config.yml", changed(include=["services.d/web.yml", "config.y*"]))
    first, second = problems(tmp_path)
    assert "include[0]: " in first
    assert "No such file" in first
    assert "include[1]: config.yml is this file itself" in second


def test_problems_name_the_file_that_they_are_in(tmp_path: Path, write: Any) -> None:
    write("a.yml", entry("a", 81), entry("own", 82, scheduler="wlcc"))
    write("b.yml", entry("b", 81, servers=["10.9.0.21", "10.9.0.21"]))
    write("c.yml", entry("c", 83) | {"forwardign": "dr"})
    (tmp_path / "services.d" / "d.yml").write_text("cluster: edge\nservices: []\n")
    (tmp_path / "services.d" / "e.yml").write_text("services: [\n")
    found = problems(tmp_path)
    assert [each.partition(": ")[0].rpartition(":")[0].rpartition(":")[0] for each in found] == [
        f"services.d/{name}.yml" for name in "aabbcde"
    ]
    wrong = "\n".join(found)
    for fragment in (
        "services[1].scheduler: unknown scheduler 'wlcc'",
        "services[1].name: service name 'own' is already used by services[0].name; give",
        f"services[0].listen: 10.9.0.100:81/tcp is already taken by services[0].listen ({tmp_path}/services.d/a.yml:3)",
        "services[0].servers[1]: server 10.9.0.21:81 is already in the service as servers[0]",
        "unknown key `forwardign`; did you mean `forwarding`?",
        "unknown key `cluster`; it belongs into the config file",
        "not YAML",
    ):
        assert fragment in wrong, found


def test_a_service_in_an_unreadable_file_is_not_missed(tmp_path: Path, write: Any) -> None:
    edge = changed()["instances"]["edge"] | {"track": {"services": ["far"]}}
    write_to(tmp_path / "config.yml", changed(instances={"edge": edge}, include=["services.d/*.yml"]))
    (tmp_path / "services.d" / "e.yml").write_text("services: [\n")
    assert [each for each in problems(tmp_path) if "e.yml" not in each] == []
    write("e.yml", entry("near", 81))
    assert any("there is no service `far`" in each for each in problems(tmp_path))


def test_unchanged_files_are_not_parsed_again(tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "SETTLED_NS", -1)
    write("a.yml", entry("a", 81))
    write("b.yml", entry("b", 82))
    parsed: list[bytes] = []
    real = tree.parse

    def parse(content: bytes) -> tree.Tree:
        parsed.append(content)
        return real(content)

    monkeypatch.setattr(tree, "parse", parse)
    known = Sources()
    first = load(tmp_path / "config.yml", known)
    assert len(parsed) == 3
    before = director_part(first, "lb1").services
    write("b.yml", entry("b", 82, servers=["10.9.0.22"]))
    after = director_part(load(tmp_path / "config.yml", known), "lb1").services
    assert len(parsed) == 4
    assert after[1] is before[1]
    assert after == director_part(load(tmp_path / "config.yml"), "lb1").services
    assert str(after[2].servers[0].destination.key) == "10.9.0.22:82"


def test_a_file_that_has_just_been_written_is_read_again(tmp_path: Path, write: Any) -> None:
    path, known = write("a.yml", entry("a", 81)), Sources()
    content = []
    for text in ("1", "2"):
        path.write_text(text)
        content.append(known.get(path, bytes))
    assert content == [b"1", b"2"]


def test_problems_of_unchanged_files_are_told_again(
    tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources_module, "SETTLED_NS", -1)
    write("a.yml", entry("a", 81, scheduler="wlcc"))
    known, told = Sources(), []
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / "config.yml", known)
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert "wlcc" in told[0]


# --------------------------------------------------------------------------------------------- watching


def test_a_look_tells_every_kind_of_change_and_nothing_else(tmp_path: Path, write: Any) -> None:
    main, sources = tmp_path / "config.yml", Sources()
    load(main, sources)

    def changed_since() -> bool:
        """Whether the files are others than those that were loaded; loads them then."""
        if sources.as_they_are() == sources.as_read:
            return False
        with contextlib.suppress(ConfigError):
            load(main, sources)
        assert sources.as_they_are() == sources.as_read
        return True

    assert not changed_since()
    one = write("one.yml", entry("a", 81))
    assert changed_since(), "a new file"
    assert not changed_since()
    write(".one.yml.swp")
    assert not changed_since(), "what an editor leaves"
    one.write_text("services: [{}]")
    assert changed_since(), "a file that is wrong"
    assert not changed_since()
    write("one.yml", entry("a", 81))
    assert changed_since()
    write("other", entry("a", 81)).rename(one)
    assert changed_since(), "one in place of another that says the same"
    one.unlink()
    assert changed_since(), "a file that is gone"
    assert not changed_since()


def test_notify_names_services_that_exist(tmp_path: Path, write: Any) -> None:
    notify = [
        {"command": "/bin/x", "events": ["quorum"], "services": ["onw"]},
        {"command": "/bin/x", "services": ["own"]},
    ]
    write_to(tmp_path / "config.yml", changed(services=[entry("own", 80)], notify=notify))
    first, second = problems(tmp_path)
    assert "notify[0].services[0]: there is no service `onw`; did you mean `own`?" in first
    assert "notify[1].services: services have quorums and no roles" in second


def test_a_service_of_a_file_that_has_not_changed_is_checked_again_beside_what_has(tmp_path: Path, write: Any) -> None:
    write("a.yml", entry("a", 81, forwarding="tun", servers=["fd00:9::21"]))
    sources = Sources()
    synced = changed(services=[entry("own", 80)], include=["services.d/*.yml"])
    content = {key: value for key, value in synced.items() if key != "connection_sync"}
    write_to(tmp_path / "config.yml", content)
    for _ in range(2):
        load(tmp_path / "config.yml", sources)
    write_to(tmp_path / "config.yml", synced)
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / "config.yml", sources)
        [problem] = map(str, caught.value.problems)
        assert "services.d/a.yml" in problem
    write_to(tmp_path / "config.yml", content)
    assert len(load(tmp_path / "config.yml", sources).services) == 2
