"""Every event that ha-lvs logs: its MESSAGE_ID, its level, and what it means for an operator.

Rules that hold here:
* An id stands for the meaning of an event for ever: chosen once at random, never changed, never used again. An event
  whose meaning changes is a new one.
* The phrase is what people see and what `HA_LVS_EVENT` says. Alerts should go by the id.
* Levels are for whoever alerts on `journalctl -p warning`. An error: something that we wanted done was not done. A
  warning: it is done, but a person should look (an unplanned change of role, a server down). A notice: what a pair
  goes through as people have arranged it. Info: the rest.
* The texts say what has happened, what follows by itself, and what there is to do, in this order. `@HA_LVS_FIELD@` in
  them stands for a field that each such entry carries.

The tests compare the table with every call that logs. `ha_lvs.observe.catalog` writes it down for the journal.
"""

from __future__ import annotations

from ha_lvs.observe.events import attendant, bfd, director, elector, eligibility, guardian, overrides, peer
from ha_lvs.observe.events.event import Event

__all__ = ["EVENTS", "TABLE", "Event"]

TABLE: tuple[Event, ...] = (
    *guardian.EVENTS,
    *elector.EVENTS,
    *eligibility.EVENTS,
    *bfd.EVENTS,
    *director.EVENTS,
    *overrides.EVENTS,
    *peer.EVENTS,
    *attendant.EVENTS,
)
"""Every event, by who tells it."""

EVENTS: dict[str, Event] = {event.phrase: event for event in TABLE}
"""Each phrase and its event."""
