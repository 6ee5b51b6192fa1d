"""Events of what operators want of a running director: reload, restart in place, hand-over; told by the guardian."""

from __future__ import annotations

from ha_lvs.observe.events.event import UNIT, VRRP, Event

EVENTS = (
    # ---------------------------------------------------------------------------------------------------------- reload
    Event(
        phrase="config applied",
        message_id="7588bcb91b844ee6b7b59616f2ae11dd",
        levels=("info",),
        subject="A changed config file is in force",
        happened="The config file was read again. It differs in @HA_LVS_CHANGES@ places, and is in force now.",
        follows=(
            "IPVS and the health checks follow it step by step; established connections go on. No role changes by "
            "itself: where instances differ, a new elector has taken over from the old one."
        ),
        remedy="Nothing here. Give the other director the same file; its digest is @HA_LVS_DIGEST@.",
        fields=("digest", "changes"),
    ),
    Event(
        phrase="config changed",
        message_id="32e601d6e37245138c06bcd361cb8631",
        levels=("info",),
        subject="A change in the config file",
        happened="The config file was read again, and differs in this from what was in force: @HA_LVS_CHANGE@.",
        follows="All changes take effect together, as is told with them.",
        remedy="Nothing.",
        fields=("change",),
    ),
    Event(
        phrase="config file changed; following it",
        message_id="326d0a14f0fa43eabd772221604af4ad",
        levels=("info",),
        subject="A file of the config has changed, and is followed",
        happened="The config says `watch`, and a file of it, or one that it includes, is another one than before.",
        follows="It is read and checked. What it says is applied, or refused as a whole; the next event tells.",
        remedy="Nothing here.",
    ),
    Event(
        phrase="config unchanged",
        message_id="5d704b14bcc94757a2ef6b6bf784aa34",
        levels=("info",),
        subject="The config file says what is in force already",
        happened="The config file was read again, and says the same as before (digest @HA_LVS_DIGEST@).",
        follows="Everything goes on as it was.",
        remedy="Nothing. If you expected a change, see whether the daemon was started with the file that you changed.",
        fields=("digest",),
    ),
    Event(
        phrase="config refused",
        message_id="2dd9e2afddf94aee8c99e7c2f9a5ba86",
        levels=("error",),
        subject="A changed config file was refused",
        happened="The config file was read again and cannot be used: @HA_LVS_DETAIL@.",
        follows="The daemon goes on with what it had. A restart would fail for as long as the file is as it is.",
        remedy='"ha-lvs check -c FILE" shows every problem of the file with its place. Mend them, then reload.',
        fields=("detail",),
    ),
    Event(
        phrase="config needs a restart",
        message_id="2366b7e8a033413ea0e30c18c1210055",
        levels=("warning",),
        subject="A changed config file needs a restart",
        happened=(
            "The config file was read again and is fine, but changes something that cannot change while the daemon "
            "runs: @HA_LVS_CHANGE@."
        ),
        follows="Nothing of the new file is in force; the daemon goes on with what it had.",
        remedy="Restart the standby first, and the active one when that is ready: a planned switch-over.",
        fields=("change",),
    ),
    Event(
        phrase="elector succeeded",
        message_id="3ad6f49621c540e29a998f6fcd388420",
        levels=("info",),
        subject="Another elector has taken over from the one before",
        happened=(
            "A new elector process of node @HA_LVS_NODE@ was ready, and the old one has left it all that it knew and "
            "ended. A reload has changed something for it, or the program was replaced."
        ),
        follows="It holds the same roles and addresses. The other director has seen nothing of it.",
        remedy="Nothing.",
        fields=("node",),
        documentation=VRRP,
    ),
    Event(
        phrase="elector not succeeded",
        message_id="451785083a544dfa8417d20f738fbaa4",
        levels=("error",),
        subject="A new elector could not take over; the old one goes on",
        happened=(
            "A reload, or a restart in place, needs another elector process in the place of the running one, and "
            "that did not come about: @HA_LVS_DETAIL@."
        ),
        follows="The old elector goes on as it was; the config that asked for the other one is not in force.",
        remedy="Mend what is named here or in the entries before this one, then reload or restart again.",
        fields=("detail",),
    ),
    Event(
        phrase="virtual IPs taken out of the config withdrawn",
        message_id="20413e9de0ae473d8d8dc59613fd2187",
        levels=("notice",),
        subject="Virtual IPs that the config no longer has were removed",
        happened=(
            "The config in force has changed. What instance @HA_LVS_INSTANCE@ held and holds no more has been "
            "removed from this node: @HA_LVS_ADDRESSES@."
        ),
        follows="Nobody holds these addresses until some config has them again.",
        remedy="Nothing here. Give the other director the same config file.",
        fields=("instance", "addresses"),
        documentation=VRRP,
    ),
    # ----------------------------------------------------------------------------------------- what operators ask for
    Event(
        phrase="asked of the election",
        message_id="8bf38e81cb9f4e438ae110bf4b9f9869",
        levels=("notice",),
        subject="An operator has asked for @HA_LVS_VERB@",
        happened=(
            "Somebody with the right to do so has asked this node for @HA_LVS_VERB@ of: @HA_LVS_INSTANCES@. Whether "
            "it was done: @HA_LVS_OK@. In words: @HA_LVS_DETAIL@."
        ),
        follows="Changes of role that come of it are told by themselves.",
        remedy="Nothing. After a standby, enable when the work is done: until then the pair is not redundant.",
        fields=("verb", "instances", "ok", "detail"),
        documentation=VRRP,
    ),
    Event(
        phrase="still on standby",
        message_id="f7d1cfd0753c4fe980c0878b958177d5",
        levels=("warning",),
        subject="This node stays out of the election, as an operator has said",
        happened=(
            "The daemon was started, and finds noted that these instances were put on standby: @HA_LVS_INSTANCES@."
        ),
        follows="They do not become active here, even when the other director fails.",
        remedy="If the work that it was for is done: ha-lvs enable.",
        fields=("instances",),
        documentation=VRRP,
    ),
    Event(
        phrase="standby unknown",
        message_id="d504f8cf66364d3c93e479e1ee63b139",
        levels=("warning",),
        subject="It is not known whether this node was on standby",
        happened=(
            "The note of which instances an operator has put on standby was of no use at the start: @HA_LVS_DETAIL@."
        ),
        follows="All instances take part in the election.",
        remedy="Say ha-lvs standby again if this node is not to become active.",
        fields=("detail",),
        documentation=VRRP,
    ),
    # ------------------------------------------------------------------------------------------------ restart in place
    Event(
        phrase="restarting in place",
        message_id="c02ffce642ca4fd4882a6019a5218e9e",
        levels=("notice",),
        subject="The program of this director is about to be replaced",
        happened=(
            "An operator has asked node @HA_LVS_NODE@ to restart in place. The installed program has been tried and "
            "can run; version @HA_LVS_VERSION@ gives way to it."
        ),
        follows=(
            "The elector goes on meanwhile, with its roles and addresses, until one of the new program takes over "
            "from it. The end of it is told."
        ),
        remedy="Nothing. If the end is not told, look at the entries after this one.",
        fields=("node", "version"),
        documentation=UNIT,
    ),
    Event(
        phrase="restarted in place",
        message_id="04beaa4048274c7f9e797685f8bb1c40",
        levels=("notice",),
        subject="The program of this director has been replaced",
        happened=(
            "Node @HA_LVS_NODE@ runs version @HA_LVS_VERSION@ now, under the same process id as @HA_LVS_BEFORE@ before."
        ),
        follows="No role and no address depended on it. Errors before this entry tell of what could not be replaced.",
        remedy="Nothing. Do the same on the other director.",
        fields=("node", "before", "version"),
        documentation=UNIT,
    ),
    Event(
        phrase="restart refused",
        message_id="37202d5de73b4204adc4717b9d54d093",
        levels=("error",),
        subject="The program was not replaced",
        happened="An operator has asked for a restart in place, and it was not begun: @HA_LVS_DETAIL@.",
        follows="Nothing was touched; the running program goes on.",
        remedy=(
            "Mend what is named. If the installed program cannot follow this one at all, put this node on standby "
            "and restart the unit."
        ),
        fields=("detail",),
        documentation=UNIT,
    ),
)
