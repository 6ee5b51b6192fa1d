"""What operators have said of servers and services at run time: remembered, and merged with what the peer has heard.

Rules that hold here:
* Of two overrides of one thing the later holds; of two of the same moment, that of the node that sorts last. So two
  directors that have heard the same, in whatever order, agree.
* An override that was taken back is remembered as such for a month, so that a peer that slept meanwhile learns it.
* The file is replaced whole. It lies in the runtime directory: it survives a restart, and after a reboot of the
  machine the peer tells what it knows.
* A file that cannot be read is as none: `problem` says why.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from ha_lvs import files
from ha_lvs.daemon.shapes import from_json, to_json
from ha_lvs.errors import ChannelError, PlatformError
from ha_lvs.model import DestinationKey, Override

FORGOTTEN_AFTER_S = 30 * 86400.0
MOST = 100_000
"""So many are taken in from a peer and no more."""

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
            self._become({(each.service, each.server): each for each in (from_json(Override, item) for item in data)})
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

    def take(self, overrides: Iterable[Override]) -> list[Override]:
        """Takes in what was said; returns those that are news.

        Errors: PlatformError when the file cannot be written; then nothing is taken in.
        """
        after = dict(self._all)
        news: list[Override] = []
        for each in overrides:
            thing = (each.service, each.server)
            known = after.get(thing)
            if (known is None and len(after) < MOST) or (known is not None and _rank(each) > _rank(known)):
                after[thing] = each
                news.append(each)
        if news:
            self._write(after)
            self._become(after)
        return news

    def _become(self, overrides: dict[Thing, Override]) -> None:
        self._all = overrides
        self.said = {thing: each for thing, each in overrides.items() if each.weight is not None}

    def _write(self, overrides: dict[Thing, Override]) -> None:
        oldest = time.time() - FORGOTTEN_AFTER_S
        for thing in [thing for thing, each in overrides.items() if each.weight is None and each.since_s < oldest]:
            del overrides[thing]
        try:
            files.replace(self._path, json.dumps(to_json(list(overrides.values())), indent=0))
        except OSError as problem:
            raise PlatformError(
                f"{self._path} cannot be written ({problem.strerror}): "
                "the runtime directory must exist, be ours and have room; nothing was changed"
            ) from problem


def _rank(override: Override) -> tuple[float, str]:
    return override.since_s, override.node
