"""What the attendant of a node needs."""

from __future__ import annotations

from ha_lvs.config.parts import tracking
from ha_lvs.config.parts.groups import instances
from ha_lvs.config.schema import Config
from ha_lvs.model import AttendantPart


def attendant_part(config: Config, node: str) -> AttendantPart:
    """What the attendant of a node needs. It has no keys: it speaks to nobody who would ask for them.

    Arguments:
        node: its name in the file.

    Errors: ConfigError when the file has no such node.
    """
    return AttendantPart(
        node=node,
        instances=instances(config, node),
        scripts=tracking.scripts(config),
        files=tracking.files(config),
        processes=tracking.processes(config),
        notify=tracking.notify(config),
    )
