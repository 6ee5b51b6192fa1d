"""Route netlink for virtual IPs, their routes and their interfaces (linux/netlink.h, rtnetlink.h).

The elector prepares these bytes once and sends them when the role changes; it is kept small, so no netlink library is
loaded for a few kinds of message. pyroute2 is the dumb twin in the tests. The rooms:

    message    framing, batches of requests, answers
    addresses  virtual IPs with a lifetime
    routes     virtual routes
    rules      virtual routing rules
    links      interfaces: their state, their settings, macvlan
    ways       how a packet would leave: route and neighbour (of probes; not in `decode`)
"""

from __future__ import annotations

from collections.abc import Iterator

from ha_lvs.wire.rtnetlink.addresses import (
    IFA_F_DADFAILED,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_TENTATIVE,
    RTM_NEWADDR,
    Address,
    add_address,
    decode_address,
    delete_address,
    list_addresses,
)
from ha_lvs.wire.rtnetlink.links import (
    MACVLAN,
    MACVLAN_MODE_PRIVATE,
    RTM_DELLINK,
    RTM_NEWLINK,
    RTMGRP_LINK,
    Ipv4Setting,
    Link,
    LinkGone,
    create_macvlan,
    decode_link,
    delete_link,
    list_links,
    set_ipv4,
    set_no_link_local,
    switch_off,
    switch_on,
)
from ha_lvs.wire.rtnetlink.message import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    NLM_F_ACK,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    Batch,
    Message,
    Reply,
    batches,
    messages,
    reply,
)
from ha_lvs.wire.rtnetlink.routes import (
    IPV6_METRIC,
    PROTOCOL,
    RTM_NEWROUTE,
    Route,
    add_on_link,
    add_route,
    decode_route,
    delete_on_link,
    delete_route,
    list_routes,
)
from ha_lvs.wire.rtnetlink.rules import (
    RTM_NEWRULE,
    Rule,
    add_rule,
    decode_rule,
    delete_rule,
    list_rules,
)

__all__ = [
    "AF_INET", "AF_INET6", "AF_UNSPEC", "IFA_F_DADFAILED", "IFA_F_NODAD", "IFA_F_NOPREFIXROUTE", "IFA_F_TENTATIVE",
    "IPV6_METRIC", "MACVLAN", "MACVLAN_MODE_PRIVATE", "NLM_F_ACK", "NLM_F_DUMP_INTR", "NLM_F_REQUEST", "PROTOCOL",
    "RTMGRP_LINK", "Address", "Batch", "Ipv4Setting", "Item", "Link", "LinkGone", "Message", "Reply",
    "Route", "Rule", "add_address", "add_on_link", "add_route", "add_rule", "batches", "create_macvlan", "decode",
    "decode_item", "delete_address", "delete_link", "delete_on_link", "delete_route", "delete_rule", "list_addresses",
    "list_links", "list_routes", "list_rules", "messages", "reply", "set_ipv4", "set_no_link_local", "switch_off",
    "switch_on",
]  # fmt: skip

Item = Address | Link | LinkGone | Route | Rule
"""What the kernel lists or reports."""


def decode(data: bytes) -> Iterator[Item | Reply]:
    """What one datagram from the kernel holds: addresses, links and so on, and answers; a dump ends with an answer too.

    Errors: WireError on bytes that are no netlink.
    """
    for message in messages(data):
        answer = reply(message)
        found = answer if answer is not None else decode_item(message)
        if found is not None:
            yield found


def decode_item(message: Message) -> Item | None:
    """What a message with content is about; None for kinds that are not asked for here.

    Errors: WireError when it is not whole.
    """
    if message.kind == RTM_NEWADDR:
        return decode_address(message.body)
    if message.kind in (RTM_NEWLINK, RTM_DELLINK):
        return decode_link(message.kind, message.body)
    if message.kind == RTM_NEWROUTE:
        return decode_route(message.body)
    if message.kind == RTM_NEWRULE:
        return decode_rule(message.body)
    return None
