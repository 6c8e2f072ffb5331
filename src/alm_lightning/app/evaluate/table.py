"""Figures of several models side by side: on the screen, as Markdown, as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from alm_lightning.show.numbers import Figure, estimate

Plain = Mapping[str, Any]
"""The content of a result.json."""

MOST_ON_SCREEN = 40
"""The most rows of a table of groups on the screen; results.md has all."""


def main_table(results: Sequence[Plain]) -> Table:
    """The table at the end of an evaluation: a row for each figure, a column for each model."""
    return _table("Figures, with standard errors", _rows(results))


def group_tables(results: Sequence[Plain]) -> list[Table]:
    """Tables of the first figure of each group, such as accuracy by phenomenon.

    Those of more than `MOST_ON_SCREEN` rows are left out.
    """
    found = [(title, rows) for title, rows in _groups(results).items()]
    return [_table(title, rows) for title, rows in found if len(rows) - 1 <= MOST_ON_SCREEN]


def write_tables(folder: Path, results: Sequence[Plain]) -> Path:
    """Writes `results.json` and `results.md`, in place of those of an earlier call.

    The result is the path of `results.json`.
    """
    path = folder / "results.json"
    path.write_text(json.dumps(list(results), indent=2, ensure_ascii=False) + "\n", "utf-8")
    parts = [grid(_rows(results))]
    parts += [f"### {title}\n\n{grid(rows)}" for title, rows in _groups(results).items()]
    if lines := ensemble_lines(results):
        parts.append("### Ensembles\n\n" + "".join(f"- {line}\n" for line in lines))
    (folder / "results.md").write_text("\n".join(parts), "utf-8")
    return path


def ensemble_lines(results: Sequence[Plain]) -> list[str]:
    """A line for each ensemble: its members, how they are combined, and their weights."""
    lines = [f"{r['model']}: {r['described']}" for r in results if "weights" in r]
    return list(dict.fromkeys(lines))


def _rows(results: Sequence[Plain]) -> list[list[str]]:
    models = list(dict.fromkeys(str(result["model"]) for result in results))
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for result in results:
        for name, figure in result["figures"].items():
            row = cells.setdefault((f"{result['harness']}: {name}", figure["unit"]), {})
            row[str(result["model"])] = format_figure(figure)
    return [
        ["", "unit", *models],
        *(
            [name, unit, *(row.get(model, "-") for model in models)]
            for (name, unit), row in cells.items()
        ),
    ]


def _groups(results: Sequence[Plain]) -> dict[str, list[list[str]]]:
    models = list(dict.fromkeys(str(result["model"]) for result in results))
    cells: dict[str, dict[str, dict[str, str]]] = {}
    for result in results:
        for by, members in result["groups"].items():
            for value, figures in members.items():
                name, figure = next(iter(figures.items()))
                title = f"{result['harness']}: {name} by {by}"
                row = cells.setdefault(title, {}).setdefault(value, {})
                row[str(result["model"])] = format_figure(figure)
    return {
        title: [
            ["", *models],
            *([value, *(row.get(model, "-") for model in models)] for value, row in rows.items()),
        ]
        for title, rows in cells.items()
    }


def format_figure(figure: Plain) -> str:
    """A figure of a result.json as a table shows it.

    Whole numbers without a standard error, such as bytes or tokens, have no decimals.

    Args:
        figure: Value, standard error, count and unit.

    Returns:
        As ``1.136 ± 0.012``.

    Example:
        >>> format_figure({"value": 1.13564, "stderr": 0.0123, "count": 9, "unit": "bits/byte"})
        '1.136 ± 0.012'
    """
    value, error = figure["value"], figure["stderr"]
    decimals = 0 if error is None and float(value).is_integer() else 3
    number = Figure(value, error, figure["count"], figure["unit"])
    return estimate(number, decimals=decimals, space=" ")


def _table(title: str, rows: Sequence[Sequence[str]]) -> Table:
    # Text: a name such as run[a] is no markup of rich's
    table = Table(title=Text(title, "table.title"), title_justify="left")
    for place, heading in enumerate(rows[0]):
        is_text = place == 0 or heading == "unit"
        table.add_column(Text(heading), justify="left" if is_text else "right", overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    return table


def grid(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; the first of `rows` holds the headings."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)
