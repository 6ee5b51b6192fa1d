"""From a loaded file and a node's name to what each process needs.

Rules that hold here:
* Pure: the same file, node and keys always give the same part.
* Every default that depends on other fields is worked out here and nowhere else, so that the processes see
  plain values only.
* Keys come from `ha_lvs.config.keys`, which reads their files; without them nothing is authenticated, which is right
  for whoever only looks. The attendant never gets any.
"""

from __future__ import annotations

from ha_lvs.config.parts.attendant import attendant_part
from ha_lvs.config.parts.cluster import peer_link
from ha_lvs.config.parts.election import lease_s
from ha_lvs.config.parts.groups import instances
from ha_lvs.config.parts.services import sysctls, timeouts, virtual_services
from ha_lvs.config.schema import Config
from ha_lvs.model import Authentication, ConnectionSync, DirectorPart, ElectorPart

__all__ = ["attendant_part", "director_part", "elector_part", "lease_s"]


def elector_part(config: Config, node: str, authentication: Authentication | None = None) -> ElectorPart:
    """What the elector of a node needs.

    Arguments:
        node: its name in the file.
        authentication: the keys of the cluster, if it has any.

    Errors: ConfigError when the file has no such node.
    """
    return ElectorPart(node, instances(config, node, authentication))


def director_part(config: Config, node: str, authentication: Authentication | None = None) -> DirectorPart:
    """What the director process of a node needs.

    Arguments:
        node: its name in the file.
        authentication: the keys of the cluster, if it has any. The instances in the part, which are for status, do
            not have them.

    Errors: ConfigError when the file has no such node.
    """
    sync = config.connection_sync
    return DirectorPart(
        cluster=config.cluster,
        node=node,
        config_digest=config.digest,
        instances=instances(config, node),
        services=virtual_services(config),
        sync=None if sync is None else ConnectionSync(sync.interface, sync.id, sync.group, sync.port, sync.ttl),
        on_stop=config.ipvs.on_stop,
        reconcile_interval_s=config.ipvs.reconcile.seconds,
        peer_link=peer_link(config, node, authentication),
        timeouts=timeouts(config),
        sysctls=sysctls(config),
        drain_s=config.ipvs.drain.seconds,
        probers=config.ipvs.probers if isinstance(config.ipvs.probers, int) else 0,
    )
