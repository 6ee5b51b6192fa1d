"""Reads the config file; `reading` has the rules that hold."""

from __future__ import annotations

from pathlib import Path

from ha_lvs.config import crosscheck, reading, tree
from ha_lvs.config.schema import Config

_SCHEMA = reading.Schema(
    model=Config,
    crosscheck=crosscheck.problems,
    needs="cluster, nodes and instances",
    example="cluster: ...",
    verb="ha-lvs schema",
)


def load(path: Path) -> Config:
    """The config in a file.

    Arguments:
        path: the file, as the operator gave it; problems quote it so.

    Errors: ConfigError with every problem, sorted by place.
    """
    return loads(reading.content_of(path), str(path))


def loads(content: bytes, source: str) -> Config:
    """The config in the bytes of a file.

    Arguments:
        content: what is in the file.
        source: what problems call the file.

    Errors: as for `load`.
    """
    config, found = reading.reads(content, source, _SCHEMA)
    config._source = source
    config._places = _places(found, config)
    return config


def _places(found: tree.Tree, config: Config) -> dict[tree.Path, tree.Place]:
    """Where those values are that may turn out wrong only on a certain machine: the nodes and the keys' files."""
    places: dict[tree.Path, tree.Place] = {("nodes",): found.place_of(("nodes",), key=True)[1]}
    for index, _ in enumerate(config.authentication.keys if config.authentication else ()):
        path = ("authentication", "keys", index, "file")
        places[path] = found.place_of(path)[1]
    return places
