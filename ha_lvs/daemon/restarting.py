"""Another program in the place of the running guardian, under the same process id, while the elector goes on.

This is how an upgrade takes no role with it. The order, of which each step can still be refused:

1. The program that stands by now under the name by which this one was started (a symbolic link may lead to another
   release) is started once as a probe: it loads all its parts, reads the config file and the keys, and says which
   protocol of this hand-over it speaks. Nothing has been touched.
2. This process writes down what only it knows (which descriptors are which channel, who its children are, what is in
   force) and executes that program. Descriptors, children and the lock of the runtime directory stay with the process;
   no child notices anything.
3. The new program takes the children over as they are, and replaces them as a reload does: the elector is succeeded
   by one of the new program, which keeps role and addresses; the others are killed and started.

Rules that hold here:
* Signals that would end or reload the daemon wait while there is nobody to take them.
* A new program that cannot do step 3 for the elector leaves the old elector at work and says so.
* A config file that has become unreadable between 1 and 3 is no reason to fall: what was in force stays in force.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ha_lvs import __version__
from ha_lvs.daemon import memory, orders
from ha_lvs.daemon.channel import InstanceState
from ha_lvs.daemon.orders import Orders
from ha_lvs.daemon.patience import PROBE_S
from ha_lvs.daemon.shapes import from_json, to_json
from ha_lvs.errors import ChannelError, HaLvsError, PlatformError

PROTOCOL = 1
"""Of what one program leaves to the next; another number where they would not understand each other."""
WAITING_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
PARTS = ("guardian", "elector", "director", "attendant", "prober")
SAID_AT_MOST = 500


@dataclass(frozen=True, slots=True)
class Legacy:
    """What one program of the guardian leaves to the next.

    Arguments:
        version: of the program that leaves it.
        generation: how many programs this process has had.
        lock_fd: holds the lock of the runtime directory.
        ends: descriptors of the channels, by channel.
        pids: the children that run, by name.
        next_request: number of the next request to the elector.
        ready: whether all children have answered once.
        orders: in force; None when the next program does not understand them.
        states: of the instances.
    """

    version: str
    generation: int
    lock_fd: int
    ends: Mapping[str, tuple[int, int]]
    pids: Mapping[str, int]
    next_request: int
    ready: bool
    orders: Orders | None
    states: tuple[InstanceState, ...] = field(default=())


# ------------------------------------------------------------------------------------------- the program


def program(original: Sequence[str], arguments: Sequence[str], executable: str) -> list[str]:
    """The command that starts what this process was started as, found anew by its name: no link in it is resolved.

    Arguments:
        original: `sys.orig_argv`.
        arguments: `sys.argv`.
        executable: `sys.executable`.

    Returns the command without the arguments of ours.
    """
    own = len(arguments) - 1
    head = list(original[: len(original) - own] if own else original)
    script = head[-1] if len(head) > 1 and "-m" not in head and "-c" not in head else ""
    if script and os.access(script, os.X_OK):
        return [os.path.abspath(script)]  # noqa: PTH100 - Path.resolve would follow the links
    return [executable, *head[1:]]


def probe(command: Sequence[str], config: Path, node: str) -> str:
    """Tries whether a program could follow the running one; blocks for as long as that takes.

    Arguments:
        command: of the program, without arguments of ours.
        config, node: what it would run with.

    Returns why it cannot, in words; empty when it can.
    """
    asked = [*command, "run", "-c", str(config), "--node", node, "--probe"]
    try:
        ran = subprocess.run(
            asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROBE_S, check=False
        )
    except OSError as problem:
        return f"{command[0]} cannot be started: {problem.strerror or problem}"
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not say within {PROBE_S:.0f} s that it can run"
    if ran.returncode:
        said = (ran.stderr.strip() or ran.stdout.strip())[-SAID_AT_MOST:]
        return f"the program at {command[0]} cannot run (exit code {ran.returncode}): {said}"
    try:
        spoken = json.loads(ran.stdout)["protocol"]
    except (ValueError, KeyError, TypeError):
        return f"the program at {command[0]} does not know how to follow a running one; restart the unit instead"
    if spoken != PROTOCOL:
        return (
            f"the program at {command[0]} follows by protocol {spoken}, the running one leaves by {PROTOCOL}; "
            "hand over to the peer and restart the unit instead"
        )
    return ""


def answer_probe(config: Path, node: str | None) -> str:
    """What a program says that is asked whether it could follow a running one.

    Errors: ConfigError; whatever goes wrong in loading the program ends it, which is an answer as well.
    """
    for part in PARTS:
        importlib.import_module(f"ha_lvs.daemon.{part}")
    orders.read(config, node)
    return json.dumps({"version": __version__, "protocol": PROTOCOL})


# -------------------------------------------------------------------------------------------- the legacy


def execute(command: Sequence[str], legacy: Legacy) -> None:
    """Puts another program in the place of this one. Comes back only by an error; then all is as before.

    Arguments:
        command: of the program, with all arguments but the last.
        legacy: what to leave to it.

    Errors: OSError.
    """
    fd = memory.write("legacy", {"protocol": PROTOCOL, **to_json(legacy)})
    left = [legacy.lock_fd, *(end for pair in legacy.ends.values() for end in pair)]
    try:
        for each in (fd, *left):
            os.set_inheritable(each, True)
        os.execv(command[0], [*command, "--resume-fd", str(fd)])
    finally:
        for each in left:
            os.set_inheritable(each, False)
        os.close(fd)


def take_over(fd: int) -> Legacy:
    """What the program before this one has left.

    Errors: PlatformError when it is none of ours.
    """
    try:
        data: dict[str, Any] = memory.load(fd)
        if data["protocol"] != PROTOCOL:
            raise ValueError(f"protocol {data['protocol']}")
        return Legacy(
            version=str(data["version"]),
            generation=int(data["generation"]),
            lock_fd=int(data["lock_fd"]),
            ends={name: (int(left), int(right)) for name, (left, right) in data["ends"].items()},
            pids={name: int(pid) for name, pid in data["pids"].items()},
            next_request=int(data["next_request"]),
            ready=bool(data["ready"]),
            orders=_understood(Orders, data["orders"]),
            states=tuple(filter(None, (_understood(InstanceState, each) for each in data.get("states", ())))),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise PlatformError(
            f"--resume-fd is for the daemon itself; there is nothing to resume ({problem})"
        ) from problem


def end_unknown(legacy: Legacy, known: Collection[str]) -> None:
    """Ends children that the other program had and this one has no use for."""
    for name, pid in legacy.pids.items():
        if name not in known:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _understood(kind: Any, data: Any) -> Any:
    """A value of the other program; None when this one has another idea of it."""
    try:
        return from_json(kind, data)
    except (ChannelError, HaLvsError):
        return None
