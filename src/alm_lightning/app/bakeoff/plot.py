"""The plot of a bake-off: a panel for each figure, objectives as dots with error bars."""

from alm_lightning.app.bakeoff.state import BakeoffState
from alm_lightning.show.dots import Panel, dot_panels
from alm_lightning.show.svg import document


def plot(state: BakeoffState, baseline: str) -> str:
    """All figures of a bake-off.

    Args:
        state: With at least one finished run.
        baseline: The objective with another mark.

    Returns:
        An SVG document that needs no other file.
    """
    rows = [row for row in state.rows if row.figures]
    panels = []
    for name in dict.fromkeys(name for row in rows for name in row.figures):
        dots = {row.objective: row.figures[name] for row in rows if name in row.figures}
        first = next(iter(dots.values()))
        ends = {
            end.removeprefix("student "): figures[name].value
            for end, figures in state.ends.items()
            if name in figures
        }
        panels.append(Panel(name, f"{first.unit} {first.arrow}".strip(), dots, ends))
    marks = {row.objective: int(row.objective == baseline) for row in rows}
    drawn = dot_panels(
        panels, marks, label="Figures of objectives, means over seeds with standard errors"
    )
    return document(drawn)
