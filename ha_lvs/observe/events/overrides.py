"""Events of what operators say of services and servers at run time: told by the director."""

from __future__ import annotations

from ha_lvs.observe.events.event import IPVS, Event

EVENTS = (
    Event(
        phrase="operator override",
        message_id="3c21b944d77d41e7b596fa0a70e8ed45",
        levels=("notice",),
        subject="An operator gave @HA_LVS_SERVER@ of service @HA_LVS_SERVICE@ the weight @HA_LVS_WEIGHT@",
        happened=(
            "On node @HA_LVS_NODE@ somebody has said that server @HA_LVS_SERVER@ of service @HA_LVS_SERVICE@ has the "
            "weight @HA_LVS_WEIGHT@, whatever the config says. Weight 0 drains: what is connected stays connected, "
            "and nothing new is sent there. The server `all` is the service as a whole, which is then disabled."
        ),
        follows=(
            "It holds on every director of the pair, over reloads and restarts, until it is taken back by "
            "`ha-lvs server enable` or `ha-lvs service enable`. `ha-lvs status` shows it."
        ),
        remedy="Nothing, if it was you. Take it back when the work is done.",
        fields=("service", "server", "weight", "node"),
        documentation=IPVS,
    ),
    Event(
        phrase="operator override taken back",
        message_id="2e2a1452cb69416ba70f015233f8d0b7",
        levels=("notice",),
        subject="Server @HA_LVS_SERVER@ of service @HA_LVS_SERVICE@ is as configured again",
        happened=(
            "On node @HA_LVS_NODE@ somebody has taken back what was said at run time of server @HA_LVS_SERVER@ of "
            "service @HA_LVS_SERVICE@. The server `all` is the service as a whole, which is enabled again."
        ),
        follows="Its weight is that of the config again, as far as it is up.",
        remedy="Nothing.",
        fields=("service", "server", "node"),
        documentation=IPVS,
    ),
    Event(
        phrase="operator override not remembered",
        message_id="0dd4b050c5fc451ca11cda23f9448bb0",
        levels=("error",),
        subject="What an operator said at the other director was not taken in",
        happened="A peer has told what operators have said of servers. It could not be written down: @HA_LVS_DETAIL@.",
        follows=(
            "Nothing of it is done here, so that the two directors differ. The peer tells it again every few seconds."
        ),
        remedy="Look at the runtime directory: its owner and mode, and whether there is room.",
        fields=("detail",),
    ),
    Event(
        phrase="operator overrides unknown",
        message_id="0291bd86ce6a47328eb13d4c445f0db6",
        levels=("warning",),
        subject="It is not known which servers operators have drained",
        happened="The note of what operators have said of servers could not be read: @HA_LVS_DETAIL@.",
        follows=(
            "Servers have the weight of the config until a peer that knows more is linked, or somebody says it again."
        ),
        remedy="Say it again where no peer knows: `ha-lvs server drain`. `ha-lvs status` shows what is in force.",
        fields=("detail",),
    ),
)
