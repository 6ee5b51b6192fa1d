"""Ansible module: loads kernel modules and sets sysctls, remembers what it changed, and takes that back, and only that.

Rules that hold here:
* What was before us is on disk before it is changed, so that an interrupted run forgets nothing.
* A sysctl that is given up gets its earlier value only where its present one is still ours: what somebody else has set
  since then stays.
* Turning ip_forward on or off makes the kernel set other sysctls too (inet_forward_change in net/ipv4/devinet.c): those
  are remembered, and after ip_forward has been given up they are as they were.
* A module is unloaded only if this loaded it and nobody else lists it for the next boot. The kernel refuses where it is
  in use; that is no failure.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: ha_lvs_kernel_state
short_description: Kernel modules and sysctls, for now, with a memory of what was before
description:
  - Loads modules, sets sysctls, and takes back what it did for those that are no longer asked for.
options:
  memory:
    description: The file that remembers; it is absent when there is nothing to remember.
    type: path
    required: true
  boot_file:
    description: The file in C(/etc/modules-load.d) that is ours; all others there are of others.
    type: path
    required: true
  modules:
    description: Modules to be loaded.
    type: list
    elements: str
    default: []
  sysctls:
    description: Sysctls to their values, by their path below C(/proc/sys).
    type: dict
    default: {}
author: The ha-lvs authors
"""
EXAMPLES = r"""
- name: Let it forward
  ha_lvs_kernel_state:
    memory: /var/lib/ha-lvs/kernel.json
    boot_file: /etc/modules-load.d/ha-lvs.conf
    modules: [ip_vs]
    sysctls: {net/ipv4/ip_forward: 1}
"""
RETURN = r"""
steps:
  description: What was done, or with --check would be, in words and in its order.
  type: list
  returned: always
"""

FORWARD = "net/ipv4/ip_forward"
FOLLOWERS = ("forwarding", "accept_redirects", "send_redirects")
"""Of each interface, `all` and `default`: what a change of ip_forward may change."""

# The kernel would take the tunnels of others away with it.
NEVER_UNLOADED = {"ipip"}
BOOT_LISTS = ("etc/modules", "etc/modules-load.d/*.conf", "run/modules-load.d/*.conf", "usr/lib/modules-load.d/*.conf")
PROC = Path("/proc/sys")
INSMOD = re.compile(r"^insmod \S*/([^/\s]+?)\.ko", re.MULTILINE)


class Kernel:
    """The kernel's settings and the memory of what they were.

    The memory: `modules`, those that this has loaded, in that order; `sysctls`, by path `before` and `set`; `around`,
    by path [before, after] of what followed a change of ip_forward.
    """

    def __init__(self, ansible: AnsibleModule) -> None:
        self._ansible = ansible
        self._path = Path(ansible.params["memory"])
        self.steps: list[str] = []
        self._memory = {"modules": [], "sysctls": {}, "around": {}}
        if self._path.exists():
            self._memory.update(json.loads(self._path.read_text()))

    # ----------------------------------------------------------------------------------------------- modules

    def load(self, wanted: list[str]) -> None:
        """Loads what is missing; what came with it is remembered too."""
        for name in wanted:
            if _is_loaded(name):
                continue
            self.steps.append(f"load {name}")
            if self._ansible.check_mode:
                continue
            code, told, why = self._ansible.run_command(["modprobe", "--verbose", name])
            loaded = [each.replace("-", "_") for each in INSMOD.findall(told)]
            self._memory["modules"] += [each for each in loaded if each not in self._memory["modules"]]
            self._remember()
            if code != 0:
                self._fail(f"modprobe {name}: {why.strip() or told.strip()}")

    def unload(self, wanted: list[str], boot_file: str) -> None:
        """Takes modules away that this has loaded and that nobody asks for any more; those in use stay."""
        if wanted or not self._memory["modules"]:  # a director that needs IPVS at all may need all of its parts
            return
        kept = NEVER_UNLOADED | _listed_by_others(boot_file)
        for name in reversed(self._memory["modules"]):
            if name in kept or not _is_loaded(name) or _is_used(name):
                continue
            if self._ansible.check_mode or self._ansible.run_command(["rmmod", name])[0] == 0:
                self.steps.append(f"unload {name}")
        self._memory["modules"] = []
        self._remember()

    # ----------------------------------------------------------------------------------------------- sysctls

    def set(self, wanted: dict[str, str]) -> None:
        """Sets what differs; ip_forward first, for others follow it. All are remembered before any is set."""
        for path, value in wanted.items():
            now = _read(path)
            if now is None and not self._ansible.check_mode:  # else its module is not loaded yet
                self._fail(f"there is no sysctl {path}")
            entry = self._memory["sysctls"].get(path, {"before": now})
            self._memory["sysctls"][path] = {**entry, "set": value}
        if wanted:
            self._remember()
        for path in sorted(wanted, key=lambda each: each != FORWARD):
            if _read(path) != wanted[path]:
                self._write(path, wanted[path], follow=True)

    def give_up(self, wanted: dict[str, str]) -> None:
        """Puts back what is no longer wanted."""
        given_up = {path: each for path, each in self._memory["sysctls"].items() if path not in wanted}
        targets = {}
        for path, entry in sorted(given_up.items(), key=lambda each: each[0] != FORWARD):
            now = _read(path)
            if now is not None and now == entry["set"] and now != entry["before"]:
                targets[path] = entry["before"]
        followers = {}
        if FORWARD in targets:
            around = self._memory["around"]
            for path, now in _followers().items():
                before, after = around.get(path, (None, None))
                if before is not None and path not in wanted and path not in given_up:
                    followers[path] = before if now == after else now
                elif path in wanted or path in given_up:
                    followers[path] = targets.pop(path, now)
        for path, value in targets.items():
            self._write(path, value)
        for path, value in followers.items():
            if not self._ansible.check_mode and _read(path) not in (value, None):
                self._write(path, value)
        for path in given_up:
            del self._memory["sysctls"][path]
        if FORWARD in given_up:
            self._memory["around"] = {}
        if given_up:
            self._remember()

    def _write(self, path: str, value: str, *, follow: bool = False) -> None:
        self.steps.append(f"set {path} = {value}")
        if self._ansible.check_mode:
            return
        before = _followers() if path == FORWARD and follow else {}
        try:
            (PROC / path).write_text(value)
        except OSError as problem:
            self._fail(f"{path} cannot be set to {value!r} ({problem.strerror})")
        if before and not self._memory["around"]:
            now = _followers()
            self._memory["around"] = {each: [was, now.get(each, was)] for each, was in before.items()}
            self._remember()

    # ------------------------------------------------------------------------------------------------ memory

    def _remember(self) -> None:
        if self._ansible.check_mode:
            return
        if not any(self._memory.values()):
            self._path.unlink(missing_ok=True)
            return
        beside = self._path.with_name(self._path.name + ".new")
        with beside.open("w") as stream:
            json.dump(self._memory, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(self._path)

    def _fail(self, why: str) -> None:
        self._ansible.fail_json(msg=why, steps=self.steps, changed=bool(self.steps))


def _read(path: str) -> str | None:
    try:
        return " ".join((PROC / path).read_text().split())
    except OSError:
        return None


def _followers() -> dict[str, str]:
    paths = [str(path.relative_to(PROC)) for each in FOLLOWERS for path in PROC.glob(f"net/ipv4/conf/*/{each}")]
    found = {path: _read(path) for path in paths}
    return {path: value for path, value in found.items() if value is not None}


def _is_loaded(name: str) -> bool:
    return Path("/sys/module", name.replace("-", "_")).is_dir()


def _is_used(name: str) -> bool:
    try:
        return int(Path("/sys/module", name, "refcnt").read_text()) > 0
    except OSError:  # built in: it cannot go either
        return True


def _listed_by_others(boot_file: str) -> set[str]:
    """Modules that other files than ours load at boot."""
    found = set()
    for path in (each for pattern in BOOT_LISTS for each in Path("/").glob(pattern) if str(each) != boot_file):
        lines = (line.split("#")[0].split() for line in path.read_text(errors="replace").splitlines())
        found |= {words[0].replace("-", "_") for words in lines if words}
    return found


def main() -> None:
    """Does what the task asks for."""
    ansible = AnsibleModule(
        argument_spec={
            "memory": {"type": "path", "required": True},
            "boot_file": {"type": "path", "required": True},
            "modules": {"type": "list", "elements": "str", "default": []},
            "sysctls": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    modules = ansible.params["modules"]
    sysctls = {path: " ".join(str(value).split()) for path, value in ansible.params["sysctls"].items()}
    kernel = Kernel(ansible)
    kernel.load(modules)
    kernel.set(sysctls)
    kernel.give_up(sysctls)
    kernel.unload(modules, ansible.params["boot_file"])
    ansible.exit_json(changed=bool(kernel.steps), steps=kernel.steps)


if __name__ == "__main__":
    main()
