"""Which services of the kernel are ours: a small JSON file in the runtime directory.

A crashed director leaves its services in the kernel on purpose. If one of them has gone from the config by
the next start, nothing in the kernel tells it from a service that an operator made by hand; this file does.

Rules that hold here:
* Write ahead: `claim` before the steps that create, `release` after those that remove. A crash in between
  leaves a name too many, which costs nothing.
* The file is replaced whole and atomically. It need not survive a reboot, for IPVS does not: it names the
  boot that it belongs to, counts for nothing in another, and is not synced to disk.
* A file that cannot be read owns nothing, and `problem` says why: rather a leftover than a foreign service
  removed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

from ha_lvs import files
from ha_lvs.errors import PlatformError
from ha_lvs.model import Protocol, ServiceKey

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Ownership:
    """The services, and whether the sync daemons and the table of marks, that we made in this kernel since it booted.

    Arguments:
        path: of the file; its directory exists.
        boot_id: what tells this boot from others; only tests give it.

    Attributes:
        services: the keys of our services.
        sync: whether we started sync daemons.
        marks: whether we made the table of marks.
        problem: why the file was not used, for an operator; empty when there is nothing to say.
    """

    def __init__(self, path: Path, boot_id: str | None = None) -> None:
        self._path = path
        self._boot_id = _boot_id() if boot_id is None else boot_id
        self.services: frozenset[ServiceKey] = frozenset()
        self.sync = False
        self.marks = False
        self.problem = ""
        try:
            self._read()
        except FileNotFoundError:
            pass
        except OSError as problem:
            self.problem = f"{path} cannot be read ({problem.strerror}); leftovers of an earlier run stay"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self.problem = f"{path} is damaged and was ignored; leftovers of an earlier run stay"

    @property
    def anything(self) -> bool:
        """Whether something in this kernel is ours."""
        return bool(self.services) or self.sync or self.marks

    def claim(self, services: Iterable[ServiceKey], *, sync: bool = False, marks: bool = False) -> None:
        """Adds to what is ours, before it is created.

        Errors: PlatformError when the file cannot be written.
        """
        self._become(self.services.union(services), self.sync or sync, self.marks or marks)

    def release(self, services: Iterable[ServiceKey] = (), *, sync: bool = False, marks: bool = False) -> None:
        """Takes from what is ours, after it was removed.

        Errors: PlatformError when the file cannot be written.
        """
        self._become(self.services.difference(services), self.sync and not sync, self.marks and not marks)

    def _become(self, services: frozenset[ServiceKey], sync: bool, marks: bool) -> None:
        if (services, sync, marks) == (self.services, self.sync, self.marks):
            return
        keys = sorted(_texts(key) for key in services)
        data = {"boot": self._boot_id, "sync": sync, "marks": marks, "services": keys}
        try:
            files.replace(self._path, json.dumps(data, indent=0))
        except OSError as problem:
            raise PlatformError(
                f"{self._path} cannot be written ({problem.strerror}): "
                "the runtime directory must exist, be ours and have room"
            ) from problem
        self.services, self.sync, self.marks = services, sync, marks

    def _read(self) -> None:
        data = json.loads(self._path.read_bytes())
        if data["boot"] != self._boot_id:
            return
        services = frozenset(_key(*texts) for texts in data["services"])
        self.services, self.sync, self.marks = services, bool(data["sync"]), bool(data.get("marks", False))


def _texts(key: ServiceKey) -> list[str]:
    mark = [str(key.mark)] if key.mark else []
    return [str(key.address), str(key.port), key.protocol.value, *mark]


def _key(address: str, port: str, protocol: str, mark: str = "0") -> ServiceKey:
    return ServiceKey(ip_address(address), int(port), Protocol(protocol), int(mark))


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return os.uname().release
