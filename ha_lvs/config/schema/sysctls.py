"""The sysctls under net.ipv4.vs that a config file may set, of kernels 6.1 to 6.12.

Names and ranges are those of net/netfilter/ipvs/ip_vs_ctl.c and Documentation/networking/ipvs-sysctl.rst. Left out are
those that are no single whole number (`est_cpulist`, `sync_threshold`).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ha_lvs.config import fields
from ha_lvs.config.fields import FileModel

_MOST = 2**31 - 1

Switched = Annotated[int, fields.number(0, 1)]
Defence = Annotated[int, fields.number(0, 3)]
Amount = Annotated[int, fields.number(0, _MOST)]


class Sysctls(FileModel):
    """Sysctls under net.ipv4.vs; what is left out stays as it is."""

    am_droprate: Amount | None = Field(
        default=None,
        description="One packet of so many is dropped by `drop_packet: 3`.",
        examples=[10],
    )
    amemthresh: Amount | None = Field(
        default=None,
        description="Pages of free memory below which the automatic defences begin.",
        examples=[1024],
    )
    backup_only: Switched | None = Field(
        default=None,
        description="1: a director that only receives connection sync does not forward; avoids loops with direct "
        "routing.",
        examples=[1],
    )
    cache_bypass: Switched | None = Field(
        default=None,
        description="1: without a server, packets go to their own destination (transparent caches).",
        examples=[0],
    )
    conn_reuse_mode: Defence | None = Field(
        default=None,
        description="What becomes of a client's port that is used again: 0 goes on, 1 is scheduled anew where that is "
        "safe.",
        examples=[1],
    )
    conntrack: Switched | None = Field(
        default=None,
        description="1: connections of IPVS are tracked by netfilter too.",
        examples=[0],
    )
    drop_entry: Defence | None = Field(
        default=None,
        description="Random connections are dropped when memory is short: 0 never, 1 and 2 by themselves, 3 always.",
        examples=[0],
    )
    drop_packet: Defence | None = Field(
        default=None,
        description="Packets are dropped when memory is short: 0 never, 1 and 2 by themselves, 3 always.",
        examples=[0],
    )
    est_nice: Annotated[int, fields.number(-20, 19)] | None = Field(
        default=None,
        description="The niceness of the threads that work rates out (Linux 6.2).",
        examples=[0],
    )
    expire_nodest_conn: Switched | None = Field(
        default=None,
        description="1: a connection ends at its next packet when its server is no destination any more. Set by "
        "`on_down: expire` of any service.",
        examples=[0],
    )
    expire_quiescent_template: Switched | None = Field(
        default=None,
        description="1: a persistent client leaves a server that has weight 0.",
        examples=[0],
    )
    ignore_tunneled: Switched | None = Field(
        default=None,
        description="1: packets that came out of a tunnel are not balanced again.",
        examples=[0],
    )
    nat_icmp_send: Switched | None = Field(
        default=None,
        description="1: ICMP errors are sent where a packet of a server has no connection (NAT).",
        examples=[0],
    )
    pmtu_disc: Switched | None = Field(
        default=None,
        description="1: packets that are too large for a tunnel are answered by ICMP.",
        examples=[1],
    )
    run_estimation: Switched | None = Field(default=None, description="0: no rates are worked out.", examples=[1])
    schedule_icmp: Switched | None = Field(default=None, description="1: ICMP makes connections too.", examples=[0])
    secure_tcp: Defence | None = Field(
        default=None,
        description="Shorter time-outs of TCP under attack: 0 never, 1 and 2 by themselves, 3 always.",
        examples=[0],
    )
    sloppy_sctp: Switched | None = Field(
        default=None,
        description="1: connections of SCTP are made by any packet, after a take-over without sync.",
        examples=[0],
    )
    sloppy_tcp: Switched | None = Field(
        default=None,
        description="1: connections of TCP are made by any packet, after a take-over without sync.",
        examples=[0],
    )
    snat_reroute: Switched | None = Field(default=None, description="1: answers of NAT are routed anew.", examples=[1])
    sync_persist_mode: Switched | None = Field(
        default=None,
        description="1: of persistent services only the templates are synchronised.",
        examples=[0],
    )
    sync_ports: Annotated[int, fields.number(1, 64)] | None = Field(
        default=None,
        description="Threads and ports of connection sync; a power of two, the same on both directors.",
        examples=[1],
    )
    sync_qlen_max: Amount | None = Field(
        default=None,
        description="Messages of connection sync that may wait.",
        examples=[4096],
    )
    sync_refresh_period: Annotated[int, fields.number(0, 86400)] | None = Field(
        default=None,
        description="Seconds after which an unchanged connection is synchronised again.",
        examples=[0],
    )
    sync_retries: Defence | None = Field(
        default=None,
        description="How often a connection is synchronised again in its refresh period.",
        examples=[0],
    )
    sync_sock_size: Amount | None = Field(
        default=None,
        description="Bytes of the socket buffer of connection sync; 0 is the system's.",
        examples=[0],
    )
    sync_version: Switched | None = Field(
        default=None,
        description="The version of the protocol of connection sync.",
        examples=[1],
    )
