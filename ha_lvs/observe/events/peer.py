"""Events of the link between the directors and of discovery: told by the director process."""

from __future__ import annotations

from ha_lvs.observe.events.event import DNS_SD, Event

EVENTS = (
    # -------------------------------------------------------------------------------------------------------- the link
    Event(
        phrase="peer linked",
        message_id="30b45bd2a2874424beca1c9236e75c56",
        levels=("notice",),
        subject="The link to director @HA_LVS_NODE@ is up",
        happened=(
            "The director processes of this node and of @HA_LVS_NODE@, at @HA_LVS_ADDRESS@, talk to each other. "
            "Authenticated: @HA_LVS_AUTHENTICATED@."
        ),
        follows="Roles can be handed over without a gap, and both know of each other's servers.",
        remedy=(
            "Nothing, if it is authenticated or no keys are in use. If keys are in use and it is not, it was let in "
            "because the authentication is permissive: give that node the keys, then enforce them."
        ),
        fields=("node", "address", "version", "authenticated"),
    ),
    Event(
        phrase="peer link lost",
        message_id="f7e4566ea5b04f318ead22711a622024",
        levels=("notice", "warning"),
        subject="The link to director @HA_LVS_NODE@ is down",
        happened="The link to the director process of @HA_LVS_NODE@ has ended: @HA_LVS_DETAIL@.",
        follows=(
            "It is dialed again and again, and comes back by itself. Until then a role is given up with priority 0, "
            "which costs a short gap. The election goes on: it does not need the link."
        ),
        remedy=(
            "For a notice nothing: the other director was stopped, or its config was reloaded. For a warning look at "
            "the other machine and at the network between the two."
        ),
        fields=("node", "address", "detail"),
    ),
    Event(
        phrase="peer is not linked",
        message_id="47b0eaf8dff2448c9d057dd1780403a6",
        levels=("warning",),
        subject="There is still no link to director @HA_LVS_NODE@",
        happened=(
            "For a while there has been no link to the director process of @HA_LVS_NODE@, at @HA_LVS_ADDRESS@: "
            "@HA_LVS_DETAIL@."
        ),
        follows=(
            "It is dialed again and again. Until it answers a role is given up with priority 0, which costs a short "
            "gap."
        ),
        remedy=(
            "Look whether ha-lvs runs there, whether its address is right, and whether a firewall drops the TCP port "
            "of the peer link (8849 unless the config says otherwise)."
        ),
        fields=("node", "address", "detail"),
    ),
    Event(
        phrase="peer refused",
        message_id="81e847eb231c4b638109129d6733d4b0",
        levels=("warning",),
        subject="A connection from or to @HA_LVS_ADDRESS@ was refused",
        happened=(
            "On the peer link, something was not as it must be with @HA_LVS_ADDRESS@, which calls itself "
            '"@HA_LVS_NODE@": @HA_LVS_DETAIL@.'
        ),
        follows=(
            "The connection is closed. It is told again only when something else is wrong with that address. "
            "The status as JSON counts all of them."
        ),
        remedy=(
            "Between your own directors, compare the keys, the cluster's name and the names of the nodes in both "
            "config files. From any other address: find out who it is, and let a firewall keep it away."
        ),
        fields=("address", "node", "detail"),
    ),
    Event(
        phrase="peer link cannot listen",
        message_id="480307cc5acf4b99be85d2af70c94da3",
        levels=("warning",),
        subject="The other director cannot reach this one",
        happened="The address and port of the peer link cannot be had: @HA_LVS_DETAIL@.",
        follows="It is tried again each second. This director still dials the other one, which is enough for a link.",
        remedy="Look whether the address is on an interface of this machine and whether something else has the port.",
        fields=("detail",),
    ),
    Event(
        phrase="config differs from the peer's",
        message_id="62bcac48d35047ee8e0cb8d3ae6b1730",
        levels=("warning",),
        subject="This node and @HA_LVS_NODE@ follow different config files",
        happened="The config of @HA_LVS_NODE@ has the digest @HA_LVS_THEIRS@, that of this node @HA_LVS_OURS@.",
        follows="Each follows its own. After a take-over, services may be others than before.",
        remedy='Bring the newer file to the other node and reload it there ("ha-lvs reload").',
        fields=("node", "ours", "theirs"),
    ),
    Event(
        phrase="config is the peer's again",
        message_id="324598a95c4f4e909199df35972c98d4",
        levels=("notice",),
        subject="This node and @HA_LVS_NODE@ follow the same config file",
        happened="The configs of @HA_LVS_NODE@ and of this node, which differed, have the same digest now.",
        follows="A take-over changes nothing for clients.",
        remedy="Nothing.",
        fields=("node", "ours"),
    ),
    # ------------------------------------------------------------------------------------------------------- verdicts
    Event(
        phrase="verdicts of the peer hold meanwhile",
        message_id="b444ed1c00514cfc8cb604c3091e2125",
        levels=("info",),
        subject="Servers that this node has not probed yet are as the other director says",
        happened=(
            "Of endpoints that have no verdict of this node yet, the other director says that @HA_LVS_UP@ are up and "
            "@HA_LVS_DOWN@ are down; of @HA_LVS_LAPSED@ nobody there says anything any more."
        ),
        follows="Those that are up get traffic, those that are down do not, each until it has been probed here.",
        remedy="Nothing.",
        fields=("up", "down", "lapsed"),
    ),
    Event(
        phrase="directors disagree about a server",
        message_id="74426cb7bd1c47fd87359c71ceadae99",
        levels=("warning",),
        subject="@HA_LVS_SERVER@ is @HA_LVS_HERE@ for this node and @HA_LVS_THERE@ for @HA_LVS_NODE@",
        happened=(
            "For a while now the checks of this node have found @HA_LVS_SERVER@ @HA_LVS_HERE@, and those of "
            "@HA_LVS_NODE@ have found it @HA_LVS_THERE@."
        ),
        follows="Each director goes by its own checks. The end is told, unless the link to the other one is lost.",
        remedy=(
            "This points at the network between one director and the server (a cable, a VLAN, a route, a firewall, a "
            "wrong address in its neighbour table) rather than at the server: ask it from the director that finds it "
            "down. Or the server treats the two differently; look whether its access rules name both."
        ),
        fields=("server", "node", "here", "there"),
    ),
    Event(
        phrase="directors disagree about many servers",
        message_id="6bcfb45f0891471191a67d261527159d",
        levels=("warning",),
        subject="The directors disagree about @HA_LVS_SERVERS@ servers",
        happened=(
            "For a while now @HA_LVS_SERVERS@ endpoints are up for one director and down for the other. They are not "
            'all told of one by one; "ha-lvs status" shows them.'
        ),
        follows="Each director goes by its own checks. It is told when they agree about all servers again.",
        remedy=(
            "This points at the network between one director and the servers. If that one is active, consider to hand "
            'over to the other with "ha-lvs handover".'
        ),
        fields=("servers",),
    ),
    Event(
        phrase="directors agree again",
        message_id="838c0de0801f4d1482538295d9a86962",
        levels=("notice",),
        subject="This node and @HA_LVS_NODE@ agree about @HA_LVS_SERVER@ again",
        happened="The checks of this node and of @HA_LVS_NODE@, which had differed, find the same of @HA_LVS_SERVER@.",
        follows="Nothing.",
        remedy="Nothing.",
        fields=("server", "node"),
    ),
    Event(
        phrase="directors agree about all servers again",
        message_id="d8590dacd43c47be8ec888ec7b76f3f4",
        levels=("notice",),
        subject="The directors agree about all servers again",
        happened="Many servers had been up for one director and down for the other; there is none any more.",
        follows="Nothing.",
        remedy="Nothing.",
    ),
    # --------------------------------------------------------------------------------------------------- handing over
    Event(
        phrase="role offered to the peer",
        message_id="6203c9c11c26491a81beef5191be3c59",
        levels=("info",),
        subject="The role of @HA_LVS_INSTANCE@ was offered to @HA_LVS_NODE@",
        happened="This node is active for @HA_LVS_INSTANCE@ and has asked @HA_LVS_NODE@ to take over.",
        follows="It stays active until the other one is, or until the time for it has passed.",
        remedy="Nothing.",
        fields=("instance", "node"),
    ),
    Event(
        phrase="role refused by the peer",
        message_id="bcf39202ced44719ae8a1a57df1f06e2",
        levels=("notice",),
        subject="@HA_LVS_NODE@ does not take the role of @HA_LVS_INSTANCE@",
        happened="@HA_LVS_NODE@ was asked to take over @HA_LVS_INSTANCE@, and does not: @HA_LVS_REASON@.",
        follows="This node stays active, unless it is being stopped or was told to give the role up in any case.",
        remedy="The reason says what keeps the other node from it.",
        fields=("instance", "node", "reason"),
    ),
    Event(
        phrase="offered role refused",
        message_id="1ef22ed9b5ca4f3c92ea126ff40dff0d",
        levels=("notice",),
        subject="The role of @HA_LVS_INSTANCE@ that @HA_LVS_NODE@ offers is not taken",
        happened="@HA_LVS_NODE@ has asked this node to take over @HA_LVS_INSTANCE@. It does not: @HA_LVS_REASON@.",
        follows="The other node is told, and stays active unless it must stop.",
        remedy="The reason says what keeps this node from it.",
        fields=("instance", "node", "reason"),
    ),
    # ------------------------------------------------------------------------------------------------------ discovery
    Event(
        phrase="director discovered",
        message_id="6e1e0544e91e4bb9b11a94546d00070f",
        levels=("info",),
        subject="A director that calls itself @HA_LVS_NODE@ announces itself",
        happened=(
            "On the network, somebody announces a director @HA_LVS_NODE@ of this cluster, by DNS-SD, at these "
            "addresses: @HA_LVS_ADDRESSES@."
        ),
        follows="It is dialed, and counts once it has proved that it has a key of this cluster.",
        remedy='Nothing. "ha-lvs discover" lists all that is announced.',
        fields=("node", "addresses"),
        documentation=DNS_SD,
    ),
    Event(
        phrase="discovery does not work",
        message_id="4591468dafaa4495a4b1feee8dd6351a",
        levels=("warning",),
        subject="This director cannot be discovered",
        happened="Announcing this director by DNS-SD, or looking for others, has failed: @HA_LVS_DETAIL@.",
        follows="It is tried again every few seconds. Peers whose address is in the config file are not concerned.",
        remedy=(
            "Look at the interface for discovery, at a firewall that drops UDP port 5353, and whether another machine "
            "has the same node name."
        ),
        fields=("detail",),
        documentation=DNS_SD,
    ),
)
