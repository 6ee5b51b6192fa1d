"""Events of who may be active and who gives the role away, of authentication and of routes: told by the elector."""

from __future__ import annotations

from ha_lvs.observe.events.event import SCHED, VRRP, Event

EVENTS = (
    Event(
        phrase="advertisement not authentic",
        message_id="37d6e20c65b94bc7a0100e33990a9c01",
        levels=("warning",),
        subject="An advertisement was not authentic and was dropped",
        happened="Instance @HA_LVS_INSTANCE@ got an advertisement that it does not believe: @HA_LVS_DETAIL@.",
        follows="It counts as not heard. If all of the other director's are dropped, both directors become active.",
        remedy=(
            "Give both directors the same keys; while they are being rotated, both keys. A replay that is none comes "
            "from a clock that was set back across a restart: set the sender's clock. Otherwise somebody on this "
            "network forges advertisements: find it by its address. Told at most every 10 seconds for each cause."
        ),
        fields=("instance", "detail"),
        documentation=VRRP,
    ),
    Event(
        phrase="advertisement obeyed without authentication",
        message_id="17803aeafda641f0a274b435d1428e90",
        levels=("notice",),
        subject="An advertisement without valid authentication was obeyed",
        happened="Instance @HA_LVS_INSTANCE@ is in permissive mode: @HA_LVS_DETAIL@.",
        follows="It counts like an authentic one.",
        remedy="When no more of these come, set the authentication mode to enforce. Told at most every 10 seconds.",
        fields=("instance", "detail"),
        documentation=VRRP,
    ),
    Event(
        phrase="late timer gives no verdict",
        message_id="a7304c63dd6d4757b9f7b75c7b78aa2e",
        levels=("notice",),
        subject="The elector was not scheduled in time and gave the other director the benefit of the doubt",
        happened="Instance @HA_LVS_INSTANCE@ looked at its timers late: @HA_LVS_DETAIL@.",
        follows="The other director is given one more interval before it counts as dead.",
        remedy=(
            "If it happens often, this machine is short of processor time, or its hypervisor is: see the steal time, "
            "and whether the elector runs with real-time priority. Told at most every 10 seconds."
        ),
        fields=("instance", "detail"),
        documentation=SCHED,
    ),
    Event(
        phrase="did not run; listening before speaking",
        message_id="14b52a9fcf1b47dfba56f05abb31f157",
        levels=("warning",),
        subject="This node was paused while it was active",
        happened="Instance @HA_LVS_INSTANCE@ did not run for longer than its peer waits: @HA_LVS_DETAIL@.",
        follows=(
            "It assumes that it has been replaced and listens for about one interval. If another active is heard it "
            "steps back, otherwise it goes on."
        ),
        remedy="Find out what paused the machine: a live migration, a snapshot, a debugger, an overloaded hypervisor.",
        fields=("instance", "detail"),
        documentation=VRRP,
    ),
    Event(
        phrase="not eligible",
        message_id="b93e8d85f93845c8b822c3452e0f4d3a",
        levels=("warning",),
        subject="This node may not become active for @HA_LVS_INSTANCE@",
        happened="Instance @HA_LVS_INSTANCE@ may not be active here now: @HA_LVS_DETAIL@.",
        follows="If it was active it has resigned. It listens on, and takes part again when the reason is gone.",
        remedy=(
            "Mend what is named: an interface, a script, a process, a witness. After `ha-lvs standby`: "
            "`ha-lvs enable`. Meanwhile the other director has no standby."
        ),
        fields=("instance", "detail"),
        documentation=VRRP,
    ),
    Event(
        phrase="eligible again",
        message_id="de38427a5f2e46afb4618e09a66be11c",
        levels=("notice",),
        subject="This node may become active again for @HA_LVS_INSTANCE@",
        happened="Nothing keeps instance @HA_LVS_INSTANCE@ from being active any more. It was: @HA_LVS_DETAIL@.",
        follows="It takes part in the election again.",
        remedy="Nothing.",
        fields=("instance", "detail"),
        documentation=VRRP,
    ),
    Event(
        phrase="taking the role over from a live active",
        message_id="bc11d4e6d36c493e87cf0ad1faf91064",
        levels=("notice",),
        subject="The other director hands its role over",
        happened="Instance @HA_LVS_INSTANCE@ was offered the role and takes it: @HA_LVS_DETAIL@.",
        follows="Addresses are added and announced here first; only then the other director lets go of them.",
        remedy="Nothing: somebody has asked for it, or stops the other director.",
        fields=("instance", "detail"),
        documentation=VRRP,
    ),
    Event(
        phrase="virtual IP is answered by another machine",
        message_id="746bccc010da4821b16596042e35bf01",
        levels=("error",),
        subject="A virtual IP is in use on another machine, too",
        happened="Another machine answers for a virtual IP of instance @HA_LVS_INSTANCE@: @HA_LVS_DETAIL@.",
        follows="Where this node is active, it announces the address again. Some clients reach the other machine.",
        remedy=(
            "Find the machine by its MAC address. If it is the other director, both are active: look at the "
            "network between them (IP protocol 112). Told at most every 10 seconds for each."
        ),
        fields=("instance", "detail"),
        documentation=VRRP,
    ),
    Event(
        phrase="virtual route not held",
        message_id="e15f7b0c6cb5493baee1a48ab6bcde65",
        levels=("error",),
        subject="A virtual route or rule could not be added",
        happened="The active instance @HA_LVS_INSTANCE@ could not add a route or rule of its own: @HA_LVS_DETAIL@.",
        follows="It is tried again each time the virtual IPs are renewed.",
        remedy=(
            'Look at the gateway and the interface that it needs ("ip route", "ip rule"). '
            "Told at most every 10 seconds."
        ),
        fields=("instance", "detail"),
    ),
    Event(
        phrase="virtual route not removed",
        message_id="598d1df9821148ec83a591b9b99d4899",
        levels=("error",),
        subject="A virtual route or rule could not be removed",
        happened="Instance @HA_LVS_INSTANCE@ is not active and could not remove a route or rule: @HA_LVS_DETAIL@.",
        follows="It is tried again each second.",
        remedy='Remove it by hand ("ip route del", "ip rule del"). Told at most every 10 seconds.',
        fields=("instance", "detail"),
    ),
    Event(
        phrase="virtual route not withdrawn",
        message_id="07ce405c71924090845da40bb826baa9",
        levels=("error",),
        subject="A virtual route or rule of a daemon that is gone could not be removed",
        happened="A route or rule of instance @HA_LVS_INSTANCE@ could not be removed: @HA_LVS_DETAIL@.",
        follows="It stays.",
        remedy='Remove it by hand ("ip route del", "ip rule del").',
        fields=("instance", "detail"),
    ),
)
