"""A pair and a real server are deployed on whole machines by `ansible-playbook` alone, and proven: `make test-deploy`.

Two Debian guests are the directors lb1 and lb2, a third is the real server s2; the client c1 and the real server s1 are
namespaces of this machine on the same switch. The steps build on one another, in the order of this file: what one
leaves behind the next begins with, and the first that fails ends the run (`-x`). No guest has internet.

The guests are emulated and slow: deadlines are generous, and what is judged is what happened, not how fast. The times
are in build/deploy/report.json; logs, consoles and journals are beside it.
"""

from __future__ import annotations

import copy
import json
import re
import secrets

import pytest

from ha_lvs.drill.lab.topology import VIRTUAL_IP
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.drill.measure.tally import biggest_gap
from ha_lvs.observe.events import EVENTS
from tests.deploy import directors
from tests.deploy.directors import UNIT, identity, journal, status, told, wait_for_holder, weights
from tests.deploy.footprint import differences, take
from tests.deploy.site import LATER, LISTEN, SERVERS, Site, key_entry

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(2400)]

NOTHING = {"lb1": 0, "lb2": 0, "s2": 0}
OUTAGE_S = 20.0
"""Of a power loss at adverts of 1 s: 3.6 s by RFC 9568, and what an emulated machine needs to get to it."""
SLOW = "4s"
"""An advert interval whose lease, 12 s, outlives the start of `ha-lvs cleanup` on an emulated machine: otherwise the
kernel would have removed what the clean-up is to remove."""
SYSLOG = {"info": 6, "notice": 5, "warning": 4, "error": 3}
"""The journal's priorities of our levels, syslog(3)."""
EXPOSURE = 2.5
"""What `systemd-analyze security` may say of the unit at most; 0 is best, 10 is worst."""


def test_check_mode_touches_nothing_on_fresh_machines(site: Site) -> None:
    site.before = dict(zip(site.names, site.each(take), strict=True))
    outcome = site.operator.play("deploy.yml", "--check", "--diff", name="check-fresh")
    assert outcome.code == 0, outcome.tail()
    assert all(count > 0 for count in outcome.changed().values()), outcome.recap
    for guest in site.guests:
        assert guest.run("ls -d /opt/ha-lvs /etc/ha-lvs", check=False).stdout == ""
        assert guest.run("systemctl list-unit-files --no-legend 'ha-lvs*'", check=False).stdout == ""


def test_a_fresh_pair_is_deployed(site: Site) -> None:
    outcome = site.operator.play("deploy.yml")
    assert outcome.code == 0, outcome.tail()
    wait_for_holder(site.directors, "lb1")
    for guest in site.directors:
        wait_for(lambda guest=guest: weights(guest, LISTEN) == dict.fromkeys(SERVERS, 1), 120, f"IPVS of {guest.name}")  # type: ignore[misc]
        assert directors.unit(guest, "ActiveState", "UnitFileState", "NRestarts") == ["active", "enabled", "0"]
        assert guest.out("cat", "/proc/sys/net/ipv4/vs/expire_quiescent_template").strip() == "1"
        assert guest.out("ipvsadm", "--list", "--timeout").split()[-1] == "120"
        rules = guest.out("nft", "list", "table", "inet", "ha-lvs-marks")
        mark = re.search(r"8000-8099 : (0x[0-9a-f]+)", rules)
        assert mark is not None, rules
        assert f"-A -f {int(mark[1], 16)} -s rr" in directors.rules(guest)
    assert f"inet {VIRTUAL_IP}/32" in site["s2"].out("ip", "-4", "address", "show", "dev", "lo")


def test_traffic_goes_through_ipvs_to_both_servers(site: Site) -> None:
    with site.load("first-traffic") as load:
        load.wait_for_undisturbed(120)
        wait_for(
            lambda: {each.server for each in load.requests if each.ok} == {"s1", "s2"}, 60, "both servers to answer"
        )
        load.stop()
    answered = len([each for each in load.requests if each.ok])

    def counted() -> bool:
        """Whether IPVS has counted them; it adds its counters up every two seconds."""
        table = site["lb1"].out("ipvsadm", "--list", "--numeric", "--stats", "--exact")
        forwarded = re.search(rf"{re.escape(LISTEN)}\s+(\d+)", table)
        assert forwarded is not None, table
        assert int(forwarded[1]) >= answered, table
        return True

    wait_for(counted, 30, "every request to have gone through IPVS")


def test_check_mode_sees_nothing_to_change_on_the_deployed_pair(site: Site) -> None:
    outcome = site.operator.play("deploy.yml", "--check", "--diff", name="check-deployed")
    assert (outcome.code, outcome.changed()) == (0, NOTHING), outcome.tail()


def test_a_later_release_takes_over_in_place(site: Site) -> None:
    before = site.pair(identity)
    programs = site.pair(lambda guest: status(guest)["program"])
    cursors = site.pair(directors.cursor)
    site.operator.wheelhouse = site.upgrade
    outcome = site.operator.play("deploy.yml", name="upgrade")
    assert outcome.code == 0, outcome.tail()
    for guest, was, program, cursor in zip(site.directors, before, programs, cursors, strict=True):
        found, now = status(guest), identity(guest)
        assert found["version"] == LATER
        assert found["program"] != program
        assert guest.run(f"ls -d {program}", check=False).stdout == "", "the earlier release is still there"
        assert len(told(journal(guest, cursor), "restarted in place")) == 1
        assert now.pop("elector") != was.pop("elector")
        assert now == was
    assert directors.holders(site.directors) == ["lb1"]


def test_a_second_run_changes_nothing(site: Site) -> None:
    before = site.pair(identity)
    outcome = site.operator.play("deploy.yml", name="again")
    assert (outcome.code, outcome.changed()) == (0, NOTHING), outcome.tail()
    assert site.pair(identity) == before


def test_a_bad_config_is_refused_and_the_pair_goes_on_untouched(site: Site) -> None:
    good = copy.deepcopy(site.operator.config)
    before = site.pair(identity)
    files = [guest.out("sha256sum", "/etc/ha-lvs/config.yml") for guest in site.directors]
    site.operator.config["instances"]["edge"]["router_id"] = 999
    try:
        outcome = site.operator.play("deploy.yml", name="bad-config")
    finally:
        site.operator.config = good
    assert outcome.code != 0
    assert re.search(r"instances\.edge\.router_id: .*999", outcome.output), outcome.tail()
    assert [guest.out("sha256sum", "/etc/ha-lvs/config.yml") for guest in site.directors] == files
    assert site.pair(identity) == before
    assert directors.holders(site.directors) == ["lb1"]


def test_a_changed_weight_is_applied_by_a_reload(site: Site) -> None:
    before = site.pair(identity)
    site.operator.config["services"][0]["servers"][1]["weight"] = 3
    outcome = site.operator.play("deploy.yml", name="weight")
    assert outcome.code == 0, outcome.tail()
    assert outcome.changed()["s2"] == 0
    for guest, was in zip(site.directors, before, strict=True):
        assert weights(guest, LISTEN) == {SERVERS[0]: 1, SERVERS[1]: 3}
        now = identity(guest)
        assert now.pop("digest") != was.pop("digest")
        assert now == was


def test_the_status_playbook_shows_who_holds_what(site: Site) -> None:
    outcome = site.operator.play("status.yml")
    assert (outcome.code, outcome.changed()) == (0, NOTHING), outcome.tail()
    assert f"lb1: edge active, holds {VIRTUAL_IP}" in outcome.output, outcome.tail()
    assert "lb2: edge backup, holds nothing" in outcome.output, outcome.tail()


def test_the_unit_is_well_confined(site: Site) -> None:
    said = site["lb1"].out("systemd-analyze", "security", "--no-pager", UNIT, timeout_s=300)
    overall = re.search(r"exposure level for .*: (\d+\.\d+)", said)
    assert overall is not None, said
    site.report["exposure"] = float(overall[1])
    assert float(overall[1]) <= EXPOSURE, said


def test_traffic_goes_on_when_the_active_loses_its_power(site: Site) -> None:
    lb1, lb2 = site.directors
    was = directors.cursor(lb2)
    with site.load("power-loss") as load:
        load.wait_for_undisturbed(120)
        at_s = lb1.power_off()
        wait_for_holder([lb2], "lb2")
        load.wait_for_undisturbed(120)
        load.stop()
    gap = biggest_gap((each.sent_s for each in load.requests if each.ok), since_s=at_s)
    site.report["outage_s"] = round(gap.length_ms / 1000, 2)
    assert gap.length_ms / 1000 <= OUTAGE_S
    (entry,) = told(journal(lb2, was), "role is active")
    assert entry["HA_LVS_INSTANCE"] == "edge"


def test_the_guest_comes_back_and_takes_its_role(site: Site) -> None:
    lb1, _ = site.directors
    lb1.power_on()
    lb1.wait_until_up()
    wait_for_holder(site.directors, "lb1", for_s=10)
    assert status(lb1)["instances"]["edge"]["role"] == "active"
    wait_for(lambda: weights(lb1, LISTEN) == {SERVERS[0]: 1, SERVERS[1]: 3}, 120, "IPVS of lb1 to be programmed")
    boot = [each["_BOOT_ID"] for each in journal(lb1)][-1]
    roles = [
        each["HA_LVS_EVENT"] for each in journal(lb1)
        if each["_BOOT_ID"] == boot and each.get("HA_LVS_EVENT", "").startswith("role is")
    ]  # fmt: skip
    assert roles == ["role is backup", "role is active"]
    with site.load("after-return") as load:
        load.wait_for_undisturbed(180)
        load.stop()


def test_a_planned_handover_moves_the_role_and_enable_gives_it_back(site: Site) -> None:
    lb1, lb2 = site.directors

    def linked() -> bool:
        return [each["linked"] and each["authenticated"] for each in status(lb1)["peers"]] == [True]

    wait_for(linked, 240, "the directors to be linked", every_s=5)
    # An emulated peer may need longer than an offer lasts; then the role stays, and the operator tries again.
    wait_for(lambda: lb1.run("ha-lvs handover", check=False).returncode == 0, 240, "lb1 to hand over", every_s=5)
    wait_for_holder([lb1, lb2], "lb2", for_s=10)  # for all its priority lb1 does not take it back
    assert status(lb1)["instances"]["edge"]["deferring"]
    lb1.run("ha-lvs enable")
    wait_for_holder([lb1, lb2], "lb1", for_s=5)


def test_a_changed_interval_and_another_key_change_no_role(site: Site) -> None:
    before = site.pair(identity)
    keys = site.operator.keys
    site.operator.config["instances"]["edge"]["interval"] = SLOW
    site.operator.config["authentication"]["keys"] = [key_entry(number) for number in (2, 3)]
    site.operator.keys = {"2.key": keys["2.key"], "3.key": secrets.token_hex(32)}
    outcome = site.operator.play("deploy.yml", name="interval-and-key")
    assert outcome.code == 0, outcome.tail()
    # Long enough for silence to be noticed, did they not believe each other.
    wait_for_holder(site.directors, "lb1", for_s=20)
    for guest, was in zip(site.directors, before, strict=True):
        now = identity(guest)
        assert now.pop("digest") != was.pop("digest")
        assert now.pop("elector") != was.pop("elector")
        assert now == was
        listed = guest.run("cd /etc/ha-lvs/keys && stat --format='%n %U %a' *").stdout.splitlines()
        assert listed == ["2.key ha-lvs 600", "3.key ha-lvs 600"]


def test_killing_the_whole_unit_leaves_no_virtual_ip(site: Site) -> None:
    lb1, lb2 = site.directors
    # Long enough to look: otherwise systemd starts it again after a second.
    lb1.run(
        f"mkdir -p /run/systemd/system/{UNIT}.d && "
        f"printf '[Service]\\nRestartSec=60\\n' >/run/systemd/system/{UNIT}.d/slow.conf && systemctl daemon-reload"
    )
    # systemd kills one process after the other: on a slow machine the elector outlives the guardian by long enough to
    # resign and to withdraw by itself. Either it or the clean-up has done it.
    killed = lb1.python(
        _KILL_AND_WATCH.format(address=VIRTUAL_IP, kill=f"systemctl kill --signal=KILL {UNIT}"), timeout_s=180
    )
    site.report["withdrawn_after_kill_s"] = float(killed)
    wait_for_holder([lb1, lb2], "lb2")
    lb1.run(f"systemctl restart {UNIT}", timeout_s=240)
    wait_for_holder(site.directors, "lb1", for_s=5)
    # All at the same moment: only the clean-up is left to do it.
    was = directors.cursor(lb1)
    at_once = f"sh -c 'echo 1 >/sys/fs/cgroup/system.slice/{UNIT}/cgroup.kill'"
    killed = lb1.python(_KILL_AND_WATCH.format(address=VIRTUAL_IP, kill=at_once), timeout_s=180)
    site.report["withdrawn_after_kill_at_once_s"] = float(killed)
    wait_for_holder([lb1, lb2], "lb2")
    wait_for(
        lambda: len(told(journal(lb1, was), "virtual IPs withdrawn by cleanup")) == 1, 120, "the clean-up to say so"
    )
    lb1.run(f"rm -r /run/systemd/system/{UNIT}.d && systemctl daemon-reload && systemctl restart {UNIT}", timeout_s=240)
    wait_for_holder(site.directors, "lb1")


_KILL_AND_WATCH = """
import shlex, subprocess, time
def held():
    return " {address}/" in subprocess.run(["ip", "-4", "-o", "address"], capture_output=True, text=True).stdout
assert held()
subprocess.run(shlex.split({kill!r}), check=True)
at = time.monotonic()
while held():
    assert time.monotonic() - at < 120, "the virtual IP is still there"
print(round(time.monotonic() - at, 2))
"""


def test_a_stopped_guardian_is_killed_by_the_watchdog(site: Site) -> None:
    lb1, _ = site.directors
    main, watchdog, restarts = directors.unit(lb1, "MainPID", "WatchdogUSec", "NRestarts")
    assert watchdog == "30s"
    was = directors.cursor(lb1)
    seen = json.loads(lb1.python(_FREEZE_AND_WATCH.format(unit=UNIT, address=VIRTUAL_IP, main=main), timeout_s=240))
    site.report["killed_by_watchdog_s"] = seen["killed_s"]
    assert seen["killed_s"] <= 30 + 15
    assert not seen["held_at_restart"], "the virtual IP was still there when the unit started again"
    after = journal(lb1, was)
    assert any(
        each.get("_COMM") == "systemd" and "Failed with result 'watchdog'" in each["MESSAGE"] for each in after
    ), after
    assert directors.unit(lb1, "NRestarts")[0] == str(int(restarts) + 1)
    wait_for_holder(site.directors, "lb1", for_s=5)


_FREEZE_AND_WATCH = """
import json, os, signal, subprocess, time
def said(*argv):
    return subprocess.run(argv, capture_output=True, text=True).stdout
def main():
    return int(said("systemctl", "show", "--property=MainPID", "--value", "{unit}"))
assert " {address}/" in said("ip", "-4", "-o", "address")
os.kill({main}, signal.SIGSTOP)
at, killed_s = time.monotonic(), None
while True:
    now = main()
    if now != {main}:
        killed_s = killed_s or round(time.monotonic() - at, 1)
        if now:
            break
    assert time.monotonic() - at < 200, "nobody did anything"
    time.sleep(0.2)
print(json.dumps(dict(killed_s=killed_s, held_at_restart=" {address}/" in said("ip", "-4", "-o", "address"))))
"""


def test_the_journal_tells_the_story(site: Site) -> None:
    for guest in site.directors:
        entries = [each for each in journal(guest) if each.get("SYSLOG_IDENTIFIER") == "ha-lvs"]
        changes = [each for each in entries if each.get("HA_LVS_EVENT", "").startswith("role is")]
        assert {each["HA_LVS_EVENT"] for each in changes} >= {"role is active", "role is backup"}
        for each in changes:
            assert each["HA_LVS_INSTANCE"] == "edge"
            assert each["HA_LVS_REASON"]
            assert each["HA_LVS_PRIORITY"] in {"100", "150"}
            assert re.fullmatch(r"[0-9a-f]{32}", each["MESSAGE_ID"])
            assert each["PRIORITY"] in {"4", "5", "6"}
        for each in entries:
            event = EVENTS[each["HA_LVS_EVENT"]]
            assert each["MESSAGE_ID"] == event.message_id
            assert int(each["PRIORITY"]) in {SYSLOG[level] for level in event.levels}, each
        (one,) = {each["MESSAGE_ID"] for each in changes if each["HA_LVS_EVENT"] == "role is active"}
        explained = guest.out("journalctl", "--catalog", "--no-pager", f"MESSAGE_ID={one}")
        assert "░░ Subject: This node is now active for edge" in explained, explained


def test_uninstalling_leaves_nothing(site: Site) -> None:
    outcome = site.operator.play("uninstall.yml")
    assert outcome.code == 0, outcome.tail()
    for name, after in zip(site.names, site.each(take), strict=True):
        assert differences(site.before[name], after) == [], name
