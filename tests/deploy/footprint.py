"""What a machine consists of, as far as a deployment could change it: taken before and after, and compared.

Rules that hold here:
* Everything counts but what is listed here by name with the reason, so that a forgotten file cannot hide.
"""

from __future__ import annotations

import json

from tests.deploy.guests import Guest

_LOOK = """
import hashlib, json, os, stat, subprocess

# /proc, /sys, /dev: the kernel's. /tmp, /var/tmp: of those who are logged in. /run: emptied by every boot, but for what
# is looked at by name below. /var/log: the story of what happened stays.
SKIPPED = {"/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/log", "/lost+found"}
# Ansible's own, of the user that it logs in as.
SKIPPED |= {"/root/.ansible"}
# systemd's random seed, clock and timers; the catalog's database, whose contents are compared as a list of entries.
SKIPPED |= {"/var/lib/systemd/random-seed", "/var/lib/systemd/timesync", "/var/lib/systemd/timers",
            "/var/lib/systemd/catalog/database"}
# What useradd and groupadd keep of the version before.
SKIPPED |= {"/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-"}

def files():
    for top, directories, names in os.walk("/"):
        directories[:] = [each for each in directories
                          if os.path.join(top, each) not in SKIPPED and each != "__pycache__"]
        for name in (*directories, *names):
            path = os.path.join(top, name)
            if path in SKIPPED:
                continue
            found = os.lstat(path)
            kind = stat.filemode(found.st_mode) + f" {found.st_uid}:{found.st_gid}"
            if stat.S_ISLNK(found.st_mode):
                kind += " -> " + os.readlink(path)
            elif stat.S_ISREG(found.st_mode) and path.startswith(("/etc/", "/usr/local/", "/opt/", "/root/")):
                kind += " " + hashlib.sha256(open(path, "rb").read()).hexdigest()[:16]
            elif stat.S_ISREG(found.st_mode):
                kind += f" {found.st_size}"
            yield path, kind

def sysctls():
    for name in ("ip_forward", "conf/all/arp_ignore", "conf/all/arp_announce", "conf/all/rp_filter",
                 "conf/all/send_redirects", "conf/e0/arp_ignore", "conf/e0/arp_announce", "conf/e0/rp_filter",
                 "conf/e0/send_redirects", "conf/default/rp_filter", "conf/lo/arp_ignore"):
        yield name, open("/proc/sys/net/ipv4/" + name).read().strip()

def said(*argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    return done.stdout.splitlines()

print(json.dumps({
    "files": dict(files()),
    "of /run": sorted(each for each in os.listdir("/run") if "lvs" in each),
    "sysctls": dict(sysctls()),
    "addresses": sorted(" ".join(line.split()[1:4]) for line in said("ip", "-oneline", "address")),
    "packet rules": said("nft", "list", "ruleset"),
    "routes": said("ip", "route", "show", "table", "all"),
    "links": sorted(line.split()[0] for line in said("ip", "-brief", "link")),
    "modules of IPVS": sorted(line.split()[0] for line in open("/proc/modules") if line.startswith(("ip_vs", "ipip"))),
    "services of IPVS": open("/proc/net/ip_vs").read().splitlines()[3:] if os.path.exists("/proc/net/ip_vs") else [],
    "units": [line.split()[0] for line in said("systemctl", "list-units", "--all", "--plain", "--no-legend", "*lvs*")],
    "catalog": [line for line in said("journalctl", "--list-catalog") if "lvs" in line.lower()],
    "processes": [line for line in said("ps", "-eo", "args") if "ha_lvs" in line or "ha-lvs" in line],
}))
"""


def take(guest: Guest) -> dict[str, object]:
    """The guest as it is now."""
    found: dict[str, object] = json.loads(guest.python(_LOOK, timeout_s=600))
    return found


def differences(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """What is there that was not, and the other way round, in words."""
    found: list[str] = []
    for part, was in before.items():
        now = after[part]
        if isinstance(was, dict) and isinstance(now, dict):
            found += [
                f"{part}: {name}: was {was.get(name)}, is {now.get(name)}"
                for name in sorted(was.keys() | now.keys())
                if was.get(name) != now.get(name)
            ]
        elif was != now:
            found.append(f"{part}: was {was}, is {now}")
    return found
