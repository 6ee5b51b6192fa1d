"""From the outcomes of probes to a verdict on an endpoint: hysteresis, nothing else.

Rules that hold here:
* Pure: a frozen verdict and an outcome in, the next verdict out.
* unknown -> up or down by the first probe: an unknown server gets no traffic, so the first success may bring
  it in, and the first failure takes nothing away.
* unknown but serving -> up by the first success, down by `fall` failures: it gets traffic already (a director that was
  started again has adopted it), so one lost probe takes nothing away either.
* up -> down by `fall` failures in a row; one success starts the count again.
* down -> up by `rise` successes in a row; one failure starts the count again.
"""

from __future__ import annotations

from dataclasses import dataclass

from ha_lvs.model import Check, ServerState


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is thought of an endpoint.

    Arguments:
        state: unknown, up or down.
        streak: probes in a row, up to the last one, that spoke against `state`.
        reason: of the last probe, for people: ``HTTP 503``, ``connected``; empty before the first.
        serving: whether it gets traffic while unknown.
    """

    state: ServerState = ServerState.UNKNOWN
    streak: int = 0
    reason: str = ""
    serving: bool = False


UNKNOWN = Verdict()
"""Where an endpoint starts."""

SERVING = Verdict(serving=True)
"""Where one starts that gets traffic already."""


def judge(verdict: Verdict, check: Check, success: bool, reason: str) -> tuple[Verdict, bool]:
    """The verdict after one more probe.

    Arguments:
        verdict: the one before the probe.
        check: for its `rise` and `fall`, in probes.
        success: what the probe found.
        reason: the same for people.

    Returns the verdict (the same object when nothing in it is new) and whether its state changed.
    """
    outcome = ServerState.UP if success else ServerState.DOWN
    if verdict.state is outcome:
        if verdict.streak == 0 and verdict.reason == reason:
            return verdict, False
        return Verdict(outcome, 0, reason), False
    streak = verdict.streak + 1
    if streak >= _needed(verdict, check, success):
        return Verdict(outcome, 0, reason), True
    return Verdict(verdict.state, streak, reason, verdict.serving), False


def _needed(verdict: Verdict, check: Check, success: bool) -> int:
    """How many probes in a row it takes to change the state."""
    if verdict.state is ServerState.UNKNOWN and (success or not verdict.serving):
        return 1
    return check.rise if success else check.fall
