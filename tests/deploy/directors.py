"""What a director in a guest is asked, with the tools that an operator has: systemctl, journalctl, ip, ipvsadm."""

from __future__ import annotations

import json
import shlex
from typing import Any

from ha_lvs.drill.lab.topology import VIRTUAL_IP
from ha_lvs.drill.lab.waiting import lasting, wait_for
from tests.deploy.guests import Guest

UNIT = "ha-lvs.service"
Entry = dict[str, Any]


def holds(guest: Guest) -> bool:
    """Whether the virtual IP is on the guest's cable, as its kernel says. A guest that does not answer holds nothing.

    Errors: AssertionError when it runs and does not answer: then nothing is known.
    """
    if not guest.running:
        return False
    found = guest.run("ip -4 -oneline address show dev e0", check=False, timeout_s=60)
    assert found.returncode == 0, f"{guest.name} does not answer"
    return f" {VIRTUAL_IP}/" in found.stdout


def holders(guests: list[Guest]) -> list[str]:
    """The names of those that have the virtual IP."""
    return [guest.name for guest in guests if holds(guest)]


def wait_for_holder(guests: list[Guest], name: str, timeout_s: float = 240, *, for_s: float = 0.0) -> None:
    """Waits until one guest, and it alone, has the virtual IP, and has had it for so long without a break."""
    alone = lasting(lambda: holders(guests) == [name], for_s)
    wait_for(alone, timeout_s, f"{name} alone to hold {VIRTUAL_IP}", every_s=0.5)


def status(guest: Guest) -> dict[str, Any]:
    """What `ha-lvs status --json` says.

    Errors: LabError when it fails.
    """
    found: dict[str, Any] = json.loads(guest.out("ha-lvs", "status", "--json"))
    return found


def unit(guest: Guest, *names: str) -> list[str]:
    """Properties of the unit, in the order that was asked for."""
    shown = guest.out("systemctl", "show", *(f"--property={name}" for name in names), UNIT)
    values = dict(line.split("=", 1) for line in shown.splitlines())
    return [values[name] for name in names]


def identity(guest: Guest) -> dict[str, Any]:
    """What must not change when a director is left alone: its processes, and how often it has changed its role."""
    (main,) = unit(guest, "MainPID")
    told = status(guest)
    return {
        "guardian": main,
        "elector": guest.out("pgrep", "--full", "ha_lvs.daemon.elector"),
        "digest": told["config_digest"],
        "roles": {name: each["role"] for name, each in told["instances"].items()},
        "transitions": {name: each["transitions"] for name, each in told["instances"].items()},
    }


def rules(guest: Guest) -> list[str]:
    """The guest's IPVS as ipvsadm saves it."""
    return guest.out("ipvsadm", "--save", "--numeric").splitlines()


def weights(guest: Guest, listen: str) -> dict[str, int]:
    """The weights of a service's servers in the guest's IPVS, by address."""
    found = {}
    for rule in rules(guest):
        words = rule.split()
        if words[0] == "-a" and words[2] == listen:
            found[words[words.index("-r") + 1].split(":")[0]] = int(words[words.index("-w") + 1])
    return found


def cursor(guest: Guest) -> str:
    """Where the unit's journal stands: at its last entry.

    Of an entry of another unit it would not do: `--after-cursor` skips the first entry that matches the rest of the
    command line, even where the cursor's own does not.
    """
    shown = guest.out("journalctl", "--lines=1", "--show-cursor", "--no-pager", f"--unit={UNIT}")
    return shown.rpartition("-- cursor: ")[2].strip()


def journal(guest: Guest, after: str = "") -> list[Entry]:
    """The unit's entries, those of systemd about it included, by `journalctl -o json`.

    Arguments:
        after: only what came after this cursor.
    """
    argv = [
        "journalctl",
        "--output=json",
        "--no-pager",
        f"--unit={UNIT}",
        *([f"--after-cursor={after}"] if after else []),
    ]
    return [json.loads(line) for line in guest.run(shlex.join(argv)).stdout.splitlines() if line.startswith("{")]


def events(entries: list[Entry]) -> list[str]:
    """The phrases of our own entries, in their order."""
    return [entry["HA_LVS_EVENT"] for entry in entries if "HA_LVS_EVENT" in entry]


def told(entries: list[Entry], event: str) -> list[Entry]:
    """The entries of an event."""
    return [entry for entry in entries if entry.get("HA_LVS_EVENT") == event]
