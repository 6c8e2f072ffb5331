"""A row for each part of a corpus, with the figures of several models as dots with error bars.

Places are in percent of the drawing's width, so that dots and text keep their size on any page.
"""

import math
from collections.abc import Iterator, Mapping
from html import escape

from alm_lightning.evaluation.harness import Figure
from alm_lightning.show.numbers import fixed
from alm_lightning.show.scale import Scale, scale_of

SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M0-5.5L5.5 0L0 5.5L-5.5 0z",
    "M-4-4H4V4H-4z",
    "M0-5L5 4H-5z",
    "M0 5L5-4H-5z",
)
"""Marks of models: they tell them apart without colours."""
COLORS = 6
LANE = 13
"""Height of a model's lane in a row, in pixels."""
EDGE = 2.0
"""Room for half a mark at both ends, in percent."""
ROWS_OF_A_BLOCK = 34
"""Rows below one axis at most; a wide page has blocks side by side."""
FEW_ROWS = 12
"""Up to these stand in one block."""

Cells = Mapping[str, Mapping[str, Figure]]
"""Figures by row and model."""


def mark(model: int, x: str, y: float) -> str:
    """The mark of a model.

    Args:
        model: Its number, of any size.
        x: Where, as SVG has it: a number or a percentage.
        y: Where, in pixels.

    Returns:
        An SVG element.
    """
    shape = SHAPES[model % len(SHAPES)]
    return (
        f'<svg x="{x}" y="{y:g}" class="f{model % COLORS}" overflow="visible">'
        f'<path d="{shape}"/></svg>'
    )


def legend(models: Mapping[str, int]) -> str:
    """Which mark is whose.

    Args:
        models: Their numbers by name: those that they have all over the page.

    Returns:
        A list.
    """
    items = "".join(
        f'<li><svg class="key" width="14" height="14" aria-hidden="true">{mark(number, "7", 7.0)}'
        f"</svg>{escape(name)}</li>"
        for name, number in models.items()
    )
    return f'<ul class="legend">{items}</ul>'


def row_scale(cells: Cells, *, whole: bool) -> Scale:
    """The scale that all rows share, in percent of the drawing.

    Args:
        cells: The figures.
        whole: Whether it goes from 0 to 1, as for accuracies.

    Returns:
        A scale; one that is not whole holds all error bars.
    """
    if whole:
        # nothing is beyond, but for the end of an error bar
        return scale_of([0.0, 1.0], EDGE, 100 - EDGE)
    values = []
    for row in cells.values():
        for figure in row.values():
            error = figure.stderr or 0.0
            values += [figure.value - error, figure.value + error]
    return scale_of(values, EDGE, 100 - EDGE)


def dot_rows(
    cells: Cells, models: Mapping[str, int], scale: Scale, *, unit: str, chance: float | None
) -> str:
    """Rows of dots, in blocks that have an axis each.

    Args:
        cells: The figures, rows in the order to draw them.
        models: Numbers of the models by name, in the order of their lanes.
        scale: From value to percent of the width.
        unit: Of the figures.
        chance: Where a line marks what guessing gives; None for no line.

    Returns:
        HTML.
    """
    names = list(cells)
    count = math.ceil(len(names) / ROWS_OF_A_BLOCK)
    # two are side by side, so there is an even number of them, with as many rows each
    count = 1 if len(names) <= FEW_ROWS else count + count % 2
    size = math.ceil(len(names) / count)
    blocks = (names[start : start + size] for start in range(0, len(names), size))
    ground = "".join(_ground(scale, chance))
    return "".join(
        f'<div class="block">{_axis(scale, unit)}'
        + "".join(_row(name, cells[name], models, scale, ground) for name in block)
        + "</div>"
        for block in blocks
    )


def _row(
    name: str, figures: Mapping[str, Figure], models: Mapping[str, int], scale: Scale, ground: str
) -> str:
    known = [model for model in models if model in figures]
    told = "; ".join(f"{model} {estimate(figures[model])}" for model in known)
    dots = "".join(
        _dot(lane, number, figures[model], model, scale)
        for lane, (model, number) in enumerate(models.items())
        if model in figures
    )
    height = LANE * len(models) + 4
    return (
        f'<div class="row"><span class="name">{breakable(name)}</span>'
        f'<svg class="plot" height="{height}" role="img" aria-label="{escape(f"{name}: {told}")}">'
        f"{ground}{dots}</svg></div>\n"
    )


def _dot(lane: int, number: int, figure: Figure, model: str, scale: Scale) -> str:
    if not math.isfinite(figure.value):
        return ""
    y = LANE * lane + LANE / 2 + 2
    error = figure.stderr or 0.0
    left, right = scale(figure.value - error), scale(figure.value + error)
    return (
        f"<g><title>{escape(f'{model}: {estimate(figure)}')}</title>"
        f'<line class="error s{number % COLORS}" x1="{left:.2f}%" x2="{right:.2f}%" '
        f'y1="{y:g}" y2="{y:g}"/>'
        f"{mark(number, f'{scale(figure.value):.2f}%', y)}</g>"
    )


def _ground(scale: Scale, chance: float | None) -> Iterator[str]:
    lines = [("grid", scale(tick)) for tick in scale.ticks]
    if chance is not None:
        lines.append(("chance", scale(chance)))
    for kind, x in lines:
        yield f'<line class="{kind}" x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="100%"/>'


def _axis(scale: Scale, unit: str) -> str:
    labels = "".join(
        f'<text class="mid" x="{scale(tick):.2f}%" y="14">{escape(scale.label(tick))}</text>'
        for tick in scale.ticks
    )
    return (
        f'<div class="row head"><span class="name">{escape(unit)}</span>'
        f'<svg class="plot" height="18" aria-hidden="true">{labels}</svg></div>\n'
    )


def estimate(figure: Figure) -> str:
    """A figure as a table shows it.

    Args:
        figure: Value and standard error.

    Returns:
        As ``1.136 ± 0.012``; whole numbers of bytes or tokens without decimals.
    """
    if figure.stderr is not None:
        # both in one line
        return f"{fixed(figure.value)}\u00a0±\u00a0{fixed(figure.stderr)}"
    # a share of 1 is one of several decimals, a count of bytes has none
    is_count = figure.unit in ("bytes", "tokens") and float(figure.value).is_integer()
    return fixed(figure.value, 0 if is_count else 3)


def breakable(name: str) -> str:
    """A name with underscores or slashes, escaped, that may go on in the next line after each."""
    return escape(name).replace("_", "_<wbr>").replace("/", "/<wbr>")
