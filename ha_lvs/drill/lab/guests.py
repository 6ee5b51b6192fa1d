"""The virtual machines that carry the lab where the running kernel has no IPVS.

Three kinds, the first that boots here is taken:

    kvm   qemu with hardware help: as fast as the machine itself
    uml   Debian's user-mode Linux: a kernel that is a process. Computing costs nothing extra, a system call about
          100 us; one processor. The same IPVS sources, no hardware help and no emulation needed
    tcg   qemu emulating every instruction: works everywhere, about 16 times slower

Each runs on the host's own file system, read-only but for one directory, so nothing is installed in it. The kernels
are packages of the distribution, unpacked below the lab's directory and never installed.
"""

from __future__ import annotations

import enum
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ha_lvs.errors import LabError

HERE = Path(__file__).resolve().parent
MEMORY = "3G"
MODULES_MOUNT = Path("/lib/modules")


class Kind(enum.Enum):
    """Ways to boot a guest; the value is the name in `HA_LVS_VM_ACCEL`."""

    KVM = "kvm"
    UML = "uml"
    TCG = "tcg"

    @property
    def pace(self) -> float:
        """How many times slower than the machine itself Python's start is, roughly."""
        return {Kind.KVM: 2.0, Kind.UML: 8.0, Kind.TCG: 20.0}[self]


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest to start.

    Arguments:
        kind: how it is booted.
        command: what starts it on the host.
        environment: of that command.
    """

    kind: Kind
    command: tuple[str, ...]
    environment: dict[str, str]


def guest(kind: Kind, run: Path, writable: Path, source: Path, cache: Path) -> Guest:
    """What to start for a guest that runs the job in `run`; fetches its kernel the first time.

    Arguments:
        run: directory of this run, below `writable`.
        writable: the one directory of the host that the guest may write.
        source: the project; readable in the guest even below /tmp.
        cache: where kernels are kept.

    Errors: LabError when the kernel cannot be had.
    """
    if kind is Kind.UML:
        return _uml(run, writable, source, cache)
    return _qemu(kind, run, writable, cache)


def _uml(run: Path, writable: Path, source: Path, cache: Path) -> Guest:
    tree = _unpacked("user-mode-linux", cache)
    MODULES_MOUNT.mkdir(exist_ok=True)  # the guest sees this file system read-only and mounts its modules there
    (modules,) = (tree / "usr/lib/uml/modules").iterdir()
    command = (
        # A runner that is killed takes its guest along, with all the processes that a user-mode kernel consists of.
        "setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "sh", "-c", '"$@"; exit', "sh",
        str(tree / "usr/bin/linux.uml"), f"mem={MEMORY}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro",
        "init=/bin/bash", "con=null", "con0=null,fd:1", "quiet", f"umid=ha-lvs-{os.getpid()}",
        f"uml_dir={run}", f"LAB_RUN={run}", f"LAB_WRITABLE={writable}", f"LAB_SOURCE={source}",
        f"LAB_MODULES={modules.parent}", "--", str(HERE / "uml-init.sh"),
    )  # fmt: skip
    return Guest(Kind.UML, command, dict(os.environ))


def _qemu(kind: Kind, run: Path, writable: Path, cache: Path) -> Guest:
    provision("qemu")
    release, tree = _stock_kernel(cache)
    modules = MODULES_MOUNT / release
    if not (modules / "modules.dep").exists():
        print(f"lab: unpacking the modules of {release} into {modules}", flush=True)
        shutil.copytree(tree / "lib/modules" / release, modules, symlinks=True, dirs_exist_ok=True)
        subprocess.run(["depmod", release], check=True)
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    vng = shutil.which("vng", path=environment["PATH"])
    if vng is None:
        raise LabError("vng is missing: install the project with its development extras (make venv)")
    command = [
        vng, "--user", "root", "-r", str(tree / "boot" / f"vmlinuz-{release}"), "--force-9p",
        "--cpus", "2", "-m", MEMORY, f"--rwdir={writable}",
    ]  # fmt: skip
    if kind is Kind.TCG:
        command += ["--disable-kvm", "--qemu-opts=-accel tcg,thread=multi"]
    command += ["--", "bash", str(HERE / "guest.sh"), str(run)]
    return Guest(kind, tuple(command), environment)


def provision(what: str) -> None:
    """Installs a set of packages with the shell helper.

    Errors: LabError when that fails.
    """
    if subprocess.run(["bash", str(HERE / "provision.sh"), what], check=False).returncode != 0:
        raise LabError(f"the packages of '{what}' could not be installed; see above")


def _stock_kernel(cache: Path) -> tuple[str, Path]:
    known = sorted(cache.glob("linux-image-*/boot/vmlinuz-*"))
    if not known:
        _apt_ready()
        shown = _output(["apt-cache", "depends", "linux-image-amd64"])
        names = [line.split()[-1] for line in shown.splitlines() if line.strip().startswith("Depends: linux-image-")]
        if not names:
            raise LabError("no stock kernel to be had: apt knows no linux-image-amd64")
        known = sorted(_unpacked(names[0], cache).glob("boot/vmlinuz-*"))
    kernel = known[-1]
    return kernel.name.removeprefix("vmlinuz-"), kernel.parent.parent


def _unpacked(package: str, cache: Path) -> Path:
    tree = cache / package
    if tree.exists():
        return tree
    _apt_ready()
    print(f"lab: fetching {package}", flush=True)
    partial = cache / f"{package}.{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "tree").mkdir(parents=True)
    try:
        fetched = subprocess.run(["apt-get", "download", "-q", package], cwd=partial, capture_output=True, text=True)
        if fetched.returncode != 0:
            raise LabError(f"{package} could not be fetched: {fetched.stderr.strip()}")
        (archive,) = partial.glob("*.deb")
        subprocess.run(["dpkg", "-x", str(archive), str(partial / "tree")], check=True)
        try:
            (partial / "tree").rename(tree)
        except OSError:
            # Another run may have been quicker; its tree is as good.
            if not tree.exists():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return tree


def _apt_ready() -> None:
    if not list(Path("/var/lib/apt/lists").glob("*_Packages*")):
        print("lab: fetching package lists", flush=True)
        subprocess.run(["apt-get", "update", "-q"], check=False, capture_output=True)


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout
