"""Charts as inline SVG: lines over steps, and bars of shares.

Drawn at the size of a phone's column, so that their text is as large as that of the page; a wide
page has several side by side. Colours come from classes, and so follow the page's colour scheme.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from alm_lightning.show.numbers import percent, short
from alm_lightning.show.scale import Scale, scale_of

WIDTH, HEIGHT = 340, 200
LEFT, RIGHT, TOP, BOTTOM = 50.0, 315.0, 27.0, 164.0
"""Where the axes end, in the units of the drawing: half a label has room on the right."""
MOST_POINTS = 240
"""More than these are drawn as means of equal stretches, in a band from least to most."""
FEW_POINTS = 12
"""Up to these each point has a mark."""
MOST_LABELS = 13
"""Labels that have room below the bars."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: What it is.
        points: Step and value; NaN where the line breaks off.
        color: Number of its colour.
    """

    name: str
    points: Points
    color: int = 0


def line_chart(lines: Sequence[Line], *, label: str, unit: str) -> str:
    """Lines over training steps.

    Args:
        lines: At least one, each with a point.
        label: What the chart shows, for those who hear the page.
        unit: Of the values.

    Returns:
        An SVG element.
    """
    steps = [step for line in lines for step, _ in line.points]
    x = scale_of(steps, LEFT, RIGHT, most_steps=5)
    # a step is whole: ticks between two of them say nothing
    if x.step < 1:
        x = Scale(float(math.floor(x.low)), float(math.ceil(x.high)), LEFT, RIGHT, 1.0)
    y = scale_of([value for line in lines for _, value in line.points], BOTTOM, TOP)
    told = "; ".join(f"{line.name}: {short(line.points[-1][1])} at the end" for line in lines)
    return "".join(
        (
            f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{escape(f"{label}, {unit}. {told}")}">',
            *_axes(x, y, unit, "step"),
            *(part for line in lines for part in _line(line, x, y)),
            "</svg>",
        )
    )


def histogram(bars: Sequence[tuple[str, float]], *, label: str, x_label: str, y_label: str) -> str:
    """Bars of shares.

    Args:
        bars: Label and share of each.
        label: What the chart shows, for those who hear the page.
        x_label: What the bars' labels count.
        y_label: What a share is one of.

    Returns:
        An SVG element.
    """
    y = scale_of([0.0, *(100 * share for _, share in bars)], BOTTOM, TOP)
    slot = (RIGHT - LEFT) / max(len(bars), 1)
    labelled = _labelled(len(bars))
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(label)}">',
        *_y_axis(y, y_label),
    ]
    for place, (text, share) in enumerate(bars):
        left, top = LEFT + place * slot, y(100 * share)
        parts.append(
            f'<rect class="bar" x="{left + slot * 0.08:.1f}" y="{top:.1f}" '
            f'width="{slot * 0.84:.1f}" height="{BOTTOM - top:.1f}">'
            f"<title>{escape(f'{text} {x_label}: {percent(share)}')}</title></rect>"
        )
        if place in labelled:
            parts.append(_text(left + slot / 2, BOTTOM + 15, text, "mid"))
    parts += [_text((LEFT + RIGHT) / 2, HEIGHT - 4.0, x_label, "mid"), "</svg>"]
    return "".join(parts)


def thinned(points: Points, most: int) -> list[tuple[float, float, float, float]]:
    """Points in equal stretches.

    Args:
        points: Step and value, all finite.
        most: Largest number of stretches.

    Returns:
        Of each stretch mean step, mean value, least and most value.
    """
    count = min(most, len(points))
    found = []
    for part in range(count):
        own = points[part * len(points) // count : (part + 1) * len(points) // count]
        values = [value for _, value in own]
        step = sum(step for step, _ in own) / len(own)
        found.append((step, sum(values) / len(values), min(values), max(values)))
    return found


def _labelled(count: int) -> set[int]:
    """Places of the bars with a label: evenly spaced, the last one in any case."""
    every = math.ceil(count / MOST_LABELS)
    places = set(range(0, count, every or 1))
    # it says that longer ones are in it; its neighbour makes room
    return {place for place in places if place <= count - 1 - every} | {count - 1}


def _line(line: Line, x: Scale, y: Scale) -> Iterator[str]:
    for stretch in _stretches(line.points):
        most = max(1, round(MOST_POINTS * len(stretch) / len(line.points)))
        drawn = thinned(stretch, most)
        if len(drawn) < len(stretch):
            edge = [(step, high) for step, _, _, high in drawn]
            edge += [(step, low) for step, _, low, _ in reversed(drawn)]
            yield f'<polygon class="band f{line.color}" points="{_places(edge, x, y)}"/>'
        middle = [(step, mean) for step, mean, _, _ in drawn]
        yield f'<polyline class="line s{line.color}" points="{_places(middle, x, y)}"/>'
        if len(line.points) <= FEW_POINTS or len(stretch) == 1:
            for step, value in stretch:
                at = f'cx="{x(step):.1f}" cy="{y(value):.1f}"'
                yield f'<circle class="f{line.color}" {at} r="3"/>'


def _stretches(points: Points) -> Iterator[list[tuple[float, float]]]:
    """Runs of points without a NaN between them."""
    stretch: list[tuple[float, float]] = []
    for step, value in points:
        if math.isfinite(value):
            stretch.append((step, value))
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def _places(points: Points, x: Scale, y: Scale) -> str:
    return " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)


def _axes(x: Scale, y: Scale, unit: str, x_label: str) -> Iterator[str]:
    yield from _y_axis(y, unit)
    for tick in x.ticks:
        yield f'<path class="tick" d="M{x(tick):.1f} {BOTTOM:g}v4"/>'
        yield _text(x(tick), BOTTOM + 16, x.label(tick), "mid")
    yield _text((LEFT + RIGHT) / 2, HEIGHT - 4.0, x_label, "mid")


def _y_axis(y: Scale, unit: str) -> Iterator[str]:
    yield _text(0.0, 11.0, unit, "first")
    for tick in y.ticks:
        kind = "axis" if tick == y.ticks[0] else "grid"
        yield f'<path class="{kind}" d="M{LEFT:g} {y(tick):.1f}H{RIGHT:g}"/>'
        yield _text(LEFT - 6, y(tick) + 4, y.label(tick), "last")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="{anchor}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
