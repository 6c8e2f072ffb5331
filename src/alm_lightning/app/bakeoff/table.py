"""The table of a bake-off: as Markdown, as JSON, and in short on the screen."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.table import Table

from alm_lightning.app.bakeoff.figures import (
    BITS,
    BITS_OTHER,
    DIFFERENCE_OTHER,
    MEMORY,
    SECONDS,
    Figures,
)
from alm_lightning.app.bakeoff.plan import Plan
from alm_lightning.app.bakeoff.state import Row, Standing
from alm_lightning.app.evaluate.table import grid
from alm_lightning.app.hydra.sweep_table import MOST_OF_AN_ERROR
from alm_lightning.evaluation.harness import Figure
from alm_lightning.show.numbers import NONE, fixed

RELATIVE = (SECONDS, MEMORY)
"""Figures that are told relative to the baseline as well."""
DECIMALS = {SECONDS: 3, MEMORY: 2}
MOST_DECIMALS = 4
ON_SCREEN = (BITS, BITS_OTHER, DIFFERENCE_OTHER)


def relative(name: str, row: Row, rows: Sequence[Row], baseline: str) -> float | None:
    """A mean over that of the baseline.

    Args:
        name: Of the figure.
        row: Of an objective.
        rows: All rows.
        baseline: Name of the objective that is 1.

    Returns:
        The ratio; None if either was not measured.
    """
    base = next((other for other in rows if other.objective == baseline), None)
    if base is None or name not in row.figures or name not in base.figures:
        return None
    divisor = base.figures[name].value
    return row.figures[name].value / divisor if divisor else None


def markdown(plan: Plan, found: Standing) -> str:
    """All of the table, with the search for the rates and what failed.

    Args:
        plan: What is run.
        found: How it stands.

    Returns:
        Markdown.
    """
    sections = [
        _about(plan),
        grid(_rows(plan, found)),
        "### Learning rates\n",
        _rates(plan, found),
    ]
    if found.failures:
        lines = [f"- {run}: {_one_line(error)}" for run, error in found.failures.items()]
        sections += ["### Failed\n", "\n".join(lines) + "\n"]
    if found.missing:
        lines = [f"- {run}" for run in found.missing]
        sections += [
            "### Still to run\n\nSeeds at a rate that is not chosen yet are not listed.\n",
            "\n".join(lines) + "\n",
        ]
    return "\n".join(sections)


def as_json(plan: Plan, found: Standing) -> dict:
    """The table for programs.

    Args:
        plan: What is run.
        found: How it stands.

    Returns:
        Plain values; `value` and `stderr` are over seeds, `values` those of each. None in place
        of numbers that are not finite.
    """
    baseline = plan.settings["baseline"]
    return {
        "criterion": plan.settings["criterion"],
        "baseline": baseline,
        "seeds": list(plan.seeds),
        "learning_rates": [float(rate) for rate in plan.rates],
        "ends": {name: _plain(figures) for name, figures in found.ends.items()},
        "objectives": [
            {
                "objective": row.objective,
                "learning_rate": None if row.rate is None else float(row.rate),
                "is_edge": row.is_edge,
                "tried": dict(row.tried),
                "seeds": list(row.seeds),
                "figures": {
                    name: plain
                    | {"values": [_number(own, name) for own in row.seeds.values()]}
                    | ({f"times_{baseline}": times} if times is not None else {})
                    for name, plain in _plain(row.figures).items()
                    for times in [
                        relative(name, row, found.rows, baseline) if name in RELATIVE else None
                    ]
                },
            }
            for row in found.rows
        ],
        "failures": dict(found.failures),
        "missing": list(found.missing),
    }


def screen(plan: Plan, found: Standing) -> Table:
    """The few columns that a screen has room for.

    Args:
        plan: What is run.
        found: How it stands.

    Returns:
        A table for the terminal.
    """
    table = Table(title=f"Bake-off in {plan.folder}", title_justify="left")
    for name in ("", "rate", "seeds", *ON_SCREEN, "time", "failed"):
        table.add_column(name, justify="left" if name in ("", "failed") else "right")
    for name, figures in found.ends.items():
        table.add_row(name, "", "", *(told(n, figures.get(n)) for n in ON_SCREEN), "", "")
    for row in found.rows:
        times = relative(SECONDS, row, found.rows, plan.settings["baseline"])
        failed = sum(run.startswith(f"{row.objective}, ") for run in found.failures)
        table.add_row(
            row.objective,
            row.rate or NONE,
            f"{len(row.seeds)} of {len(plan.seeds)}",
            *(told(name, row.figures.get(name)) for name in ON_SCREEN),
            NONE if times is None else f"×{fixed(times, 2)}",
            str(failed or ""),
        )
    return table


def told(name: str, figure: Figure | None, runs: int = 1) -> str:
    """A figure as the table shows it.

    Args:
        name: Of the figure, which has its own number of decimals.
        figure: Mean and standard error, if there is one.
        runs: How many runs there are; fewer that have the figure are told.

    Returns:
        As ``1.1136 ± 0.0021``.
    """
    if figure is None:
        return NONE
    decimals = DECIMALS.get(name, MOST_DECIMALS)
    error = "" if figure.stderr is None else f" ± {fixed(figure.stderr, decimals)}"
    return f"{fixed(figure.value, decimals)}{error}" + (
        f" (of {figure.count})" if figure.count < runs else ""
    )


def _about(plan: Plan) -> str:
    first, direction = plan.seeds[0], "least" if plan.settings["lower_is_better"] else "most"
    jobs = plan.settings["jobs"]
    beside = f", up to {jobs} of which were at work at a time" if jobs > 1 else ""
    seeds = f"{len(plan.seeds)} seed{'s' if len(plan.seeds) > 1 else ''}"
    return (
        f"Means over {seeds}, ± one standard error of the mean. Each objective has "
        f"the learning rate, of {', '.join(plan.rates)}, with the {direction} "
        f"`{plan.settings['criterion']}` at seed {first}, which is one of the seeds. Gap closed: "
        "(before - after) / (before - teacher), in bits per byte. Difference: mean "
        f"|log p_T - log p_S| per chunk, nats. Seconds and GiB of the runs themselves{beside}.\n"
    )


def _rows(plan: Plan, found: Standing) -> list[list[str]]:
    baseline = plan.settings["baseline"]
    names = list(dict.fromkeys(name for row in found.rows for name in row.figures))
    has_base = any(row.objective == baseline and row.figures for row in found.rows)
    heads, lines = ["", "learning rate", "seeds"], []
    for name in names:
        unit = next(row.figures[name].unit for row in found.rows if name in row.figures)
        heads.append(f"{name} ({unit})" if unit not in ("bits/byte", "share") else name)
        if name in RELATIVE and has_base:
            heads.append(f"× {baseline}")
    for end, figures in found.ends.items():
        line = [end, "", ""]
        for name in names:
            line.append(told(name, figures[name]) if name in figures else "")
            line += [""] if name in RELATIVE and has_base else []
        lines.append(line)
    for row in found.rows:
        line = [row.objective, row.rate or NONE, f"{len(row.seeds)} of {len(plan.seeds)}"]
        for name in names:
            line.append(told(name, row.figures.get(name), len(row.seeds)))
            if name in RELATIVE and has_base:
                times = relative(name, row, found.rows, baseline)
                line.append(fixed(times, 2))
        lines.append(line)
    return [heads, *lines]


def _rates(plan: Plan, found: Standing) -> str:
    lines = [["", *plan.rates, "chosen"]]
    for row in found.rows:
        # an edge says that a better rate may lie beyond
        mark = f"{row.rate}, an edge" if row.is_edge else row.rate or NONE
        values = (row.tried.get(rate) for rate in plan.rates)
        lines.append([row.objective, *(fixed(value, MOST_DECIMALS) for value in values), mark])
    return grid(lines)


def _one_line(error: str) -> str:
    return " ".join(error.split())[:MOST_OF_AN_ERROR]


def _number(figures: Figures, name: str) -> float | None:
    return _finite(figures[name].value) if name in figures else None


def _plain(figures: Figures) -> dict[str, dict]:
    found: dict[str, Mapping] = {name: asdict(figure) for name, figure in figures.items()}
    return {
        name: {
            key: _finite(value) if isinstance(value, float) else value
            for key, value in plain.items()
        }
        for name, plain in found.items()
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
