"""What each verb of a step does to the lab.

Rules that hold here:
* A fault is done by the time `do` returns. What a director is asked for (``stop``, ``handover``, ``restart`` ...) may
  take seconds, and the steps after it do not wait. Only what needs the end of it does: a ``start`` the stop before it,
  a request to a director the request before it.
* Whatever is still going on at the end (busy loops, directors that are being stopped) is ended or waited for. A request
  that has not been fulfilled by then is a problem: what it does would not have been measured.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TypeVar

from ha_lvs.drill.contenders import DirectorLike
from ha_lvs.drill.lab.busy import BusyLoops
from ha_lvs.drill.lab.topology import Blocked, Lab
from ha_lvs.drill.measure.events import Emit
from ha_lvs.drill.runner.asking import ask, kill_elector, must_be_able
from ha_lvs.drill.scenario import Step
from ha_lvs.drill.scenario.model import ASKED
from ha_lvs.errors import HaLvsError, LabError

T = TypeVar("T")


class Faults:
    """Does the steps. A context manager.

    Arguments:
        lab: entered already.
        directors: of the contender, by the name of their host.
        emit: where it is told how a planned stop or a request ended.
    """

    def __init__(self, lab: Lab, directors: Mapping[str, DirectorLike], emit: Emit) -> None:
        self._lab = lab
        self._directors = directors
        self._emit = emit
        self._stops: dict[str, threading.Thread] = {}
        self._requests: dict[str, threading.Thread] = {}
        self._over = False
        self._netem: dict[str, dict[str, float]] = {}
        self._stack = ExitStack()
        self._busy = self._stack.enter_context(BusyLoops())

    def __enter__(self) -> Faults:
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._stack.close()
        for thread in (*self._stops.values(), *self._requests.values()):
            thread.join()

    def do(self, step: Step) -> None:
        """Does a step whose target is a node.

        Errors: LabError or OSError when it cannot be done.
        """
        name, options = step.target, step.options
        match step.verb:
            case "cut":
                self._lab.cut(name)
            case "heal":
                self._netem.pop(name, None)
                self._lab.heal(name)
            case "loss":
                self._cable(name, loss_percent=float(options["percent"]))
            case "delay":
                jitter_ms = float(options.get("jitter_s", 0.0)) * 1000
                self._cable(name, ms=float(options["time_s"]) * 1000, jitter_ms=jitter_ms)
            case "one_way":
                self._lab.one_way(name, Blocked(options["blocked"]))
            case "busy_cpu":
                self._busy.start(int(options["loops"]), float(options["duration_s"]))
            case "stop_server":
                self._lab.server(name).stop()
            case "hang_server":
                self._lab.server(name).hang()
            case "start_server":
                self._lab.server(name).resume()
                self._lab.server(name).start(wait=False)
            case _:
                self._to_director(step.verb, name)

    def _to_director(self, verb: str, name: str) -> None:
        director = self._directors.get(name)
        if director is None:
            raise LabError(f"{name} is no director here")
        match verb:
            case "freeze":
                director.freeze()
            case "thaw":
                director.thaw()
            case "kill":
                director.kill()
            case "start":
                if name in self._stops:
                    self._stops.pop(name).join()
                director.start()
            case "stop":
                self._stops[name] = threading.Thread(target=self._stop, args=(name, director))
                self._stops[name].start()
            case "kill_elector":
                kill_elector(director, name)
            case _ if verb in ASKED:
                must_be_able(director, name, verb)
                before = self._requests.get(name)
                self._requests[name] = threading.Thread(target=self._ask, args=(name, director, verb, before))
                self._requests[name].start()
            case _:
                raise LabError(f"no such verb: {verb}")

    def _stop(self, name: str, director: DirectorLike) -> None:
        ended = self._timed(director.stop)
        if ended is not None:
            code, took_ms = ended
            self._emit("note", text=f"{name} ended with exit code {code}, {took_ms:.0f} ms after it was asked to")

    def _ask(self, name: str, director: DirectorLike, verb: str, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        done = self._timed(lambda: ask(director, name, verb))
        if done is not None:
            told, took_ms = done
            self._emit("note", text=f"{name}, {verb}, {took_ms:.0f} ms: {told}")
        if self._over:
            text = f"{name} had not done what `{verb}` asks when measuring stopped; make `end` later"
            self._emit("problem", text=text)

    def _timed(self, what: Callable[[], T]) -> tuple[T, float] | None:
        """Does something: what it gave, and how many milliseconds it took. A failure is told, and None comes back."""
        begun_s = time.monotonic()
        try:
            found = what()
        except (HaLvsError, OSError) as problem:
            self._emit("problem", text=str(problem))
            return None
        return found, (time.monotonic() - begun_s) * 1000

    def _cable(self, name: str, **changes: float) -> None:
        """Loss and delay of one cable hold at the same time."""
        netem = {"ms": 0.0, **self._netem.get(name, {}), **changes}
        self._lab.delay(name, **netem)
        self._netem[name] = netem
