"""From the outcomes of probes to a verdict on an endpoint: hysteresis, nothing else.

Rules that hold here:
* Pure: a frozen verdict and an outcome in, the next verdict out.
* unknown -> up or down by the first probe: an unknown server gets no traffic, so the first success may bring
  it in, and the first failure takes nothing away.
* unknown but serving -> up by the first success, down by `fall` failures: it gets traffic already (a director that was
  started again has adopted it), so one lost probe takes nothing away either.
* unknown but lately down -> up by `rise` successes, down by the first failure: who probed it before (a prober that was
  started again knows nothing) had taken it out, and one lucky probe is no recovery.
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
        percent: the weight that the check gives, in percent of the configured one; None where it gives none.
        warning: what is wrong although the server is up, for people; empty for nothing.
        lately_down: whether it was down by the last that was known of it while unknown.
    """

    state: ServerState = ServerState.UNKNOWN
    streak: int = 0
    reason: str = ""
    serving: bool = False
    percent: int | None = None
    warning: str = ""
    lately_down: bool = False


UNKNOWN = Verdict()
"""Where an endpoint starts."""

SERVING = Verdict(serving=True)
"""Where one starts that gets traffic already."""

LATELY_DOWN = Verdict(lately_down=True)
"""Where one starts that another prober has taken out."""


def judge(
    verdict: Verdict, check: Check, success: bool, reason: str, percent: int | None = None, warning: str = ""
) -> tuple[Verdict, bool]:
    """The verdict after one more probe.

    Arguments:
        verdict: the one before the probe.
        check: for its `rise` and `fall`, in probes.
        success: what the probe found.
        reason: the same for people.
        percent, warning: as in `Verdict`, as the probe found them.

    Returns the verdict (the same object when nothing in it is new) and whether others must be told: its state, its
    weight or its warning has changed.
    """
    outcome = ServerState.UP if success else ServerState.DOWN
    other = verdict.percent != percent or verdict.warning != warning
    if verdict.state is outcome:
        if verdict.streak == 0 and verdict.reason == reason and not other:
            return verdict, False
        return Verdict(outcome, 0, reason, False, percent, warning), other
    streak = verdict.streak + 1
    if streak >= _needed(verdict, check, success):
        return Verdict(outcome, 0, reason, False, percent, warning), True
    again = Verdict(
        verdict.state, streak, reason, verdict.serving, verdict.percent, verdict.warning, verdict.lately_down
    )
    return again, False


def counting(verdict: Verdict) -> bool:
    """Whether the next probes may change the state: nothing is known yet, or the last ones spoke against it."""
    return verdict.streak > 0 or verdict.state is ServerState.UNKNOWN


def _needed(verdict: Verdict, check: Check, success: bool) -> int:
    """How many probes in a row it takes to change the state."""
    at_once = not verdict.lately_down if success else not verdict.serving
    if verdict.state is ServerState.UNKNOWN and at_once:
        return 1
    return check.rise if success else check.fall
