"""Charts as inline SVG: lines over steps, and bars of shares.

Drawn at the width of a phone's column, so that their text is as large as that of the page; a wide
page has several side by side.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
from jaxtyping import Float

from alm_lightning.show.numbers import MINUS, fixed, percent, short
from alm_lightning.show.svg import COLOR, render, sheet

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.axis
    import matplotlib.figure

WIDTH, HEIGHT = 340.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 315.0, 27.0, 164.0
"""Where the axes end, in pixels: half a label fits on the right."""
MAX_POINTS = 240
"""Longer lines are drawn as means of equal stretches, in a band from minimum to maximum."""
FEW_POINTS = 12
"""Up to these each point has a mark."""
MAX_LABELS = 13
"""Labels that fit below the bars."""
NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML file may have."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: What it shows.
        points: Step and value; NaN where the line is interrupted.
        color: Number of its colour.
    """

    name: str
    points: Points
    color: int = 0


def line_chart(lines: Sequence[Line], *, label: str, unit: str) -> ET.Element:
    """Lines over training steps; `label` is what the chart shows, for readers who hear the page."""
    ends = "; ".join(f"{line.name}: {short(line.points[-1][1])} at the end" for line in lines)
    with sheet(WIDTH, HEIGHT) as figure:
        axes = _axes(figure, unit, "step")
        for line in lines:
            _draw_line(axes, line)
        set_scale(axes.xaxis, [step for line in lines for step, _ in line.points], is_whole=True)
        set_scale(axes.yaxis, [value for line in lines for _, value in line.points])
        return render(figure, label=f"{label}, {unit}. {ends}")


def _draw_line(axes: "matplotlib.axes.Axes", line: Line) -> None:
    points = np.array(line.points, dtype=float)
    style: dict[str, Any] = {"color": COLOR[f"k{line.color}"], "clip_on": False}
    for stretch in np.ma.clump_unmasked(np.ma.masked_invalid(points[:, 1])):
        own = points[stretch]
        drawn = thinned(own, max(1, round(MAX_POINTS * len(own) / len(points))))
        if len(drawn) < len(own):
            axes.fill_between(
                drawn[:, 0], drawn[:, 2], drawn[:, 3], alpha=0.22, linewidth=0, gid="band", **style
            )
        has_marks = len(points) <= FEW_POINTS or len(own) == 1
        marker: dict[str, Any] = (
            {"marker": "o", "markersize": 6, "markeredgewidth": 0} if has_marks else {}
        )
        axes.plot(drawn[:, 0], drawn[:, 1], linewidth=1.75, gid="line", **marker, **style)


def thinned(points: Float[np.ndarray, "point 2"], most: int) -> Float[np.ndarray, "stretch 4"]:
    """Points in equal stretches, at most `most`: mean step, mean, minimum and maximum of each."""
    parts = np.array_split(points, min(most, len(points)))
    return np.array([[*own.mean(0), own[:, 1].min(), own[:, 1].max()] for own in parts])


def histogram(
    bars: Sequence[tuple[str, float]], *, label: str, x_label: str, y_label: str
) -> ET.Element:
    """Bars of shares.

    Args:
        bars: Label and share of each.
        label: What the chart shows, for readers who hear the page.
        x_label: What the bars' labels count.
        y_label: What a share is one of.

    Returns:
        An SVG element.
    """
    with sheet(WIDTH, HEIGHT) as figure:
        axes = _axes(figure, y_label, x_label)
        heights = [100 * share for _, share in bars]
        drawn = axes.bar(range(len(bars)), heights, 0.84, color=COLOR["k0"], clip_on=False)
        for place, bar in enumerate(drawn):
            bar.set_gid(f"bar{place}")
        set_scale(axes.yaxis, [0.0, *heights])
        axes.set_xlim(-0.5, len(bars) - 0.5)
        # evenly spaced, and the last one in any case: it says that longer ones are in it
        every = math.ceil(len(bars) / MAX_LABELS) or 1
        last = len(bars) - 1
        labelled = sorted({*range(0, last - every + 1, every), last})
        axes.set_xticks(labelled, [bars[place][0] for place in labelled])
        axes.tick_params(axis="x", length=0, pad=5)
        titles = {
            f"bar{place}": f"{text} {x_label}: {percent(share)}"
            for place, (text, share) in enumerate(bars)
        }
        return render(figure, label=label, titles=titles)


def set_scale(
    axis: "matplotlib.axis.Axis", values: Iterable[float], *, most: int = 5, is_whole: bool = False
) -> list[float]:
    """Gives an axis round ticks, about `most` steps, that hold all finite values; the ticks."""
    from matplotlib.ticker import MaxNLocator

    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if low == high:
        # a constant is drawn in the middle
        margin = abs(low) / 2 or 1.0
        low, high = low - margin, high + margin
    locator = MaxNLocator(most, steps=[1, 2, 5, 10], integer=is_whole, min_n_ticks=2)
    ticks = [float(tick) for tick in locator.tick_values(low, high)]
    axis.set_ticks(ticks, labels=tick_labels(ticks))
    # only now: ticks widen the limits
    axes = axis.axes
    set_limits = axes.set_xlim if axis is axes.xaxis else axes.set_ylim
    set_limits(ticks[0], ticks[-1])
    return ticks


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Ticks as they are written: all of an axis with the same decimals."""
    step = ticks[1] - ticks[0]
    # -0.0 is written as 0
    values = [tick if abs(tick) > step / 2 else 0.0 for tick in ticks]
    if step < 1e-4:
        return [f"{MINUS if value < 0 else ''}{abs(value):g}" for value in values]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [fixed(value, decimals) for value in values]


def frame(
    figure: "matplotlib.figure.Figure", box: tuple[float, float, float, float]
) -> "matplotlib.axes.Axes":
    """Axes without a frame; the box is left, top, right and bottom, in pixels from the top left."""
    left, top, right, bottom = box
    width, height = figure.get_size_inches() * 72
    axes = figure.add_axes(
        (left / width, 1 - bottom / height, (right - left) / width, (bottom - top) / height)
    )
    axes.spines[:].set_visible(False)
    axes.tick_params(color=COLOR["soft"], labelcolor=COLOR["soft"])
    axes.set_yticks([])
    return axes


def write(figure: "matplotlib.figure.Figure", x: float, y: float, text: str, **style: Any) -> None:
    """Writes text at a place in pixels from the top left of a figure."""
    width, height = figure.get_size_inches() * 72
    figure.text(x / width, 1 - y / height, NOT_XML.sub("\ufffd", text), **style)


def _axes(figure: "matplotlib.figure.Figure", y_label: str, x_label: str) -> "matplotlib.axes.Axes":
    axes = frame(figure, (LEFT, TOP, RIGHT, BOTTOM))
    write(figure, 0.0, 11.0, y_label)
    write(figure, (LEFT + RIGHT) / 2, HEIGHT - 4.0, x_label, ha="center")
    axes.spines["bottom"].set(visible=True, color=COLOR["soft"], linewidth=1)
    axes.grid(axis="y", color=COLOR["rule"], linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", length=4, pad=2)
    axes.tick_params(axis="y", length=0, pad=6)
    return axes
