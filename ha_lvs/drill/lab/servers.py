"""Real servers: nginx in a namespace, and what each forwarding method asks of a real server.

* DR: the virtual IP on the loopback, and silence about it when neighbours ask (``arp_ignore``, ``arp_announce``).
* TUN: the virtual IP on ``tunl0``, which unpacks what directors send; the same silence.
* NAT: answers to clients go back by the director. Clients share the servers' network here, so a route for each of
  them leads to the inside gateway, an address that moves with the active director.
"""

from __future__ import annotations

import http.client
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ha_lvs.drill.lab.hosts import Host, kill_group
from ha_lvs.drill.lab.waiting import PACE, wait_for
from ha_lvs.errors import LabError
from ha_lvs.model import Forwarding

PORT = 80

_CONFIG = """\
daemon off;
user root;
worker_processes 1;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    reset_timedout_connection on;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen {port} backlog=4096;
        location / {{ return 200 "{name}"; }}
        location /healthz {{ return 200 "ok"; }}
    }}
}}
"""


class Server:
    """A real server; its ``/`` answers its name, its ``/healthz`` answers 200.

    Arguments:
        host: where it runs.
        directory: for its configuration and logs.
    """

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        self.name = host.name
        self.address = host.address
        self._directory = directory.absolute()
        self._process: subprocess.Popen[bytes] | None = None
        self._undo: list[str] = []

    @property
    def running(self) -> bool:
        """Whether nginx runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait: bool = True) -> None:
        """Starts nginx, and waits until it answers where `wait` says so. Does nothing where it runs.

        Errors: LabError when it does not come up.
        """
        if not self.running:
            nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/sbin:/usr/bin:/bin")
            if nginx is None:
                raise LabError("nginx is missing: apt-get install nginx-light")
            self._directory.mkdir(parents=True, exist_ok=True)
            config = self._directory / "nginx.conf"
            config.write_text(_CONFIG.format(directory=self._directory, name=self.name, port=PORT))
            errors = self._directory / "error.log"
            with errors.open("ab") as log:
                self._process = self.host.popen(
                    [nginx, "-c", str(config), "-p", str(self._directory), "-e", str(errors)], stdout=log, stderr=log
                )
        if wait:
            wait_for(self.answers, 20, f"nginx on {self.name} to answer")

    def stop(self) -> None:
        """Stops nginx at once: its connections are closed, new ones are refused. Does nothing where none runs.

        Errors: LabError when it does not end.
        """
        if self._process is None:
            return
        self.resume()
        if self.running:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10 * PACE)
            except subprocess.TimeoutExpired:
                kill_group(self._process, signal.SIGKILL)
                self._process.wait()
                raise LabError(f"nginx on {self.name} did not stop and was killed") from None
        self._process = None

    def hang(self) -> None:
        """Stops nginx where it stands: its kernel still accepts connections, and nobody answers on them.

        Errors: LabError when it is not running.
        """
        if self._process is None or not self.running:
            raise LabError(f"nginx on {self.name} cannot hang: it is not running")
        kill_group(self._process, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a hanging nginx go on; it answers what has piled up. Does nothing where none hangs."""
        if self._process is not None and self.running:
            kill_group(self._process, signal.SIGCONT)

    def answers(self) -> bool:
        """Asks nginx over its own address.

        Errors: LabError when it has ended; OSError while it does not listen.
        """
        if not self.running:
            raise LabError(f"nginx on {self.name} is not running; see {self._directory}/error.log")
        with self.host.inside():
            connection = http.client.HTTPConnection(self.address, PORT, timeout=2 * PACE)
            try:
                connection.request("GET", "/")
                return connection.getresponse().read().decode() == self.name
            finally:
                connection.close()

    def accept(self, forwarding: Forwarding, virtual_ip: str, clients: Sequence[str], gateway: str) -> None:
        """Makes this host take what directors forward by a method, instead of the method before.

        Arguments:
            virtual_ip: the address that clients ask for.
            clients: their addresses, for NAT.
            gateway: the directors' address towards the real servers, for NAT.

        Errors: LabError when the kernel lacks something, such as the module ``ipip``.
        """
        silence = 0 if forwarding is Forwarding.NAT else 1
        for scope in ("all", "e0"):
            self.host.sysctl(f"net.ipv4.conf.{scope}.arp_ignore", silence)
            self.host.sysctl(f"net.ipv4.conf.{scope}.arp_announce", 2 * silence)
        undo, self._undo = self._undo, []
        match forwarding:
            case Forwarding.DR:
                commands = [f"addr add {virtual_ip}/32 dev lo"]
                self._undo = [f"addr del {virtual_ip}/32 dev lo"]
            case Forwarding.TUN:
                commands = ["link set tunl0 up", f"addr add {virtual_ip}/32 dev tunl0"]
                self._undo = [f"addr del {virtual_ip}/32 dev tunl0", "link set tunl0 down"]
            case Forwarding.NAT:
                commands = [f"route add {client}/32 via {gateway}" for client in clients]
                self._undo = [f"route del {client}/32 via {gateway}" for client in clients]
        self.host.ip(*undo, *commands)
