"""What becomes of the role when an elector crashes: kept where the lease allows it, given away at once where not."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_lvs.daemon.patience import RECOVERY_AFTER_S
from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import PACE, wait_for
from tests.adverts import listening
from tests.pairs import LB1, LB2, Pair, authentication, config, key, started_pair

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

LONGER_THAN_A_BACKUP_WAITS_S = 4.5  # at one second between advertisements
GOES_ON = "elector died; another one goes on in its role"
WITHDRAWN = "withdrawn in the elector's place"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("crash", tmp_path) as lab:
        yield lab


class Watch:
    """Who holds the virtual IP, looked at all the time by a thread of its own; nobody else may ask meanwhile.

    Attributes:
        seen: every set of holders that there was.
        now: the present one.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._ended = threading.Event()
        self.seen: set[tuple[str, ...]] = set()
        self.now: tuple[str, ...] = ()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)

    def _watch(self) -> None:
        while not self._ended.is_set():
            self.now = tuple(self._pair.holders())
            self.seen.add(self.now)
            time.sleep(0.002)


def settled(pair: Pair) -> int:
    """Waits until all know their roles and the elector of lb1 has lived for long enough; gives its process id."""
    pair.wait_for_roles()
    elector = pair["lb1"].processes()["elector"]

    def old_enough() -> bool:
        ticks = int(Path(f"/proc/{elector}/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK") > RECOVERY_AFTER_S + 1

    wait_for(old_enough, 20, "the elector to have lived for a while")
    return elector


def another(pair: Pair, elector: int) -> int:
    """Waits for the elector after this one; gives its process id."""
    found = wait_for(
        lambda: [pid for name, pid in pair["lb1"].processes().items() if name == "elector" and pid != elector],
        20,
        "another elector",
    )
    return found[0]


def slow(**changes: Any) -> dict[str, Any]:
    """One second between advertisements: the lease ends before the peer takes over."""
    return config(interval="1s", **changes)


def goes_on(pair: Pair) -> bool:
    """Kills lb1's elector. Says whether another one went on in time; if so, nobody else may have noticed."""
    elector = settled(pair)
    before = pair.transitions()
    given_away, quiet_s = pair.log("lb1").count(WITHDRAWN), LONGER_THAN_A_BACKUP_WAITS_S * PACE
    with Watch(pair) as watch, listening(pair.lab.host("c1")) as adverts:
        wait_for(lambda: adverts.of(LB1), 10, "lb1 to advertise")
        os.kill(elector, signal.SIGKILL)
        another(pair, elector)
        heard, until = len(adverts.of(LB1)), time.monotonic() + quiet_s
        wait_for(lambda: len(adverts.of(LB1)) > heard + 1, 30, "its successor to advertise")
        wait_for(lambda: time.monotonic() > until, 2 * quiet_s, "what a backup would do")
    assert ("lb1", "lb2") not in watch.seen
    if pair.log("lb1").count(WITHDRAWN) > given_away:
        pair.wait_for_holder("lb1", 30)
        return False
    assert watch.seen == {("lb1",)}, "one holder, all the time"
    assert adverts.of(LB2) == []
    assert all(each.priority == 150 for each in adverts.of(LB1))
    wait_for(lambda: pair.transitions() == before, 10, "nobody to have changed its role")
    assert GOES_ON in pair.log("lb1")
    return True


def test_at_one_second_nobody_notices(lab: Lab) -> None:
    """With keys and routes, too: counters go on, and what moves with the role stays."""
    routes = [{"to": "10.77.0.0/16", "via": "10.9.0.31"}]
    with started_pair(lab, slow(routes=routes) | authentication(key(lab, "one", "a" * 64))) as pair:
        # On a machine so busy that Python does not start within half a lease the role is given away; that is right.
        assert any(goes_on(pair) for _ in range(3))
        assert "10.77.0.0/16" in pair.lab.host("lb1").run(["ip", "route", "show"]).stdout
        assert pair.instance("lb2")["dropped"] == {}


def test_with_bfd_which_lets_no_time_for_it_the_role_is_given_away(lab: Lab) -> None:
    """The peer takes over within the detection time: the addresses must be gone by then."""
    with started_pair(lab, slow(bfd={"interval": "50ms", "multiplier": 3})) as pair:
        elector = settled(pair)
        pair.wait_for_words("lb2", "BFD session is up")
        with Watch(pair) as watch:
            os.kill(elector, signal.SIGKILL)
            pair.wait_for_words("lb1", WITHDRAWN)
            wait_for(lambda: ("lb2",) in watch.seen, 10, "lb2 to take over")
            wait_for(lambda: watch.now == ("lb1",), 30, "lb1 to be back")
        assert GOES_ON not in pair.log("lb1")


def test_twice_within_a_second_it_is_given_away(lab: Lab) -> None:
    with started_pair(lab, slow()) as pair:
        elector = settled(pair)
        with Watch(pair) as watch:
            os.kill(elector, signal.SIGKILL)
            os.kill(another(pair, elector), signal.SIGKILL)
            pair.wait_for_words("lb1", WITHDRAWN)
            pair.wait_for_words("lb2", f"{LB1} resigned")
            wait_for(lambda: ("lb2",) in watch.seen, 10, "lb2 to take over")
            wait_for(lambda: watch.now == ("lb1",), 30, "lb1 to be back")  # a third one takes part as usual
        assert pair.log("lb1").count(GOES_ON) == 1


def test_at_200_ms_it_is_given_away_at_once(lab: Lab) -> None:
    """The lease is a whole second at least; the peer waits for less."""
    with started_pair(lab) as pair:
        elector = settled(pair)
        os.kill(elector, signal.SIGKILL)
        pair.wait_for_words("lb1", WITHDRAWN)
        pair.wait_for_words("lb2", f"{LB1} resigned")
        another(pair, elector)
        pair.wait_for_holder("lb1")
        assert GOES_ON not in pair.log("lb1")


def test_a_backup_whose_elector_crashes_changes_nothing(lab: Lab) -> None:
    with started_pair(lab, slow()) as pair:
        settled(pair)
        before = pair.transitions()[0]
        elector = pair["lb2"].processes()["elector"]
        with Watch(pair) as watch:
            os.kill(elector, signal.SIGKILL)
            wait_for(lambda: pair["lb2"].processes().get("elector") not in (None, elector), 20, "another elector")
            wait_for(lambda: pair.instance("lb2")["peer"] == {"address": LB1, "priority": 150}, 20, "it to hear lb1")
        assert watch.seen == {("lb1",)}
        assert pair.transitions()[0] == before
        assert WITHDRAWN not in pair.log("lb2")
