"""Events of the BFD sessions between directors: told by the elector."""

from __future__ import annotations

from ha_lvs.observe.events.event import SCHED, Event

BFD = "https://www.rfc-editor.org/rfc/rfc5880"

EVENTS = (
    Event(
        phrase="BFD session is up",
        message_id="dec52c3e63c8426c93bf888ff7ad1fdc",
        levels=("notice",),
        subject="The BFD session with @HA_LVS_PEER@ is up",
        happened="This node and @HA_LVS_PEER@ hear each other's BFD packets on @HA_LVS_INTERFACE@.",
        follows=(
            "From now on silence of the other end is noticed within the detection time, and the backup takes over "
            "without waiting for advertisements to be missed."
        ),
        remedy="Nothing.",
        fields=("peer", "interface"),
        documentation=BFD,
    ),
    Event(
        phrase="BFD session is down",
        message_id="640ef81a6b7749ad8ca87ed2dbdeac2e",
        levels=("notice", "warning"),
        subject="The BFD session with @HA_LVS_PEER@ is down",
        happened="The BFD session with @HA_LVS_PEER@ on @HA_LVS_INTERFACE@ has ended: @HA_LVS_REASON@.",
        follows=(
            "If nothing was heard of the other end and that was active, this node takes over. If the other end has "
            "said so itself, it lives, and advertisements alone decide who is active. The session comes up again by "
            "itself."
        ),
        remedy=(
            "Nothing for a notice: it was ended on purpose. For a warning: find out what became of the other "
            "director or of the network between the two. If both run and the session goes down again and again, the "
            "interval is too short for these machines: see how late they run, or take a longer one."
        ),
        fields=("peer", "interface", "reason"),
        documentation=BFD,
    ),
    Event(
        phrase="BFD gives no verdict",
        message_id="85c8aae713d84744a1968c6dacb37ea2",
        levels=("info",),
        subject="The silence of @HA_LVS_PEER@ was not judged, since this machine did not run in time",
        happened=(
            "The detection time of the BFD session with @HA_LVS_PEER@ on @HA_LVS_INTERFACE@ was over, but this "
            "machine has not run all the time: @HA_LVS_DETAIL@."
        ),
        follows="The other end is given at most one more detection time. If it is still silent then, it is down.",
        remedy=(
            "Nothing if it is rare. If it happens often, the hypervisor takes processors away or something else with "
            "real-time priority keeps the elector waiting: reserve processors for this machine, or take a longer "
            "interval."
        ),
        fields=("peer", "interface", "detail"),
        documentation=SCHED,
    ),
    Event(
        phrase="BFD packet dropped",
        message_id="b28ed22f3b09479db20d86d933447ac5",
        levels=("warning",),
        subject="A BFD packet was dropped",
        happened="A packet on @HA_LVS_INTERFACE@, to where @HA_LVS_PEER@ speaks, was dropped: @HA_LVS_DETAIL@.",
        follows="Nothing: it is as if it had not been sent.",
        remedy=(
            "See who sends it and how it is configured. A TTL below 255 means that it came through a router, or that "
            "somebody forges packets. One packet to a session that does not exist is normal after a restart."
        ),
        fields=("peer", "interface", "detail"),
        documentation=BFD,
    ),
    Event(
        phrase="BFD socket failed",
        message_id="591c2af09fcb4219830242c46b86054b",
        levels=("error",),
        subject="BFD packets cannot be sent or received on @HA_LVS_INTERFACE@",
        happened=(
            "The kernel did not send or receive a packet of the BFD session with @HA_LVS_PEER@ on "
            "@HA_LVS_INTERFACE@: @HA_LVS_DETAIL@."
        ),
        follows="It is tried again with each packet. The other end notices the silence and may take over.",
        remedy="See that the interface is up and has the address that the session is configured with.",
        fields=("peer", "interface", "detail"),
        documentation=BFD,
    ),
)
