"""Roles offered to a peer and by a peer, between our elector and the link.

    offer      {instance, sources, window_s, number, at}      take this role, I still hold it
    refuse     {instance, reason, number}                     the answer to an offer that is not taken
    standings  {n, instances: {name: {priority, barred}}}     where the sender's instances stand, all of them

Rules that hold here:
* An offer goes through at once. Its window shrinks by what it was under way longer than usual: an offer that was held
  up until its sender has given up means nothing, and is refused.
* A refusal counts only for the last offer of its instance: the number says which one it answers.
* `n` goes up: an older state that comes late changes nothing.
* A peer that cannot be asked, or breaks off, counts as one that refuses: the elector must not wait in vain.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import structlog

from ha_lvs.daemon.channel import Channel, InstanceState, OfferRole, RefuseRole
from ha_lvs.election.timing import LONGEST_OFFER_S
from ha_lvs.peer.hub import Hub
from ha_lvs.peer.link import Link

log = structlog.get_logger()

_LONGEST_REASON = 300


class Offers:
    """The offers under way.

    Arguments:
        node: our name.
        instances: names of ours.
        elector: channel to it.
        hub: of the links; None where there are none.
        unready: why this director cannot take a role now, in words; empty when it can.
    """

    def __init__(
        self, node: str, instances: frozenset[str], elector: Channel, hub: Hub | None, unready: Callable[[], str]
    ) -> None:
        self._node = node
        self._instances = instances
        self._elector = elector
        self._hub = hub
        self._unready = unready
        self._ours: dict[str, tuple[str, int]] = {}  # by instance: to whom, and its number
        self._theirs: dict[str, tuple[str, int]] = {}
        self._numbers = itertools.count(1)
        self._standings: dict[str, dict[str, Any]] = {}
        self._their_standings: dict[str, dict[str, dict[str, Any]]] = {}  # by node
        self._newest: dict[str, int] = {}
        if hub is not None:
            hub.handlers |= {"offer": self._on_offer, "refuse": self._on_refuse, "standings": self._on_standings}

    def offer(self, frame: OfferRole) -> None:
        """Our elector offers a role: the best of the peers is asked."""
        link = self._best(frame.instance)
        if link is None:
            self._elector.send(RefuseRole(frame.instance, f"no peer is linked: {self._why_none()}", unreachable=True))
            return
        number = next(self._numbers)
        body = {
            "instance": frame.instance,
            "sources": [str(source) for source in frame.sources],
            "window_s": frame.window_s,
            "number": number,
            "at": time.monotonic(),
        }
        if not link.send("offer", body):
            self._elector.send(RefuseRole(frame.instance, f"{link.node} reads nothing at the moment"))
            return
        self._ours[frame.instance] = (link.node, number)
        log.info("role offered to the peer", instance=frame.instance, node=link.node)

    def refuse(self, frame: RefuseRole) -> None:
        """Our elector does not take what a peer has offered."""
        node, number = self._theirs.pop(frame.instance, ("", 0))
        for link in self._links():
            if link.node == node:
                self._refuse(link, frame.instance, frame.reason, number)

    def instance_changed(self, state: InstanceState) -> None:
        """Our elector has told where an instance stands."""
        standing = {"priority": state.effective_priority or state.priority, "barred": bool(state.barred)}
        if self._standings.get(state.instance) != standing:
            self._standings[state.instance] = standing
            for link in self._links():
                self._send_standings(link)

    def linked(self, link: Link) -> None:
        """A peer is there that knows nothing of us yet."""
        self._newest.pop(link.node, None)
        self._their_standings.pop(link.node, None)
        self._send_standings(link)

    def lost(self, link: Link) -> None:
        """A peer is gone."""
        for instance, (node, _) in list(self._ours.items()):
            if node == link.node:
                del self._ours[instance]
                self._elector.send(RefuseRole(instance, f"the link to {node} broke: {link.detail}"))

    # --------------------------------------------------------------------------------------- from the peers

    def _on_offer(self, link: Link, body: dict[str, Any]) -> None:
        instance, number = str(body["instance"]), int(body["number"])
        late_s = link.age_s(body["at"])
        window_s = min(float(body["window_s"]), LONGEST_OFFER_S) - late_s
        sources = tuple(ip_address(str(each)) for each in body["sources"])
        reason = self._unready() if instance in self._instances else f"{self._node} has no instance {instance}"
        if not reason and window_s <= 0:
            reason = f"the offer was under way for {late_s:.1f} s, too long"
        if not reason and not self._elector.send(OfferRole(instance, sources, window_s)):
            reason = f"the elector of {self._node} does not answer"
        if reason:
            self._refuse(link, instance, reason, number)
        else:
            self._theirs[instance] = (link.node, number)

    def _refuse(self, link: Link, instance: str, reason: str, number: int) -> None:
        link.send("refuse", {"instance": instance, "reason": reason, "number": number})
        log.notice("offered role refused", instance=instance, node=link.node, reason=reason)

    def _on_refuse(self, link: Link, body: dict[str, Any]) -> None:
        instance, reason, number = str(body["instance"]), str(body["reason"])[:_LONGEST_REASON], int(body["number"])
        if self._ours.get(instance) != (link.node, number):
            return
        del self._ours[instance]
        log.notice("role refused by the peer", instance=instance, node=link.node, reason=reason)
        self._elector.send(RefuseRole(instance, reason))

    def _on_standings(self, link: Link, body: dict[str, Any]) -> None:
        found = {
            str(name): {"priority": int(each["priority"]), "barred": bool(each["barred"])}
            for name, each in body["instances"].items()
        }
        if int(body["n"]) > self._newest.get(link.node, 0):
            self._newest[link.node] = int(body["n"])
            self._their_standings[link.node] = found

    # ---------------------------------------------------------------------------------------------- inside

    def _send_standings(self, link: Link) -> None:
        link.send("standings", {"n": next(self._numbers), "instances": self._standings})

    def _links(self) -> list[Link]:
        return [] if self._hub is None else self._hub.links

    def _best(self, instance: str) -> Link | None:
        """Of the peers that are linked, the one that would be elected."""

        def rank(link: Link) -> tuple[bool, bool, int, str]:
            standing = self._their_standings.get(link.node, {}).get(instance)
            if standing is None:
                return False, False, 0, link.node
            return True, not standing["barred"], standing["priority"], link.node

        return max((link for link in self._links() if link.linked), key=rank, default=None)

    def _why_none(self) -> str:
        if self._hub is None:
            return "the config file has no peer link"
        return "; ".join(f"{link.node}: {link.detail}" for link in self._links()) or "no other director was found"
