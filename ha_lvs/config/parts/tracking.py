"""What is tracked, and what the attendant does about it."""

from __future__ import annotations

from ha_lvs.config.durations import Duration
from ha_lvs.config.schema import Config
from ha_lvs.config.schema.cluster import QUORUM, ROLE
from ha_lvs.config.schema.tracking import (
    KINDS,
    File,
    Process,
    Script,
    TrackedFile,
    TrackedProcess,
    TrackedScript,
    Tracking,
)
from ha_lvs.model import FileTrack, NotifyScript, ProcessTrack, ScriptTrack, Track

_DEFAULT_TIMEOUT = Duration(1000)


def tracks(tracking: Tracking) -> tuple[Track, ...]:
    """What the eligibility for an instance depends on, by the names that the whole program uses."""
    found = [Track(f"interface:{each.name}", each.weight) for each in tracking.interfaces]
    for kind, word in KINDS.items():
        entries = getattr(tracking, kind)
        found += [Track(f"{word}:{name}", entry.weight) for name, entry in entries.items()]
    return tuple(found)


def scripts(config: Config) -> tuple[ScriptTrack, ...]:
    """The scripts that some instance tracks, each once."""
    found: dict[str, ScriptTrack] = {}
    for instance in config.instances.values():
        for name, entry in instance.track.scripts.items():
            script: Script | TrackedScript = entry if entry.command is not None else config.track.scripts[name]
            found[name] = ScriptTrack(
                name=f"script:{name}",
                command=script.command or (),
                interval_s=script.interval.seconds,
                timeout_s=(script.timeout or min(_DEFAULT_TIMEOUT, script.interval)).seconds,
                rise=script.rise,
                fall=script.fall,
                user=script.user,
            )
    return tuple(found.values())


def files(config: Config) -> tuple[FileTrack, ...]:
    """The files that some instance tracks, each once."""
    found: dict[str, FileTrack] = {}
    for instance in config.instances.values():
        for name, entry in instance.track.files.items():
            file: File | TrackedFile = entry if entry.path is not None else config.track.files[name]
            found[name] = FileTrack(f"file:{name}", file.path or "", file.absent)
    return tuple(found.values())


def processes(config: Config) -> tuple[ProcessTrack, ...]:
    """The processes that some instance tracks, each name once."""
    found: dict[str, ProcessTrack] = {}
    for instance in config.instances.values():
        for name, entry in instance.track.processes.items():
            process: Process | TrackedProcess = entry if entry.program is not None else config.track.processes[name]
            found[name] = ProcessTrack(f"process:{name}", process.program or "", process.quorum)
    return tuple(found.values())


def notify(config: Config) -> tuple[NotifyScript, ...]:
    """Whom to tell."""
    return tuple(
        NotifyScript(
            entry.command,
            entry.timeout.seconds,
            entry.user,
            tuple(entry.instances),
            roles=ROLE in entry.events,
            quorums=QUORUM in entry.events,
            services=tuple(entry.services),
        )
        for entry in config.notify
    )
