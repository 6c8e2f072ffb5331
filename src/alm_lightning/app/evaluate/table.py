"""Figures of several models side by side: on the screen, as Markdown, as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

Plain = Mapping[str, object]
"""What a result.json holds."""

MOST_ON_SCREEN = 40
"""Rows of a table of groups that a screen takes; results.md has all of them."""


def main_table(results: Sequence[Plain]) -> Table:
    """The table that ends an evaluation: a row a figure, a column a model.

    Args:
        results: One for each model under each harness.

    Returns:
        A table for the terminal.
    """
    return _table("Figures, with standard errors", _rows(results))


def group_tables(results: Sequence[Plain]) -> list[Table]:
    """Tables of the first figure of each group, such as accuracy by phenomenon.

    Args:
        results: One for each model under each harness.

    Returns:
        Tables of at most `MOST_ON_SCREEN` rows.
    """
    found = [(title, rows) for title, rows in _groups(results).items()]
    return [_table(title, rows) for title, rows in found if len(rows) - 1 <= MOST_ON_SCREEN]


def write_tables(folder: Path, results: Sequence[Plain]) -> Path:
    """Writes all results to `results.json` and `results.md`, in place of those of an earlier call.

    Args:
        folder: The evaluation's folder.
        results: One for each model under each harness.

    Returns:
        The path of the JSON file.
    """
    path = folder / "results.json"
    path.write_text(json.dumps(list(results), indent=2, ensure_ascii=False) + "\n", "utf-8")
    parts = [grid(_rows(results))]
    parts += [f"### {title}\n\n{grid(rows)}" for title, rows in _groups(results).items()]
    if lines := told_ensembles(results):
        parts.append("### Ensembles\n\n" + "".join(f"- {line}\n" for line in lines))
    (folder / "results.md").write_text("\n".join(parts), "utf-8")
    return path


def told_ensembles(results: Sequence[Plain]) -> list[str]:
    """What the ensembles among models are made of.

    Args:
        results: One for each model under each harness.

    Returns:
        A line an ensemble: members, how they are combined, and their weights.
    """
    lines = [f"{r['model']}: {r['described']}" for r in results if "weights" in r]
    return list(dict.fromkeys(lines))


def _rows(results: Sequence[Plain]) -> list[list[str]]:
    """The first row names the models."""
    models = list(dict.fromkeys(str(result["model"]) for result in results))
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for result in results:
        for name, figure in result["figures"].items():
            row = cells.setdefault((f"{result['harness']}: {name}", figure["unit"]), {})
            row[str(result["model"])] = told(figure)
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
                row[str(result["model"])] = told(figure)
    return {
        title: [
            ["", *models],
            *([value, *(row.get(model, "-") for model in models)] for value, row in rows.items()),
        ]
        for title, rows in cells.items()
    }


def told(figure: Mapping[str, object]) -> str:
    """A figure as a table shows it.

    Args:
        figure: Value, standard error and unit.

    Returns:
        As ``1.136 ± 0.012``; whole numbers of bytes or tokens without decimals.

    Example:
        >>> told({"value": 1.13564, "stderr": 0.0123, "unit": "bits/byte"})
        '1.136 ± 0.012'
    """
    value, error = figure["value"], figure["stderr"]
    if error is None:
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3f}"
    return f"{value:.3f} ± {error:.3f}"


def _table(title: str, rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for place, heading in enumerate(rows[0]):
        is_text = place == 0 or heading == "unit"
        table.add_column(heading, justify="left" if is_text else "right", overflow="fold")
    for row in rows[1:]:
        table.add_row(*row)
    return table


def grid(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown.

    Args:
        rows: Cells; the first row holds the headings.

    Returns:
        A line a row, and one below the headings.
    """
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)
