"""Which lab this machine needs: a look at the running kernel, never a setting."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

MODULES = (
    "veth", "bridge", "macvlan", "ipip", "sch_netem", "sch_tbf", "ip_vs",
    "ip_vs_rr", "ip_vs_wrr", "ip_vs_lc", "ip_vs_wlc", "ip_vs_fo", "ip_vs_ovf", "ip_vs_lblc", "ip_vs_lblcr",
    "ip_vs_dh", "ip_vs_sh", "ip_vs_mh", "ip_vs_sed", "ip_vs_nq", "ip_vs_twos", "ip_vs_pe_sip",
    "cls_flower", "act_skbedit", "sch_ingress", "fou", "fou6", "ip_gre", "ip6_gre", "sit", "ip6_tunnel",
    "nf_tables", "nft_fib_ipv4", "nft_fib_ipv6", "nft_fib_inet",
)  # fmt: skip
"""What the lab uses. All of them are loaded at once, since loading on demand costs a process each time."""


@functools.cache
def load_modules() -> None:
    """Loads what can be loaded of `MODULES`, once; what is built in, or not to be had, is passed over."""
    modprobe = shutil.which("modprobe", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if modprobe is not None and os.geteuid() == 0:
        subprocess.run([modprobe, "--quiet", "--all", *MODULES], check=False, capture_output=True)


def has_ipvs() -> bool:
    """Whether the running kernel has IPVS; tries to load the modules where it does not look so."""
    # The file comes with the module, in every network namespace (net/netfilter/ipvs/ip_vs_ctl.c).
    table = Path("/proc/self/net/ip_vs")
    if not table.exists():
        load_modules()
    return table.exists()


def release() -> str:
    """The running kernel, for reports."""
    return os.uname().release
