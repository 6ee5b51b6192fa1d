"""Events of the election, the advertisements and the virtual IPs: told by the elector."""

from __future__ import annotations

from ha_lvs.observe.events.event import SCHED, VRRP, Event

EVENTS = (
    # ---------------------------------------------------------------------------------------------------- the election
    Event(
        phrase="role is active",
        message_id="5b84172887784862ba8af6618a83a7bf",
        levels=("notice", "warning"),
        subject="This node is now active for @HA_LVS_INSTANCE@",
        happened=(
            "Instance @HA_LVS_INSTANCE@ of this node, with priority @HA_LVS_PRIORITY@, has become "
            "active: @HA_LVS_REASON@."
        ),
        follows="It holds the virtual IPs, has told the neighbours by gratuitous ARP, and forwards connections.",
        remedy=(
            "For a notice nothing, if you know why: a higher priority, or a stop of the other director. That also "
            "resigns when its elector crashed or it was cleaned up after being killed: look at its journal. For a "
            "warning: find out what became of the other director. If no other router was heard and the other "
            "director runs, look at the firewall (IP protocol 112) and the switch: both may be active now. If it does "
            "not run, it is yet to start."
        ),
        fields=("instance", "reason", "priority"),
        documentation=VRRP,
    ),
    Event(
        phrase="role is backup",
        message_id="201ea99e86124437892c56ff41e6e0e3",
        levels=("notice", "warning"),
        subject="This node now stands by for @HA_LVS_INSTANCE@",
        happened=(
            "Instance @HA_LVS_INSTANCE@ of this node, with priority @HA_LVS_PRIORITY@, has become "
            "backup: @HA_LVS_REASON@."
        ),
        follows="It holds no virtual IPs and listens to the active one, to take over when that falls silent.",
        remedy=(
            "Nothing for a notice. For a warning: find out why this node was not heard; it did not run for a "
            "while, or its network failed."
        ),
        fields=("instance", "reason", "priority"),
        documentation=VRRP,
    ),
    Event(
        phrase="role is initialize",
        message_id="fe0625ddd69e430ba45743a41d75c32d",
        levels=("notice",),
        subject="This node no longer takes part in the election for @HA_LVS_INSTANCE@",
        happened=(
            "Instance @HA_LVS_INSTANCE@ of this node, with priority @HA_LVS_PRIORITY@, has left the "
            "election: @HA_LVS_REASON@."
        ),
        follows="If it was active, it has resigned and removed the virtual IPs, and the other director takes over.",
        remedy="Nothing, if you stopped it. Until it is started again, nobody stands by for the other director.",
        fields=("instance", "reason", "priority"),
        documentation=VRRP,
    ),
    Event(
        phrase="virtual IPs found at start",
        message_id="42f059ad7517482ebaac14def51bd7ad",
        levels=("info",),
        subject="Virtual IPs of an earlier run were found",
        happened=(
            "When the elector of instance @HA_LVS_INSTANCE@ started, virtual IPs were on their interfaces "
            "already: @HA_LVS_ADDRESSES@."
        ),
        follows="They stay until it is clear who is active, but no longer than their lease.",
        remedy=(
            "Nothing after a crash or a kill. If it happens again and again, see whether something else on this "
            "machine adds them."
        ),
        fields=("instance", "addresses"),
        documentation=VRRP,
    ),
    Event(
        phrase="elector cannot run",
        message_id="5e49a0554e0d4244b6674adb23de51f8",
        levels=("error",),
        subject="The elector cannot run",
        happened="The elector has ended with an error: @HA_LVS_DETAIL@.",
        follows=(
            "It is started again, ever less often. Meanwhile this node is not active and nobody's standby. Under the "
            "unit that comes with ha-lvs, systemd restarts everything when no elector answers for about 70 seconds."
        ),
        remedy="Usually an interface is missing, has no address, or a privilege is: the text says which.",
        fields=("detail",),
        documentation=VRRP,
    ),
    Event(
        phrase="what the last elector knew does not fit",
        message_id="79144b2f7a0d476f85e752b42acb59ef",
        levels=("warning",),
        subject="The elector could not go on where its predecessor stopped",
        happened="What an elector has left to its successor could not be read: @HA_LVS_DETAIL@.",
        follows="That instance begins as after a crash: it adopts its addresses and listens who is active.",
        remedy="Nothing, after an upgrade or a downgrade. Otherwise report it.",
        fields=("detail",),
        documentation=VRRP,
    ),
    Event(
        phrase="less than real time",
        message_id="e9d6bf3e8cb34b488340edfdd9abd02f",
        levels=("warning",),
        subject="The elector runs with less than real-time guarantees",
        happened="The system refused the elector something that it asks for at its start: @HA_LVS_MISSING@.",
        follows=(
            "It goes on without. On a starved machine, advertisements may then be late, and the other director "
            "may take over from a node that is well."
        ),
        remedy="Grant what is named; the unit that comes with ha-lvs does. In a container, the host has to allow it.",
        fields=("missing",),
        documentation=SCHED,
    ),
    # ------------------------------------------------------------------------------------ advertisements and addresses
    Event(
        phrase="advertisement not sent",
        message_id="3fbc9394dd1b4bb587ab4ba2535b7ed9",
        levels=("error",),
        subject="An advertisement could not be sent",
        happened="The active instance @HA_LVS_INSTANCE@ could not send its advertisement: @HA_LVS_DETAIL@.",
        follows="It is tried again each interval. If it goes on, the other director hears nothing, and takes over.",
        remedy=(
            'Look at the interface ("ip link"), the cable, the firewall\'s output rules. Told at most every 10 seconds.'
        ),
        fields=("instance", "detail"),
        documentation=VRRP,
    ),
    Event(
        phrase="cannot receive advertisements",
        message_id="a351dd2db0814deaa516da8c2e115892",
        levels=("error",),
        subject="Advertisements cannot be received",
        happened="Instance @HA_LVS_INSTANCE@ could not read from its socket: @HA_LVS_DETAIL@.",
        follows=(
            "It is tried again. A backup that goes on hearing nothing becomes active, perhaps beside the one that is."
        ),
        remedy='Look at the interface ("ip link"). Told at most every 10 seconds.',
        fields=("instance", "detail"),
        documentation=VRRP,
    ),
    Event(
        phrase="advertisement dropped",
        message_id="969468aef8e84d2ebb31f091f8cb33b5",
        levels=("warning",),
        subject="An advertisement was not valid",
        happened=(
            "Instance @HA_LVS_INSTANCE@ got an advertisement for its router id that it must not heed: @HA_LVS_DETAIL@."
        ),
        follows=(
            "It counts as not heard. If all of the other director's are dropped, this node becomes active beside it."
        ),
        remedy=(
            "Look for a router of somebody else with the same router_id, VRRPv2 where version 3 is wanted, a "
            "sender that is none of the unicast peers, or a router in between. Told at most every 10 seconds."
        ),
        fields=("instance", "detail"),
        documentation=VRRP,
    ),
    Event(
        phrase="virtual IPs differ",
        message_id="5e62c1a88bb04cdc8a7bd4db14560f31",
        levels=("warning",),
        subject="The other director advertises other virtual IPs",
        happened="The virtual IPs of instance @HA_LVS_INSTANCE@ are not those that are advertised: @HA_LVS_DETAIL@.",
        follows="The election goes on; but an address that only one of them has is gone when the other is active.",
        remedy="Give both directors the same config file. Told at most every 10 seconds.",
        fields=("instance", "detail"),
        documentation=VRRP,
    ),
    Event(
        phrase="advertisement intervals differ",
        message_id="5265ee043b474c1884a9db87a7f1afee",
        levels=("warning",),
        subject="The other director advertises at another interval",
        happened=(
            "The interval of instance @HA_LVS_INSTANCE@ in this node's config is not the one that is "
            "advertised: @HA_LVS_DETAIL@."
        ),
        follows=(
            "A backup goes by the active one's interval, as RFC 9568 says; the time to take over "
            "depends on who is active."
        ),
        remedy="Give both directors the same config file. Told at most every 10 seconds.",
        fields=("instance", "detail"),
        documentation=VRRP,
    ),
    Event(
        phrase="virtual IP not held",
        message_id="922f69592d394d16942132445ccbfb8d",
        levels=("error",),
        subject="A virtual IP could not be added or renewed",
        happened=(
            "The active instance @HA_LVS_INSTANCE@ could not put a virtual IP on its interface, or renew its "
            "lease: @HA_LVS_DETAIL@."
        ),
        follows=(
            "It is tried again with each renewal. Meanwhile nobody may hold that address, for this node "
            "goes on being active."
        ),
        remedy=(
            'Look at the interface ("ip address"). If it cannot be mended at once, stop ha-lvs here, so that '
            "the other director takes over. Told at most every 10 seconds."
        ),
        fields=("instance", "detail"),
        documentation=VRRP,
    ),
    Event(
        phrase="virtual IP not removed",
        message_id="d3ed1161d1c2410da5ffeea0a9868723",
        levels=("error",),
        subject="A virtual IP could not be removed",
        happened="Instance @HA_LVS_INSTANCE@ is not active and could not remove a virtual IP: @HA_LVS_DETAIL@.",
        follows=(
            "It is tried again each second. An address with a lease is removed by the kernel when the lease ends."
        ),
        remedy=(
            'Look at the interface ("ip address"); two directors with the same address confuse their clients. '
            "Told at most every 10 seconds."
        ),
        fields=("instance", "detail"),
        documentation=VRRP,
    ),
    Event(
        phrase="virtual IPs not announced",
        message_id="3b45891827754137a591e8875ecfb5da",
        levels=("warning",),
        subject="The neighbours could not be told where the virtual IPs are",
        happened="The active instance @HA_LVS_INSTANCE@ could not send gratuitous ARP: @HA_LVS_DETAIL@.",
        follows=(
            "It is tried again a few times, and every now and then later on. Until then neighbours may send to "
            "the director that was active before."
        ),
        remedy='Look at the interface ("ip link"). Told at most every 10 seconds.',
        fields=("instance", "detail"),
        documentation=VRRP,
    ),
)
