"""Does every processor of this machine run at this moment?

A hypervisor may take away one processor of a machine and leave the others, for 6 to 9 ms as measured. Whoever runs on
another one does not notice: its timers are punctual, but what has to pass through the missing processor does not come.
A process cannot ask the hypervisor; it can have something done on each processor and see whether that is done.

So there is one thread a processor, bound to it, asleep until asked. Between questions it costs nothing. Its priority is
a little below that of whoever asks: when it has answered, anything as urgent as that has had its turn on the processor.

Without the right to real-time priority, or with one processor only, there are no such threads, and every question
counts as answered at once: the answer of a thread that any busy process can delay is worth nothing.
"""

from __future__ import annotations

import os
import signal
import threading
import time

MOST = 16
"""So many processors are asked at most: on large machines waking all would take longer than what is to be found out."""
MISSING_S = 1.0
"""A processor that has not answered for so long is not waited for until it does: something keeps it busy for good."""


class Processors:
    """Asks the processors on which this process may run.

    Arguments:
        priority: of the threads, for SCHED_RR.
    """

    def __init__(self, priority: int) -> None:
        self._priority = priority
        self._ticket = 0
        self._seats: list[_Seat] = []
        numbers = sorted(os.sched_getaffinity(0))[:MOST]
        if len(numbers) < 2:
            return
        for number in numbers:
            seat = _Seat(number)
            threading.Thread(target=self._serve, args=(seat,), daemon=True).start()
            seat.ready.wait()
            if not seat.usable:
                self._seats.clear()
                return
            self._seats.append(seat)

    @property
    def count(self) -> int:
        """How many processors are asked."""
        return len(self._seats)

    def ask(self) -> int:
        """Asks each of them; returns the ticket for `answered_at`."""
        now = time.monotonic()
        self._ticket += 1
        for seat in self._seats:
            if seat.asked_at is None:
                seat.asked_at = now
            seat.missing = now - seat.asked_at > MISSING_S
            os.eventfd_write(seat.bell, 1)
        return self._ticket

    def answered_at(self, ticket: int) -> float | None:
        """When the last of them answered, in monotonic seconds; None while one has not."""
        last = 0.0
        for seat in self._seats:
            if seat.missing:
                continue
            if seat.ticket < ticket:
                return None
            last = max(last, seat.answered_at)
        return last

    def _serve(self, seat: _Seat) -> None:
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            os.sched_setaffinity(0, {seat.number})  # 0 is the calling thread here
            os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(self._priority))
            seat.usable = True
        except OSError:
            return
        finally:
            seat.ready.set()
        while True:
            os.eventfd_read(seat.bell)
            seat.answered_at = time.monotonic()
            seat.asked_at = None
            seat.ticket = self._ticket


class _Seat:
    """A processor and what its thread has said last.

    Arguments:
        number: of the processor.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.bell = os.eventfd(0, os.EFD_CLOEXEC)
        self.ready = threading.Event()
        self.usable = False
        self.missing = False
        self.ticket = 0
        self.asked_at: float | None = None
        self.answered_at = 0.0
