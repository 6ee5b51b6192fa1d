"""A node among the others: that it is there, and its link to them."""

from __future__ import annotations

from ha_lvs.config import values
from ha_lvs.config.schema import Config
from ha_lvs.errors import ConfigError, Problem
from ha_lvs.model import Authentication, Peer, PeerLink


def must_have(config: Config, node: str) -> None:
    """Errors: ConfigError when the file has no such node."""
    if node in config.nodes:
        return
    near = values.suggestion(node, config.nodes)
    hint = f"did you mean {near}? " if near else ""
    message = f"there is no node '{node}'; {hint}The nodes are {', '.join(config.nodes)}; pick one with --node"
    raise ConfigError([Problem(config._source, *config.place_of(("nodes",)), "nodes", message)])


def peer_link(config: Config, node: str, authentication: Authentication | None) -> PeerLink | None:
    """The link of a node to the others, or None for none.

    Arguments:
        node: its name in the file.
        authentication: the keys, or None.
    """
    must_have(config, node)
    link, discovery = config.peer_link, config.discovery
    peers = tuple(
        Peer(name, other.address) for name, other in config.nodes.items() if name != node and other.address is not None
    )
    address = config.nodes[node].address
    usual = discovery.enabled or (address is not None and bool(peers))
    if not (usual if link.enabled is None else link.enabled):
        return None
    return PeerLink(
        node=node,
        address=address,
        port=link.port,
        peers=peers,
        authentication=authentication,
        discovery=discovery.enabled,
        discovery_interface=discovery.interface or "" if discovery.enabled else "",
    )
