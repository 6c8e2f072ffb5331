"""Parallel coordinates as inline SVG: a line for each run, through what it was given and gave."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

from alm_lightning.show.charts import frame, tick_labels, write
from alm_lightning.show.dots import mark
from alm_lightning.show.numbers import short
from alm_lightning.show.svg import COLOR, render, sheet

WIDTH, HEIGHT = 1100.0, 380.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 980.0, 62.0, 352.0
"""Where the first and the last axis are, and the ends of all, in pixels: labels are behind them."""
LOG_FROM = 20.0
"""Positive numbers whose largest is so many times the smallest have a logarithmic axis."""
MOST_VALUES = 8
"""Up to so many different values are an axis of values; more numbers have a scale."""
LONGEST = 20
"""Letters of a label, and of a line of an axis's title."""


@dataclass(frozen=True)
class Scale:
    """An axis of the chart.

    Attributes:
        title: What is on it.
        places: Of each line by name: from 0 at the bottom to 1 at the top.
        ticks: Places and labels.
    """

    title: str
    places: Mapping[str, float]
    ticks: Sequence[tuple[float, str]]


def scale_of(title: str, values: Mapping[str, str | float]) -> Scale:
    """The axis that fits values.

    Args:
        title: What they are.
        values: Numbers, or texts, which may be numbers too.

    Returns:
        A scale for many numbers, logarithmic where they are of different magnitudes; else an axis
        with the different values at equal distances.
    """
    numbers = {name: _number(value) for name, value in values.items()}
    finite = [number for number in numbers.values() if number is not None and math.isfinite(number)]
    is_measured = any(isinstance(value, float) for value in values.values())
    many = is_measured or len(set(finite)) > MOST_VALUES
    if finite and many and len(finite) == len(values):
        return _numbers(title, {name: float(values[name]) for name in values}, finite)
    return _values(title, {name: str(value) for name, value in values.items()})


def parallel_chart(
    scales: Sequence[Scale], marked: Mapping[str, int], titles: Mapping[str, str], *, label: str
) -> ET.Element:
    """Lines through axes side by side.

    Args:
        scales: The axes, at least one, from left to right.
        marked: Numbers of marks (see `mark`) of lines that stand out, by name; the first is drawn
            last, on top.
        titles: Tooltips of all lines, by name.
        label: What the chart shows, for readers who hear the page.

    Returns:
        An SVG element.
    """
    with sheet(WIDTH, HEIGHT) as figure:
        axes = frame(figure, (LEFT, TOP, RIGHT, BOTTOM))
        axes.set_xlim(0, max(len(scales) - 1, 1))
        axes.set_ylim(0.0, 1.0)
        axes.set_xticks([])
        behind = [name for name in titles if name not in marked]
        gids = {name: f"line{place}" for place, name in enumerate(titles)}
        for name in [*behind, *reversed(list(marked))]:
            places = [scale.places.get(name, math.nan) for scale in scales]
            axes.plot(range(len(scales)), places, gid=gids[name], **_style(marked.get(name)))
        for place, scale in enumerate(scales):
            _draw_scale(axes, place, scale)
            x = LEFT + (RIGHT - LEFT) * place / max(len(scales) - 1, 1)
            for number, line in enumerate(_title_lines(scale.title)):
                write(figure, x - 6, 14.0 + 15 * number, line, color=COLOR["ink"], gid="title")
        tooltips = {gids[name]: text for name, text in titles.items()}
        return render(figure, label=label, titles=tooltips)


def _style(series: int | None) -> dict[str, Any]:
    if series is None:
        return {"color": COLOR["soft"], "linewidth": 1, "alpha": 0.4, "clip_on": False}
    (shape, size, _), color = mark(series)
    return {
        "color": COLOR[color],
        "linewidth": 2.25,
        "marker": shape,
        "markersize": size,
        "markeredgewidth": 0,
        "clip_on": False,
        "zorder": 3,
    }


def _draw_scale(axes: Any, place: int, scale: Scale) -> None:
    axes.plot([place, place], [0.0, 1.0], color=COLOR["soft"], linewidth=1, clip_on=False, zorder=2)
    for height, text in scale.ticks:
        axes.annotate(
            text,
            (place, height),
            (9, 0),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
            zorder=4,
            # lines pass behind labels
            bbox={"facecolor": COLOR["paper"], "edgecolor": "none", "pad": 1.0, "alpha": 0.85},
        )


def _numbers(title: str, values: Mapping[str, float], finite: Sequence[float]) -> Scale:
    low, high = min(finite), max(finite)
    is_log = low > 0 and high >= LOG_FROM * low
    if is_log:
        ticks = _log_ticks(low, high)
        labels = [f"{tick:g}" for tick in ticks]
    else:
        ticks = _ticks(low, high)
        labels = tick_labels(ticks)
    turn = math.log if is_log else float
    start, end = turn(min(low, ticks[0])), turn(max(high, ticks[-1]))

    def place(value: float) -> float:
        return (turn(value) - start) / (end - start)

    return Scale(
        title,
        {name: place(value) for name, value in values.items()},
        [(place(tick), text) for tick, text in zip(ticks, labels, strict=True)],
    )


def _ticks(low: float, high: float) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    if low == high:
        margin = abs(low) / 2 or 1.0
        low, high = low - margin, high + margin
    return [float(tick) for tick in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)]


def _log_ticks(low: float, high: float) -> list[float]:
    """One, two and five times each power of ten, as many as are inside; both ends at least."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 3) if len(powers) <= 4 else (1,)
    inside = [
        tick
        for power in powers
        for tick in (factor * 10.0**power for factor in factors)
        if low <= tick <= high
    ]
    return inside if len(inside) > 1 else [low, high]


def _values(title: str, values: Mapping[str, str]) -> Scale:
    different = sorted(set(values.values()), key=_value_order)
    last = max(len(different) - 1, 1)
    places = {value: place / last for place, value in enumerate(different)}
    if len(different) == 1:
        places = {different[0]: 0.5}
    # labels that would lie on one another are left out
    every = math.ceil(len(different) / 18)
    ticks = [(places[value], _label(value)) for value in different[::every]]
    return Scale(title, {name: places[value] for name, value in values.items()}, ticks)


def _value_order(value: str) -> tuple[bool, float, str]:
    number = _number(value)
    return number is None, number or 0.0, value


def _number(value: str | float) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _label(value: str) -> str:
    number = _number(value)
    if number is not None and len(value) > 6:
        return short(number)
    return value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"


def _title_lines(title: str) -> list[str]:
    """A title in at most three lines, broken after points and spaces."""
    lines = [""]
    for part in title.replace(".", ".\0").replace("/", "/\0").replace(" ", " \0").split("\0"):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > LONGEST:
            lines.append("")
        lines[-1] += part
    return [line.strip() for line in lines[:3]]
