"""The kind of value that the table of events is made of."""

from __future__ import annotations

from dataclasses import dataclass

DNS_SD = "https://www.rfc-editor.org/rfc/rfc6763"
IPVS = "man:ipvsadm(8)"
SCHED = "man:sched(7)"
UNIT = "man:systemd.service(5)"
VRRP = "https://www.rfc-editor.org/rfc/rfc9568"


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of event.

    Arguments:
        phrase: as it is logged.
        message_id: 128 bits as 32 hexadecimal digits, a version 4 UUID.
        levels: at which it is logged: one, or those between which circumstances decide.
        subject: one line.
        happened, follows, remedy: a paragraph each for the operator.
        fields: that every such entry carries.
        sometimes: fields that only some carry.
        documentation: a URI where one reads more; empty where there is none.
    """

    phrase: str
    message_id: str
    levels: tuple[str, ...]
    subject: str
    happened: str
    follows: str
    remedy: str
    fields: tuple[str, ...] = ()
    sometimes: tuple[str, ...] = ()
    documentation: str = ""
