"""The steps by which the IPVS state of a kernel changes, one kernel request each, and as an operator reads
them. Those about marks that follow each other are one request together: their table is replaced as a whole.

A step's text starts with ``+`` (made), ``~`` (changed) or ``-`` (removed). `before` of a change is for that
text only: it says what was found and takes no part in what is written.
"""

from __future__ import annotations

from dataclasses import dataclass

from ha_lvs.model import Destination, DestinationKey, Service, ServiceKey, SyncDaemon, Timeouts, Traffic


@dataclass(frozen=True, slots=True)
class AddService:
    """Makes a service, without destinations."""

    service: Service

    def __str__(self) -> str:
        return f"+ service {self.service.key} {_service(self.service)}"


@dataclass(frozen=True, slots=True)
class SetService:
    """Gives an existing service another scheduler, flags or persistence."""

    service: Service
    before: Service | None = None

    def __str__(self) -> str:
        was = "" if self.before is None else f"{_service(self.before)} -> "
        return f"~ service {self.service.key} {was}{_service(self.service)}"


@dataclass(frozen=True, slots=True)
class DeleteService:
    """Removes a service and its destinations."""

    key: ServiceKey

    def __str__(self) -> str:
        return f"- service {self.key}"


@dataclass(frozen=True, slots=True)
class AddDestination:
    """Lets a service use a real server."""

    service: ServiceKey
    destination: Destination

    def __str__(self) -> str:
        return f"+ server {self.destination.key} {_destination(self.destination)} of {self.service}"


@dataclass(frozen=True, slots=True)
class SetDestination:
    """Gives a real server of a service another weight, forwarding method, tunnel or limits."""

    service: ServiceKey
    destination: Destination
    before: Destination | None = None

    def __str__(self) -> str:
        was = "" if self.before is None else f"{_destination(self.before)} -> "
        return f"~ server {self.destination.key} {was}{_destination(self.destination)} of {self.service}"


@dataclass(frozen=True, slots=True)
class DeleteDestination:
    """Takes a real server out of a service."""

    service: ServiceKey
    key: DestinationKey

    def __str__(self) -> str:
        return f"- server {self.key} of {self.service}"


@dataclass(frozen=True, slots=True)
class StartSync:
    """Starts a sync daemon of the kernel."""

    daemon: SyncDaemon

    def __str__(self) -> str:
        return f"+ {_daemon(self.daemon)}"


@dataclass(frozen=True, slots=True)
class StopSync:
    """Stops a sync daemon of the kernel. The kernel knows it by its state alone."""

    daemon: SyncDaemon

    def __str__(self) -> str:
        return f"- {_daemon(self.daemon)}"


@dataclass(frozen=True, slots=True)
class SetTimeouts:
    """Sets those time-outs of connections that are not 0."""

    timeouts: Timeouts
    before: Timeouts | None = None

    def __str__(self) -> str:
        was = "" if self.before is None else f"{self.before} -> "
        return f"~ timeouts {was}{self.timeouts}"


@dataclass(frozen=True, slots=True)
class SetSysctl:
    """Sets a sysctl under net.ipv4.vs."""

    name: str
    value: int
    before: int | None = None

    def __str__(self) -> str:
        was = "" if self.before is None else f"{self.before} -> "
        return f"~ net.ipv4.vs.{self.name} {was}{self.value}"


@dataclass(frozen=True, slots=True)
class MarkTraffic:
    """Gives the firewall mark of a service to other traffic than before.

    Arguments:
        service: identified by its mark.
        traffic: None for none any more.
        before: None for none so far.
    """

    service: ServiceKey
    traffic: Traffic | None
    before: Traffic | None = None

    def __str__(self) -> str:
        if self.traffic is None:
            return f"- {self.service} on {self.before}"
        if self.before is None:
            return f"+ {self.service} on {self.traffic}"
        return f"~ {self.service} on {self.before} -> {self.traffic}"


@dataclass(frozen=True, slots=True)
class MendMarks:
    """Makes our table of marks anew, because something was found in it that we had not made.

    Arguments:
        strays: what was found, for people.
    """

    strays: str

    def __str__(self) -> str:
        return f"~ table of marks made anew: {self.strays}"


Step = (
    AddService
    | SetService
    | DeleteService
    | AddDestination
    | SetDestination
    | DeleteDestination
    | StartSync
    | StopSync
    | SetTimeouts
    | SetSysctl
    | MarkTraffic
    | MendMarks
)


def service_of(step: Step) -> ServiceKey | None:
    """The service that a step is about, or None."""
    match step:
        case AddService() | SetService():
            return step.service.key
        case DeleteService():
            return step.key
        case AddDestination() | SetDestination() | DeleteDestination():
            return step.service
    return None


@dataclass(frozen=True, slots=True)
class StepFailure:
    """A step that the kernel refused.

    Arguments:
        step: which.
        errno: the positive error number.
        message: what the kernel said and what to do about it, for an operator.
    """

    step: Step
    errno: int
    message: str

    def __str__(self) -> str:
        return f"{self.step}: {self.message}"


def _service(service: Service) -> str:
    words = [service.scheduler]
    if service.fallback or service.hash_port:
        flags = (("fallback", service.fallback), ("port", service.hash_port))
        words[0] += f" ({', '.join(word for word, is_set in flags if is_set)})"
    if service.one_packet:
        words.append("one-packet")
    if service.persistence_timeout_s:
        prefix = "" if service.persistence_prefix is None else f" by /{service.persistence_prefix}"
        engine = f" by {service.persistence_engine}" if service.persistence_engine else ""
        words.append(f"persistent for {service.persistence_timeout_s} s{prefix}{engine}")
    return f"{', '.join(words)}{_extra(service.extra)}"


def _destination(destination: Destination) -> str:
    tunnel = "" if destination.encapsulation is None else f" {destination.encapsulation}"
    limits = ""
    if destination.upper_threshold or destination.lower_threshold:
        limits = f" connections {destination.lower_threshold}..{destination.upper_threshold}"
    return f"{destination.forwarding.value}{tunnel} weight {destination.weight}{limits}{_extra(destination.extra)}"


def _extra(extra: str) -> str:
    return f" ({extra})" if extra else ""


def _daemon(daemon: SyncDaemon) -> str:
    group = f"[{daemon.group}]" if daemon.group.version == 6 else str(daemon.group)
    return (
        f"sync {daemon.state.name.lower()} on {daemon.interface}, id {daemon.sync_id}, "
        f"{group}:{daemon.port}, ttl {daemon.ttl}"
    )
