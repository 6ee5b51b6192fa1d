"""The measuring side of drills: runs a scenario in the lab, for one contender after the other, and writes events.

    python -m ha_lvs.drill.runner scenarios/power-loss.yml -o build/drills/power-loss --lab native --contender ha-lvs

It runs where the kernel is that the scenario needs, which may be inside the VM, so it draws nothing and judges
nothing: events (`measure.events`) go to standard output as JSON lines, the directors' logs below the output directory.
The rooms:

    trial       one contender: lab, arming, steps, end
    arming      until when the load has settled
    faults      what each verb of a step does
    timetable   pure: which step is due when, and on whom
    recovery    pure: since when all is well again
    pair        pure: the pair's config file for a scenario
    versions    of what is on trial

The events, in the order in which they come; each has ``event`` and ``t``, seconds of CLOCK_MONOTONIC:

* ``machine``: ``kernel``, ``lab``, ``cpus``, ``pace``, ``versions`` by name
* ``run`` begins a contender: ``contender``, ``scenario``, ``directors``, ``servers``, ``interval_s``,
  ``udp_interval_s`` (null where no datagrams are sent), ``wall_s`` (the wall clock's time at ``t``: logs have that)
* ``note`` and ``problem``: ``text``; a problem says that something did not work which should have: the run is not valid
* ``armed``: ``active``, ``standby`` (empty where there are no directors); its time is the zero of the steps
* ``step``: ``index``, ``verb``, ``target`` (a node), ``text``; told just before it is done
* ``holders``: ``nodes``; ``roles``: ``nodes``, role by node; ``in_service``: ``node``, ``servers`` (`measure.watch`)
* ``started``, ``opened``, ``report``, ``verified``, ``summary`` (`measure.load`); the verification ``end`` is made when
  the scenario ends
* ``udp``: the figures of `measure.udp_stream`, counted from arming
* ``settled``: ``after_s``, from the last step until all was well again (`recovery`), or null
* ``logs``: for each node the path of its log, relative to the output directory
* ``end`` of a contender

Rules that hold here:

* A step has happened when the kernel shows it. What is on trial is never asked whether it works.
* A scenario's times are real seconds; time-outs are multiplied by the lab's pace.
* Whatever fails becomes a ``problem`` and the run is brought to an orderly end: the reader judges.
"""
