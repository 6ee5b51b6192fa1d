"""What the guardian hands to the other processes: each its part of the config file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ha_lvs.model.addresses import IPAddress
from ha_lvs.model.election import Authentication, VrrpInstance
from ha_lvs.model.ipvs import Timeouts
from ha_lvs.model.services import ConnectionSync, OnStop, VirtualService


@dataclass(frozen=True, slots=True)
class ElectorPart:
    """All that the elector needs of the config file, and of what people have asked for before it was started.

    Arguments:
        standby: names of instances that stay out of the election until they are enabled.
    """

    node: str
    instances: tuple[VrrpInstance, ...]
    standby: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScriptTrack:
    """A script that is run again and again; its exit code 0 means up.

    Arguments:
        name: as in `Track.name`, with its kind.
        command: program and arguments; no shell.
        interval_s: seconds between the starts of two runs.
        timeout_s: seconds after which a run is killed and has failed.
        rise, fall: successes that bring it up, failures that take it down.
        user: who runs it; never root unless the operator wrote so.
    """

    name: str
    command: tuple[str, ...]
    interval_s: float
    timeout_s: float
    rise: int
    fall: int
    user: str


@dataclass(frozen=True, slots=True)
class FileTrack:
    """A file whose presence counts: up while it is there, or while it is not with `absent`.

    Arguments:
        name: as in `Track.name`.
        path: of the file.
        absent: whether its absence means up: a file that an operator makes to take the node out.
    """

    name: str
    path: str
    absent: bool


@dataclass(frozen=True, slots=True)
class ProcessTrack:
    """Processes of a name: up while at least `quorum` of them live.

    Arguments:
        name: as in `Track.name`.
        program: the name in /proc/PID/comm.
        quorum: how many must live.
    """

    name: str
    program: str
    quorum: int


@dataclass(frozen=True, slots=True)
class NotifyScript:
    """A program that is told of changes of role, or of quorum.

    Arguments:
        command: program and arguments; it gets the event as JSON on its standard input and in variables.
        timeout_s: seconds after which it is killed.
        user: who runs it.
        instances: names of those whose role it is told of; empty for all.
        roles: whether it is told of roles.
        quorums: whether it is told of quorums.
        services: names of those whose quorum it is told of; empty for all.
    """

    command: tuple[str, ...]
    timeout_s: float
    user: str
    instances: tuple[str, ...] = ()
    roles: bool = True
    quorums: bool = False
    services: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AttendantPart:
    """All that the attendant needs of the config file.

    Arguments:
        node: this one's name.
        instances: for their witnesses and virtual IPs.
        scripts, files, processes: what to track.
        notify: whom to tell.
    """

    node: str
    instances: tuple[VrrpInstance, ...]
    scripts: tuple[ScriptTrack, ...] = ()
    files: tuple[FileTrack, ...] = ()
    processes: tuple[ProcessTrack, ...] = ()
    notify: tuple[NotifyScript, ...] = ()


@dataclass(frozen=True, slots=True)
class PeerLink:
    """The link between the directors of a cluster.

    Arguments:
        node: this one's name.
        address: where it listens; None for every address, where peers are found by discovery only.
        port: TCP port.
        peers: address of each other node by its name.
        authentication: the keys, or None: then only the addresses in `peers` are believed.
        discovery: whether peers are also looked for by DNS-SD.
        discovery_interface: where; empty for every interface.
    """

    node: str
    address: IPAddress | None
    port: int
    peers: tuple[Peer, ...]
    authentication: Authentication | None = None
    discovery: bool = False
    discovery_interface: str = ""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another director of the cluster."""

    node: str
    address: IPAddress


@dataclass(frozen=True, slots=True)
class DirectorPart:
    """All that the director needs of the config file.

    Arguments:
        cluster, node, config_digest: for status.
        instances: for status.
        services: to program and to probe; empty means that no IPVS is needed.
        sync: connection sync, or None.
        on_stop: what to leave behind.
        timeouts: of connections, as far as they are set.
        sysctls: names under net.ipv4.vs with the values that they are to have.
        drain_s: how long a server that the config has no more may go on serving the connections that it has.
        reconcile_interval_s: seconds between two looks at the kernel for drift.
        peer_link: the link to the other director, or None.
        probers: how many processes probe; 0, out of a config file alone, for as many as it takes.
    """

    cluster: str
    node: str
    config_digest: str
    instances: tuple[VrrpInstance, ...]
    services: tuple[VirtualService, ...]
    sync: ConnectionSync | None
    on_stop: OnStop
    reconcile_interval_s: float
    peer_link: PeerLink | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    sysctls: tuple[tuple[str, int], ...] = ()
    drain_s: float = 60.0
    probers: int = 1


@dataclass(frozen=True, slots=True)
class ServicesChange:
    """What another config file means for a director that goes on, where it differs in services and their setting only.

    Arguments:
        config_digest: of the other file.
        services: those that are new or different.
        names: of all services, in the order of the file; one that is not among them is gone.
        on_stop, reconcile_interval_s, timeouts, sysctls, drain_s: as in `DirectorPart`.
    """

    config_digest: str
    services: tuple[VirtualService, ...]
    names: tuple[str, ...]
    on_stop: OnStop
    reconcile_interval_s: float
    timeouts: Timeouts
    sysctls: tuple[tuple[str, int], ...]
    drain_s: float = 60.0

    @classmethod
    def between(cls, before: DirectorPart, after: DirectorPart) -> ServicesChange | None:
        """What leads from one part to another; None where more differs than this can say."""
        known = {each.name: each for each in before.services}
        change = cls(
            after.config_digest,
            tuple(each for each in after.services if known.get(each.name) != each),
            tuple(each.name for each in after.services),
            after.on_stop,
            after.reconcile_interval_s,
            after.timeouts,
            after.sysctls,
            after.drain_s,
        )
        return change if change.on(before) == after else None

    def on(self, part: DirectorPart) -> DirectorPart:
        """The part after the change."""
        services = {each.name: each for each in (*part.services, *self.services)}
        return replace(
            part,
            config_digest=self.config_digest,
            services=tuple(services[name] for name in self.names),
            on_stop=self.on_stop,
            reconcile_interval_s=self.reconcile_interval_s,
            timeouts=self.timeouts,
            sysctls=self.sysctls,
            drain_s=self.drain_s,
        )
