"""What operators have said of servers and services at run time: remembered, and merged with what the peer has heard.

Rules that hold here:
* Of two overrides of one thing the later holds; of two of the same moment, that of the node that sorts last, then the
  one with the higher weight. So two directors that have heard the same, in whatever order, agree.
* What an operator says now is later than all that is known of the thing, whatever the clocks say: the clock of the peer
  may be ahead, and a command must not be in vain for that (`moment`).
* An override that was taken back is remembered as such for a month, so that a peer that slept meanwhile learns it.
* The file is replaced whole. It lies in the runtime directory: it survives a restart, and after a reboot of the
  machine the peer tells what it knows.
* A file that cannot be read is as none: `problem` says why.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ha_lvs import files
from ha_lvs.daemon.shapes import from_json, to_json
from ha_lvs.errors import ChannelError, PlatformError
from ha_lvs.model import DestinationKey, Override

FORGOTTEN_AFTER_S = 30 * 86400.0
MOST = 100_000
"""So many are remembered and no more."""
LAST_MOMENT_S = 1e11
"""Nothing is said later than this, in seconds since 1970: from here on the steps of a float become too coarse."""
MOST_WEIGHT = 65_535
LONGEST_NAME = 1024
_TICK_S = 0.001

Thing = tuple[str, DestinationKey | None]


class Overrides:
    """The overrides of this director.

    Arguments:
        path: of the file; its directory exists.

    Attributes:
        said: those that hold, by service name and server (None for the service as a whole).
        problem: why the file was not used; empty when there is nothing to say.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._all: dict[Thing, Override] = {}
        self.said: Mapping[Thing, Override] = {}
        self.problem = ""
        try:
            data = json.loads(path.read_bytes())
            self._become({(each.service, each.server): each for each in map(checked, data)})
        except FileNotFoundError:
            pass
        except OSError as problem:
            self.problem = f"{path} cannot be read ({problem.strerror}); drained servers are as configured"
        except (ValueError, TypeError, ChannelError):
            self.problem = f"{path} is damaged and was ignored; drained servers are as configured"

    @property
    def all(self) -> tuple[Override, ...]:
        """Everything that a peer should know, taken back or not."""
        return tuple(self._all.values())

    def digest(self) -> str:
        """The same for two directors that know the same; what is about to be forgotten does not count."""
        oldest = time.time() - FORGOTTEN_AFTER_S
        words = sorted(
            json.dumps([each.service, str(each.server), *_rank(each)])
            for each in self._all.values()
            if not _forgettable(each, oldest)
        )
        return hashlib.sha256("\n".join(words).encode()).hexdigest()

    def of(self, service: str) -> tuple[Override, ...]:
        """Those of a service and its servers that hold."""
        return tuple(each for (name, _), each in self.said.items() if name == service)

    def moment(self, service: str, server: DestinationKey | None, now: float) -> float:
        """When something is said that is said now, in seconds since 1970: later than what is known of the same thing.

        Arguments:
            now: by the clock of this machine.
        """
        known = self._all.get((service, server))
        return now if known is None else max(now, known.since_s + _TICK_S)

    def take(self, overrides: Iterable[Override]) -> list[Override]:
        """Takes in what was said; returns those that are news.

        Errors: PlatformError when the file cannot be written; then nothing is taken in.
        """
        after = dict(self._all)
        news: list[Override] = []
        oldest = time.time() - FORGOTTEN_AFTER_S
        for each in overrides:
            thing = (each.service, each.server)
            known = after.get(thing)
            fits = len(after) < MOST and not _forgettable(each, oldest)
            if fits if known is None else _rank(each) > _rank(known):
                after[thing] = each
                news.append(each)
        if news:
            self._write(after, oldest)
            self._become(after)
        return news

    def _become(self, overrides: dict[Thing, Override]) -> None:
        self._all = overrides
        self.said = {thing: each for thing, each in overrides.items() if each.weight is not None}

    def _write(self, overrides: dict[Thing, Override], oldest: float) -> None:
        for thing in [thing for thing, each in overrides.items() if _forgettable(each, oldest)]:
            del overrides[thing]
        try:
            files.replace(self._path, json.dumps(to_json(list(overrides.values())), indent=0))
        except OSError as problem:
            raise PlatformError(
                f"{self._path} cannot be written ({problem.strerror}): "
                "the runtime directory must exist, be ours and have room; nothing was changed"
            ) from problem


def checked(data: Any) -> Override:
    """The override whose JSON shape is `data`, out of a file or from a peer.

    Errors: ChannelError when it is none; ValueError when it says what nobody can have said.
    """
    found = from_json(Override, data)
    for word in (found.service, found.node):
        if not isinstance(word, str) or len(word) > LONGEST_NAME:
            raise ValueError("a name that is none")
    server = found.server
    if server is not None and (type(server.port) is not int or not 0 <= server.port <= 65_535):
        raise ValueError("a port that is none")
    most = 0 if server is None else MOST_WEIGHT
    if found.weight is not None and (type(found.weight) is not int or not 0 <= found.weight <= most):
        raise ValueError(f"a weight that is none: {found.weight!r:.40}, where at most {most} is possible")
    if not 0 <= found.since_s < LAST_MOMENT_S:
        raise ValueError(f"a moment that is none: {found.since_s!r:.40}")
    return found


def _forgettable(override: Override, oldest: float) -> bool:
    return override.weight is None and override.since_s < oldest


def _rank(override: Override) -> tuple[float, str, int]:
    return override.since_s, override.node, -1 if override.weight is None else override.weight
