"""Until when a drill is armed: the pair has settled and the load runs undisturbed.

Rules that hold here:
* Each wait has a deadline on a real machine's clock, stretched by the lab's pace, and says what it waited for.
* What the kernel knows counts: who has the address, what IPVS lists, which connections the standby has been synced.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import closing

from ha_lvs.drill.contenders import DirectorLike
from ha_lvs.drill.lab.director import Director
from ha_lvs.drill.lab.hosts import Host
from ha_lvs.drill.lab.waiting import PACE, lasting, wait_for
from ha_lvs.drill.measure.events import Emit
from ha_lvs.drill.measure.proc_tables import client_ports, destinations
from ha_lvs.drill.measure.processes import LoadProcess, UdpProcess
from ha_lvs.drill.measure.watch import KernelTable, Watch
from ha_lvs.errors import LabError

SETTLED_INTERVALS = 4
"""For how many advertisement intervals there must have been one holder: after three a backup would have spoken up."""

ANSWERS_BEFORE = 4
"""Requests on every long-lived connection. The kernel syncs a connection from its third packet."""

PAIR_WITHIN_S = 30.0
USED_WITHIN_S = 60.0
SYNCED_WITHIN_S = 30.0
UNDISTURBED_WITHIN_S = 30.0
UDP_WINDOW_S = 0.5


def wait_for_roles(watch: Watch, directors: Collection[str]) -> None:
    """Waits until both directors take part in the election: before that one of them holds the address for want of
    another, and not for long.

    Arguments:
        watch: asks them.
        directors: their names.

    Errors: LabError when one does not.
    """
    for name in directors:
        wait_for(
            lambda name=name: watch.roles.get(name) in ("active", "backup"),  # type: ignore[misc]  # bound at once
            PAIR_WITHIN_S,
            f"{name} to be active or backup",
            every_s=0.05,
        )


def wait_for_links(directors: Mapping[str, DirectorLike]) -> None:
    """Waits until the directors are linked, if theirs can be and are meant to be: a pair that has just been started
    stops and hands over by another way than one that has settled.

    Arguments:
        directors: by name.

    Errors: LabError when they do not come together.
    """
    for name, director in directors.items():
        if isinstance(director, Director):
            wait_for(lambda director=director: _linked(director), PAIR_WITHIN_S, f"{name} to be linked", every_s=0.1)  # type: ignore[misc]  # bound at once


def _linked(director: Director) -> bool:
    """Whether a director is linked with the other one; also where it is not to be."""
    status = director.status()
    return status["peer_link"] is None or any(peer["linked"] for peer in status["peers"])


def wait_for_pair(watch: Watch, directors: Mapping[str, Host], interval_s: float) -> tuple[str, str]:
    """Waits until one director has held the virtual IP for long enough.

    Arguments:
        watch: looks at the holders.
        directors: hosts by name.
        interval_s: between two advertisements.

    Returns: names of the active and of the standby.
    Errors: LabError when it does not come to that.
    """
    one = lasting(lambda: len(watch.holders) == 1, SETTLED_INTERVALS * interval_s)
    wait_for(one, PAIR_WITHIN_S, "exactly one director to hold the virtual IP", every_s=0.05)
    (active,) = watch.holders
    (standby,) = set(directors) - {active}
    return active, standby


def wait_for_services(directors: Mapping[str, Host], listen: tuple[str, int], servers: set[str]) -> None:
    """Waits until every director sends to every real server.

    Arguments:
        directors: hosts by name.
        listen: address and port of the service.
        servers: addresses.

    Errors: LabError when one does not.
    """
    for name, host in directors.items():
        with closing(KernelTable(host, "ip_vs")) as table:

            def complete(table: KernelTable = table) -> bool:
                return destinations(table.read(), *listen) == servers

            wait_for(complete, PAIR_WITHIN_S, f"every server to be up in the IPVS of {name}", every_s=0.05)


def wait_for_connections(load: LoadProcess, connections: int) -> set[int]:
    """Waits until every long-lived connection has been opened and used.

    Arguments:
        load: just started.
        connections: how many it opens.

    Returns: their local ports.
    Errors: LabError when one could not be opened, or it takes too long.
    """
    opened = load.wait("opened", 60 + connections / 5, "the connections to be opened", bool)
    ports = set(opened["ports"])
    if len(ports) < connections:
        raise LabError(f"only {len(ports)} of {connections} long-lived connections could be opened: {opened['lost']}")
    load.wait(
        "report",
        USED_WITHIN_S,
        f"every connection to have had {ANSWERS_BEFORE} answers",
        lambda told: told["connections"]["least_answers"] >= ANSWERS_BEFORE,
    )
    return ports


def wait_for_sync(ports: set[int], client: Host, standby: Host, emit: Emit) -> None:
    """Waits until the standby knows the long-lived connections.

    Arguments:
        ports: local ports of the connections.
        client: where they come from.
        standby: whose kernel must know them.
        emit: where that is told.

    Errors: LabError when it does not come to that.
    """
    if not ports:
        return
    with closing(KernelTable(standby, "ip_vs_conn")) as table:
        wait_for(
            lambda: ports <= client_ports(table.read(), client.address),
            SYNCED_WITHIN_S,
            f"{standby.name} to know all {len(ports)} connections by the kernel's sync",
            every_s=0.3,
        )
    emit("note", text=f"{standby.name} knows all {len(ports)} connections by the kernel's sync")


def wait_for_datagrams(udp: UdpProcess) -> None:
    """Waits until no datagram was lost for `UDP_WINDOW_S`; counting has begun anew then.

    Errors: LabError when that does not come.
    """

    def undisturbed() -> bool:
        figures = udp.count_anew()
        return bool(figures["sent"]) and not figures["lost"]

    udp.count_anew()
    wait_for(undisturbed, UNDISTURBED_WITHIN_S / PACE, "every datagram to be answered", every_s=UDP_WINDOW_S)
