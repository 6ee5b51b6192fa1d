"""The director process: brings roles, verdicts and the config together, writes IPVS, answers the control socket.

What concerns the other directors is in `peering`.

A director without services needs no IPVS and only tells its status. It leaves the kernel alone when the guardian dies,
and as configured (`ipvs.on_stop`) when it is told to stop.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog

from ha_lvs import __version__
from ha_lvs.daemon import control, memory
from ha_lvs.daemon.balancer import OWNERSHIP_FILE, Balancer, Outcome, QuorumChange
from ha_lvs.daemon.channel import (
    Alive,
    Channel,
    EndpointState,
    Follow,
    Followed,
    Hello,
    InstanceState,
    LogRecord,
    OfferRole,
    ProberState,
    Quorums,
    QuorumState,
    RefuseRole,
    Stop,
    Unreadable,
)
from ha_lvs.daemon.evidence import Evidence
from ha_lvs.daemon.found import FoundServers
from ha_lvs.daemon.instance_status import instance_status
from ha_lvs.daemon.operating import Operating, waiting_overrides
from ha_lvs.daemon.peering import Peering
from ha_lvs.daemon.probing import LOOK_EVERY_S, Probing
from ha_lvs.daemon.process import set_process_name
from ha_lvs.errors import ChannelError, HaLvsError, KernelError, PlatformError
from ha_lvs.kernel.ipvs import Ipvs
from ha_lvs.kernel.ownership import Ownership
from ha_lvs.model import DirectorPart, Endpoint, Override, ServerState, ServicesChange
from ha_lvs.observe import logs
from ha_lvs.plan import sharding
from ha_lvs.plan.steps import StepFailure

log = structlog.get_logger()

ALIVE_EVERY_S = LOOK_EVERY_S
RETRY_S = 1.0
SERVICES_PER_FRAME = 400
STEPS_LOGGED = 20


class Director:
    """The process's state and its loop.

    Arguments:
        part: the director's part of the config.
        guardian, elector: channels to them.
        probers: channels to them by their names.
        balancer: the services in the kernel; None when there are none.
        runtime_dir: where the control socket is.
        found: the servers that announce themselves, as far as they are known already.
    """

    def __init__(
        self,
        part: DirectorPart,
        guardian: Channel,
        elector: Channel,
        probers: Mapping[str, Channel],
        balancer: Balancer | None,
        runtime_dir: Path,
        found: FoundServers | None = None,
    ) -> None:
        self._part = part  # as configured: without the servers that were found
        self._found = found = FoundServers(part, runtime_dir) if found is None else found
        self._guardian, self._elector, self._probers = guardian, elector, probers
        self._balancer = balancer
        self._runtime_dir = runtime_dir
        self._instances: dict[str, InstanceState] = {}
        self._followed = ""  # digest of a config that the guardian waits for us to follow
        self._wake = asyncio.Event()
        self._failed = False  # whether a step is to be tried again
        self._expecting_change = True  # whether the next pass has a cause; steps without one are drift
        self._look_at = 0.0  # when the whole kernel is looked at next, in monotonic seconds
        self._stopping = False
        self._planned = False
        self._unready = "" if balancer is None else "IPVS is not programmed yet"
        self.probing = Probing(
            probers,
            dict if balancer is None else balancer.endpoints,
            dict if balancer is None else lambda: balancer.verdicts,
        )
        if balancer is not None:
            balancer.is_stale = self.probing.is_stale
        known = {} if balancer is None else balancer.endpoints()
        self.peering = Peering(
            found.on(part),
            elector,
            runtime_dir,
            unready=lambda: self._unready,
            serving=(each for each, state in known.items() if state is ServerState.UP),
            status=self._status_for_peer,
            overrides=None if balancer is None else balancer.overrides,
            heard=self._heard,
            borrow=self._borrow,
        )
        if balancer is not None:
            balancer.disagreeing = self.peering.verdicts.disagreeing
        self._operating = Operating(part.node, balancer, self._follow_up_now, self.peering.overrides.tell)

    async def run(self) -> None:
        """Works until told to stop or until the guardian is gone."""
        loop = asyncio.get_running_loop()
        takers: list[tuple[Channel, Callable[[Any], None]]] = [
            (self._guardian, self._from_guardian),
            (self._elector, self._from_elector),
        ]
        takers += ((channel, functools.partial(self._from_prober, name)) for name, channel in self._probers.items())
        for channel, take in takers:
            loop.add_reader(channel.fileno(), self._read, channel, take)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, lambda: None)  # the guardian decides
        sockets = (
            (control.SOCKET_NAME, self._answer, 0o660),
            (control.OPERATE_SOCKET_NAME, self._operating.answer, 0o600),
        )
        servers = [await control.serve(self._runtime_dir, verbs, name=name, mode=mode) for name, verbs, mode in sockets]
        self.peering.start()
        self._elector.send(Hello())
        self.probing.start()
        if self._balancer is not None:
            self.peering.verdicts.watch(self._balancer.endpoints())
            self._found.start(self._follow_services, self._balancer.down)
        self._guardian.send(Alive())  # now: the first pass may program thousands of services before the beat begins
        beside = [asyncio.create_task(self._beat())]
        if self._balancer is not None:
            beside.append(asyncio.create_task(Evidence(self._balancer, self.probing.hurry).run()))
        try:
            await self._reconcile_loop()
        finally:
            for task in beside:
                task.cancel()
            await self._found.close()
            await self.peering.close()
            for server, (name, _, _) in zip(servers, sockets, strict=True):
                server.close()
                (self._runtime_dir / name).unlink(missing_ok=True)
        if self._planned and self._balancer is not None:
            self._tell(self._balancer.finish(), expected=True)

    # -------------------------------------------------------------------------------------- reconciling

    async def _reconcile_loop(self) -> None:
        self._look_at = time.monotonic()
        while not self._stopping:
            if self._balancer is None:
                self._answer_guardian(())
                await self._wake.wait()
                self._wake.clear()
                continue
            if self._expecting_change or time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + self._look_at_all(self._balancer)
            elif self._balancer.touched or self._followed or self._due(self._balancer):
                self._follow_up()
            changes_at = self._balancer.changes_at
            next_at = self._look_at if changes_at is None else min(self._look_at, changes_at)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(0.0, next_at - time.monotonic()))
            self._wake.clear()

    def _look_at_all(self, balancer: Balancer) -> float:
        """Returns the seconds until the next such look."""
        expected = self._expecting_change or self._failed or balancer.touched
        self._expecting_change = self._failed = False
        try:
            outcome = balancer.reconcile()
        except KernelError as problem:
            log.error("IPVS cannot be read", detail=str(problem))
            self._unready = f"IPVS cannot be read: {problem}"
            self._failed = True
            return RETRY_S
        self._tell(outcome, expected)
        self._answer_guardian(outcome.failures)
        if balancer.settled and len(lost := balancer.lost()) <= SERVICES_PER_FRAME:
            self._guardian.send(_quorums(lost, others=True))  # in case a change was not heard
        self._unready = f"a step in IPVS fails: {outcome.failures[0]}" if outcome.failures else ""
        if not outcome.failures:
            return self._part.reconcile_interval_s
        self._failed = True
        return RETRY_S

    def _follow_up(self) -> str:
        """Brings the services that something happened to to what they should be; returns why it cannot look, if so."""
        assert self._balancer is not None
        unread = ""
        try:
            outcome = self._balancer.follow_up()
        except KernelError as problem:
            log.error("IPVS cannot be read", detail=str(problem))
            unread = str(problem)
        else:
            self._tell(outcome, expected=True)
            self._answer_guardian(outcome.failures)
            if not outcome.failures:
                return ""
        self._failed = True
        self._look_at = min(self._look_at, time.monotonic() + RETRY_S)
        return unread

    def _follow_up_now(self) -> str:
        self._wake.set()  # the loop sleeps until what was due before
        return self._follow_up()

    def _heard(self, overrides: list[Override]) -> list[Override]:
        news = self._operating.heard(overrides)
        if self._balancer is not None and self._balancer.touched:
            self._wake.set()
        return news

    def _answer_guardian(self, failures: Iterable[StepFailure]) -> None:
        """Tells the guardian that the kernel shows what it asked us to follow."""
        if self._followed:
            self._guardian.send(Followed(self._followed, tuple(str(each) for each in failures)[:STEPS_LOGGED]))
            self._followed = ""

    @staticmethod
    def _due(balancer: Balancer) -> bool:
        return balancer.changes_at is not None and balancer.changes_at <= time.monotonic()

    def _tell(self, outcome: Outcome, expected: bool) -> None:
        failed = {failure.step for failure in outcome.failures}
        done = [step for step in outcome.steps if step not in failed]
        for step in done[:STEPS_LOGGED]:
            if expected:
                log.info("kernel changed", step=str(step))
            else:
                log.warning("kernel had drifted; repaired", step=str(step))
        if len(done) > STEPS_LOGGED:
            log.info("further steps not listed", steps=len(done) - STEPS_LOGGED)
        for change in outcome.quorums:
            if change.quorum:
                log.notice("quorum regained", service=change.service, strength=change.strength)
            else:
                log.error("quorum lost", service=change.service, strength=change.strength, sorry=change.sorry)
        for panic in outcome.panics:
            if panic.panic:
                log.error("pool kept in panic", service=panic.service, up=panic.up, servers=panic.servers)
            else:
                log.notice("panic over", service=panic.service, up=panic.up, servers=panic.servers)
        for at in range(0, len(outcome.quorums), SERVICES_PER_FRAME):
            self._guardian.send(_quorums(outcome.quorums[at : at + SERVICES_PER_FRAME]))
        for failure in outcome.failures[:STEPS_LOGGED]:
            log.error("kernel refused a step; it will be tried again", step=str(failure.step), detail=failure.message)

    # ----------------------------------------------------------------------------------------- channels

    def _read(self, channel: Channel, take: Callable[[Any], None]) -> None:
        for frame in channel.receive():
            if isinstance(frame, Unreadable):
                log.error("frame ignored", detail=frame.detail)
            else:
                take(frame)
        if channel.closed:
            asyncio.get_running_loop().remove_reader(channel.fileno())
            if channel is self._guardian:
                self._stopping = True
                self._wake.set()

    def _from_guardian(self, frame: Any) -> None:
        if isinstance(frame, Stop):
            self._stopping = self._planned = True
            self._wake.set()
        elif isinstance(frame, InstanceState):  # the elector is dead; the guardian says what that means
            self._from_elector(frame)
        elif isinstance(frame, Follow):
            self._follow(frame)

    def _follow(self, frame: Follow) -> None:
        try:
            change = memory.read(ServicesChange, frame.fd)
        except (OSError, ChannelError) as problem:
            log.error("frame ignored", detail=str(problem))
            return
        self._part = change.on(self._part)
        self._found.follow(self._part)
        self._followed = change.config_digest
        self._follow_services()

    def _follow_services(self) -> None:
        """Follows the services of the config, with the servers that were found by now."""
        before = {} if self._balancer is None else self._balancer.endpoints()
        part = self._found.on(self._part)
        self.peering.follow(part)
        if self._balancer is not None:
            self._expecting_change |= self._balancer.follow(part)
            after = self._balancer.endpoints()
            gone = [endpoint for endpoint in before if endpoint not in after]
            new = {endpoint: state for endpoint, state in after.items() if endpoint not in before}
            self.probing.forget(gone)
            self.probing.watch(new)
            self.peering.verdicts.forget(gone)
            self.peering.verdicts.watch(new)
        self._wake.set()

    def _from_elector(self, frame: Any) -> None:
        if isinstance(frame, (OfferRole, RefuseRole, InstanceState)):
            self.peering.from_elector(frame)
        elif isinstance(frame, Hello):
            self.peering.elector_started()
        if isinstance(frame, InstanceState):
            self._instances[frame.instance] = frame
            if self._balancer is not None and self._balancer.roles.get(frame.instance) is not frame.role:
                self._balancer.roles[frame.instance] = frame.role
                self._expecting_change = True
                self._wake.set()

    def _from_prober(self, name: str, frame: Any) -> None:
        self.probing.heard(name, frame if isinstance(frame, ProberState) else None)
        if isinstance(frame, Hello):
            self.probing.started(name)
        elif isinstance(frame, LogRecord):
            logs.from_record(frame, by=name)
        elif isinstance(frame, EndpointState) and self._balancer is not None and self._balancer.probes(frame.endpoint):
            self.probing.told(name, frame.endpoint)
            self._tell_warning(self._balancer, frame)
            self.peering.verdict(frame.endpoint, frame.state)
            for change in self._balancer.verdict(frame):
                if change.state is ServerState.DOWN:
                    self._found.look_again()
                    log.warning("server down", service=change.service, server=change.server, reason=frame.reason)
                elif change.state is ServerState.UP:
                    log.notice("server up", service=change.service, server=change.server, reason=frame.reason)
            if self._balancer.touched:
                self._wake.set()

    @staticmethod
    def _tell_warning(balancer: Balancer, state: EndpointState) -> None:
        """Logs what a check warns of when it is new; to be called before the verdict is taken in."""
        before = balancer.verdicts.get(state.endpoint)
        if state.warning and (before is None or before.warning != state.warning):
            for service, server in balancer.users(state.endpoint):
                log.warning("server check warns", service=service, server=server, warning=state.warning)

    def _borrow(self, states: Mapping[Endpoint, ServerState]) -> None:
        """Takes in what the peers think of servers."""
        if self._balancer is None:
            return
        borrowed = self._balancer.borrow(states)
        up = [endpoint for endpoint, state in borrowed.items() if state is ServerState.UP]
        self.probing.serves(up)
        if borrowed:
            down = sum(state is ServerState.DOWN for state in borrowed.values())
            log.info(
                "verdicts of the peer hold meanwhile", up=len(up), down=down, lapsed=len(borrowed) - len(up) - down
            )
        if self._balancer.touched:
            self._wake.set()

    async def _beat(self) -> None:
        while True:
            self._guardian.send(Alive())
            self.probing.catch_up()
            self.probing.look()
            await asyncio.sleep(ALIVE_EVERY_S)

    # ------------------------------------------------------------------------------------------- status

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("verb"):
            case "status":
                return self.status()
            case "status of both":
                return await self.peering.both(self.status())
            case "service status":
                name = str(request["service"])
                own = self._operating.status(name)
                others = await self.peering.service(name) if own["ok"] and request.get("everywhere") else {}
                return {**own, "node": self._part.node, "others": others}
        known = ("status", "status of both", "service status")
        return {"error": f"unknown verb {request.get('verb')!r}; known: {', '.join(known)}"}

    def _status_for_peer(self, service: str) -> dict[str, Any]:
        if not service:
            return self.status()
        found = self._operating.status(service)
        return {"services": {service: found["status"]} if found["ok"] else {}}

    def status(self) -> dict[str, Any]:
        """What `ha-lvs status --json` prints."""
        nothing = {"services": {}, "sync": {"role": "off", "coverage": None}, "failed_steps": []}
        return {
            "cluster": self._part.cluster,
            "node": self._part.node,
            "version": __version__,
            "program": sys.prefix,
            "config_digest": self._part.config_digest,
            "instances": {
                config.name: instance_status(config, self._instances.get(config.name))
                for config in self._part.instances
            },
            **(nothing if self._balancer is None else self._balancer.status()),
            "probers": self.probing.status() if self._part.services else [],
            "overrides": [] if self._balancer is None else waiting_overrides(self._balancer),
            **self.peering.status(),
        }


def _quorums(changes: Iterable[QuorumChange], *, others: bool = False) -> Quorums:
    states = (QuorumState(each.service, each.quorum, each.strength, each.sorry) for each in changes)
    return Quorums(tuple(states), others)


def _balancer(
    part: DirectorPart, runtime_dir: Path, stack: contextlib.ExitStack, alive: Callable[[], object]
) -> Balancer | None:
    """The services in the kernel; None where there are none, and none of ours is left from an earlier config.

    Errors: PlatformError when there are services and the kernel has no IPVS for us.
    """
    needed = bool(part.services) or part.sync is not None
    if not needed:
        owned = Ownership(runtime_dir / OWNERSHIP_FILE)
        if not owned.anything:
            return None
    try:
        ipvs = stack.enter_context(Ipvs())
    except PlatformError:
        if needed:
            raise
        return None  # IPVS was unloaded, and what was ours with it
    return Balancer(part, ipvs, runtime_dir, alive)


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `python -m ha_lvs.daemon.director`; returns the exit code."""
    parser = argparse.ArgumentParser(description="the director process of ha-lvs run; started by the guardian")
    for option in ("--part-fd", "--guardian-fd", "--elector-fd"):
        parser.add_argument(option, type=int, required=True)
    names = sharding.names(sharding.MOST)
    for name in names:
        parser.add_argument(f"--{name}-fd", type=int, required=name == sharding.FIRST, dest=name)
    parser.add_argument("--runtime-dir", type=Path, required=True)
    parser.add_argument("--log-level", default="info")
    options = parser.parse_args(arguments)
    set_process_name("ha-lvs-director")
    logs.configure(options.log_level, by="director")
    part = memory.read(DirectorPart, options.part_fd)
    guardian, elector = map(Channel.from_fd, (options.guardian_fd, options.elector_fd))
    fds = {name: getattr(options, name) for name in names}
    probers = {name: Channel.from_fd(fd) for name, fd in fds.items() if fd is not None}
    try:
        with contextlib.ExitStack() as stack:
            director: Director | None = None

            def alive() -> None:  # a long pass keeps the loop from turning
                guardian.send(Alive())
                if director is not None:
                    director.peering.beat_now()

            found = FoundServers(part, options.runtime_dir)
            balancer = _balancer(found.on(part), options.runtime_dir, stack, alive)
            if balancer is not None:
                if balancer.ownership.problem:
                    log.warning("ownership unknown", detail=balancer.ownership.problem)
                if balancer.overrides.problem:
                    log.warning("operator overrides unknown", detail=balancer.overrides.problem)
                for service, server in sorted(balancer.adopted, key=str):
                    log.info("server adopted from the kernel", service=str(service), server=str(server))
            director = Director(part, guardian, elector, probers, balancer, options.runtime_dir, found)
            asyncio.run(director.run())
    except HaLvsError as problem:
        log.error("director cannot run", detail=str(problem))
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
