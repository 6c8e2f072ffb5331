"""Dots with error bars as inline SVG: in rows with a name each, and in panels side by side."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from alm_lightning.show.charts import WIDTH, frame, set_scale, write
from alm_lightning.show.numbers import Figure, estimate
from alm_lightning.show.svg import COLOR, render, sheet

if TYPE_CHECKING:
    import matplotlib.axes

MARKS = (("o", 8.0, "●"), ("D", 7.0, "◆"), ("s", 8.0, "■"), ("^", 9.0, "▲"), ("v", 9.0, "▼"))
"""Marks of series with their sizes, and in text: they distinguish series without colours."""
COLORS = 6
NAME, LANE, HEAD = 18.0, 13.0, 34.0
"""Heights of a row's name, of a series in a row, and of what is above the rows, in pixels."""
MARGIN = 12.0
"""Left and right of rows: half a mark and half a label."""
NAME_LINES = re.compile(r".{1,48}(?:(?<=[_/ -])|$)|.{1,48}")
"""Lines of a row's name, of at most 48 characters."""
LINE = 14.0
ROWS_PER_CHART = 17
"""A quarter of BLiMP's 67: a wide page has four charts side by side."""
PANEL_WIDTH, PANEL_NAMES, PANEL_LANE = 368.0, 124.0, 16.0
PANEL_HEAD, PANEL_FOOT, PANEL_GAP = 34.0, 34.0, 24.0
"""Sizes of a panel in pixels: with names at its left, the title and labels above, ticks below."""
DASHED: dict[str, Any] = {"color": COLOR["soft"], "linewidth": 1, "linestyle": (0, (3, 3))}

Rows = Mapping[str, Mapping[str, Figure]]
"""Figures by row and series."""


@dataclass(frozen=True)
class Panel:
    """One of several charts of the same rows.

    Attributes:
        title: What is measured.
        unit: In which unit.
        dots: Figures by row; rows without one stay empty.
        references: Values of dashed lines, by their labels.
    """

    title: str
    unit: str
    dots: Mapping[str, Figure]
    references: Mapping[str, float]


def mark(series: int) -> tuple[tuple[str, float, str], str]:
    """The mark and the colour (of `COLOR`) of a series, of any number."""
    return MARKS[series % len(MARKS)], f"k{series % COLORS}"


def dot_charts(
    rows: Rows, series: Mapping[str, int], *, unit: str, is_share: bool, reference: float | None
) -> list[ET.Element]:
    """Rows of dots with error bars; the charts share their scale.

    Args:
        rows: Figures by row and series, in the order to draw them.
        series: Numbers of the series by name, in the order of their lanes.
        unit: Of the figures.
        is_share: Whether the scale is from 0 to 1, as for accuracies; any other scale holds all
            error bars.
        reference: Where a dashed line is drawn; None for no line.

    Returns:
        SVG elements, of at most `ROWS_PER_CHART` rows each.
    """
    bounds = [end for row in rows.values() for figure in row.values() for end in figure.bounds]
    values = [0.0, 1.0] if is_share else bounds
    names = list(rows)
    # as many rows in each, but for the last
    size = math.ceil(len(names) / math.ceil(len(names) / ROWS_PER_CHART)) if names else 1
    return [
        _dot_chart(
            {name: rows[name] for name in names[start : start + size]},
            series,
            unit,
            values,
            reference,
        )
        for start in range(0, len(names), size)
    ]


def _dot_chart(
    rows: Rows, series: Mapping[str, int], unit: str, values: list[float], reference: float | None
) -> ET.Element:
    names = {name: NAME_LINES.findall(name) or [""] for name in rows}
    lanes = LANE * len(series)
    heights = [NAME + LINE * (len(lines) - 1) + lanes + 4 for lines in names.values()]
    height = HEAD + sum(heights)
    titles: dict[str, str] = {}
    with sheet(WIDTH, height) as figure:
        write(figure, 0.0, 11.0, unit)
        axes = frame(figure, (MARGIN, HEAD, WIDTH - MARGIN, height))
        ticks = set_scale(axes.xaxis, values)
        axes.xaxis.tick_top()
        axes.tick_params(axis="x", length=0, pad=3)
        axes.set_ylim(sum(heights), 0.0)
        top = 0.0
        for place, (name, own) in enumerate(rows.items()):
            for number, line in enumerate(names[name]):
                write(figure, 0.0, HEAD + top + 13 + LINE * number, line, color=COLOR["ink"])
            axes.axhline(top, color=COLOR["rule"], linewidth=1, clip_on=False)
            bottom = top + heights[place]
            start = bottom - lanes - 4
            axes.vlines(ticks, start, bottom, color=COLOR["rule"], linewidth=1)
            if reference is not None:
                axes.vlines(reference, start, bottom, gid="reference", **DASHED)
            for lane, (model, number) in enumerate(series.items()):
                if model in own:
                    gid = f"dot{place}-{lane}"
                    titles[gid] = f"{model}: {estimate(own[model])}"
                    dot(axes, own[model], start + LANE * (lane + 0.5), number, gid)
            top = bottom
        label = f"{unit} of {len(rows)} rows, as dots; the table below has the same numbers"
        return render(figure, label=label, titles=titles)


def dot(axes: "matplotlib.axes.Axes", figure: Figure, y: float, series: int, gid: str) -> None:
    """Draws a value with its error bar, which ends where the axes end; nothing for NaN."""
    if not math.isfinite(figure.value):
        return
    (shape, size, _), color = mark(series)
    low, high = axes.get_xlim()
    left, right = (min(max(end, low), high) for end in figure.bounds)
    axes.plot(
        [left, min(max(figure.value, low), high), right],
        [y, y, y],
        marker=shape,
        markersize=size,
        markevery=[1],
        markeredgewidth=0,
        color=COLOR[color],
        linewidth=1.5,
        clip_on=False,
        gid=gid,
    )


def dot_panels(
    panels: Sequence[Panel], rows: Mapping[str, int], *, label: str, columns: int = 2
) -> ET.Element:
    """Panels that have the same rows.

    Args:
        panels: In the order to draw them, line by line.
        rows: Numbers of the rows' marks, by name.
        label: What the chart shows, for readers who hear the page.
        columns: Panels side by side.

    Returns:
        An SVG element.
    """
    height = PANEL_HEAD + PANEL_LANE * len(rows) + PANEL_FOOT
    titles: dict[str, str] = {}
    size = (
        PANEL_WIDTH * columns + PANEL_GAP * (columns - 1),
        height * math.ceil(len(panels) / columns),
    )
    with sheet(*size) as figure:
        for number, panel in enumerate(panels):
            left = (number % columns) * (PANEL_WIDTH + PANEL_GAP)
            top = (number // columns) * height
            write(
                figure, left, top + 14, panel.title, color=COLOR["ink"], weight="bold", gid="title"
            )
            write(figure, left + PANEL_WIDTH - 12, top + 14, panel.unit, ha="right")
            box = (left + PANEL_NAMES, top + PANEL_HEAD, left + PANEL_WIDTH - 12)
            axes = frame(figure, (*box, top + height - PANEL_FOOT))
            titles |= _draw_panel(axes, panel, rows, f"panel{number}")
        return render(figure, label=label, titles=titles)


def _draw_panel(
    axes: "matplotlib.axes.Axes", panel: Panel, rows: Mapping[str, int], gid: str
) -> dict[str, str]:
    bounds = [end for figure in panel.dots.values() for end in figure.bounds]
    set_scale(axes.xaxis, [*panel.references.values(), *bounds], most=4)
    axes.grid(axis="x", color=COLOR["rule"], linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=6)
    axes.set_yticks([place + 0.5 for place in range(len(rows))], list(rows))
    axes.set_ylim(len(rows), 0.0)
    for name, value in panel.references.items():
        if math.isfinite(value):
            axes.axvline(
                value,
                ymax=1 + 4 / (PANEL_LANE * len(rows)),
                clip_on=False,
                gid="reference",
                **DASHED,
            )
            at = axes.get_xaxis_transform()
            axes.annotate(
                name, (value, 1), (0, 6), xycoords=at, textcoords="offset points", ha="center"
            )
    titles = {}
    for place, (name, number) in enumerate(rows.items()):
        if name in panel.dots:
            titles[f"{gid}-{place}"] = f"{name}: {estimate(panel.dots[name])}"
            dot(axes, panel.dots[name], place + 0.5, number, f"{gid}-{place}")
    return titles
