"""A trial as one SVG to be put into a page: strips and diagrams above a common time axis.

Rules that hold here:
* Every axis has a label with its unit; legends stand outside of the diagrams.
* What failed is on top, has a mark of its own, and a colour that nothing else has (`svg.PALETTE`).
* Labels of steps stand on stairs (`spans.stairs`), so that they never meet.

Matplotlib is an extra and takes long to import, so it is imported when something is drawn.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from ha_lvs.drill.measure.udp_stream import NOTABLE_INTERVALS
from ha_lvs.drill.report import spans
from ha_lvs.drill.report.collect import Trial
from ha_lvs.drill.report.measured import outage, udp_gaps
from ha_lvs.drill.report.spans import Span
from ha_lvs.drill.report.svg import PALETTE, embeddable
from ha_lvs.errors import LabError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_IN = 11.0
LEFT_IN, RIGHT_IN, TOP_IN, BOTTOM_IN = 1.15, 1.75, 0.08, 0.5
BETWEEN_IN = 0.16
STRIP_IN = 0.2
"""Height of one node's strip."""

LABEL_IN = 0.17
LABEL_PT = 8.0


def draw(trial: Trial, name: str) -> str:
    """The picture of a trial.

    Arguments:
        name: of the picture, unique in its page; letters, digits and dashes.

    Returns: an `svg` element.
    Errors: LabError when matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as problem:
        raise LabError("the report needs matplotlib, which is not installed: pip install 'ha-lvs[drill]'") from problem
    settings: Any = {  # any: matplotlib has its keys as literals, which differ between versions
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": LABEL_PT,
        "text.color": PALETTE["ink"],
        "axes.edgecolor": PALETTE["faint"],
        "axes.labelcolor": PALETTE["ink"],
        "xtick.color": PALETTE["ink"],
        "ytick.color": PALETTE["ink"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
    }
    with matplotlib.rc_context(settings):
        panels = _panels(trial)
        height_in = TOP_IN + BOTTOM_IN + sum(height + BETWEEN_IN for height, _ in panels)
        figure = Figure(figsize=(WIDTH_IN, height_in))
        FigureCanvasSVG(figure)
        top_in, axes = height_in - TOP_IN, []
        for height, fill in panels:
            top_in -= height
            box = (LEFT_IN / WIDTH_IN, top_in / height_in, 1 - (LEFT_IN + RIGHT_IN) / WIDTH_IN, height / height_in)
            axis = figure.add_axes(box)
            axis.set_xlim(*spans.view_of(trial))
            axis.tick_params(labelbottom=False)
            fill(axis, trial)
            axes.append(axis)
            top_in -= BETWEEN_IN
        for axis in axes[1:]:
            for step in trial.steps:
                axis.axvline(trial.since_arming(step.at_s), color=PALETTE["ink"], lw=0.7, ls=(0, (4, 3)), zorder=5)
        axes[-1].tick_params(labelbottom=True)
        axes[-1].set_xlabel("time since the drill was armed (s)")
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return embeddable(stream.getvalue(), name, f"what happened to {trial.contender} over time")


def _panels(trial: Trial) -> list[tuple[float, Any]]:
    """Height in inches and what fills it, from the top."""
    rows = max(_label_rows(trial), default=0) + 1
    panels: list[tuple[float, Any]] = [(rows * LABEL_IN, _steps)]
    if trial.directors:
        panels += [(STRIP_IN * len(trial.directors), _holders), (STRIP_IN * len(trial.directors), _roles)]
    if trial.in_service:
        panels.append((STRIP_IN * max(1, len(trial.servers)), _servers))
    if trial.requests:
        panels += [(1.1, _requests), (1.1, _latency)]
    if trial.udp:
        panels.append((1.1, _udp))
    return panels


def _label(trial: Trial, index: int) -> str:
    step = trial.steps[index]
    target = f" ({step.target})" if step.target and step.target not in step.text.replace(",", " ").split() else ""
    return f"{trial.since_arming(step.at_s):.1f} s  {step.text}{target}"


def _label_rows(trial: Trial) -> list[int]:
    from matplotlib.textpath import TextPath

    low, high = spans.view_of(trial)
    per_inch = (high - low) / (WIDTH_IN - LEFT_IN - RIGHT_IN)
    labels = []
    for index, step in enumerate(trial.steps):
        width_in = TextPath((0, 0), _label(trial, index), size=LABEL_PT).get_extents().width / 72 + 0.15
        labels.append((trial.since_arming(step.at_s), width_in * per_inch))
    return spans.stairs(labels)


def _steps(axis: Axes, trial: Trial) -> None:
    rows = _label_rows(trial)
    height = max(rows, default=0) + 1
    axis.set_ylim(height, 0)
    axis.set_axis_off()
    for index, (step, row) in enumerate(zip(trial.steps, rows, strict=True)):
        at = trial.since_arming(step.at_s)
        axis.plot([at, at], [row + 0.1, height + 1], color=PALETTE["ink"], lw=0.7, ls=(0, (4, 3)), clip_on=False)
        axis.annotate(
            _label(trial, index),
            (at, row + 0.5),
            (3, 0),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
        )


def _strips(axis: Axes, strips: dict[str, list[Span]], colour_of: dict[str, str], title: str) -> None:
    low, high = axis.get_xlim()
    for row, (_, bars) in enumerate(strips.items()):
        for bar in bars:
            left, right = max(low, bar.from_s), min(high, bar.until_s)
            if right > left:
                colour = PALETTE[colour_of.get(bar.what, colour_of[""])]
                axis.broken_barh([(left, right - left)], (row + 0.12, 0.76), facecolor=colour, linewidth=0)
    axis.set_ylim(len(strips), 0)
    axis.set_yticks([row + 0.5 for row in range(len(strips))], list(strips))
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    _beside(axis, title)


def _holders(axis: Axes, trial: Trial) -> None:
    strips = spans.holding(trial)
    _strips(axis, strips, {"": "held", spans.APART: "held-apart"}, "")
    handles = [_patch("held", "has the virtual IP")]
    if any(span.what == spans.APART for bars in strips.values() for span in bars):
        handles.append(_patch("held-apart", "... but is cut off"))
    _legend(axis, handles)


def _servers(axis: Axes, trial: Trial) -> None:
    _strips(axis, spans.in_service(trial), {"": "served"}, "in service\n(IPVS of the holder)")


def _roles(axis: Axes, trial: Trial) -> None:
    strips = spans.roles(trial)
    colours = {"active": "role-active", "master": "role-active", "backup": "role-backup", "": "role-other"}
    _strips(axis, strips, colours, "")
    axis.set_ylabel("")
    seen = {span.what for bars in strips.values() for span in bars if span.until_s > axis.get_xlim()[0]}
    known = [role for role in ("active", "backup") if role in seen]
    handles = [_patch(colours[role], f"claims {role}") for role in known]
    others = sorted(seen - set(known))
    if others:
        handles.append(_patch("role-other", "/".join(others)))
    _legend(axis, handles)


def _requests(axis: Axes, trial: Trial) -> None:
    found = spans.bins(trial)
    edges = [*found.begin_s, found.begin_s[-1] + spans.BIN_S] if found.begin_s else [0.0, spans.BIN_S]
    answered, failed = found.answered or [0], found.failed or [0]
    total = [ok + bad for ok, bad in zip(answered, failed, strict=True)]
    axis.stairs(total, edges, fill=True, color=PALETTE["bad"], lw=0)
    axis.stairs(answered, edges, fill=True, color=PALETTE["good"], lw=0)
    top = max([1, *total])
    axis.set_ylim(0, top * 1.22)
    axis.set_yticks(range(0, top + 1, max(1, top // 4)))
    axis.set_ylabel("requests\nper 100 ms")
    handles = [_patch("bad", "failed"), _patch("good", "answered")]
    gap = outage(trial)
    if gap is not None and gap.length_ms > 0:
        left = trial.since_arming(gap.from_s)
        axis.broken_barh([(left, gap.length_ms / 1000)], (top * 1.08, top * 0.1), facecolor=PALETTE["gap"], lw=0)
        handles.append(_patch("gap", f"outage {gap.length_ms / 1000:.2f} s"))
    _legend(axis, handles)


def _latency(axis: Axes, trial: Trial) -> None:
    low, high = axis.get_xlim()
    shown = [(trial.since_arming(request.sent_s), request) for request in trial.requests]
    shown = [(at, request) for at, request in shown if low <= at <= high]
    good = [(at, max(0.05, request.took_ms)) for at, request in shown if request.ok]
    bad = [(at, max(0.05, request.took_ms)) for at, request in shown if not request.ok]
    axis.set_yscale("log")
    handles = []
    for points, colour, marker, size, label in (
        (good, "held", "o", 1.8, "answered after"),
        (bad, "bad", "x", 4.0, "failed after"),
    ):
        style: dict[str, Any] = {
            "ls": "",
            "marker": marker,
            "ms": size,
            "color": PALETTE[colour],
            "mew": 1.0 if marker == "x" else 0.0,
        }
        if points:
            axis.plot([at for at, _ in points], [took for _, took in points], zorder=4, **style)
        handles.append(_line(label, style | {"ms": 4.0}))
    took = [value for _, value in good + bad] or [1.0]
    axis.set_ylim(min(took) / 1.8, max([*took, 10 * min(took)]) * 1.8)
    _plain_log(axis)
    axis.set_ylabel("request took\n(ms)")
    _legend(axis, handles[::-1])


def _udp(axis: Axes, trial: Trial) -> None:
    beat_ms = (trial.udp_interval_s or 0.001) * 1000
    gaps = [gap for gap in udp_gaps(trial) if gap.length_ms > NOTABLE_INTERVALS * beat_ms]
    axis.set_yscale("log")
    top = max([gap.length_ms for gap in gaps], default=10 * beat_ms)
    axis.set_ylim(beat_ms, max(10 * beat_ms, top * 2))
    for gap in gaps:
        left = trial.since_arming(gap.from_s)
        bar = axis.bar(left, gap.length_ms - beat_ms, gap.length_ms / 1000, beat_ms, align="edge")
        bar[0].set(facecolor=PALETTE["bad"], edgecolor=PALETTE["bad"], linewidth=0.8)
    _plain_log(axis)
    axis.set_ylabel("datagrams\nunanswered for (ms)")
    _legend(axis, [_patch("bad", f"gap over {NOTABLE_INTERVALS * beat_ms:g} ms")])


def _plain_log(axis: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.yaxis.set_major_locator(LogLocator(numticks=5))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.grid(axis="y", color=PALETTE["grid"], lw=0.5)
    axis.set_axisbelow(True)


def _patch(colour: str, label: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(facecolor=PALETTE[colour], linewidth=0, label=label)


def _line(label: str, style: dict[str, Any]) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **style)


def _legend(axis: Axes, handles: list[Any]) -> None:
    axis.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, borderaxespad=0.0, handlelength=1.2
    )


def _beside(axis: Axes, text: str) -> None:
    if text:
        axis.annotate(text, (1, 0.5), (8, 0), xycoords="axes fraction", textcoords="offset points", va="center")
