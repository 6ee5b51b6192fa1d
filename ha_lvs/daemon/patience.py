"""How long the guardian waits for whom, in seconds, and in which order it loses patience.

Rules that hold here:
* A process that falls silent is killed and started again before systemd's watchdog starves for it: restarting one
  process is mending, restarting the unit takes the virtual IPs to the peer. So the silence that starves the watchdog
  is longer than it takes to notice, to kill, to wait for the longest delay, and for the next one to start.
* A process that starts may take longer than one that runs: its first sign of life comes after the interpreter, the
  imports and the machine's other business. One that was killed for being slow gets twice the time for its next start:
  else, on a machine that is slow enough, it would never be there at all.
* An elector that is to succeed another has the time that any process has for its start. Until it is ready the old one
  does all the work, so nothing suffers while it takes long.
* Who waits for the outcome of a reload hears it before anything worse can follow from it, and after one process that
  was stuck at its start has been replaced.
"""

from __future__ import annotations

ESTATE_FRESH_S = 3.0
"""How old the last word of a dead elector may be for the next one to go on from there; it is said each second."""
RECOVERY_AFTER_S = 3.0
"""An elector that dies sooner after its start may have died of what it was told."""
RECOVERY_MOST_S = 2.0
"""The most that the next elector may take until it goes on in the role of a dead one."""
LOOK_EVERY_S = 1.0
"""How often the guardian looks for silence."""
RESTART_FIRST_S = 0.1
RESTART_MAX_S = 5.0
"""The delay before a process is started again: the first, and what it grows to while the process keeps dying young."""
CALM_AFTER_S = 30.0
"""After this time in life a death is the first again."""
STARTING_S = 30.0
"""From the start of a process until its first sign of life, at first."""
STARTING_MAX_S = 240.0
"""What that grows to while the process is killed before its first sign of life."""
ELECTOR_ALIVE_S = 5.0
DIRECTOR_ALIVE_S = 30.0
"""Between signs of life. A kernel that programs thousands of services takes its time."""
ATTENDANT_ALIVE_S = 15.0
PROBER_ALIVE_S = 10.0
SUCCESSORS_S = 45.0
"""How long a reload waits for the new processes to answer; afterwards they are left to the usual restarts."""
FOLLOWED_S = 60.0
"""How long a reload waits for the director to have other services in the kernel; it goes on trying afterwards."""
REQUEST_S = 10.0
"""How long the elector may take to answer what an operator asks of it."""
STOP_ELECTOR_S = 5.0
"""From the word to stop: it offers its role to the peer for up to 1.5 s, then resigns and withdraws."""
STOP_OTHERS_S = 10.0
PROBE_S = 60.0
"""How long a program may take to say that it can follow the running one."""


def until_starved_s(alive_s: float) -> float:
    """The silence of a process after which systemd's watchdog is not fed any more.

    Arguments:
        alive_s: after which the guardian kills it.
    """
    return alive_s + LOOK_EVERY_S + RESTART_MAX_S + STARTING_S
