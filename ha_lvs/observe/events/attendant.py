"""Events of what surrounds the election: tracking, witnesses, notification. Told by the attendant process."""

from __future__ import annotations

from ha_lvs.observe.events.event import VRRP, Event

_SCRIPTS = "man:capabilities(7)"

EVENTS = (
    # -------------------------------------------------------------------------------------------------------- tracking
    Event(
        phrase="tracked thing is down",
        message_id="f0bb957bf4e24f25ab26e8935c05dc2d",
        levels=("warning",),
        subject="@HA_LVS_TRACK@ is down on this node",
        happened="What the config has this node track as @HA_LVS_TRACK@ is down: @HA_LVS_DETAIL@.",
        follows=(
            "The instances that track it get the weight that the config says, or may not be active here while it lasts."
        ),
        remedy="Look at the thing itself: why the script fails, who removed the file, why the process ended.",
        fields=("track", "detail"),
    ),
    Event(
        phrase="tracked thing is up again",
        message_id="981b620256ce4a10b55661369be73d0e",
        levels=("notice",),
        subject="@HA_LVS_TRACK@ is up again on this node",
        happened="What the config has this node track as @HA_LVS_TRACK@ is up again: @HA_LVS_DETAIL@.",
        follows="The instances that track it count it as up.",
        remedy="Nothing.",
        fields=("track", "detail"),
    ),
    Event(
        phrase="looking every second instead of being told",
        message_id="edf82ac7ded4478d8e09757b8eae503a",
        levels=("info",),
        subject="The kernel does not tell of @HA_LVS_WHAT@",
        happened="The kernel was asked to tell when something about @HA_LVS_WHAT@ changes, in vain: @HA_LVS_DETAIL@.",
        follows="It is looked at every second. A process's end is told at once all the same.",
        remedy=(
            "Nothing, unless a second is too long. For files: the directory must be readable for the director, and "
            "fs.inotify.max_user_watches large enough. For processes: CAP_NET_ADMIN, in no container."
        ),
        fields=("what", "detail"),
    ),
    # --------------------------------------------------------------------------------------------------------- scripts
    Event(
        phrase="script refused",
        message_id="c4a070f65e0341649db75bf44b4ef207",
        levels=("error",),
        subject="A script of the config is not run",
        happened="The script of @HA_LVS_SCRIPT@ is not run: @HA_LVS_DETAIL@.",
        follows=(
            "A tracked script counts as down; of a notify script nothing more happens. It is looked at again at its "
            "next turn. A file that others can change is not run, since whoever changes it would act as the director."
        ),
        remedy="Do what the reason says: the path, its owner, its mode (chmod go-w, chmod +x), the user in the config.",
        fields=("script", "detail"),
        documentation=_SCRIPTS,
    ),
    Event(
        phrase="scripts run as the director's own user",
        message_id="4e145fedab684d43819dddd0379fe4ad",
        levels=("warning",),
        subject="Scripts for user @HA_LVS_USER@ run as the director's own user",
        happened=(
            "The config has scripts run as user @HA_LVS_USER@. The director runs unprivileged and cannot become "
            "another user, so it runs them as itself, user id @HA_LVS_UID@, without any capability."
        ),
        follows="They cannot change the network, but may use the files and sockets of the director's own user.",
        remedy=(
            "Nothing, if that is enough. Else write the director's user into the config so that this is not told, or "
            "run the director as root. What a script must do as root can be left to sudo or to a unit of its own."
        ),
        fields=("user", "uid"),
        documentation=_SCRIPTS,
    ),
    # ----------------------------------------------------------------------------------------------- the link
    Event(
        phrase="witness not seen",
        message_id="7323c9d90ee94602ad955445a8e8e6fc",
        levels=("warning",),
        subject="Witness @HA_LVS_WITNESS@ of instance @HA_LVS_INSTANCE@ does not answer",
        happened=(
            "Witness @HA_LVS_WITNESS@ has not answered as often in a row as the config asks for (fall), or at its "
            "first trial."
        ),
        follows=(
            "With fewer witnesses than required this node does not become active for instance @HA_LVS_INSTANCE@. "
            "It is asked on, and counts again with its first answer."
        ),
        remedy="Look at this node's cable and switch, then at the witness: whether it runs, and answers ARP or ping.",
        fields=("instance", "witness"),
        documentation=VRRP,
    ),
    Event(
        phrase="witness seen again",
        message_id="95b3f82b3b1e4be9bf1bc7d116049f24",
        levels=("notice",),
        subject="Witness @HA_LVS_WITNESS@ of instance @HA_LVS_INSTANCE@ answers again",
        happened="Witness @HA_LVS_WITNESS@ has answered.",
        follows="It counts as seen for instance @HA_LVS_INSTANCE@.",
        remedy="Nothing.",
        fields=("instance", "witness"),
        documentation=VRRP,
    ),
    Event(
        phrase="link cannot be probed",
        message_id="ac411478177b44159f2f148fb492456b",
        levels=("error",),
        subject="Nobody can be asked on interface @HA_LVS_INTERFACE@",
        happened=(
            "Witnesses or holders of virtual IPs cannot be asked for on interface @HA_LVS_INTERFACE@: @HA_LVS_DETAIL@."
        ),
        follows="It is tried again. Meanwhile witnesses there are not seen, and duplicates of virtual IPs not noticed.",
        remedy="Look whether the interface exists and is up; the director needs CAP_NET_RAW.",
        fields=("interface", "detail"),
    ),
    # ---------------------------------------------------------------------------------------------------- notification
    Event(
        phrase="notify script failed",
        message_id="582a57c29e3e4c6ea0cab9ebe95f556b",
        levels=("error",),
        subject="A notify script failed for @HA_LVS_ABOUT@",
        happened=(
            "The notify script @HA_LVS_SCRIPT@ was told of a change (@HA_LVS_ABOUT@), and ended badly: @HA_LVS_DETAIL@."
        ),
        follows="It is not run again for this change; the next one is told as usual. The role does not depend on it.",
        remedy="Do by hand what it did not do, and mend it.",
        fields=("script", "about", "instance", "service", "detail"),
    ),
    Event(
        phrase="notification dropped",
        message_id="20113cc48a254c16ba71df80f6cb2359",
        levels=("error",),
        subject="A change is not told to notify scripts: @HA_LVS_ABOUT@",
        happened=(
            "@HA_LVS_WAITING@ changes of an instance or a service, and more, wait for notify scripts that are too "
            "slow. The oldest (@HA_LVS_ABOUT@) has been dropped."
        ),
        follows="The later ones are told in order. Subscribers to the socket of events have got all of them.",
        remedy="Find out why the scripts take so long, and why there are so many changes.",
        fields=("about", "instance", "service", "waiting"),
    ),
    Event(
        phrase="what was notified is unknown",
        message_id="f7250a7785f9446c8928ed5969b48e40",
        levels=("error",),
        subject="It is not known which changes have been notified",
        happened="The note of what was notified could not be read or written: @HA_LVS_DETAIL@.",
        follows="After a restart of the attendant, the present state may be told to notify scripts once more.",
        remedy="Look at the runtime directory: its owner and mode, and whether there is room.",
        fields=("detail",),
    ),
    Event(
        phrase="events not served",
        message_id="02187f6c3ccf46fcac5335afdd7b53dd",
        levels=("error",),
        subject="There is no socket of events",
        happened="The socket of events could not be made in the runtime directory: @HA_LVS_DETAIL@.",
        follows="Nobody can subscribe until the daemon is restarted. Notify scripts are run all the same.",
        remedy="Look at the runtime directory: its owner and mode, and whether there is room.",
        fields=("detail",),
    ),
    Event(
        phrase="subscriber dropped",
        message_id="53c6013e6a524cfb8c93c6d434e446a9",
        levels=("warning",),
        subject="A subscriber to events was too slow",
        happened="A subscriber to the socket of events did not take what was sent to it, and was disconnected.",
        follows="@HA_LVS_CONNECTED@ others are connected still. It may connect again, and learns where all stands.",
        remedy="Have the program read its events as they come.",
        fields=("connected",),
    ),
    # ----------------------------------------------------------------------------------------------------- the process
    Event(
        phrase="attendant failed",
        message_id="7b8d52e978cb41a98f44b0021b84e990",
        levels=("error",),
        subject="The attendant process ended by a failure of its own",
        happened="Something failed in the attendant that nobody thought of: @HA_LVS_DETAIL@.",
        follows="The guardian starts another one, which finds everything out again. No role depends on it meanwhile.",
        remedy="Report it as a defect, with this entry.",
        fields=("detail",),
    ),
)
