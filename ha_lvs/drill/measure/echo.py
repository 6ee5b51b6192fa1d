"""A UDP echo for measuring outages: `python -m ha_lvs.drill.measure.echo --address 10.9.0.100 --port 7000`.

It answers each datagram with the same bytes from the address that it was bound to, which need not be there yet. Light
and with real-time priority where allowed, so that what is measured is the network.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import socket

from ha_lvs.socket_options import IP_FREEBIND

REALTIME_PRIORITY = 1


def serve(address: str, port: int) -> None:
    """Answers forever."""
    endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    endpoint.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    endpoint.bind((address, port))
    gc.disable()
    while True:
        data, sender = endpoint.recvfrom(2048)
        # Whoever asked may be cut off by now.
        with contextlib.suppress(OSError):
            endpoint.sendto(data, sender)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m ha_lvs.drill.measure.echo", description=__doc__)
    parser.add_argument("--address", default="0.0.0.0", help="answer from this address (default: any)")
    parser.add_argument("--port", type=int, default=7000)
    options = parser.parse_args()
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REALTIME_PRIORITY))
    serve(options.address, options.port)


if __name__ == "__main__":
    main()
