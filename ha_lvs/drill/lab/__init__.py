"""The lab: a director pair with clients and real servers, each a network namespace of one machine.

Tests, demo and drills share it. The rooms:

    kernel     does the running kernel have IPVS?
    vm         the same work inside a virtual machine with a stock Debian kernel, where it does not
    namespaces names, entering, route netlink without a process
    topology   `Lab`: the switch, the hosts, faults on their cables
    hosts      `Host`: running things in a namespace, looking at its addresses
    servers    `Server`: nginx, and what each forwarding method needs on a real server
    program    `Program`: a daemon that can be started, frozen, killed
    director   `Director`: an `ha-lvs run`, which can be asked too
    pair_config the config file of the pair
    busy       `BusyLoops`: something else that wants the processors
    waiting    `wait_for`, `lasting` and `PACE`

Everything happens in namespaces that the lab makes and removes; nothing of the machine's own network is touched.

    with Lab("demo", directory, clients=1, servers=3) as lab:
        lab.forward(Forwarding.DR)
        lab.start_servers()
        lb1 = Director(lab.host("lb1"), config, lab.directory)
        lb1.start()
        wait_for(lambda: "10.9.0.100" in lab.host("lb1").addresses(), 10, "lb1 to hold the virtual IP")
        lab.cut("lb1")
"""

from __future__ import annotations
