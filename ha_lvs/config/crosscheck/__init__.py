"""What concerns several fields of the config file at once.

Rules that hold here:
* Works on the plain data of the file, not on the checked models, so that it also runs when other parts are
  wrong. What cannot be understood is skipped: the schema has already complained about it. `view` has what can be.
* Nothing is raised; each problem is yielded with the path of the value that should change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ha_lvs.config.crosscheck import addresses, cluster, groups, instances, listens, paths, routing, services, tracking
from ha_lvs.config.crosscheck.view import view_of
from ha_lvs.config.lenient import Found
from ha_lvs.config.tree import Path, dotted


def problems(data: dict[str, Any], where: Callable[[Path], str] = dotted, *, whole: bool = True) -> Iterator[Found]:
    """Every problem between fields.

    Arguments:
        data: the file's plain data, with the services of all files.
        where: how a path is told to people; a service may stand in another file.
        whole: whether all services are in the data.
    """
    view = view_of(data, where, whole=whole)
    for room in (cluster, instances, paths, addresses, tracking, routing, groups, listens, services):
        yield from room.problems(view)
