"""Where an instance stands, as `ha-lvs status --json` tells it: what is configured beside what the elector says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ha_lvs.daemon.channel import InstanceState
from ha_lvs.model import VrrpInstance


def instance_status(config: VrrpInstance, state: InstanceState | None) -> dict[str, Any]:
    """The `instances.<name>` of a status.

    Arguments:
        config: of the instance.
        state: what the elector has said last; None before it has said anything.

    Of `witnesses`, each is true, false, or null while it has not been probed. Of `bfd`, interval and multiplier are
    those of the config; two ends agree on the slower ones, and on a second while the session is not up.
    """
    witnesses = () if config.witnesses is None else config.witnesses.addresses
    seen = {} if state is None else state.witnesses
    sessions = {} if state is None else state.bfd
    return {
        "role": "initialize" if state is None else state.role.value,
        "priority": config.priority,
        "effective_priority": config.priority if state is None else state.effective_priority or config.priority,
        "since": None if state is None else datetime.fromtimestamp(state.since_s, UTC).isoformat(),
        "transitions": 0 if state is None else state.transitions,
        "reason": "" if state is None else state.reason,
        "virtual_ips": [str(ip) for ip in config.virtual_ips],
        "holding": state is not None and state.holding,
        "members": list(config.members),
        "barred": "" if state is None else state.barred,
        "deferring": state is not None and state.deferring,
        "late": 0 if state is None else state.late,
        "dropped": {} if state is None else dict(sorted(state.dropped.items())),
        "witnesses": {str(witness): seen.get(str(witness)) for witness in witnesses},
        "bfd": {
            str(session.peer): {
                "state": sessions.get(str(session.peer), "unknown").lower(),
                "interval_ms": round(session.interval_s * 1000, 3),
                "multiplier": session.multiplier,
            }
            for session in config.bfd
        },
        "peer": None if state is None or not state.peer else {"address": state.peer, "priority": state.peer_priority},
    }
