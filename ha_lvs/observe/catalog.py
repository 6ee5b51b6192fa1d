"""The table of events in the form of the journal's message catalog, so that `journalctl -x` explains our entries.

Rules that hold here:
* The journal takes lines that begin with `#` or `;` for comments and lines that begin with `-- ` and an id for the next
  entry: no line of a text may begin so.
* An entry is its id, headers, an empty line and the text; `@FIELD@` stands for a field of the journal's entry.

Source: systemd, "Journal Message Catalogs" (systemd.io/CATALOG).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from ha_lvs.observe.events import TABLE, Event

DEFINED_BY = "ha-lvs"
WIDTH = 76


def render(support: str = "", events: Iterable[Event] = TABLE) -> str:
    """The catalog, as it is put into a file below `/usr/local/lib/systemd/catalog/`.

    Arguments:
        support: where the operators of this site find help, a URL or other words; no such header when empty.
        events: what to describe.
    """
    head = "# What the log entries of ha-lvs mean, for `journalctl -x`. Made by `ha-lvs catalog`.\n"
    return head + "".join(f"\n{_entry(event, support)}" for event in events)


def _entry(event: Event, support: str) -> str:
    headers = [f"Subject: {event.subject}", f"Defined-By: {DEFINED_BY}"]
    if support:
        headers.append(f"Support: {support}")
    if event.documentation:
        headers.append(f"Documentation: {event.documentation}")
    paragraphs = (event.happened, f"What follows by itself: {event.follows}", f"What to do: {event.remedy}")
    text = "\n\n".join(_wrapped(paragraph) for paragraph in paragraphs)
    return "\n".join([f"-- {event.message_id}", *headers, "", text, ""])


def _wrapped(paragraph: str) -> str:
    return textwrap.fill(paragraph, WIDTH, break_long_words=False, break_on_hyphens=False)
