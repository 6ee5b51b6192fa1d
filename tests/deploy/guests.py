"""Whole machines for the deployment test: Debian guests under qemu on the switch of a lab.

Rules that hold here:
* A guest's cable `e0` is a tap in the switch's namespace that qemu holds open: when qemu is killed the port is gone, as
  when a machine loses its power. Nothing of the machine's own network is touched.
* A guest is managed by ssh over a port of 127.0.0.1, and reaches nothing else: no internet.
* Each has a copy of the disk, which survives `power_off`; the console of every boot is appended to one file.
* Emulated machines are slow, and slower when others use the processors: deadlines are generous.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ha_lvs.drill.lab.topology import Lab
from ha_lvs.drill.lab.waiting import wait_for
from ha_lvs.errors import LabError

HERE = Path(__file__).resolve().parent
RECIPE = HERE / "image.sh"
MEMORY_MIB = 640
BOOT_S = 400.0
COMMAND_S = 120.0


@dataclass(frozen=True, slots=True)
class Image:
    """What guests are made from.

    Arguments:
        disk: a file system without a partition table.
        kernel, initrd: how it is booted.
    """

    disk: Path
    kernel: Path
    initrd: Path


def image(cache: Path, log: Path) -> Image:
    """The image of the present recipe, made the first time.

    Arguments:
        cache: where images are kept, one directory for each recipe.
        log: for what the recipe has to say.

    Errors: LabError when it cannot be made.
    """
    directory = cache / hashlib.sha256(RECIPE.read_bytes()).hexdigest()[:16]
    made = Image(directory / "disk.img", directory / "vmlinuz", directory / "initrd.img")
    if not made.disk.exists():
        if cache.exists():
            for earlier in cache.iterdir():
                shutil.rmtree(earlier)
        with log.open("wb") as stream:
            process = subprocess.run(["bash", str(RECIPE), str(directory)], stdout=stream, stderr=stream, check=False)
        if process.returncode != 0:
            raise LabError(f"the guests' image could not be made:\n{_end_of(log)}")
    return made


@dataclass(slots=True)
class Machines:
    """What the guests of a run share: keys and the way in.

    Arguments:
        directory: for disks, consoles and keys of this run.
        sockets: a directory with a short name, for ssh's connections.
        lab: whose switch they are connected to.
        image: what they are made from.
    """

    directory: Path
    sockets: Path
    lab: Lab
    image: Image
    ports: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.key.unlink(missing_ok=True)
        _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "deployment test", "-f", str(self.key)])

    @property
    def key(self) -> Path:
        """The private key of this run."""
        return self.directory / "key"

    @property
    def ssh_config(self) -> Path:
        """How ssh, and with it Ansible, gets into the guests by their names."""
        return self.directory / "ssh_config"

    def add(self, name: str, number: int) -> Guest:
        """A guest with a disk of its own, not booted.

        Arguments:
            name: its host name.
            number: the last part of its address, one of those that the image knows.
        """
        self.ports[name] = _free_port()
        hosts = "".join(f"Host {host}\n  Port {port}\n" for host, port in self.ports.items())
        self.ssh_config.write_text(
            f"{hosts}Host *\n  HostName 127.0.0.1\n  User root\n  IdentityFile {self.key}\n  IdentitiesOnly yes\n"
            "  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n  ConnectTimeout 60\n"
            "  ServerAliveInterval 15\n  ServerAliveCountMax 8\n"
            f"  ControlMaster auto\n  ControlPath {self.sockets}/%n\n  ControlPersist 600\n"
        )
        guest = Guest(self, name, number)
        guest.prepare()
        return guest


class Guest:
    """A machine that can be booted, talked to and switched off.

    Arguments:
        machines: what it shares with others.
        name: its host name.
        number: the last part of its address.
    """

    def __init__(self, machines: Machines, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.address = f"10.9.0.{number}"
        self.console = machines.directory / f"{name}.console"
        self._machines = machines
        self._disk = machines.directory / f"{name}.img"
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Makes its disk: a copy of the image's, with its name, its machine id and the key of this run."""
        _run(["cp", "--sparse=always", "--reflink=auto", str(self._machines.image.disk), str(self._disk)])
        contents = {
            "/etc/hostname": f"{self.name}\n",
            "/etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n",
            "/etc/machine-id": f"{os.urandom(16).hex()}\n",
            "/root/.ssh/authorized_keys": self._machines.key.with_suffix(".pub").read_text(),
        }
        commands = []
        for number, (path, text) in enumerate(contents.items()):
            source = self._machines.directory / f"{self.name}.{number}"
            source.write_text(text)
            commands += [f"rm {path}", f"write {source} {path}", f"set_inode_field {path} mode 0100644"]
        _run(["debugfs", "-w", "-f", "-", str(self._disk)], "\n".join(commands))
        for number in range(len(contents)):
            (self._machines.directory / f"{self.name}.{number}").unlink()

    # ------------------------------------------------------------------------------------------- its power

    @property
    def running(self) -> bool:
        """Whether it has power."""
        return self._process is not None and self._process.poll() is None

    def power_on(self) -> None:
        """Starts it and waits for nothing.

        Errors: LabError when it runs already.
        """
        if self.running:
            raise LabError(f"{self.name} runs already")
        made = self._machines.image
        tap = self._machines.lab.tap(f"v{self.name}")
        try:
            command = [
                "qemu-system-x86_64", "-name", self.name, "-M", "q35", "-accel", "tcg,tb-size=256", "-cpu", "qemu64",
                "-smp", "1", "-m", str(MEMORY_MIB), "-nodefaults", "-display", "none", "-no-reboot",
                "-kernel", str(made.kernel), "-initrd", str(made.initrd),
                # Emulation gives no protection against speculation and pays dearly for the remedies.
                "-append", "root=/dev/vda rw console=ttyS0 quiet mitigations=off audit=0 net.ifnames=0",
                "-drive", f"file={self._disk},format=raw,if=virtio,cache=writeback",
                "-device", "virtio-rng-pci",
                "-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console",
                "-netdev", f"user,id=mgmt,restrict=on,hostfwd=tcp:127.0.0.1:{self._machines.ports[self.name]}-:22",
                "-device", f"virtio-net-pci,netdev=mgmt,mac=02:09:00:00:00:{self.number:02x}",
                "-netdev", f"tap,id=e0,fd={tap}",
                "-device", f"virtio-net-pci,netdev=e0,mac=02:09:0a:09:00:{self.number:02x}",
            ]  # fmt: skip
            with (self._machines.directory / f"{self.name}.qemu").open("ab") as errors:
                self._process = subprocess.Popen(
                    # A test that is killed takes its guests along.
                    ["setpriv", "--pdeathsig", "KILL", *command],
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    pass_fds=(tap,),
                )
        finally:
            os.close(tap)

    def wait_until_up(self, timeout_s: float = BOOT_S) -> None:
        """Waits until commands can be run on it.

        Errors: LabError with the end of its console when it does not come up.
        """

        def up() -> bool:
            if not self.running:
                raise AssertionError(f"qemu of {self.name} has ended: {_end_of(self.console)}")
            return self.run("true", check=False, timeout_s=60).returncode == 0

        try:
            wait_for(up, timeout_s, f"{self.name} to come up", every_s=1)
        except LabError as problem:
            raise LabError(f"{problem}\n{_end_of(self.console)}") from None

    def power_off(self) -> float:
        """Takes its power away.

        Returns: when, in seconds of CLOCK_MONOTONIC.
        Errors: LabError when it has none.
        """
        if self._process is None or not self.running:
            raise LabError(f"{self.name} is not running")
        at_s = time.monotonic()
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._hang_up()
        return at_s

    def close(self) -> None:
        """Takes its power away where it has any, and its disk."""
        with contextlib.suppress(LabError):
            self.power_off()
        self._disk.unlink(missing_ok=True)

    # ----------------------------------------------------------------------------------------- talking to it

    def run(
        self, script: str, *, check: bool = True, timeout_s: float = COMMAND_S, input: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Runs a line of shell as root.

        Arguments:
            check: a non-zero exit code is an error.
            timeout_s: seconds, already with regard to the emulation.
            input: for its standard input.

        Returns: exit code, output and errors; exit code 255 when it could not be reached in time.
        Errors: LabError with `check`.
        """
        argv = ["ssh", "-F", str(self._machines.ssh_config), self.name, script]
        try:
            done = subprocess.run(argv, input=input, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired:
            done = subprocess.CompletedProcess(argv, 255, "", f"no answer within {timeout_s:.0f} s")
        if check and done.returncode != 0:
            raise LabError(f"{script!r} on {self.name} ended with {done.returncode}: {done.stderr or done.stdout}")
        return done

    def out(self, *argv: str, timeout_s: float = COMMAND_S) -> str:
        """What a command prints, without the last line break.

        Errors: LabError when it fails.
        """
        return self.run(shlex.join(argv), timeout_s=timeout_s).stdout.rstrip("\n")

    def python(self, code: str, *, timeout_s: float = COMMAND_S) -> str:
        """What a piece of Python prints.

        Errors: LabError when it fails.
        """
        return self.run("python3 -I -", input=code, timeout_s=timeout_s).stdout.rstrip("\n")

    def _hang_up(self) -> None:
        # The connection that ssh keeps would wait for the dead machine for minutes.
        config = str(self._machines.ssh_config)
        subprocess.run(["ssh", "-F", config, "-O", "exit", self.name], capture_output=True, check=False)
        (self._machines.sockets / self.name).unlink(missing_ok=True)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _run(argv: Sequence[str], input: str = "") -> None:
    done = subprocess.run(argv, input=input, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{shlex.join(argv)}: {done.stderr or done.stdout}")


def _end_of(path: Path, lines: int = 20) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(nothing)"
