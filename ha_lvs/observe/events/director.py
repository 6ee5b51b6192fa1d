"""Events of real servers and of the kernel's IPVS: told by the director process."""

from __future__ import annotations

from ha_lvs.observe.events.event import DNS_SD, IPVS, Event

EVENTS = (
    # --------------------------------------------------------------------------------------------------------- servers
    Event(
        phrase="server down",
        message_id="5100cae663cf4358b2c1e33701c332a8",
        levels=("warning",),
        subject="Server @HA_LVS_SERVER@ of service @HA_LVS_SERVICE@ is down",
        happened=(
            "The health check of server @HA_LVS_SERVER@ has failed as often as the config asks for (fall), or "
            "at its first trial: @HA_LVS_REASON@."
        ),
        follows=(
            "It gets no traffic of service @HA_LVS_SERVICE@ until the check succeeds again. The other servers "
            "take its share. Both directors check for themselves."
        ),
        remedy=(
            "Look at the server. If every server is down at once, look at the network between it and this director."
        ),
        fields=("service", "server", "reason"),
        documentation=IPVS,
    ),
    Event(
        phrase="server up",
        message_id="6396bd797b6d45448132b91eba40b67a",
        levels=("notice",),
        subject="Server @HA_LVS_SERVER@ of service @HA_LVS_SERVICE@ is up",
        happened=(
            "The health check of server @HA_LVS_SERVER@ has succeeded as often as the config asks for (rise), "
            "or at its first trial."
        ),
        follows="It gets traffic of service @HA_LVS_SERVICE@ by its weight.",
        remedy="Nothing.",
        fields=("service", "server", "reason"),
        documentation=IPVS,
    ),
    Event(
        phrase="server adopted from the kernel",
        message_id="d0c158323f08442f96cbf170752f7804",
        levels=("info",),
        subject="Server @HA_LVS_SERVER@ of service @HA_LVS_SERVICE@ was in IPVS already",
        happened=(
            "When the director started, IPVS sent traffic of service @HA_LVS_SERVICE@ to server @HA_LVS_SERVER@."
        ),
        follows="It goes on doing so until a health check says otherwise: a restart takes no server out.",
        remedy="Nothing.",
        fields=("service", "server"),
        documentation=IPVS,
    ),
    Event(
        phrase="server discovered",
        message_id="1996c10d0b0c4edd8f9d66554d8fcfc6",
        levels=("notice",),
        subject="Server @HA_LVS_SERVER@ of service @HA_LVS_SERVICE@ announces itself",
        happened=(
            "Somebody announces server @HA_LVS_SERVER@ on the network by DNS-SD, and the config of service "
            "@HA_LVS_SERVICE@ takes in such servers (discover). Its weight is to be @HA_LVS_WEIGHT@."
        ),
        follows="It is checked like the others, and gets traffic after its first good check.",
        remedy="Nothing, if you know it. Announcements prove nothing; the networks in the config say who may come.",
        fields=("service", "server", "weight"),
        documentation=DNS_SD,
    ),
    Event(
        phrase="discovered server is gone",
        message_id="58bf994b1a6b4be6a666db7eac948ba9",
        levels=("notice",),
        subject="Server @HA_LVS_SERVER@ of service @HA_LVS_SERVICE@ is taken out",
        happened="It had announced itself on the network, and now: @HA_LVS_REASON@.",
        follows="It gets nothing new, and may finish its connections for a while (ipvs.drain). It is checked no more.",
        remedy="Nothing, if it was to go. When it announces itself again, it is taken in again.",
        fields=("service", "server", "reason"),
        documentation=DNS_SD,
    ),
    Event(
        phrase="servers cannot be discovered",
        message_id="5427a6179b334dc4a59cb4ef551b184b",
        levels=("warning",),
        subject="This director cannot look for servers on the network",
        happened="Looking for servers that announce themselves by DNS-SD has failed: @HA_LVS_DETAIL@.",
        follows="It is tried again every few seconds. Servers that were found before, and those of the config, stay.",
        remedy="Look at the interfaces (`discover.interfaces`), and at a firewall that drops UDP port 5353.",
        fields=("detail",),
        documentation=DNS_SD,
    ),
    Event(
        phrase="server suspect",
        message_id="e08ddaee56074917b738102b95115200",
        levels=("notice",),
        subject="Connections to server @HA_LVS_SERVER@ of service @HA_LVS_SERVICE@ do not come about",
        happened=(
            "More and more handshakes (SYN_RECV) with server @HA_LVS_SERVER@ remain unfinished in the connection "
            "table, and they are more than half of its connections."
        ),
        follows="It is probed at once, and again while that goes on. It keeps its traffic unless the check fails.",
        remedy=(
            "None, if the check fails now: the server is down. If it goes on succeeding, look at what clients reach "
            "and the check does not: the virtual IP on the server, its way to them, its backlog. Or it is a SYN flood."
        ),
        fields=("service", "server"),
        documentation=IPVS,
    ),
    Event(
        phrase="connection table not read whole",
        message_id="4c7c741278154b11bd43ff0dcf855507",
        levels=("warning",),
        subject="The connection table is too long, or cannot be read, to watch handshakes in it",
        happened="For passive evidence (`passive`) the table is read every second, but: @HA_LVS_DETAIL@.",
        follows="Servers are judged by the part that was read, which is a sample, or by their checks alone.",
        remedy="Nothing. Or turn off `passive`, and have the checks run more often.",
        fields=("detail",),
        documentation=IPVS,
    ),
    Event(
        phrase="server check warns",
        message_id="a37dec037fe2420293dd09d35b675aa5",
        levels=("warning",),
        subject="Server @HA_LVS_SERVER@ of @HA_LVS_SERVICE@ is up, and something is wrong: @HA_LVS_WARNING@",
        happened=(
            "The check of server @HA_LVS_SERVER@ of service @HA_LVS_SERVICE@ succeeds and warns: @HA_LVS_WARNING@."
        ),
        follows="Nothing yet: the server serves. A certificate that has expired will take it out of the pool.",
        remedy="Renew the certificate. How long before it is warned of is the check's `tls: {warn_before: 336h}`.",
        fields=("service", "server", "warning"),
        documentation=IPVS,
    ),
    Event(
        phrase="pool kept in panic",
        message_id="e987c621affd4251b91d92dd02c7e61f",
        levels=("error",),
        subject="So many servers of @HA_LVS_SERVICE@ fail that their checks are not believed",
        happened=(
            "Of the @HA_LVS_SERVERS@ servers of service @HA_LVS_SERVICE@ only @HA_LVS_UP@ are up, which is below its "
            "panic threshold. When so many fail at once, the fault is rarely theirs."
        ),
        follows="All servers get traffic, those that are down too, until enough are up again, and a sorry server none.",
        remedy=(
            "Look at what the servers have in common: the way to them, their switch, a back end that all need. "
            "`ha-lvs status` gives the reason of each."
        ),
        fields=("service", "up", "servers"),
        documentation=IPVS,
    ),
    Event(
        phrase="panic over",
        message_id="d36da474b2704ccaa4ff71e82c984276",
        levels=("notice",),
        subject="Enough servers of @HA_LVS_SERVICE@ are up again",
        happened="Of the @HA_LVS_SERVERS@ servers of service @HA_LVS_SERVICE@ @HA_LVS_UP@ are up again.",
        follows="Their checks are believed again: those that are down get no traffic.",
        remedy="None is needed.",
        fields=("service", "up", "servers"),
        documentation=IPVS,
    ),
    Event(
        phrase="quorum lost",
        message_id="ee68ce03727049ebb9baf219986a31a3",
        levels=("error",),
        subject="Service @HA_LVS_SERVICE@ has lost its quorum",
        happened=(
            "So few servers of service @HA_LVS_SERVICE@ are up that it is below its quorum: their strength, in servers "
            "or weight as the config says, is @HA_LVS_STRENGTH@."
        ),
        follows=(
            "Where the service has a sorry server (field HA_LVS_SORRY), new connections go there, and those that exist "
            "go on. Otherwise the servers that are left serve everything."
        ),
        remedy="Look at why servers are down: `ha-lvs status` gives the reason of each.",
        fields=("service", "strength", "sorry"),
        documentation=IPVS,
    ),
    Event(
        phrase="quorum regained",
        message_id="a3a209b3529d431291a9039fee885c80",
        levels=("notice",),
        subject="Service @HA_LVS_SERVICE@ has its quorum again",
        happened="Enough servers of service @HA_LVS_SERVICE@ are up again: their strength is @HA_LVS_STRENGTH@.",
        follows="They serve all new connections; a sorry server leaves the service.",
        remedy="Nothing.",
        fields=("service", "strength"),
        documentation=IPVS,
    ),
    # ------------------------------------------------------------------------------------------------------------ IPVS
    Event(
        phrase="kernel changed",
        message_id="bf2250a9b7c24f7eabd273ba2c230e3e",
        levels=("info",),
        subject="IPVS was changed",
        happened="A step has been taken in the kernel's IPVS: @HA_LVS_STEP@.",
        follows=(
            'It follows from the config, a health check or the role; "+" made, "~" changed and "-" removed something.'
        ),
        remedy="Nothing.",
        fields=("step",),
        documentation=IPVS,
    ),
    Event(
        phrase="kernel had drifted; repaired",
        message_id="116805786db4483db6cb9b1e1965c3a3",
        levels=("warning",),
        subject="IPVS was not as we had left it",
        happened=(
            "Somebody else has changed a service of ours in the kernel's IPVS, or our table of marks in nftables. It "
            "has been put right: @HA_LVS_STEP@."
        ),
        follows="Nothing more; the kernel is as the config says again.",
        remedy=(
            "Find out who it was: ipvsadm by hand, another daemon such as keepalived, a firewall that flushes all of "
            "nftables, a script. To change a service, change the config file."
        ),
        fields=("step",),
        documentation=IPVS,
    ),
    Event(
        phrase="further steps not listed",
        message_id="43f7aa79938f4fa28e22df337b811fe0",
        levels=("info",),
        subject="@HA_LVS_STEPS@ more steps were taken in IPVS",
        happened=(
            "So many steps were taken in the kernel's IPVS at once that @HA_LVS_STEPS@ of them are "
            "not listed one by one."
        ),
        follows="All of them have been taken, save those that are told as errors.",
        remedy='Nothing. "ha-lvs status" shows what is in the kernel.',
        fields=("steps",),
        documentation=IPVS,
    ),
    Event(
        phrase="kernel refused a step; it will be tried again",
        message_id="07ba070dbddb4430a17c1f3f90d51500",
        levels=("error",),
        subject="The kernel refused a change of IPVS",
        happened="A step in the kernel's IPVS has failed: @HA_LVS_STEP@, since @HA_LVS_DETAIL@.",
        follows="It is tried again each second; the other steps have been taken.",
        remedy=(
            "Look at the reason. A scheduler may be missing as a module (ip_vs_wlc and the like), or somebody "
            "else changes IPVS at the same time."
        ),
        fields=("step", "detail"),
        documentation=IPVS,
    ),
    Event(
        phrase="IPVS cannot be read",
        message_id="d4f85215580d4b4688b6a2da0e2e44e2",
        levels=("error",),
        subject="The kernel's IPVS cannot be read",
        happened="The director asked the kernel for its IPVS tables in vain: @HA_LVS_DETAIL@.",
        follows=(
            "It is tried again each second. Traffic goes on as IPVS was programmed last; servers that go down stay in."
        ),
        remedy="Look whether the module ip_vs is loaded and whether the daemon still has CAP_NET_ADMIN.",
        fields=("detail",),
        documentation=IPVS,
    ),
    Event(
        phrase="prober is silent; verdicts are stale",
        message_id="f2e714f9b416419697690bee37d60e0b",
        levels=("warning",),
        subject="The @HA_LVS_PROCESS@ process tells nothing of its servers",
        happened=(
            "Nothing has come from the @HA_LVS_PROCESS@ process for @HA_LVS_SILENT_S@ seconds. It probes "
            "@HA_LVS_ENDPOINTS@ endpoints."
        ),
        follows=(
            "The pools stay as they are: servers of its that go down meanwhile go on getting traffic. The status marks "
            "them as stale. The guardian kills the process if it stays silent, and starts another one, which begins "
            "with what is known."
        ),
        remedy=(
            "Nothing, if it is soon back. If it comes again and again, look for a machine without processor time or "
            "memory, and whether a check waits for something (a file on a network share, a program that never ends)."
        ),
        fields=("process", "silent_s", "endpoints"),
    ),
    Event(
        phrase="prober is back",
        message_id="1bd38fbbb4504a7faf210a7cbb209f88",
        levels=("notice",),
        subject="The @HA_LVS_PROCESS@ process tells of its servers again",
        happened="The @HA_LVS_PROCESS@ process, which had been silent, or another one in its place, is heard again.",
        follows=(
            "What it says of its servers counts as ever. Where another one was started, each server stays stale until "
            "it has been probed."
        ),
        remedy="Nothing.",
        fields=("process",),
    ),
    Event(
        phrase="ownership unknown",
        message_id="e473d9ee2548454684f7b663aa1f16b7",
        levels=("warning",),
        subject="It is not known which services in IPVS are ours",
        happened="The file in which the director remembers its services was of no use: @HA_LVS_DETAIL@.",
        follows=(
            "Services of the config are adopted as ever. One that an earlier run made and the config has no "
            "more stays in the kernel."
        ),
        remedy='Compare "ipvsadm -Ln" with the config, and delete leftovers by hand.',
        fields=("detail",),
        documentation=IPVS,
    ),
    Event(
        phrase="director cannot run",
        message_id="12ae4739c84e48d18cdefa9702b7c873",
        levels=("error",),
        subject="The director process cannot run",
        happened="The director process has ended with an error: @HA_LVS_DETAIL@.",
        follows=(
            "It is started again, ever less often. Traffic goes on as IPVS was programmed last; servers "
            "that go down stay in. Under the unit that comes with ha-lvs, systemd restarts everything when there is "
            "no answer from a director process for about 95 seconds; the other director then takes over."
        ),
        remedy="The text says what is missing: IPVS in the kernel, a privilege, room in the runtime directory.",
        fields=("detail",),
        documentation=IPVS,
    ),
)
