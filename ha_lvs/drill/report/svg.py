"""Makes matplotlib's SVG fit to be put into a page, beside others of its kind.

Rules that hold here:
* Text stays text, so that it can be searched and takes the page's colour.
* Colours become CSS variables of the page, which has a light and a dark set. They are those of Okabe and Ito, which
  colour-blind people can tell apart.
* Every id has the picture's name before it: several pictures are in one page, and matplotlib counts from 1 in each.
* Nothing points outside of the page.
"""

from __future__ import annotations

import re

PALETTE = {
    "ink": "#010203",
    "faint": "#a0a1a2",
    "grid": "#d0d1d2",
    "held": "#0072b2",
    "held-apart": "#a9cce4",
    "role-active": "#0072b3",
    "role-backup": "#b0c4d1",
    "role-other": "#cc79a7",
    "served": "#009e73",
    "good": "#56b4e9",
    "bad": "#d55e00",
    "gap": "#f0b890",
}
"""What each colour is for, and what stands for it until the SVG is made; the page defines the variables."""


def embeddable(svg: str, name: str, title: str) -> str:
    """A whole SVG file as an element for a page: own ids, colours of the page, nothing that points outside."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style\b.*?</style>\s*", "", svg, flags=re.DOTALL)  # its rules would reach the whole page
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    for colour, code in PALETTE.items():
        svg = svg.replace(code, f"var(--{colour})")
    # The page gives it the width there is; the view box keeps the proportions.
    return re.sub(
        r'^<svg\b[^>]*?(viewBox="[^"]*")[^>]*>', rf'<svg class="picture" role="img" \1><title>{title}</title>', svg
    )
