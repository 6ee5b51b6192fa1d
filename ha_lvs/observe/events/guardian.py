"""Events of a director as a whole and of its processes: told by the guardian, and by `ha-lvs cleanup` after it."""

from __future__ import annotations

from ha_lvs.observe.events import operating
from ha_lvs.observe.events.event import IPVS, UNIT, VRRP, Event

EVENTS = (
    *operating.EVENTS,
    # ----------------------------------------------------------------------------------------- the director as a whole
    Event(
        phrase="starting",
        message_id="e8cf3870365144b6805d27a92976ce68",
        levels=("info",),
        subject="Director @HA_LVS_NODE@ starts",
        happened=(
            "ha-lvs @HA_LVS_VERSION@ has read its config file and found nothing wrong with it, and starts its "
            "processes as node @HA_LVS_NODE@."
        ),
        follows='It tells "ready" when all of them answer.',
        remedy='Nothing. If "ready" does not follow, look for errors below.',
        fields=("node", "version", "pid"),
        documentation=UNIT,
    ),
    Event(
        phrase="ready",
        message_id="0b7105be10504055b428bd6ad9001cb0",
        levels=("info",),
        subject="Director @HA_LVS_NODE@ is ready",
        happened="All processes of node @HA_LVS_NODE@ answer.",
        follows="It takes part in the election, and keeps IPVS and the health checks going.",
        remedy="Nothing.",
        fields=("node",),
        documentation=UNIT,
    ),
    Event(
        phrase="stopping",
        message_id="1fafa376bee54c6a82cdd230924913a5",
        levels=("info",),
        subject="Director @HA_LVS_NODE@ stops on purpose",
        happened="Node @HA_LVS_NODE@ was told to stop.",
        follows=(
            "If it is active, the other director takes the virtual IPs over before this one lets go, or at once after "
            "it has resigned where no other one answers. IPVS is left as ipvs.on_stop in the config says."
        ),
        remedy="Nothing. Until it is started again, nobody stands by for the other director.",
        fields=("node",),
        documentation=UNIT,
    ),
    Event(
        phrase="stopped",
        message_id="d1670ec5db9842eb954ce16d91879054",
        levels=("info",),
        subject="Director @HA_LVS_NODE@ has stopped",
        happened="Every process of node @HA_LVS_NODE@ has ended.",
        follows="This node no longer takes part in the election.",
        remedy="Start it again when its work is done, so that the pair is one.",
        fields=("node",),
        documentation=UNIT,
    ),
    # --------------------------------------------------------------------------------------------------- its processes
    Event(
        phrase="elector died; another one goes on in its role",
        message_id="3d97e6fc6f4b4335952a25bbd2f8fb6f",
        levels=("error",),
        subject="The elector died, and its successor goes on without a fail-over",
        happened="The elector of this active director has ended: @HA_LVS_EXIT@.",
        follows=(
            "The virtual IPs stay under their lease while another elector starts, which goes on where the dead one "
            "stopped. If it does not within a moment, the role is resigned and the addresses are withdrawn."
        ),
        remedy="Find out why it died: it should not. Look for an out-of-memory kill, and report a crash.",
        fields=("exit",),
    ),
    Event(
        phrase="process died; starting it again",
        message_id="607f5f5b03424979ac847aedc45c9d35",
        levels=("error",),
        subject="The @HA_LVS_PROCESS@ process died",
        happened="The @HA_LVS_PROCESS@ process ended though nobody had asked it to: @HA_LVS_EXIT@.",
        follows=(
            "It is started again after @HA_LVS_DELAY_S@ seconds, later each time it dies soon. When the elector "
            "dies, this node first resigns and gives up the virtual IPs, so that the other director takes over. "
            "When the director or the prober dies, traffic goes on as IPVS was programmed last. Under the unit that "
            "comes with ha-lvs, systemd restarts everything when there is no answer from an elector for about 70 "
            "seconds, or from a director process for about 95; the other director then takes over."
        ),
        remedy=(
            "If a signal ended it that nobody sent, or memory ran out, mend that; the kernel's log tells of the "
            "latter. Else report it as a defect, with the entries before this one."
        ),
        fields=("process", "exit", "delay_s"),
    ),
    Event(
        phrase="process cannot be started; trying again",
        message_id="db49ab39d3514891bcfcb0745e9a3ca8",
        levels=("error",),
        subject="The @HA_LVS_PROCESS@ process cannot be started",
        happened="The system did not start the @HA_LVS_PROCESS@ process: @HA_LVS_DETAIL@.",
        follows=(
            "It is tried again, ever less often, at most every 5 seconds. Without elector this node is no standby; "
            "without director or prober, IPVS stays as it is. Under the unit that comes with ha-lvs, systemd restarts "
            "everything when there is no answer from an elector for about 70 seconds, or from a director process for "
            "about 95; the other director then takes over."
        ),
        remedy=(
            "Look for what has run out: memory, processes (TasksMax), open files; or for an installation that "
            "was changed under the running daemon."
        ),
        fields=("process", "detail"),
    ),
    Event(
        phrase="process is stuck; killing it",
        message_id="a963aa5acc04481384d2d9f66f1956d3",
        levels=("error",),
        subject="The @HA_LVS_PROCESS@ process gives no sign of life",
        happened="The @HA_LVS_PROCESS@ process has been silent for @HA_LVS_SILENT_S@ seconds.",
        follows=(
            "It is killed and started again; of an elector, the virtual IPs are given up first. If that does not "
            "help, systemd's watchdog starves, which is told."
        ),
        remedy=(
            "Look for what held it up: a stopped process (SIGSTOP, a debugger), a starved machine, a kernel "
            "call that does not return. Tell of it as a defect if nothing of this is the case."
        ),
        fields=("process", "silent_s"),
    ),
    Event(
        phrase="process did not stop; killing it",
        message_id="59b578afc2c94ebda13e28df6ea5948b",
        levels=("error",),
        subject="The @HA_LVS_PROCESS@ process did not stop in time",
        happened="The @HA_LVS_PROCESS@ process was to end, and has not done so in the time allowed.",
        follows=(
            "It is killed. The guardian removes the virtual IPs itself if it was the elector; what the director "
            "had left to do in IPVS is done when it starts again."
        ),
        remedy="Nothing, if it happens once on a busy machine.",
        fields=("process",),
    ),
    Event(
        phrase="process ended uncleanly",
        message_id="7479735139584adca58a7a38dbf1912f",
        levels=("warning",),
        subject="The @HA_LVS_PROCESS@ process ended uncleanly at a planned stop",
        happened=(
            "While this node was being stopped, the @HA_LVS_PROCESS@ process ended by itself in another way "
            "than it should: @HA_LVS_EXIT@."
        ),
        follows=(
            "The stop goes on. If it was the elector, the guardian resigns and removes the virtual IPs in its place."
        ),
        remedy="Nothing for the stop; look at the entries before this one for the cause.",
        fields=("process", "exit"),
    ),
    Event(
        phrase="frame ignored",
        message_id="02dedab687c84bf1a93bd576ef11958a",
        levels=("error",),
        subject="One of our processes could not be understood",
        happened="A message between two processes of ha-lvs was not what it should be: @HA_LVS_DETAIL@.",
        follows="It is left out; state is told again, so that nothing is lost for good.",
        remedy=(
            "Most likely the installation was changed under the running daemon: restart it. Else report it as a defect."
        ),
        fields=("detail",),
        sometimes=("process",),
    ),
    # ----------------------------------------------------------------------------------------- virtual IPs of the dead
    Event(
        phrase="virtual IPs withdrawn in the elector's place",
        message_id="91e7a39a183c4cbd80fc027e3c9cc5c3",
        levels=("warning",),
        subject="This node gave up being active because its elector died",
        happened=(
            "The elector had died while active for @HA_LVS_INSTANCES@. The guardian has resigned and removed "
            "the virtual IPs in its place."
        ),
        follows="The other director takes over at once. A new elector is started here and joins as a backup.",
        remedy="Find out why the elector died: the next entries tell how it ended.",
        fields=("instances",),
        documentation=VRRP,
    ),
    Event(
        phrase="virtual IP not withdrawn",
        message_id="964d522bb90f4dd4b02174e12f0e4d96",
        levels=("error",),
        subject="A virtual IP could not be given up",
        happened=(
            "The elector was gone, and something went wrong in resigning or removing virtual IPs in its place: "
            "@HA_LVS_DETAIL@."
        ),
        follows=(
            "A virtual IP with a lease is removed by the kernel when the lease ends. One without stays, beside "
            "the other director's."
        ),
        remedy=(
            'Look with "ip address" whether this node still holds an address that the other one has, and delete it.'
        ),
        fields=("detail",),
        sometimes=("instance",),
        documentation=VRRP,
    ),
    Event(
        phrase="virtual IPs withdrawn by cleanup",
        message_id="ca9194e2b3b44b9aaab9ff3c4a3ec186",
        levels=("warning",),
        subject="Virtual IPs were left behind, and have been removed",
        happened=(
            "After the daemon had ended, virtual IPs of instance @HA_LVS_INSTANCE@ were still on their interface: "
            'it was killed, all of it. "ha-lvs cleanup" has removed @HA_LVS_ADDRESSES@.'
        ),
        follows=(
            "The other director takes over, if it has not yet. systemd starts this one again if the unit says so."
        ),
        remedy=(
            "Find out what killed the daemon: the unit's status tells its exit, the kernel's log "
            "whether memory ran out."
        ),
        fields=("instance", "addresses"),
        documentation=VRRP,
    ),
    Event(
        phrase="virtual IPs of an earlier config withdrawn",
        message_id="d9ffdce769624269a28090e424ce01f1",
        levels=("warning",),
        subject="Virtual IPs that the config no longer has were left behind, and have been removed",
        happened=(
            "An earlier run was killed while it held virtual IPs of instance @HA_LVS_INSTANCE@, and the config file "
            "has changed since. They were still there at the start: @HA_LVS_ADDRESSES@."
        ),
        follows="They are gone from this node. What the config has is held by whoever is active.",
        remedy=(
            "Nothing, if they were taken out of the config on purpose. Find out why they were left: everything was "
            'killed, and "ha-lvs cleanup" did not run, which the unit that comes with ha-lvs sees to.'
        ),
        fields=("instance", "addresses"),
        documentation=VRRP,
    ),
    Event(
        phrase="earlier run unknown",
        message_id="95382fa16e284f7bb3082852094ca187",
        levels=("warning",),
        subject="It is not known which virtual IPs an earlier run held",
        happened="The note that a run leaves in the runtime directory was of no use at the start: @HA_LVS_DETAIL@.",
        follows=(
            "The note is written anew. A virtual IP that the earlier run held and the config no longer has stays on "
            "its interface until its lease ends, or for ever if it has none."
        ),
        remedy='Look with "ip address" for addresses that this node should not have, and delete them.',
        fields=("detail",),
        documentation=VRRP,
    ),
    Event(
        phrase="cleanup incomplete",
        message_id="1265b26ded3f4e578b1d24694e904e68",
        levels=("warning", "error"),
        subject="Not all that a dead director left behind was cleaned up",
        happened="What was left out, or could not be done: @HA_LVS_DETAIL@.",
        follows="The rest was done. A virtual IP with a lease is removed by the kernel when the lease ends.",
        remedy='Look with "ip address" for addresses that this node should not have, and delete them.',
        fields=("detail",),
        documentation=VRRP,
    ),
    Event(
        phrase="services removed by cleanup",
        message_id="6e6a3897a4e04d619feb3a825588f5f2",
        levels=("notice",),
        subject="Our services were removed from IPVS",
        happened=(
            "No director ran, and ha-lvs cleanup was asked to remove the services, marks and sync daemons that earlier "
            "runs had made in the kernel. It has done so in @HA_LVS_STEPS@ steps."
        ),
        follows="Connections through this node that were still open are cut. A director that starts makes them again.",
        remedy="Nothing: somebody has asked for it, as uninstalling does.",
        fields=("steps",),
        documentation=IPVS,
    ),
    # ---------------------------------------------------------------------------------------------- systemd's watchdog
    Event(
        phrase="watchdog starved",
        message_id="6cd985a812a441a398fa268f079d06e3",
        levels=("error",),
        subject="systemd's watchdog is not fed, because of the @HA_LVS_PROCESS@ process",
        happened=(
            "The guardian feeds systemd's watchdog only while elector and director answer. The "
            "@HA_LVS_PROCESS@ process has not for @HA_LVS_SILENT_S@ seconds."
        ),
        follows=(
            "The guardian has started it again in vain, and goes on trying. If it does not answer within the time that "
            "the unit says (WatchdogSec, 30 seconds), systemd kills everything, ha-lvs cleanup removes the virtual "
            "IPs, the other director takes over, and systemd starts this one again."
        ),
        remedy=(
            "Look in the entries before this one why it does not start or answer: something that is missing, a "
            "starved machine, a stopped process, a kernel call that does not return."
        ),
        fields=("process", "silent_s"),
        documentation=UNIT,
    ),
    Event(
        phrase="watchdog fed again",
        message_id="4bab6004123c460880162421bd50d49b",
        levels=("warning",),
        subject="systemd's watchdog is fed again",
        happened="The @HA_LVS_PROCESS@ process, for which systemd's watchdog was not fed, answers again.",
        follows="The watchdog is fed as before; the unit is not restarted.",
        remedy="Find out what held the process up: it may come again.",
        fields=("process",),
        documentation=UNIT,
    ),
    Event(
        phrase="virtual MAC interface not as it should be",
        message_id="ff19c60ff2c44e7bb988ee74c5442fc1",
        levels=("warning",),
        subject="An interface with a virtual MAC address could not be set up in full",
        happened="Something about interface @HA_LVS_INTERFACE@ could not be set: @HA_LVS_DETAIL@.",
        follows="It is used all the same.",
        remedy="Set what is named in /etc/sysctl.d, as the text says.",
        fields=("interface", "detail"),
    ),
    Event(
        phrase="virtual MAC interface not removed",
        message_id="43a5343270934494ac48de360ad2b89d",
        levels=("warning",),
        subject="An interface with a virtual MAC address could not be removed",
        happened="A reload no longer needs an interface of ours, which is still there: @HA_LVS_DETAIL@.",
        follows="It stays, down and without addresses.",
        remedy='Remove it by hand ("ip link del").',
        fields=("detail",),
    ),
)
