"""Who is active: VRRP as a pure machine of (state, event, now). The elector process runs it.

The driver loop, whatever drives it (the elector, a simulation, a test):

    machine = Machine(instance)
    run(machine.handle(Start(holding=...), now))
    while True:
        wait for a packet, another event, or machine.deadline
        for each packet that has arrived:          # packets, and what other processes say, before timers:
            run(machine.handle(event, now))        # a late loop must not declare dead whoever has spoken meanwhile
        if machine.deadline is not None and machine.deadline <= now:
            run(machine.handle_timer(now))

`run` carries out the actions in their order. `now` is monotonic seconds and comes from the caller.
"""
