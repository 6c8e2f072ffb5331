"""The plot of a bake-off: a small panel for each figure, objectives as dots with error bars."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from alm_lightning.app.bakeoff.figures import Figures
from alm_lightning.app.bakeoff.state import BakeoffState, Row
from alm_lightning.evaluation.report.rows import estimate, mark
from alm_lightning.evaluation.report.tables import ARROWS
from alm_lightning.show.scale import Scale, scale_of

WIDTH, COLUMNS = 760, 2
NAMES, LANE, HEAD, FOOT = 124.0, 16.0, 34.0, 34.0
"""Width of the objectives' names, and heights of a row and of what lies above and below rows."""
GAP = 24.0
STYLE = """
svg{--paper:#fff;--ink:#1c1d20;--soft:#5a5d66;--rule:#dcd9d2;--k0:#0067a3;--k1:#c04a00}
@media(prefers-color-scheme:dark){svg{--paper:#16171a;--ink:#e9e8e4;--soft:#a3a6ad;--rule:#34363b;\
--k0:#5fb4ee;--k1:#ff9d57}}
text{fill:var(--soft);font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
.title{fill:var(--ink);font-weight:650}
.mid{text-anchor:middle}.last{text-anchor:end}
.grid{stroke:var(--rule)}.error{stroke-width:1.5}
.end{stroke:var(--soft);stroke-dasharray:3 3}
.f0{fill:var(--k0)}.s0{stroke:var(--k0)}.f1{fill:var(--k1)}.s1{stroke:var(--k1)}
"""


def plot(state: BakeoffState, baseline: str) -> str:
    """All figures of a bake-off.

    Args:
        state: With at least one finished run.
        baseline: The objective with another mark.

    Returns:
        An SVG document that needs no other file.
    """
    rows = [row for row in state.rows if row.figures]
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    height = HEAD + LANE * len(rows) + FOOT
    lines = math.ceil(len(names) / COLUMNS)
    width = (WIDTH - GAP * (COLUMNS - 1)) / COLUMNS
    panels = []
    for place, name in enumerate(names):
        x, y = (place % COLUMNS) * (width + GAP), (place // COLUMNS) * height
        ends = {end: figures[name].value for end, figures in state.ends.items() if name in figures}
        panel = "".join(_panel(name, rows, ends, baseline, width))
        panels.append(f'<g transform="translate({x:g} {y:g})">{panel}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height * lines:g}" '
        f'width="{WIDTH}" height="{height * lines:g}" role="img" '
        f'aria-label="Figures of objectives, means over seeds with standard errors">'
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="var(--paper)"/>'
        f"{''.join(panels)}</svg>\n"
    )


def _panel(
    name: str, rows: Sequence[Row], ends: Mapping[str, float], baseline: str, width: float
) -> Iterator[str]:
    own = [row.figures for row in rows if name in row.figures]
    x = scale_of(_extent(own, name, ends), NAMES, width - 12.0, most_steps=4)
    bottom = HEAD + LANE * len(rows)
    first = own[0][name]
    unit = f"{first.unit} {ARROWS[first.lower_is_better]}".strip()
    yield f'<text class="title" x="0" y="14">{escape(name)} <tspan>{escape(unit)}</tspan></text>'
    for tick in x.ticks:
        yield f'<path class="grid" d="M{x(tick):.1f} {HEAD:g}V{bottom:g}"/>'
        yield f'<text class="mid" x="{x(tick):.1f}" y="{bottom + 14:g}">{x.label(tick)}</text>'
    for end, value in ends.items():
        if math.isfinite(value):
            at = f"{x(value):.1f}"
            yield f'<path class="end" d="M{at} {HEAD - 4:g}V{bottom:g}"/>'
            yield f'<text class="mid" x="{at}" y="{HEAD - 6:g}">{escape(_short(end))}</text>'
    for place, row in enumerate(rows):
        y = HEAD + LANE * (place + 0.5)
        yield f'<text class="last" x="{NAMES - 8:g}" y="{y + 4:g}">{escape(row.objective)}</text>'
        if name in row.figures:
            yield _dot(name, row, x, y, int(row.objective == baseline))


def _dot(name: str, row: Row, x: Scale, y: float, color: int) -> str:
    figure = row.figures[name]
    if not math.isfinite(figure.value):
        return ""
    error = figure.stderr or 0.0
    left, right = x(figure.value - error), x(figure.value + error)
    title = escape(f"{row.objective}: {estimate(figure)}")
    return (
        f'<g><title>{title}</title><path class="error s{color}" d="M{left:.1f} {y:g}H{right:.1f}"/>'
        f"{mark(color, f'{x(figure.value):.1f}', y)}</g>"
    )


def _extent(figures: Sequence[Figures], name: str, ends: Mapping[str, float]) -> Iterator[float]:
    """Values that a scale holds: the ends of error bars, and of the gap."""
    yield from ends.values()
    for own in figures:
        error = own[name].stderr or 0.0
        yield own[name].value - error
        yield own[name].value + error


def _short(end: str) -> str:
    return end.removeprefix("student ")
