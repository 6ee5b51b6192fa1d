"""Peers that discovery has found and that have authenticated, remembered over a start of the process.

The director is killed and started anew at each reload. Advertisements to a peer must not cease meanwhile, so what was
known is read again before the peer is found again. An address is good until its node has another one; that of a node
that is gone for good costs a packet at each interval, until the machine is started anew.
"""

from __future__ import annotations

import contextlib
import json
from ipaddress import ip_address
from pathlib import Path

from ha_lvs import files
from ha_lvs.model import IPAddress

FILE = "peers.json"


class Acquaintances:
    """Names and addresses of peers of this cluster.

    Arguments:
        directory: the runtime directory.
        cluster: peers of another one are forgotten.
    """

    def __init__(self, directory: Path, cluster: str) -> None:
        self._file = directory / FILE
        self._cluster = cluster
        self.addresses: dict[str, IPAddress] = self._read()

    def meet(self, node: str, address: IPAddress) -> bool:
        """A peer has authenticated from an address; says whether that is news."""
        if self.addresses.get(node) == address:
            return False
        self.addresses[node] = address
        content = {"cluster": self._cluster, "peers": {name: str(each) for name, each in self.addresses.items()}}
        with contextlib.suppress(OSError):  # it is known while this process lives
            files.replace(self._file, json.dumps(content))
        return True

    def _read(self) -> dict[str, IPAddress]:
        try:
            found = json.loads(self._file.read_text())
            if found["cluster"] != self._cluster:
                return {}
            return {str(name): ip_address(address) for name, address in found["peers"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
