"""The table of a bake-off: as Markdown, as JSON, and in short on the screen."""

import math
from collections.abc import Sequence
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
from alm_lightning.app.bakeoff.state import BakeoffState, Row
from alm_lightning.app.evaluate.table import grid
from alm_lightning.app.hydra.sweep_table import MOST_OF_AN_ERROR
from alm_lightning.show.numbers import NONE, Figure, estimate, fixed

RELATIVE = (SECONDS, MEMORY)
"""Figures that are shown relative to the baseline as well."""
DECIMALS = {SECONDS: 3, MEMORY: 2}
MOST_DECIMALS = 4
ON_SCREEN = (BITS, BITS_OTHER, DIFFERENCE_OTHER)


def relative(name: str, row: Row, rows: Sequence[Row], baseline: str) -> float | None:
    """The mean of figure `name` in `row`, divided by that of the objective `baseline`.

    None if either was not measured.
    """
    base = next((other for other in rows if other.objective == baseline), None)
    if base is None or name not in row.figures or name not in base.figures:
        return None
    divisor = base.figures[name].value
    return row.figures[name].value / divisor if divisor else None


def markdown(plan: Plan, state: BakeoffState) -> str:
    """The whole table as Markdown, with the search for the rates and what failed."""
    sections = [
        _about(plan),
        grid(_rows(plan, state)),
        "### Learning rates\n",
        _rates(plan, state),
    ]
    if state.failures:
        lines = [f"- {run}: {_one_line(error)}" for run, error in state.failures.items()]
        sections += ["### Failed\n", "\n".join(lines) + "\n"]
    if state.missing:
        lines = [f"- {run}" for run in state.missing]
        sections += [
            "### Still to run\n\nSeeds at a rate that is not chosen yet are not listed.\n",
            "\n".join(lines) + "\n",
        ]
    return "\n".join(sections)


def as_json(plan: Plan, state: BakeoffState) -> dict:
    """The table for programs, in plain values.

    `value` and `stderr` are over seeds, `values` has one for each seed. Numbers that are not finite
    are None.
    """
    baseline = plan.settings["baseline"]
    return {
        "criterion": plan.settings["criterion"],
        "baseline": baseline,
        "seeds": list(plan.seeds),
        "learning_rates": [float(rate) for rate in plan.rates],
        "ends": {name: _plain(figures) for name, figures in state.ends.items()},
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
                        relative(name, row, state.rows, baseline) if name in RELATIVE else None
                    ]
                },
            }
            for row in state.rows
        ],
        "failures": dict(state.failures),
        "missing": list(state.missing),
    }


def screen(plan: Plan, state: BakeoffState) -> Table:
    """The few columns that fit on a terminal."""
    table = Table(title=f"Bake-off in {plan.folder}", title_justify="left")
    for name in ("", "rate", "seeds", *ON_SCREEN, "time", "failed"):
        table.add_column(name, justify="left" if name in ("", "failed") else "right")
    for name, figures in state.ends.items():
        table.add_row(name, "", "", *(format_figure(n, figures.get(n)) for n in ON_SCREEN), "", "")
    for row in state.rows:
        times = relative(SECONDS, row, state.rows, plan.settings["baseline"])
        failed = sum(run.startswith(f"{row.objective}, ") for run in state.failures)
        table.add_row(
            row.objective,
            row.rate or NONE,
            f"{len(row.seeds)} of {len(plan.seeds)}",
            *(format_figure(name, row.figures.get(name)) for name in ON_SCREEN),
            NONE if times is None else f"×{fixed(times, 2)}",
            str(failed or ""),
        )
    return table


def format_figure(name: str, figure: Figure | None, runs: int = 1) -> str:
    """A figure as the table shows it, such as ``1.1136 ± 0.0021``, in the decimals of its `name`.

    If fewer than `runs` have the figure, their number is added.
    """
    if figure is None:
        return NONE
    text = estimate(figure, decimals=DECIMALS.get(name, MOST_DECIMALS), space=" ")
    return f"{text} (of {figure.count})" if figure.count < runs else text


def _about(plan: Plan) -> str:
    first, direction = plan.seeds[0], "lowest" if plan.settings["lower_is_better"] else "highest"
    jobs = plan.settings["jobs"]
    beside = f", up to {jobs} of which ran at a time" if jobs > 1 else ""
    seeds = f"{len(plan.seeds)} seed{'s' if len(plan.seeds) > 1 else ''}"
    return (
        f"Means over {seeds}, ± one standard error of the mean. Each objective has "
        f"the learning rate, of {', '.join(plan.rates)}, with the {direction} "
        f"`{plan.settings['criterion']}` at seed {first}, which is one of the seeds. Gap closed: "
        "(before - after) / (before - teacher), in bits per byte. Difference: mean "
        f"|log p_T - log p_S| per chunk, nats. Seconds and GiB of the runs themselves{beside}.\n"
    )


def _rows(plan: Plan, state: BakeoffState) -> list[list[str]]:
    baseline = plan.settings["baseline"]
    names = list(dict.fromkeys(name for row in state.rows for name in row.figures))
    has_base = any(row.objective == baseline and row.figures for row in state.rows)
    heads, lines = ["", "learning rate", "seeds"], []
    for name in names:
        unit = next(row.figures[name].unit for row in state.rows if name in row.figures)
        heads.append(f"{name} ({unit})" if unit not in ("bits/byte", "share") else name)
        if name in RELATIVE and has_base:
            heads.append(f"× {baseline}")
    for end, figures in state.ends.items():
        line = [end, "", ""]
        for name in names:
            line.append(format_figure(name, figures[name]) if name in figures else "")
            line += [""] if name in RELATIVE and has_base else []
        lines.append(line)
    for row in state.rows:
        line = [row.objective, row.rate or NONE, f"{len(row.seeds)} of {len(plan.seeds)}"]
        for name in names:
            line.append(format_figure(name, row.figures.get(name), len(row.seeds)))
            if name in RELATIVE and has_base:
                times = relative(name, row, state.rows, baseline)
                line.append(fixed(times, 2))
        lines.append(line)
    return [heads, *lines]


def _rates(plan: Plan, state: BakeoffState) -> str:
    lines = [["", *plan.rates, "chosen"]]
    for row in state.rows:
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
    return {
        name: {
            key: _finite(value) if isinstance(value, float) else value
            for key, value in asdict(figure).items()
        }
        for name, figure in figures.items()
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
