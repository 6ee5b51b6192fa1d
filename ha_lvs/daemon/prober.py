"""The prober process: runs the health probes that the director asks for and tells it the verdicts.

Rules that hold here:
* It knows no config and writes no kernel state. What to probe comes as `WatchEndpoints` and
  `ForgetEndpoints`.
* Each change of state goes to the director once, everything known on its `Hello`. What could not be sent (the
  director is busy or being restarted) stays marked, and the state of the moment is sent later: late, never
  wrong.
* It says `Alive` to the guardian, which kills it when it does not, and `ProberState` to the director, which without it
  knows that verdicts are stale.
* It says `Hello` to the director at its start, since a prober that was restarted knows nothing.
* It outlives a director, whose end of the channel the guardian keeps, but not the guardian.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable

from ha_lvs.daemon import process
from ha_lvs.daemon.channel import (
    Alive,
    Channel,
    EndpointState,
    ForgetEndpoints,
    Hello,
    LogRecord,
    ProberState,
    Stop,
    Suspect,
    Unreadable,
    WatchEndpoints,
)
from ha_lvs.health.lateness import Lateness
from ha_lvs.health.probes import Engine
from ha_lvs.health.verdict import Verdict
from ha_lvs.model import Endpoint, ServerState

ALIVE_INTERVAL_S = 1.0
RESEND_INTERVAL_S = 0.1
FIGURES_INTERVAL_S = 10.0
"""Over so long it is measured how late probes begin."""


class Prober:
    """The process, apart from its command line.

    Arguments:
        guardian, director: the channels to them.
        clock: monotonic seconds.
    """

    def __init__(self, guardian: Channel, director: Channel, clock: Callable[[], float]) -> None:
        self._guardian = guardian
        self._director = director
        self._clock = clock
        self._engine = Engine(self._changed, clock)
        self._untold: dict[Endpoint, None] = {}  # in the order of the changes
        self._hello_due = True
        self._begun = 0  # probes, up to the last figures
        self._figures = ProberState(0, 0.0, 0.0)
        self._figures_at = clock() + FIGURES_INTERVAL_S
        self._stopping = False
        self._engine.watch(guardian.fileno(), lambda: self._hear(guardian))
        self._engine.watch(director.fileno(), lambda: self._hear(director))

    def run(self) -> None:
        """Probes until the guardian says stop, or is gone, or `stop` is called."""
        alive_at = self._clock()
        while not self._stopping:
            now = self._clock()
            if now >= alive_at:
                self._guardian.send(Alive())
                if not self._hello_due and not self._director.closed:
                    self._director.send(self._state(now))
                alive_at = now + ALIVE_INTERVAL_S
            wait_s = alive_at - now
            if not self._tell():
                wait_s = min(wait_s, RESEND_INTERVAL_S)
            self._engine.run_once(wait_s)
        self._engine.close()

    def _state(self, now: float) -> ProberState:
        if now >= self._figures_at:
            late, self._engine.lateness = self._engine.lateness, Lateness()
            self._begun += late.total
            p50, p99 = (round(late.quantile_s(share) * 1000, 1) for share in (0.5, 0.99))
            self._figures, self._figures_at = ProberState(self._begun, p50, p99), now + FIGURES_INTERVAL_S
        return self._figures

    def stop(self) -> None:
        """Ends `run` after this turn."""
        self._stopping = True

    def stop_on(self, fd: int) -> None:
        """Ends `run` as soon as the number of SIGTERM can be read from `fd`, which gets those of other signals, too."""

        def heard() -> None:
            if signal.SIGTERM in os.read(fd, 64):
                self.stop()

        self._engine.watch(fd, heard)

    def _hear(self, channel: Channel) -> None:
        for frame in channel.receive():
            if isinstance(frame, Unreadable):
                self._log("error", "frame ignored", detail=frame.detail)
            self._handle(frame, channel)
        if channel.closed:
            if channel is self._guardian:
                self.stop()
            else:
                # The guardian has the other end, too: it is going itself, or about to say what happens next.
                self._engine.unwatch(channel.fileno())

    def _handle(self, frame: object, channel: Channel) -> None:
        match frame:
            case WatchEndpoints(endpoints, serving, down):
                for endpoint in endpoints:
                    self._engine.add(endpoint, serving, down)
            case ForgetEndpoints(endpoints):
                for endpoint in endpoints:
                    self._engine.remove(endpoint)
                    self._untold.pop(endpoint, None)
            case Suspect(endpoints):
                for endpoint in endpoints:
                    self._engine.hurry(endpoint)
            case Hello() if channel is self._director:
                self._untold = dict.fromkeys(self._engine.endpoints())
            case Hello():
                self._guardian.send(Alive())
            case Stop():
                self.stop()
            case _:
                self._log("error", "frame ignored", detail=f"{type(frame).__name__} is not for the prober")

    def _changed(self, endpoint: Endpoint, _verdict: Verdict, _took_s: float) -> None:
        self._untold[endpoint] = None

    def _tell(self) -> bool:
        """Sends the director what it has not been told; says whether that is all."""
        if self._director.closed:
            return True
        if self._hello_due:
            if not self._director.send(Hello()):
                return False
            self._hello_due = False
        while self._untold:
            endpoint = next(iter(self._untold))
            standing = self._engine.standing(endpoint)
            if standing is not None and standing[0].state is not ServerState.UNKNOWN:
                verdict, took_s = standing
                took_ms = round(took_s * 1000, 3)
                frame = EndpointState(
                    endpoint, verdict.state, verdict.reason, took_ms, verdict.percent, verdict.warning
                )
                if not self._director.send(frame):
                    return False
            del self._untold[endpoint]
        return True

    def _log(self, level: str, event: str, **fields: str | int | float | bool | None) -> None:
        self._guardian.send(LogRecord(level, event, fields))


def main(arguments: list[str] | None = None) -> int:
    """Runs the process on the channels that the guardian has left open for it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ha-lvs-prober", description="Started by ha-lvs run; not for people.")
    parser.add_argument("--guardian-fd", type=int, required=True)
    parser.add_argument("--director-fd", type=int, required=True)
    parser.add_argument("--name", default="prober", help="which of the probers it is")
    options = parser.parse_args(arguments)
    process.set_process_name("ha-lvs-prober" + options.name.removeprefix("prober")[-2:])  # of 15 bytes
    process.raise_file_limit()
    # Ctrl-C reaches the whole group; what it means is the guardian's decision.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    stop_fd = process.signals_as_readable([signal.SIGTERM])
    guardian, director = Channel.from_fd(options.guardian_fd), Channel.from_fd(options.director_fd)
    for channel in (guardian, director):
        os.set_inheritable(channel.fileno(), False)
    prober = Prober(guardian, director, process.monotonic)
    prober.stop_on(stop_fd)
    prober.run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
